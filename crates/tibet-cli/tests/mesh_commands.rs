//! The commands round the mesh, on the loopback interface: what they ask a running daemon for, and what they say without one.
//!
//! One needs root, `ip` and `nft`, for direct paths. Without them it says so in one line and passes, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

#![allow(clippy::print_stdout, reason = "what was measured, and what was skipped")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::machines::{self, Machines as _};
use common::running::{DEADLINE, Running};
use common::{Home, network};
use serde_json::Value;
use tibet_cli::overlay::lab::{Layout, NODE, Nat, Topology};

const HUB: &str = "jis:home:hub";
const PHONE: &str = "jis:home:phone";

/// A node, and two devices that trust each other.
struct Pair {
    hub: Home,
    phone: Home,
    /// The node's address.
    at: String,
    _running: [Running; 3],
    _node: Home,
}

fn pair() -> Pair {
    let (server, hub, phone) = (Home::new(), Home::new(), Home::new());
    let (node, at) = network::serve(&server);
    let hub_up = network::up(&hub, HUB, &at, &format!("--trust {PHONE}=0.95"));
    let phone_up = network::up(&phone, PHONE, &at, &format!("--trust {HUB}=0.95"));
    Pair { hub, phone, at, _running: [node, hub_up, phone_up], _node: server }
}

/// A program that sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a clone");
                let _ = std::io::copy(&mut &stream, &mut writer);
                let _ = writer.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    at
}

/// What comes back of some bytes, through whatever listens there.
fn through(at: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"there and back")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    Ok(back)
}

fn address(value: &Value) -> SocketAddr {
    value.as_str().expect("text").parse().expect("an address")
}

#[test]
fn what_is_forwarded_and_exposed_while_the_daemon_runs_works_at_once_and_ends_when_removed() {
    let pair = pair();
    let program = echo();
    let exposed = pair.hub.json(&format!("expose 1883:{program}"), 0);
    assert_eq!((&exposed["schema"], &exposed["port"]), (&"tibet.overlay.expose".into(), &1883.into()));
    assert_eq!(exposed["local"], program.to_string());
    let forwarded = pair.phone.json(&format!("forward 0 {HUB}:1883"), 0);
    assert_eq!((&forwarded["name"], &forwarded["port"]), (&HUB.into(), &1883.into()), "{forwarded}");
    assert_eq!(forwarded["overlay_address"], exposed["overlay_address"]);
    assert_eq!(forwarded["open_to_network"], false);
    let listen = address(&forwarded["listen"]);
    assert!(listen.ip().is_loopback());
    // The first connection makes the tunnel.
    let begun = Instant::now();
    while through(listen).ok().as_deref() != Some(b"there and back") {
        assert!(begun.elapsed() < DEADLINE, "nothing came back");
    }

    let status = pair.phone.ok("status --peers");
    for text in [HUB, "GROEN", "ZONE", "HANDSHAKE", "RELAY", &listen.to_string(), "jis:home:hub:1883"] {
        assert!(status.contains(text), "{text}: {status}");
    }
    assert!(pair.hub.ok("status --peers").contains(&program.to_string()));
    let peer = &pair.phone.json("status --peers", 0)["mesh"]["peers"][0];
    assert_eq!((&peer["name"], &peer["address"]), (&HUB.into(), &exposed["overlay_address"]), "{peer}");
    assert!(pair.phone.ok("status").contains("1 peer: "), "one line about the mesh");

    let again = pair.phone.run(&format!("forward {listen} {HUB}:22"));
    let first = format!(
        "error: {listen} leads to {HUB}:1883 already\n  try: tibet-overlay forward --remove {listen}, first\n"
    );
    assert_eq!(again.refusal(), (Some(1), first.as_str()));
    let again = pair.hub.run("expose 1883:22");
    let first = format!(
        "error: port 1883 leads to {program} already\n  try: tibet-overlay expose --remove 1883, first\n"
    );
    assert_eq!(again.refusal(), (Some(1), first.as_str()));

    let ended = pair.phone.json(&format!("forward --remove {listen}"), 0);
    assert_eq!((&ended["removed"], &ended["name"]), (&true.into(), &HUB.into()));
    let refused = TcpStream::connect(listen).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused), "nobody listens there any more");
    assert_eq!(pair.hub.json("expose --remove 1883", 0)["removed"], true);
    for (home, command, what) in [
        (&pair.phone, format!("forward --remove {listen}"), format!("nothing is forwarded from {listen}")),
        (&pair.hub, "expose --remove 1883".to_owned(), "nothing is exposed at port 1883".to_owned()),
    ] {
        let hint = "tibet-overlay status --peers shows what leads where";
        assert_eq!(
            home.run(&command).refusal(),
            (Some(1), format!("error: {what}\n  try: {hint}\n").as_str())
        );
    }
}

