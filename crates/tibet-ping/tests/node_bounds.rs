//! Whatever bytes and times come: no panic, every table within its bound, and a timer that moves on (SECURITY R19, R64).

mod common;
mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{any_response, any_signed, key, name};
use harness::{Net, Random, elsewhere, fingerprint, quiet, sign};
use jis::UnixTime;
use proptest::prelude::*;
use tibet_ping::{
    Ask, Encoding, Event, MAX_KEYS, MAX_PEERS, MAX_PENDING, MAX_REQUESTS, NodeConfig, NodeIdentity, Now,
    Packet, PingNode, RestartBound, Rule, RulePattern,
};

fn node(seed: u64, now: Now, restart: bool) -> PingNode {
    let identity =
        NodeIdentity { name: name("jis:home:hub"), key: key(1), generation: 0, fingerprint: fingerprint(1) };
    let restart = restart.then(|| RestartBound::new(Some(now.wall)));
    let config = NodeConfig { port: Some(7150), restart, ..NodeConfig::default() };
    let mut random = Random::new(seed);
    let mut node = PingNode::new(identity, config, Box::new(move || Some(random.bytes())), [7; 16], now);
    for source in ["jis:home:sensor", "jis:a"] {
        node.set_trust(name(source), 0.9, "test", now).expect("a score");
    }
    node.allow_unsigned(name("jis:a")).expect("room");
    let Ok(glob) = "x*".parse();
    node.claim_intents(glob);
    node
}

#[derive(Debug, Clone)]
enum Step {
    Bytes(Vec<u8>),
    Packet(Box<Packet>, Encoding, bool),
    Changed(Box<Packet>, prop::sample::Index, u8),
    Response(Box<tibet_ping::Response>),
    Ask(u64, u64),
    /// Sets the clocks to anything.
    Time(u64, u64),
    /// Lets them go on.
    Later(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let both = || prop::sample::select(&[Encoding::Json, Encoding::Msgpack][..]);
    let signed = || any_signed().prop_map(Box::new);
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Step::Bytes),
        4 => (signed(), both(), any::<bool>()).prop_map(|(packet, encoding, multicast)| Step::Packet(packet, encoding, multicast)),
        2 => (signed(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(packet, at, byte)| Step::Changed(packet, at, byte)),
        1 => any_response().prop_map(|response| Step::Response(Box::new(response))),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(timeout, wait)| Step::Ask(timeout, wait)),
        1 => (0..1_u64 << 53, any::<u64>()).prop_map(|(wall, mono)| Step::Time(wall, mono)),
        3 => any::<u32>().prop_map(Step::Later),
    ]
}

fn drain(node: &mut PingNode, now: Now) -> usize {
    if let Some(bound) = node.poll_persist(now) {
        node.handle_persisted(bound);
    }
    let transmits = std::iter::from_fn(|| node.poll_transmit()).count();
    let events = std::iter::from_fn(|| node.poll_event()).count();
    transmits + events
}

