//! Packets and answers over relays (SECURITY R52, R53, 3.2 rows 67 and 68).

mod common;
mod harness;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use common::name;
use harness::{Link, Net, elsewhere, quiet};
use tibet_ping::{
    Ask, Decision, Encoding, Event, MAX_FAN_OUT, NodeConfig, Packet, Proof, RequestId, RoutingMode,
};

fn net_of(seed: u64, count: usize) -> Net {
    let mut net = Net::new(seed);
    for n in 0..count {
        net.add(&format!("jis:mesh:n{n}"), NodeConfig { discovery: None, ..NodeConfig::default() });
    }
    net.trust_all(0.9);
    net
}

/// Makes two nodes know each other, and proves it.
fn link(net: &mut Net, one: usize, other: usize) {
    for (a, b) in [(one, other), (other, one)] {
        let (name, address) = (net.hosts[b].name.clone(), net.hosts[b].address);
        net.with(a, |node, now| node.add_peer(name, address, now)).expect("a peer");
    }
}

/// A line: each knows its neighbours and hears nobody else.
fn line(seed: u64, count: usize) -> Net {
    let mut net = net_of(seed, count);
    for one in 0..count {
        for other in one + 2..count {
            net.cut(one, other);
        }
    }
    for n in 1..count {
        link(&mut net, n - 1, n);
    }
    net.seconds(1.0);
    net
}

fn ask_mesh(net: &mut Net, n: usize, target: &str) -> RequestId {
    let ask = Ask { routing: RoutingMode::Mesh, ..Ask::new(name(target), None, "temperature.read") };
    net.with(n, |node, now| node.ping(ask, now)).expect("asked")
}

/// How many copies of packets each node has passed on.
fn passed_on(net: &Net) -> BTreeMap<usize, Vec<usize>> {
    let copies = |event: &Event| match event {
        Event::Relayed { to, .. } => Some(to.len()),
        _ => None,
    };
    (0..net.hosts.len()).map(|n| (n, net.hosts[n].events.iter().filter_map(copies).collect())).collect()
}

#[test]
fn a_question_goes_over_three_relays_and_its_answer_comes_back() {
    let mut net = line(1, 5);
    let id = ask_mesh(&mut net, 0, "jis:mesh:n4");
    net.seconds(1.0);
    let [answer] = net.answers(0)[..] else { panic!("an answer: {:?}", net.node(0)) };
    assert_eq!((answer.request, answer.response.decision), (id, Decision::Accept));
    assert_eq!(answer.response.responder_did, "jis:mesh:n4");
    assert_eq!(answer.from, net.hosts[1].address.into(), "by way of the first relay");
    assert_eq!(answer.proof, Proof::FirstContact);
    assert_eq!(net.pings(4)[0].packet.hop_count, 3);
    // Over relays nobody learns where anybody is, and no key is pinned by a relayed answer.
    assert!(net.node(0).key_of(&name("jis:mesh:n4")).is_none());
    assert!(net.node(4).peers().get(&name("jis:mesh:n0"), net.now(4)).is_none());
}

/// What the application says can be longer than the question; among peers that have proven themselves it comes back all the same.
#[test]
fn a_long_answer_comes_back_over_relays_too() {
    let mut net = line(2, 4);
    let Ok(glob) = "*".parse();
    net.with(3, |node, _| node.claim_intents(glob));
    ask_mesh(&mut net, 0, "jis:mesh:n3");
    net.seconds(1.0);
    let (question, _) = net.questions(3)[0];
    let payload = tibet_core::object! { "log" => "x".repeat(4000) };
    net.with(3, |node, now| node.answer(question, payload, None, now)).expect("answered");
    net.seconds(1.0);
    assert_eq!(net.answers(0).len(), 1);
}

#[test]
fn a_loop_of_relays_ends() {
    let mut net = net_of(3, 4);
    for (one, other) in [(0, 1), (1, 2), (2, 3), (3, 1)] {
        link(&mut net, one, other);
    }
    net.seconds(1.0);
    let mark = net.captures.len();
    ask_mesh(&mut net, 0, "jis:far:away");
    net.seconds(20.0);
    let copies = net.captures.len() - mark;
    assert!(copies <= 8, "{copies} datagrams");
    assert!((1..4).all(|n| passed_on(&net)[&n].len() <= 1));
    assert!((1..4).map(|n| net.dropped(n, "relayed_before")).sum::<u64>() > 0);
}

