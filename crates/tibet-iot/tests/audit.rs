//! What happens at a node leaves tokens that verify.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{DEADLINE, SILENCE, binding, key, name, public, quiet, start, start_with};
use tibet_core::{FileStore, Fsync, LogCheck, Query, SqliteStore, TokenStore as _, verify_store};
use tibet_iot::Audit;
use tibet_ping::Ask;

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