proptest! {
    #![proptest_config(harness::cases(48))]

    #[test]
    fn no_bytes_and_no_times_do_any_harm(steps in prop::collection::vec(step(), 1..40), restart in any::<bool>(), seed in any::<u64>()) {
        let mut now = common::now(0.0);
        let mut node = node(seed, now, restart);
        drain(&mut node, now);
        for (n, step) in steps.into_iter().enumerate() {
            let from = elsewhere(n as u16 % 3);
            match step {
                Step::Bytes(bytes) => node.handle_datagram(from, &bytes, now),
                Step::Packet(packet, encoding, multicast) => {
                    let mut packet = *packet;
                    packet.timestamp = tibet_ping::timestamp::write(now.wall);
                    // A year that no timestamp has cannot be signed in.
                    let expires_at = now.wall.saturating_add(tibet_ping::MAX_LIFETIME);
                    let _ = tibet_ping::sign_ping(&mut packet, &key(0), 0, None, expires_at);
                    let bytes = packet.encode(encoding).expect("encoded");
                    match multicast {
                        true => node.handle_multicast(from, true, &bytes, now),
                        false => node.handle_datagram(from, &bytes, now),
                    }
                }
                Step::Changed(packet, at, byte) => {
                    let mut bytes = packet.encode(Encoding::Json).expect("encoded");
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                    node.handle_datagram(from, &bytes, now);
                }
                Step::Response(response) => {
                    node.handle_datagram(from, &response.encode(Encoding::Json).expect("encoded"), now);
                }
                Step::Ask(timeout, wait) => {
                    let ask = Ask {
                        timeout: Duration::from_millis(timeout),
                        decision_timeout: Duration::from_secs(wait),
                        ..Ask::new(name("jis:home:sensor"), Some(from), "x")
                    };
                    let _ = node.ping(ask, now);
                }
                Step::Time(wall, mono) => {
                    now = Now { wall: UnixTime::from_millis(wall).expect("a time"), mono: Duration::from_millis(mono) };
                }
                Step::Later(millis) => {
                    now.mono = now.mono.saturating_add(Duration::from_millis(millis.into()));
                    now.wall = now.wall.saturating_add(Duration::from_millis(millis.into()));
                }
            }
            prop_assert!(drain(&mut node, now) < 100, "no step leads to very much");
            // What is due is done: in few steps nothing more is due. Where the clock seems to run backwards nothing is.
            let mut due = 0;
            while node.poll_timeout().is_some_and(|at| at <= now.mono) {
                node.handle_timeout(now);
                due += drain(&mut node, now);
                prop_assert!(due < 200 && node.poll_timeout().is_some());
                if node.poll_timeout() == Some(Duration::MAX) {
                    break;
                }
            }
            let stats = node.stats();
            prop_assert!(stats.peers <= 2 && stats.keys <= 2 && stats.requests <= 41 && stats.pending <= 40);
            prop_assert!(stats.dropped.len() < 60);
        }
    }
}

/// R64: a minute of noise is one line, and a handful of what was tried under which name.
#[test]
fn a_flood_is_summed_up_once_a_minute() {
    let mut net = Net::of(1, &["jis:home:sensor", "jis:home:hub"], &quiet());
    net.trust(1, 0, 0.9);
    net.ask(0, 1);
    net.seconds(1.0);
    let known: Vec<_> = net.hosts[1].events.drain(..).collect();
    assert!(!known.is_empty());
    let mut frames = Vec::new();
    for n in 0..200 {
        let stranger = net.packet(&format!("jis:stranger:n{n}"), 1);
        let impostor = net.packet("jis:home:sensor", 1);
        frames.push(stranger.encode(Encoding::Json).expect("encoded"));
        frames.push(net.signed(stranger, 100 + n));
        frames.push(net.signed(impostor, 9));
        frames.push(vec![n as u8; n]);
        frames.push(frames[0][..frames[0].len() - 1].to_vec());
    }
    for round in 0..20 {
        for (n, bytes) in frames.iter().enumerate() {
            net.throw(elsewhere((n % 100) as u16), 1, bytes);
            net.throw_multicast(elsewhere((n % 100) as u16), true, 1, bytes);
        }
        net.seconds(if round == 19 { 50.0 } else { 1.0 });
    }
    let summaries: Vec<_> = net.hosts[1]
        .events
        .iter()
        .filter_map(|event| if let Event::Dropped { counts, .. } = event { Some(counts) } else { None })
        .collect();
    assert_eq!(summaries.len(), 1, "a minute has passed once");
    let total: u64 = summaries[0].iter().map(|(_, count)| count).sum();
    assert!(total > 30_000, "{total} counted");
    let others = net.hosts[1].events.len() - 1;
    assert!(others <= 20 + 10 * 20, "{others} events for {total} datagrams in twenty seconds");
    net.seconds(60.0);
    assert_eq!(net.count(1, |event| matches!(event, Event::Dropped { .. })), 1, "nothing new, no line");
}