/// What listens beyond this machine opens the device's tunnels to whoever is there: it is allowed, and said.
#[test]
fn a_forward_for_others_is_warned_about_and_one_to_nobody_says_so() {
    let pair = pair();
    let open = pair.phone.ok(&format!("forward 0.0.0.0:0 {HUB}:80"));
    assert!(
        open.contains("warning: 0.0.0.0:") && open.contains("speaks to jis:home:hub as this device"),
        "{open}"
    );
    assert!(open.lines().next().is_some_and(|line| line.ends_with("as long as the daemon runs")), "{open}");
    let closed = pair.phone.ok(&format!("forward [::1]:0 {HUB}:80"));
    assert!(!closed.contains("warning") && closed.lines().count() == 1, "{closed}");
    let nobody = pair.phone.json("forward 0 jis:nobody:80", 0);
    assert_eq!(nobody["overlay_address"], Value::Null);
    assert!(nobody["problem"].as_str().is_some_and(|text| text.contains("not registered")), "{nobody}");
    let own = pair.phone.run(&format!("forward 0 {PHONE}:80"));
    assert_eq!(own.refusal(), (Some(2), "error: jis:home:phone is this device itself\n"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let _holder = TcpListener::bind(taken).expect("again");
    let busy = pair.phone.run(&format!("forward {taken} {HUB}:80"));
    assert!(busy.code == Some(75) && busy.err.contains("in use by another program"), "{busy:?}");
}

#[test]
fn without_a_daemon_they_say_how_to_start_one_and_beside_a_device_without_mesh_they_refuse() {
    let home = Home::new();
    home.ok("id new jis:home:sensor");
    for (command, hint) in [
        ("forward 1883 jis:home:hub:1883", "tibet-overlay up --node ADDR --forward LISTEN=NAME:PORT"),
        ("forward --remove 1883", "tibet-overlay up --node ADDR --forward LISTEN=NAME:PORT"),
        ("expose 1883", "tibet-overlay up --node ADDR --expose PORT[:LOCAL]"),
    ] {
        let said = format!("error: no daemon runs here: connections pass through it\n  try: {hint}\n");
        assert_eq!(home.run(command).refusal(), (Some(1), said.as_str()), "{command}");
    }
    let said =
        "error: no daemon runs here: only one that does has peers\n  try: tibet-overlay up --node ADDR\n";
    assert_eq!(home.run("status --peers").refusal(), (Some(1), said));
    for wrong in [
        "forward x jis:a:1",
        "forward 1 jis:a",
        "forward 1 jis:a:0",
        "forward 1",
        "expose 0",
        "expose x",
        "forward --remove 1 jis:a:1",
        "expose 1:x",
        "forward 70000 jis:a:1",
    ] {
        assert_eq!(home.run(wrong).code, Some(2), "{wrong}");
    }

    let server = Home::new();
    let (_node, at) = network::serve(&server);
    let plain = Home::new();
    let _up = network::up(&plain, HUB, &at, "--no-mesh");
    let refusal = |what: &str| {
        format!("error: {what} takes no part in the mesh\n  try: tibet-overlay up without --no-mesh\n")
    };
    for command in ["forward 0 jis:a:1", "forward --remove 1", "expose 1", "expose --remove 1", "ip jis:a"] {
        assert_eq!(plain.run(command).refusal(), (Some(1), refusal("this device").as_str()), "{command}");
    }
    assert_eq!(plain.run("status --peers").refusal(), (Some(1), refusal(HUB).as_str()));
    assert!(plain.ok("status").contains("takes no part"));
}

/// The same address whoever is asked: it follows from the identity.
#[test]
fn an_overlay_address_is_found_by_name_through_the_daemon_through_a_node_and_in_the_own_files() {
    let pair = pair();
    let own = pair.hub.ok("ip");
    assert_eq!(own.lines().count(), 1);
    assert!(own.starts_with("fd"), "{own}");
    let shown = pair.hub.json("id show", 0)["overlay_address"].clone();
    assert_eq!(own.trim_end(), shown, "the daemon says what the files say");
    assert_eq!(pair.phone.ok(&format!("ip {HUB}")), own, "through the daemon");
    assert_eq!(pair.hub.ok(&format!("ip {HUB}")), own, "of itself");
    let stranger = Home::new();
    assert_eq!(stranger.ok(&format!("ip {HUB} --node {}", pair.at)), own, "through a node");
    let all = pair.phone.json(&format!("ip {HUB}"), 0);
    assert_eq!(all["schema"], "tibet.overlay.ip");
    assert_eq!(all["dns_name"], "hub.home.tibet.internal");
    assert_eq!((&all["name"], &all["overlay_address"]), (&HUB.into(), &shown));
    for (home, way) in [(&pair.phone, String::new()), (&stranger, format!(" --node {}", pair.at))] {
        let nobody = home.run(&format!("ip jis:nobody{way}"));
        assert!(nobody.code == Some(1) && nobody.err.contains("not registered"), "{nobody:?}");
    }
    let alone = Home::new();
    alone.ok("id new jis:home:sensor");
    assert_eq!(alone.ok("ip").trim_end(), alone.json("id show", 0)["overlay_address"], "without anybody");
}

/// SECURITY R5: who answers in the tunnel is the identity it belongs to, so no ping needs a signature there.
#[test]
fn a_ping_goes_through_the_tunnel_and_says_by_which_path() {
    let pair = pair();
    let begun = Instant::now();
    let report = loop {
        let report = pair.phone.json(&format!("ping {HUB}"), 0);
        assert_eq!((&report["zone"], &report["decision"]), (&"GROEN".into(), &"accept".into()), "{report}");
        if report["path"].as_str().is_some_and(|path| path.starts_with("sealed, ")) {
            break report;
        }
        assert!(begun.elapsed() < DEADLINE, "{report}");
    };
    let tunnel = report["tunnel"].as_str().expect("a path");
    assert_eq!(report["path"], format!("sealed, {tunnel}"));
    assert_eq!(report["tried"][0]["result"], "answered");
    // Many, as they come: a line for each.
    let started = Instant::now();
    let ran = pair.phone.run(&format!("ping {HUB} -c 20 --interval 0.01"));
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 20), "{ran:?}");
    assert!(ran.out.lines().all(|line| line.contains("sealed, ")), "{}", ran.out);
    assert!(started.elapsed() < Duration::from_secs(15), "they are not a second apart");
    // On the loopback interface there is no address that a record may name, and so no other path than the relay.
    let never = pair.phone.run(&format!("ping {HUB} --until-direct -c 3 --interval 0.01"));
    assert_eq!((never.code, never.out.lines().count()), (Some(1), 4), "{never:?}");
    assert!(never.out.ends_with("no direct path after 3 pings\n"), "{}", never.out);
    for wrong in
        ["--interval 0", "--interval 0.001", "--interval x", "--interval -1", "--interval NaN", "-c 0"]
    {
        assert_eq!(pair.phone.run(&format!("ping {HUB} {wrong}")).code, Some(2), "{wrong}");
    }
}

