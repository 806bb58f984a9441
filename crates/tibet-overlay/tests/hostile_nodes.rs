//! What nodes cannot make a client believe.

mod net;

use std::sync::{Arc, Mutex};

use jis::{Challenge, ChallengePurpose, Name, Proof, ProofError, Signed};
use net::hostile::{Hostile, Script, Shown, found, read};
use net::{LOOPBACK, client, client_with, key, name, nobody};
use tibet_overlay::intents::{OverlayRequest, ProofAnswer};
use tibet_overlay::{
    DeviceFiles, LearnError, LocalDevice, NameMemory, NodePins, Presence, QueryError, RemoteErrorKind,
    RemoteOverlay, ResolveError, RouteNote, RouteOrigin, system,
};
use tibet_ping::{Binding, Compact, FoundStatus};

fn device(text: &str) -> LocalDevice {
    let mut device = LocalDevice::create(name(text), system::now()).expect("keys");
    device.publish(Presence::default(), system::now()).expect("signed");
    device
}

/// A device with files in the directory, and a record.
fn in_files(text: &str) -> (tempfile::TempDir, LocalDevice) {
    let directory = tempfile::tempdir().expect("a directory");
    let files = DeviceFiles::new(directory.path().join("device"), None);
    let mut device = files.create(name(text), system::now()).expect("keys");
    device.publish(Presence::default(), system::now()).expect("signed");
    (directory, device)
}

fn reopened(directory: &tempfile::TempDir) -> LocalDevice {
    DeviceFiles::new(directory.path().join("device"), None).open().expect("opened")
}

/// Answers look-ups with what is shown, and hellos as it should.
fn showing(shown: &Shown) -> Script {
    let shown = Arc::clone(shown);
    Box::new(move |node, frame, from| match frame {
        Compact::Hello(id) => vec![node.welcome(id, from)],
        Compact::Lookup { id, events_from, .. } => {
            let shown = shown.lock().expect("not poisoned");
            vec![found(id, events_from, &shown.0, &shown.1)]
        }
        _ => Vec::new(),
    })
}

fn shown(device: LocalDevice) -> Shown {
    let record = device.record().expect("published").clone();
    Arc::new(Mutex::new((device, record)))
}

/// Answers look-ups with what is shown, and challenges with a proof of `prover`. To every other question it says yes, which makes no sense.
fn proving(shown: &Shown, prover: &Arc<Mutex<LocalDevice>>) -> Script {
    let (mut showing, prover) = (showing(shown), Arc::clone(prover));
    Box::new(move |node, frame, from| {
        let Compact::Query(query) = frame else { return showing(node, frame, from) };
        let (query, request) = read(query);
        let OverlayRequest::Challenge(challenge) = request else { return vec![node.yes(&query, Vec::new())] };
        let proof = prover.lock().expect("not poisoned").answer(&challenge, system::now()).expect("answered");
        let answer = ProofAnswer { proof, asked: None, elapsed: std::time::Duration::ZERO };
        vec![node.yes(&query, answer.values())]
    })
}

