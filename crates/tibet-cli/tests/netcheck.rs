//! `netcheck` on the loopback interface: what it says, and how it ends.

mod common;

use std::net::UdpSocket;
use std::time::Instant;

use common::running::DEADLINE;
use common::{Home, members, network};

#[test]
fn a_node_that_answers_is_told_with_all_members() {
    let (server, asker) = (Home::new(), Home::new());
    let (_node, at) = network::serve(&server);
    let report = asker.json(&format!("netcheck --node {at}"), 0);
    assert_eq!(report["schema"], "tibet.overlay.netcheck");
    let nodes = "nodes[].node nodes[].address nodes[].reachable nodes[].key nodes[].rtt_ms nodes[].local nodes[].observed nodes[].second_port
        nodes[].observed_at_second_port nodes[].second_port_got_in nodes[].path_mtu nodes[].problem";
    let families = "families[].family families[].reachable families[].observed families[].mapping families[].filtering families[].hairpin
        families[].carrier_nat";
    let rest = "port_mapping port_mapping.gateway port_mapping.pcp port_mapping.nat_pmp port_mapping.upnp port_mapping.external advice took_ms relays
        schema version nodes families";
    let expected = [nodes, families, rest].join(" ");
    assert_eq!(members(&report), expected.split_whitespace().map(str::to_owned).collect());
    assert!(report["took_ms"].as_f64().expect("a number") < 5000.0);
    let text = asker.ok(&format!("netcheck --node {at}"));
    assert!(
        text.contains("no NAT") && text.contains("1500 bytes") && text.contains("direct paths"),
        "{text}"
    );
    assert!(!asker.path(".local").exists(), "it leaves nothing behind");
}

/// The daemon goes on undisturbed, and says how its relay is doing.
#[test]
fn beside_a_daemon_its_relays_are_told() {
    let (server, hub) = (Home::new(), Home::new());
    let (_node, at) = network::serve(&server);
    let _up = network::up(&hub, "jis:home:hub", &at, "");
    let begun = Instant::now();
    // Its record has to name the relay before that opens a session.
    while hub.json(&format!("netcheck --node {at}"), 0)["relays"][0]["node"] != *at {
        assert!(begun.elapsed() < DEADLINE, "no relay");
    }
    let alone = Home::new().json(&format!("netcheck --node {at}"), 0);
    assert!(alone["relays"].is_null(), "{alone}");
}

#[test]
fn without_an_answer_it_ends_with_69_and_without_a_node_with_2() {
    let home = Home::new();
    // Nobody reads what comes here.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let at = silent.local_addr().expect("address");
    let report = home.json(&format!("netcheck --node {at}"), 69);
    assert!(report["advice"].as_str().expect("text").contains("UDP is blocked"), "{report}");
    assert_eq!(report["nodes"][0]["problem"], "no answer");
    assert_eq!(home.run("netcheck").code, Some(2));
    assert_eq!(home.run("netcheck --node 127.0.0.1 --registry R").code, Some(2));
}
