//! A running overlay node as the two sides of a path meet it: consents that it passes on, over UDP. SECURITY R18, R20, R58, 3.2 row 70.

mod common;
mod net;

use std::time::Duration;

use common::device::{Device, at, name, new_key};
use common::raw::{Asker, Raw, ask_all, read};
use common::world::with_world;
use jis::{Answer, AnswerOutcome, Punch, Query, SecretKey, Signed, message_hash};
use tibet_overlay::intents::{Failure, FailureCode, OverlayRequest, PUNCH, PunchAnswer};
use tibet_overlay::{NameMemory, ReachError, system};
use tibet_ping::Compact;

fn registered(raw: &Raw, text: &str) -> Device {
    let device = Device::new(text);
    raw.registered(&device.asker(), &device.registration(None));
    device
}

/// What `who` consents to with `device`, for as long as it may.
fn consent(who: &Asker, device: &Device) -> Punch {
    Punch {
        from: who.name.clone(),
        key: who.key.public_key(),
        generation: who.generation,
        to: device.name().clone(),
        to_key: device.identity.key,
        nonce: system::random().expect("random"),
        answers: Punch::FIRST,
        issued_at: at(0),
        expires_at: at(30),
        candidates: vec!["203.0.113.7:7150".parse().expect("candidate")],
    }
}

/// What `device` consents to, in answer to `first`.
fn answering(device: &Device, first: &Punch) -> Punch {
    Punch {
        from: device.name().clone(),
        key: device.identity.key,
        generation: device.identity.generation,
        to: first.from.clone(),
        to_key: first.key,
        nonce: system::random().expect("random"),
        answers: first.nonce,
        issued_at: at(0),
        expires_at: at(30),
        candidates: vec!["198.51.100.7:7150".parse().expect("candidate")],
    }
}

fn seal(punch: Punch, key: &SecretKey) -> Signed<Punch> {
    Signed::seal(punch, key).expect("signed")
}

fn connect(punch: &Signed<Punch>) -> OverlayRequest {
    OverlayRequest::Connect { name: punch.claims().to.clone(), punch: Box::new(punch.clone()) }
}

/// A consent that the node passes on to a device, as it comes there.
fn passed_on(at_device: &Raw) -> (Signed<Query>, Signed<Punch>) {
    let datagram = at_device.recv();
    let Compact::Query(query) = read(&datagram) else { panic!("no question: {datagram:?}") };
    let query = Signed::<Query>::decode(query).expect("a question");
    query.verify(&at_device.key).expect("by the node");
    let claims = query.claims();
    assert_eq!((claims.method.as_str(), claims.cookie), (PUNCH, [0; 16]));
    let request = OverlayRequest::read(PUNCH, &claims.arguments).expect("a consent");
    let OverlayRequest::Punch(punch) = request else { panic!("{request:?}") };
    (query, *punch)
}

/// The device's answer to a question: a datagram.
fn answer(device: &Device, question: &Signed<Query>, values: Vec<Vec<u8>>) -> Vec<u8> {
    let request = message_hash(question.message());
    let answer = Answer { request, key: device.identity.key, outcome: AnswerOutcome::Yes, values };
    let answer = Signed::seal(answer, &device.key).expect("signed").encode();
    Compact::Answer { id: question.claims().id, answer: &answer }.write()
}

fn values(punch: Signed<Punch>) -> Vec<Vec<u8>> {
    PunchAnswer { punch, asked: None, elapsed: Duration::ZERO }.values()
}

#[test]
fn two_devices_are_introduced_each_with_the_others_own_consent() {
    with_world(|world| {
        let (at_a, at_b) = (world.raw(), world.raw());
        let (a, b) = (registered(&at_a, "jis:a"), registered(&at_b, "jis:b"));
        let first = seal(consent(&a.asker(), &b), &a.key);
        let query = at_a.query(&a.asker(), &connect(&first));
        at_a.send_query(&query);
        let (question, came) = passed_on(&at_b);
        assert_eq!(came, first, "as it was signed");
        // Sent again while it is on its way, it is not passed on again.
        at_a.send_query(&query);
        assert!(at_b.is_quiet());
        assert_eq!(world.handle().stats().forwarded, 1);

        let second = seal(answering(&b, first.claims()), &b.key);
        at_b.send(&answer(&b, &question, values(second.clone())));
        let (outcome, said) = at_a.answer_to(&query);
        assert_eq!(outcome, AnswerOutcome::Yes);
        let said = PunchAnswer::read(&said).expect("a consent");
        assert_eq!((said.punch, said.asked), (second, at_b.socket.local_addr().ok()));
        assert_eq!(world.handle().stats().forwarded_answered, 1);
    });
}

