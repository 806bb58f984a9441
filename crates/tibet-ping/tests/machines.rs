//! Airlock, queue, vouches, beacons, peers and relay against peers who mean ill: SECURITY 3.2 rows 11, 62, 67, 68, 72 to 77.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{NOON, at, fresh, key, name, now, packet, sign, signed};
use jis::{Fingerprint, SecretKey, Signed, Vouch};
use proptest::prelude::*;
use tibet_core::Zone;
use tibet_ping::{
    Airlock, Beacon, BeaconBook, BeaconRule, BeaconVerdict, Binding, Decision, Encoding, Glob, MAX_ANSWERS,
    MAX_BEACONS, MAX_FAN_OUT, MAX_PENDING, MAX_PENDING_BYTES, MAX_PENDING_PER_SOURCE, MAX_PER_SUBJECT,
    MAX_PER_VOUCHER, MAX_UNBOUND_BEACONS, Packet, PeerTable, PendingPing, PendingQueue, PendingRefusal,
    Relay, RelayConfig, RelayDecision, RelayDrop, Response, RoutingMode, Rule, RulePattern, RulePatternError,
    Standing, Thresholds, TrustError, TrustTable, VouchBook, VouchRefusal, can_be_answered, verify_ping,
};

fn address(n: usize) -> SocketAddr {
    format!("10.0.{}.{}:7150", n / 250, n % 250 + 1).parse().expect("address")
}

fn mesh(n: u64) -> Packet {
    Packet { routing_mode: RoutingMode::Mesh, target_did: "jis:far:away".into(), ..packet(n) }
}

// Airlock.

fn rule(pattern: RulePattern, zone: Zone, decision: Decision) -> Rule {
    Rule { id: "r".into(), name: "r".into(), pattern, zone, decision, priority: 50 }
}

/// Row 62 and 77 as far as the airlock goes: who proved nothing is let in by no rule and no score, only by the operator's own word.
#[test]
fn row_77_unsigned_is_never_better_than_geel() {
    let mut airlock = Airlock::default();
    assert_eq!(airlock.evaluate(&packet(1), 0.9, Standing::Verified).decision, Decision::Accept);
    let verdict = airlock.evaluate(&packet(1), 0.9, Standing::Unsigned);
    assert_eq!((verdict.zone, verdict.decision), (Zone::Geel, Decision::Pending));
    assert_eq!(airlock.evaluate(&packet(1), 0.9, Standing::UnsignedExplicit).decision, Decision::Accept);
    assert_eq!(airlock.evaluate(&packet(1), 0.2, Standing::Unsigned).decision, Decision::Reject);
    airlock.add_rule(rule(RulePattern::default(), Zone::Groen, Decision::Accept)).expect("room");
    let verdict = airlock.evaluate(&packet(1), 0.0, Standing::Unsigned);
    assert_eq!((verdict.zone, verdict.decision), (Zone::Geel, Decision::Pending));
    assert_eq!(airlock.evaluate(&packet(1), 0.0, Standing::Verified).decision, Decision::Accept);
    assert_eq!(airlock.remove_rule("r"), 1);
    airlock.add_rule(rule(RulePattern::default(), Zone::Groen, Decision::Reject)).expect("room");
    assert_eq!(airlock.evaluate(&packet(1), 0.9, Standing::Unsigned).decision, Decision::Reject);
}

#[test]
fn what_is_no_number_is_no_trust() {
    let airlock = Airlock::default();
    assert_eq!(airlock.evaluate(&packet(1), f64::NAN, Standing::Verified).decision, Decision::Reject);
    let mut table = TrustTable::new();
    assert_eq!(table.set(name("jis:a"), f64::NAN), Err(TrustError::NotANumber));
    assert_eq!(table.explicit(&name("jis:a")), None);
    assert_eq!(table.set(name("jis:a"), f64::INFINITY), Ok(1.0));
    for (groen, rood) in [(f64::NAN, 0.3), (0.7, f64::NAN), (0.3, 0.7), (1.1, 0.3), (0.7, -0.1)] {
        assert_eq!(Thresholds::new(groen, rood), None, "{groen} {rood}");
    }
}

