//! SECURITY 3.2, rows 42 to 49, over UDP against a running node: who gets which name.

mod common;

use std::net::SocketAddr;
use std::sync::Barrier;

use common::device::{Device, at, copy, name, new_key, token};
use common::raw::{Asker, Raw, ask_all, read};
use common::twist::{record, twist};
use common::world::{World, one_worker, open, with_config, with_world};
use jis::{AnswerOutcome, Signed};
use tibet_overlay::intents::{Failure, FailureCode, OverlayRequest, RegisterAnswer};
use tibet_overlay::server::OverlayNodeConfig;
use tibet_ping::{Compact, FoundStatus};
use tibet_registry::{NAMES_PER_HOUR, Permission, Policy};

const WHAT_NO_NAME_IS: [&str; 22] = [
    "",
    "jis",
    "jis:",
    "jis::a",
    "jis:a:",
    "jis:a::b",
    "jis:1:2:3:4:5:6:7:8:9",
    "jis:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "jis:Alice",
    "JIS:alice",
    "jis:-a",
    "jis:a-",
    "jis:a b",
    "jis:a/../b",
    "jis:a%20b",
    "jis:a#key-0",
    "jis:\u{430}lice",
    "jis:alice\0",
    "jis:alice\n",
    "jis:a.aint",
    "a.aint",
    "did:jis:alice",
];

fn found(raw: &Raw, whom: &str) -> FoundStatus {
    raw.send(&Compact::Lookup { id: [3; 8], cookie: raw.cookie, events_from: None, name: whom }.write());
    let datagram = raw.recv();
    let Compact::Found { found, .. } = read(&datagram) else { panic!("{datagram:?}") };
    found.status
}

#[test]
fn row_42_what_is_no_name_is_refused_wherever_a_name_stands() {
    with_world(|world| {
        let raw = world.raw();
        let (device, asker) = (Device::new("jis:alice"), Asker::certified());
        let long =
            format!("jis:{}", ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(10)].join(":"));
        assert!(long.len() > 200);
        for text in WHAT_NO_NAME_IS.into_iter().chain([long.as_str()]) {
            // In a record.
            let mut arguments = device.registration(None).arguments();
            arguments[0] = twist(&arguments[0], record::NAME, text.as_bytes(), &device.key);
            let failure = raw.refused_of(&asker, "overlay.register", arguments);
            assert_eq!(failure.code, FailureCode::Malformed, "record: {text:?}");
            // In a question.
            let failure = raw.refused_of(&asker, "overlay.resolve", vec![text.into(), vec![255]]);
            assert_eq!(failure.code, FailureCode::Malformed, "resolve: {text:?}");
            // As who asks: nobody.
            let resolve = OverlayRequest::Resolve { name: name("jis:alice"), events_from: None };
            let query = raw.query(&asker, &resolve).encode();
            raw.send(&Compact::Query(&twist(&query, 1, text.as_bytes(), &asker.key)).write());
            assert!(raw.is_quiet(), "source: {text:?}");
            // In a look-up.
            assert_eq!(found(&raw, text), FoundStatus::Unknown, "lookup: {text:?}");
        }
        assert!(world.handle().directory().is_empty());
    });
}

/// Other spellings of names are for the edges where people write them, not for the wire.
#[test]
fn row_43_other_spellings_find_nobody() {
    with_world(|world| {
        let raw = world.raw();
        let device = Device::new("jis:alice");
        raw.registered(&device.asker(), &device.registration(None));
        assert_eq!(found(&raw, "jis:alice"), FoundStatus::Active);
        for text in [
            "did:jis:alice",
            "alice.aint",
            "jis%3Aalice",
            "jis:alice#key-0",
            "jis:alice?x",
            " jis:alice",
            "jis:ALICE",
        ] {
            assert_eq!(found(&raw, text), FoundStatus::Unknown, "{text:?}");
            let failure = raw.refused_of(&device.asker(), "overlay.resolve", vec![text.into(), vec![255]]);
            assert_eq!(failure.code, FailureCode::Malformed, "{text:?}");
        }
    });
}

