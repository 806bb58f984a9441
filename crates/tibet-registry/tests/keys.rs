//! Rotation and revocation: rows 53 and 54 of the bad-input table, rules R38–R40.

mod common;

use common::{
    Device, START, after, any_key, assert_untouched, contents, key, name, register, tokens, verify,
};
use jis::{
    EventError, IdentityStatus, KeyEvent, NextKeyCommitment, RevocationAuthority, RevocationScope, Rotation,
    Signed, SignedRotation,
};
use tibet_registry::{MAX_EVENTS, Refusal, Registry, Source, Store, Zone};

/// A rotation of `device` as it stands, changed by `change`, signed with `signer`, with a record to go with it.
fn rotation(
    device: &Device,
    signer: &jis::SecretKey,
    change: impl FnOnce(&mut Rotation),
) -> (SignedRotation, Signed<jis::Record>) {
    let mut claims = Rotation {
        name: device.identity.name.clone(),
        fingerprint: device.identity.fingerprint,
        generation: device.identity.generation + 1,
        key: device.next.public_key(),
        next: NextKeyCommitment::to(&any_key(500)),
        previous: device.identity.last_event,
        rotated_at: START,
    };
    change(&mut claims);
    let mut record = device.record.clone();
    record.key = claims.key;
    record.next = claims.next;
    record.version = jis::RecordVersion { generation: claims.generation, seq: 0 };
    let record = Signed::seal(record, signer).expect("record");
    (SignedRotation::seal(claims, signer, None).expect("rotation"), record)
}

fn status<S: Store>(registry: &Registry<S>, device: &Device) -> IdentityStatus {
    registry.peek(device.name(), START).expect("read").expect("there").route.status
}