#[test]
fn patterns_that_would_mean_something_else_are_refused() {
    let read = |name, text| RulePattern::from_members([(name, text)]);
    assert_eq!(read("source", "jis:a"), Err(RulePatternError::Unknown("source".into())));
    for text in ["nan", "inf", "1e999", "much", ""] {
        assert_eq!(read("min_trust", text), Err(RulePatternError::MinTrust(text.into())));
    }
    assert_eq!(read("min_trust", " 5e-1 ").map(|p| p.min_trust), Ok(Some(0.5)));
}

#[test]
fn globs() {
    for (pattern, text, matches) in [
        ("*", "", true),
        ("a*c", "abc", false),
        ("a*c", "a*c", true),
        ("**", "*x", true),
        ("**", "x", false),
        ("*b*", "abc", true),
        ("*b*", "ac", false),
        ("*?*", "abc", false),
        ("ab*", "abc", true),
        ("ab*", "xab", false),
        ("*bc", "abc", true),
        ("", "", true),
        ("", "a", false),
        ("[a-z]", "a", false),
    ] {
        let Ok(glob) = pattern.parse::<Glob>();
        assert_eq!(glob.matches(text), matches, "{pattern} {text}");
    }
}

// Pending.

fn pending(source: &str, id: &str, frame_len: usize, seconds: f64) -> PendingPing {
    PendingPing {
        packet: Packet { source_did: source.into(), packet_id: id.into(), ..packet(1) },
        frame_len,
        reply_to: address(1).into(),
        encoding: Encoding::Msgpack,
        wanted: true,
        trust: 0.5,
        reason: "Trust 0.50 in GEEL zone".into(),
        rule: None,
        since: now(seconds),
    }
}

#[test]
fn a_human_decides_and_the_asker_is_told() {
    let mut queue = PendingQueue::new();
    let (first, second) = (pending("jis:a", "p1", 400, 0.0), pending("jis:b", "p1", 400, 1.0));
    assert_eq!(queue.handle_pending(first.clone()), Ok(()));
    assert_eq!(queue.handle_pending(second.clone()), Ok(()));
    // Another packet with a used id does not take the first one's place.
    let other = PendingPing {
        packet: Packet { intent: "door.unlock".into(), ..first.packet.clone() },
        ..first.clone()
    };
    assert_eq!(queue.handle_pending(other), Err(PendingRefusal::Known));
    let settled = queue.approve("jis:a", "p1").expect("it waits");
    assert_eq!((settled.ping, settled.decision), (first, Decision::Accept));
    let settled = queue.deny("jis:b", "p1").expect("it waits");
    assert_eq!((settled.ping, settled.decision), (second, Decision::Reject));
    assert_eq!(queue.approve("jis:a", "p1"), None);
    assert!(queue.is_empty());
}

#[test]
fn nobody_waits_for_ever() {
    let mut queue = PendingQueue::new();
    let first = pending("jis:a", "p1", 400, 0.0);
    queue.handle_pending(first.clone()).expect("room");
    queue.handle_pending(pending("jis:a", "p2", 400, 5.0)).expect("room");
    assert_eq!(queue.poll_timeout(), Some(now(600.0).mono));
    assert_eq!(queue.handle_timeout(now(599.9)), []);
    assert_eq!(queue.handle_timeout(now(600.0)), [first]);
    assert_eq!((queue.len(), queue.dropped()), (1, (0, 1)));
    // Settled and asked again: the new one has its own ten minutes.
    queue.approve("jis:a", "p2").expect("it waits");
    queue.handle_pending(pending("jis:a", "p2", 400, 600.0)).expect("room");
    assert_eq!(queue.handle_timeout(now(605.0)), []);
    assert_eq!(queue.handle_timeout(now(1200.0)).len(), 1);
    assert_eq!(queue.poll_timeout(), None);
}

