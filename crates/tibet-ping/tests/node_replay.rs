//! Nothing is accepted twice, whatever happens to clocks and machines (SECURITY R21, R22, 3.2 rows 63 to 66).

mod common;
mod harness;

use common::name;
use harness::{Net, elsewhere, quiet, sign};
use tibet_ping::{Encoding, NodeConfig, Packet, ReplayConfig, RestartBound};

const PAIR: [&str; 2] = ["jis:home:sensor", "jis:home:hub"];

/// The hub, which keeps a restart bound, and the datagram of the sensor that it has answered.
fn answered(seed: u64, config: &NodeConfig) -> (Net, Vec<u8>) {
    let config = NodeConfig { restart: Some(RestartBound::new(None)), ..config.clone() };
    let mut net = Net::of(seed, &PAIR, &config);
    net.trust(1, 0, 0.9);
    net.ask(0, 1);
    let bytes = net.captures.last().expect("asked").bytes.clone();
    net.seconds(1.0);
    assert_eq!(net.answers(0).len(), 1);
    net.captures.clear();
    (net, bytes)
}

/// Sends a captured datagram from the address it came from and from another: nothing comes of it.
fn refused(net: &mut Net, bytes: &[u8], reason: &str, row: &str) {
    let (before, pings) = (net.dropped(1, reason), net.pings(1).len());
    let sensor = net.hosts[0].address;
    net.throw(sensor, 1, bytes);
    net.throw(elsewhere(1), 1, bytes);
    assert_eq!(net.dropped(1, reason), before + 2, "{row}: {:?}", net.node(1).stats().dropped);
    assert_eq!((net.captures.len(), net.pings(1).len()), (0, pings), "{row}");
}

/// The hub still answers what is good.
fn still_answers(net: &mut Net, row: &str) {
    let before = net.answers(0).len();
    net.ask(0, 1);
    net.seconds(1.0);
    assert_eq!(net.answers(0).len(), before + 1, "{row}: {:?}", net.node(1).stats().dropped);
}

#[test]
fn row_64_a_packet_sent_again_is_dropped_at_once_after_29_and_after_36_seconds() {
    let (mut net, bytes) = answered(1, &quiet());
    refused(&mut net, &bytes, "replayed", "row 64 at once");
    net.seconds(28.0);
    refused(&mut net, &bytes, "replayed", "row 64 after 29 s");
    net.seconds(7.0);
    refused(&mut net, &bytes, "too_old", "row 64 after 36 s");
    still_answers(&mut net, "row 64");
}

#[test]
fn row_64_a_packet_sent_again_after_a_restart_is_dropped_and_fifteen_seconds_later_all_is_well() {
    let (mut net, bytes) = answered(2, &quiet());
    net.restart(1, quiet());
    net.trust(1, 0, 0.9);
    refused(&mut net, &bytes, "before_restart", "row 64 after a restart");
    net.seconds(16.0);
    refused(&mut net, &bytes, "before_restart", "row 64 later");
    still_answers(&mut net, "row 64 after a restart");
}

#[test]
fn row_64_a_packet_sent_again_after_the_clock_was_set_back_is_dropped() {
    let (mut net, bytes) = answered(3, &quiet());
    net.seconds(40.0);
    net.hosts[1].ahead = -40_000;
    net.seconds(50.0);
    net.captures.clear();
    refused(&mut net, &bytes, "too_old", "row 64 after the clock was set back");
    still_answers(&mut net, "row 64: the clock stays where it was");
}

#[test]
fn row_64_set_back_and_restarted_the_packet_is_dropped_too() {
    let (mut net, bytes) = answered(4, &quiet());
    net.seconds(40.0);
    net.hosts[1].ahead = -40_500;
    net.restart(1, quiet());
    net.trust(1, 0, 0.9);
    refused(&mut net, &bytes, "before_restart", "row 64 with a clock set back over a restart");
}

#[test]
fn a_clock_that_is_set_forward_is_followed() {
    let (mut net, bytes) = answered(5, &quiet());
    // The whole network was an hour behind.
    for host in &mut net.hosts {
        host.ahead = 3_600_000;
    }
    net.seconds(60.0);
    still_answers(&mut net, "an hour ahead");
    net.captures.clear();
    refused(&mut net, &bytes, "too_old", "an hour ahead");
}