#[test]
fn row_44_a_name_below_another_needs_a_grant() {
    with_world(|world| {
        let raw = world.raw();
        let home = Device::new("jis:home");
        raw.registered(&home.asker(), &home.registration(None));
        for text in ["jis:home:hub", "jis:home:kitchen:lamp"] {
            let hub = Device::new(text);
            let failure = raw.refused(&hub.asker(), &hub.registration(None));
            assert_eq!(failure.code, FailureCode::Refused, "{text}");
            assert!(failure.detail.contains("needs a grant by jis:home"), "{failure:?}");
        }
        // And the name above names that exist is not for the first stranger either.
        let lamp = Device::new("jis:work:lamp");
        raw.registered(&lamp.asker(), &lamp.registration(None));
        let work = Device::new("jis:work");
        assert_eq!(raw.refused(&work.asker(), &work.registration(None)).code, FailureCode::Refused);
        assert_eq!(world.handle().directory().len(), 2);
    });
}

fn not_permitted(raw: &Raw, device: &Device, permission: Permission, why: &str) {
    let failure = raw.refused(&device.asker(), &device.registration(Some(permission)));
    assert_eq!(failure.code, FailureCode::Refused, "{why}: {failure:?}");
    assert!(failure.detail.contains(why), "{why}: {failure:?}");
}

#[test]
fn row_45_a_grant_by_a_key_that_was_rotated_or_revoked_permits_nothing() {
    with_world(|world| {
        let raw = world.raw();
        let mut home = Device::new("jis:home");
        raw.registered(&home.asker(), &home.registration(None));
        let old = home.grant("jis:home:**", &world.origin, |_| ());
        let rotate = home.rotate();
        raw.registered(&home.asker(), &rotate);
        not_permitted(&raw, &Device::new("jis:home:x"), old, "not signed by the current key");

        let new = home.grant("jis:home:**", &world.origin, |_| ());
        let x = Device::new("jis:home:x");
        raw.registered(&x.asker(), &x.registration(Some(new.clone())));
        raw.taken(&home.asker(), &home.revoke_own_key());
        not_permitted(&raw, &Device::new("jis:home:y"), new, "not signed by the current key");
        assert!(world.route("jis:home:y").is_none());
    });
}

#[test]
fn row_46_a_grant_permits_the_names_it_says() {
    with_world(|world| {
        let raw = world.raw();
        let home = Device::new("jis:home");
        raw.registered(&home.asker(), &home.registration(None));
        let below = || home.grant("jis:home:*", &world.origin, |_| ());
        not_permitted(&raw, &Device::new("jis:home2"), below(), "for other names");
        not_permitted(&raw, &Device::new("jis:home2:x"), below(), "for other names");
        not_permitted(&raw, &Device::new("jis:home:x:y"), below(), "for other names");
        let mine = Device::new("jis:home:x");
        let others =
            home.grant("jis:home:*", &world.origin, |grant| grant.subject = Some(new_key().public_key()));
        not_permitted(&raw, &mine, others, "for another key");
        not_permitted(
            &raw,
            &mine,
            home.grant("jis:home:*", &name("jis:elsewhere"), |_| ()),
            "another registry",
        );
        let over = home.grant("jis:home:*", &world.origin, |grant| {
            (grant.issued_at, grant.expires_at) = (at(-100), at(-1));
        });
        not_permitted(&raw, &mine, over, "has expired");
        // Signed by the claimant in the parent's name.
        let Permission::Grant(genuine) = below() else { unreachable!() };
        let forged = Signed::seal(genuine.claims().clone(), &mine.key).expect("signed");
        not_permitted(&raw, &mine, Permission::Grant(forged), "not signed by the current key");
        raw.registered(&mine.asker(), &mine.registration(Some(below())));
        assert_eq!(world.handle().directory().len(), 2);
    });
}

