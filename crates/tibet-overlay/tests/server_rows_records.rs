//! SECURITY 3.2, rows 50 to 58, over UDP against a running node: records, rotations, revocations.

#![allow(clippy::print_stdout, reason = "what was skipped")]

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::device::{Device, at, name, new_key};
use common::raw::{Asker, Raw};
use common::twist::{list, record, twist};
use common::world::{World, with_world};
use jis::{
    Challenge, ChallengePurpose, IdentityStatus, Record, RevocationAuthority, RevocationScope, Signed,
};
use tibet_overlay::intents::{FailureCode, OverlayRequest, PingRequest};
use tibet_overlay::system;
use tibet_registry::Zone;

/// A registered device.
fn registered(raw: &Raw, text: &str) -> Device {
    let device = Device::new(text);
    raw.registered(&device.asker(), &device.registration(None));
    device
}

/// Refused, for a reason with these words in it; what is held stays.
fn refused(world: &World, raw: &Raw, device: &Device, request: &OverlayRequest, why: &str) {
    let held = || world.route(device.text()).map(|route| route.record_bytes().to_vec());
    let before = held();
    let failure = raw.refused(&device.asker(), request);
    assert_eq!(failure.code, FailureCode::Refused, "{why}: {failure:?}");
    assert!(failure.detail.contains(why), "{why}: {failure:?}");
    assert_eq!(held(), before, "{why}");
}

/// A registration whose record has one field that no record has. Refused as malformed, whoever brings it.
fn malformed(world: &World, raw: &Raw, device: &Device, field: usize, bytes: &[u8], what: &str) {
    for request in [device.registration(None), device.update()] {
        let mut arguments = request.arguments();
        arguments[0] = twist(&arguments[0], field, bytes, &device.key);
        let failure = raw.refused_of(&Asker::certified(), "overlay.register", arguments.clone());
        assert_eq!(failure.code, FailureCode::Malformed, "{what}: {failure:?}");
        raw.send_query(&raw.query_of(&device.asker(), "overlay.register", arguments));
        if world.route(device.text()).is_none() {
            assert!(raw.is_quiet(), "{what}");
        } else {
            // The node's answer to somebody it knows.
            raw.recv();
        }
    }
}

#[test]
fn row_50_a_record_with_a_lower_number_is_dropped_and_a_far_higher_one_refused() {
    with_world(|world| {
        let raw = world.raw();
        let mut device = registered(&raw, "jis:a");
        let old = device.stolen();
        device.move_on(|record| record.version.seq = 7);
        raw.registered(&device.asker(), &device.update());
        refused(world, &raw, &old, &old.update(), "not newer than");
        refused(world, &raw, &old, &old.registration(None), "not newer than");
        let mut far = device.stolen();
        far.move_on(|record| record.version.seq = 7 + (1 << 21));
        refused(world, &raw, &far, &far.update(), "jumps");
        malformed(world, &raw, &device, record::SEQ, &(1_u64 << 53).to_be_bytes(), "2^53");
        malformed(world, &raw, &device, record::SEQ, &u64::MAX.to_be_bytes(), "2^64 - 1");
        let mut newcomer = Device::new("jis:b");
        newcomer.record.version.seq = 1 << 21;
        refused(world, &raw, &newcomer, &newcomer.registration(None), "jumps");
        // None of this was a lock: the device goes on where it was.
        device.move_on(|_| ());
        assert_eq!(raw.registered(&device.asker(), &device.update()).version.seq, 8);
        assert_eq!(world.evidence("jis:a"), 0);
    });
}

/// Rule R41: a copy of the device, which signs another record under the same number.
#[test]
fn row_50_two_records_with_one_number_are_evidence_and_geel() {
    with_world(|world| {
        let raw = world.raw();
        let device = registered(&raw, "jis:a");
        let trusted = name("jis:a");
        world
            .with_registry("jis:a", move |registry, now| {
                registry.set_trust(&trusted, Some(0.9), "known", now).map(|_| ())
            })
            .expect("set");
        assert_eq!(world.standing("jis:a").zone, Zone::Groen);
        let mut copy = device.stolen();
        copy.record.endpoints = vec!["198.51.100.66:4000".parse().expect("endpoint")];
        for request in [copy.update(), copy.registration(None), copy.update()] {
            refused(world, &raw, &copy, &request, "both are kept as evidence");
        }
        assert_eq!(world.evidence("jis:a"), 1, "the same two, sent again, are kept once");
        let standing = world.standing("jis:a");
        assert!(standing.disputed);
        assert_eq!((standing.zone, standing.score), (Zone::Geel, 0.69));
        assert_eq!(raw.resolved(&device.asker(), device.name()).trust, 0.69);
        assert_eq!(world.tokens("equivocation"), 1);
    });
}