fn disbelieved(error: &ResolveError) -> &LearnError {
    match error {
        ResolveError::Failed { notes, .. } => match &notes[..] {
            [RouteNote::Disbelieved { reason, .. }] => reason,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn row_82_a_record_that_the_bound_key_did_not_sign_is_dropped_and_told() {
    let (honest, impostor) = (device("jis:sensor"), device("jis:sensor"));
    let forged = impostor.record().expect("published").clone();
    let shown: Shown = Arc::new(Mutex::new((honest, forged)));
    let node = Hostile::run(key(), LOOPBACK, showing(&shown)).await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    let error = asker.client().resolve(&name("jis:sensor"), || None).await.expect_err("forged");
    assert!(matches!(disbelieved(&error), LearnError::Record(_)), "{error}");
    let told = asker.resolve(&name("jis:sensor")).await.expect_err("forged");
    assert_eq!(told.kind, RemoteErrorKind::Refused);
    assert!(told.message.contains(&node.at.to_string()) && told.hint.is_some(), "{told:?}");
}

/// Rule R42, also after a restart of the client: what is on its disk counts.
#[tokio::test]
async fn rollback_another_identity_and_two_records_of_one_version_are_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("resolver.db");
    let mut sensor = device("jis:sensor");
    let old = sensor.record().expect("published").clone();
    let new =
        sensor.publish(Presence { behind_nat: true, ..Presence::default() }, system::now()).expect("signed");
    let (events, fingerprint) = (sensor.events().to_vec(), sensor.identity().fingerprint);
    let shown = shown(sensor);
    let node = Hostile::run(key(), LOOPBACK, showing(&shown)).await;
    let open = || NameMemory::open(&file).expect("opened");
    let asker = client(nobody(), &[node.address()], open()).await;
    let route = asker.client().resolve(&name("jis:sensor"), || None).await.expect("true so far");
    assert_eq!(route.record.expect("a record").message(), new.message());

    // The node now hands out the older record, to a client that has been started anew.
    shown.lock().expect("not poisoned").1 = old;
    let asker = client(nobody(), &[node.address()], open()).await;
    let route = asker.client().resolve(&name("jis:sensor"), || None).await.expect("known");
    assert_eq!(route.origin, RouteOrigin::Cache, "{route:?}");
    assert!(
        matches!(&route.notes[..], [RouteNote::Disbelieved { reason: LearnError::Rollback { .. }, .. }]),
        "{route:?}"
    );
    assert_eq!(route.record.expect("a record").message(), new.message(), "what was known stays");

    // Another identity under the name.
    *shown.lock().expect("not poisoned") = {
        let impostor = device("jis:sensor");
        let record = impostor.record().expect("published").clone();
        (impostor, record)
    };
    let route = asker.client().resolve(&name("jis:sensor"), || None).await.expect("known");
    assert_eq!(route.identity.expect("an identity").fingerprint, fingerprint);
    assert!(matches!(&route.notes[..], [RouteNote::Disbelieved { .. }]));
    assert_eq!(open().known(&name("jis:sensor")).expect("read").expect("known").events, events);
}

#[tokio::test]
async fn two_records_of_one_version_are_kept_as_evidence() {
    let directory = tempfile::tempdir().expect("a directory");
    let (here, copy) = (directory.path().join("here"), directory.path().join("copy"));
    let files = |path: &std::path::Path| tibet_overlay::DeviceFiles::new(path, None);
    files(&here).create(name("jis:sensor"), system::now()).expect("created");
    std::fs::create_dir(&copy).expect("made");
    for file in std::fs::read_dir(&here).expect("read") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copy.join(file.file_name())).expect("copied");
    }
    let published = |path: &std::path::Path, behind_nat| {
        let mut device = files(path).open().expect("opened");
        let record = device.publish(Presence { behind_nat, ..Presence::default() }, system::now());
        (device, record.expect("signed"))
    };
    let (device, first) = published(&here, false);
    let (_, second) = published(&copy, true);
    let file = directory.path().join("resolver.db");
    let mut memory = NameMemory::open(&file).expect("opened");
    assert_eq!(memory.learn(device.events(), first, system::now()), Ok(true));
    for _ in 0..3 {
        let told = memory.learn(device.events(), second.clone(), system::now());
        assert_eq!(told, Err(LearnError::Equivocation));
    }
    drop(memory);
    assert_eq!(NameMemory::open(&file).expect("opened").evidence(), Ok(1), "one pair, once");
}

/// Row 52: a revocation is remembered, and what the key signed before is not believed again.
#[test]
fn row_52_what_was_seen_revoked_stays_revoked_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("resolver.db");
    let mut sensor = device("jis:sensor");
    let (before, record) = (sensor.events().to_vec(), sensor.record().expect("published").clone());
    let reason = jis::Remark::default();
    sensor.revoke(jis::RevocationScope::Key, None, reason, system::now()).expect("revoked");
    let mut memory = NameMemory::open(&file).expect("opened");
    assert_eq!(memory.learn(&before, record.clone(), system::now()), Ok(true));
    assert_eq!(memory.learn(sensor.events(), record.clone(), system::now()), Err(LearnError::Revoked));
    let mut memory = NameMemory::open(&file).expect("opened");
    assert_eq!(memory.learn(&before, record, system::now()), Err(LearnError::Revoked));
    let (_, rotated) = sensor.rotate(None, system::now()).expect("rotated");
    assert_eq!(
        memory.learn(sensor.events(), rotated, system::now()),
        Ok(true),
        "the next key brings it back"
    );
}