#[test]
fn a_full_queue_refuses() {
    let mut queue = PendingQueue::new();
    for n in 0..MAX_PENDING_PER_SOURCE {
        queue.handle_pending(pending("jis:a", &format!("{n}"), 400, 0.0)).expect("room");
    }
    assert_eq!(queue.handle_pending(pending("jis:a", "more", 400, 0.0)), Err(PendingRefusal::SourceFull));
    // A name that begins like it is another.
    queue.handle_pending(pending("jis:a0", "more", 400, 0.0)).expect("room");
    for n in queue.len()..MAX_PENDING {
        queue.handle_pending(pending(&format!("jis:n{n}"), "p", 400, 0.0)).expect("room");
    }
    assert_eq!(queue.handle_pending(pending("jis:z", "p", 400, 0.0)), Err(PendingRefusal::Full));
    assert_eq!((queue.len(), queue.dropped()), (MAX_PENDING, (2, 0)));
    // Large packets fill it sooner.
    let mut queue = PendingQueue::new();
    let fit = (0..1000)
        .take_while(|n| queue.handle_pending(pending(&format!("jis:n{n}"), "p", 65_544, 0.0)).is_ok());
    assert_eq!(fit.count(), MAX_PENDING_BYTES / 65_544);
    queue.approve("jis:n0", "p").expect("it waits");
    assert_eq!(queue.handle_pending(pending("jis:z", "p", 65_544, 0.0)), Ok(()));
}

// Vouches.

const SUBJECT: Fingerprint = Fingerprint::from_bytes([7; 32]);

fn vouch(n: u64, voucher: &Binding, subject: &str) -> Vouch {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Vouch {
        id,
        voucher: voucher.name.clone(),
        voucher_generation: voucher.generation,
        voucher_key: voucher.key,
        subject: name(subject),
        subject_fingerprint: SUBJECT,
        factor_permille: 1000,
        reason: "test".parse().expect("remark"),
        issued_at: NOON,
        expires_at: at(60),
    }
}

fn binding(text: &str, key: &SecretKey) -> Binding {
    Binding { name: name(text), key: key.public_key(), generation: 3 }
}

#[test]
fn row_72_vouches_that_do_not_count() {
    let (hub, hub_key) = (binding("jis:hub", &key(1)), key(1));
    let mut book = VouchBook::new();
    let good = vouch(1, &hub, "jis:lamp");
    let seal = |vouch: &Vouch, key: &SecretKey| Signed::seal(vouch.clone(), key).expect("sealed");
    let mut refused = |vouch: &Signed<Vouch>, subject: &Fingerprint, now| {
        book.handle_vouch(vouch, &hub, subject, now).err()
    };

    assert_eq!(refused(&seal(&good, &key(2)), &SUBJECT, NOON), Some(VouchRefusal::BadSignature));
    let impostor = binding("jis:hub", &key(2));
    let by_other = seal(&vouch(1, &impostor, "jis:lamp"), &key(2));
    assert_eq!(refused(&by_other, &SUBJECT, NOON), Some(VouchRefusal::WrongVoucher));
    let older = Vouch { voucher_generation: 2, ..good.clone() };
    assert_eq!(refused(&seal(&older, &hub_key), &SUBJECT, NOON), Some(VouchRefusal::WrongVoucher));
    let another = Fingerprint::from_bytes([8; 32]);
    assert_eq!(refused(&seal(&good, &hub_key), &another, NOON), Some(VouchRefusal::WrongSubject));
    assert_eq!(refused(&seal(&good, &hub_key), &SUBJECT, at(61)), Some(VouchRefusal::Expired));
    assert_eq!(refused(&seal(&good, &hub_key), &SUBJECT, at(-301)), Some(VouchRefusal::NotYet));
    // For oneself, and with more than all one's trust: such a thing cannot even be written.
    assert!(Signed::seal(Vouch { subject: name("jis:hub"), ..good.clone() }, &hub_key).is_err());
    assert!(Signed::seal(Vouch { factor_permille: 7000, ..good.clone() }, &hub_key).is_err());
    assert_eq!(refused(&seal(&good, &hub_key), &SUBJECT, NOON), None);
    assert_eq!(refused(&seal(&good, &hub_key), &SUBJECT, NOON), Some(VouchRefusal::Known));

    // Never GROEN by itself; nothing from a voucher without a score of its own, or with one that is no number; depth one.
    let lamp = name("jis:lamp");
    assert_eq!(book.trust(&lamp, NOON, |_| Some(1.0)), Some((0.69, 1)));
    assert_eq!(book.trust(&lamp, NOON, |_| Some(7.0)), Some((0.69, 1)));
    assert_eq!(book.trust(&lamp, NOON, |_| None), None);
    assert_eq!(book.trust(&lamp, NOON, |_| Some(f64::NAN)), None);
    assert_eq!(book.trust(&lamp, NOON, |_| Some(-1.0)), None);
    let lamp_binding = binding("jis:lamp", &key(2));
    let passed_on = seal(&vouch(2, &lamp_binding, "jis:bulb"), &key(2));
    assert!(book.handle_vouch(&passed_on, &lamp_binding, &SUBJECT, NOON).is_ok());
    let mut table = TrustTable::new();
    table.set(hub.name.clone(), 0.9).expect("score");
    assert_eq!(table.lookup(&lamp, &book, NOON).score, 0.69);
    assert_eq!(table.lookup(&name("jis:bulb"), &book, NOON).score, 0.0);
    // A voucher who falls takes its vouches along.
    table.set(hub.name.clone(), 0.1).expect("score");
    assert_eq!(table.lookup(&lamp, &book, NOON).score, 0.1);
    assert_eq!(book.revoke_all_by(&hub.name), 1);
    assert_eq!(table.lookup(&lamp, &book, NOON).score, 0.0);
}

