//! What happens at a node leaves tokens that verify.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{DEADLINE, SILENCE, binding, key, name, public, quiet, start, start_with};
use tibet_core::object;
use tibet_core::{FileStore, Fsync, LogCheck, Query, SqliteStore, TokenStore as _, verify_store};
use tibet_iot::Audit;
use tibet_ping::{Ask, Encoding, Fresh, Packet};

fn ask(to: std::net::SocketAddr, intent: &str) -> Ask {
    Ask { timeout: DEADLINE, ..Ask::new(name("jis:home:hub"), Some(to), intent) }
}

#[tokio::test]
async fn every_event_somebody_stands_behind_is_in_the_log_and_noise_is_not() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("t.jsonl");
    let log_key = 77;
    let (store, _) = FileStore::open(&path, Fsync::Never).expect("opened");
    let audit = Audit::new(&name("jis:home:hub"), Arc::new(key(log_key)), store).expect("begun");
    let (mut hub, at) = start_with("jis:home:hub", 1, quiet(), None, Some(audit)).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "the operator knows it").expect("set");
    hub.bind_key(binding("jis:home:sensor", 2)).expect("bound");
    let (sensor, _) = start("jis:home:sensor", 2).await;
    let answer = sensor.send_ping(ask(at, "temperature.read")).await.expect("sent").expect("answered");
    let (stranger, _) = start("jis:home:stranger", 3).await;
    let question = Ask { timeout: SILENCE, ..ask(at, "door.unlock") };
    assert_eq!(stranger.send_ping(question).await.expect("sent"), None);
    hub.stop().await.expect("stopped");
    drop(hub);

    let (store, recovered) = FileStore::open(&path, Fsync::Never).expect("opened");
    assert_eq!(recovered, None);
    let mut actions: BTreeMap<String, usize> = BTreeMap::new();
    store.for_each(0, &mut |_, token| *actions.entry(token.action).or_default() += 1).expect("read");
    let expected = [("heartbeat", 1), ("ping.intent", 1), ("trust_change", 1)];
    assert_eq!(actions, expected.map(|(action, n)| (action.to_owned(), n)).into());
    // The answer named the token of the question.
    let token = store.get(&answer.response.tibet_token_id.expect("named")).expect("read").expect("there");
    assert_eq!((token.action.as_str(), token.actor.as_str()), ("ping.intent", "jis:home:sensor"));
    assert_eq!(token.eromheen.get("proof").and_then(|proof| proof.as_str()), Some("verified"));
    let signer = public(log_key);
    let check = LogCheck { signer: Some(&signer), require_content_links: true, ..LogCheck::default() };
    let report = verify_store(&store, &check).expect("read");
    assert!(report.ok(), "{report:?}");
}

#[tokio::test]
async fn sqlite_keeps_them_too() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("audit.db");
    let store = SqliteStore::open(&path).expect("opened");
    let audit = Audit::new(&name("jis:home:hub"), Arc::new(key(77)), store).expect("begun");
    let (mut hub, at) = start_with("jis:home:hub", 1, quiet(), None, Some(audit)).await;
    hub.set_trust(name("jis:home:sensor"), 0.5, "").expect("set");
    let (sensor, _) = start("jis:home:sensor", 2).await;
    sensor.send_ping(ask(at, "door.unlock")).await.expect("sent").expect("answered");
    let waiting = hub.pending();
    assert!(hub.deny(&waiting[0].0, &waiting[0].1));
    hub.stop().await.expect("stopped");
    let store = SqliteStore::open(&path).expect("opened");
    for action in ["key_pinned", "ping.intent", "airlock_decision", "trust_change"] {
        let query = Query { action: Some(action.into()), ..Query::default() };
        assert_eq!(store.find(&query).expect("read").len(), 1, "{action}");
    }
}

/// SECURITY R64: what nobody signed fills no disk, even where it is allowed.
#[tokio::test]
async fn unsigned_pings_are_recorded_up_to_a_limit_and_without_what_came_with_them() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("t.jsonl");
    let (store, _) = FileStore::open(&path, Fsync::Never).expect("opened");
    let audit = Audit::new(&name("jis:home:hub"), Arc::new(key(77)), store).expect("begun");
    let mut config = quiet();
    config.node.replay.per_sender = 1000;
    let (mut hub, at) = start_with("jis:home:hub", 1, config, None, Some(audit)).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    hub.allow_unsigned(name("jis:home:sensor")).expect("allowed");
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let mut answer = [0; 2048];
    for n in 0..200_u64 {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&n.to_be_bytes());
        let fresh = Fresh { id: n.to_be_bytes(), nonce, now: tibet_iot::system::now() };
        let intent = Packet::intent(&name("jis:home:sensor"), &name("jis:home:hub"), "log", "", fresh);
        let packet = Packet { payload: object! { "long" => "x".repeat(1000) }, ..intent };
        socket.send_to(&packet.encode(Encoding::Json).expect("written"), at).await.expect("sent");
        tokio::time::timeout(DEADLINE, socket.recv(&mut answer)).await.expect("answered").expect("received");
    }
    hub.stop().await.expect("stopped");
    drop(hub);
    let (store, _) = FileStore::open(&path, Fsync::Never).expect("opened");
    let query = Query { action: Some("ping.intent".into()), limit: 1000, ..Query::default() };
    let tokens = store.find(&query).expect("read");
    // Sixty at once, and one more for every four seconds that this took.
    assert!((60..100).contains(&tokens.len()), "{}", tokens.len());
    assert!(tokens.iter().all(|token| !token.to_json_line().contains("xxxx")));
}
