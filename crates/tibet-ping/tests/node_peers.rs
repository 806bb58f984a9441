//! Who is near and where: heartbeats, probes, and what a captured packet cannot move (SECURITY R24, 3.2 row 73).

mod common;
mod harness;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use common::name;
use harness::{Net, elsewhere, quiet};
use jis::Capability;
use tibet_ping::{Encoding, Event, NodeConfig, Packet};

const PAIR: [&str; 2] = ["jis:home:sensor", "jis:home:hub"];

fn beating() -> NodeConfig {
    NodeConfig { discovery: None, ..NodeConfig::default() }
}

/// Two nodes that know and trust each other and beat.
fn pair(seed: u64, config: &NodeConfig) -> Net {
    let mut net = Net::of(seed, &PAIR, config);
    net.trust_all(0.9);
    let (name, address) = (net.hosts[1].name.clone(), net.hosts[1].address);
    net.with(0, |node, now| node.add_peer(name, address, now)).expect("a peer");
    net
}

fn where_is(net: &Net, n: usize, other: &str) -> Option<(SocketAddr, bool)> {
    net.node(n).peers().get(&name(other), net.now(n)).map(|peer| (peer.endpoint, peer.reachable))
}

#[test]
fn peers_are_found_and_proven_by_one_heartbeat() {
    let mut net = pair(1, &beating());
    net.seconds(1.0);
    assert_eq!(where_is(&net, 1, PAIR[0]), Some((net.hosts[0].address, true)));
    assert_eq!(net.count(1, |event| matches!(event, Event::PeerFound { .. })), 1);
    net.seconds(300.0);
    assert_eq!(where_is(&net, 1, PAIR[0]), Some((net.hosts[0].address, true)));
    assert_eq!(net.count(1, |event| matches!(event, Event::PeerFound { .. } | Event::PeerGone { .. })), 1);
}

/// What a node offers makes its answers long; its peers find it all the same. Where a question with two long names is longer than a heartbeat with one,
/// the second heartbeat pays for it.
#[test]
fn a_node_with_long_names_and_many_capabilities_is_found_and_proven_too() {
    let names = [
        "jis:home:a-sensor-with-a-very-long-name-on-the-third-floor:left:hand:side",
        "jis:home:a-hub-with-a-very-long-name-in-the-cellar:behind:the:door",
    ];
    let capabilities: BTreeSet<Capability> =
        (0..32).map(|n| format!("capability-number-{n}-{}", "x".repeat(30)).parse().expect("one")).collect();
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let config = NodeConfig { capabilities: capabilities.clone(), encoding, ..beating() };
        let mut net = Net::of(2, &names, &config);
        net.trust_all(0.9);
        let address = net.hosts[1].address;
        net.with(0, |node, now| node.add_peer(name(names[1]), address, now)).expect("a peer");
        net.seconds(if encoding == Encoding::Json { 1.0 } else { 31.0 });
        assert_eq!(where_is(&net, 1, names[0]), Some((net.hosts[0].address, true)), "{encoding:?}");
    }
}

#[test]
fn a_peer_that_falls_silent_is_gone_after_two_minutes() {
    let mut net = pair(3, &beating());
    net.seconds(31.0);
    net.cut(0, 1);
    net.seconds(110.0);
    assert!(where_is(&net, 1, PAIR[0]).is_some());
    net.seconds(15.0);
    assert!(where_is(&net, 1, PAIR[0]).is_none());
    net.seconds(45.0);
    assert_eq!(net.count(1, |event| matches!(event, Event::PeerGone { .. })), 1);
    // The operator's peer stays where it was entered.
    assert_eq!(where_is(&net, 0, PAIR[1]), Some((net.hosts[1].address, true)));
    net.join(0, 1);
    net.seconds(31.0);
    assert_eq!(net.count(1, |event| matches!(event, Event::PeerFound { .. })), 2);
}

/// R24: it has moved when it answers from there.
#[test]
fn a_peer_moves_when_it_answers_from_its_new_address() {
    let mut net = pair(4, &beating());
    net.seconds(31.0);
    let (old, new) = (net.hosts[0].address, elsewhere(1));
    net.move_to(0, new);
    net.with(0, |node, now| node.send_heartbeat(now));
    assert_eq!(where_is(&net, 1, PAIR[0]), Some((old, true)), "before it has answered");
    net.seconds(1.0);
    assert_eq!(where_is(&net, 1, PAIR[0]), Some((new, true)));
    let moved = |e: &Event| matches!(e, Event::PeerMoved { from, to, .. } if (*from, *to) == (old, new));
    assert_eq!(net.count(1, moved), 1);
}