#[test]
fn row_72_many_vouches() {
    let mut book = VouchBook::new();
    let (hub, hub_key) = (binding("jis:hub", &key(1)), key(1));
    let mut taken = 0;
    for n in 0..100 {
        let vouch = Signed::seal(vouch(n, &hub, &format!("jis:n{n}")), &hub_key).expect("sealed");
        taken += usize::from(book.handle_vouch(&vouch, &hub, &SUBJECT, NOON).is_ok());
    }
    assert_eq!((taken, book.stats(NOON).refused_full), (MAX_PER_VOUCHER, 50));
    let mut taken = 0;
    for n in 0..20 {
        let voucher = binding(&format!("jis:v{n}"), &key(10));
        let vouch = Signed::seal(vouch(1000 + n, &voucher, "jis:lamp"), &key(10)).expect("sealed");
        taken += usize::from(book.handle_vouch(&vouch, &voucher, &SUBJECT, NOON).is_ok());
    }
    assert_eq!(taken, MAX_PER_SUBJECT);
    // Expired ones make room, and leave nothing behind.
    assert_eq!(book.poll_timeout(), Some(at(60)));
    book.handle_timeout(at(60));
    assert_eq!(book.stats(at(60)).total, 66);
    book.handle_timeout(at(61));
    assert_eq!((book.stats(at(61)).total, book.stats(at(61)).subjects, book.poll_timeout()), (0, 0, None));
}

// Beacons.

fn beacon(device: &str, key: &SecretKey, seconds: i64) -> Signed<Beacon> {
    let beacon = Beacon {
        id: [1; 16],
        name: name(device),
        fingerprint: Fingerprint::from_bytes([7; 32]),
        key_hash: Beacon::hash_of(&key.public_key()),
        port: 7150,
        capabilities: ["door.unlock", "mqtt"].map(|c| c.parse().expect("capability")).into(),
        device_type: "gateway".parse().expect("type"),
        requested_pod: None,
        issued_at: at(seconds),
    };
    Signed::seal(beacon, key).expect("sealed")
}

fn rules() -> Vec<BeaconRule> {
    vec![BeaconRule { device_type: Some("gateway".into()), ..BeaconRule::default() }]
}

