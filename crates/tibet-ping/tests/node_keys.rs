//! Whose word a node takes: first contacts, changed keys, and devices that sign nothing (SECURITY R5, R72).

mod common;
mod harness;

use common::{key, name};
use harness::{Net, elsewhere, quiet, sign};
use jis::Name;
use tibet_core::Zone;
use tibet_ping::{
    Binding, Decision, Encoding, Event, FirstContact, Glob, KeySource, MAX_PINS, NodeConfig, Packet, Proof,
    RoutingMode, Rule, RulePattern,
};

const PAIR: [&str; 2] = ["jis:home:sensor", "jis:home:hub"];

fn pair(seed: u64) -> Net {
    let mut net = Net::of(seed, &PAIR, &quiet());
    net.trust(1, 0, 0.9);
    net
}

fn everybody(zone: Zone, decision: Decision) -> Rule {
    let pattern = RulePattern::default();
    Rule { id: "all".into(), name: "all".into(), pattern, zone, decision, priority: 50 }
}

/// Row 33.
#[test]
fn row_33_a_changed_key_is_dropped_and_told() {
    let mut net = pair(1);
    net.ask(0, 1);
    net.seconds(1.0);
    let packet = net.packet(PAIR[0], 1);
    let bytes = net.signed(packet, 7);
    net.captures.clear();
    net.throw(elsewhere(1), 1, &bytes);
    assert!(net.captures.is_empty());
    let changed = |e: &Event| matches!(e, Event::ChangedKey { name, .. } if name.as_str() == PAIR[0]);
    assert_eq!((net.count(1, changed), net.dropped(1, "wrong_key")), (1, 1));
    // The operator accepts that it has changed: the next packet is a first contact again.
    assert!(net.with(1, |node, _| node.forget_key(&name(PAIR[0]))));
    let packet = net.packet(PAIR[0], 1);
    let bytes = net.signed(packet, 7);
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!(net.pings(1).last().map(|ping| ping.proof), Some(Proof::FirstContact));
}

#[test]
fn the_key_the_operator_names_is_the_only_one() {
    let mut net = pair(2);
    let binding = Binding { name: name(PAIR[0]), key: key(7).public_key(), generation: 0 };
    assert_eq!(net.with(1, |node, _| node.bind_key(binding, KeySource::Operator)), Ok(true));
    net.ask(0, 1);
    net.seconds(1.0);
    assert!(net.answers(0).is_empty());
    let packet = net.packet(PAIR[0], 1);
    let bytes = net.signed(packet, 7);
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!(net.pings(1)[0].proof, Proof::Verified);
}

#[test]
fn a_node_that_refuses_first_contacts_answers_and_believes_only_whom_it_knows() {
    let config = NodeConfig { first_contact: FirstContact::Refuse, ..quiet() };
    let mut net = Net::of(3, &PAIR, &config);
    net.trust_all(0.9);
    net.ask(0, 1);
    net.seconds(1.0);
    assert_eq!((net.dropped(1, "unknown_name"), net.sent_by(1).len()), (1, 0));
    for (n, other) in [(0, 1), (1, 0)] {
        let binding = Binding { name: name(PAIR[other]), key: key(other).public_key(), generation: 0 };
        net.with(n, |node, _| node.bind_key(binding, KeySource::Operator)).expect("room");
    }
    net.ask(0, 1);
    net.seconds(1.0);
    assert_eq!(net.answers(0)[0].proof, Proof::Verified);
}

/// A rule that lets everybody wait lets everybody be pinned; the pins have an end, and the operator's keys and known names keep working.
#[test]
fn strangers_can_fill_the_pins_and_nothing_else() {
    let mut net = pair(4);
    net.ask(0, 1);
    net.seconds(1.0);
    net.with(1, |node, _| node.add_rule(everybody(Zone::Geel, Decision::Pending))).expect("room");
    for n in 0..MAX_PINS + 50 {
        let packet = net.packet(&format!("jis:stranger:n{n}"), 1);
        let bytes = net.signed(packet, 1000 + n);
        net.throw(elsewhere((n % 5000) as u16), 1, &bytes);
        net.seconds(0.001);
    }
    assert_eq!(net.node(1).stats().keys, MAX_PINS);
    assert_eq!(net.dropped(1, "unknown_name"), 51);
    assert!(net.with(1, |node, _| node.remove_rule("all")) == 1);
    net.ask(0, 1);
    net.seconds(1.0);
    assert_eq!(net.answers(0).last().map(|a| a.response.decision), Some(Decision::Accept));
    let binding = Binding { name: name("jis:new"), key: key(9).public_key(), generation: 0 };
    assert_eq!(net.with(1, |node, _| node.bind_key(binding, KeySource::Operator)), Ok(true));
}

