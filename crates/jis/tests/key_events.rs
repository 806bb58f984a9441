//! What key events may do to an identity: rows 45 (the key's side) and 52 to 54 of the bad-input table, rules R38 to R40.

mod common;

use common::{identity, inception, key, name, revoke, rotate, rotation};
use jis::{
    DecodeError, EventError, Identity, IdentityStatus, Inception, KeyEvent, Name, NextKeyCommitment,
    Revocation, RevocationAuthority as By, RevocationScope as Scope, Rotation, Signed, SignedRotation,
};
use proptest::prelude::*;

const HUB: &str = "jis:home:hub";

/// The hub: key 0 now, key 1 committed.
fn hub() -> Identity {
    identity(HUB, 0, 1)
}

fn sealed(rotation: Rotation, by: usize) -> KeyEvent {
    KeyEvent::Rotation(SignedRotation::seal(rotation, &key(by), None).expect("sealed"))
}

#[test]
fn an_inception_begins_with_its_own_key_and_hash() {
    let event = inception(HUB, 0, 1);
    let hub = Identity::incept(&event).expect("identity");
    assert_eq!((hub.name.as_str(), hub.generation, hub.status), (HUB, 0, IdentityStatus::Active));
    assert_eq!(hub.key, key(0).public_key());
    assert_eq!(hub.next, NextKeyCommitment::to(&key(1).public_key()));
    // SHA-256 of M, computed with Python's hashlib.
    assert_eq!(
        hub.fingerprint.to_string(),
        "a2a9d3f545af4ae20621f58f1d9f633748ae7c73301be764360f9010fe183163"
    );
}

#[test]
fn an_inception_signed_by_another_key_begins_nothing() {
    let forged = Signed::seal(inception(HUB, 0, 1).claims().clone(), &key(2)).expect("sealed");
    assert_eq!(Identity::incept(&forged), Err(EventError::BadSignature));
}

#[test]
fn a_self_certifying_name_belongs_to_its_key() {
    let own = Name::of_key(&key(0).public_key());
    assert!(Identity::incept(&inception(own.as_str(), 0, 1)).is_ok());
    assert_eq!(Identity::incept(&inception(own.as_str(), 2, 1)), Err(EventError::NotCertified));
}

/// R38: with the next key one moves on; the fingerprint and what hangs on it stay.
#[test]
fn the_fingerprint_and_overlay_address_outlive_rotations() {
    let hub = hub();
    let address = hub.fingerprint.overlay_address("tibet");
    let mut now = hub.clone();
    for revealed in 1..6 {
        now = now.apply(&rotate(&now, revealed, revealed + 1), &[]).expect("rotation");
        assert_eq!(now.generation, revealed as u64);
        assert_eq!(now.key, key(revealed).public_key());
        assert_eq!(now.next, NextKeyCommitment::to(&key(revealed + 1).public_key()));
        assert_eq!(now.fingerprint, hub.fingerprint);
        assert_eq!(now.fingerprint.overlay_address("tibet"), address);
        assert!(now.is_actor(&name(HUB), &key(revealed).public_key()));
        assert!(!now.is_actor(&name(HUB), &hub.key));
    }
    assert_ne!(hub.fingerprint.overlay_address("other"), address);
}

#[test]
fn row_53_rotation_to_a_key_that_was_not_committed() {
    let to_another = rotation(&hub(), 2, 3);
    assert_eq!(hub().apply(&sealed(to_another, 2), &[]), Err(EventError::NotCommitted));
}

/// R39: the current key alone cannot rotate, neither to the committed key nor to one of its own.
#[test]
fn row_53_rotation_by_the_current_key_only() {
    let to_committed = rotation(&hub(), 1, 2);
    assert_eq!(hub().apply(&sealed(to_committed, 0), &[]), Err(EventError::BadSignature));
    let to_itself = Rotation { key: key(0).public_key(), ..rotation(&hub(), 1, 2) };
    assert_eq!(hub().apply(&sealed(to_itself, 0), &[]), Err(EventError::NotCommitted));
}

