//! Nodes that talk over real sockets.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{DEADLINE, SILENCE, binding, name, quiet, start, start_with};
use tibet_core::object;
use tibet_iot::{IntentAnswer, IntentRequest, IotNode, NodeState, Outcome, TransportConfig};
use tibet_ping::{Ask, Decision, Encoding, Event, NodeConfig, Proof};
use tokio::time::timeout;

fn ask(to: SocketAddr) -> Ask {
    Ask { timeout: DEADLINE, ..Ask::new(name("jis:home:hub"), Some(to), "temperature.read") }
}

#[tokio::test]
async fn a_trusted_sensor_is_answered_by_the_application() {
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let (mut hub, at) = start("jis:home:hub", 1).await;
        hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
        let answers =
            hub.on_intent("temperature.*".parse().expect("glob"), |request: IntentRequest| async move {
                assert_eq!(request.packet().purpose, "Check room temperature");
                IntentAnswer::from(object! { "celsius" => 21.5 })
            });
        assert!(answers);
        let node = NodeConfig { encoding, ..NodeConfig::default() };
        let config = TransportConfig { node, ..quiet() };
        let (mut sensor, _) = start_with("jis:home:sensor", 2, config, None, None).await;
        let question = Ask { purpose: "Check room temperature".into(), ..ask(at) };
        let answer = sensor.send_ping(question).await.expect("sent").expect("answered");
        assert_eq!(
            (answer.response.decision, answer.response.airlock_zone.as_str()),
            (Decision::Accept, "GROEN")
        );
        assert_eq!(answer.response.payload, object! { "celsius" => 21.5 });
        assert_eq!(answer.response.trust_score, 0.9);
        assert_eq!(answer.proof, Proof::FirstContact);
        assert!(answer.round_trip > Duration::ZERO && answer.round_trip < DEADLINE);
        let question = Ask { purpose: "Check room temperature".into(), ..ask(at) };
        let again = sensor.send_ping(question).await.expect("sent").expect("answered");
        assert_eq!(again.proof, Proof::Verified);
        assert_eq!(hub.peers().len(), 1);
        sensor.stop().await.expect("stopped");
        hub.stop().await.expect("stopped");
    }
}

#[tokio::test]
async fn strangers_and_impostors_hear_nothing() {
    let (hub, at) = start("jis:home:hub", 1).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    hub.bind_key(binding("jis:home:sensor", 2)).expect("bound");
    for (who, key) in [("jis:home:stranger", 3), ("jis:home:sensor", 4)] {
        let (node, _) = start(who, key).await;
        let question = Ask { timeout: SILENCE, ..ask(at) };
        assert_eq!(node.send_ping(question).await.expect("sent"), None, "{who}");
    }
    let (stats, _) = hub.stats();
    assert_eq!(stats.dropped.get("rood"), Some(&1), "{stats:?}");
    assert_eq!(stats.dropped.get("wrong_key"), Some(&1), "{stats:?}");
    assert_eq!(stats.sent, 0);
}

#[tokio::test]
async fn stopping_ends_what_waits_and_frees_the_port() {
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let (mut node, at) = start("jis:home:sensor", 2).await;
    let mut question = node.ask(ask(deaf.local_addr().expect("address"))).expect("sent");
    node.stop().await.expect("stopped");
    let outcome = timeout(DEADLINE, question.next()).await.expect("at once");
    assert!(matches!(outcome, Outcome::NoAnswer(_)), "{outcome:?}");
    // Free at once, and for another.
    drop(UdpSocket::bind(at).expect("free"));
    assert_eq!(node.local_addr(), None);
    // It starts again.
    assert_ne!(node.start().await.expect("started").port(), 0);
    let (stats, _) = node.stats();
    assert_eq!(stats.requests, 0);
}

#[tokio::test]
async fn a_second_node_on_a_port_fails_clearly() {
    let (_first, at) = start("jis:home:hub", 1).await;
    let config = TransportConfig { bind: at, ..quiet() };
    let mut second = IotNode::new(common::identity("jis:home:other", 2), config, None, None).expect("made");
    let error = second.start().await.expect_err("taken").to_string();
    assert!(error.contains(&at.to_string()), "{error}");
}