/// R24: a captured packet is sent from another address, before the true one arrives and after. Nothing moves, no more goes to that address than came
/// from it, and the peer is not taken for gone though its own packets now come second.
#[test]
fn a_captured_heartbeat_sent_from_elsewhere_moves_nothing() {
    // Its heartbeats are all sent here, and all of them are captured.
    let mut net = pair(5, &quiet());
    net.with(0, |node, now| node.send_heartbeat(now));
    net.seconds(1.0);
    let home = net.hosts[0].address;
    for round in 0..10 {
        let mark = net.captures.len();
        let from = elsewhere(round);
        net.with(0, |node, now| node.send_heartbeat(now));
        let captured = net.captures[mark..].iter().find(|capture| capture.from == home).expect("a heartbeat");
        let bytes = captured.bytes.clone();
        net.throw(from, 1, &bytes);
        net.seconds(29.5);
        net.throw(from, 1, &bytes);
        assert!(net.bytes_to(from) <= bytes.len(), "{} bytes for {}", net.bytes_to(from), bytes.len());
        assert_eq!(where_is(&net, 1, PAIR[0]), Some((home, true)), "round {round}");
    }
    let moved = |event: &Event| matches!(event, Event::PeerMoved { .. } | Event::PeerGone { .. });
    assert_eq!(net.count(1, moved), 0);
}

/// R15: an address that only a captured packet speaks for gets no heartbeats but those it paid for.
#[test]
fn a_stranger_in_a_peers_name_gets_no_heartbeats() {
    let mut net = Net::of(6, &PAIR, &beating());
    net.trust(1, 0, 0.9);
    let packet = Packet::heartbeat(&name(PAIR[0]), common::fresh(1, net.time().wall));
    let bytes = net.signed(packet, 0);
    net.throw(elsewhere(1), 1, &bytes);
    assert!(net.bytes_to(elsewhere(1)) > 0, "it is asked whether it is there");
    net.seconds(300.0);
    assert!(net.bytes_to(elsewhere(1)) <= bytes.len());
}

/// R20: no sign of life to a peer that has fallen to ROOD.
#[test]
fn a_peer_that_falls_to_rood_hears_nothing_more() {
    let mut net = pair(7, &beating());
    net.seconds(31.0);
    net.trust(1, 0, 0.1);
    let mark = net.captures.len();
    net.seconds(200.0);
    let heard = net.captures[mark..].iter().filter(|c| c.to == Some(net.hosts[0].address)).count();
    assert_eq!(heard, 0);
}

/// Row 73: being heard, asked or seen raises nobody's trust.
#[test]
fn row_73_trust_is_not_raised_by_heartbeats_and_questions() {
    let mut net = pair(8, &beating());
    net.trust(1, 0, 0.5);
    let before = net.node(1).trust_in(&name(PAIR[0]), net.now(1).wall);
    for _ in 0..20 {
        net.ask(0, 1);
        net.ask(1, 0);
        net.seconds(60.0);
    }
    assert_eq!(net.node(1).trust_in(&name(PAIR[0]), net.now(1).wall), before, "row 73");
}

/// Rows 11 and 12.
#[test]
fn row_11_and_12_addresses_that_cannot_be_answered_and_our_own_packets() {
    let mut net = Net::of(9, &PAIR, &quiet());
    net.trust(1, 0, 0.9);
    let mapped = format!("[::ffff:{}]:7150", net.hosts[1].address.ip());
    let sources = [
        "10.0.0.7:0",
        "0.0.0.0:7150",
        "255.255.255.255:7150",
        "224.0.71.50:7150",
        "[ff02::1]:7150",
        "[::]:7150",
        "[::ffff:224.0.71.50]:7150",
        &net.hosts[1].address.to_string(),
        &mapped,
    ]
    .map(|text| text.parse::<SocketAddr>().expect("an address"));
    for (n, from) in sources.into_iter().enumerate() {
        let packet = net.packet(PAIR[0], 1);
        let bytes = net.signed(packet, 0);
        net.throw(from, 1, &bytes);
        assert_eq!(net.dropped(1, "bad_source_address"), n as u64 + 1, "row 11: {from}");
    }
    let packet = net.packet(PAIR[1], 0);
    let bytes = net.signed(packet, 1);
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!((net.dropped(1, "own"), net.captures.len()), (1, 0), "row 12");
    net.ask(0, 1);
    net.seconds(1.0);
    assert_eq!(net.answers(0).len(), 1);
}
