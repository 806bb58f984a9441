//! SECURITY 3.2, rows 59 to 81 as far as they concern an overlay node, over UDP against a running one: challenges, silence, trust, pages.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::device::{Device, at, copy, name};
use common::raw::{Asker, Raw, read};
use common::world::{one_worker, open, with_config, with_world};
use jis::challenge_v1::TextChallenge;
use jis::{
    Answer, AnswerOutcome, Challenge, ChallengePurpose, IdentityStatus, Query, RevocationAuthority,
    RevocationScope, Signed, message_hash,
};
use tibet_overlay::intents::{
    Failure, FailureCode, FoundNames, OverlayRequest, PingRequest, PresenceState, ProofAnswer,
};
use tibet_overlay::server::OverlayNodeConfig;
use tibet_overlay::system;
use tibet_ping::{Compact, Encoding, Frame, Fresh, Kind, Packet};
use tibet_registry::Zone;

fn registered(raw: &Raw, text: &str) -> Device {
    let device = Device::new(text);
    raw.registered(&device.asker(), &device.registration(None));
    device
}

fn challenge(who: &Asker, prover: &Device) -> Challenge {
    Challenge {
        purpose: ChallengePurpose::Verify,
        prover: prover.name().clone(),
        verifier: who.name.clone(),
        verifier_key: who.key.public_key(),
        verifier_nonce: system::random().expect("random"),
        issued_at: at(0),
        expires_at: at(30),
        channel_binding: [0; 32],
    }
}

fn ask_for(challenge: &Challenge) -> OverlayRequest {
    OverlayRequest::Challenge(Box::new(challenge.clone()))
}

/// A question that the node passes on to a device, as it comes there.
fn passed_on(raw: &Raw) -> Signed<Query> {
    let datagram = raw.recv();
    let Compact::Query(query) = read(&datagram) else { panic!("no question: {datagram:?}") };
    let query = Signed::<Query>::decode(query).expect("a question");
    query.verify(&raw.key).expect("by the node");
    query
}

/// The device's answer to a question that was passed on: a datagram.
fn proof(device: &Device, question: &Signed<Query>, challenge: &Challenge) -> Vec<u8> {
    let proof = challenge.answer(&device.identity, &device.key, [4; 32], at(0)).expect("for it");
    let values = ProofAnswer { proof, asked: None, elapsed: Duration::ZERO }.values();
    answer(device, question, values)
}

fn answer(device: &Device, question: &Signed<Query>, values: Vec<Vec<u8>>) -> Vec<u8> {
    let request = message_hash(question.message());
    let answer = Answer { request, key: device.identity.key, outcome: AnswerOutcome::Yes, values };
    let answer = Signed::seal(answer, &device.key).expect("signed").encode();
    Compact::Answer { id: question.claims().id, answer: &answer }.write()
}

#[test]
fn row_59_a_challenge_is_made_of_members_of_their_length() {
    with_world(|world| {
        let raw = world.raw();
        let device = registered(&raw, "jis:a");
        let who = Asker::certified();
        let good = ask_for(&challenge(&who, &device)).arguments();
        assert_eq!(good.len(), 6);
        let replaced = |index: usize, bytes: &[u8]| {
            let mut arguments = good.clone();
            arguments[index] = bytes.to_vec();
            arguments
        };
        let text = b"jis-challenge:v1:jis:a:0123456789abcdefABCDEF:1767323045";
        let bad = [
            ("no nonce", replaced(3, &[])),
            ("a short nonce", replaced(3, &[1; 31])),
            ("a long nonce", replaced(3, &[1; 10_240])),
            ("a nonce of text", replaced(3, b"ab:cd")),
            ("a negative time", replaced(4, &(-1_i64).to_be_bytes())),
            ("a time of text", replaced(4, b"1767323045")),
            ("a short time", replaced(5, &[0; 7])),
            ("a key that is none", replaced(2, &[0; 32])),
            ("a short key", replaced(2, &[1; 31])),
            ("no prover", replaced(0, b"")),
            ("one member less", good[..5].to_vec()),
            ("one member more", [&good[..], &[vec![1]]].concat()),
            ("nothing", Vec::new()),
            ("version 1", vec![text.to_vec()]),
        ];
        for (what, arguments) in bad {
            let failure = raw.refused_of(&who, "overlay.challenge", arguments);
            assert_eq!(failure.code, FailureCode::Malformed, "{what}");
        }
        // In somebody else's name (row 60).
        let others = challenge(&Asker::certified(), &device);
        assert_eq!(raw.refused(&who, &ask_for(&others)).code, FailureCode::Malformed);
        assert_eq!(world.handle().stats().forwarded, 0, "the device was not bothered");
    });
}