#[tokio::test]
async fn a_handler_that_panics_or_is_slow_harms_nobody_else() {
    let (hub, at) = start("jis:home:hub", 1).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    hub.on_intent("bad".parse().expect("glob"), |_| async { panic!("on purpose") });
    hub.on_intent("slow".parse().expect("glob"), |_| std::future::pending::<IntentAnswer>());
    let (sensor, _) = start("jis:home:sensor", 2).await;
    for intent in ["bad", "slow"] {
        let question = Ask { intent: intent.into(), timeout: SILENCE, ..ask(at) };
        assert_eq!(sensor.send_ping(question).await.expect("sent"), None);
    }
    assert!(sensor.send_ping(ask(at)).await.expect("sent").is_some());
}

/// SECURITY 3.2 rows 1, 2, 5 and 8 on a socket: dropped, counted, and the node goes on.
#[tokio::test]
async fn rows_1_2_5_8_the_socket_survives() {
    let (hub, at) = start("jis:home:hub", 1).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    let raw = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let long = [b"TP\x01\x00\x00\x00\xff\xdb".as_slice(), &vec![b'{'; 65_499]].concat();
    assert_eq!(long.len(), 65_507);
    let bad: [&[u8]; 5] = [b"", b"TP", b"TP\x01\x00\x00\x00\x00\x00", b"TP\x01\x00\xff\xff\xff\xff{}", &long];
    for datagram in bad {
        raw.send_to(datagram, at).expect("sent");
    }
    let (sensor, _) = start("jis:home:sensor", 2).await;
    assert!(sensor.send_ping(ask(at)).await.expect("sent").is_some());
    let (stats, udp) = hub.stats();
    assert_eq!(stats.received, 6, "{stats:?}");
    assert_eq!(udp.cut_off, 0);
    for reason in ["truncated_header", "too_large", "bad_json"] {
        assert_eq!(stats.dropped.get(reason), Some(&if reason == "too_large" { 1 } else { 2 }), "{stats:?}");
    }
    raw.set_nonblocking(true).expect("set");
    assert!(raw.recv(&mut [0; 9]).is_err(), "nothing came back");
}

/// SECURITY 3.2 row 11: a packet that says it comes from the node's own address. The heartbeat for this peer goes to itself.
#[tokio::test]
async fn row_11_what_seems_to_come_from_its_own_address_is_dropped() {
    let (hub, at) = start("jis:home:hub", 1).await;
    hub.add_peer(name("jis:home:mirror"), at).expect("added");
    let dropped = async {
        while hub.stats().0.dropped.get("bad_source_address") != Some(&1) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, dropped).await.expect("in time");
    assert_eq!(hub.stats().0.sent, 1, "and nothing came of it");
}

#[tokio::test]
async fn a_node_that_is_not_on_the_network_asks_nothing() {
    let node = IotNode::new(common::identity("jis:home:sensor", 2), quiet(), None, None).expect("made");
    let refused = node.send_ping(ask("127.0.0.1:9".parse().expect("address"))).await;
    assert_eq!(refused, Err(tibet_ping::AskError::Stopped));
}

#[tokio::test]
async fn what_a_human_lets_in_reaches_the_application() {
    let (hub, at) = start("jis:home:hub", 1).await;
    hub.set_trust(name("jis:home:sensor"), 0.5, "").expect("set");
    hub.on_intent("temperature.read".parse().expect("glob"), |_| async {
        IntentAnswer::from(object! { "celsius" => 21.5 })
    });
    let (sensor, _) = start("jis:home:sensor", 2).await;
    let mut question = sensor.ask(Ask { decision_timeout: DEADLINE, ..ask(at) }).expect("sent");
    assert!(matches!(question.next().await, Outcome::Answer(first) if !first.last));
    let waiting = hub.pending();
    assert!(hub.approve(&waiting[0].0, &waiting[0].1));
    let Outcome::Answer(second) = timeout(DEADLINE, question.next()).await.expect("in time") else {
        panic!("no answer")
    };
    assert_eq!(second.response.payload, object! { "celsius" => 21.5 });
}