/// R39 would be void for an identity whose next key is the current one: a thief of it could rotate.
#[test]
fn row_53_a_key_does_not_follow_itself() {
    let inception = Inception {
        next: NextKeyCommitment::to(&key(0).public_key()),
        ..inception(HUB, 0, 1).claims().clone()
    };
    assert_eq!(Signed::seal(inception, &key(0)), Err(DecodeError::Field("next")));
    let again = Rotation { next: NextKeyCommitment::to(&key(1).public_key()), ..rotation(&hub(), 1, 2) };
    assert_eq!(Signed::seal(again, &key(1)), Err(DecodeError::Field("next")));
}

#[test]
fn row_53_rotation_that_skips_a_generation() {
    let event = sealed(Rotation { generation: 2, ..rotation(&hub(), 1, 2) }, 1);
    assert_eq!(hub().apply(&event, &[]), Err(EventError::WrongGeneration { found: 2, current: 0 }));
    let event = sealed(Rotation { generation: u64::MAX, ..rotation(&hub(), 1, 2) }, 1);
    assert!(matches!(hub().apply(&event, &[]), Err(EventError::WrongGeneration { .. })));
    // R45: at the last generation nothing overflows.
    let last = Identity { generation: u64::MAX, ..hub() };
    let event = sealed(Rotation { generation: u64::MAX, ..rotation(&hub(), 1, 2) }, 1);
    assert!(matches!(last.apply(&event, &[]), Err(EventError::WrongGeneration { .. })));
}

#[test]
fn row_53_rotation_that_follows_another_event() {
    let event = sealed(Rotation { previous: [7; 32], ..rotation(&hub(), 1, 2) }, 1);
    assert_eq!(hub().apply(&event, &[]), Err(EventError::WrongPrevious));
}

#[test]
fn row_53_a_cosignature_is_by_the_old_key_or_refused() {
    let with = |old: usize| {
        let event = SignedRotation::seal(rotation(&hub(), 1, 2), &key(1), Some(&key(old))).expect("sealed");
        hub().apply(&KeyEvent::Rotation(event), &[])
    };
    assert_eq!(with(0).map(|hub| hub.generation), Ok(1));
    assert_eq!(with(1), Err(EventError::BadSignature), "the revealed key twice");
    assert_eq!(with(2), Err(EventError::BadSignature), "a stranger's key");
}

/// R39: the first rotation of a generation wins; a second one is evidence and changes nothing.
#[test]
fn row_53_second_rotation_of_one_generation() {
    let first = rotate(&hub(), 1, 2);
    let second = rotate(&hub(), 1, 3);
    let now = hub().apply(&first, &[]).expect("rotated");
    assert_eq!(now.apply(&second, &[]), Err(EventError::Equivocation));
    // The same one again is no evidence, with or without a co-signature.
    let repeated = Err(EventError::WrongGeneration { found: 1, current: 1 });
    assert_eq!(now.apply(&first, &[]), repeated);
    let cosigned = SignedRotation::seal(rotation(&hub(), 1, 2), &key(1), Some(&key(0))).expect("sealed");
    assert_eq!(now.apply(&KeyEvent::Rotation(cosigned), &[]), repeated);
    // Nor is one that the key did not sign: anybody could make it.
    let forged =
        sealed(Rotation { next: NextKeyCommitment::from_bytes([9; 32]), ..rotation(&hub(), 1, 2) }, 3);
    assert_eq!(now.apply(&forged, &[]), repeated);
}

/// Generation 0 has no rotation. If it had, the current key alone could make "evidence" against an identity that never rotated.
#[test]
fn row_53_there_is_no_rotation_to_generation_0() {
    let forged = Rotation { generation: 0, key: key(0).public_key(), ..rotation(&hub(), 1, 2) };
    assert_eq!(Signed::seal(forged, &key(0)), Err(DecodeError::Field("generation")));
}