#[test]
fn row_61_a_proof_counts_once_in_time_and_from_where_the_device_is() {
    with_world(|world| {
        let (verifier, at_device, elsewhere) = (world.raw(), world.raw(), world.raw());
        let device = registered(&at_device, "jis:a");
        let who = Asker::certified();
        let challenge = challenge(&who, &device);
        let query = verifier.query(&who, &ask_for(&challenge));
        verifier.send_query(&query);
        let question = passed_on(&at_device);
        let good = proof(&device, &question, &challenge);
        let unasked = || world.handle().stats().answers_unasked;

        // From another path, and by another key: the question stays open (rule R11).
        elsewhere.send(&good);
        assert!(elsewhere.is_quiet());
        assert_eq!(unasked(), 1);
        let mallory = Device::new("jis:m");
        at_device.send(&answer(&mallory, &question, vec![]));
        assert!(at_device.is_quiet());
        assert_eq!((unasked(), world.handle().stats().forwarded_answered), (2, 0));

        at_device.send(&good);
        let (outcome, values) = verifier.answer_to(&query);
        assert_eq!(outcome, AnswerOutcome::Yes);
        let answered = ProofAnswer::read(&values).expect("a proof");
        challenge.check(&answered.proof, &device.identity, at(0)).expect("it convinces");
        assert_eq!(answered.asked, at_device.socket.local_addr().ok());

        // Twice.
        at_device.send(&good);
        assert!(at_device.is_quiet() && verifier.is_quiet());
        assert_eq!(unasked(), 3);

        // Late: after five seconds there is an answer already.
        let query = verifier.query(&who, &ask_for(&challenge));
        verifier.send_query(&query);
        let question = passed_on(&at_device);
        let (_, values) = verifier.answer_to(&query);
        assert_eq!(Failure::read(&values).code, FailureCode::NoAnswer);
        // What was sent again meanwhile is the same question.
        for _ in 0..3 {
            assert_eq!(passed_on(&at_device).claims().id, question.claims().id);
        }
        at_device.send(&proof(&device, &question, &challenge));
        assert!(at_device.is_quiet() && verifier.is_quiet());
        assert_eq!((unasked(), world.handle().stats().forwarded_answered), (4, 1));
    });
}

/// A text that a device signed for whoever asked says nothing to a registry.
#[test]
fn row_62_a_proof_of_version_1_neither_registers_nor_rotates() {
    with_world(|world| {
        let raw = world.raw();
        let (new, held) = (Device::new("jis:new"), registered(&raw, "jis:held"));
        let before = world.route("jis:held").expect("held").record_bytes().to_vec();
        for device in [&new, &held] {
            let challenge = TextChallenge::new(device.text(), "0123456789abcdefABCDEF_-", at(0).as_secs())
                .expect("a text");
            let text = challenge.text().into_bytes();
            let signed = [&text[..], challenge.answer(&device.key).as_bytes()].concat();
            let good = device.registration(None).arguments();
            let shown = [&[2][..], &signed].concat();
            let inception = good[3].clone();
            for (intent, arguments) in [
                ("overlay.register", vec![signed.clone(), Vec::new(), Vec::new()]),
                ("overlay.register", vec![good[0].clone(), Vec::new(), shown, inception.clone()]),
                ("overlay.register", vec![good[0].clone(), Vec::new(), Vec::new(), signed.clone()]),
                ("overlay.rotate", vec![signed.clone(), good[0].clone()]),
                ("overlay.revoke", vec![signed.clone()]),
            ] {
                let failure = raw.refused_of(&Asker::certified(), intent, arguments.clone());
                assert_eq!(failure.code, FailureCode::Malformed, "{intent}");
                // From the device itself: nobody, or malformed.
                raw.send_query(&raw.query_of(&device.asker(), intent, arguments));
                if device.text() == "jis:held" {
                    raw.recv();
                } else {
                    assert!(raw.is_quiet(), "{intent}");
                }
            }
        }
        assert!(world.route("jis:new").is_none());
        assert_eq!(world.route("jis:held").expect("held").record_bytes(), before);
    });
}