#[test]
fn row_51_a_record_holds_for_its_time_only() {
    with_world(|world| {
        let raw = world.raw();
        let known = registered(&raw, "jis:known");
        let dated = |device: &Device, issued: i64, ttl: u64| {
            let mut device = device.stolen();
            device.record.version.seq += u64::from(device.text() == "jis:known");
            (device.record.issued_at, device.record.ttl) = (at(issued), Duration::from_secs(ttl));
            device
        };
        let newcomer = Device::new("jis:new");
        for (issued, ttl, why) in [
            (3600, 3600, "future"),
            (310, 3600, "future"),
            (10 * 365 * 86_400, 86_400, "future"),
            (-3700, 3600, "expired"),
            (-90_000, 86_400, "expired"),
        ] {
            let device = dated(&newcomer, issued, ttl);
            refused(world, &raw, &device, &device.registration(None), why);
            let device = dated(&known, issued, ttl);
            refused(world, &raw, &device, &device.update(), why);
        }
        for ttl in [0, 86_401, 1 << 63, u64::MAX] {
            malformed(world, &raw, &newcomer, record::TTL, &ttl.to_be_bytes(), "ttl");
        }
        let device = dated(&newcomer, 290, 60);
        raw.registered(&device.asker(), &device.registration(None));
    });
}

#[test]
fn row_52_what_was_said_before_a_rotation_or_a_revocation_says_nothing_after() {
    with_world(|world| {
        let raw = world.raw();
        let mut device = registered(&raw, "jis:a");
        let before = device.stolen();
        let rotate = device.rotate();
        raw.registered(&device.asker(), &rotate);
        // By whoever has the old key, and by somebody who overheard it.
        for request in [before.update(), before.registration(None)] {
            refused(world, &raw, &before, &request, "");
            raw.refused(&Asker::certified(), &request);
        }
        assert_eq!(world.route("jis:a").expect("held").record_bytes(), device.signed_record().encode());

        raw.taken(&device.asker(), &device.revoke_own_key());
        assert_eq!(world.route("jis:a").expect("held").status, IdentityStatus::KeyRevoked);
        for request in [device.update(), device.registration(None)] {
            raw.assert_silent(&device.asker(), &request, "a revoked key has nothing to say");
            raw.refused(&Asker::certified(), &request);
        }
        let mut newer = device.stolen();
        newer.move_on(|_| ());
        raw.assert_silent(&newer.asker(), &newer.update(), "nor anything new");
        // The next key brings the name back.
        let rotate = device.rotate();
        assert_eq!(raw.registered(&device.asker(), &rotate).version.generation, 2);
    });
}

