//! A running overlay node as the two ends of a path meet it, over UDP: consents that it passes on, and what it relays. SECURITY R18, R20, R50, R51, R53, R58, 3.2
//! rows 69 to 71.

mod common;
mod net;

use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use common::device::{Device, at, copy, name, new_key};
use common::raw::{Asker, Raw, ask_all, read};
use common::world::{World, one_worker, open, with_config, with_world};
use jis::{
    Answer, AnswerOutcome, Name, Punch, Query, RelayOpen, SecretKey, Signed, TransportSecret, message_hash,
};
use net::hostile::{Hostile, Script};
use tibet_mesh::{RELAY_OVERHEAD, RelayClient, RelayKeys};
use tibet_overlay::intents::{Failure, FailureCode, OverlayRequest, PUNCH, PunchAnswer, RelayAnswer};
use tibet_overlay::server::{NodeKeys, OverlayNodeConfig, RelayConfig, RelaySettings};
use tibet_overlay::{NameMemory, ReachError, system};
use tibet_ping::{Compact, Frame};
use tibet_registry::MemoryStore;
use zeroize::Zeroizing;

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

/// A first node that greets and then says nothing costs the time until the next is asked, not the 6.75 s in which it is asked five times.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_first_node_does_not_keep_the_next_from_bringing_a_consent() {
    let silent: Script = Box::new(|node, frame, from| match frame {
        Compact::Hello(id) => vec![node.welcome(id, from)],
        _ => Vec::new(),
    });
    let dead = Hostile::run(net::key(), net::LOOPBACK, silent).await;
    let mut node = net::Node::start().await;
    let at_b = Raw::connect(node.at);
    let b = registered(&at_b, "jis:b");
    let identity = net::nobody();
    let key = SecretKey::from_seed(identity.key.to_seed()).expect("key");
    let asker = Asker { name: identity.name.clone(), key, generation: 0 };
    let first = seal(consent(&asker, &b), &asker.key);
    let device = std::thread::spawn(move || {
        let (question, first) = passed_on(&at_b);
        let second = seal(answering(&b, first.claims()), &b.key);
        at_b.send(&answer(&b, &question, values(second.clone())));
        second
    });
    let remote = net::client(identity, &[dead.address(), node.address()], NameMemory::new()).await;
    remote.client().nodes()[0].hello().await.expect("greeted");
    let begun = Instant::now();
    let connected = remote.client().connect(&name("jis:b"), &first).await.expect("consents");
    let took = begun.elapsed();
    assert_eq!((connected.punch, connected.node), (device.join().expect("ended"), 1));
    assert!(took < Duration::from_secs(5), "{took:?}");
    node.stop().await;
}

// The relay.

/// A device that is registered with a record that names this node as its relay, or not.
fn relayed(raw: &Raw, text: &str, names_relay: bool) -> Device {
    let mut device = Device::new(text);
    if names_relay {
        device.record.relays = vec![Name::of_key(&raw.key)];
    }
    raw.registered(&device.asker(), &device.registration(None));
    device
}

/// A request of `who` to the relay with this key, and the secret that it was made with.
fn request(
    who: &Asker,
    relay: &Raw,
    change: impl FnOnce(&mut RelayOpen),
) -> (Signed<RelayOpen>, TransportSecret) {
    let secret =
        TransportSecret::from_bytes(Zeroizing::new(system::random().expect("random"))).expect("a key");
    let mut open = RelayOpen {
        name: who.name.clone(),
        key: who.key.public_key(),
        generation: who.generation,
        relay: relay.key,
        exchange: secret.public_key(),
        issued_at: at(0),
        expires_at: at(3600),
    };
    change(&mut open);
    (Signed::seal(open, &who.key).expect("signed"), secret)
}

fn ask_to_relay(request: &Signed<RelayOpen>) -> OverlayRequest {
    OverlayRequest::Relay(Box::new(request.clone()))
}

/// A device's end of a session that was opened just now.
fn session(raw: &Raw, who: &Asker) -> RelayClient {
    let (open, secret) = request(who, raw, |_| ());
    let answer = RelayAnswer::read(&raw.taken(who, &ask_to_relay(&open))).expect("a session");
    let hash = message_hash(open.message());
    let keys = RelayKeys::for_device(&secret, &answer.exchange, &hash).expect("keys");
    RelayClient::new(keys, answer.session, raw.node, answer.lifetime, NOW)
}

/// The time of all clients here: it stands still.
const NOW: Duration = Duration::from_secs(1000);

