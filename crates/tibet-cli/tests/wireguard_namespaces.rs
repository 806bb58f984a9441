//! Stock WireGuard at one end of a tunnel, from the configuration that `wg-config` prints: what travels is WireGuard, and the keys are those of the records.
//!
//! Needs root, `ip`, `nft`, `wg`, `wireguard-go` and `python3`. Without them the test says so in one line and passes, unless `TIBET_REQUIRE_ALL` is set, as it
//! is in CI.

#![allow(clippy::print_stdout, reason = "what was measured, and what was skipped")]

mod common;

use std::process::{Command, Stdio};
use std::time::Instant;

use common::machines::{self, Machines as _};
use common::running::{DEADLINE, Running};
use rustix::process::Signal;
use tibet_cli::overlay::lab::{Lab, LabError, Layout, NODE, Nat, Topology};

const ECHO: &str = "
import socket, sys
listener = socket.create_server((sys.argv[1], 7000), family=socket.AF_INET6)
print('listening', flush=True)
while True:
    stream, _ = listener.accept()
    while data := stream.recv(65536):
        stream.sendall(data)
    stream.close()
";

/// Sends a megabyte and wants it back.
const CLIENT: &str = "
import os, socket, sys, threading
stream = socket.create_connection((sys.argv[1], 7000), timeout=30)
sent = os.urandom(1 << 20)
threading.Thread(target=stream.sendall, args=(sent,)).start()
back = bytearray()
while len(back) < len(sent) and (data := stream.recv(65536)):
    back += data
assert back == sent, len(back)
print('all', stream.getpeername()[0])
";

fn lab() -> Option<Lab> {
    let missing = ["wg", "wireguard-go", "python3"].into_iter().find(|program| {
        let tried =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_err()
    });
    let made = match missing {
        Some(program) => Err(LabError::new(format!("there is no {program}"))),
        None => machines::lab(Topology::new(Layout::Public, [Nat::Symmetric, Nat::None], Nat::None)),
    };
    machines::or_skip(made, "stock WireGuard in namespaces")
}

/// What a program printed; it must end well.
fn done(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a program again and again until it ends well.
fn until_done(command: impl Fn() -> Command) -> String {
    let begun = Instant::now();
    loop {
        let output = command().output().expect("it runs");
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).trim().to_owned();
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(begun.elapsed() < DEADLINE, "{:?}: {said}", command());
    }
}

/// From behind a NAT, to a device with a public address. SECURITY R54.
#[test]
fn stock_wireguard_reaches_a_device_with_the_printed_configuration() {
    let Some(lab) = lab() else { return };
    let node = lab.start("node", "node", &format!("serve --bind {NODE} --http none"));
    node.line("\"serving\"");
    assert_eq!(lab.ask("b", "b", "id new jis:office:hub").0, Some(0));
    let (code, made) = lab.ask("a", "a", "id new jis:home:laptop");
    assert_eq!(code, Some(0), "{made}");
    let own = made["overlay_address"].as_str().expect("an address").to_owned();
    let (code, registered) = lab.ask("a", "a", &format!("register --node {NODE}"));
    assert_eq!(code, Some(0), "{registered}");
    let up = format!(
        "up --node {NODE} --bind 0.0.0.0:7150 --no-discovery --tun tibet0 --trust jis:home:laptop=0.95"
    );
    let hub = lab.start("b", "b", &up);
    hub.line("registered");
    // Whoever is named has a tunnel before it asks for one.
    lab.ask_until("b", "b", "status --peers", |status| {
        status["mesh"]["peers"].to_string().contains("jis:home:laptop")
    });

    let (code, told) = lab.ask("a", "a", &format!("wg-config jis:office:hub --setconf --node {NODE}"));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told["endpoint"], "203.0.113.111:7150", "{told}");
    let there = told["peer_overlay_address"].as_str().expect("an address").to_owned();
    let file = lab.state("a").join("hub.conf");
    std::fs::write(&file, told["config"].as_str().expect("text")).expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();

    let interface = format!("wgt{}", std::process::id());
    let wireguard = Running::start(&mut lab.exec("a", "wireguard-go", &["--foreground", &interface]));
    until_done(|| lab.exec("a", "wg", &["show", &interface]));
    done(&mut lab.exec("a", "wg", &["setconf", &interface, &file]));
    let script = format!(
        "ip addr add {own}/128 dev {interface}; ip link set {interface} mtu 1280 up; ip route add {there}/128 dev {interface}"
    );
    lab.shell("a", &script).expect("an interface");

    let echo = Running::start(&mut lab.exec("b", "python3", &["-c", ECHO, &there]));
    echo.line("listening");
    let begun = Instant::now();
    let said = until_done(|| lab.exec("a", "python3", &["-c", CLIENT, &there]));
    println!("a megabyte there and back, with the handshake, in {:.2} s", begun.elapsed().as_secs_f64());
    assert_eq!(said, format!("all {there}"));
    let handshakes = done(&mut lab.exec("a", "wg", &["show", &interface, "latest-handshakes"]));
    let latest: u64 =
        handshakes.split_whitespace().last().and_then(|time| time.parse().ok()).expect("a time");
    assert!(latest > 0, "stock WireGuard says that it has shaken hands: {handshakes}");
    let status = lab.ask("b", "b", "status --peers").1;
    let peer = &status["mesh"]["peers"][0];
    assert!(peer["received"].as_u64() > Some(1 << 20) && peer["last_handshake_s"].is_u64(), "{peer}");
    assert_eq!(peer["direct"], true, "stock WireGuard knows no relay: {peer}");

    // Programs listen there themselves.
    let (code, told) = lab.ask("b", "b", "expose 80");
    assert!(code == Some(2) && told.to_string().contains("with a TUN device programs listen on"), "{told}");
    // It takes its socket with it.
    wireguard.signal(Signal::TERM);
    wireguard.wait();
}