#[test]
fn row_74_beacons_forged_and_by_the_thousand() {
    let mut book = BeaconBook::new(rules());
    // Forged for a name whose key is known: with another key, and with the known key's hash in it.
    assert_eq!(
        book.handle_beacon(&beacon("jis:gw", &key(2), 0), Some(&key(1).public_key()), now(0.0)),
        BeaconVerdict::Forged
    );
    let claims = beacon("jis:gw", &key(1), 0).claims().clone();
    let forged = Signed::seal(claims, &key(2)).expect("sealed");
    assert_eq!(book.handle_beacon(&forged, Some(&key(1).public_key()), now(0.0)), BeaconVerdict::Forged);
    assert_eq!(book.iter().count(), 0);
    // Ten thousand in a second.
    let mut looked_at = 0;
    for n in 0..10_000 {
        let hint = beacon(&format!("jis:n{n}"), &key(2), 0);
        let verdict = book.handle_beacon(&hint, None, now(f64::from(n) / 10_000.0));
        looked_at += usize::from(verdict == BeaconVerdict::Pending);
    }
    assert!((70..=80).contains(&looked_at), "{looked_at}");
    // Made-up names fill their part of the book and no more.
    for n in 0..400 {
        book.handle_beacon(&beacon(&format!("jis:m{n}"), &key(2), 60), None, now(60.0 + f64::from(n) / 10.0));
    }
    assert_eq!(book.iter().count(), MAX_UNBOUND_BEACONS);
    let known = book.handle_beacon(&beacon("jis:gw", &key(1), 100), Some(&key(1).public_key()), now(101.0));
    assert!(matches!(known, BeaconVerdict::AutoVouch { .. }), "{known:?}");
    book.handle_timeout(now(500.0));
    assert_eq!((book.iter().count(), book.poll_timeout()), (0, None));
    const { assert!(MAX_BEACONS > MAX_UNBOUND_BEACONS) };
}

#[test]
fn row_75_a_beacon_that_claims_everything_is_no_vouch() {
    let mut book = BeaconBook::new(vec![BeaconRule::default()]);
    let claims = beacon("jis:gw", &key(1), 0);
    assert_eq!(book.handle_beacon(&claims, None, now(0.0)), BeaconVerdict::Pending);
    assert!(book.iter().all(|seen| !seen.verified));
    // The same once its key is known.
    let verdict = book.handle_beacon(&claims, Some(&key(1).public_key()), now(0.0));
    assert_eq!(verdict, BeaconVerdict::AutoVouch { rule: None, pod_id: None });
    // Said again it changes nothing, and hearsay does not displace it.
    assert_eq!(book.handle_beacon(&claims, Some(&key(1).public_key()), now(1.0)), BeaconVerdict::Repeated);
    assert_eq!(book.handle_beacon(&beacon("jis:gw", &key(2), 5), None, now(1.0)), BeaconVerdict::Repeated);
    assert_eq!(book.last_issued(&name("jis:gw")), Some(NOON));
    // The future is no better than the past.
    assert_eq!(
        book.handle_beacon(&beacon("jis:gw", &key(1), 6), Some(&key(1).public_key()), now(0.0)),
        BeaconVerdict::Stale
    );
    assert_eq!(
        book.handle_beacon(&beacon("jis:gw", &key(1), -301), Some(&key(1).public_key()), now(0.0)),
        BeaconVerdict::Stale
    );
}

/// A pattern that makes backtracking engines hang is a text like any other here.
#[test]
fn row_76_patterns_match_in_linear_time() {
    let Ok(pattern) = "(a+)+$".parse::<Glob>();
    assert!(!pattern.matches(&"a".repeat(1_000_000)));
    assert!(pattern.matches("(a+)+$"));
    let Ok(pattern) = format!("*{}b*", "a".repeat(1000)).parse::<Glob>();
    // 10⁹ comparisons if it were done the simple way; the test would not end in reasonable time in a debug build.
    assert!(!pattern.matches(&"a".repeat(1_000_000)));
}

// Peers.

#[test]
fn row_11_addresses_that_are_not_answered() {
    for (address, ok) in [
        ("192.0.2.1:7150", true),
        ("192.0.2.1:0", false),
        ("0.0.0.0:7150", false),
        ("255.255.255.255:7150", false),
        ("[::ffff:255.255.255.255]:7150", false),
        ("224.0.71.50:7151", false),
        ("[ff02::1]:7150", false),
        ("[::]:7150", false),
        ("127.0.0.1:7150", true),
        ("[2001:db8::1]:7150", true),
    ] {
        assert_eq!(can_be_answered(address.parse().expect(address)), ok, "{address}");
    }
}