/// SECURITY R58, R20: what whoever asks has not signed itself, for this device, now, is not passed on and costs the device nothing.
#[test]
fn row_70_a_consent_that_is_not_the_askers_own_goes_nowhere() {
    with_world(|world| {
        let (raw, at_b) = (world.raw(), world.raw());
        let (a, b) = (registered(&raw, "jis:a"), registered(&at_b, "jis:b"));
        let (who, other) = (a.asker(), Asker::certified());
        let good = consent(&who, &b);
        let sealed = |change: fn(&mut Punch)| {
            let mut punch = good.clone();
            change(&mut punch);
            seal(punch, &a.key)
        };
        let elsewhere = OverlayRequest::Connect { name: name("jis:a"), punch: Box::new(sealed(|_| ())) };
        let given = OverlayRequest::Punch(Box::new(sealed(|_| ())));
        for (what, asker, request, code) in [
            ("overheard, and brought by another", &other, connect(&sealed(|_| ())), FailureCode::Malformed),
            ("for another than it goes to", &who, elsewhere, FailureCode::Malformed),
            ("as a node asks a device", &who, given, FailureCode::Malformed),
            ("an answer", &who, connect(&sealed(|punch| punch.answers = [1; 16])), FailureCode::Malformed),
            ("another generation", &who, connect(&sealed(|p| p.generation = 1)), FailureCode::Malformed),
            (
                "over",
                &who,
                connect(&sealed(|punch| (punch.issued_at, punch.expires_at) = (at(-40), at(-11)))),
                FailureCode::Refused,
            ),
            (
                "of the future",
                &who,
                connect(&sealed(|punch| (punch.issued_at, punch.expires_at) = (at(20), at(40)))),
                FailureCode::Refused,
            ),
            (
                "for a key that is not the device's",
                &who,
                connect(&sealed(|punch| punch.to_key = new_key().public_key())),
                FailureCode::Refused,
            ),
            (
                "for nobody",
                &who,
                connect(&sealed(|punch| punch.to = name("jis:nobody"))),
                FailureCode::Unknown,
            ),
        ] {
            assert_eq!(raw.refused(asker, &request).code, code, "{what}");
        }
        // In its own name, and not as it was signed: silence.
        let mut forged = sealed(|_| ()).encode();
        *forged.last_mut().expect("bytes") ^= 1;
        let forged = connect(&Signed::decode(&forged).expect("of the right form"));
        for _ in 0..100 {
            raw.assert_silent(&who, &forged, "a forged consent");
        }
        assert!(at_b.is_quiet());
        let stats = world.handle().stats();
        assert_eq!((stats.forwarded, stats.queries_bad_signature), (0, 100));
        // None of it was charged to what may be asked of devices.
        let good: Vec<_> =
            (0..64).map(|_| raw.query(&who, &connect(&seal(consent(&who, &b), &a.key)))).collect();
        for query in &good {
            raw.send_query(query);
            passed_on(&at_b);
        }
    });
}

/// SECURITY R20: a device that is away or revoked, and one that does not want to.
#[test]
fn whoever_cannot_be_asked_for_consent_is_told_as_for_every_question() {
    with_world(|world| {
        let (raw, at_b) = (world.raw(), world.raw());
        let (a, mut b) = (registered(&raw, "jis:a"), registered(&at_b, "jis:b"));
        let ask = || connect(&seal(consent(&a.asker(), &b), &a.key));
        // It answers with something else.
        let query = raw.query(&a.asker(), &ask());
        raw.send_query(&query);
        let (question, _) = passed_on(&at_b);
        at_b.send(&answer(&b, &question, vec![vec![1; 200], Vec::new(), vec![0; 8]]));
        let (_, said) = raw.answer_to(&query);
        assert_eq!(Failure::read(&said).code, FailureCode::NoAnswer);
        // It keeps silent: to the asker that is as if it were not there.
        let query = raw.query(&a.asker(), &ask());
        raw.send_query(&query);
        let (_, said) = raw.answer_to(&query);
        assert_eq!(Failure::read(&said).code, FailureCode::NoAnswer);
        b.move_on(|record| record.status = jis::RecordStatus::Away);
        let goodbye = Raw::connect(raw.node);
        goodbye.registered(&b.asker(), &b.update());
        let ask = || connect(&seal(consent(&a.asker(), &b), &a.key));
        assert_eq!(raw.refused(&a.asker(), &ask()).code, FailureCode::Offline);
        goodbye.taken(&b.asker(), &b.revoke_own_key());
        assert_eq!(raw.refused(&a.asker(), &ask()).code, FailureCode::Unknown);
    });
}

