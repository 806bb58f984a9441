//! Nodes with a tunnel between them ask each other through it.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{DEADLINE, SILENCE, binding, key, name, public, quiet, start, start_with};
use jis::{Name, PublicKey};
use tibet_core::{FileStore, Fsync, LogCheck, Query, TokenStore as _, object, verify_store};
use tibet_iot::{Audit, IntentAnswer, IotNode, Outcome, Outgoing, SealedInbox, SealedSender};
use tibet_ping::{Ask, AskError, Decision, Event, Proof, Via};

/// A tunnel from one node to the other: what is put in comes out at the other's inbox, as coming from `own`.
struct Wire {
    own: (Name, PublicKey),
    other: (Name, SealedInbox),
    live: Arc<AtomicBool>,
}

impl SealedSender for Wire {
    fn is_live(&self, peer: &Name) -> bool {
        *peer == self.other.0 && self.live.load(Ordering::SeqCst)
    }

    fn seal(&mut self, peer: &Name, datagram: &[u8], _: &mut Vec<Outgoing>) {
        if self.is_live(peer) {
            assert!(self.other.1.push(&self.own.0, &self.own.1, datagram), "room");
        }
    }
}

/// Joins hub (key 1) and sensor (key 2), which know each other's keys.
fn join(hub: &IotNode, sensor: &IotNode) -> Arc<AtomicBool> {
    let live = Arc::new(AtomicBool::new(true));
    for (one, n, other) in [(hub, 1, sensor), (sensor, 2, hub)] {
        let own = (one.name(), public(n));
        let wire = Wire { own, other: (other.name(), other.sealed_inbox()), live: Arc::clone(&live) };
        one.set_tunnels(Some(Box::new(wire)));
    }
    hub.learn_key(binding("jis:home:sensor", 2)).expect("room");
    sensor.learn_key(binding("jis:home:hub", 1)).expect("room");
    live
}

/// So that nothing holds itself.
fn part(nodes: [&IotNode; 2]) {
    nodes.into_iter().for_each(|node| node.set_tunnels(None));
}

fn ask(intent: &str) -> Ask {
    Ask { timeout: DEADLINE, ..Ask::new(name("jis:home:hub"), None, intent) }
}

#[tokio::test]
async fn a_question_goes_through_the_tunnel_where_there_is_one() {
    let (hub, at) = start("jis:home:hub", 1).await;
    let (sensor, _) = start("jis:home:sensor", 2).await;
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    let live = join(&hub, &sensor);
    let answer = sensor.send_ping(ask("temperature.read")).await.expect("sent").expect("answered");
    assert_eq!((answer.proof, answer.from), (Proof::Sealed, Via::Tunnel));
    assert_eq!((sensor.sent().sent, hub.sent().sent), (0, 0), "nothing goes beside the tunnel");
    // Elsewhere it is sent because the asker says where, or because it does not fit.
    let elsewhere = Ask { to: Some(at), ..ask("temperature.read") };
    let answer = sensor.send_ping(elsewhere.clone()).await.expect("sent").expect("answered");
    assert_eq!(answer.proof, Proof::Verified);
    let large = Ask { payload: object! { "log" => "x".repeat(1200) }, ..ask("log.write") };
    sensor.add_peer(name("jis:home:hub"), at).expect("added");
    let answer = sensor.send_ping(large.clone()).await.expect("sent").expect("answered");
    assert_eq!(answer.proof, Proof::Verified);
    assert!(matches!(sensor.ask_sealed(large), Err(AskError::Encode(_))));
    live.store(false, Ordering::SeqCst);
    let answer = sensor.send_ping(ask("temperature.read")).await.expect("sent").expect("answered");
    assert_eq!(answer.proof, Proof::Verified);
    let none = sensor.ask_sealed(ask("temperature.read")).err();
    assert_eq!(none, Some(AskError::NoTunnel(name("jis:home:hub"))));
    part([&hub, &sensor]);
}

