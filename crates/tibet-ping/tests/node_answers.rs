//! A node asks another: GROEN, GEEL and ROOD from end to end.

mod common;
mod harness;

use std::time::Duration;

use common::name;
use harness::{Net, elsewhere, quiet};
use tibet_core::json::Value;
use tibet_core::{Zone, object};
use tibet_ping::{Ask, Decision, Encoding, Event, Packet, PingNode, Proof, RequestId, Rule, RulePattern};

const PAIR: [&str; 2] = ["jis:home:sensor", "jis:home:hub"];

/// The sensor, and the hub that trusts it so far.
fn pair(seed: u64, score: f64) -> Net {
    let mut net = Net::of(seed, &PAIR, &quiet());
    net.trust(1, 0, score);
    net
}

/// Asks and waits for the decision of a human.
fn ask_and_wait(net: &mut Net) -> RequestId {
    let ask = Ask { decision_timeout: Duration::from_secs(300), ..net.question(1) };
    net.with(0, |node, now| node.ping(ask, now)).expect("asked")
}

#[test]
fn groen_is_answered_at_once_and_the_first_contact_is_pinned_on_both_sides() {
    let mut net = pair(1, 0.9);
    let id = net.ask(0, 1);
    net.seconds(1.0);
    let [answer] = net.answers(0)[..] else { panic!("{:?}", net.hosts[0].events) };
    assert_eq!((answer.request, answer.last, answer.proof), (id, true, Proof::FirstContact));
    assert_eq!((answer.response.decision, &*answer.response.airlock_zone), (Decision::Accept, "GROEN"));
    assert_eq!(answer.round_trip, Duration::from_millis(2));
    let [ping] = net.pings(1)[..] else { panic!("{:?}", net.hosts[1].events) };
    assert_eq!((ping.proof, ping.zone), (Proof::FirstContact, Zone::Groen));
    for n in [0, 1] {
        assert_eq!(net.count(n, |event| matches!(event, Event::Pinned { .. })), 1, "node {n}");
    }
    net.ask(0, 1);
    net.seconds(1.0);
    assert_eq!(net.answers(0)[1].proof, Proof::Verified);
    assert_eq!(net.pings(1)[1].proof, Proof::Verified);
}

#[test]
fn the_application_answers_the_intents_it_claims_and_no_others() {
    let mut net = pair(2, 0.9);
    let Ok(glob) = "temperature.*".parse();
    assert!(net.with(1, |node, _| node.claim_intents(glob)));
    let claimed = net.ask(0, 1);
    let ask = Ask { intent: "door.open".into(), ..net.question(1) };
    net.with(0, |node, now| node.ping(ask, now)).expect("asked");
    net.seconds(1.0);
    let [answer] = net.answers(0)[..] else { panic!("only the door is answered") };
    assert_eq!(answer.packet.intent, "door.open");
    let [(question, ping)] = net.questions(1)[..] else { panic!("one question") };
    assert_eq!(ping.packet.intent, "temperature.read");
    let payload = object! { "celsius" => 21.5 };
    net.with(1, |node, now| node.answer(question, payload.clone(), Some(vec!["thermometer".into()]), now))
        .expect("answered");
    net.seconds(1.0);
    let answer = net.answers(0)[1];
    assert_eq!((answer.request, &answer.response.payload), (claimed, &payload));
    assert_eq!(answer.response.capabilities, ["thermometer"]);
    let again = net.with(1, |node, now| node.answer(question, payload, None, now));
    assert_eq!(again, Err(tibet_ping::AnswerError::Gone));
}

/// R15: more than was asked is not sent to an address that has proven nothing. It is asked whether it is there, and then gets it.
#[test]
fn an_answer_larger_than_the_question_waits_until_the_address_is_proven() {
    let mut net = pair(3, 0.9);
    net.trust(0, 1, 0.9);
    let Ok(glob) = "*".parse();
    net.with(1, |node, _| node.claim_intents(glob));
    net.ask(0, 1);
    net.seconds(0.1);
    let (question, _) = net.questions(1)[0];
    let payload = object! { "log" => "x".repeat(6000) };
    net.with(1, |node, now| node.answer(question, payload.clone(), None, now)).expect("answered");
    let paid = net.bytes_to(net.hosts[1].address);
    assert!(net.bytes_to(net.hosts[0].address) <= paid, "before anything is proven");
    net.seconds(1.0);
    assert_eq!(net.answers(0).len(), 1, "the answer arrives within the second: {:?}", net.node(1));
    assert_eq!(net.answers(0)[0].response.payload, payload);
}

/// The same for an asker who does not trust whom it asks, and so proves nothing: it gets no more than it paid for.
#[test]
fn who_proves_nothing_gets_no_more_than_it_paid_for() {
    let mut net = pair(4, 0.9);
    let Ok(glob) = "*".parse();
    net.with(1, |node, _| node.claim_intents(glob));
    for _ in 0..20 {
        net.ask(0, 1);
        net.seconds(0.5);
        let (question, _) = *net.questions(1).last().expect("asked");
        let payload = object! { "log" => "x".repeat(3000) };
        net.with(1, |node, now| node.answer(question, payload, None, now)).expect("answered");
        let (paid, got) = (net.bytes_to(net.hosts[1].address), net.bytes_to(net.hosts[0].address));
        assert!(got <= paid, "{got} bytes for {paid}");
    }
    assert!(!net.answers(0).is_empty(), "several questions pay for an answer");
}

