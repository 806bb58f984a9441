//! Devices find each other, and being near proves nothing (SECURITY R17, R57, 3.2 rows 74 and 75).

mod common;
mod harness;

use std::time::Duration;

use common::{key, name};
use harness::{Net, elsewhere, fingerprint};
use jis::{Capability, Signed};
use tibet_core::Zone;
use tibet_ping::{
    Beacon, BeaconRule, BeaconVerdict, Binding, Encoding, Event, Frame, KeySource, NodeConfig, Packet,
    RestartBound, discover_payload,
};

const NAMES: [&str; 3] = ["jis:home:sensor", "jis:home:hub", "jis:home:stranger"];

fn announcing() -> NodeConfig {
    NodeConfig {
        port: Some(7150),
        capabilities: ["thermometer", "mqtt"].map(|c| c.parse::<Capability>().expect("one")).into(),
        device_type: Some("sensor".parse().expect("a word")),
        heartbeat: None,
        discovery: None,
        ..NodeConfig::default()
    }
}

/// The sensor and the hub know and trust each other; nobody knows the stranger. All hear each other.
fn home(seed: u64, config: &NodeConfig) -> Net {
    let config = NodeConfig { restart: Some(RestartBound::new(None)), ..config.clone() };
    let mut net = Net::of(seed, &NAMES, &config);
    for (n, other) in [(0, 1), (1, 0)] {
        bind(&mut net, n, other);
        net.trust(n, other, 0.9);
    }
    net.hosts.iter_mut().for_each(|host| host.group = Some(1));
    net
}

fn bind(net: &mut Net, n: usize, other: usize) {
    let binding = Binding { name: name(NAMES[other]), key: key(other).public_key(), generation: 0 };
    net.with(n, |node, _| node.bind_key(binding, KeySource::Operator)).expect("room");
}

fn search(net: &mut Net, n: usize) {
    net.with(n, |node, now| node.search(now)).expect("searched");
}

/// The last search that a node has sent to the groups.
fn last_search(net: &Net, n: usize) -> Vec<u8> {
    let from = net.hosts[n].address;
    let search = net.captures.iter().rev().find(|c| c.to.is_none() && c.from == from);
    search.expect("a search").bytes.clone()
}

/// A search with a beacon of `source`, both signed by key number `n`.
fn made_up(net: &mut Net, source: &str, n: usize, change: impl FnOnce(&mut Beacon)) -> Vec<u8> {
    let mut beacon = Beacon {
        id: [7; 16],
        name: name(source),
        fingerprint: fingerprint(n),
        key_hash: Beacon::hash_of(&key(n).public_key()),
        port: 7150,
        capabilities: ["gateway".parse().expect("one")].into(),
        device_type: "gateway".parse().expect("a word"),
        requested_pod: None,
        issued_at: net.time().wall,
    };
    change(&mut beacon);
    let payload = discover_payload(&Signed::seal(beacon, &key(n)).expect("sealed"));
    let discover = Packet::discover(&name(source), payload, common::fresh(0, net.time().wall));
    // A nonce of its own.
    let nonce = net.packet(source, 1).nonce;
    net.signed(Packet { nonce, ..discover }, n)
}

#[test]
fn a_device_is_found_with_what_it_offers_and_answers_straight_to_the_searcher() {
    let mut net = home(1, &announcing());
    let hub = net.hosts[1].address;
    search(&mut net, 0);
    net.seconds(0.1);
    let [heard] = net.discovered(1)[..] else { panic!("{:?}", net.hosts[1].events) };
    assert_eq!((heard.name.as_str(), heard.address), (NAMES[0], net.hosts[0].address));
    assert_eq!((heard.verified, heard.answered, &*heard.device_type), (true, false, "sensor"));
    assert_eq!(heard.capabilities, ["mqtt", "thermometer"]);
    net.seconds(0.5);
    let [found] = net.discovered(0)[..] else { panic!("{:?}", net.hosts[0].events) };
    assert_eq!((found.name.as_str(), found.address), (NAMES[1], hub));
    assert_eq!((found.verified, found.answered, &*found.device_type), (true, true, "sensor"));
    assert_eq!(found.capabilities, ["mqtt", "thermometer"]);
    // R57: nobody answers a stranger, and a stranger answers nobody it does not trust.
    assert_eq!(net.sent_by(2).len(), 0);
    let [hearsay] = net.discovered(2)[..] else { panic!("{:?}", net.hosts[2].events) };
    assert!(!hearsay.verified);
}