#[test]
fn row_63_packets_out_of_their_time_are_dropped() {
    let (mut net, _) = answered(6, &quiet());
    for (millis, ok, reason) in
        [(-31_000_i64, false, "too_old"), (6_000, false, "too_new"), (4_900, true, ""), (-29_000, true, "")]
    {
        let time = harness_time(&net, millis);
        let packet = Packet { timestamp: time, ..net.packet(PAIR[0], 1) };
        let packet = if ok || reason == "too_old" {
            sign_at(packet, millis, &net)
        } else {
            sign_at(packet, millis.min(5000), &net)
        };
        let pings = net.pings(1).len();
        net.throw(elsewhere(2), 1, &packet.encode(Encoding::Json).expect("encoded"));
        assert_eq!(
            net.pings(1).len(),
            pings + usize::from(ok),
            "row 63 {millis}: {:?}",
            net.node(1).stats().dropped
        );
        if !ok {
            assert_eq!(net.dropped(1, reason), 1, "row 63 {millis}");
        }
    }
    for (text, reason) in [
        ("now", "no_time"),
        ("", "no_time"),
        ("0000-01-02T03:04:05+00:00", "no_time"),
        ("0001-01-01T00:00:00+00:00", "too_old"),
        ("9999-12-31T23:59:59+00:00", "too_new"),
        ("10000-01-01T00:00:00+00:00", "no_time"),
    ] {
        let mut packet = sign(net.packet(PAIR[0], 1), 0, net.time());
        packet.timestamp = text.into();
        let (before, captures) = (net.dropped(1, reason), net.captures.len());
        net.throw(elsewhere(2), 1, &packet.encode(Encoding::Json).expect("encoded"));
        assert_eq!((net.dropped(1, reason), net.captures.len()), (before + 1, captures), "row 63 {text:?}");
    }
    still_answers(&mut net, "row 63");
}

fn harness_time(net: &Net, millis: i64) -> String {
    let wall = net.time().wall.as_millis().checked_add_signed(millis).and_then(jis::UnixTime::from_millis);
    tibet_ping::timestamp::write(wall.expect("a time"))
}

/// Signs with the life a packet made so long ago has.
fn sign_at(mut packet: Packet, millis: i64, net: &Net) -> Packet {
    let expires = net.time().wall.as_millis().checked_add_signed(millis + 30_000);
    let expires = expires.and_then(jis::UnixTime::from_millis).expect("a time");
    tibet_ping::sign_ping(&mut packet, &common::key(0), 0, None, expires).expect("signed");
    packet
}

#[test]
fn row_65_a_sender_that_sends_too_much_is_refused_alone() {
    let config = NodeConfig { replay: ReplayConfig { per_sender: 8, ..ReplayConfig::default() }, ..quiet() };
    let mut net = Net::of(7, &["jis:home:sensor", "jis:home:hub", "jis:home:other"], &config);
    net.trust_all(0.9);
    for _ in 0..20 {
        net.ask(0, 1);
        net.seconds(0.1);
    }
    assert_eq!((net.answers(0).len(), net.dropped(1, "sender_full")), (8, 12), "row 65");
    net.ask(2, 1);
    net.seconds(1.0);
    assert_eq!(net.answers(2).len(), 1, "row 65: others are not affected");
    net.seconds(40.0);
    still_answers(&mut net, "row 65: its own time passes");
}

#[test]
fn row_66_a_nonce_or_id_used_by_another_is_not_used_up() {
    let (mut net, _) = answered(8, &quiet());
    let honest = sign(net.packet(PAIR[0], 1), 0, net.time());
    // The same nonce and id with a bad signature, from an address of its own and from the sensor's.
    let forged = Packet { purpose: "forged".into(), ..honest.clone() };
    let sensor = net.hosts[0].address;
    for from in [elsewhere(1), sensor] {
        net.throw(from, 1, &forged.encode(Encoding::Json).expect("encoded"));
    }
    assert_eq!((net.dropped(1, "bad_signature"), net.captures.len()), (2, 0), "row 66");
    // The same nonce and id by another who is let in.
    net.with(1, |node, now| node.set_trust(name("jis:home:other"), 0.9, "test", now)).expect("a score");
    let other = Packet { source_did: "jis:home:other".into(), claim: None, ..honest.clone() };
    let other = net.signed(other, 2);
    net.throw(elsewhere(1), 1, &other);
    let pings = net.pings(1).len();
    net.throw(sensor, 1, &honest.encode(Encoding::Json).expect("encoded"));
    assert_eq!(net.pings(1).len(), pings + 1, "row 66: the honest packet is accepted");
}
