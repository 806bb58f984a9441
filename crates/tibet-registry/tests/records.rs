//! Newer, older, contradicting and copied records: rows 41, 50–52, 55–57 of the bad-input table, rules R42, R43.

mod common;

use std::time::Duration;

use common::{Device, START, after, assert_untouched, contents, key, name, register, tokens};
use jis::{Record, RecordTimeError, RecordVersion, Signed, TransportSecret, UnixTime};
use tibet_registry::{MAX_EVIDENCE, MAX_SEQUENCE_JUMP, Refusal, Registry, Source, Store, Zone};

fn disputed<S: Store>(registry: &Registry<S>, device: &Device) -> bool {
    registry.standing(device.name(), START).expect("standing").disputed
}

on_all_stores! {
    /// Row 50: a lower number is stale, whatever it says, and does not become evidence.
    fn row_50_a_lower_sequence_number_is_dropped(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let first = device.signed_record();
        let newer = device.move_on(after(1), |record| record.version.seq = 5);
        registry.update(newer, after(1)).expect("newer");
        let (offered, held) = (RecordVersion { generation: 0, seq: 0 }, RecordVersion { generation: 0, seq: 5 });
        assert_eq!(assert_untouched(registry, |r| r.update(first, after(2))), Refusal::Stale { offered, held });
        assert!(!disputed(registry, &device));
    }

    /// Row 50: two records of one version are evidence, the identity is at most GEEL, and a token tells of it.
    fn row_50_another_record_of_the_same_version_is_evidence(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        registry.set_trust(device.name(), Some(1.0), "ours", START).expect("set");
        let first = device.signed_record();
        device.record.behind_nat = false;
        let second = device.signed_record();
        assert_eq!(registry.update(second.clone(), after(1)), Err(Refusal::Equivocation("records")));
        let held = registry.peek(device.name(), after(1)).expect("read").expect("there");
        assert_eq!((held.standing.score, held.standing.zone, held.standing.disputed), (0.69, Zone::Geel, true));
        assert_eq!(held.route.record_bytes(), first.encode(), "the first seen stays");
        let evidence = registry.store().evidence(1).expect("evidence");
        assert_eq!(evidence.len(), 1);
        assert_eq!((&evidence[0].first, &evidence[0].second), (&first.encode(), &second.encode()));
        assert_eq!(tokens(registry, "equivocation").len(), 1);

        // More of it is kept up to a bound.
        for ttl in 1..20 {
            device.record.ttl = Duration::from_secs(ttl);
            assert_eq!(registry.update(device.signed_record(), after(1)), Err(Refusal::Equivocation("records")));
        }
        assert_eq!(registry.store().evidence(1).expect("evidence").len(), MAX_EVIDENCE);
    }

    /// What the operator settled, a stranger cannot unsettle by sending the old evidence again.
    fn row_50_settled_evidence_disputes_nothing_when_it_is_sent_again(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        device.record.behind_nat = false;
        let second = device.signed_record();
        registry.update(second.clone(), after(1)).expect_err("contradiction");
        registry.set_trust(device.name(), Some(0.9), "asked the owner", after(2)).expect("settled");
        assert!(!disputed(registry, &device));
        let refusal = assert_untouched(registry, |r| r.update(second, after(3)));
        assert_eq!(refusal, Refusal::Equivocation("records"));
        assert!(!disputed(registry, &device));
        device.record.ttl = Duration::from_secs(77);
        registry.update(device.signed_record(), after(4)).expect_err("a new contradiction");
        assert!(disputed(registry, &device), "is a new dispute");
    }

    /// Row 50, rule R43: a jump of 2^20 is taken, one more is not, and the device is told where to go on.
    fn row_50_a_sequence_number_far_ahead_is_refused(registry) {
        let mut device = Device::new("jis:a", 10);
        let mut far = Device::new("jis:far", 20);
        far.record.version.seq = MAX_SEQUENCE_JUMP + 1;
        let refusal = assert_untouched(registry, |r| r.register(far.registration(), Source::Local, START));
        assert_eq!(refusal, Refusal::SequenceJump { held: 0 });
        register(registry, &device);
        device.move_on(after(1), |record| record.version.seq = 1 << 21);
        let refusal = assert_untouched(registry, |r| r.update(device.signed_record(), after(1)));
        assert_eq!(refusal, Refusal::SequenceJump { held: 0 });
        device.record.version.seq = 1 << 20;
        registry.update(device.signed_record(), after(1)).expect("the largest jump");
        device.record.version.seq = (1 << 21) + 1;
        let refusal = assert_untouched(registry, |r| r.update(device.signed_record(), after(1)));
        assert_eq!(refusal, Refusal::SequenceJump { held: 1 << 20 });
        let (rotation, mut record) = device.rotate(key(12), after(2));
        let jump = { let mut claims = record.claims().clone(); claims.version.seq = (1 << 20) + 1; Signed::seal(claims, &device.key).expect("record") };
        assert_untouched(registry, |r| r.rotate(rotation.clone(), jump, after(2)));
        record = device.signed_record();
        assert_eq!(registry.rotate(rotation, record, after(2)).expect("rotated").version.seq, 0, "a rotation restarts it");
    }

    /// Row 51: times.
    fn row_51_records_from_the_future_and_the_past_are_refused(registry) {
        let mut device = Device::new("jis:a", 10);
        let ahead = |device: &mut Device, seconds| { device.record.issued_at = after(seconds); };
        ahead(&mut device, 301);
        let refusal = assert_untouched(registry, |r| r.register(device.registration(), Source::Local, START));
        assert_eq!(refusal, Refusal::RecordTime(RecordTimeError::FromTheFuture));
        ahead(&mut device, 300);
        registry.register(device.registration(), Source::Local, START).expect("five minutes ahead");
        let hour_ahead = device.move_on(after(3600), |_| ());
        assert_eq!(
            assert_untouched(registry, |r| r.update(hour_ahead.clone(), START)),
            Refusal::RecordTime(RecordTimeError::FromTheFuture)
        );
        let day = Record::MAX_TTL.as_secs();
        assert_eq!(
            assert_untouched(registry, |r| r.update(hour_ahead.clone(), after(3600 + day + 1))),
            Refusal::RecordTime(RecordTimeError::Expired)
        );
        registry.update(hour_ahead, after(3600 + day)).expect("its last moment");
    }

    /// Row 33 at the registry: records of others, and records by other keys.
    fn a_record_of_another_identity_or_key_is_refused(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let unknown = Device::new("jis:b", 20);
        assert_eq!(
            assert_untouched(registry, |r| r.update(unknown.signed_record(), START)),
            Refusal::Unknown(name("jis:b"))
        );
        // Another identity that claims the same name: its own fingerprint, its own key.
        let mut usurper = Device::new("jis:a", 30);
        let record = usurper.move_on(START, |_| ());
        assert!(matches!(assert_untouched(registry, |r| r.update(record, START)), Refusal::Inconsistent(_)));
        // The right fingerprint, another key inside and outside.
        usurper.record.fingerprint = device.identity.fingerprint;
        usurper.record.next = device.identity.next;
        let refusal = assert_untouched(registry, |r| r.update(usurper.signed_record(), START));
        assert!(matches!(refusal, Refusal::Inconsistent(_)), "{refusal:?}");
        // The right key named, signed by another.
        usurper.record.key = device.identity.key;
        let refusal = assert_untouched(registry, |r| r.update(usurper.signed_record(), START));
        assert_eq!(refusal, Refusal::WrongKey(name("jis:a")));
        // A commitment that is not the key events'.
        let mut twisted = Device::new("jis:a", 10);
        twisted.record.next = jis::NextKeyCommitment::to(&key(99).public_key());
        let record = twisted.move_on(START, |_| ());
        assert!(matches!(assert_untouched(registry, |r| r.update(record, START)), Refusal::Inconsistent(_)));
    }

    /// Row 33: the same wrong-key record makes no dispute at the version that is held.
    fn a_forged_record_of_the_held_version_is_no_evidence(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let mut forged = Device::new("jis:a", 10);
        forged.record.behind_nat = false;
        let forged = Signed::seal(forged.record, &key(99)).expect("record");
        assert_eq!(assert_untouched(registry, |r| r.update(forged, START)), Refusal::WrongKey(name("jis:a")));
        assert!(!disputed(registry, &device));
        assert!(registry.store().evidence(1).expect("evidence").is_empty());
    }

    /// Row 52.
    fn row_52_a_record_from_before_a_rotation_or_revocation_is_dropped(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let of_the_first_key = device.move_on(after(1), |record| record.version.seq = 1000);
        let (rotation, record) = device.rotate(key(12), after(2));
        registry.rotate(rotation, record, after(2)).expect("rotated");
        let refusal = assert_untouched(registry, |r| r.update(of_the_first_key, after(3)));
        assert!(matches!(refusal, Refusal::Stale { .. }), "a high number does not outlive the key: {refusal:?}");
        let before = device.move_on(after(4), |_| ());
        registry.revoke(device.revoke_own_key(), after(5)).expect("revoked");
        let refusal = assert_untouched(registry, |r| r.update(before, after(6)));
        assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal:?}");
        let again = device.registration();
        let refusal = assert_untouched(registry, |r| r.register(again, Source::Local, after(6)));
        assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal:?}");
    }

    /// Row 41 as decided in `docs/decisions/0005-copied-transport-keys.md`.
    fn row_41_a_transport_key_belongs_to_the_first_that_named_it(registry) {
        let transport = |byte: u8| {
            let seed = std::array::from_fn(|i| byte.wrapping_add(i as u8));
            Some(TransportSecret::from_bytes(seed.into()).expect("secret").public_key())
        };
        let mut owner = Device::new("jis:owner", 10);
        owner.record.transport_key = transport(7);
        register(registry, &owner);
        let mut thief = Device::new("jis:thief", 20);
        thief.record.transport_key = transport(7);
        let refusal = assert_untouched(registry, |r| r.register(thief.registration(), Source::Local, START));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:owner")));
        thief.record.transport_key = transport(8);
        register(registry, &thief);
        let copied = thief.move_on(after(1), |record| record.transport_key = transport(7));
        assert_eq!(assert_untouched(registry, |r| r.update(copied, after(1))), Refusal::KeyInUse(name("jis:owner")));
        let (rotation, _) = thief.rotate(key(22), after(2));
        let record = thief.signed_record();
        assert_eq!(assert_untouched(registry, |r| r.rotate(rotation, record, after(2))), Refusal::KeyInUse(name("jis:owner")));
        assert!(!disputed(registry, &owner), "the victim is not harmed");

        // The owner may change it and change it back; what it had stays its own.
        let other = owner.move_on(after(3), |record| record.transport_key = transport(9));
        registry.update(other, after(3)).expect("changed");
        let back = owner.move_on(after(4), |record| record.transport_key = transport(7));
        registry.update(back, after(4)).expect("changed back");
        let mut late = Device::new("jis:late", 30);
        late.record.transport_key = transport(9);
        assert_untouched(registry, |r| r.register(late.registration(), Source::Local, START));
    }

    /// The same request twice is carried out once.
    fn a_repeated_request_changes_nothing(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let newer = device.move_on(after(1), |_| ());
        assert!(registry.update(newer.clone(), after(1)).expect("first").changed);
        let before = contents(registry);
        assert!(!registry.update(newer, after(2)).expect("again").changed);
        assert!(!registry.register(device.registration(), Source::Local, after(2)).expect("again").changed);
        assert_eq!(contents(registry), before);
        let (rotation, record) = device.rotate(key(12), after(3));
        registry.rotate(rotation.clone(), record.clone(), after(3)).expect("rotated");
        assert_untouched(registry, |r| r.rotate(rotation, record, after(4)));
        assert!(!disputed(registry, &device), "a repeated rotation contradicts nothing");
    }

    /// Rows 55–57: a record with such fields cannot be made by honest code, and its bytes do not decode, so it never reaches the rules.
    fn rows_55_to_57_bad_endpoints_and_relays_do_not_even_decode(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let seal = |change: &dyn Fn(&mut Record)| {
            let mut record = device.record.clone();
            record.version.seq = 1;
            change(&mut record);
            Signed::seal(record, &device.key).map(|_| ())
        };
        assert!(seal(&|_| ()).is_ok());
        assert!(seal(&|record| record.relays = vec![name("jis:a")]).is_err(), "itself as relay");
        assert!(seal(&|record| record.relays = (0..5).map(|i| name(&format!("jis:r{i}"))).collect()).is_err());
        assert!(seal(&|record| record.endpoints = vec![record.endpoints[0]; 2]).is_err(), "repeats");
        assert!(seal(&|record| record.ttl = Duration::ZERO).is_err(), "row 51");
        assert!(seal(&|record| record.ttl = Duration::from_secs(1 << 63)).is_err(), "row 51");
        assert!(seal(&|record| record.version.seq = 1 << 53).is_err(), "row 50");
        assert!(seal(&|record| record.capabilities = (0..33).map(|i| format!("c{i}").parse().expect("capability")).collect()).is_err(), "row 58");
        for text in ["127.0.0.1:1", "[::1]:1", "169.254.1.1:1", "[ff02::1]:1", "203.0.113.1:0", "203.0.113.1:53"] {
            assert!(text.parse::<jis::Endpoint>().is_err(), "{text}");
        }
    }

    /// What a device offers is what it is found by, from record to record.
    fn capabilities_follow_the_record(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let find = |registry: &mut Registry<S>, text: &str| {
            registry.find(&text.parse().expect("capability"), 0, 10, START).expect("found").names
        };
        assert_eq!(find(registry, "mqtt"), [name("jis:a")]);
        let changed = device.move_on(after(1), |record| record.capabilities = ["coap".parse().expect("capability")].into());
        registry.update(changed, after(1)).expect("updated");
        assert!(find(registry, "mqtt").is_empty());
        assert_eq!(find(registry, "coap"), [name("jis:a")]);
        let (rotation, _) = device.rotate(key(12), after(2));
        device.record.capabilities = ["http".parse().expect("capability")].into();
        registry.rotate(rotation, device.signed_record(), after(2)).expect("rotated");
        assert!(find(registry, "coap").is_empty());
        assert_eq!(find(registry, "http"), [name("jis:a")]);
        registry.revoke(device.revoke_own_key(), after(3)).expect("revoked");
        assert!(find(registry, "http").is_empty(), "who may not speak is not found");
        let (rotation, record) = device.rotate(key(13), after(4));
        registry.rotate(rotation, record, after(4)).expect("back");
        assert_eq!(find(registry, "http"), [name("jis:a")]);
    }

    /// Pages are bounded and join without gaps or repeats.
    fn a_search_is_paged(registry) {
        registry.group(|registry| (0..25u64).for_each(|i| drop(register(registry, &Device::new(&format!("jis:d{i}"), 10 * i))))).expect("group");
        let capability = "mqtt".parse().expect("capability");
        let (mut after, mut all) = (0, Vec::new());
        loop {
            let page = registry.find(&capability, after, 10, START).expect("page");
            assert!(page.names.len() <= 10);
            all.extend(page.names);
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(all, (0..25).map(|i| name(&format!("jis:d{i}"))).collect::<Vec<_>>());
        assert_eq!(registry.find(&capability, 0, 0, START).expect("page").names.len(), 1, "a limit of 0 is 1");
        assert_eq!(registry.find(&capability, u64::MAX, usize::MAX, UnixTime::MAX).expect("page").names.len(), 0);
    }

    /// Rule R64: searching for things nobody offers must not fill the log with words of the searcher's choice.
    fn searches_for_what_nobody_offers_are_counted_together(registry) {
        register(registry, &Device::new("jis:a", 10));
        for i in 0..200 {
            let nothing = format!("nothing-{i}").parse().expect("capability");
            assert!(registry.find(&nothing, 0, 10, START).expect("page").names.is_empty());
        }
        registry.flush(START).expect("flushed");
        assert_eq!(tokens(registry, "discovery").len() + tokens(registry, "refused").len(), 2, "one at once, one sum");
    }
}