#[tokio::test]
async fn a_pending_ping_is_approved_while_the_asker_waits() {
    let (hub, at) = start("jis:home:hub", 1).await;
    hub.set_trust(name("jis:home:sensor"), 0.5, "").expect("set");
    let (sensor, _) = start("jis:home:sensor", 2).await;
    let mut question = sensor.ask(Ask { decision_timeout: DEADLINE, ..ask(at) }).expect("sent");
    let Outcome::Answer(first) = question.next().await else { panic!("no answer") };
    assert_eq!((first.response.decision, first.last), (Decision::Pending, false));
    let waiting = hub.pending();
    assert_eq!(waiting.len(), 1);
    assert!(hub.approve(&waiting[0].0, &waiting[0].1));
    let Outcome::Answer(second) = timeout(DEADLINE, question.next()).await.expect("in time") else {
        panic!("no answer")
    };
    assert_eq!((second.response.decision, second.last), (Decision::Accept, true));
}

#[tokio::test]
async fn what_was_pinned_is_known_after_a_restart_and_old_packets_are_not_taken() {
    let directory = tempfile::tempdir().expect("directory");
    let state = || Some(NodeState::open(directory.path().join("hub")).expect("opened"));
    let (mut hub, at) = start_with("jis:home:hub", 1, quiet(), state(), None).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    let (sensor, _) = start("jis:home:sensor", 2).await;
    assert!(sensor.send_ping(ask(at)).await.expect("sent").is_some());
    hub.stop().await.expect("stopped");
    drop(hub);
    let config = TransportConfig { bind: at, ..quiet() };
    let (hub, _) = start_with("jis:home:hub", 1, config, state(), None).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    // Rule R22: for up to 15 s a timestamp alone is not enough, since what was accepted last is forgotten.
    let question = || Ask { timeout: SILENCE, ..ask(at) };
    assert_eq!(sensor.send_ping(question()).await.expect("sent"), None);
    let (impostor, _) = start("jis:home:sensor", 4).await;
    assert_eq!(impostor.send_ping(question()).await.expect("sent"), None);
    let (stats, _) = hub.stats();
    assert_eq!(stats.dropped.get("before_restart"), Some(&1), "{stats:?}");
    assert_eq!(stats.dropped.get("wrong_key"), Some(&1), "{stats:?}");
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let node = NodeConfig {
        replay: tibet_ping::ReplayConfig { per_sender: 4096, ..Default::default() },
        ..NodeConfig::default()
    };
    let config = TransportConfig { node, ..quiet() };
    let (hub, at) = start_with("jis:home:hub", 1, config, None, None).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    hub.on_intent("temperature.read".parse().expect("glob"), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { IntentAnswer::default() }
    });
    let (sensor, _) = start("jis:home:sensor", 2).await;
    let questions: Vec<_> = (0..500).map(|_| sensor.ask(ask(at)).expect("sent")).collect();
    for mut question in questions {
        assert!(matches!(question.next().await, Outcome::Answer(_)));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 500);
}

#[tokio::test]
async fn events_tell_what_happens() {
    let (hub, at) = start("jis:home:hub", 1).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    let mut events = hub.events();
    let (sensor, _) = start("jis:home:sensor", 2).await;
    sensor.send_ping(ask(at)).await.expect("sent").expect("answered");
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let event = timeout(DEADLINE, events.next()).await.expect("in time").expect("there");
        kinds.push(match &*event {
            Event::Pinned { .. } => "pinned",
            Event::Ping(seen) if seen.proof == Proof::FirstContact => "ping",
            Event::PeerFound { .. } => "peer",
            _ => continue,
        });
    }
    assert_eq!(kinds, ["pinned", "ping", "peer"]);
}