/// A thousand devices ask at once, from eight sockets.
fn race(world: &World, devices: &[Device], permission: Option<&Permission>) -> Vec<(AnswerOutcome, Failure)> {
    let start = Barrier::new(8);
    let node: SocketAddr = world.node().local_addr();
    let mut results = Vec::new();
    std::thread::scope(|scope| {
        let askers: Vec<_> = devices
            .chunks(devices.len().div_ceil(8))
            .map(|devices| {
                let start = &start;
                scope.spawn(move || {
                    let raw = Raw::connect(node);
                    let query = |device: &Device| {
                        raw.query(&device.asker(), &device.registration(permission.cloned()))
                    };
                    let queries: Vec<_> = devices.iter().map(query).collect();
                    start.wait();
                    ask_all(&raw, &queries)
                })
            })
            .collect();
        for asker in askers {
            let answers = asker.join().expect("no panic").into_iter();
            results.extend(answers.map(|(outcome, values)| (outcome, Failure::read(&values))));
        }
    });
    results
}

#[test]
fn row_47_a_thousand_claims_of_one_name_at_once_have_one_winner() {
    with_config(open(), OverlayNodeConfig { workers: 4, ..one_worker() }, |world| {
        let devices: Vec<_> = (0..1000).map(|_| Device::new("jis:wanted")).collect();
        let results = race(world, &devices, None);
        let won = results.iter().filter(|(outcome, _)| *outcome == AnswerOutcome::Yes).count();
        let lost = results.iter().filter(|(outcome, failure)| {
            *outcome == AnswerOutcome::No
                && failure.code == FailureCode::Refused
                && failure.detail.contains("taken by another key")
        });
        assert_eq!((won, lost.count()), (1, 999));
        assert_eq!(world.handle().stats().registrations, 1);
        let bound = world.route("jis:wanted").expect("registered").key_bytes().to_owned();
        assert!(devices.iter().any(|device| *device.identity.key.as_bytes() == bound));
    });
}

#[test]
fn row_48_a_thousand_claims_with_one_enrolment_token_give_one_name() {
    with_config(open(), OverlayNodeConfig { workers: 4, ..one_worker() }, |world| {
        let shown = token(&world.issuer, "jis:fleet:*", &world.origin, |_| ());
        let devices: Vec<_> = (0..1000).map(|i| Device::new(&format!("jis:fleet:{i}"))).collect();
        let results = race(world, &devices, Some(&shown));
        let won = results.iter().filter(|(outcome, _)| *outcome == AnswerOutcome::Yes).count();
        let lost = results.iter().filter(|(_, failure)| failure.detail.contains("used before")).count();
        assert_eq!((won, lost), (1, 999));
        assert_eq!(world.handle().directory().len(), 1);
    });
}

#[test]
fn row_48_an_enrolment_token_is_burnt_by_success_alone() {
    let closed = Policy { first_come: tibet_registry::FirstCome::Closed, ..open() };
    with_config(closed, one_worker(), |world| {
        let raw = world.raw();
        let device = Device::new("jis:a");
        let failure = raw.refused(&device.asker(), &device.registration(None));
        assert!(failure.detail.contains("only with an enrolment token"), "{failure:?}");

        let good = token(&world.issuer, "jis:a", &world.origin, |_| ());
        let issuer = &world.issuer;
        not_permitted(&raw, &device, token(&new_key(), "jis:a", &world.origin, |_| ()), "not signed by");
        not_permitted(&raw, &device, token(issuer, "jis:b", &world.origin, |_| ()), "for other names");
        not_permitted(
            &raw,
            &device,
            token(issuer, "jis:a", &name("jis:elsewhere"), |_| ()),
            "another registry",
        );
        let others =
            token(issuer, "jis:a", &world.origin, |token| token.subject = Some(new_key().public_key()));
        not_permitted(&raw, &device, others, "for another key");
        let over = token(issuer, "jis:a", &world.origin, |token| {
            (token.issued_at, token.expires_at) = (at(-100), at(-1));
        });
        not_permitted(&raw, &device, over, "has expired");
        let ahead = token(issuer, "jis:a", &world.origin, |token| {
            (token.issued_at, token.expires_at) = (at(330), at(1000));
        });
        not_permitted(&raw, &device, ahead, "dated in the future");

        // Cut off at any place, it is none. Nor is the claim, so only somebody who is known without it is told.
        let arguments = device.registration(Some(good.clone())).arguments();
        for length in [1, 2, 17, arguments[2].len() / 2, arguments[2].len() - 1] {
            let mut cut = arguments.clone();
            cut[2].truncate(length);
            raw.send_query(&raw.query_of(&device.asker(), "overlay.register", cut.clone()));
            assert!(raw.is_quiet(), "{length} bytes");
            let failure = raw.refused_of(&Asker::certified(), "overlay.register", cut);
            assert_eq!(failure.code, FailureCode::Malformed, "{length} bytes");
        }
        // Shown with a claim that fails for another reason.
        let mut late = device.stolen();
        late.record.issued_at = at(3700);
        let failure = raw.refused(&late.asker(), &late.registration(Some(good.clone())));
        assert!(failure.detail.contains("future"), "{failure:?}");

        assert!(raw.registered(&device.asker(), &device.registration(Some(good.clone()))).changed);
        // The same device again is no second use; another one is.
        assert!(!raw.registered(&device.asker(), &device.registration(Some(good))).changed);
        let broad = token(issuer, "jis:fleet:*", &world.origin, |_| ());
        let first = Device::new("jis:fleet:1");
        raw.registered(&first.asker(), &first.registration(Some(broad.clone())));
        not_permitted(&raw, &Device::new("jis:fleet:2"), broad, "used before");
        assert_eq!(world.handle().directory().len(), 2);
    });
}