on_all_stores! {
    /// Row 53.
    fn row_53_rotations_that_do_not_fit_are_refused(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let refused = |registry: &mut Registry<S>, (event, record)| {
            match assert_untouched(registry, |r| r.rotate(event, record, START)) {
                Refusal::Event(error) => error,
                other => panic!("{other:?}"),
            }
        };
        let other = key(40);
        let uncommitted = rotation(&device, &other, |r| r.key = other.public_key());
        assert_eq!(refused(registry, uncommitted), EventError::NotCommitted);
        // The thief of the current key: signs with it, as the new key or as itself.
        let by_current = rotation(&device, &device.key, |r| r.key = device.key.public_key());
        assert_eq!(refused(registry, by_current), EventError::NotCommitted);
        let by_current = rotation(&device, &device.key, |_| ());
        assert_eq!(refused(registry, by_current), EventError::BadSignature);
        let two_ahead = rotation(&device, &device.next, |r| r.generation = 2);
        assert_eq!(refused(registry, two_ahead), EventError::WrongGeneration { found: 2, current: 0 });
        let elsewhere = rotation(&device, &device.next, |r| r.previous = [9; 32]);
        assert_eq!(refused(registry, elsewhere), EventError::WrongPrevious);
        let another = rotation(&device, &device.next, |r| r.fingerprint = jis::Fingerprint::from_bytes([9; 32]));
        assert_eq!(refused(registry, another), EventError::WrongIdentity);
        let (event, record) = rotation(&device, &device.next, |_| ());
        registry.rotate(event, record, START).expect("the next key alone may");
    }

    /// Row 53: the first of two rotations wins, the second is kept as evidence and the name stands at GEEL.
    fn row_53_two_rotations_of_one_generation_are_evidence(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        registry.set_trust(device.name(), Some(1.0), "ours", START).expect("set");
        let (first, record) = rotation(&device, &device.next, |_| ());
        registry.rotate(first.clone(), record, START).expect("first");
        let (second, record) = rotation(&device, &device.next, |r| r.next = NextKeyCommitment::to(&any_key(501)));
        assert_eq!(registry.rotate(second.clone(), record, START), Err(Refusal::Equivocation("rotations")));
        let held = registry.peek(device.name(), START).expect("read").expect("there");
        assert_eq!((held.standing.zone, held.standing.disputed), (Zone::Geel, true));
        assert_eq!(held.route.events().expect("events")[1], KeyEvent::Rotation(first.clone()), "the first wins");
        let evidence = registry.store().evidence(1).expect("evidence");
        assert_eq!(evidence[0].first, KeyEvent::Rotation(first).encode());
        assert_eq!(evidence[0].second, KeyEvent::Rotation(second).encode());
        assert_eq!(tokens(registry, "equivocation").len(), 1);
    }

    /// The record that comes with a rotation is looked at before the rotation is written.
    fn a_rotation_with_a_bad_record_changes_nothing(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let (event, record) = rotation(&device, &device.next, |_| ());
        let old = device.signed_record();
        assert_untouched(registry, |r| r.rotate(event.clone(), old, START));
        let late = after(86_401 + 301);
        assert_untouched(registry, |r| r.rotate(event.clone(), record.clone(), late));
        registry.rotate(event, record, START).expect("together and in time");
    }

    /// The same by the other door: key events a registry has missed come with a registration.
    fn a_registration_with_missed_events_and_a_bad_record_changes_nothing(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        device.rotate(key(12), START);
        device.rotate(key(13), START);
        let late = after(86_401);
        let refusal = assert_untouched(registry, |r| r.register(device.registration(), Source::Local, late));
        assert_eq!(refusal, Refusal::RecordTime(jis::RecordTimeError::Expired));
        let mut jumped = device.registration();
        let mut claims = device.record.clone();
        claims.version.seq = (1 << 20) + 1;
        jumped.record = Signed::seal(claims, &device.key).expect("record");
        assert_untouched(registry, |r| r.register(jumped, Source::Local, START));
        let registered = registry.register(device.registration(), Source::Local, START).expect("both missed rotations");
        assert_eq!((registered.version.generation, registered.changed), (2, true));
        verify(registry, &device, after(1)).expect("with the newest key");
    }

    /// A key event that leads to a key somebody else has is refused whole.
    fn a_rotation_to_a_key_in_use_is_refused(registry) {
        register(registry, &Device::new("jis:other", 12));
        let mut device = Device::new("jis:a", 11);
        register(registry, &device);
        let (event, record) = device.rotate(key(30), START);
        assert_eq!(assert_untouched(registry, |r| r.rotate(event, record, START)), Refusal::KeyInUse(name("jis:other")));
        device.rotate(key(31), START);
        let refusal = assert_untouched(registry, |r| r.register(device.registration(), Source::Local, START));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:other")));
    }

    /// Row 54: who may end what.
    fn row_54_nobody_ends_anothers_name(registry) {
        let device = Device::new("jis:home:a", 10);
        register(registry, &device);
        let other = Device::new("jis:other", 20);
        register(registry, &other);
        use RevocationAuthority::{Ancestor, CurrentKey, NextKey};
        use RevocationScope::{Key, Name};
        for (what, scope, authority, signer) in [
            ("a stranger as the current key", Key, CurrentKey, &other.key),
            ("a stranger as the next key", Name, NextKey, &other.key),
            ("a neighbour as an ancestor", Name, Ancestor, &other.key),
            ("the current key for the name", Name, CurrentKey, &device.key),
            ("the current key as the next", Name, NextKey, &device.key),
            ("the current key as an ancestor", Name, Ancestor, &device.key),
            ("the next key for the key", Key, NextKey, &device.next),
        ] {
            let revocation = device.revocation(scope, authority, signer);
            let refusal = assert_untouched(registry, |r| r.revoke(revocation, START));
            assert_eq!(refusal, Refusal::Event(EventError::NotAllowed), "{what}");
        }
        // Says the right signer, is signed by another.
        let mut claims = device.revoke_own_key().claims().clone();
        claims.signer = device.identity.key;
        let forged = Signed::seal(claims, &other.key).expect("revocation");
        assert_eq!(assert_untouched(registry, |r| r.revoke(forged, START)), Refusal::Event(EventError::BadSignature));
    }

    /// Row 54: a name above ends a name below, while it is in good standing itself.
    fn row_54_a_name_above_ends_a_name_below(registry) {
        let home = Device::new("jis:home", 10);
        register(registry, &home);
        let origin = registry.origin().clone();
        let lamp = Device::new("jis:home:kitchen:lamp", 20);
        let grant = home.grant("jis:home:**", &origin, |_| ());
        registry.register(lamp.asking(grant), Source::Local, START).expect("granted");
        registry.revoke(lamp.revocation(RevocationScope::Name, RevocationAuthority::Ancestor, &home.key), START).expect("ended");
        assert_eq!(status(registry, &lamp), IdentityStatus::NameRevoked);
        assert!(matches!(registry.resolve(lamp.name(), START), Err(Refusal::Revoked { .. })));
    }

    /// Row 54: the current key can end itself; the next key still rotates the name.
    fn row_54_a_revoked_key_leaves_a_name_that_can_be_rotated(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        registry.revoke(device.revoke_own_key(), START).expect("revoked");
        assert_eq!(status(registry, &device), IdentityStatus::KeyRevoked);
        assert!(matches!(verify(registry, &device, after(1)), Err(Refusal::Revoked { .. })));
        let (event, record) = device.rotate(key(12), after(2));
        registry.rotate(event, record, after(2)).expect("the next key brings it back");
        verify(registry, &device, after(3)).expect("active again");
    }

    /// A registration whose history ends in a revocation tells the registry of it, and is refused.
    fn row_54_a_revocation_is_taken_from_a_registration_too(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let event = KeyEvent::Revocation(device.revoke_own_key());
        device.events.push(event);
        let refusal = registry.register(device.registration(), Source::Local, START).expect_err("revoked");
        assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal:?}");
        assert_eq!(status(registry, &device), IdentityStatus::KeyRevoked);
    }

    /// A device that revoked and replaced a key elsewhere registers here with its whole history, although this registry only
    /// learned of the new key.
    fn a_revocation_of_a_key_long_replaced_hinders_nobody(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let revoked = KeyEvent::Revocation(device.revoke_own_key());
        let (event, record) = device.rotate(key(12), START);
        registry.rotate(event, record, START).expect("rotated");
        device.events.insert(1, revoked);
        device.move_on(after(1), |_| ());
        assert!(registry.register(device.registration(), Source::Local, after(1)).expect("registered").changed);
        assert_eq!(status(registry, &device), IdentityStatus::Active);
    }

    /// Row 54: refused for ever, the key as well as the name.
    fn row_54_a_revoked_key_or_name_comes_back_under_no_other_name_or_key(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        registry.revoke(device.revocation(RevocationScope::Name, RevocationAuthority::NextKey, &device.next), START).expect("ended");
        let refusal = assert_untouched(registry, |r| r.register(device.registration(), Source::Local, after(1)));
        assert!(matches!(refusal, Refusal::Revoked { .. }), "the same identity: {refusal:?}");
        let refusal = assert_untouched(registry, |r| r.register(Device::new("jis:b", 10).registration(), Source::Local, START));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:a")), "the key under another name");
        let refusal = assert_untouched(registry, |r| r.register(Device::new("jis:a", 30).registration(), Source::Local, START));
        assert_eq!(refusal, Refusal::NameTaken(name("jis:a")), "the name under another key");
        let (event, record) = rotation(&device, &device.next, |_| ());
        assert_eq!(assert_untouched(registry, |r| r.rotate(event, record, START)), Refusal::Event(EventError::Ended));
    }

    /// A stolen current key: the thief can move the device, until the owner rotates; then it is worth nothing.
    fn a_stolen_key_is_worth_nothing_after_a_rotation(registry) {
        let mut owner = Device::new("jis:a", 10);
        register(registry, &owner);
        let mut thief = Device::new("jis:a", 10);
        let moved = thief.move_on(after(1), |record| {
            record.version.seq = 1 << 20;
            record.endpoints = vec!["198.51.100.66:1".parse().expect("endpoint")];
        });
        registry.update(moved, after(1)).expect("the thief has the key");
        let (event, record) = owner.rotate(key(12), after(2));
        registry.rotate(event, record, after(2)).expect("the thief's number does not hinder");
        let held = registry.resolve(owner.name(), after(3)).expect("resolved");
        assert_eq!(held.route.record_bytes(), owner.signed_record().encode());
        assert!(matches!(verify(registry, &thief, after(3)), Err(Refusal::Proof(_))));
        let again = thief.move_on(after(4), |record| record.version.seq += 1);
        assert_untouched(registry, |r| r.update(again, after(4)));
        let refusal = assert_untouched(registry, |r| r.register(thief.registration(), Source::Local, after(4)));
        assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal:?}");
    }

    /// The bound on a history never stands between an owner and the end of a key.
    fn a_full_history_can_still_be_revoked(registry) {
        let mut device = Device::new("jis:a", 100);
        register(registry, &device);
        registry
            .group(|registry| {
                for i in 0..MAX_EVENTS as u64 - 1 {
                    let (event, record) = device.rotate(key(200 + i), START);
                    registry.rotate(event, record, START).expect("rotated");
                }
            })
            .expect("group");
        let before = contents(registry);
        let (event, record) = rotation(&device, &device.next, |_| ());
        assert!(matches!(registry.rotate(event, record, START), Err(Refusal::Inconsistent(_))), "one too many");
        assert_eq!(contents(registry), before);
        registry.revoke(device.revoke_own_key(), START).expect("the key ends");
        registry.revoke(device.revocation(RevocationScope::Name, RevocationAuthority::NextKey, &device.next), START).expect("the name ends");
    }
}