#[test]
fn only_a_direct_verified_packet_moves_a_peer() {
    let mut peers = PeerTable::new(tibet_ping::PEER_TIMEOUT, now(0.0));
    let sensor = name("jis:home:sensor");
    let heard = |peers: &mut PeerTable, packet: &Packet, from, seconds| {
        let ping = verify_ping(packet, &key(0).public_key()).expect("verified");
        peers.handle_ping(&ping, from, now(seconds)).peer().map(|peer| peer.endpoint)
    };
    assert_eq!(heard(&mut peers, &sign(mesh(1), 0), address(1), 0.0), None);
    assert_eq!(heard(&mut peers, &signed(1), address(1), 0.0), Some(address(1)));
    for from in ["10.0.0.1:0".parse().expect("address"), address(2)] {
        assert_eq!(heard(&mut peers, &sign(mesh(2), 0), from, 1.0), None);
        assert_eq!(heard(&mut peers, &Packet { hop_count: 1, ..signed(3) }, from, 1.0), None);
    }
    // Rule R24: a packet from elsewhere moves nothing, since anybody can send a captured one; an answer from there does.
    assert_eq!(heard(&mut peers, &signed(5), address(3), 2.0), Some(address(1)));
    assert!(peers.get(&sensor, now(2.0)).is_some_and(|peer| peer.endpoint == address(1) && !peer.reachable));
    assert_eq!(peers.confirm(&sensor, address(3), now(100.0)), Some(address(1)));
    assert_eq!(peers.confirm(&sensor, address(3), now(100.0)), None);
    assert!(peers.get(&sensor, now(122.5)).is_some_and(|peer| peer.endpoint == address(3) && peer.reachable));
    // After a long silence it is wherever it speaks from.
    assert_eq!(heard(&mut peers, &signed(6), address(4), 230.0), Some(address(4)));
    assert!(peers.insert_fixed(name("jis:home:hub"), address(9), now(230.0)));
    // Cleared every 45 s.
    assert_eq!((peers.handle_timeout(now(44.0)), peers.poll_timeout()), (Vec::new(), now(45.0).mono));
    assert_eq!((peers.handle_timeout(now(400.0)), peers.len()), (vec![sensor], 1));
}

// Relay.

struct Mesh {
    relay: Relay,
    peers: PeerTable,
}

impl Mesh {
    /// A relay that knows `count` peers, at `address(0)` and so on.
    fn of(count: usize) -> Self {
        let mut peers = PeerTable::new(tibet_ping::PEER_TIMEOUT, now(0.0));
        for n in 0..count {
            let heartbeat = Packet::heartbeat(&name(&format!("jis:peer:n{n}")), fresh(n as u64, NOON));
            let heartbeat = sign(heartbeat, 0);
            let ping = verify_ping(&heartbeat, &key(0).public_key()).expect("verified");
            peers.handle_ping(&ping, address(n), now(0.0)).peer().expect("peer");
            peers.confirm(ping.source(), address(n), now(0.0));
        }
        Self { relay: Relay::new(name("jis:relay"), RelayConfig::default()), peers }
    }

    fn relay(
        &mut self,
        packet: &Packet,
        from: SocketAddr,
        seconds: f64,
    ) -> Result<Vec<SocketAddr>, RelayDrop> {
        let ping = verify_ping(packet, &key(0).public_key()).expect("verified");
        match self.relay.handle_ping(&ping, from, &self.peers, now(seconds)) {
            RelayDecision::Forward { to, .. } => Ok(to),
            RelayDecision::Drop(reason) => Err(reason),
        }
    }
}

fn answer(packet: &Packet) -> Response {
    Response::to(packet, &name("jis:far:away"), Decision::Accept, Zone::Groen, 0.9, fresh(1, NOON))
}

#[test]
fn row_68_at_most_three_copies_and_never_back() {
    let mut mesh = Mesh::of(50);
    let mut used = std::collections::BTreeSet::new();
    for n in 0..19 {
        let to = mesh.relay(&sign(self::mesh(n), 0), address(7), 0.0).expect("forwarded");
        assert_eq!(to.len(), MAX_FAN_OUT);
        assert!(!to.contains(&address(7)), "sent back where it came from");
        assert_eq!(to.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "the same peer twice");
        used.extend(to);
    }
    assert!(used.len() > 20, "the load is not shared: {}", used.len());
    // Two peers, one of them the way it came: one copy. None left: none.
    assert_eq!(Mesh::of(2).relay(&sign(self::mesh(1), 0), address(0), 0.0), Ok(vec![address(1)]));
    assert_eq!(Mesh::of(1).relay(&sign(self::mesh(1), 0), address(0), 0.0), Err(RelayDrop::NoWay));
    // Not to its origin either, which is a peer of ours under its own name.
    let from_peer = sign(Packet { source_did: "jis:peer:n1".into(), ..self::mesh(1) }, 0);
    assert_eq!(Mesh::of(2).relay(&from_peer, address(9), 0.0), Ok(vec![address(0)]));
}

