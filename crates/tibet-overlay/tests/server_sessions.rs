//! Sessions of devices on a running node: they end with their key and with a goodbye, and nothing that was overheard brings one back. And how often a
//! device or a network may ask.

mod common;

use std::sync::mpsc;

use common::device::{Device, name, new_key};
use common::raw::{Asker, Raw, read};
use common::world::{World, one_worker, open, with_config, with_world};
use jis::{AnswerOutcome, Query, RecordStatus, Signed};
use tibet_overlay::intents::{Failure, FailureCode, FoundNames, OverlayRequest, PresenceState};
use tibet_overlay::server::{AnyRegistry, OverlayNodeConfig, Rate};
use tibet_ping::{Compact, KeepaliveToken};

fn registered(raw: &Raw, text: &str) -> (Device, KeepaliveToken) {
    let device = Device::new(text);
    let token = raw.registered(&device.asker(), &device.registration(None)).keepalive;
    (device, token)
}

fn is_kept(raw: &mut Raw, token: KeepaliveToken) -> bool {
    raw.send(&Compact::Keepalive(token).write());
    let id = [9; 8];
    raw.send(&Compact::Hello(id).write());
    let mut kept = false;
    loop {
        let datagram = raw.recv();
        match read(&datagram) {
            Compact::Alive(alive) => kept = alive == token,
            Compact::Welcome(welcome) => {
                assert_eq!(welcome.id, id);
                return kept;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn presence(world: &World, whom: &str) -> PresenceState {
    world.raw().resolved(&Asker::certified(), &name(whom)).presence
}

/// SECURITY R24, R40: who has the old key only, is there no more.
#[test]
fn the_session_of_a_key_ends_when_the_key_does() {
    with_world(|world| {
        let (mut old, mut new) = (world.raw(), world.raw());
        let (mut device, token) = registered(&old, "jis:a");
        assert!(is_kept(&mut old, token));
        let rotate = device.rotate();
        let next = new.registered(&device.asker(), &rotate).keepalive;
        assert!(!is_kept(&mut old, token));
        assert!(is_kept(&mut new, next));
        let number = u32::try_from(world.route("jis:a").expect("held").id).expect("small");
        let there = new.socket.local_addr().expect("address");
        assert_eq!(world.handle().seen(number).expect("seen").address, there);
        assert_eq!(world.handle().online(), 1);
        new.taken(&device.asker(), &device.revoke_own_key());
        assert_eq!(world.handle().online(), 0);
        assert!(!is_kept(&mut new, next));
    });
}

/// Nor does it take a registration to end it: the operator's word, or another node's, is enough.
#[test]
fn a_revocation_that_others_bring_ends_the_session() {
    with_world(|world| {
        let mut raw = world.raw();
        let (device, token) = registered(&raw, "jis:a");
        let OverlayRequest::Revoke(revocation) = device.revoke_own_key() else { unreachable!() };
        world.with_registry("jis:a", move |registry, now| registry.revoke(*revocation, now)).expect("taken");
        assert_eq!(world.handle().online(), 0);
        assert!(!is_kept(&mut raw, token));
    });
}

#[test]
fn after_a_goodbye_only_a_registration_brings_a_device_back() {
    with_world(|world| {
        let mut raw = world.raw();
        let (mut device, token) = registered(&raw, "jis:a");
        device.move_on(|record| record.status = RecordStatus::Away);
        raw.registered(&device.asker(), &device.update());
        assert_eq!(presence(world, "jis:a"), PresenceState::Gone);
        assert!(!is_kept(&mut raw, token));
        assert_eq!(presence(world, "jis:a"), PresenceState::Gone);
        device.move_on(|record| record.status = RecordStatus::Active);
        let token = raw.registered(&device.asker(), &device.update()).keepalive;
        assert!(is_kept(&mut raw, token));
        assert_eq!(presence(world, "jis:a"), PresenceState::Online);
    });
}

/// SECURITY R24: a registration that was overheard, sent again from a forged address while its cookie holds, does not move a device back to where it
/// was; the device itself goes back when it greets anew.
#[test]
fn an_overheard_registration_moves_nothing_back() {
    with_world(|world| {
        let (mut before, now) = (world.raw(), world.raw());
        let device = Device::new("jis:a");
        let overheard = before.query(&device.asker(), &device.registration(None));
        before.send_query(&overheard);
        assert_eq!(before.answer_to(&overheard).0, AnswerOutcome::Yes);
        now.registered(&device.asker(), &device.update());
        let number = u32::try_from(world.route("jis:a").expect("held").id).expect("small");
        let address = |raw: &Raw| raw.socket.local_addr().expect("address");
        // Whoever sends it with that address as its source hears nothing; the address itself is told to greet anew.
        before.send_query(&overheard);
        assert_eq!(read(&before.recv()), Compact::Stale(overheard.claims().id));
        assert_eq!(world.handle().seen(number).expect("seen").address, address(&now));
        before.hello();
        before.registered(&device.asker(), &device.update());
        assert_eq!(world.handle().seen(number).expect("seen").address, address(&before));
    });
}

/// SECURITY R64: a device that publishes without end fills no disk.
#[test]
fn an_identity_publishes_so_often_and_no_more() {
    with_world(|world| {
        let raw = world.raw();
        let (mut device, _) = registered(&raw, "jis:a");
        let mut taken = 0;
        let failure = loop {
            device.move_on(|_| ());
            let (outcome, values) = raw.ask(&device.asker(), &device.update());
            if outcome != AnswerOutcome::Yes {
                break Failure::read(&values);
            }
            taken += 1;
            assert!(taken < 100, "there is an end");
        };
        assert!(taken >= 16, "{taken}");
        assert_eq!(failure.code, FailureCode::Busy, "{failure:?}");
        let wait = failure.retry_after.expect("when to ask again").as_secs();
        assert!((1..=10).contains(&wait), "{wait}");
        // What is held can be said again, and another identity is not held up.
        registered(&raw, "jis:b");
    });
}

/// What an identity may change only the identity takes: neither who wants its name, nor who claims to be its next key.
#[test]
fn nobody_else_uses_up_what_an_identity_may_change() {
    with_world(|world| {
        let raw = world.raw();
        let (mut device, _) = registered(&raw, "jis:a");
        let squatter = Device::new("jis:a");
        for _ in 0..20 {
            raw.refused(&squatter.asker(), &squatter.registration(None));
            let forged = new_key();
            let rotation = device.rotation(&forged, |_| ());
            let record = device.record_after(&rotation, &forged);
            let rotate = OverlayRequest::Rotate { rotation: Box::new(rotation), record: Box::new(record) };
            let thief = Asker { name: device.name().clone(), key: forged, generation: 1 };
            assert_eq!(raw.refused(&thief, &rotate).code, FailureCode::Refused);
        }
        for _ in 0..15 {
            device.move_on(|_| ());
            raw.registered(&device.asker(), &device.update());
        }
        let rotate = device.rotate();
        raw.registered(&device.asker(), &rotate);
    });
}

/// SECURITY R18: however good its signatures, one network has so many of them checked.
#[test]
fn row_18_a_network_asks_so_much_and_others_do_not_wait() {
    let config = OverlayNodeConfig { query_rate: Rate { burst: 20, per_second: 1 }, ..one_worker() };
    with_config(open(), config, |world| {
        let limited = || world.handle().stats().queries_limited;
        // Each question is followed by a greeting, which is answered when the question was judged.
        let ask = |raw: &Raw, query: Signed<Query>| {
            raw.send_query(&query);
            raw.send(&Compact::Hello([9; 8]).write());
            while !matches!(read(&raw.recv()), Compact::Welcome(_)) {}
        };
        let (raw, who) = (world.raw(), Asker::certified());
        let find = OverlayRequest::Find { capability: "mqtt".parse().expect("word"), after: 0 };
        (0..20).for_each(|_| ask(&raw, raw.query(&who, &find)));
        assert_eq!(limited(), 0);
        (0..60).for_each(|_| ask(&raw, raw.query(&who, &find)));
        let before = limited();
        assert!(before > 0);
        // Another network has its own. Key events weigh more: six registrations of three, and one in three seconds from then on.
        let other = Raw::connect_from("127.0.0.2".parse().expect("address"), world.node().local_addr());
        for number in 0..40 {
            let device = Device::new(&format!("jis:n{number}"));
            ask(&other, other.query(&device.asker(), &device.registration(None)));
            assert!(number >= 6 || limited() == before, "the first six");
        }
        assert!(limited() > before);
    });
}

/// Searches are answered while the registry's thread has something else to do.
#[test]
fn a_search_does_not_wait_for_the_writer() {
    with_world(|world| {
        let raw = world.raw();
        let (mut device, _) = registered(&raw, "jis:a");
        registered(&raw, "jis:b");
        let find = |word: &str| {
            let find = OverlayRequest::Find { capability: word.parse().expect("word"), after: 0 };
            FoundNames::read(&raw.taken(&Asker::certified(), &find)).expect("a page").names
        };
        device.move_on(|record| record.capabilities = ["light".parse().expect("word")].into());
        raw.registered(&device.asker(), &device.update());
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let stay = move |_: &mut AnyRegistry, _| {
            entered.send(()).expect("awaited");
            // Until the other end is dropped, at the latest.
            let _ = released.recv();
            ((), Vec::new())
        };
        world.handle().registry().submit(stay, |_| {}).expect("taken");
        has_entered.recv().expect("entered");
        assert_eq!(find("mqtt"), [name("jis:b")]);
        assert_eq!(find("light"), [name("jis:a")]);
        assert_eq!(find("no-such-thing"), []);
        drop(release);
        raw.taken(&device.asker(), &device.revoke_own_key());
        assert_eq!(find("light"), [], "who is revoked offers nothing");
    });
}
