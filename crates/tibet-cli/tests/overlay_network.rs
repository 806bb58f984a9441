//! Three terminals: a node, two devices that are up, and commands that go through them.

mod common;

use std::time::Instant;

use common::Home;
use common::network::{self, serve, up};
use common::running::{DEADLINE, Running};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn devices_are_verified_resolved_found_and_pinged_by_name() {
    let (server, sensor, hub, stranger) = (Home::new(), Home::new(), Home::new(), Home::new());
    let (_node, at) = serve(&server);
    let mut one = up(&sensor, "jis:home:sensor", &at, "--capability mqtt");
    let _two = up(&hub, "jis:home:hub", &at, "");

    // Through the daemon.
    let verified = hub.json("verify jis:home:sensor", 0);
    assert_eq!((&verified["schema"], &verified["verified"]), (&"tibet.overlay.verify".into(), &true.into()));
    assert_eq!(verified["path"], format!("via node {at}"));
    assert!(verified["rtt_ms"].is_number() && verified["bound_since"].is_string(), "{verified}");
    let resolved = hub.json("resolve jis:home:sensor", 0);
    assert_eq!((&resolved["resolved"], &resolved["fingerprint"]), (&true.into(), &verified["fingerprint"]));
    let found = hub.json("find mqtt", 0);
    assert_eq!((&found["total"], &found["devices"][0]["name"]), (&1.into(), &"jis:home:sensor".into()));
    assert_eq!(hub.json("find coffee", 1)["total"], 0);
    // Nobody vouches for the hub at the sensor: a human would decide there. That is an answer.
    let ping = hub.json("ping jis:home:sensor", 0);
    assert_eq!((&ping["zone"], &ping["decision"]), (&"GEEL".into(), &"pending".into()), "{ping}");
    assert_eq!(ping["path"], format!("via node {at}"));
    let status = sensor.json("status", 0);
    assert_eq!(
        (&status["name"], &status["nodes"][0]["state"]),
        (&"jis:home:sensor".into(), &"registered".into())
    );

    // Without a daemon, and without an identity.
    let verified = stranger.json(&format!("verify jis:home:sensor --node {at}"), 0);
    assert_eq!(verified["verified"], true);
    assert_eq!(stranger.json(&format!("resolve jis:home:nobody --node {at}"), 1)["resolved"], false);
    assert_eq!(stranger.json(&format!("status --node {at}"), 0)["nodes"][0]["key"], verified["node_key"]);
    let silence = stranger.json(&format!("ping jis:home:sensor --node {at}"), 1);
    assert_eq!(
        (&silence["answered"], silence["tried"].as_array().map(Vec::len)),
        (&false.into(), Some(2)),
        "{silence}"
    );
    let nowhere = stranger.run("ping jis:home:sensor");
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    assert!(nowhere.err.contains("try: --node"), "{nowhere:?}");

    // Terminals are for people.
    let text = hub.ok("verify jis:home:sensor");
    assert!(
        text.starts_with("✓ jis:home:sensor is who it says it is") && text.contains("via node"),
        "{text}"
    );

    // A second one of the same device does not start.
    let second = sensor.run(&format!("up --node {at} --bind 127.0.0.1:0 --no-discovery"));
    assert_eq!(second.code, Some(75), "{second:?}");

    one.signal(Signal::TERM);
    assert_eq!(one.ended(), Some(0));
    one.event("down", "name", "jis:home:sensor");
    let gone = hub.json("verify jis:home:sensor", 69);
    assert_eq!((&gone["verified"], &gone["asked"]), (&false.into(), &false.into()));
}

#[test]
fn a_trusted_name_gets_through_and_a_rotated_key_is_taken_up() {
    let (server, sensor, hub) = (Home::new(), Home::new(), Home::new());
    let (_node, at) = serve(&server);
    let one = up(&sensor, "jis:home:sensor", &at, "--trust jis:home:hub=0.95");
    hub.ok("id new jis:home:hub");
    let registered = hub.json(&format!("register --node {at} --capability door"), 0);
    assert_eq!(
        (&registered["nodes"][0]["registered"], &registered["capabilities"][0]),
        (&true.into(), &"door".into())
    );
    let ping = hub.json(&format!("ping jis:home:sensor --node {at}"), 0);
    assert_eq!((&ping["zone"], &ping["decision"]), (&"GROEN".into(), &"accept".into()), "{ping}");
    assert!(ping["path"].as_str().is_some_and(|path| path.starts_with("direct to ")), "{ping}");

    sensor.ok("id rotate");
    // At once, instead of within a second.
    one.signal(Signal::HUP);
    let until = Instant::now() + DEADLINE;
    loop {
        // Between the device's own change and the node's hearing of it, its proofs do not convince.
        let ran = hub.run(&format!("verify jis:home:sensor --node {at} --json"));
        let verified: Value = serde_json::from_str(&ran.out).expect("JSON");
        if verified["generation"] == 1 && verified["verified"] == true {
            break;
        }
        assert!(Instant::now() < until, "{verified}");
    }
}

/// What a node has of a name, asked as a stranger who remembers nothing.
fn generation(at: &str, name: &str) -> Value {
    let ran = Home::new().run(&format!("resolve {name} --node {at} --json"));
    serde_json::from_str::<Value>(&ran.out).expect("JSON")["generation"].clone()
}