#[test]
fn geel_waits_for_a_human_and_the_asker_hears_the_decision() {
    for (seed, approve, decision) in [(5, true, Decision::Accept), (6, false, Decision::Reject)] {
        let mut net = pair(seed, 0.5);
        let id = ask_and_wait(&mut net);
        net.seconds(1.0);
        let [pending] = net.answers(0)[..] else { panic!("told that it waits") };
        assert_eq!((pending.request, pending.last), (id, false));
        assert_eq!(pending.response.decision, Decision::Pending);
        net.seconds(200.0);
        let waiting = net.node(1).pending().iter().next().expect("waits").packet.clone();
        let settled = net.with(1, |node, now| {
            let settle = if approve { PingNode::approve } else { PingNode::deny };
            settle(node, &waiting.source_did, &waiting.packet_id, now)
        });
        assert!(settled);
        net.seconds(20.0);
        let answers = net.answers(0);
        assert_eq!(answers.len(), 2, "the late answer arrives without trust in whoever decides");
        assert_eq!((answers[1].request, answers[1].last), (id, true));
        assert_eq!(answers[1].response.decision, decision);
        let (paid, got) = (net.bytes_to(net.hosts[1].address), net.bytes_to(net.hosts[0].address));
        assert!(got <= paid, "{got} bytes for {paid}");
        assert_eq!(
            net.count(1, |event| matches!(event, Event::Settled(s) if s.decision == Some(decision))),
            1
        );
        // Signs of life end with the decision.
        let sent = net.sent_by(0).len();
        net.seconds(60.0);
        assert_eq!(net.sent_by(0).len(), sent);
    }
}

/// A late answer can be larger than the question: an asker whom signs of life pay for gets it, however little it trusts.
#[test]
fn signs_of_life_pay_for_a_late_answer_that_is_larger_than_the_question() {
    let mut net = pair(7, 0.5);
    let rule = Rule {
        id: "r".into(),
        name: "long ".repeat(150),
        pattern: RulePattern::default(),
        zone: Zone::Geel,
        decision: Decision::Pending,
        priority: 50,
    };
    net.with(1, |node, _| node.add_rule(rule)).expect("a rule");
    ask_and_wait(&mut net);
    net.seconds(2.0);
    let waiting = net.node(1).pending().iter().next().expect("waits").packet.clone();
    assert!(net.with(1, |node, now| node.approve(&waiting.source_did, &waiting.packet_id, now)));
    net.seconds(120.0);
    let last = net.answers(0).last().map(|answer| (answer.last, answer.response.decision));
    assert_eq!(last, Some((true, Decision::Accept)));
    assert!(net.bytes_to(net.hosts[0].address) <= net.bytes_to(net.hosts[1].address));
}

#[test]
fn a_ping_that_nobody_decides_on_is_given_up_on_both_sides() {
    let mut net = pair(8, 0.5);
    let id = ask_and_wait(&mut net);
    net.seconds(700.0);
    let gone = |event: &Event| matches!(event, Event::Unanswered { request, .. } if *request == id);
    assert_eq!(net.count(0, gone), 1);
    assert_eq!(net.count(1, |event| matches!(event, Event::Settled(s) if s.decision.is_none())), 1);
    assert!(net.node(1).pending().is_empty());
}

/// R20.
#[test]
fn rood_hears_nothing() {
    let mut net = pair(9, 0.1);
    net.trust(0, 1, 0.9);
    let id = net.ask(0, 1);
    net.seconds(60.0);
    assert_eq!(net.sent_by(1), Vec::<&harness::Capture>::new());
    let gone = |event: &Event| matches!(event, Event::Unanswered { request, .. } if *request == id);
    assert_eq!(net.count(0, gone), 1);
    assert_eq!(net.dropped(1, "rood"), 1);
    assert_eq!(net.node(1).stats().keys, 0, "nobody is pinned for asking");
}

/// R15: a question smaller than any answer, of a legacy device.
#[test]
fn a_legacy_question_gets_no_more_than_it_is_long() {
    let mut net = pair(10, 0.0);
    net.with(1, |node, now| {
        node.allow_unsigned(name("jis:a")).expect("room");
        node.set_trust(name("jis:a"), 0.9, "test", now).expect("a score");
    });
    let Ok(glob) = "*".parse();
    net.with(1, |node, _| node.claim_intents(glob));
    for large in [false, true] {
        let packet = Packet { intent: "i".into(), purpose: "p".into(), ..net.packet("jis:a", 1) };
        let (from, bytes) = (elsewhere(u16::from(large)), packet.encode(Encoding::Msgpack).expect("encoded"));
        net.throw(from, 1, &bytes);
        let (question, _) = *net.questions(1).last().expect("asked");
        let payload = if large {
            object! { "x" => "x".repeat(500) }
        } else {
            object! {}
        };
        net.with(1, |node, now| node.answer(question, payload, None, now)).expect("answered");
        let out = net.bytes_to(from);
        assert!(out <= bytes.len(), "{out} for {}", bytes.len());
        assert_eq!(out == 0, large, "the small answer fits without its signature");
    }
    assert_eq!(net.dropped(1, "amplification"), 1);
}

#[test]
fn an_application_that_does_not_answer_is_not_waited_for() {
    let mut net = Net::of(11, &PAIR, &quiet());
    net.trust(1, 0, 0.9);
    let Ok(glob) = "*".parse();
    net.with(1, |node, _| node.claim_intents(glob));
    net.ask(0, 1);
    net.seconds(12.0);
    assert_eq!(net.dropped(1, "not_answered"), 1);
    let (question, _) = net.questions(1)[0];
    let answer = net.with(1, |node, now| node.answer(question, object! { "n" => Value::Null }, None, now));
    assert_eq!(answer, Err(tibet_ping::AnswerError::Gone));
    assert!(net.sent_by(1).is_empty());
}
