//! A node asks another through the tunnel between them: GROEN, GEEL and ROOD from end to end, and what a peer with a tunnel may not do.

mod common;
mod harness;

use std::time::Duration;

use common::{key, name};
use harness::{Net, quiet};
use proptest::prelude::*;
use tibet_core::{Zone, object};
use tibet_ping::{
    Ask, AskError, Binding, Decision, EncodeError, Event, Expects, KeySource, NodeConfig, PingNode, Priority,
    Proof, RequestId, RoutingMode, Rule, RulePattern, Sealed, SealedAnswer, SealedPing, Via,
};

const SENSOR: usize = 0;
const HUB: usize = 1;

/// Binds `other` to its key at `n`, as who opens a tunnel does.
fn bind(net: &mut Net, n: usize, other: usize) {
    let key = key(net.hosts[other].key).public_key();
    let binding = Binding { name: net.hosts[other].name.clone(), key, generation: 0 };
    assert_eq!(net.with(n, |node, _| node.bind_key(binding, KeySource::Record)), Ok(true));
}

/// The sensor, and the hub that trusts it so far.
fn pair_with(seed: u64, score: f64, config: &NodeConfig) -> Net {
    let mut net = Net::of(seed, &["jis:home:sensor", "jis:home:hub"], config);
    bind(&mut net, SENSOR, HUB);
    bind(&mut net, HUB, SENSOR);
    net.trust(HUB, SENSOR, score);
    net
}

fn pair(seed: u64, score: f64) -> Net {
    pair_with(seed, score, &quiet())
}

fn ask(net: &mut Net, change: impl FnOnce(Ask) -> Ask) -> RequestId {
    let ask = change(Ask::new(net.hosts[HUB].name.clone(), None, "temperature.read"));
    net.with(SENSOR, |node, now| node.sealed_ping(ask, now)).expect("asked")
}

fn ping(id: u64) -> SealedPing<'static> {
    SealedPing {
        id: id.to_be_bytes(),
        priority: Priority::Normal,
        expects: Expects::Answer,
        intent: "temperature.read",
        purpose: "",
        payload_bytes: &[],
    }
}

/// Hands the hub at once what the sensor says in its tunnel, and gives back what the hub says to that.
fn say(net: &mut Net, bytes: &[u8]) -> Vec<Vec<u8>> {
    let before = net.sealed.len();
    net.throw_sealed(SENSOR, HUB, bytes);
    net.sealed[before..].iter().map(|capture| capture.bytes.clone()).collect()
}

#[test]
fn groen_is_answered_at_once_and_both_say_that_the_tunnel_proved_it() {
    let mut net = pair(1, 0.9);
    let payload = object! { "room" => 7 };
    let id = ask(&mut net, |ask| Ask { payload: payload.clone(), purpose: "Check".into(), ..ask });
    net.seconds(1.0);
    let [answer] = net.answers(SENSOR)[..] else { panic!("{:?}", net.hosts[SENSOR].events) };
    assert_eq!((answer.request, answer.last), (id, true));
    assert_eq!((answer.proof, answer.from), (Proof::Sealed, Via::Tunnel));
    assert_eq!((answer.response.decision, &*answer.response.airlock_zone), (Decision::Accept, "GROEN"));
    assert_eq!((answer.response.trust_score, &*answer.response.responder_did), (0.9, "jis:home:hub"));
    assert_eq!(answer.response.in_response_to, answer.packet.packet_id);
    assert_eq!(answer.round_trip, Duration::from_millis(2));
    let [seen] = net.pings(HUB)[..] else { panic!("{:?}", net.hosts[HUB].events) };
    assert_eq!((seen.proof, seen.from, seen.zone), (Proof::Sealed, Via::Tunnel, Zone::Groen));
    assert_eq!((&*seen.packet.source_did, &*seen.packet.target_did), ("jis:home:sensor", "jis:home:hub"));
    assert_eq!((&*seen.packet.intent, &*seen.packet.purpose), ("temperature.read", "Check"));
    assert_eq!((&seen.packet.payload, seen.packet.routing_mode), (&payload, RoutingMode::Direct));
    assert_eq!(seen.packet.packet_id, answer.packet.packet_id);
    assert!(net.captures.is_empty(), "nothing goes beside the tunnel");
}