#[test]
fn row_54_revocation_of_anothers_name() {
    let lamp = identity("jis:home:lamp", 2, 3);
    let by_lamp = revoke(&lamp, Scope::Key, By::CurrentKey, 2);
    assert_eq!(hub().apply(&by_lamp, &[]), Err(EventError::WrongIdentity));
    // The hub's name and fingerprint, but the lamp's key as signer, in each role.
    for (scope, role) in
        [(Scope::Key, By::CurrentKey), (Scope::Name, By::NextKey), (Scope::Name, By::Ancestor)]
    {
        assert_eq!(hub().apply(&revoke(&hub(), scope, role, 2), &[]), Err(EventError::NotAllowed));
        assert_eq!(
            hub().apply(&revoke(&hub(), scope, role, 2), std::slice::from_ref(&lamp)),
            Err(EventError::NotAllowed)
        );
    }
    // Another identity of the same name (two registries): the fingerprint decides.
    let namesake = identity(HUB, 2, 3);
    let event = revoke(&namesake, Scope::Key, By::CurrentKey, 2);
    assert_eq!(hub().apply(&event, &[]), Err(EventError::WrongIdentity));
}

/// The signer named in the revocation has to be the one that signed.
#[test]
fn row_54_revocation_in_anothers_name() {
    let KeyEvent::Revocation(honest) = revoke(&hub(), Scope::Key, By::CurrentKey, 0) else { unreachable!() };
    let forged = Signed::seal(honest.claims().clone(), &key(2)).expect("sealed");
    assert_eq!(hub().apply(&KeyEvent::Revocation(forged), &[]), Err(EventError::BadSignature));
}

#[test]
fn row_54_name_revocation_by_the_current_key_only() {
    for role in [By::CurrentKey, By::NextKey, By::Ancestor] {
        let event = revoke(&hub(), Scope::Name, role, 0);
        assert_eq!(hub().apply(&event, &[hub()]), Err(EventError::NotAllowed), "{role:?}");
    }
    // And the other roles cannot end a key without ending the name.
    for role in [By::NextKey, By::Ancestor] {
        let event = revoke(&hub(), Scope::Key, role, 1);
        assert_eq!(
            hub().apply(&event, &[identity("jis:home", 1, 2)]),
            Err(EventError::NotAllowed),
            "{role:?}"
        );
    }
}

/// R40: a thief of the current key can revoke it, and that is all; the owner rotates the name back.
#[test]
fn row_54_a_stolen_current_key_can_only_revoke_itself() {
    let revoked = hub().apply(&revoke(&hub(), Scope::Key, By::CurrentKey, 0), &[]).expect("revoked");
    assert_eq!(revoked.status, IdentityStatus::KeyRevoked);
    assert!(!revoked.is_actor(&revoked.name, &revoked.key));
    // Revoked, it cannot even do that again, nor rotate.
    let again = revoke(&revoked, Scope::Key, By::CurrentKey, 0);
    assert_eq!(revoked.apply(&again, &[]), Err(EventError::NotAllowed));
    let by_thief = sealed(rotation(&revoked, 1, 2), 0);
    assert_eq!(revoked.apply(&by_thief, &[]), Err(EventError::BadSignature));

    let back = revoked.apply(&rotate(&revoked, 1, 2), &[]).expect("rotated back");
    assert_eq!((back.status, back.generation), (IdentityStatus::Active, 1));
    assert_eq!(back.fingerprint, hub().fingerprint);
    // The revocation of the old key, replayed after the rotation, does not touch the new one.
    let replayed = revoke(&hub(), Scope::Key, By::CurrentKey, 0);
    assert_eq!(back.apply(&replayed, &[]), Err(EventError::WrongGeneration { found: 0, current: 1 }));
}