/// A node passes nothing on but its own questions, and what comes in a session of its relay, which none of these is.
#[test]
fn row_69_frames_of_no_kind_are_passed_on_to_nobody() {
    with_world(|world| {
        let (raw, at_device) = (world.raw(), world.raw());
        let device = registered(&at_device, "jis:a");
        let body = [&raw.cookie[..], device.text().as_bytes(), &[0; 200]].concat();
        for kind in [0].into_iter().chain(10..=255) {
            raw.send(
                &[&b"TP\x02"[..], &[kind], &u32::try_from(body.len()).expect("short").to_be_bytes(), &body]
                    .concat(),
            );
        }
        assert!(raw.is_quiet() && at_device.is_quiet());
        assert_eq!(world.handle().stats().forwarded, 0);
        let stats = world.handle().stats();
        assert_eq!((stats.malformed, stats.relay_refused), (244, 2), "kinds 19 and 21 are for the relay");
    });
}

/// Who has devices asked without end waits, and nobody else does.
#[test]
fn row_70_questions_for_devices_have_a_limit_for_each_asker() {
    with_world(|world| {
        let (raw, at_device) = (world.raw(), world.raw());
        let device = registered(&at_device, "jis:a");
        let who = Asker::certified();
        for _ in 0..200 {
            let challenge = challenge(&who, &device);
            let query = raw.query(&who, &ask_for(&challenge));
            raw.send_query(&query);
            if world.handle().stats().forwarded % 16 == 0 {
                // In step, so that the device's buffer is not what limits.
                raw.send_query(
                    &raw.query(&who, &OverlayRequest::Resolve { name: name("jis:x"), events_from: None }),
                );
                while !matches!(read(&raw.recv()), Compact::Answer { .. }) {}
            }
        }
        let resolve = OverlayRequest::Resolve { name: name("jis:x"), events_from: None };
        let last = raw.query(&who, &resolve);
        raw.send_query(&last);
        let mut busy = 0;
        loop {
            let datagram = raw.recv();
            let Compact::Answer { id, answer } = read(&datagram) else { panic!("{datagram:?}") };
            if id == last.claims().id {
                break;
            }
            let answer = Signed::<Answer>::decode(answer).expect("an answer");
            busy += u32::from(Failure::read(&answer.claims().values).code == FailureCode::Busy);
        }
        let asked = world.handle().stats().forwarded;
        assert!((64..120).contains(&asked), "{asked} were passed on");
        assert!(busy > 0);
        let (other, neighbour) = (world.raw(), Asker::certified());
        let before = world.handle().stats().forwarded;
        other.send_query(&other.query(&neighbour, &ask_for(&challenge(&neighbour, &device))));
        assert!(other.is_quiet());
        assert_eq!(world.handle().stats().forwarded, before + 1, "its neighbour is not held up");
    });
}

/// What its asker has not signed is not passed on, and takes nothing of what may be asked (SECURITY R20).
#[test]
fn row_70_a_ping_that_does_not_verify_costs_the_device_nothing() {
    with_world(|world| {
        let (raw, at_device) = (world.raw(), world.raw());
        let device = registered(&at_device, "jis:a");
        let who = Asker::certified();
        let request =
            PingRequest { issued_at: at(0), intent: "ping".parse().expect("word"), purpose: String::new() };
        let id = system::random().expect("random");
        let ping = request.query(id, who.name.clone(), who.key.public_key(), 0, device.identity.key);
        // In the asker's name, and signed by somebody else.
        let mut forged = Signed::seal(ping, &who.key).expect("signed").encode();
        *forged.last_mut().expect("bytes") ^= 1;
        let forged = Signed::decode(&forged).expect("of the right form");
        let pass = OverlayRequest::Ping { name: device.name().clone(), ping: Box::new(forged) };
        for _ in 0..100 {
            raw.assert_silent(&who, &pass, "a forged ping");
        }
        assert!(at_device.is_quiet());
        let stats = world.handle().stats();
        assert_eq!((stats.forwarded, stats.queries_bad_signature), (0, 100));
        raw.send_query(&raw.query(&who, &ask_for(&challenge(&who, &device))));
        passed_on(&at_device);
    });
}