fn address(device: &Device) -> Ipv6Addr {
    device.identity.fingerprint.overlay_address("tibet")
}

/// Ciphertext, as far as a relay can tell.
fn message(text: &str) -> Vec<u8> {
    [&[4, 0, 0, 0][..], format!("{text:64}").as_bytes()].concat()
}

/// What is delivered next: from whom, and what.
fn delivered(raw: &Raw, client: &mut RelayClient) -> (Ipv6Addr, Vec<u8>) {
    let datagram = raw.recv();
    let Ok(Frame::Version2 { kind, body }) = Frame::read(&datagram) else { panic!("{datagram:?}") };
    let delivered = client.handle_frame(kind, body, raw.node, NOW).expect("a delivery");
    (delivered.source, delivered.message.to_vec())
}

#[test]
fn two_devices_speak_through_the_relay_and_nothing_counts_twice() {
    with_world(|world| {
        let (at_a, at_b) = (world.raw(), world.raw());
        let (a, b) = (relayed(&at_a, "jis:a", true), relayed(&at_b, "jis:b", true));
        let (mut of_a, mut of_b) = (session(&at_a, &a.asker()), session(&at_b, &b.asker()));
        assert_eq!(world.handle().relay_sessions(), Some(2));

        let first = of_a.seal(address(&b), &message("first"), NOW).expect("sealed");
        at_a.send(&first);
        assert_eq!(delivered(&at_b, &mut of_b), (address(&a), message("first")));
        at_b.send(&of_b.seal(address(&a), &message("second"), NOW).expect("sealed"));
        assert_eq!(delivered(&at_a, &mut of_a), (address(&b), message("second")));

        // R53, row 71: sent again, altered, and turned to somebody else.
        at_a.send(&first);
        let mut altered = of_a.seal(address(&b), &message("third"), NOW).expect("sealed");
        altered[8 + 15] ^= 4;
        at_a.send(&altered);
        let mut redirected = of_a.seal(address(&b), &message("fourth"), NOW).expect("sealed");
        redirected[8 + 16 + 15] ^= 1;
        at_a.send(&redirected);
        assert!(at_a.is_quiet() && at_b.is_quiet());
        let stats = world.handle().stats();
        assert_eq!((stats.relay_delivered, stats.relay_refused, stats.relays_opened), (2, 3, 2));

        // From where it is, a device hears that its session is alive.
        of_a.handle_timeout(NOW);
        let call = of_a.poll_transmit().expect("a call");
        assert_eq!(call.to, at_a.node);
        at_a.send(&call.datagram);
        let alive = at_a.recv();
        assert_eq!(alive.len(), call.datagram.len(), "R15: no more than was sent");
        let Ok(Frame::Version2 { kind, body }) = Frame::read(&alive) else { panic!("{alive:?}") };
        of_a.handle_frame(kind, body, at_a.node, NOW);
        assert!(of_a.rtt().is_some(), "it has believed it");
        assert_eq!(world.handle().stats().relay_calls, 1);
    });
}

/// SECURITY R20, R50: who is absent, has not named this relay, has ended its session or its key: the sender hears nothing, and cannot tell.
#[test]
fn row_69_what_is_for_nobody_here_vanishes_whoever_it_was_for() {
    with_world(|world| {
        let raw = world.raw();
        let a = relayed(&raw, "jis:a", true);
        let mut of_a = session(&raw, &a.asker());
        let at_others = world.raw();
        let absent = relayed(&at_others, "jis:absent", true);
        let unwilling = relayed(&at_others, "jis:unwilling", false);
        let mut moved = relayed(&at_others, "jis:moved", true);
        let mut away = relayed(&at_others, "jis:away", true);
        let mut rotated = relayed(&at_others, "jis:rotated", true);
        let revoked = relayed(&at_others, "jis:revoked", true);
        let rood = relayed(&at_others, "jis:rood", true);
        let mut ends: Vec<RelayClient> = [&unwilling, &moved, &away, &rotated, &revoked, &rood]
            .map(|device| session(&at_others, &device.asker()))
            .into();
        let mut send = |to: &Device| raw.send(&of_a.seal(address(to), &message("?"), NOW).expect("sealed"));
        for (device, end) in [&moved, &away, &rotated, &revoked, &rood].into_iter().zip(&mut ends[1..]) {
            send(device);
            assert_eq!(delivered(&at_others, end).0, address(&a), "{} is there", device.text());
        }
        moved.move_on(|record| record.relays.clear());
        at_others.registered(&moved.asker(), &moved.update());
        away.move_on(|record| record.status = jis::RecordStatus::Away);
        at_others.registered(&away.asker(), &away.update());
        let before = rotated.asker();
        let rotation = rotated.rotate();
        at_others.registered(&before, &rotation);
        at_others.taken(&revoked.asker(), &revoked.revoke_own_key());
        let whom = rood.name().clone();
        let set = move |registry: &mut tibet_overlay::server::AnyRegistry, now| {
            registry.set_trust(&whom, Some(0.1), "seen doing harm", now)
        };
        world.with_registry(rood.text(), set).expect("set");
        // Of the seven that had one, those whose key has ended, or who may not speak, have no session any more.
        assert_eq!(world.handle().relay_sessions(), Some(4));

        let dropped = || world.handle().stats().relay_undeliverable;
        let nobody = Device::new("jis:nobody");
        let all = [&absent, &unwilling, &moved, &away, &rotated, &revoked, &rood, &nobody];
        for (count, device) in all.into_iter().enumerate() {
            send(device);
            assert!(raw.is_quiet(), "{}", device.text());
            assert_eq!(dropped(), count as u64 + 1, "{}", device.text());
        }
        assert!(at_others.is_quiet(), "nothing reached any of them");
        // Back on its list, it is found again in the session that it has.
        moved.move_on(|record| record.relays = vec![Name::of_key(&raw.key)]);
        at_others.registered(&moved.asker(), &moved.update());
        send(&moved);
        assert_eq!(delivered(&at_others, &mut ends[1]).0, address(&a));
    });
}