/// Row 67: ten hops are the most, whatever a packet asks for.
#[test]
fn row_67_the_eleventh_hop_is_dropped() {
    for (count, arrives) in [(12, true), (13, false)] {
        let mut net = line(4, count);
        let target = format!("jis:mesh:n{}", count - 1);
        ask_mesh(&mut net, 0, &target);
        net.seconds(1.0);
        assert_eq!(net.pings(count - 1).len(), usize::from(arrives), "row 67: {} relays", count - 2);
        assert_eq!(net.answers(0).len(), usize::from(arrives), "row 67");
        assert_eq!(net.dropped(count - 2, "hop_limit"), u64::from(!arrives), "row 67");
    }
    let mut net = line(5, 3);
    for (hop_count, max_hops) in [(10, 255), (255, 255), (0, 0), (200, 10)] {
        let target_did = "jis:mesh:n2".to_owned();
        let packet = Packet {
            routing_mode: RoutingMode::Mesh,
            hop_count,
            max_hops,
            target_did,
            ..net.packet("jis:mesh:n0", 1)
        };
        let (bytes, from, mark) = (net.signed(packet, 0), net.hosts[0].address, net.captures.len());
        net.throw(from, 1, &bytes);
        assert_eq!(net.captures.len(), mark, "row 67: {hop_count} of {max_hops}");
    }
}

/// Row 68: a packet for nobody in a mesh of fifty, where each knows six others.
#[test]
fn row_68_a_packet_to_an_unknown_target_makes_at_most_363_copies_and_three_per_node() {
    let mut greatest = 0;
    for seed in 0..3 {
        let mut net = net_of(seed, 50);
        for n in 0..50 {
            for step in [1, 7, 19] {
                link(&mut net, n, (n + step) % 50);
            }
        }
        net.seconds(1.0);
        ask_mesh(&mut net, 0, "jis:far:away");
        net.seconds(25.0);
        let passed = passed_on(&net);
        assert!(passed.values().all(|times| times.len() <= 1), "row 68: each passes it on once");
        assert!(passed.values().flatten().all(|copies| *copies <= MAX_FAN_OUT), "row 68: three per node");
        let copies = passed.values().flatten().sum::<usize>();
        assert!(copies <= 363, "row 68: {copies} copies");
        greatest = greatest.max(copies);
    }
    println!("row 68: at most {greatest} copies in a mesh of 50");
    assert!(greatest > 50, "the mesh was searched");
}

/// R52: one origin's packets are passed on ten times a second after a burst of twenty, whatever their ids.
#[test]
fn a_flood_by_one_origin_is_passed_on_at_its_own_rate_only() {
    let mut net = line(6, 3);
    let from = net.hosts[0].address;
    for _ in 0..60 {
        let packet = Packet {
            routing_mode: RoutingMode::Mesh,
            target_did: "jis:mesh:n2".into(),
            ..net.packet("jis:mesh:n0", 1)
        };
        let bytes = net.signed(packet, 0);
        net.throw(from, 1, &bytes);
    }
    assert_eq!((passed_on(&net)[&1].len(), net.dropped(1, "relay_rate")), (20, 40));
}

/// R20: a relay answers ROOD with what it answers those it does not know, which is nothing; and passes nothing on for it.
#[test]
fn nothing_is_passed_on_for_whom_nobody_trusts() {
    let mut net = line(7, 3);
    for (source, key, trusted) in [("jis:mesh:n0", 0, Some(0.1)), ("jis:stranger", 99, None)] {
        if let Some(score) = trusted {
            net.trust(1, 0, score);
        }
        let packet = Packet {
            routing_mode: RoutingMode::Mesh,
            target_did: "jis:mesh:n2".into(),
            ..net.packet(source, 1)
        };
        let (bytes, mark) = (net.signed(packet, key), net.captures.len());
        net.throw(elsewhere(1), 1, &bytes);
        assert_eq!(net.captures.len(), mark, "{source}");
    }
    assert_eq!(net.dropped(1, "rood"), 2);
}