#[test]
fn row_71_a_ping_is_passed_on_for_whoever_signed_it_and_to_nobody_else() {
    with_world(|world| {
        let (raw, at_device, at_other) = (world.raw(), world.raw(), world.raw());
        let device = registered(&at_device, "jis:a");
        let other = registered(&at_other, "jis:b");
        let who = Asker::certified();
        let request =
            PingRequest { issued_at: at(0), intent: "ping".parse().expect("word"), purpose: String::new() };
        let id = system::random().expect("random");
        let ping = request.query(id, who.name.clone(), who.key.public_key(), 0, device.identity.key);
        let ping = Signed::seal(ping, &who.key).expect("signed");
        let pass =
            |name: &jis::Name| OverlayRequest::Ping { name: name.clone(), ping: Box::new(ping.clone()) };
        // Overheard, and sent on by somebody else.
        assert_eq!(raw.refused(&other.asker(), &pass(device.name())).code, FailureCode::Malformed);
        assert_eq!(raw.refused(&Asker::certified(), &pass(device.name())).code, FailureCode::Malformed);
        assert!(at_device.is_quiet());
        raw.send_query(&raw.query(&who, &pass(device.name())));
        let question = passed_on(&at_device);
        assert_eq!(question.claims().arguments[1], ping.encode());
        // The node's own question, sent back to it, has no cookie and asks another.
        at_device.send(&Compact::Query(&question.encode()).write());
        assert_eq!(read(&at_device.recv()), Compact::Stale(question.claims().id));
    });
}

/// There is no question that vouches: only the operator takes vouches in.
#[test]
fn row_72_nobody_vouches_over_the_network() {
    with_world(|world| {
        let raw = world.raw();
        let device = registered(&raw, "jis:a");
        for intent in ["overlay.vouch", "overlay.trust", "overlay.enrol", "overlay.register_all", "x"] {
            let failure = raw.refused_of(
                &device.asker(),
                intent,
                vec![b"jis:a".to_vec(), 7.0_f64.to_be_bytes().into()],
            );
            assert_eq!(failure.code, FailureCode::Malformed, "{intent}");
        }
        assert_eq!(world.standing("jis:a").score, 0.5);
    });
}

#[test]
fn row_73_nothing_that_a_device_or_others_repeat_raises_its_trust() {
    with_world(|world| {
        let (raw, at_device) = (world.raw(), world.raw());
        let mut device = registered(&at_device, "jis:a");
        let who = Asker::certified();
        let token = at_device.registered(&device.asker(), &device.registration(None)).keepalive;
        let before = world.route("jis:a").expect("held").history;
        for round in 0..40 {
            assert_eq!(raw.resolved(&who, device.name()).trust, 0.5);
            raw.send(
                &Compact::Lookup { id: [1; 8], cookie: raw.cookie, events_from: Some(0), name: "jis:a" }
                    .write(),
            );
            assert!(matches!(read(&raw.recv()), Compact::Found { .. }));
            at_device.send(&Compact::Keepalive(token).write());
            assert_eq!(read(&at_device.recv()), Compact::Alive(token));
            at_device.registered(&device.asker(), &device.registration(None));
            if round % 4 == 0 {
                device.move_on(|_| ());
                at_device.registered(&device.asker(), &device.update());
                let challenge = challenge(&who, &device);
                let query = raw.query(&who, &ask_for(&challenge));
                raw.send_query(&query);
                at_device.send(&proof(&device, &passed_on(&at_device), &challenge));
                assert_eq!(raw.answer_to(&query).0, AnswerOutcome::Yes);
            }
        }
        let after = world.route("jis:a").expect("held");
        assert_eq!((after.history, after.explicit_trust), (before, None));
        assert_eq!((world.standing("jis:a").score, world.standing("jis:a").zone), (0.5, Zone::Geel));
    });
}