#[test]
fn row_67_hops_end() {
    for (hop_count, max_hops, result) in [
        (0, 200, Ok(())),
        (9, 200, Ok(())),
        (10, 200, Err(RelayDrop::HopLimit)),
        (255, 255, Err(RelayDrop::HopLimit)),
        (4, 5, Ok(())),
        (5, 5, Err(RelayDrop::HopLimit)),
        (0, 0, Err(RelayDrop::HopLimit)),
    ] {
        let packet = sign(Packet { max_hops, hop_count, ..mesh(1) }, 0);
        let forwarded = Mesh::of(3).relay(&packet, address(9), 0.0).map(|_| ());
        assert_eq!(forwarded, result, "{hop_count} of {max_hops}");
    }
}

#[test]
fn a_packet_is_relayed_once_and_loops_end() {
    let mut mesh = Mesh::of(3);
    let packet = sign(self::mesh(1), 0);
    assert!(mesh.relay(&packet, address(9), 0.0).is_ok());
    // From elsewhere, with another hop count, with another id: it is the same packet, or none.
    let again = Packet { hop_count: 5, ..packet.clone() };
    assert_eq!(mesh.relay(&again, address(8), 1.0), Err(RelayDrop::Seen));
    // Another packet with the same id would get the first one's answers.
    let other = sign(Packet { packet_id: packet.packet_id.clone(), ..self::mesh(2) }, 0);
    assert_eq!(mesh.relay(&other, address(9), 1.0), Err(RelayDrop::IdTaken));
    let own = sign(Packet { source_did: "jis:relay".into(), ..self::mesh(3) }, 0);
    assert_eq!(mesh.relay(&own, address(9), 1.0), Err(RelayDrop::Own));
    let broadcast =
        Packet { routing_mode: RoutingMode::Mesh, target_did: "broadcast".into(), ..self::mesh(4) };
    assert_eq!(mesh.relay(&sign(broadcast, 0), address(9), 1.0), Err(RelayDrop::NotMesh));
    // It is known for as long as it could be accepted, and all is forgotten in the end.
    assert_eq!((mesh.relay.seen_len(), mesh.relay.ways_back_len()), (1, 1));
    assert_eq!(mesh.relay(&packet, address(9), 40.9), Err(RelayDrop::Seen));
    assert!(mesh.relay(&sign(self::mesh(5), 0), address(9), 100.0).is_ok());
    assert_eq!((mesh.relay.seen_len(), mesh.relay.ways_back_len()), (1, 1));
}

#[test]
fn answers_go_back_the_way_the_packet_came() {
    let mut mesh = Mesh::of(3);
    let packet = sign(self::mesh(1), 0);
    let asker = address(99);
    let to = mesh.relay(&packet, asker, 0.0).expect("forwarded");
    let answer = answer(&packet);
    // Not from anybody else, and not for any other packet.
    assert_eq!(mesh.relay.handle_response(&answer, address(98), now(1.0)), None);
    let other = Response { in_response_to: "ping_other".into(), ..answer.clone() };
    assert_eq!(mesh.relay.handle_response(&other, to[0], now(1.0)), None);
    // A false one does not keep the true one from arriving; a flood ends.
    for _ in 0..MAX_ANSWERS {
        assert_eq!(mesh.relay.handle_response(&answer, to[0], now(1.0)), Some(asker));
    }
    assert_eq!(mesh.relay.handle_response(&answer, to[0], now(1.0)), None);
    // After 30 s the asker waits no more.
    let late = sign(self::mesh(2), 0);
    let to = mesh.relay(&late, asker, 2.0).expect("forwarded");
    assert_eq!(mesh.relay.handle_response(&self::answer(&late), to[0], now(32.0)), Some(asker));
    assert_eq!(mesh.relay.handle_response(&self::answer(&late), to[0], now(32.001)), None);
}