/// A false answer does not take the way back from the true one.
#[test]
fn answers_to_what_was_passed_on_come_only_from_where_it_went_and_at_most_four() {
    let mut net = line(8, 3);
    net.link = Link { delay: std::time::Duration::from_secs(1), ..Link::GOOD };
    ask_mesh(&mut net, 0, "jis:mesh:n2");
    net.seconds(1.5);
    let id = net.captures.last().map(|c| packet_id(&c.bytes)).expect("passed on");
    let response = |n: u64, net: &Net| {
        let packet = Packet { packet_id: id.clone(), ..common::packet(1) };
        let fresh = common::fresh(n, net.time().wall);
        let zone = tibet_core::Zone::Groen;
        tibet_ping::Response::to(&packet, &name("jis:mesh:n2"), Decision::Accept, zone, 1.0, fresh)
            .encode(Encoding::Json)
            .expect("encoded")
    };
    let (relay_sent, next) = (net.sent_by(1).len(), net.hosts[2].address);
    let bytes = response(1, &net);
    net.throw(elsewhere(1), 1, &bytes);
    assert_eq!(net.sent_by(1).len(), relay_sent, "from elsewhere");
    for n in 0..10 {
        let bytes = response(n, &net);
        net.throw(next, 1, &bytes);
    }
    assert_eq!(net.sent_by(1).len(), relay_sent + 4);
    assert_eq!(net.dropped(1, "unasked"), 7);
}

fn packet_id(frame: &[u8]) -> String {
    match tibet_ping::Frame::read(frame) {
        Ok(tibet_ping::Frame::Version1 { encoding, body, .. }) => {
            Packet::decode(encoding, body).expect("a packet").packet_id
        }
        other => panic!("{other:?}"),
    }
}

/// R15: a question goes to two relays. Whoever answers has received it by way of one, and writes the other's address on the answer: that proves nothing
/// about the other.
#[test]
fn an_answer_in_another_relays_name_does_not_prove_that_relays_address() {
    let mut net = net_of(10, 4);
    net.cut(0, 2);
    net.cut(0, 3);
    link(&mut net, 1, 3);
    let relays = [1, 2].map(|n| (net.hosts[n].name.clone(), net.hosts[n].address));
    for (name, address) in relays.clone() {
        net.with(0, |node, now| node.add_peer(name, address, now)).expect("a peer");
    }
    net.seconds(1.0);
    let Ok(glob) = "*".parse();
    net.with(0, |node, _| node.claim_intents(glob));
    let (victim, target) = (relays[1].1, net.hosts[3].address);
    ask_mesh(&mut net, 0, "jis:mesh:n3");
    let mark = net.captures.len();
    let answer = loop {
        net.run(std::time::Duration::from_micros(500));
        if let Some(answer) = net.captures[mark..].iter().find(|c| c.from == target) {
            break answer.bytes.clone();
        }
    };
    net.throw(victim, 0, &answer);
    assert_eq!(net.answers(0).len(), 1, "it is true");
    let (packet, mark) = (net.packet("jis:mesh:n3", 0), net.captures.len());
    let bytes = net.signed(packet, 3);
    net.throw(victim, 0, &bytes);
    let (question, _) = net.questions(0)[0];
    let payload = tibet_core::object! { "log" => "x".repeat(5000) };
    net.with(0, |node, now| node.answer(question, payload, None, now)).expect("answered");
    let out: usize =
        net.captures[mark..].iter().filter(|c| c.to == Some(victim)).map(|c| c.bytes.len()).sum();
    assert!(out <= bytes.len(), "{out} for {}", bytes.len());
}

#[test]
fn a_question_to_nowhere_is_not_asked() {
    let mut net = Net::of(9, &["jis:a"], &quiet());
    let ask = Ask { routing: RoutingMode::Mesh, ..Ask::new(name("jis:b"), None, "x") };
    assert!(net.with(0, |node, now| node.ping(ask, now)).is_err());
    let to: SocketAddr = "224.0.0.1:5".parse().expect("an address");
    for ask in [
        Ask::new(name("jis:b"), Some(to), "x"),
        Ask::new(name("jis:a"), None, "x"),
        Ask { routing: RoutingMode::Broadcast, ..Ask::new(name("jis:b"), None, "x") },
        Ask::new(name("jis:b"), Some(harness::address(1)), "a\nb"),
    ] {
        assert!(net.with(0, |node, now| node.ping(ask, now)).is_err());
    }
    assert_eq!((net.captures.len(), net.node(0).stats().requests), (0, 0));
}