/// Found is not all: neighbours who trust each other become peers of each other.
#[test]
fn neighbours_who_trust_each_other_become_peers() {
    let config = NodeConfig { heartbeat: Some(Duration::from_secs(30)), ..announcing() };
    let mut net = home(2, &config);
    search(&mut net, 0);
    net.seconds(31.0);
    for (n, other) in [(0, 1), (1, 0)] {
        let peer = net.node(n).peers().get(&name(NAMES[other]), net.now(n)).copied();
        let peer = peer.unwrap_or_else(|| panic!("{} knows {}", NAMES[n], NAMES[other]));
        assert_eq!((peer.endpoint, peer.reachable), (net.hosts[other].address, true));
    }
    assert!(net.node(2).peers().is_empty());
}

/// R17: after a random while of at most half a second, at most once in ten seconds, and no longer than the search.
#[test]
fn searches_are_answered_once_in_ten_seconds_within_half_a_second_and_with_no_more_bytes() {
    let mut net = home(3, &announcing());
    let mut delays = Vec::new();
    let searcher = net.hosts[0].address;
    for _ in 0..40 {
        search(&mut net, 0);
        let (mark, asked_at) = (net.captures.len(), net.elapsed);
        for _ in 0..3 {
            net.seconds(3.0);
            search(&mut net, 0);
        }
        net.seconds(1.2);
        let answers: Vec<_> = net.captures[mark..].iter().filter(|c| c.to == Some(searcher)).collect();
        let out: usize = answers.iter().map(|c| c.bytes.len()).sum();
        let length = last_search(&net, 0).len();
        assert!(out <= length, "{out} for {length}");
        let late: Vec<_> = answers.iter().map(|c| c.at - asked_at - net.link.delay).collect();
        delays.extend(late.iter().max().copied());
    }
    let answered = net.discovered(0).iter().filter(|d| d.answered).count();
    assert_eq!(answered, 40, "each of forty, ten seconds apart, and none between");
    assert!(delays.iter().all(|delay| *delay <= Duration::from_millis(500)), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay > Duration::from_millis(250)), "{delays:?}");
}

/// Row 74.
#[test]
fn row_74_searches_from_outside_the_network_are_heard_and_not_answered() {
    let mut net = home(4, &announcing());
    search(&mut net, 0);
    let bytes = last_search(&net, 0);
    net.cut(0, 1);
    let mark = net.captures.len();
    net.throw_multicast(elsewhere(1), false, 1, &bytes);
    net.seconds(1.0);
    assert_eq!((net.discovered(1).len(), net.captures.len()), (1, mark), "row 74");
}

/// R21, R22: a captured search is answered neither after its time nor after a restart.
#[test]
fn a_captured_search_is_not_answered_again() {
    for seconds in [2.0, 60.0] {
        let mut net = home(5, &announcing());
        search(&mut net, 0);
        let bytes = last_search(&net, 0);
        net.seconds(seconds);
        net.restart(1, announcing());
        bind(&mut net, 1, 0);
        net.trust(1, 0, 0.9);
        let mark = net.captures.len();
        net.throw_multicast(elsewhere(1), true, 1, &bytes);
        net.seconds(1.0);
        assert_eq!(net.captures.len(), mark, "the memory is new, the packet {seconds} s old");
    }
    // Taken from the air before it arrived, it is answered once at most, to where it seems to come from.
    let mut net = home(6, &announcing());
    net.cut(0, 1);
    search(&mut net, 0);
    let bytes = last_search(&net, 0);
    let thief = |port| std::net::SocketAddr::new(elsewhere(1).ip(), port);
    for port in 1..5 {
        net.throw_multicast(thief(port), true, 1, &bytes);
        net.seconds(11.0);
    }
    let out: usize = net
        .captures
        .iter()
        .filter(|c| c.to.is_some_and(|to| to.ip() == thief(1).ip()))
        .map(|c| c.bytes.len())
        .sum();
    assert!(out <= bytes.len(), "{out} for {}", bytes.len());
}