#[test]
fn row_49_names_by_first_come_end_at_the_quota_of_a_network() {
    with_config(Policy::default(), one_worker(), |world| {
        let raw = world.raw();
        let devices: Vec<_> = (0..300).map(|i| Device::new(&format!("jis:n{i}"))).collect();
        let queries: Vec<_> =
            devices.iter().map(|device| raw.query(&device.asker(), &device.registration(None))).collect();
        let answers = ask_all(&raw, &queries);
        let won = answers.iter().filter(|(outcome, _)| *outcome == AnswerOutcome::Yes).count();
        assert_eq!(won, NAMES_PER_HOUR as usize);
        for (outcome, values) in &answers[won..] {
            let failure = Failure::read(values);
            assert_eq!((*outcome, failure.code), (AnswerOutcome::No, FailureCode::Quota));
            let wait = failure.retry_after.expect("when to try again").as_secs();
            assert!((3500..=3600).contains(&wait), "{wait}");
        }
        assert_eq!(world.handle().directory().len(), won);
        // Another address of the same network is no way round; another network has a quota of its own, and a token needs none.
        let late = Device::new("jis:late");
        let node = world.node().local_addr();
        let same = Raw::connect_from("127.0.0.77".parse().expect("address"), node);
        assert_eq!(same.refused(&late.asker(), &late.registration(None)).code, FailureCode::Quota);
        let other = Raw::connect_from("127.0.9.1".parse().expect("address"), node);
        other.registered(&late.asker(), &late.registration(None));
        let enrolled = Device::new("jis:enrolled");
        let shown = token(&world.issuer, "jis:enrolled", &world.origin, |_| ());
        raw.registered(&enrolled.asker(), &enrolled.registration(Some(shown)));
        // Who is registered is not a new name.
        let mut first = devices.into_iter().next().expect("one");
        first.move_on(|_| ());
        let values = raw.taken(&first.asker(), &first.update());
        assert_eq!(RegisterAnswer::read(&values).expect("an answer").version.seq, 1);
    });
}

#[test]
fn row_49_a_key_has_one_name() {
    with_world(|world| {
        let raw = world.raw();
        let first = Device::new("jis:a");
        raw.registered(&first.asker(), &first.registration(None));
        for i in 0..50 {
            let again = Device::with_key(&format!("jis:b{i}"), copy(&first.key));
            let failure = raw.refused(&again.asker(), &again.registration(None));
            assert!(failure.detail.contains("already has a name here: jis:a"), "{failure:?}");
        }
        assert_eq!(world.handle().directory().len(), 1);
    });
}
