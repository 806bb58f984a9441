//! An overlay node and devices on machines of their own, behind home routers and a carrier's NAT: found, verified and pinged by name, wherever they move.
//!
//! Needs root, `ip` and `nft`. Without them the tests say so in one line and pass, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

#![allow(clippy::print_stdout, reason = "what was measured, and what was skipped")]

mod common;

use std::time::{Duration, Instant};

use common::machines::{self, Machines as _};
use common::running::Running;
use serde_json::Value;
use tibet_cli::overlay::lab::{Lab, Layout, Nat, Topology};

/// Two homes with the very same addresses inside, behind one carrier.
fn lab(nat: Nat) -> Option<Lab> {
    let topology = Topology::new(Layout::Shared, [nat; 2], nat).same_address();
    machines::or_skip(machines::lab(topology), "namespaces behind NATs")
}

fn serve(lab: &Lab) -> Running {
    let node = lab.start("node", "node", "serve --bind 203.0.113.1:7150 --http none");
    node.line("\"serving\"");
    node
}

fn up(lab: &Lab, home: &str) -> Running {
    if !lab.state(home).exists() {
        let (code, made) = lab.ask(home, home, &format!("id new jis:home-{home}:hub"));
        assert_eq!(code, Some(0), "{made}");
    }
    let device = lab.start(home, home, "up --node 203.0.113.1:7150 --bind 0.0.0.0:7150 --capability mqtt");
    device.line("registered");
    device
}

/// Text somewhere in what was answered.
fn says(value: &Value, text: &str) -> bool {
    value.to_string().contains(text)
}

/// Both devices have the very same inner address, and share the carrier's public one: nothing but their keys tells them apart.
fn two_homes(nat: Nat) {
    let Some(lab) = lab(nat) else { return };
    let _node = serve(&lab);
    let _devices = ["a", "b"].map(|home| up(&lab, home));
    let mut fingerprints = Vec::new();
    for (here, there) in [("a", "b"), ("b", "a")] {
        let name = format!("jis:home-{there}:hub");
        let (code, resolved) = lab.ask(here, here, &format!("resolve {name}"));
        assert_eq!(code, Some(0), "{nat:?}: {resolved}");
        assert!(says(&resolved, "203.0.113.100:") && says(&resolved, "192.168.1.10:7150"), "{resolved}");
        let (code, verified) = lab.ask(here, here, &format!("verify {name}"));
        assert_eq!((code, &verified["verified"]), (Some(0), &Value::Bool(true)), "{nat:?}: {verified}");
        fingerprints.push(verified["fingerprint"].clone());
        let (code, pinged) = lab.ask(here, here, &format!("ping {name}"));
        assert_eq!(code, Some(0), "{nat:?}: {pinged}");
        assert!(says(&pinged, "203.0.113.1:7150"), "the path goes through the node: {pinged}");
    }
    assert!(fingerprints[0].is_string() && fingerprints[0] != fingerprints[1]);
    let (code, found) = lab.ask("a", "a", "find mqtt");
    assert!(code == Some(0) && says(&found, "jis:home-a:hub") && says(&found, "jis:home-b:hub"), "{found}");
    // Somebody without an identity, elsewhere, with nothing but the node's address.
    let (code, verified) = lab.ask("b", "nobody", "verify --node 203.0.113.1:7150 jis:home-a:hub");
    assert_eq!(code, Some(0), "{nat:?}: {verified}");
}

#[test]
fn behind_two_cone_nats_devices_are_verified_and_pinged_by_name() {
    two_homes(Nat::Cone);
}

#[test]
fn behind_two_symmetric_nats_devices_are_verified_and_pinged_by_name() {
    two_homes(Nat::Symmetric);
}

/// The device gets another address in the middle of it, and is found there; the node is killed, and everything comes back.
#[test]
fn a_device_that_moves_is_found_again_and_so_is_all_after_the_node_was_killed() {
    let Some(lab) = lab(Nat::Cone) else { return };
    let node = serve(&lab);
    let _devices = ["a", "b"].map(|home| up(&lab, home));
    let before = lab.ask("b", "b", "resolve jis:home-a:hub").1;
    assert!(says(&before, "192.168.1.10:7150"), "{before}");

    let moved = Instant::now();
    lab.shell(
        "a",
        "ip addr flush dev wan; ip addr add 192.168.1.77/24 dev wan; ip route add default via 192.168.1.1",
    )
    .expect("moved");
    lab.ask_until("b", "b", "resolve --node 203.0.113.1:7150 jis:home-a:hub", |answer| {
        says(answer, "192.168.1.77:7150")
    });
    let found = moved.elapsed();
    println!("found again {:.1} s after it moved", found.as_secs_f64());
    assert!(found < Duration::from_secs(5), "found after {found:?}");
    lab.ask_until("b", "b", "verify jis:home-a:hub", |answer| answer["verified"] == Value::Bool(true));

    node.kill();
    // What is known stays of use while no node is there (SECURITY R42).
    let (code, known) = lab.ask("b", "b", "resolve jis:home-a:hub");
    assert!(code == Some(0) && says(&known, "192.168.1.77:7150"), "{known}");
    let _node = serve(&lab);
    let back = Instant::now();
    lab.ask_until("b", "b", "verify jis:home-a:hub", |answer| answer["verified"] == Value::Bool(true));
    println!("verified again {:.1} s after the node was back", back.elapsed().as_secs_f64());
}