/// Rows 74 and 75.
#[test]
fn row_74_and_75_beacons_prove_nothing_by_what_they_claim() {
    let rules = vec![BeaconRule { device_type: Some("gateway".into()), ..BeaconRule::default() }];
    let mut net = home(7, &NodeConfig { beacon_rules: rules, ..announcing() });
    let vouched = |e: &Event| matches!(e, Event::Vouched { .. });
    // Forged for a known name.
    let bytes = made_up(&mut net, NAMES[0], 9, |_| {});
    net.throw_multicast(elsewhere(1), true, 1, &bytes);
    assert_eq!((net.discovered(1).len(), net.dropped(1, "beacon")), (0, 1), "row 74");
    // A stranger that says it is a gateway.
    let bytes = made_up(&mut net, "jis:gateway", 9, |_| {});
    net.throw_multicast(elsewhere(1), true, 1, &bytes);
    let [found] = net.discovered(1)[..] else { panic!("row 75") };
    assert_eq!((found.verified, found.verdict.clone()), (false, Some(BeaconVerdict::Pending)), "row 75");
    // A beacon of one in a search of another.
    let bytes = made_up(&mut net, "jis:other", 9, |beacon| beacon.name = name(NAMES[0]));
    net.throw_multicast(elsewhere(1), true, 1, &bytes);
    assert_eq!(net.dropped(1, "beacon"), 2);
    net.seconds(1.0);
    assert_eq!((net.count(1, vouched), net.captures.len()), (0, 0), "row 75");
}

/// Row 74: ten thousand a second of made-up beacons are told of ten times a second, and a known neighbour is heard after them.
#[test]
fn row_74_a_flood_of_beacons_is_limited() {
    let mut net = home(8, &announcing());
    for n in 0..2000 {
        let bytes = made_up(&mut net, &format!("jis:flood:n{n}"), 9, |_| {});
        net.throw_multicast(elsewhere(1), true, 1, &bytes);
        net.run(Duration::from_micros(100));
    }
    assert!(net.discovered(1).len() <= 25, "row 74: {} events", net.discovered(1).len());
    net.seconds(2.0);
    search(&mut net, 0);
    net.seconds(1.0);
    assert!(net.discovered(1).iter().any(|d| d.verified), "row 74");
    assert!(net.discovered(0).iter().any(|d| d.answered && d.verified), "row 74");
}

/// Everybody who hears a search can answer it under any number of names: strangers are told of ten times a second, and who is known once.
#[test]
fn answers_to_a_search_are_told_of_within_bounds() {
    let mut net = home(9, &announcing());
    search(&mut net, 0);
    let bytes = last_search(&net, 0);
    let Ok(Frame::Version1 { encoding, body, .. }) = Frame::read(&bytes) else { panic!("a packet") };
    let packet = Packet::decode(encoding, body).expect("a packet");
    let hash = tibet_ping::request_hash(&packet);
    for n in 0..1000 {
        let responder = if n % 2 == 0 { name(NAMES[1]) } else { name(&format!("jis:flood:n{n}")) };
        let fresh = common::fresh(n, net.time().wall);
        let decision = tibet_ping::Decision::Accept;
        let mut response = tibet_ping::Response::to(&packet, &responder, decision, Zone::Groen, 1.0, fresh);
        let signer = if n % 2 == 0 { key(1) } else { key(9) };
        tibet_ping::sign_pong(&mut response, &hash, &signer, 0).expect("signed");
        let bytes = response.encode(Encoding::Json).expect("encoded");
        net.throw(elsewhere(n as u16), 0, &bytes);
    }
    let found = net.discovered(0);
    assert_eq!(found.iter().filter(|d| d.verified).count(), 1);
    assert!(found.len() <= 21, "{} events", found.len());
    assert!(
        net.node(0).peers().is_empty() && net.node(0).stats().keys == 1,
        "nobody is believed to be there"
    );
}