#[test]
fn an_origin_has_its_share_and_no_more() {
    let mut mesh = Mesh::of(3);
    let from = |source: &str, n| sign(Packet { source_did: source.into(), ..self::mesh(n) }, 0);
    let passed = (0..100).filter(|n| mesh.relay(&from("jis:a", *n), address(9), 0.0).is_ok()).count();
    assert_eq!(passed, 20);
    assert!(mesh.relay(&from("jis:b", 200), address(9), 0.0).is_ok());
    let passed = (300..400).filter(|n| mesh.relay(&from("jis:a", *n), address(9), 1.0).is_ok()).count();
    assert_eq!(passed, 10);
}

// Under any input.

#[derive(Debug, Clone)]
enum Step {
    Relay(u8, u64, u8),
    Answer(u64, u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..40_u64, 0..6_u8).prop_map(|(source, n, from)| Step::Relay(source, n, from)),
        2 => (0..40_u64, 0..6_u8).prop_map(|(n, from)| Step::Answer(n, from)),
        1 => (0..20_000_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever order packets, answers and time come in: no packet goes out twice while it can be accepted, no more than three copies, no
    /// answer without a packet, and the memory ends when time passes.
    #[test]
    fn a_relay_stays_within_its_bounds(steps in prop::collection::vec(step(), 1..120)) {
        let mut mesh = Mesh::of(5);
        let config = RelayConfig { max_seen: 16, ..RelayConfig::default() };
        mesh.relay = Relay::new(name("jis:relay"), config);
        let mut seconds = 0.0;
        let mut sent: Vec<(Packet, f64)> = Vec::new();
        for step in steps {
            match step {
                Step::Relay(source, n, from) => {
                    let packet = sign(Packet { source_did: format!("jis:s{source}"), ..self::mesh(n) }, 0);
                    if let Ok(to) = mesh.relay(&packet, address(from.into()), seconds) {
                        prop_assert!((1..=MAX_FAN_OUT).contains(&to.len()));
                        let before = sent.iter().any(|(other, when)| *other == packet && seconds - when <= 40.0);
                        prop_assert!(!before, "sent twice");
                        sent.push((packet, seconds));
                    }
                }
                Step::Answer(n, from) => {
                    let answer = answer(&self::mesh(n));
                    if mesh.relay.handle_response(&answer, address(from.into()), now(seconds)).is_some() {
                        let asked = sent.iter().any(|(packet, when)| packet.packet_id == answer.in_response_to && seconds - when <= 30.0);
                        prop_assert!(asked, "an answer to nothing");
                    }
                }
                Step::Wait(ms) => seconds += f64::from(ms) / 1000.0,
            }
            prop_assert!(mesh.relay.seen_len() <= 16);
            prop_assert!(mesh.relay.ways_back_len() <= 16);
        }
    }

    /// Whatever waits, is settled, or comes again: the queue's books are right.
    #[test]
    fn a_queue_stays_within_its_bounds(steps in prop::collection::vec((0..3_u8, 0..30_u8, 0..40_u8, 0..400_usize), 1..300)) {
        let mut queue = PendingQueue::new();
        let mut seconds = 0.0;
        for (what, source, id, size) in steps {
            let (source, id) = (format!("jis:s{source}"), format!("p{id}"));
            let before = queue.len();
            match what {
                0 => {
                    seconds += size as f64;
                    queue.handle_timeout(now(seconds));
                }
                1 => {
                    let taken = queue.deny(&source, &id).is_some();
                    prop_assert_eq!(queue.len(), before - usize::from(taken));
                }
                _ => {
                    let added = queue.handle_pending(pending(&source, &id, size * 1000, seconds)).is_ok();
                    prop_assert_eq!(queue.len(), before + usize::from(added));
                }
            }
            prop_assert!(queue.iter().map(|ping| ping.frame_len).sum::<usize>() <= MAX_PENDING_BYTES);
        }
        let late = seconds + Duration::from_secs(601).as_secs_f64();
        queue.handle_timeout(now(late));
        prop_assert!(queue.is_empty());
        prop_assert_eq!(queue.poll_timeout(), None);
    }
}