/// What a sealed ping costs is the point: nobody is told of it who does not want to be, but where tokens are kept.
#[test]
fn an_answered_ping_is_told_of_only_where_somebody_wants_to_hear_of_it() {
    for (tokens, watched, told) in [(false, false, 0), (false, true, 1), (true, false, 1)] {
        let mut net = pair_with(2, 0.9, &NodeConfig { tokens, ..quiet() });
        net.with(HUB, |node, _| node.set_watched(watched));
        ask(&mut net, |ask| ask);
        net.seconds(1.0);
        assert_eq!(net.answers(SENSOR).len(), 1);
        assert_eq!(net.pings(HUB).len(), told, "tokens {tokens}, watched {watched}");
    }
}

#[test]
fn geel_waits_for_a_human_and_the_asker_hears_the_decision() {
    for (seed, approve, decision) in [(3, true, Decision::Accept), (4, false, Decision::Reject)] {
        let mut net = pair(seed, 0.5);
        // Without an event of its own a ping that waits would be seen by nobody.
        net.with(HUB, |node, _| node.set_watched(false));
        let id = ask(&mut net, |ask| Ask { decision_timeout: Duration::from_secs(300), ..ask });
        net.seconds(1.0);
        let [pending] = net.answers(SENSOR)[..] else { panic!("told that it waits") };
        assert_eq!((pending.request, pending.last), (id, false));
        assert_eq!(pending.response.decision, Decision::Pending);
        assert_eq!(net.pings(HUB).len(), 1);
        net.seconds(200.0);
        let waiting = net.node(HUB).pending().iter().next().expect("waits").packet.clone();
        let settle = if approve { PingNode::approve } else { PingNode::deny };
        assert!(net.with(HUB, |node, now| settle(node, &waiting.source_did, &waiting.packet_id, now)));
        net.seconds(1.0);
        let answer = net.answers(SENSOR)[1];
        assert_eq!((answer.request, answer.last, answer.proof), (id, true, Proof::Sealed));
        assert_eq!((answer.response.decision, &*answer.response.airlock_zone), (decision, "GEEL"));
        assert!(net.captures.is_empty(), "the late answer is sealed too, and no sign of life is needed");
    }
}

#[test]
fn who_does_not_wait_for_the_decision_hears_pending_and_no_more() {
    let mut net = pair(5, 0.5);
    ask(&mut net, |ask| ask);
    net.seconds(1.0);
    let [answer] = net.answers(SENSOR)[..] else { panic!("one answer") };
    assert_eq!((answer.response.decision, answer.last), (Decision::Pending, true));
    let waiting = net.node(HUB).pending().iter().next().expect("waits").packet.clone();
    let sent = net.sealed.len();
    assert!(net.with(HUB, |node, now| node.approve(&waiting.source_did, &waiting.packet_id, now)));
    assert_eq!(net.sealed.len(), sent);
    assert_eq!(net.count(HUB, |event| matches!(event, Event::Settled(_))), 1);
}

/// SECURITY R20: not a byte.
#[test]
fn rood_is_met_with_silence_and_told_of_ten_times_a_second_at_most() {
    let mut net = pair(6, 0.1);
    for n in 0..1000 {
        assert!(say(&mut net, &ping(n).write().expect("written")).is_empty());
    }
    assert_eq!(net.dropped(HUB, "rood"), 1000);
    let told = net.pings(HUB);
    assert!((1..=20).contains(&told.len()), "{} told", told.len());
    assert_eq!((told[0].proof, told[0].decision), (Proof::Sealed, Decision::Reject));
    ask(&mut net, |ask| ask);
    net.seconds(20.0);
    assert!(net.answers(SENSOR).is_empty());
    assert_eq!(net.count(SENSOR, |event| matches!(event, Event::Unanswered { .. })), 1);
}