#[test]
fn a_new_key_and_its_end_reach_the_nodes_of_the_daemon_before_the_command_ends() {
    let (one, other, sensor) = (Home::new(), Home::new(), Home::new());
    let ((_one, one), (_other, other)) = (serve(&one), serve(&other));
    let mut daemon = up(&sensor, "jis:home:sensor", &format!("{one},{other}"), "");
    for at in [&one, &other] {
        while generation(at, "jis:home:sensor") != 0 {}
    }
    let rotated = sensor.json("id rotate", 0);
    let told = |node: &str| serde_json::json!({ "node": node, "told": true, "problem": null });
    assert_eq!(rotated["nodes"], serde_json::json!([told(&one), told(&other)]));
    assert_eq!(rotated["registry_told"], false);
    for at in [&one, &other] {
        assert_eq!(generation(at, "jis:home:sensor"), 1, "{at}");
    }
    // It did not lose its way to the device, which a word from another socket would have done.
    let verified = Home::new().json(&format!("verify jis:home:sensor --node {one}"), 0);
    assert_eq!((&verified["verified"], &verified["generation"]), (&true.into(), &1.into()), "{verified}");
    assert!(!sensor.state().join("registry").exists(), "a device needs no registry");

    let revoked = sensor.json("id revoke --reason stolen", 0);
    assert_eq!(revoked["nodes"].as_array().map(Vec::len), Some(2));
    assert!(revoked["nodes"].as_array().expect("nodes").iter().all(|node| node["told"] == true), "{revoked}");
    for at in [&one, &other] {
        let ran = Home::new().run(&format!("resolve jis:home:sensor --node {at}"));
        assert!(ran.code == Some(1) && ran.out.contains("revoked"), "{at}: {ran:?}");
    }
    // What is revoked signs nothing more: the daemon has ended, and said why.
    assert_eq!(revoked["daemon_ended"], true, "{revoked}");
    let error: Value = serde_json::from_str(&daemon.note("tibet.error")).expect("JSON");
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("the key of jis:home:sensor is revoked"), "{error}");
    assert!(error["error"]["hint"].as_str().is_some_and(|hint| hint.contains("id rotate")), "{error}");
    assert_eq!(daemon.ended(), Some(1));
    // As it says.
    sensor.ok(&format!("id rotate --node {one}"));
    let back = network::run(&sensor, &format!("up --node {one} --bind 127.0.0.1:0 --no-discovery"));
    back.event("node", "state", "registered");
    assert_eq!(Home::new().json(&format!("verify jis:home:sensor --node {one}"), 0)["generation"], 2);
}

#[test]
fn a_new_key_is_sent_to_the_given_nodes_and_that_none_has_heard_is_no_success() {
    let (server, hub) = (Home::new(), Home::new());
    let (_node, at) = serve(&server);
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let nobody = closed.local_addr().expect("an address");
    hub.ok("id new jis:home:hub");
    hub.ok(&format!("register --node {at}"));
    let rotated = hub.json(&format!("id rotate --node {at},{nobody}"), 0);
    assert_eq!(rotated["nodes"][0]["told"], true, "{rotated}");
    assert_eq!(rotated["nodes"][1]["told"], false, "{rotated}");
    assert_eq!(generation(&at, "jis:home:hub"), 1);

    let lost = hub.run(&format!("id rotate --node {nobody}"));
    assert_eq!(lost.code, Some(69), "{lost:?}");
    assert!(lost.out.contains("rotated jis:home:hub to generation 2"), "{lost:?}");
    assert!(
        lost.out.contains("not told to the node") && lost.out.contains("try: tibet-overlay register --node"),
        "{lost:?}"
    );
    // As it says.
    hub.ok(&format!("register --node {at}"));
    assert_eq!(generation(&at, "jis:home:hub"), 2);
    let revoked = hub.run(&format!("id revoke --node {nobody} --json"));
    assert_eq!(revoked.code, Some(69), "{revoked:?}");
    let again = hub.json(&format!("id revoke --node {at}"), 0);
    assert_eq!(again["nodes"][0]["told"], true, "{again}");
    assert_eq!(hub.run(&format!("resolve jis:home:hub --node {at}")).code, Some(1));
}

#[test]
fn up_tells_where_the_node_sees_the_device_and_logs_on_standard_error() {
    let (server, hub) = (Home::new(), Home::new());
    let (_node, at) = serve(&server);
    hub.ok("id new jis:home:hub");
    let arguments = format!("up --node {at} --bind 127.0.0.1:0 --no-discovery");
    let up = Running::start(hub.command().args(arguments.split(' ')));
    let line = up.line("registered with");
    assert!(line.contains(&format!("registered with {at}; the node sees it at 127.0.0.1:")), "{line}");
    let logged = up.note("registered");
    assert!(
        logged.contains("INFO") && !logged.contains('\u{1b}'),
        "no colours where nobody sees them: {logged:?}"
    );
}

#[test]
fn what_cannot_be_done_says_what_to_try() {
    let home = Home::new();
    home.ok("id new jis:home:sensor");
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let at = closed.local_addr().expect("an address");
    for (args, code, words) in [
        ("up".to_owned(), 2, "--node ADDR"),
        ("up --node a:b:c --bind 127.0.0.1:0".to_owned(), 2, "invalid value"),
        ("up --node 127.0.0.1 --trust jis:x=2".to_owned(), 2, "--trust"),
        (format!("verify jis:home:sensor --node {at}"), 69, "does not answer"),
        ("find a/b/\u{7} --node 127.0.0.1:9".to_owned(), 2, "a capability is"),
    ] {
        let ran = home.run(&args);
        assert_eq!(ran.code, Some(code), "{args}: {ran:?}");
        assert!(ran.err.contains(words), "{args}: {ran:?}");
    }
}