#[test]
fn row_53_a_rotation_is_by_the_key_that_was_committed_to() {
    with_world(|world| {
        let raw = world.raw();
        let mut device = registered(&raw, "jis:a");
        let rotate = |rotation: &jis::SignedRotation, record: Signed<Record>| OverlayRequest::Rotate {
            rotation: Box::new(rotation.clone()),
            record: Box::new(record),
        };
        let other = new_key();
        let rotation = device.rotation(&other, |_| ());
        let request = rotate(&rotation, device.record_after(&rotation, &other));
        refused(world, &raw, &device, &request, "not the one committed to");
        let rotation = device.rotation(&device.key, |_| ());
        let request = rotate(&rotation, device.record_after(&rotation, &device.key));
        refused(world, &raw, &device, &request, "not the one committed to");
        let rotation = device.rotation(&device.next, |rotation| rotation.generation += 1);
        let request = rotate(&rotation, device.record_after(&rotation, &device.next));
        refused(world, &raw, &device, &request, "generation 2");
        let rotation = device.rotation(&device.next, |rotation| rotation.previous = [9; 32]);
        let request = rotate(&rotation, device.record_after(&rotation, &device.next));
        refused(world, &raw, &device, &request, "does not follow");
        // A rotation whose record is another key's moves nothing.
        let rotation = device.rotation(&device.next, |_| ());
        let request = rotate(&rotation, device.record_after(&rotation, &other));
        refused(world, &raw, &device, &request, "");
        assert_eq!(world.route("jis:a").expect("held").version.generation, 0);

        // Two of one generation: the first wins, the second is evidence.
        let (second, key) = (device.rotation(&device.next, |_| ()), common::device::copy(&device.next));
        let second = rotate(&second, device.record_after(&second, &key));
        let first = device.rotate();
        assert_eq!(raw.registered(&device.asker(), &first).version.generation, 1);
        // Asked again, because an answer can get lost, the answer is the same.
        let again = raw.registered(&device.asker(), &first);
        assert_eq!((again.changed, again.version.generation), (false, 1));
        refused(world, &raw, &device, &second, "both are kept as evidence");
        assert_eq!(world.evidence("jis:a"), 1);
        assert_eq!(world.standing("jis:a").zone, Zone::Geel);
        assert!(world.standing("jis:a").disputed);
    });
}

#[test]
fn row_54_who_may_end_what() {
    use RevocationAuthority::{Ancestor, CurrentKey, NextKey};
    with_world(|world| {
        let raw = world.raw();
        let mut device = registered(&raw, "jis:a");
        let other = registered(&raw, "jis:b");
        let revoke = |revocation| OverlayRequest::Revoke(Box::new(revocation));
        for (scope, authority, signer, who) in [
            (RevocationScope::Key, CurrentKey, &other.key, &other),
            (RevocationScope::Name, NextKey, &other.key, &other),
            (RevocationScope::Name, Ancestor, &other.key, &other),
            (RevocationScope::Name, CurrentKey, &device.key, &device),
            (RevocationScope::Name, NextKey, &device.key, &device),
        ] {
            let request = revoke(device.revocation(scope, authority, signer));
            let failure = raw.refused(&who.asker(), &request);
            assert!(failure.detail.contains("may not revoke that"), "{failure:?}");
        }
        // In the device's own words, but by nobody the node knows.
        let stranger = Asker { name: device.name().clone(), key: new_key(), generation: 0 };
        raw.assert_silent(&stranger, &device.revoke_own_key(), "a stranger");
        assert_eq!(world.route("jis:a").expect("held").status, IdentityStatus::Active);

        let request = device.revoke_own_key();
        raw.taken(&device.asker(), &request);
        raw.taken(&device.asker(), &request);
        assert_eq!(world.route("jis:a").expect("held").status, IdentityStatus::KeyRevoked);
        assert_eq!(world.tokens("revoke"), 1, "asked twice, done once");
        // The same key is refused for ever: under its name, and under another.
        raw.assert_silent(&device.asker(), &device.registration(None), "the same again");
        let elsewhere = Device::with_key("jis:c", common::device::copy(&device.key));
        let failure = raw.refused(&elsewhere.asker(), &elsewhere.registration(None));
        assert!(failure.detail.contains("already has a name here: jis:a"), "{failure:?}");
        let rotate = device.rotate();
        raw.registered(&device.asker(), &rotate);

        // The next key ends the name; nothing follows.
        let end = revoke(device.revocation(RevocationScope::Name, NextKey, &device.next));
        let owner = Asker { key: common::device::copy(&device.next), ..device.asker() };
        raw.taken(&owner, &end);
        raw.taken(&owner, &end);
        assert_eq!(world.route("jis:a").expect("held").status, IdentityStatus::NameRevoked);
        let after = device.rotate();
        raw.assert_silent(&device.asker(), &after, "a name that has ended");
        let squatter = Device::new("jis:a");
        raw.assert_silent(&squatter.asker(), &squatter.registration(None), "nobody gets the name");
    });
}