/// A self-certifying name brings its key along, so that anybody has as many as he likes: such names are strangers like others. What they say costs
/// no check and leaves no trace while nobody trusts them.
#[test]
fn self_certifying_strangers_are_strangers() {
    let mut net = pair(5);
    for n in 0..400 {
        let secret = key(5000 + n);
        let source = Name::of_key(&secret.public_key());
        let packet = net.packet(source.as_str(), 1);
        let bytes = net.signed(packet, 5000 + n);
        net.throw(elsewhere(n as u16), 1, &bytes);
    }
    let stats = net.node(1).stats();
    assert_eq!((stats.nonces, stats.keys, stats.peers, stats.sent), (0, 0, 0, 0));
    assert!(net.pings(1).len() <= 20, "{} events for strangers", net.pings(1).len());
    assert_eq!(net.dropped(1, "rood"), 400);
    // One that is trusted is known by its name alone.
    let trusted = Name::of_key(&key(5001).public_key());
    net.with(1, |node, now| node.set_trust(trusted.clone(), 0.9, "test", now)).expect("a score");
    let packet = net.packet(trusted.as_str(), 1);
    let bytes = net.signed(packet, 5001);
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!(net.pings(1).last().map(|p| (p.proof, p.decision)), Some((Proof::Verified, Decision::Accept)));
}

/// A flood of signatures by made-up keys takes the strangers' share; a known peer that is where it was is not kept waiting.
#[test]
fn known_peers_come_before_a_flood_of_strangers() {
    let mut net = pair(6);
    net.trust(0, 1, 0.9);
    net.ask(0, 1);
    net.seconds(1.0);
    let known = net.hosts[0].address;
    net.with(1, |node, _| node.add_rule(everybody(Zone::Geel, Decision::Pending))).expect("room");
    let flood: Vec<_> = (0..600)
        .map(|n| {
            let packet = net.packet(&format!("jis:stranger:n{n}"), 1);
            let mut packet = sign(packet, 1000 + n, net.time());
            packet.purpose = "altered".into();
            packet.encode(Encoding::Json).expect("encoded")
        })
        .collect();
    flood.iter().for_each(|bytes| net.throw(elsewhere(1), 1, bytes));
    assert!(net.dropped(1, "bad_signature") <= 110, "{:?}", net.node(1).stats());
    assert!(net.dropped(1, "signature_budget") >= 490);
    let packet = net.packet(PAIR[0], 1);
    let bytes = net.signed(packet, 0);
    net.throw(known, 1, &bytes);
    assert_eq!(net.pings(1).last().map(|ping| ping.proof), Some(Proof::Verified));
}

/// Whoever knows where a peer is can write its address on datagrams: the checks of these are limited too, and the peer is heard again.
#[test]
fn forged_packets_with_a_peers_address_are_not_all_looked_at() {
    let mut net = pair(7);
    net.trust(0, 1, 0.9);
    net.ask(0, 1);
    net.seconds(1.0);
    let known = net.hosts[0].address;
    for n in 0..5000 {
        let packet = net.packet(PAIR[0], 1);
        let mut packet = if n == 0 { sign(packet, 0, net.time()) } else { sign_like(&net, packet) };
        packet.purpose = "altered".into();
        let bytes = packet.encode(Encoding::Json).expect("encoded");
        net.throw(known, 1, &bytes);
    }
    assert!(net.dropped(1, "bad_signature") <= 1000, "{:?}", net.node(1).stats().dropped);
    net.seconds(2.0);
    let packet = net.packet(PAIR[0], 1);
    let bytes = net.signed(packet, 0);
    net.throw(known, 1, &bytes);
    assert_eq!(net.pings(1).last().map(|ping| ping.proof), Some(Proof::Verified));
}

/// A claim of key 0 with a signature that is not worth making.
fn sign_like(net: &Net, mut packet: Packet) -> Packet {
    packet.claim = Some(tibet_ping::PingClaim {
        public_key: key(0).public_key(),
        generation: 0,
        target_key: None,
        expires_at: net.time().wall.saturating_add(tibet_ping::MAX_LIFETIME),
    });
    packet.signature = "5".repeat(128);
    packet
}