/// SECURITY R5: the tunnel proves a key, and the name is bound to another, or to none.
#[test]
fn a_tunnel_with_another_key_than_the_names_is_not_heard() {
    let mut net = pair(7, 0.9);
    let bytes = ping(1).write().expect("written");
    let (sensor, hub) = (name("jis:home:sensor"), name("jis:home:hub"));
    let wrong = key(9).public_key();
    net.with(HUB, |node, now| node.handle_sealed(&sensor, &wrong, &bytes, now));
    assert_eq!(net.dropped(HUB, "wrong_key"), 1);
    assert_eq!(net.count(HUB, |event| matches!(event, Event::ChangedKey { from: Via::Tunnel, .. })), 1);
    net.with(HUB, |node, now| node.set_trust(name("jis:home:other"), 0.9, "test", now)).expect("a score");
    net.with(HUB, |node, now| node.handle_sealed(&name("jis:home:other"), &wrong, &bytes, now));
    assert_eq!(net.dropped(HUB, "unknown_name"), 1);
    let own = key(HUB).public_key();
    net.with(HUB, |node, now| node.handle_sealed(&hub, &own, &bytes, now));
    assert_eq!(net.dropped(HUB, "own"), 1);
    assert!(net.sealed.is_empty() && net.pings(HUB).is_empty());
    // None of them used up the id.
    assert_eq!(say(&mut net, &bytes).len(), 1);
}

#[test]
fn an_id_is_heard_once_of_each_peer() {
    let mut net = pair(8, 0.9);
    let bytes = ping(1).write().expect("written");
    assert_eq!(say(&mut net, &bytes).len(), 1);
    assert_eq!(say(&mut net, &bytes).len(), 0);
    let other = SealedPing { intent: "door.open", ..ping(1) };
    assert_eq!(say(&mut net, &other.write().expect("written")).len(), 0);
    assert_eq!(net.dropped(HUB, "replayed"), 2);
    assert_eq!(net.pings(HUB).len(), 1);
    assert_eq!(say(&mut net, &ping(2).write().expect("written")).len(), 1);
}

#[test]
fn who_waits_for_nothing_gets_nothing() {
    let mut net = pair(9, 0.9);
    let lazy = SealedPing { expects: Expects::Nothing, priority: Priority::Lazy, ..ping(1) };
    assert!(say(&mut net, &lazy.write().expect("written")).is_empty());
    assert_eq!(net.pings(HUB).len(), 1, "and is heard");
    net.with(HUB, |node, _| node.set_watched(false));
    let lazy = SealedPing { id: [2; 8], ..lazy };
    assert!(say(&mut net, &lazy.write().expect("written")).is_empty());
    // A question that nobody waits for is over at once, and is told of as any other.
    ask(&mut net, |ask| Ask { timeout: Duration::ZERO, ..ask });
    net.seconds(1.0);
    assert_eq!(net.count(SENSOR, |event| matches!(event, Event::Unanswered { .. })), 1);
    assert_eq!(net.sealed.len(), 1, "no answer came back");
}

#[test]
fn a_malformed_payload_leads_to_nothing_whoever_would_read_it() {
    for watched in [true, false] {
        let mut net = pair(10, 0.9);
        net.with(HUB, |node, _| node.set_watched(watched));
        let bytes = SealedPing { payload_bytes: &[0x80], ..ping(1) }.write().expect("written");
        assert!(say(&mut net, &bytes).is_empty());
        assert_eq!(net.dropped(HUB, "bad_member"), 1);
        assert!(net.pings(HUB).is_empty());
    }
}

#[test]
fn rules_decide_as_for_signed_pings() {
    let mut net = pair(11, 0.5);
    let mut rule = |id: &str, pattern: RulePattern, zone: Zone, decision: Decision| {
        let rule = Rule { id: id.into(), name: id.into(), pattern, zone, decision, priority: 50 };
        net.with(HUB, |node, _| node.add_rule(rule)).expect("room");
    };
    let glob = |text: &str| Some(text.parse().unwrap_or_else(|never| match never {}));
    let doors = RulePattern { intent: glob("door*"), ..RulePattern::default() };
    rule("doors", doors, Zone::Rood, Decision::Reject);
    let pods = RulePattern { pod_id: Some("kitchen".into()), ..RulePattern::default() };
    rule("pods", pods, Zone::Rood, Decision::Reject);
    let heartbeats = RulePattern { ping_type: Some("heartbeat".into()), ..RulePattern::default() };
    rule("heartbeats", heartbeats, Zone::Rood, Decision::Reject);
    let sensors = RulePattern { source_did: glob("jis:home:sensor"), ..RulePattern::default() };
    rule("sensors", sensors, Zone::Groen, Decision::Accept);
    ask(&mut net, |ask| ask);
    ask(&mut net, |ask| Ask { intent: "door.open".into(), ..ask });
    net.seconds(1.0);
    let [answer] = net.answers(SENSOR)[..] else { panic!("the door is not answered") };
    assert_eq!((&*answer.packet.intent, answer.response.decision), ("temperature.read", Decision::Accept));
    assert_eq!(answer.response.trust_score, 0.5);
    let rules: Vec<_> = net.pings(HUB).iter().map(|ping| ping.rule.clone().expect("by a rule")).collect();
    assert_eq!(rules, ["sensors", "doors"]);
}