#[test]
fn row_55_no_record_names_an_address_that_is_nobodys() {
    with_world(|world| {
        let raw = world.raw();
        let device = Device::new("jis:a");
        let v4 = |ip: [u8; 4], port: u16| [&ip[..], &port.to_be_bytes()].concat();
        let v6 = |text: &str, port: u16| {
            let ip: std::net::Ipv6Addr = text.parse().expect("address");
            [&ip.octets()[..], &port.to_be_bytes()].concat()
        };
        let own = world.node().local_addr();
        let bad = [
            v4([127, 0, 0, 1], 7150),
            v4([127, 0, 0, 1], own.port()),
            v4([0, 0, 0, 0], 7150),
            v4([169, 254, 1, 1], 7150),
            v4([224, 0, 71, 50], 7150),
            v4([255, 255, 255, 255], 7150),
            v4([203, 0, 113, 1], 0),
            v4([203, 0, 113, 1], 53),
            v6("::", 7150),
            v6("::1", 7150),
            v6("ff02::1", 7150),
            v6("fe80::1", 7150),
            v6("::ffff:10.0.0.1", 7150),
            v6("64:ff9b::a00:1", 7150),
            v6("2002:a00:1::1", 7150),
            v6("2001:db8::1", 53),
            vec![1; 5],
            vec![1; 19],
            Vec::new(),
        ];
        for endpoint in bad {
            let field = list([&endpoint]);
            malformed(world, &raw, &device, record::ENDPOINTS, &field, &format!("{endpoint:?}"));
        }
        let nine = list((1..=9).map(|last| v4([203, 0, 113, last], 7150)));
        malformed(world, &raw, &device, record::ENDPOINTS, &nine, "nine");
        let twice = list([v4([203, 0, 113, 1], 7150), v4([203, 0, 113, 1], 7150)]);
        malformed(world, &raw, &device, record::ENDPOINTS, &twice, "twice");
        assert!(world.handle().directory().is_empty());
    });
}

/// Where a record says a device is, the node sends nothing: what it passes on goes to where the device spoke from.
#[test]
fn row_56_a_third_party_that_a_record_names_hears_nothing() {
    with_world(|world| {
        // An address of this machine that may stand in a record. Connecting a UDP socket sends nothing.
        let probe = UdpSocket::bind("0.0.0.0:0").expect("bound");
        if probe.connect("203.0.113.1:9").is_err() {
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "this machine has no route to anywhere");
            println!(
                "SKIPPED: row 56 needs an address that may stand in a record, and this machine has only loopback"
            );
            return;
        }
        let victim = UdpSocket::bind((probe.local_addr().expect("address").ip(), 0)).expect("bound");
        victim.set_nonblocking(true).expect("set");
        let raw = world.raw();
        let mut device = Device::new("jis:a");
        device.record.endpoints =
            vec![victim.local_addr().expect("address").to_string().parse().expect("endpoint")];
        raw.registered(&device.asker(), &device.registration(None));
        for _ in 0..10 {
            device.move_on(|_| ());
            raw.registered(&device.asker(), &device.update());
        }
        let asker = world.raw();
        let who = Asker::certified();
        asker.resolved(&who, device.name());
        let challenge = Challenge {
            purpose: ChallengePurpose::Verify,
            prover: device.name().clone(),
            verifier: who.name.clone(),
            verifier_key: who.key.public_key(),
            verifier_nonce: [5; 32],
            issued_at: at(0),
            expires_at: at(30),
            channel_binding: [0; 32],
        };
        asker.send_query(&asker.query(&who, &OverlayRequest::Challenge(Box::new(challenge))));
        let ping =
            PingRequest { issued_at: at(0), intent: "ping".parse().expect("word"), purpose: String::new() };
        let id = system::random().expect("random");
        let ping = ping.query(id, who.name.clone(), who.key.public_key(), 0, device.identity.key);
        let ping = Box::new(Signed::seal(ping, &who.key).expect("signed"));
        asker.send_query(&asker.query(&who, &OverlayRequest::Ping { name: device.name().clone(), ping }));
        // Both come to where the device spoke from.
        let mut methods = [raw.recv(), raw.recv()].map(|datagram| {
            let tibet_ping::Compact::Query(query) = common::raw::read(&datagram) else {
                panic!("{datagram:?}")
            };
            Signed::<jis::Query>::decode(query).expect("a question").claims().method.to_string()
        });
        methods.sort();
        assert_eq!(methods, ["overlay.challenge", "overlay.ping"]);
        // On one machine a datagram is there when its sender's call returns.
        assert!(
            victim.recv(&mut [0; 2048]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        );
    });
}