/// SECURITY R18: who has devices asked for consent without end waits, and nobody else does.
#[test]
fn row_70_a_flood_of_consents_meets_the_limit_of_its_asker() {
    with_world(|world| {
        let (raw, at_b) = (world.raw(), world.raw());
        let (a, b) = (registered(&raw, "jis:a"), registered(&at_b, "jis:b"));
        let who = a.asker();
        // A device that refuses at once, so that all are answered.
        std::thread::scope(|scope| {
            let refusing = scope.spawn(|| {
                let mut asked = 0;
                loop {
                    let datagram = at_b.recv();
                    let Compact::Query(query) = read(&datagram) else { break asked };
                    asked += 1;
                    let query = Signed::<Query>::decode(query).expect("a question");
                    let request = message_hash(query.message());
                    let values = Failure::new(FailureCode::Refused, "no").values();
                    let no = Answer { request, key: b.identity.key, outcome: AnswerOutcome::No, values };
                    let no = Signed::seal(no, &b.key).expect("signed").encode();
                    at_b.send(&Compact::Answer { id: query.claims().id, answer: &no }.write());
                }
            });
            let queries: Vec<_> =
                (0..300).map(|_| raw.query(&who, &connect(&seal(consent(&who, &b), &a.key)))).collect();
            let answers = ask_all(&raw, &queries);
            let with = |code| answers.iter().filter(|(_, said)| Failure::read(said).code == code).count();
            let (refused, busy) = (with(FailureCode::Refused), with(FailureCode::Busy));
            assert!((64..150).contains(&refused), "{refused} were passed on");
            assert_eq!(refused + busy, 300, "all others wait");
            // Its neighbour does not.
            let other = Asker::certified();
            let neighbour = world.raw();
            let free = neighbour.refused(&other, &connect(&seal(consent(&other, &b), &other.key)));
            assert_eq!(free.code, FailureCode::Refused);
            assert_eq!(free.detail, "the device refuses: no");
            at_b.send(&Compact::Hello(system::random().expect("random")).write());
            assert_eq!(refusing.join().expect("ended"), refused + 1);
        });
    });
}

/// SECURITY R11, R58: what comes back counts only as the device's own answer to this very consent.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_takes_no_consent_but_the_devices_own_answer_to_its_own() {
    let mut node = net::Node::start().await;
    let at_b = Raw::connect(node.at);
    let b = registered(&at_b, "jis:b");
    let identity = net::nobody();
    let who = Asker::from(net::nobody());
    let (me, key) = (identity.name.clone(), SecretKey::from_seed(identity.key.to_seed()).expect("key"));
    let asker = Asker { name: me, key, generation: 0 };
    let remote = net::client(identity, &[node.address()], NameMemory::new()).await;
    let client = remote.client();

    type Twist = fn(&mut Punch);
    let twists: [(&str, Twist); 6] = [
        ("in answer to another", |punch| punch.answers = [9; 16]),
        ("a first one", |punch| punch.answers = Punch::FIRST),
        ("for somebody else", |punch| punch.to = name("jis:x")),
        ("over", |punch| (punch.issued_at, punch.expires_at) = (at(-40), at(-11))),
        ("of the future", |punch| (punch.issued_at, punch.expires_at) = (at(20), at(40))),
        ("of another generation", |punch| punch.generation = 7),
    ];
    let device = std::thread::spawn(move || {
        for (_, twist) in twists {
            let (question, first) = passed_on(&at_b);
            let mut second = answering(&b, first.claims());
            twist(&mut second);
            at_b.send(&answer(&b, &question, values(seal(second, &b.key))));
        }
        // Under the device's key, signed by another: by whoever runs the node, say.
        let (question, first) = passed_on(&at_b);
        let mut forged = seal(answering(&b, first.claims()), &b.key).encode();
        *forged.last_mut().expect("bytes") ^= 1;
        at_b.send(&answer(&b, &question, values(Signed::decode(&forged).expect("of the right form"))));
        let (question, first) = passed_on(&at_b);
        let good = seal(answering(&b, first.claims()), &b.key);
        at_b.send(&answer(&b, &question, values(good.clone())));
        (good, at_b, b)
    });
    let to = client.resolve(&name("jis:b"), || None).await.expect("found").identity.expect("known");
    let first = || {
        let mut punch = consent(&asker, &Device::new("jis:b"));
        punch.to_key = to.key;
        seal(punch, &asker.key)
    };
    for (what, _) in twists {
        let refused = client.connect(&name("jis:b"), &first()).await.map(|_| ());
        assert!(
            matches!(refused, Err(ReachError::Nodes(_) | ReachError::OtherKey { .. })),
            "{what}: {refused:?}"
        );
    }
    let refused = client.connect(&name("jis:b"), &first()).await.map(|_| ());
    assert!(matches!(refused, Err(ReachError::Nodes(_))), "signed by another: {refused:?}");
    let connected = client.connect(&name("jis:b"), &first()).await.expect("consents");
    let (good, at_b, b) = device.join().expect("ended");
    assert_eq!((connected.punch, connected.node), (good, 0));
    assert_eq!(connected.path.device, at_b.socket.local_addr().ok());
    assert_eq!(connected.path.key, Some(node.key));

    // Given to another name, or to a key that its key events do not lead to, and brought by somebody else.
    let elsewhere = client.connect(&name("jis:x"), &first()).await.map(|_| ());
    assert_eq!(elsewhere, Err(ReachError::OtherKey { name: name("jis:x") }));
    let old = seal(consent(&asker, &Device::new("jis:b")), &asker.key);
    let old = client.connect(&name("jis:b"), &old).await.map(|_| ());
    assert_eq!(old, Err(ReachError::OtherKey { name: name("jis:b") }));
    let theirs = seal(consent(&who, &b), &who.key);
    assert!(client.connect(&name("jis:b"), &theirs).await.is_err());
    node.stop().await;
}