#[tokio::test]
async fn handlers_humans_and_silence_are_as_outside_the_tunnel() {
    let (hub, _) = start("jis:home:hub", 1).await;
    let (sensor, _) = start("jis:home:sensor", 2).await;
    join(&hub, &sensor);
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    let Ok(glob) = "temperature.*".parse();
    assert!(hub.on_intent(glob, |request| async move {
        assert_eq!(request.ping.proof, Proof::Sealed);
        IntentAnswer::from(object! { "celsius" => 21.5 })
    }));
    let answer = sensor.send_ping(ask("temperature.read")).await.expect("sent").expect("answered");
    assert_eq!(answer.response.payload, object! { "celsius" => 21.5 });

    hub.set_trust(name("jis:home:sensor"), 0.5, "").expect("set");
    let mut question =
        sensor.ask_sealed(Ask { decision_timeout: DEADLINE, ..ask("door.open") }).expect("asked");
    let Outcome::Answer(pending) = question.next().await else { panic!("told that it waits") };
    assert_eq!((pending.response.decision, pending.last), (Decision::Pending, false));
    let waiting = hub.pending();
    assert!(hub.approve(&waiting[0].0, &waiting[0].1));
    let Outcome::Answer(decided) = question.next().await else { panic!("told of the decision") };
    assert_eq!((decided.response.decision, decided.last), (Decision::Accept, true));

    hub.set_trust(name("jis:home:sensor"), 0.1, "").expect("set");
    let silent = Ask { timeout: SILENCE, ..ask("door.open") };
    assert_eq!(sensor.send_ping(silent).await.expect("sent"), None);
    part([&hub, &sensor]);
}

#[tokio::test]
async fn who_listens_hears_of_pings_that_are_answered_at_once() {
    let (hub, _) = start("jis:home:hub", 1).await;
    let (sensor, _) = start("jis:home:sensor", 2).await;
    join(&hub, &sensor);
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    sensor.send_ping(ask("before.anybody/listens")).await.expect("sent").expect("answered");
    let mut events = hub.events();
    sensor.send_ping(ask("temperature.read")).await.expect("sent").expect("answered");
    let heard = async {
        loop {
            if let Event::Ping(seen) = &*events.next().await.expect("running") {
                return (seen.proof, seen.packet.intent.clone());
            }
        }
    };
    let heard = tokio::time::timeout(DEADLINE, heard).await.expect("told");
    assert_eq!(heard, (Proof::Sealed, "temperature.read".to_owned()));
    part([&hub, &sensor]);
}

/// SECURITY R63: a token each, on disk before the answer leaves; and it says what proved the sender.
#[tokio::test]
async fn tokens_on_both_sides_say_that_the_tunnel_proved_it() {
    let directory = tempfile::tempdir().expect("directory");
    let open = |n: &str| FileStore::open(directory.path().join(n), Fsync::Never).expect("opened").0;
    let audit = |who: &str| Some(Audit::new(&name(who), Arc::new(key(77)), open(who)).expect("begun"));
    let (mut hub, _) = start_with("jis:home:hub", 1, quiet(), None, audit("jis:home:hub")).await;
    let (mut sensor, _) = start_with("jis:home:sensor", 2, quiet(), None, audit("jis:home:sensor")).await;
    join(&hub, &sensor);
    hub.set_trust(name("jis:home:sensor"), 0.9, "").expect("set");
    let payload = object! { "room" => 7 };
    let question = Ask { payload, purpose: "Check".into(), ..ask("temperature.read") };
    sensor.send_ping(question).await.expect("sent").expect("answered");
    // The answer has come, so its token is there before anybody stops.
    let query = Query { action: Some("ping.intent".into()), ..Query::default() };
    assert_eq!(open_again(&directory, "jis:home:hub").find(&query).expect("read").len(), 1);
    part([&hub, &sensor]);
    hub.stop().await.expect("stopped");
    sensor.stop().await.expect("stopped");
    let mut proofs = BTreeSet::new();
    for who in ["jis:home:hub", "jis:home:sensor"] {
        let store = open_again(&directory, who);
        let tokens = store.find(&query).expect("read");
        let [token] = &tokens[..] else { panic!("{who}: {tokens:?}") };
        assert_eq!(token.actor, "jis:home:sensor", "{who}");
        proofs.insert(token.eromheen.get("proof").and_then(|proof| proof.as_str()).map(str::to_owned));
        let signer = public(77);
        let check = LogCheck { signer: Some(&signer), require_content_links: true, ..LogCheck::default() };
        assert!(verify_store(&store, &check).expect("read").ok(), "{who}");
    }
    assert_eq!(proofs, BTreeSet::from([Some("sealed".to_owned())]));
}

fn open_again(directory: &tempfile::TempDir, who: &str) -> FileStore {
    // A copy, since the node has the file itself.
    let copy = directory.path().join(format!("{who}.copy"));
    std::fs::copy(directory.path().join(who), &copy).expect("copied");
    FileStore::open(copy, Fsync::Never).expect("opened").0
}