#[test]
fn the_application_answers_what_it_claims_with_no_more_than_a_datagram_holds() {
    let mut net = pair(12, 0.9);
    let Ok(glob) = "temperature.*".parse();
    assert!(net.with(HUB, |node, _| node.claim_intents(glob)));
    net.with(HUB, |node, _| node.set_watched(false));
    ask(&mut net, |ask| ask);
    net.seconds(1.0);
    let [(question, seen)] = net.questions(HUB)[..] else { panic!("one question") };
    assert_eq!((seen.proof, &*seen.packet.intent), (Proof::Sealed, "temperature.read"));
    let large = object! { "log" => "x".repeat(1200) };
    let answered = net.with(HUB, |node, now| node.answer(question, large, None, now));
    assert_eq!(answered, Err(EncodeError::Member("payload").into()));
    let payload = object! { "celsius" => 21.5 };
    net.with(HUB, |node, now| node.answer(question, payload.clone(), None, now)).expect("it still waits");
    net.seconds(1.0);
    let [answer] = net.answers(SENSOR)[..] else { panic!("answered") };
    assert_eq!((&answer.response.payload, answer.last), (&payload, true));
}

#[test]
fn what_a_human_lets_in_reaches_the_application() {
    let mut net = pair(13, 0.5);
    let Ok(glob) = "*".parse();
    assert!(net.with(HUB, |node, _| node.claim_intents(glob)));
    ask(&mut net, |ask| Ask { decision_timeout: Duration::from_secs(300), ..ask });
    net.seconds(1.0);
    let waiting = net.node(HUB).pending().iter().next().expect("waits").packet.clone();
    assert!(net.with(HUB, |node, now| node.approve(&waiting.source_did, &waiting.packet_id, now)));
    let [(question, seen)] = net.questions(HUB)[..] else { panic!("one question") };
    assert_eq!((seen.proof, seen.from), (Proof::Sealed, Via::Tunnel));
    let payload = object! { "celsius" => 21.5 };
    net.with(HUB, |node, now| node.answer(question, payload.clone(), None, now)).expect("answered");
    net.seconds(1.0);
    assert_eq!(net.answers(SENSOR)[1].response.payload, payload);
}

/// SECURITY R19: one peer, however fast, leaves room for the others.
#[test]
fn one_tunnel_fills_neither_the_application_nor_the_human() {
    let mut net = pair(14, 0.9);
    let Ok(glob) = "temperature.*".parse();
    net.with(HUB, |node, _| node.claim_intents(glob));
    for n in 0..1000 {
        say(&mut net, &ping(n).write().expect("written"));
    }
    assert_eq!((net.questions(HUB).len(), net.dropped(HUB, "queue_full")), (128, 872));
    net.trust(HUB, SENSOR, 0.5);
    for n in 1000..2000 {
        say(&mut net, &ping(n).write().expect("written"));
    }
    assert_eq!(net.node(HUB).pending().len(), 16);
    let told = net.pings(HUB).len();
    assert!((16..=36).contains(&told), "{told} told of");
}