/// SECURITY R50, R10: a relay is opened by whoever is registered, for itself, at this node, now.
#[test]
fn a_relay_is_opened_by_a_devices_own_request_to_this_node() {
    with_world(|world| {
        let raw = world.raw();
        let a = relayed(&raw, "jis:a", true);
        let (who, other) = (a.asker(), Asker::certified());
        let made = |change: fn(&mut RelayOpen)| ask_to_relay(&request(&a.asker(), &raw, change).0);
        for (what, asker, request, code) in [
            ("overheard, and brought by another", &other, made(|_| ()), FailureCode::Malformed),
            ("another generation", &who, made(|open| open.generation = 1), FailureCode::Malformed),
            ("for another relay", &who, made(|open| open.relay = open.key), FailureCode::Malformed),
            (
                "over",
                &who,
                made(|open| (open.issued_at, open.expires_at) = (at(-60), at(-1))),
                FailureCode::Refused,
            ),
            ("of the future", &who, made(|open| open.issued_at = at(20)), FailureCode::Refused),
            (
                "by nobody who is registered",
                &other,
                ask_to_relay(&request(&other, &raw, |_| ()).0),
                FailureCode::Unknown,
            ),
        ] {
            assert_eq!(raw.refused(asker, &request).code, code, "{what}");
        }
        let mut forged = request(&who, &raw, |_| ()).0.encode();
        *forged.last_mut().expect("bytes") ^= 1;
        raw.assert_silent(
            &who,
            &ask_to_relay(&Signed::decode(&forged).expect("of the right form")),
            "forged",
        );
        assert_eq!(world.handle().relay_sessions(), Some(0));
        assert_eq!(world.handle().stats().queries_bad_signature, 1);

        // What stands in the answer is what the operator grants.
        let (open, _) = request(&who, &raw, |_| ());
        let ask = || RelayAnswer::read(&raw.taken(&who, &ask_to_relay(&open))).expect("a session");
        let first = ask();
        assert_eq!(first.bytes_per_second, RelayConfig::default().bytes_per_second);
        assert!((3590..=3600).contains(&first.lifetime.as_secs()), "{:?}", first.lifetime);
        // Its answer may have got lost: asked again, it is the same session.
        let again = ask();
        assert_eq!((again.session, again.exchange), (first.session, first.exchange));
        assert_eq!(world.handle().stats().relays_opened, 1);
        // A newer one takes its place, and one from before is worth nothing any more, nor is this one.
        let (newer, _) = request(&who, &raw, |open| open.issued_at = at(2));
        let newer = RelayAnswer::read(&raw.taken(&who, &ask_to_relay(&newer))).expect("a session");
        assert_ne!(newer.session, first.session);
        assert_eq!(raw.refused(&who, &ask_to_relay(&open)).code, FailureCode::Refused);
        assert_eq!(world.handle().relay_sessions(), Some(1));
    });
}