#[test]
fn row_57_lists_of_relays_are_short_and_do_not_name_the_device() {
    with_world(|world| {
        let raw = world.raw();
        let device = Device::new("jis:a");
        malformed(world, &raw, &device, record::RELAYS, &list(["jis:a"]), "itself");
        malformed(world, &raw, &device, record::RELAYS, &list(["jis:r", "jis:a"]), "itself, second");
        malformed(world, &raw, &device, record::RELAYS, &list(["jis:r", "jis:r"]), "twice");
        malformed(world, &raw, &device, record::RELAYS, &list(["jis:A"]), "no name");
        let many = |count: usize| list((0..count).map(|i| format!("jis:r{i}")));
        malformed(world, &raw, &device, record::RELAYS, &many(5), "five");
        malformed(world, &raw, &device, record::RELAYS, &many(1000), "a thousand");
        assert!(world.handle().directory().is_empty());
        // Names of relays are words of the device's. That nobody has them, or that they name each other, moves nothing here: the node
        // sends nothing to a relay.
        let mut ring = [Device::new("jis:x"), Device::new("jis:y")];
        ring[0].record.relays = vec![name("jis:y"), name("jis:nobody")];
        ring[1].record.relays = vec![name("jis:x")];
        for device in &ring {
            raw.registered(&device.asker(), &device.registration(None));
        }
        assert!(raw.is_quiet());
    });
}

#[test]
fn row_58_lists_of_capabilities_are_short() {
    with_world(|world| {
        let raw = world.raw();
        let device = Device::new("jis:a");
        let words = |count: usize| list((0..count).map(|i| format!("c{i:05}")));
        malformed(world, &raw, &device, record::CAPABILITIES, &words(33), "33");
        malformed(world, &raw, &device, record::CAPABILITIES, &words(1000), "a thousand");
        let long = "x".repeat(12_000);
        malformed(world, &raw, &device, record::CAPABILITIES, &list([long]), "a long word");
        malformed(world, &raw, &device, record::CAPABILITIES, &list(["b", "a"]), "out of order");
        malformed(world, &raw, &device, record::CAPABILITIES, &list(["a", "a"]), "twice");
        malformed(world, &raw, &device, record::CAPABILITIES, &list(["a\u{1b}[0m"]), "controls");
        // Ten thousand words fill the largest datagram there is, and more than a question may have.
        let mut arguments = device.registration(None).arguments();
        arguments[0] = twist(&arguments[0], record::CAPABILITIES, &words(5000), &device.key);
        let query = raw.query(&device.asker(), &device.registration(None)).encode();
        let datagram = tibet_ping::Compact::Query(&twist(&query, 6, &list(arguments), &device.key)).write();
        assert!(datagram.len() > 50_000);
        raw.send(&datagram);
        assert!(raw.is_quiet(), "{} bytes", datagram.len());
        assert!(world.handle().directory().is_empty());
    });
}

/// Rule R24: whose record it is, the device itself says. Somebody who has heard it, and everybody can look it up, does not move the device.
#[test]
fn nobody_registers_another_ones_record() {
    with_world(|world| {
        let raw = world.raw();
        let mut device = registered(&raw, "jis:a");
        let number = u32::try_from(world.route("jis:a").expect("held").id).expect("small");
        let place = || world.handle().seen(number).expect("seen").address;
        let here = place();
        let thief = world.raw();
        let neighbour = registered(&thief, "jis:b");
        let newer = {
            let mut copy = device.stolen();
            copy.move_on(|_| ());
            copy
        };
        for asker in [Asker::certified(), neighbour.asker()] {
            for request in
                [device.update(), device.registration(None), newer.update(), newer.registration(None)]
            {
                let failure = thief.refused(&asker, &request);
                assert_eq!(failure.code, FailureCode::Malformed, "{failure:?}");
                assert_eq!(place(), here);
            }
        }
        let before = device.stolen();
        let rotate = device.rotate();
        for asker in [Asker::certified(), neighbour.asker()] {
            thief.refused(&asker, &rotate);
            assert_eq!(place(), here);
            assert_eq!(world.route("jis:a").expect("held").record_bytes(), before.signed_record().encode());
        }
        raw.registered(&device.asker(), &rotate);
    });
}