/// From behind a NAT to a public address: the path is direct within a few pings, and that ends it.
#[test]
fn pings_until_the_path_is_direct_end_when_it_is() {
    let topology = Topology::new(Layout::Public, [Nat::Symmetric, Nat::None], Nat::None);
    let Some(lab) = machines::or_skip(machines::lab(topology), "direct paths in namespaces") else { return };
    let node = lab.start("node", "node", &format!("serve --bind {NODE} --http none"));
    node.line("\"serving\"");
    let _up = [("b", HUB, PHONE), ("a", PHONE, HUB)].map(|(machine, name, other)| {
        assert_eq!(lab.ask(machine, machine, &format!("id new {name}")).0, Some(0));
        let up = format!("up --node {NODE} --bind 0.0.0.0:7150 --no-discovery --trust {other}=0.95");
        let device = lab.start(machine, machine, &up);
        device.line("registered");
        device
    });
    let begun = Instant::now();
    let (code, last) = lab.ask("a", "a", &format!("ping {HUB} --until-direct --interval 0.2 -c 200"));
    assert_eq!(code, Some(0), "{last}");
    let direct = "sealed, direct 203.0.113.111:7150";
    assert_eq!(last["path"], direct, "{last}");
    println!("direct after {} pings, {:.2} s", last["number"], begun.elapsed().as_secs_f64());
    let (code, next) = lab.ask("a", "a", &format!("ping {HUB}"));
    assert_eq!((code, &next["path"]), (Some(0), &direct.into()), "{next}");
}

