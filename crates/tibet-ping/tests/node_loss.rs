//! One datagram in five is lost, one in ten comes twice, and later ones overtake earlier ones: who asks again gets through, and nothing is accepted
//! twice.

mod common;
mod harness;

use std::collections::BTreeMap;

use harness::{Link, Net};
use tibet_core::object;
use tibet_ping::{Event, NodeConfig};

const QUESTIONS: usize = 12;
const TRIES: usize = 12;

fn run(seed: u64) -> Net {
    let mut net = Net::of(
        seed,
        &["jis:home:sensor", "jis:home:hub"],
        &NodeConfig { discovery: None, ..NodeConfig::default() },
    );
    net.trust_all(0.9);
    let Ok(glob) = "*".parse();
    net.with(1, |node, _| node.claim_intents(glob));
    net.link = Link::BAD;
    let mut answered = 0;
    for question in 0..QUESTIONS {
        for _ in 0..TRIES {
            let asked_before = net.questions(1).len();
            net.ask(0, 1);
            net.seconds(1.0);
            let new: Vec<_> = net.questions(1)[asked_before..].iter().map(|(id, _)| *id).collect();
            for id in new {
                let payload = object! { "question" => question };
                net.with(1, |node, now| node.answer(id, payload, None, now)).expect("answered");
            }
            net.seconds(2.0);
            if net.answers(0).len() > answered {
                break;
            }
        }
        assert!(net.answers(0).len() > answered, "question {question} was not answered in {TRIES} tries");
        answered = net.answers(0).len();
    }
    net
}

#[test]
fn who_asks_again_gets_through_and_nothing_is_accepted_twice() {
    let (mut tries, mut doubled) = (0, 0);
    for seed in 0..20 {
        let net = run(seed);
        let mut accepted = BTreeMap::<&str, usize>::new();
        for (_, ping) in net.questions(1) {
            *accepted.entry(&ping.packet.packet_id).or_default() += 1;
        }
        assert!(accepted.values().all(|times| *times == 1), "seed {seed}: {accepted:?}");
        let mut answers = BTreeMap::new();
        net.answers(0).iter().for_each(|answer| *answers.entry(answer.request).or_insert(0) += 1);
        assert!(answers.values().all(|times| *times == 1), "seed {seed}: each request is answered once");
        assert_eq!(net.count(1, |event| matches!(event, Event::PeerGone { .. })), 0, "seed {seed}");
        tries += accepted.len();
        doubled += net.dropped(1, "replayed");
    }
    println!("{tries} pings accepted for {} questions; {doubled} copies dropped", 20 * QUESTIONS);
    assert!(doubled > 0, "some came twice");
}

/// The same seed, the same story: byte for byte.
#[test]
fn a_run_is_repeated_by_its_seed() {
    let (one, other) = (run(3), run(3));
    assert_eq!(one.captures, other.captures);
    assert_eq!(one.hosts[0].events, other.hosts[0].events);
    assert_ne!(one.captures, run(4).captures);
}