/// What the packages of version 1 send without a signature gets nothing from a node: not by default, not under a name that is registered, not when
/// it asks to be passed on.
#[test]
fn row_77_unsigned_packets_of_version_1_get_nothing() {
    with_world(|world| {
        let raw = world.raw();
        registered(&raw, "jis:a");
        let fresh = || Fresh {
            id: system::random().expect("random"),
            nonce: system::random().expect("random"),
            now: system::now(),
        };
        let node = jis::Name::of_key(&raw.key);
        for source in [name("jis:legacy"), name("jis:a"), node.clone()] {
            let to = |target: &jis::Name, intent| Packet::intent(&source, target, intent, "hello", fresh());
            let heartbeat = Packet::heartbeat(&source, fresh());
            let discover = Packet::discover(&source, tibet_core::json::Object::new(), fresh());
            let register = to(&node, "overlay.register");
            for packet in [to(&node, "ping"), to(&name("jis:a"), "ping"), register, heartbeat, discover] {
                let mut forward = packet.clone();
                forward.routing_mode = tibet_ping::RoutingMode::Mesh;
                for packet in [packet, forward] {
                    for encoding in [Encoding::Json, Encoding::Msgpack] {
                        let body = packet.encode(encoding).expect("encoded");
                        for kind in [Kind::Packet, Kind::Response] {
                            raw.send(
                                &Frame::Version1 { kind, encoding, body: &body }.write().expect("short"),
                            );
                        }
                    }
                }
            }
        }
        raw.send(br#"TP{"source_did":"jis:legacy"}"#);
        raw.send(br#"{"type":"ping"}"#);
        assert!(raw.is_quiet());
    });
}

#[test]
fn row_80_a_cookie_that_is_cut_altered_or_anothers_gets_sixteen_bytes() {
    with_world(|world| {
        let (raw, other) = (world.raw(), world.raw());
        let mut altered = raw.cookie;
        altered[15] ^= 1;
        for cookie in [[0; 16], [0xff; 16], other.cookie, altered] {
            raw.send(&Compact::Lookup { id: [7; 8], cookie, events_from: Some(0), name: "jis:a" }.write());
            let answer = raw.recv();
            assert_eq!((read(&answer), answer.len()), (Compact::Stale([7; 8]), 16));
        }
        let whole = Compact::Lookup { id: [7; 8], cookie: raw.cookie, events_from: None, name: "" }.write();
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            if length >= 8 {
                cut[4..8].copy_from_slice(&u32::try_from(length - 8).expect("short").to_be_bytes());
            }
            raw.send(&cut);
        }
        assert!(raw.is_quiet());
    });
}

#[test]
fn row_81_a_search_is_for_who_can_be_seen_and_comes_in_pages() {
    const NAMES: usize = 1200;
    with_config(open(), OverlayNodeConfig { workers: 2, ..one_worker() }, |world| {
        let mut raw = world.raw();
        // Short names and long ones, so that pages end for either reason.
        let text = |i: usize| match i % 3 {
            0 => format!("jis:{}-{i}", "x".repeat(56)),
            1 => format!("jis:n{i}"),
            _ => format!("jis:{i}:{}:{}", "y".repeat(60), "z".repeat(60)),
        };
        let devices: Vec<_> = (0..NAMES).map(|i| Device::new(&text(i))).collect();
        let queries: Vec<_> =
            devices.iter().map(|device| raw.query(&device.asker(), &device.registration(None))).collect();
        for (outcome, values) in common::raw::ask_all(&raw, &queries) {
            assert_eq!(outcome, AnswerOutcome::Yes, "{:?}", Failure::read(&values));
        }
        let find = |after| OverlayRequest::Find { capability: "mqtt".parse().expect("word"), after };
        let who = Asker::certified();

        // Who cannot be seen to be there: sixteen bytes.
        let cookie = std::mem::replace(&mut raw.cookie, [9; 16]);
        let query = raw.query(&who, &find(0));
        raw.send_query(&query);
        let answer = raw.recv();
        assert_eq!((read(&answer), answer.len()), (Compact::Stale(query.claims().id), 16));
        raw.cookie = cookie;
        // Nor to anybody without a name.
        let nobody = Asker { name: name("jis:nobody"), key: copy(&who.key), generation: 0 };
        raw.send_query(&raw.query(&nobody, &find(0)));

        let mut found = Vec::new();
        let mut after = 0;
        let mut pages = 0;
        loop {
            let query = raw.query(&who, &find(after));
            raw.send_query(&query);
            let datagram = raw.recv();
            assert!(datagram.len() <= 1232, "{} bytes", datagram.len());
            let Compact::Answer { id, answer } = read(&datagram) else { panic!("{datagram:?}") };
            assert_eq!(id, query.claims().id);
            let answer = Signed::<Answer>::decode(answer).expect("an answer");
            let page = FoundNames::read(&answer.claims().values).expect("a page");
            pages += 1;
            found.extend(page.names);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(found.len(), NAMES, "none twice, none missing");
        let all: BTreeSet<_> = devices.iter().map(|device| device.name().clone()).collect();
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all);
        assert!(pages > 60, "{pages}");
        // From beyond the end, and from nowhere.
        for after in [u64::MAX, 1 << 40] {
            let values = raw.taken(&who, &find(after));
            assert_eq!(FoundNames::read(&values), Ok(FoundNames { names: Vec::new(), next: None }));
        }
    });
}

/// Rule R20: whoever is in ROOD, and whoever is revoked, gets no byte, whatever it asks.
#[test]
fn whoever_is_in_rood_or_revoked_gets_nothing() {
    with_world(|world| {
        let raw = world.raw();
        let target = registered(&world.raw(), "jis:target");
        let voucher = registered(&world.raw(), "jis:voucher");
        let certified = {
            let key = common::device::new_key();
            let text = jis::Name::of_key(&key.public_key()).to_string();
            let device = Device::with_key(&text, key);
            raw.registered(&device.asker(), &device.registration(None));
            device
        };
        let devices = [
            registered(&raw, "jis:rood"),
            registered(&raw, "jis:vouched"),
            registered(&raw, "jis:revoked"),
            registered(&raw, "jis:ended"),
            certified,
        ];
        let tokens: Vec<_> = devices
            .iter()
            .map(|device| raw.registered(&device.asker(), &device.registration(None)).keepalive)
            .collect();
        for device in [&devices[0], &devices[1], &devices[4]] {
            let whose = device.name().clone();
            let set = world.with_registry(device.text(), move |registry, now| {
                registry.set_trust(&whose, Some(0.1), "not to be trusted", now).map(|_| ())
            });
            set.expect("set");
        }
        // Lent trust does not speak against the operator's word.
        let vouch = jis::Vouch {
            id: [3; 16],
            voucher: voucher.name().clone(),
            voucher_generation: 0,
            voucher_key: voucher.identity.key,
            subject: devices[1].name().clone(),
            subject_fingerprint: devices[1].identity.fingerprint,
            factor_permille: 900,
            reason: "a friend".parse().expect("reason"),
            issued_at: at(0),
            expires_at: at(3600),
        };
        let vouch = Signed::seal(vouch, &voucher.key).expect("signed");
        world
            .with_registry("jis:vouched", move |registry, now| registry.vouch(&vouch, now).map(|_| ()))
            .expect("taken");
        raw.taken(&devices[2].asker(), &devices[2].revoke_own_key());
        let end =
            devices[3].revocation(RevocationScope::Name, RevocationAuthority::NextKey, &devices[3].next);
        raw.taken(
            &Asker { key: copy(&devices[3].next), ..devices[3].asker() },
            &OverlayRequest::Revoke(Box::new(end)),
        );
        assert_eq!(world.route("jis:revoked").expect("held").status, IdentityStatus::KeyRevoked);

        for (device, token) in devices.into_iter().zip(tokens) {
            let who = device.asker();
            let ping = PingRequest {
                issued_at: at(0),
                intent: "ping".parse().expect("word"),
                purpose: String::new(),
            };
            let ping = ping.query([1; 8], who.name.clone(), who.key.public_key(), 0, target.identity.key);
            let ping = Box::new(Signed::seal(ping, &who.key).expect("signed"));
            let mut newer = device.stolen();
            newer.move_on(|_| ());
            let bystander =
                device.revocation(RevocationScope::Name, RevocationAuthority::Ancestor, &device.key);
            let requests = [
                device.registration(None),
                device.update(),
                newer.update(),
                OverlayRequest::Resolve { name: target.name().clone(), events_from: Some(0) },
                OverlayRequest::Resolve { name: name("jis:absent"), events_from: None },
                OverlayRequest::Find { capability: "mqtt".parse().expect("word"), after: 0 },
                ask_for(&challenge(&who, &target)),
                OverlayRequest::Ping { name: target.name().clone(), ping },
                OverlayRequest::Revoke(Box::new(bystander)),
            ];
            for request in &requests {
                raw.assert_silent(&who, request, &format!("{} {}", who.name, request.intent()));
            }
            raw.send_query(&raw.query_of(&who, "overlay.nothing", Vec::new()));
            raw.send(&Compact::Keepalive(token).write());
            assert!(raw.is_quiet(), "{} keepalive", who.name);
            // ROOD stays ROOD under its next key; a revoked key's owner comes back with it.
            let mut device = device;
            let rotate = device.rotate();
            if who.name.as_str() == "jis:revoked" {
                raw.registered(&device.asker(), &rotate);
                let token = raw.registered(&device.asker(), &device.update()).keepalive;
                raw.send(&Compact::Keepalive(token).write());
                assert_eq!(read(&raw.recv()), Compact::Alive(token));
            } else {
                raw.assert_silent(&device.asker(), &rotate, "rotation");
                raw.assert_silent(&who, &rotate, "rotation");
            }
        }
        assert_eq!(world.handle().stats().forwarded, 0);
    });
}

/// Rule R24: a registration that was overheard moves nothing when it comes from elsewhere.
#[test]
fn an_overheard_registration_moves_nothing() {
    with_world(|world| {
        let (raw, thief) = (world.raw(), world.raw());
        let mut device = registered(&raw, "jis:a");
        let number = u32::try_from(world.route("jis:a").expect("held").id).expect("small");
        let here = raw.socket.local_addr().expect("address");
        device.move_on(|_| ());
        for step in 0..3 {
            let request = match step {
                0 => device.update(),
                1 => device.registration(None),
                _ => device.rotate(),
            };
            // Overheard before it arrived, or after.
            let query = raw.query(&device.asker(), &request);
            thief.send_query(&query);
            assert_eq!(read(&thief.recv()), Compact::Stale(query.claims().id));
            raw.send_query(&query);
            raw.recv();
            thief.send_query(&query);
            assert_eq!(read(&thief.recv()), Compact::Stale(query.claims().id));
            assert_eq!(world.handle().seen(number).expect("seen").address, here);
        }
        assert_eq!(raw.resolved(&Asker::certified(), device.name()).observed, Some(here));
    });
}

/// Rule R41: one key, two devices that register in turn. GEEL, and one token says so.
#[test]
fn two_devices_with_one_key_are_geel() {
    with_world(|world| {
        let (mut here, mut there) = (world.raw(), world.raw());
        let device = registered(&here, "jis:a");
        let whose = device.name().clone();
        let set = world.with_registry("jis:a", move |registry, now| {
            registry.set_trust(&whose, Some(0.9), "known", now).map(|_| ())
        });
        set.expect("set");
        for round in 0..12 {
            let raw = if round % 2 == 0 { &mut there } else { &mut here };
            raw.hello();
            raw.registered(&device.asker(), &device.registration(None));
        }
        assert!(here.is_quiet() && there.is_quiet());
        let standing = world.standing("jis:a");
        assert_eq!((standing.disputed, standing.zone), (true, Zone::Geel));
        assert_eq!(world.tokens("equivocation"), 1);
        assert!(world.handle().stats().torn > 0);
        let resolved = there.resolved(&Asker::certified(), device.name());
        assert_eq!((resolved.presence, resolved.zone()), (PresenceState::Online, Zone::Geel));
    });
}