/// A device that takes no part is pinged as ever, also by one that does.
#[test]
fn who_has_no_mesh_is_pinged_in_the_other_ways() {
    let server = Home::new();
    let (hub, phone) = (Home::new(), Home::new());
    let (_node, at) = network::serve(&server);
    let _hub = network::up(&hub, HUB, &at, &format!("--no-mesh --trust {PHONE}=0.95"));
    let _phone = network::up(&phone, PHONE, &at, &format!("--trust {HUB}=0.95"));
    for _ in 0..2 {
        let report = phone.json(&format!("ping {HUB}"), 0);
        assert_eq!((&report["answered"], &report["decision"]), (&true.into(), &"accept".into()), "{report}");
        assert!(report["path"].as_str().is_some_and(|path| !path.contains("sealed")), "{report}");
    }
}

/// SECURITY R54: the peer's key is the one of its verified record; and no two programs use one key at once.
#[test]
fn a_wireguard_configuration_is_made_of_the_own_files_and_the_peers_record_and_not_beside_a_daemon() {
    let pair = pair();
    let beside = pair.phone.run(&format!("wg-config {HUB} --node {}", pair.at));
    assert_eq!(beside.code, Some(75), "{beside:?}");
    assert!(
        beside.out.is_empty() && beside.err.contains("two programs must not use one transport key"),
        "{beside:?}"
    );

    let other = Home::new();
    other.ok("id new jis:home:laptop");
    let unknown = other.run(&format!("wg-config {HUB}"));
    assert_eq!(
        unknown.refusal(),
        (
            Some(1),
            "error: the record of jis:home:hub is not known here\n  try: --node ADDR asks a node for it\n"
        )
    );
    let with = format!("wg-config {HUB} --node {} --endpoint 203.0.113.7:7150", pair.at);
    let all = other.json(&with, 0);
    let address = pair.hub.ok("ip");
    let own = other.ok("ip");
    let config = all["config"].as_str().expect("text").to_owned();
    let key = all["peer_public_key"].as_str().expect("text");
    assert_eq!((key.len(), key.ends_with('=')), (44, true), "32 bytes in base64");
    for line in [
        format!("Address = {}/128", own.trim_end()),
        "MTU = 1280".to_owned(),
        format!("PublicKey = {key}"),
        format!("AllowedIPs = {}/128", address.trim_end()),
        "Endpoint = 203.0.113.7:7150".to_owned(),
        "PersistentKeepalive = 25".to_owned(),
    ] {
        assert_eq!(config.lines().filter(|found| *found == line).count(), 1, "{line}: {config}");
    }
    assert_eq!(config.matches("PrivateKey = ").count(), 1);
    let plain = other.ok(&format!("{with} --setconf --listen-port 5000"));
    assert!(!plain.contains("Address") && !plain.contains("MTU"), "{plain}");
    assert_eq!(plain.replace("ListenPort = 5000\n", "").lines().count(), config.lines().count() - 2);
    // What was verified once serves without the node.
    let known = other.json(&format!("wg-config {HUB} --endpoint 203.0.113.7:7150"), 0);
    assert_eq!(known["peer_public_key"], all["peer_public_key"]);
    for (args, code) in [
        (format!("wg-config jis:nobody --node {}", pair.at), 1),
        ("wg-config jis:home:laptop".to_owned(), 2),
        (format!("wg-config {HUB} --endpoint x"), 2),
        (format!("wg-config {HUB} --listen-port 0"), 2),
    ] {
        let ran = other.run(&args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{args}: {ran:?}");
    }
}