#[test]
fn row_54_after_a_name_revocation_nothing_follows() {
    for event in [revoke(&hub(), Scope::Name, By::NextKey, 1), revoke(&hub(), Scope::Name, By::Ancestor, 2)] {
        let home = [identity("jis:home", 2, 3)];
        let ended = hub().apply(&event, &home).expect("ended");
        assert_eq!(ended.status, IdentityStatus::NameRevoked);
        assert!(!ended.is_actor(&ended.name, &ended.key));
        for after in [
            rotate(&ended, 1, 2),
            event,
            revoke(&ended, Scope::Key, By::CurrentKey, 0),
            revoke(&ended, Scope::Name, By::NextKey, 1),
        ] {
            assert_eq!(ended.apply(&after, &home), Err(EventError::Ended));
        }
        let again = KeyEvent::Inception(inception(HUB, 0, 1));
        assert_eq!(ended.apply(&again, &home), Err(EventError::SecondInception));
    }
}

#[test]
fn row_54_who_is_above() {
    let event = revoke(&hub(), Scope::Name, By::Ancestor, 2);
    let after = |above: Identity| hub().apply(&event, &[above]).map(|hub| hub.status);
    assert_eq!(after(identity("jis:home", 2, 3)), Ok(IdentityStatus::NameRevoked));
    for stranger in ["jis:home2", "jis:hom", "jis:office", "jis:home:hub:x", "jis:home:lamp"] {
        assert_eq!(after(identity(stranger, 2, 3)), Err(EventError::NotAllowed), "{stranger}");
    }
    assert_eq!(after(identity("jis:home", 3, 2)), Err(EventError::NotAllowed), "above, but another key");
    // An ancestor whose own key was revoked or rotated away has no say.
    let home = identity("jis:home", 2, 3);
    let revoked = home.apply(&revoke(&home, Scope::Key, By::CurrentKey, 2), &[]).expect("revoked");
    assert_eq!(after(revoked), Err(EventError::NotAllowed));
    let rotated = home.apply(&rotate(&home, 3, 4), &[]).expect("rotated");
    assert_eq!(after(rotated), Err(EventError::NotAllowed));
    // Any number of levels up.
    let lamp = identity("jis:home:kitchen:lamp", 0, 1);
    let event = revoke(&lamp, Scope::Name, By::Ancestor, 2);
    let ended = lamp.apply(&event, &[identity("jis:home", 2, 3)]).expect("ended");
    assert_eq!(ended.status, IdentityStatus::NameRevoked);
}

/// A revocation names the key it ends: with another key or generation it ends nothing.
#[test]
fn row_54_revocation_of_another_key() {
    let KeyEvent::Revocation(honest) = revoke(&hub(), Scope::Key, By::CurrentKey, 0) else { unreachable!() };
    for altered in [
        Revocation { key: key(2).public_key(), ..honest.claims().clone() },
        Revocation { generation: 1, ..honest.claims().clone() },
    ] {
        let event = KeyEvent::Revocation(Signed::seal(altered, &key(0)).expect("sealed"));
        assert!(matches!(hub().apply(&event, &[]), Err(EventError::WrongGeneration { .. })));
    }
}

/// Row 45, the key's side: a grant by a rotated or revoked key neither verifies under the parent's key nor names a parent that
/// may speak.
#[test]
fn row_45_grant_by_an_old_or_revoked_key() {
    let home = identity("jis:home", 0, 1);
    let grant = Signed::seal(common::name_grant(), &key(0)).expect("sealed");
    let claims = grant.claims();
    assert!(home.is_actor(&claims.parent, &claims.parent_key) && grant.verify(&home.key).is_ok());

    let rotated = home.apply(&rotate(&home, 1, 2), &[]).expect("rotated");
    assert!(!rotated.is_actor(&claims.parent, &claims.parent_key));
    assert!(grant.verify(&rotated.key).is_err());
    let revoked = home.apply(&revoke(&home, Scope::Key, By::CurrentKey, 0), &[]).expect("revoked");
    assert!(!revoked.is_actor(&claims.parent, &claims.parent_key));
}