// Unsigned.

fn unsigned(net: &mut Net, source: &str) -> Vec<u8> {
    net.packet(source, 1).encode(Encoding::Json).expect("encoded")
}

/// Row 77, R72.
#[test]
fn row_77_unsigned_is_dropped_unless_allowed_and_never_better_than_geel_unless_scored() {
    let mut net = pair(10);
    let legacy = name("jis:a");
    let bytes = unsigned(&mut net, "jis:a");
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!((net.captures.len(), net.dropped(1, "unsigned")), (0, 1));
    net.with(1, |node, _| node.allow_unsigned(legacy.clone())).expect("room");
    // Allowed and trusted by nobody is ROOD.
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!((net.captures.len(), net.dropped(1, "rood")), (0, 1));
    // A rule does not lift it over GEEL,
    net.with(1, |node, _| node.add_rule(everybody(Zone::Groen, Decision::Accept))).expect("room");
    let bytes = unsigned(&mut net, "jis:a");
    net.throw(elsewhere(1), 1, &bytes);
    let ping = net.pings(1).last().copied().expect("seen");
    assert_eq!((ping.proof, ping.decision), (Proof::Unsigned, Decision::Pending));
    assert_eq!(net.captures.len(), 1);
    // the operator's own score does.
    net.with(1, |node, now| node.set_trust(legacy, 0.9, "test", now)).expect("a score");
    let bytes = unsigned(&mut net, "jis:a");
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!(net.pings(1).last().map(|ping| ping.decision), Some(Decision::Accept));
    assert_eq!(net.captures.len(), 2);
    assert_eq!(net.node(1).stats().peers, 0, "nobody who proves nothing becomes a peer");
}

/// Row 77.
#[test]
fn row_77_unsigned_after_signed_is_dropped_for_ever() {
    let mut net = pair(11);
    net.with(1, |node, _| node.allow_unsigned(name(PAIR[0]))).expect("room");
    let bytes = unsigned(&mut net, PAIR[0]);
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!(net.pings(1).len(), 1);
    net.ask(0, 1);
    net.seconds(1.0);
    net.captures.clear();
    let bytes = unsigned(&mut net, PAIR[0]);
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!((net.captures.len(), net.dropped(1, "downgrade")), (0, 1));
}

/// Row 77.
#[test]
fn row_77_unsigned_is_not_relayed() {
    let mut net = pair(12);
    net.with(1, |node, now| {
        node.allow_unsigned(name("jis:a")).expect("room");
        node.set_trust(name("jis:a"), 0.9, "test", now).expect("a score");
    });
    net.ask(0, 1);
    net.seconds(1.0);
    net.captures.clear();
    let packet =
        Packet { target_did: "jis:far".into(), routing_mode: RoutingMode::Mesh, ..net.packet("jis:a", 1) };
    net.throw(elsewhere(1), 1, &packet.encode(Encoding::Json).expect("encoded"));
    assert_eq!((net.captures.len(), net.dropped(1, "unsigned")), (0, 1));
}

/// R64: whoever writes an allowed name fills no record either.
#[test]
fn what_is_told_of_the_unsigned_is_limited() {
    let mut net = pair(13);
    for n in 0..200 {
        let source = format!("jis:legacy:n{n}");
        net.with(1, |node, _| node.allow_unsigned(name(&source))).expect("room");
        for _ in 0..5 {
            let bytes = unsigned(&mut net, &source);
            net.throw(elsewhere(n), 1, &bytes);
        }
    }
    assert!(net.hosts[1].events.len() <= 30, "{} events", net.hosts[1].events.len());
    assert_eq!(net.dropped(1, "rood"), 1000);
}

#[test]
fn a_glob_for_a_family_is_no_score_for_the_unsigned() {
    let Ok(glob) = "jis:home:*".parse::<Glob>();
    let pattern = RulePattern { source_did: Some(glob), ..RulePattern::default() };
    let mut net = pair(14);
    let rule = Rule { pattern, ..everybody(Zone::Groen, Decision::Accept) };
    net.with(1, |node, _| node.add_rule(rule)).expect("room");
    let bytes = unsigned(&mut net, "jis:home:anybody");
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!((net.captures.len(), net.dropped(1, "unsigned")), (0, 1));
}