/// R57, R37: a rule makes a vouch of ours, which leads to GEEL and not to GROEN. By hand it does the same.
#[test]
fn a_vouch_leads_to_geel_whether_a_rule_makes_it_or_the_operator() {
    for by_rule in [true, false] {
        let rules = if by_rule { vec![BeaconRule::default()] } else { Vec::new() };
        let mut net = Net::of(10, &NAMES, &NodeConfig { beacon_rules: rules, ..announcing() });
        net.hosts.iter_mut().for_each(|host| host.group = Some(1));
        bind(&mut net, 1, 0);
        assert!(net.with(1, |node, now| node.vouch(&name(NAMES[0]), "by hand", now)).is_err(), "never heard");
        search(&mut net, 0);
        net.seconds(1.0);
        if !by_rule {
            net.with(1, |node, now| node.vouch(&name(NAMES[0]), "by hand", now)).expect("vouched");
        }
        let vouches: Vec<_> = net.hosts[1]
            .events
            .iter()
            .filter_map(|event| if let Event::Vouched { vouch, .. } = event { Some(vouch) } else { None })
            .collect();
        let [vouch] = vouches[..] else { panic!("one vouch for the sensor, whose key is known: {by_rule}") };
        assert_eq!(vouch.claims().subject_fingerprint, fingerprint(0));
        assert!(vouch.verify(&key(1).public_key()).is_ok());
        let id = vouch.claims().id;
        let trust = net.node(1).trust_in(&name(NAMES[0]), net.now(1).wall);
        assert_eq!(trust.score, 0.69);
        net.ask(0, 1);
        net.seconds(1.0);
        let ping = net.pings(1).last().copied().expect("seen");
        assert_eq!((ping.zone, ping.decision), (Zone::Geel, tibet_ping::Decision::Pending));
        // A vouch ends.
        assert!(net.with(1, |node, _| node.revoke_vouch(&id)));
        net.ask(0, 1);
        net.seconds(1.0);
        assert_eq!(net.pings(1).last().map(|ping| ping.zone), Some(Zone::Rood));
    }
}

/// R72: a device of the Python packages is hearsay; one that speaks under a name with a key is not even that.
#[test]
fn a_legacy_search_is_hearsay_and_none_under_a_known_name() {
    let mut net = home(11, &announcing());
    for (source, told) in [("jis:legacy", 1), (NAMES[0], 1)] {
        let payload = tibet_core::object! { "capabilities" => vec!["x"], "device_type" => "lamp" };
        let nonce = net.packet(source, 1).nonce;
        let packet =
            Packet { nonce, ..Packet::discover(&name(source), payload, common::fresh(1, net.time().wall)) };
        net.throw_multicast(elsewhere(1), true, 1, &packet.encode(Encoding::Json).expect("encoded"));
        assert_eq!(net.discovered(1).len(), told, "{source}");
    }
    let found = net.discovered(1)[0];
    assert_eq!(
        (found.verified, &*found.device_type, &found.capabilities[..]),
        (false, "lamp", &["x".to_owned()][..])
    );
    net.seconds(1.0);
    assert_eq!((net.captures.len(), net.dropped(1, "downgrade")), (0, 1));
}

/// R17: a node that announces itself does so about once a minute, and never answers a multicast with one.
#[test]
fn announcements_keep_their_pace_however_many_hear_them() {
    let mut net = Net::new(12);
    for n in 0..20 {
        net.add(
            &format!("jis:home:n{n}"),
            NodeConfig { discovery: Some(Duration::from_secs(60)), ..announcing() },
        );
    }
    net.hosts.iter_mut().for_each(|host| host.group = Some(1));
    net.trust_all(0.9);
    net.seconds(599.0);
    for n in 0..20 {
        let sent = net.sent_by(n).iter().filter(|c| c.to.is_none()).count();
        assert_eq!(sent, 10, "node {n}");
    }
}