#[test]
fn a_node_without_a_relay_says_so_and_takes_no_frames_of_one() {
    let config = OverlayNodeConfig { relay: None, ..one_worker() };
    with_config(open(), config, |world| {
        let raw = world.raw();
        let a = relayed(&raw, "jis:a", true);
        let refused = raw.refused(&a.asker(), &ask_to_relay(&request(&a.asker(), &raw, |_| ()).0));
        assert_eq!(
            (refused.code, refused.detail.as_str()),
            (FailureCode::Refused, "this node does not relay")
        );
        let before = world.handle().stats().malformed;
        for kind in [tibet_mesh::RELAY_SEND, tibet_mesh::RELAY_CALL] {
            raw.send(&Frame::Version2 { kind, body: &[7; 200] }.write().expect("short"));
        }
        assert!(raw.is_quiet());
        assert_eq!(world.handle().stats().malformed, before + 2);
        assert_eq!(world.handle().relay_sessions(), None);
    });
}

fn keeping(file: &Path) -> OverlayNodeConfig {
    let limits = RelayConfig { bytes_per_day: 4 * (RELAY_OVERHEAD + 68) as u64, ..RelayConfig::default() };
    let relay = RelaySettings { limits, usage_file: Some(file.to_owned()), ..RelaySettings::default() };
    OverlayNodeConfig { relay: Some(relay), ..one_worker() }
}

/// SECURITY R51: what an identity has sent today counts after a restart as well.
#[test]
fn row_70_a_restart_is_no_second_day() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("relay.json");
    let identity = new_key();
    let mut world = World::start(Box::new(MemoryStore::new()), open(), keeping(&file));
    let (a, b) = {
        let raw = world.raw();
        let (a, b) = (relayed(&raw, "jis:a", true), relayed(&raw, "jis:b", true));
        send_until_the_day_is_over(&world, &a, &b, 3, 3);
        (a, b)
    };
    for (round, left) in [(0, 1), (1, 0)] {
        let registry = world.stop();
        assert!(file.exists(), "{round}");
        let keys = NodeKeys { identity: copy(&identity), keepalive: Zeroizing::new([7; 32]) };
        let issuer = new_key();
        world = World::run(registry, keys, issuer, keeping(&file));
        send_until_the_day_is_over(&world, &a, &b, 3, left);
    }
    // A file that cannot be read costs the day's count, and nothing else.
    let registry = world.stop();
    std::fs::write(&file, "{").expect("written");
    let keys = NodeKeys { identity, keepalive: Zeroizing::new([7; 32]) };
    world = World::run(registry, keys, new_key(), keeping(&file));
    send_until_the_day_is_over(&world, &a, &b, 5, 4);
    assert!(directory.path().join("relay.damaged").exists());
    drop(world.stop());
}

/// Has `a` send so many messages to `b`, who has no session: of these, so many are within the day.
fn send_until_the_day_is_over(world: &World, a: &Device, b: &Device, messages: u64, within: u64) {
    let raw = world.raw();
    let mut of_a = session(&raw, &a.asker());
    for _ in 0..messages {
        raw.send(&of_a.seal(address(b), &message("?"), NOW).expect("sealed"));
    }
    assert!(raw.is_quiet());
    let stats = world.handle().stats();
    assert_eq!((stats.relay_undeliverable, stats.relay_over_quota), (within, messages - within));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_a_relay_opened_and_learns_where_its_frames_go() {
    let mut node = net::Node::start().await;
    let raw = Raw::connect(node.at);
    let device = relayed(&raw, "jis:a", true);
    let identity = tibet_ping::NodeIdentity {
        name: device.name().clone(),
        key: copy(&device.key),
        generation: 0,
        fingerprint: device.identity.fingerprint,
    };
    let remote = net::client(identity, &[node.address()], NameMemory::new()).await;
    let client = &remote.client().nodes()[0];
    assert_eq!(client.hello().await.expect("a welcome").key, raw.key);
    let (open, secret) = request(&device.asker(), &raw, |_| ());
    let opened = client.open_relay(&open).await.expect("a relay");
    assert_eq!((opened.with.address, opened.with.key), (node.at, node.key));
    assert_eq!(opened.bytes_per_second, RelayConfig::default().bytes_per_second);
    let keys = RelayKeys::for_device(&secret, &opened.exchange, &message_hash(open.message())).expect("keys");
    let mut own = RelayClient::new(keys, opened.session, opened.with.address, opened.lifetime, NOW);
    raw.send(&own.seal(address(&device), &message("to myself"), NOW).expect("sealed"));
    // It is delivered to where the session was opened from, which is the client's socket and not this one.
    assert!(raw.is_quiet());
    node.stop().await;
}