/// SECURITY R11, R16: an answer counts only through the tunnel of whoever was asked through it.
#[test]
fn only_who_was_asked_in_a_tunnel_answers_in_it() {
    let mut net = Net::of(15, &["jis:home:sensor", "jis:home:hub", "jis:home:other"], &quiet());
    for (n, other) in [(0, 1), (0, 2), (1, 0)] {
        bind(&mut net, n, other);
    }
    net.cut(SENSOR, HUB);
    let id = ask(&mut net, |ask| ask);
    let question = net.sealed[0].bytes.clone();
    let Ok(Sealed::Ping(ping)) = Sealed::read(&question) else { panic!("a ping") };
    let answer = SealedAnswer {
        id: ping.id,
        decision: Decision::Accept,
        zone: Zone::Groen,
        trust: 9000,
        last: true,
        payload_bytes: &[],
    };
    let bytes = answer.write().expect("written");
    net.throw_sealed(2, SENSOR, &bytes);
    assert_eq!(net.dropped(SENSOR, "false_answer"), 1, "somebody else");
    let other = SealedAnswer { id: [0xee; 8], ..answer }.write().expect("written");
    net.throw_sealed(HUB, SENSOR, &other);
    assert_eq!(net.dropped(SENSOR, "unasked"), 1, "to nothing");
    // The hub itself, beside the tunnel: signed for a hash that nobody has.
    let mut packet = net.packet("jis:home:sensor", HUB);
    packet.packet_id = format!("ping_{}", jis::hex::encode(&ping.id));
    let fresh = common::fresh(3, net.time().wall);
    let hub = name("jis:home:hub");
    let mut response = tibet_ping::Response::to(&packet, &hub, Decision::Accept, Zone::Groen, 0.9, fresh);
    tibet_ping::sign_pong(&mut response, &[0; 32], &key(HUB), 0).expect("signed");
    let datagram = response.encode(tibet_ping::Encoding::Json).expect("encoded");
    net.throw(net.hosts[HUB].address, SENSOR, &datagram);
    assert_eq!(net.dropped(SENSOR, "false_answer"), 2, "beside the tunnel");
    // A signed question is not answered through the tunnel either.
    net.ask(SENSOR, HUB);
    let signed = net.captures.last().expect("sent").bytes.clone();
    let text = String::from_utf8_lossy(&signed).into_owned();
    let at = text.find("ping_").expect("an id") + 5;
    let id_of_signed = jis::hex::decode_array(&text[at..at + 16]).expect("hex");
    let sealed = SealedAnswer { id: id_of_signed, ..answer }.write().expect("written");
    net.throw_sealed(HUB, SENSOR, &sealed);
    assert_eq!(net.dropped(SENSOR, "false_answer"), 3, "for a signed ping");
    assert!(net.answers(SENSOR).is_empty());
    net.throw_sealed(HUB, SENSOR, &bytes);
    assert_eq!(net.answers(SENSOR)[0].request, id);
    net.throw_sealed(HUB, SENSOR, &bytes);
    assert_eq!(net.answers(SENSOR).len(), 1, "once");
}

#[test]
fn what_a_sealed_ping_cannot_carry_is_not_asked() {
    let mut net = pair(16, 0.9);
    let ask = Ask::new(name("jis:home:hub"), None, "temperature.read");
    let encode = |member| AskError::Encode(EncodeError::Member(member));
    for (ask, error) in [
        (Ask { intent: "Temperature".into(), ..ask.clone() }, encode("intent")),
        (Ask { pod_id: Some("kitchen".into()), ..ask.clone() }, encode("pod_id")),
        (Ask { payload: object! { "x" => "y".repeat(1200) }, ..ask.clone() }, encode("payload")),
        (Ask { routing: RoutingMode::Broadcast, ..ask.clone() }, AskError::Broadcast),
        (Ask { target: name("jis:home:sensor"), ..ask }, AskError::Own),
    ] {
        assert_eq!(net.with(SENSOR, |node, now| node.sealed_ping(ask, now)), Err(error));
    }
    assert!(net.sealed.is_empty());
    assert_eq!(net.node(SENSOR).stats().requests, 0);
}

proptest! {
    #![proptest_config(harness::cases(64))]

    /// Whatever comes through a tunnel, the node goes on, answers each ping once at most, and with no more than it was asked with.
    #[test]
    fn whatever_comes_through_a_tunnel_is_bounded(
        bodies in prop::collection::vec((30..36u8, prop::collection::vec(any::<u8>(), 0..40)), 1..40),
        score in 0..11u8,
    ) {
        let mut net = pair(17, f64::from(score) / 10.0);
        for (kind, body) in bodies {
            let bytes = tibet_ping::Frame::Version2 { kind, body: &body }.write().expect("fits");
            let answers = say(&mut net, &bytes);
            prop_assert!(answers.len() <= 1);
            prop_assert!(answers.iter().all(|answer| answer.len() < bytes.len()));
        }
        let id = ask(&mut net, |ask| ask);
        net.seconds(1.0);
        let heard = net.answers(SENSOR).iter().any(|answer| answer.request == id);
        prop_assert_eq!(heard, score >= 3);
    }
}