#[tokio::test]
async fn a_node_with_another_key_than_it_is_known_by_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let pins = || NodePins::in_file(directory.path().join("overlay-nodes"));
    let answering: fn() -> Script = || {
        Box::new(|node, frame, from| match frame {
            Compact::Hello(id) => vec![node.welcome(id, from)],
            // An empty page.
            Compact::Query(query) => vec![node.yes(&read(query).0, vec![Vec::new()])],
            _ => Vec::new(),
        })
    };
    let mqtt = "mqtt".parse().expect("word");
    let (first_key, second_key) = (key(), key());
    let (first_public, second_public) = (first_key.public_key(), second_key.public_key());
    let first = Hostile::run(first_key, LOOPBACK, answering()).await;
    let address = first.address();
    let asker = client_with(nobody(), std::slice::from_ref(&address), NameMemory::new(), pins()).await;
    // A welcome alone is not enough to be known by.
    asker.client().nodes()[0].hello().await.expect("greeted");
    assert_eq!(pins().get(&address.place()).expect("read"), None);
    assert_eq!(asker.client().nodes()[0].find(&mqtt, 10).await.expect("answered"), []);
    assert_eq!(pins().get(&address.place()).expect("read"), Some(first_public));

    let at = first.at;
    drop(first);
    // The port is free as soon as the task is gone.
    let second = loop {
        match tokio::net::UdpSocket::bind(at).await {
            Ok(free) => {
                drop(free);
                break Hostile::run(second_key, at, answering()).await;
            }
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let asker = client_with(nobody(), std::slice::from_ref(&address), NameMemory::new(), pins()).await;
    let refused = asker.client().nodes()[0].find(&mqtt, 10).await.expect_err("another key");
    assert!(
        matches!(&refused, QueryError::OtherKey { found, .. } if *found == second_public.to_multibase()),
        "{refused}"
    );
    // The operator's word.
    let told = [second.address().with_key(second_public)];
    let asker = client_with(nobody(), &told, NameMemory::new(), pins()).await;
    assert_eq!(asker.client().nodes()[0].find(&mqtt, 10).await.expect("answered"), []);
    assert_eq!(pins().get(&address.place()).expect("read"), Some(second_public));
}

/// Rule R11: before the true answer come a welcome and answers that are wrong in each way; they neither complete the question nor end it.
#[tokio::test]
async fn wrong_answers_change_nothing() {
    let stranger = key();
    let script: Script = Box::new(move |node, frame, from| match frame {
        Compact::Hello(id) => {
            vec![node.welcome([0; 8], from), b"TP\x02\x04".to_vec(), node.welcome(id, from)]
        }
        Compact::Query(query) => {
            let (query, _) = read(query);
            let id = query.claims().id;
            let hash = jis::message_hash(query.message());
            let lie = vec![Vec::new(), b"jis:lie".to_vec()];
            let frame =
                |answer: Signed<jis::Answer>, id| Compact::Answer { id, answer: &answer.encode() }.write();
            vec![
                frame(node.answer([0; 32], lie.clone(), &node.key), id),
                frame(node.answer(hash, lie.clone(), &stranger), id),
                frame(node.answer(hash, lie.clone(), &node.key), [0; 8]),
                Compact::Answer { id, answer: b"nothing" }.write(),
                Compact::Alive([0; 16]).write(),
                node.yes(&query, vec![Vec::new(), b"jis:truth".to_vec()]),
                node.yes(&query, lie),
            ]
        }
        _ => Vec::new(),
    });
    let node = Hostile::run(key(), LOOPBACK, script).await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    for _ in 0..20 {
        let found = asker.client().nodes()[0].find(&"mqtt".parse().expect("word"), 10).await;
        assert_eq!(found.expect("answered"), [name("jis:truth")]);
    }
    assert!(asker.socket().wire().dropped() >= 100, "{}", asker.socket().wire().dropped());
}

#[tokio::test]
async fn a_list_that_goes_round_ends() {
    let script: Script = Box::new(|node, frame, from| match frame {
        Compact::Hello(id) => vec![node.welcome(id, from)],
        Compact::Query(query) => {
            vec![node.yes(&read(query).0, vec![1_u64.to_be_bytes().to_vec(), b"jis:again".to_vec()])]
        }
        _ => Vec::new(),
    });
    let node = Hostile::run(key(), LOOPBACK, script).await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    let found = asker.client().nodes()[0].find(&"mqtt".parse().expect("word"), 10).await;
    assert!(matches!(found, Err(QueryError::Malformed { .. })), "{found:?}");
}

#[tokio::test]
async fn unknown_is_said_only_where_it_was_said() {
    let script: Script = Box::new(|node, frame, from| match frame {
        Compact::Hello(id) => vec![node.welcome(id, from)],
        Compact::Lookup { id, .. } => {
            let found =
                tibet_ping::Found { status: FoundStatus::Unknown, record: &[], events: 0, history: &[] };
            vec![Compact::Found { id, found }.write()]
        }
        _ => Vec::new(),
    });
    let node = Hostile::run(key(), LOOPBACK, script).await;
    let silent = Hostile::run(key(), LOOPBACK, Box::new(|_, _, _| Vec::new())).await;
    let alone = client(nobody(), &[node.address()], NameMemory::new()).await;
    let error = alone.client().resolve(&name("jis:x"), || None).await.expect_err("unknown");
    assert!(matches!(error, ResolveError::Unknown { .. }), "{error}");
    let both = client(nobody(), &[silent.address(), node.address()], NameMemory::new()).await;
    let error = both.client().resolve(&name("jis:x"), || None).await.expect_err("not known");
    assert!(matches!(error, ResolveError::Failed { .. }), "the other node may know it: {error}");
}

/// A node that gets a proof for one verifier and shows it to another.
fn challenge(prover: &Name, verifier: &Name, key: jis::PublicKey) -> Challenge {
    let issued_at = system::now();
    Challenge {
        purpose: ChallengePurpose::Verify,
        prover: prover.clone(),
        verifier: verifier.clone(),
        verifier_key: key,
        verifier_nonce: system::random().expect("random"),
        issued_at,
        expires_at: issued_at.saturating_add(Challenge::MAX_LIFETIME),
        channel_binding: [0; 32],
    }
}

#[test]
fn row_60_of_10_000_challenges_that_a_node_relays_to_another_verifier_none_is_accepted() {
    let sensor = device("jis:sensor");
    let (mallory, bob) = (key().public_key(), key().public_key());
    let mut accepted = 0;
    for turn in 0..10_000 {
        let honest = challenge(&sensor.identity().name, &Name::of_key(&bob), bob);
        // In the middle: bob's nonce and times in a challenge of its own, or bob's challenge with one thing changed.
        let mut relayed = honest.clone();
        match turn % 3 {
            0 => (relayed.verifier, relayed.verifier_key) = (Name::of_key(&mallory), mallory),
            1 => relayed.verifier_key = mallory,
            _ => relayed.verifier = Name::of_key(&mallory),
        }
        let proof = sensor.answer(&relayed, system::now()).expect("answered");
        match honest.check(&proof, sensor.identity(), system::now()) {
            Ok(()) => accepted += 1,
            Err(error) => assert_eq!(error, ProofError::OtherChallenge),
        }
    }
    assert_eq!(accepted, 0);
}

/// Rows 60 and 61, and row 82 for proofs: over the network, by a node that has the device's true proofs and shows each at the wrong time or place.
#[tokio::test]
async fn proofs_that_a_node_has_kept_forged_or_relayed_do_not_convince() {
    let sensor = device("jis:sensor");
    let record = sensor.record().expect("published").clone();
    let identity = sensor.identity().clone();
    let forger = device("jis:sensor");
    let kept: Mutex<Vec<Signed<Proof>>> = Mutex::default();
    let mallory = key().public_key();
    let turn = Arc::new(Mutex::new(0));
    let now_playing = Arc::clone(&turn);
    let script: Script = Box::new(move |node, frame, from| match frame {
        Compact::Hello(id) => vec![node.welcome(id, from)],
        Compact::Lookup { id, events_from, .. } => vec![found(id, events_from, &sensor, &record)],
        Compact::Query(query) => {
            let (query, request) = read(query);
            let OverlayRequest::Challenge(challenge) = request else { return Vec::new() };
            let mut relayed = (*challenge).clone();
            relayed.verifier_key = mallory;
            let (answered, mut kept) = (system::now(), kept.lock().expect("not poisoned"));
            let proof = match *now_playing.lock().expect("not poisoned") {
                // The truth, which it keeps.
                0 => {
                    let proof = sensor.answer(&challenge, answered).expect("answered");
                    kept.push(proof.clone());
                    proof
                }
                1 => kept[0].clone(),
                2 => sensor.answer(&relayed, answered).expect("answered"),
                _ => forger.answer(&challenge, answered).expect("answered"),
            };
            let answer = ProofAnswer { proof, asked: None, elapsed: std::time::Duration::ZERO };
            vec![node.yes(&query, answer.values())]
        }
        _ => Vec::new(),
    });
    let node = Hostile::run(key(), LOOPBACK, script).await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    for (play, reason) in
        [(0, None), (1, Some("another challenge")), (2, Some("another challenge")), (3, Some("not bound"))]
    {
        *turn.lock().expect("not poisoned") = play;
        // What it knows besides is not asked here: the node is silent to that.
        let asked = asker.client().nodes()[0].challenge(&name("jis:sensor")).await.expect("asked");
        let judged = asked.0.check(&asked.1.answer, &identity, system::now());
        match reason {
            None => assert_eq!(judged, Ok(())),
            Some(reason) => {
                assert!(judged.is_err_and(|error| error.to_string().contains(reason)), "play {play}")
            }
        }
    }
}

/// Row 82 for proofs: a node that hands on a forged one is named, and the next one is asked.
#[tokio::test]
async fn a_bad_proof_through_one_node_does_not_keep_the_next_from_bringing_the_true_one() {
    let (directory, sensor) = in_files("jis:sensor");
    let shown = shown(sensor);
    let honest = Arc::new(Mutex::new(reopened(&directory)));
    let forger = Arc::new(Mutex::new(device("jis:sensor")));
    let bad = Hostile::run(key(), LOOPBACK, proving(&shown, &forger)).await;
    let good = Hostile::run(key(), LOOPBACK, proving(&shown, &honest)).await;
    let asker = client(nobody(), &[bad.address(), good.address()], NameMemory::new()).await;
    let report = asker.verify(&name("jis:sensor")).await.expect("asked");
    assert_eq!((report.verified, report.node), (true, Some(good.at.to_string())), "{:?}", report.reason);
    assert!(report.notes.len() == 1 && report.notes[0].contains(&bad.at.to_string()), "{:?}", report.notes);

    let asker = client(nobody(), &[bad.address()], NameMemory::new()).await;
    let report = asker.verify(&name("jis:sensor")).await.expect("asked");
    assert!(!report.verified && report.asked && report.proof.is_some(), "{report:?}");
    assert!(report.reason.is_some_and(|reason| reason.contains(&bad.at.to_string())));
}

/// The first node has not heard of a rotation: the second one, through which the proof comes, is asked for the key events too.
#[tokio::test]
async fn a_node_that_knows_an_old_key_does_not_keep_the_next_from_showing_the_new_one() {
    let (directory, before) = in_files("jis:sensor");
    let mut after = reopened(&directory);
    after.rotate(None, system::now()).expect("rotated");
    let prover = Arc::new(Mutex::new(reopened(&directory)));
    let behind = Hostile::run(key(), LOOPBACK, proving(&shown(before), &prover)).await;
    let current = Hostile::run(key(), LOOPBACK, proving(&shown(after), &prover)).await;
    let asker = client(nobody(), &[behind.address(), current.address()], NameMemory::new()).await;
    let report = asker.verify(&name("jis:sensor")).await.expect("asked");
    assert_eq!((report.verified, report.generation), (true, Some(1)), "{:?}", report.reason);
}

fn key_by_which_it_knows(asker: &RemoteOverlay) -> impl Future<Output = Option<jis::PublicKey>> {
    let socket = asker.socket().clone();
    async move { socket.with(|node| node.key_of(&name("jis:sensor"))).await.flatten() }
}

/// Rules R5, R39 and R42: a key that a name is known by gives way to its own next key, and to no other that a node shows.
#[tokio::test]
async fn a_nodes_word_does_not_replace_the_key_that_a_name_is_known_by() {
    let (directory, sensor) = in_files("jis:sensor");
    let first = sensor.identity().key;
    let (theirs, impostor) = in_files("jis:sensor");
    let (shown, prover) = (shown(impostor), Arc::new(Mutex::new(reopened(&theirs))));
    let node = Hostile::run(key(), LOOPBACK, proving(&shown, &prover)).await;
    let known = move || Binding { name: name("jis:sensor"), key: first, generation: 0 };
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    asker.socket().with(move |node| node.learn_key(known())).await.expect("running").expect("room");
    let ping = "ping".parse().expect("word");
    let error = asker.ping(&name("jis:sensor"), &ping, "a test").await.expect_err("another identity");
    assert_eq!(error.kind, RemoteErrorKind::OtherKey, "{error}");
    let error = asker.resolve(&name("jis:sensor")).await.expect_err("another identity");
    assert_eq!(error.kind, RemoteErrorKind::OtherKey, "{error}");
    let report = asker.verify(&name("jis:sensor")).await.expect("asked");
    assert!(
        !report.verified && report.reason.is_some(),
        "it proves only that it is somebody else: {report:?}"
    );
    assert_eq!(key_by_which_it_knows(&asker).await, Some(first));

    // Its own next key, by its key events.
    let mut sensor = reopened(&directory);
    sensor.rotate(None, system::now()).expect("rotated");
    let next = sensor.identity().key;
    let record = sensor.record().expect("published").clone();
    *shown.lock().expect("not poisoned") = (sensor, record);
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    asker.socket().with(move |node| node.learn_key(known())).await.expect("running").expect("room");
    let report = asker.ping(&name("jis:sensor"), &ping, "a test").await.expect("asked");
    assert!(!report.answered, "{report:?}");
    assert_eq!(key_by_which_it_knows(&asker).await, Some(next));
}

/// Somebody else has noted another key for the node since it was greeted.
#[tokio::test]
async fn the_pin_of_a_node_is_replaced_by_the_operator_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let pins = || NodePins::in_file(directory.path().join("overlay-nodes"));
    let script: Script = Box::new(|node, frame, from| match frame {
        Compact::Hello(id) => vec![node.welcome(id, from)],
        Compact::Query(query) => vec![node.yes(&read(query).0, vec![Vec::new()])],
        _ => Vec::new(),
    });
    let node = Hostile::run(key(), LOOPBACK, script).await;
    let (address, other) = (node.address(), key().public_key());
    let asker = client_with(nobody(), std::slice::from_ref(&address), NameMemory::new(), pins()).await;
    asker.client().nodes()[0].hello().await.expect("greeted");
    pins().set(&address.place(), other).expect("noted");
    let refused = asker.client().nodes()[0].find(&"mqtt".parse().expect("word"), 10).await;
    assert!(matches!(refused, Err(QueryError::OtherKey { .. })), "{refused:?}");
    assert_eq!(pins().get(&address.place()).expect("read"), Some(other));
}

#[tokio::test]
async fn questions_that_begin_together_greet_a_node_once() {
    let hellos = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&hellos);
    let script: Script = Box::new(move |node, frame, from| match frame {
        Compact::Hello(id) => {
            *counted.lock().expect("not poisoned") += 1;
            vec![node.welcome(id, from)]
        }
        Compact::Query(query) => vec![node.yes(&read(query).0, vec![Vec::new()])],
        _ => Vec::new(),
    });
    let node = Hostile::run(key(), LOOPBACK, script).await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    let mqtt = "mqtt".parse().expect("word");
    let ask = || asker.client().nodes()[0].find(&mqtt, 10);
    let (one, two, three, four) = tokio::join!(ask(), ask(), ask(), ask());
    for answer in [one, two, three, four] {
        assert_eq!(answer, Ok(Vec::new()));
    }
    assert_eq!(*hellos.lock().expect("not poisoned"), 1);
}