/// R19: whoever is let in and speaks from many places makes the node ask there; the questions of its owner still have room.
#[test]
fn probes_do_not_crowd_out_requests() {
    let mut net = Net::of(2, &["jis:home:sensor", "jis:home:hub"], &quiet());
    let rule = Rule {
        id: "all".into(),
        name: "all".into(),
        pattern: RulePattern::default(),
        zone: tibet_core::Zone::Geel,
        decision: tibet_ping::Decision::Pending,
        priority: 50,
    };
    net.with(1, |node, _| node.add_rule(rule)).expect("room");
    for n in 0..1500_usize {
        let source = format!("jis:stranger:n{n}");
        let packet = Packet::heartbeat(&name(&source), common::fresh(n as u64, net.time().wall));
        let bytes = sign(packet, 100 + n, net.time()).encode(Encoding::Json).expect("encoded");
        net.throw(elsewhere(n as u16), 1, &bytes);
        net.run(Duration::from_millis(1));
    }
    let waiting = net.node(1).stats().requests;
    assert_eq!(waiting, 1024, "{:?}", net.node(1).stats());
    for _ in 0..MAX_REQUESTS - waiting {
        net.ask(1, 0);
    }
    let ask = net.question(0);
    assert!(net.with(1, |node, now| node.ping(ask, now)).is_err(), "all in all there is a bound");
    let stats = net.node(1).stats();
    assert!(stats.peers <= MAX_PEERS && stats.keys <= MAX_KEYS && stats.pending <= MAX_PENDING);
    net.seconds(11.0);
    assert_eq!(net.node(1).stats().requests, 0);
}

/// R27: a system without randomness makes a node that sends nothing, and says so in its counters.
#[test]
fn without_randomness_nothing_is_sent_and_nothing_breaks() {
    let now = common::now(0.0);
    let identity =
        NodeIdentity { name: name("jis:home:hub"), key: key(1), generation: 0, fingerprint: fingerprint(1) };
    let config = NodeConfig { port: Some(7150), ..NodeConfig::default() };
    let mut node = PingNode::new(identity, config, Box::new(|| None), [7; 16], now);
    node.set_trust(name("jis:home:sensor"), 0.9, "test", now).expect("a score");
    let packet =
        Packet::intent(&name("jis:home:sensor"), &name("jis:home:hub"), "x", "", common::fresh(1, now.wall));
    let bytes = sign(packet, 0, now).encode(Encoding::Json).expect("encoded");
    node.handle_datagram(elsewhere(1), &bytes, now);
    node.handle_timeout(now);
    assert!(node.ping(Ask::new(name("jis:a"), Some(elsewhere(2)), "x"), now).is_err());
    assert_eq!(node.poll_transmit(), None);
    assert!(node.stats().dropped.contains_key("no_randomness"), "{:?}", node.stats());
    let reasons: BTreeSet<_> = node.stats().dropped.into_keys().collect();
    assert!(reasons.len() <= 2, "{reasons:?}");
}

/// SECURITY R18: a flood from nowhere keeps nobody waiting who was believed before, nor who was asked.
#[test]
fn whoever_was_believed_of_late_is_served_through_a_flood() {
    let mut net = Net::of(11, &["jis:home:sensor", "jis:home:hub"], &quiet());
    net.trust_all(0.9);
    net.ask(0, 1);
    net.seconds(1.0);
    let body = [b"TP\x01\x00\x00\x00\x00\x02".as_slice(), b"{}"].concat();
    for n in [0, 1] {
        net.with(n, |node, now| (0..50_000).for_each(|_| node.handle_datagram(elsewhere(9), &body, now)));
        assert_eq!(net.dropped(n, "signature_budget"), 40_000, "most were not even read");
        assert_eq!(net.dropped(n, "missing_field"), 10_000);
    }
    net.ask(0, 1);
    net.run(std::time::Duration::ZERO);
    net.seconds(0.1);
    assert_eq!(net.answers(0).len(), 2, "{:?}", net.node(1).stats().dropped);
}