/// An identity as it stands after a history is the same whether events come one by one or all at once, and whether they
/// were kept in memory or as bytes.
#[test]
fn replay_is_a_fold_of_apply() {
    let mut events = vec![KeyEvent::Inception(inception(HUB, 0, 1))];
    let mut now = hub();
    let step = |now: &mut Identity, event: KeyEvent, events: &mut Vec<KeyEvent>| {
        *now = now.apply(&event, &[]).expect("step");
        events.push(event);
        assert_eq!(Identity::replay(events, &[]).as_ref(), Ok(&*now));
    };
    let first = rotate(&now, 1, 2);
    step(&mut now, first, &mut events);
    let cosigned = SignedRotation::seal(rotation(&now, 2, 3), &key(2), Some(&key(1))).expect("sealed");
    step(&mut now, KeyEvent::Rotation(cosigned), &mut events);
    let revoked = revoke(&now, Scope::Key, By::CurrentKey, 2);
    step(&mut now, revoked, &mut events);
    let back = rotate(&now, 3, 4);
    step(&mut now, back, &mut events);
    let ended = revoke(&now, Scope::Name, By::NextKey, 4);
    step(&mut now, ended, &mut events);
    assert_eq!((now.generation, now.status), (3, IdentityStatus::NameRevoked));

    let stored: Vec<_> = events.iter().map(KeyEvent::encode).collect();
    let read: Vec<_> = stored.iter().map(|bytes| KeyEvent::decode(bytes).expect("stored")).collect();
    assert_eq!(read, events);
    assert_eq!(Identity::replay(&read, &[]), Ok(now));

    // Nothing, a beginning that is none, and events out of order.
    assert_eq!(Identity::replay(&[], &[]), Err(EventError::WrongIdentity));
    assert_eq!(Identity::replay(&events[1..], &[]), Err(EventError::WrongIdentity));
    events.swap(1, 2);
    assert!(Identity::replay(&events, &[]).is_err());
}

/// A failed step must not be half a step: whatever is thrown at an identity, only the owner's next key moves it.
fn any_event() -> impl Strategy<Value = KeyEvent> {
    let rotation = (0..4_usize, 0..4_usize, 0..4_usize, 1..4_u64).prop_filter_map(
        "a key that follows itself",
        |(revealed, next, signer, generation)| {
            let rotation = Rotation { generation, ..rotation(&hub(), revealed, next) };
            SignedRotation::seal(rotation, &key(signer), None).ok().map(KeyEvent::Rotation)
        },
    );
    let scope = prop_oneof![Just(Scope::Key), Just(Scope::Name)];
    let role = prop_oneof![Just(By::CurrentKey), Just(By::NextKey), Just(By::Ancestor)];
    let revocation = (scope, role, 0..4_usize).prop_map(|(s, r, signer)| revoke(&hub(), s, r, signer));
    prop_oneof![rotation, revocation]
}

proptest! {
    #[test]
    fn only_the_rightful_keys_move_an_identity(event in any_event()) {
        let home = identity("jis:home", 3, 2);
        let after = hub().apply(&event, std::slice::from_ref(&home));
        let rightful = match &event {
            KeyEvent::Rotation(event) => {
                let claims = event.rotation.claims();
                claims.generation == 1
                    && claims.key == key(1).public_key()
                    && event.rotation.verify(&key(1).public_key()).is_ok()
            }
            KeyEvent::Revocation(event) => {
                let claims = event.claims();
                let signer = match (claims.scope, claims.authority) {
                    (Scope::Key, By::CurrentKey) => Some(0),
                    (Scope::Name, By::NextKey) => Some(1),
                    (Scope::Name, By::Ancestor) => Some(3),
                    _ => None,
                };
                signer.is_some_and(|n| event.verify(&key(n).public_key()).is_ok())
            }
            KeyEvent::Inception(_) => false,
        };
        prop_assert_eq!(after.is_ok(), rightful, "{:?}", event);
        if let Ok(after) = after {
            prop_assert_eq!(after.fingerprint, hub().fingerprint);
            prop_assert_eq!(after.name, hub().name);
        }
    }
}
