//! Who may have which name: rows 43–49 of the bad-input table, rules R31–R36. See `docs/spec/name-policy.md`.

mod common;

use std::sync::Barrier;

use common::{
    Device, START, after, any_key, assert_clean, assert_untouched, contents, in_memory, issuer, key, name,
    on_disk, opening, register, token, tokens, with_issuer,
};
use jis::{Name, RevocationAuthority, RevocationScope, Signed};
use tibet_registry::{
    FirstCome, NAMES_PER_HOUR, Permission, PermissionError, Policy, Refusal, Registered, Registry, Source,
    Store, StoreError,
};

fn claim<S: Store>(
    registry: &mut Registry<S>,
    device: &Device,
    permission: Option<Permission>,
) -> Result<Registered, Refusal> {
    let registration = tibet_registry::Registration { permission, ..device.registration() };
    registry.register(registration, Source::Local, START)
}

fn refused_with(refusal: Refusal) -> PermissionError {
    match refusal {
        Refusal::Permission(error) => error,
        other => panic!("{other:?}"),
    }
}

on_all_stores! {
    /// Row 44.
    fn row_44_a_name_below_an_existing_one_needs_its_grant(registry) {
        register(registry, &Device::new("jis:home", 0));
        for text in ["jis:home:hub", "jis:home:kitchen:lamp"] {
            let refusal = assert_untouched(registry, |r| claim(r, &Device::new(text, 10), None));
            assert_eq!(refusal, Refusal::PermissionNeeded { name: name(text), holder: name("jis:home") });
        }
        claim(registry, &Device::new("jis:home2", 20), None).expect("a neighbour is free");
        claim(registry, &Device::new("jis:homes:hub", 30), None).expect("a name is compared by labels");
    }

    /// Rule R32: a grant lets in what its pattern covers, and the token of the claim says by whom.
    fn a_grant_lets_names_below_in(registry) {
        let home = Device::new("jis:home", 0);
        register(registry, &home);
        let origin = registry.origin().clone();
        for (number, text, pattern) in [
            (10, "jis:home:exact", "jis:home:exact"),
            (20, "jis:home:child", "jis:home:*"),
            (30, "jis:home:deep:er", "jis:home:**"),
        ] {
            claim(registry, &Device::new(text, number), Some(home.grant(pattern, &origin, |_| ()))).expect(text);
        }
        let bound = home.grant("jis:home:bound", &origin, |grant| grant.subject = Some(any_key(40)));
        claim(registry, &Device::new("jis:home:bound", 40), Some(bound)).expect("for this key");
        let told = format!("{:?}", tokens(registry, "register").last().expect("token").erin);
        assert!(told.contains("grant by jis:home"), "{told}");
    }

    /// Row 46 and the rest of what a grant is held against.
    fn row_46_a_grant_for_something_else_permits_nothing(registry) {
        let home = Device::new("jis:home", 0);
        register(registry, &home);
        let origin = registry.origin().clone();
        let stranger = Device::new("jis:home", 90);
        let day = 86_400;
        let cases: Vec<(&str, Permission, PermissionError)> = vec![
            ("jis:home:x", home.grant("jis:home:y", &origin, |_| ()), PermissionError::Pattern),
            ("jis:home:x:y", home.grant("jis:home:*", &origin, |_| ()), PermissionError::Pattern),
            ("jis:home2", home.grant("jis:home:**", &origin, |_| ()), PermissionError::Pattern),
            ("jis:home2:x", home.grant("jis:home:**", &origin, |_| ()), PermissionError::Pattern),
            (
                "jis:home:x",
                home.grant("jis:home:x", &origin, |grant| grant.subject = Some(any_key(11))),
                PermissionError::Subject,
            ),
            ("jis:home:x", home.grant("jis:home:x", &name("jis:elsewhere"), |_| ()), PermissionError::Origin),
            (
                "jis:home:x",
                home.grant("jis:home:x", &origin, |grant| {
                    grant.issued_at = jis::UnixTime::from_secs(START.as_secs() - day);
                    grant.expires_at = jis::UnixTime::from_secs(START.as_secs() - 1);
                }),
                PermissionError::Time,
            ),
            (
                "jis:home:x",
                home.grant("jis:home:x", &origin, |grant| grant.issued_at = after(301)),
                PermissionError::Time,
            ),
            ("jis:home:x", stranger.grant("jis:home:x", &origin, |_| ()), PermissionError::Signer),
            // Says the parent's key, is signed by another.
            (
                "jis:home:x",
                stranger.grant("jis:home:x", &origin, |grant| grant.parent_key = home.identity.key),
                PermissionError::Signer,
            ),
            (
                "jis:other:x",
                Device::new("jis:other", 80).grant("jis:other:x", &origin, |_| ()),
                PermissionError::Signer,
            ),
        ];
        for (text, grant, error) in cases {
            let refusal = assert_untouched(registry, |r| claim(r, &Device::new(text, 10), Some(grant)));
            assert_eq!(refused_with(refusal), error, "{text}");
        }
    }

    /// Row 45.
    fn row_45_a_grant_by_a_rotated_or_revoked_key_permits_nothing(registry) {
        let mut home = Device::new("jis:home", 0);
        register(registry, &home);
        let origin = registry.origin().clone();
        let old = home.grant("jis:home:**", &origin, |_| ());
        let (rotation, record) = home.rotate(key(2), START);
        registry.rotate(rotation, record, START).expect("rotated");
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:home:x", 10), Some(old)));
        assert_eq!(refused_with(refusal), PermissionError::Signer, "by the rotated key");

        let new = home.grant("jis:home:**", &origin, |_| ());
        claim(registry, &Device::new("jis:home:x", 10), Some(new.clone())).expect("by the current key");
        registry.revoke(home.revoke_own_key(), START).expect("revoked");
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:home:y", 20), Some(new)));
        assert_eq!(refused_with(refusal), PermissionError::Signer, "by the revoked key");
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:home:y", 20), None));
        assert!(matches!(refusal, Refusal::PermissionNeeded { .. }), "a revoked name still holds what is below");
    }

    /// Rule R32: even an overriding grant takes no name from its key.
    fn an_overriding_grant_takes_no_taken_name(registry) {
        let home = Device::new("jis:home", 0);
        register(registry, &home);
        let origin = registry.origin().clone();
        claim(registry, &Device::new("jis:home:x", 10), Some(home.grant("jis:home:x", &origin, |_| ()))).expect("granted");
        let overriding = home.grant("jis:home:x", &origin, |grant| grant.overrides = true);
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:home:x", 20), Some(overriding)));
        assert_eq!(refusal, Refusal::NameTaken(name("jis:home:x")));
    }

    /// Row 48.
    fn row_48_an_enrolment_token_works_once_for_what_it_says(registry) {
        let origin = registry.origin().clone();
        let device = Device::new("jis:a", 10);
        let shown = token(1, "jis:a", &origin, |_| ());
        let refusal = assert_untouched(registry, |r| claim(r, &device, Some(shown.clone())));
        assert_eq!(refused_with(refusal), PermissionError::Signer, "no issuer is known yet");

        registry.set_policy(with_issuer());
        let other_issuer = {
            let Permission::Token(genuine) = token(1, "jis:a", &origin, |_| ()) else { unreachable!() };
            Permission::Token(Signed::seal(genuine.claims().clone(), &key(5)).expect("token"))
        };
        for (what, wrong, error) in [
            ("forged", other_issuer, PermissionError::Signer),
            ("other name", token(1, "jis:b", &origin, |_| ()), PermissionError::Pattern),
            ("too deep", token(1, "jis:a:*", &origin, |_| ()), PermissionError::Pattern),
            ("other key", token(1, "jis:a", &origin, |t| t.subject = Some(any_key(11))), PermissionError::Subject),
            ("other origin", token(1, "jis:a", &name("jis:elsewhere"), |_| ()), PermissionError::Origin),
            (
                "expired",
                token(1, "jis:a", &origin, |t| {
                    t.issued_at = jis::UnixTime::from_secs(START.as_secs() - 100);
                    t.expires_at = jis::UnixTime::from_secs(START.as_secs() - 1);
                }),
                PermissionError::Time,
            ),
            ("ahead", token(1, "jis:a", &origin, |t| t.issued_at = after(301)), PermissionError::Time),
        ] {
            let refusal = assert_untouched(registry, |r| claim(r, &device, Some(wrong)));
            assert_eq!(refused_with(refusal), error, "{what}");
        }

        // A claim that fails for another reason does not burn the token.
        let mut twisted = device.asking(shown.clone());
        twisted.record = Device::new("jis:a", 20).signed_record();
        assert_untouched(registry, |r| r.register(twisted, Source::Local, START));
        register(registry, &Device::new("jis:other", 10));
        let refusal = assert_untouched(registry, |r| claim(r, &device, Some(shown.clone())));
        assert!(matches!(refusal, Refusal::KeyInUse(_)), "{refusal:?}");
        let elsewhere = Device::new("jis:a", 30);
        claim(registry, &elsewhere, Some(shown)).expect("still good");

        let broad = token(2, "jis:fleet:*", &origin, |_| ());
        claim(registry, &Device::new("jis:fleet:1", 40), Some(broad.clone())).expect("first use");
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:fleet:2", 50), Some(broad.clone())));
        assert_eq!(refused_with(refusal), PermissionError::Used);
        // Registering again with the spent token is no second use.
        assert!(!claim(registry, &Device::new("jis:fleet:1", 40), Some(broad)).expect("the same again").changed);
    }

    /// Row 93 with row 48: a clock that ran ahead for a while must not give spent tokens back.
    fn row_93_a_spent_token_stays_spent_when_the_clock_was_ahead(registry) {
        registry.set_policy(with_issuer());
        let origin = registry.origin().clone();
        let shown = token(1, "jis:fleet:*", &origin, |_| ());
        claim(registry, &Device::new("jis:fleet:1", 10), Some(shown.clone())).expect("first use");
        let years = 10 * 365 * 86_400;
        let mut ahead = Device::new("jis:fleet:2", 20);
        ahead.record.issued_at = after(years);
        let issued_ahead = token(2, "jis:fleet:*", &origin, |t| {
            t.issued_at = after(years);
            t.expires_at = after(years + 100);
        });
        registry.register(ahead.asking(issued_ahead), Source::Local, after(years)).expect("in the wrong time");
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:fleet:3", 30), Some(shown)));
        assert_eq!(refused_with(refusal), PermissionError::Used);
    }

    /// Row 48: a thousand devices race on one token.
    fn row_48_a_thousand_registrations_on_one_token_give_one_name(registry) {
        registry.set_policy(with_issuer());
        let shown = token(1, "jis:fleet:*", &registry.origin().clone(), |_| ());
        let winners = registry.group(|registry| {
            (0..1000u64)
                .filter(|i| claim(registry, &Device::new(&format!("jis:fleet:{i}"), 10 * i), Some(shown.clone())).is_ok())
                .count()
        });
        assert_eq!(winners, Ok(1));
        assert_eq!(registry.store().count(), Ok(1));
    }

    /// Row 47: a thousand keys claim one name.
    fn row_47_a_thousand_claims_of_one_name_give_it_to_the_first(registry) {
        let results = registry
            .group(|registry| {
                (0..1000u64).map(|i| claim(registry, &Device::new("jis:wanted", 10 * i), None)).collect::<Vec<_>>()
            })
            .expect("group");
        assert!(results[0].is_ok());
        assert!(results[1..].iter().all(|result| *result == Err(Refusal::NameTaken(name("jis:wanted")))));
        registry.flush(START).expect("flushed");
        assert_eq!(tokens(registry, "refused").len(), 2, "a thousand knocks are two tokens: the first, and the sum");
    }

    /// Rule R35: one key has one name.
    fn a_key_has_one_name(registry) {
        register(registry, &Device::new("jis:a", 10));
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:b", 10), None));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:a")));
    }

    /// The same over a history: a key that was ever somebody's begins no other identity.
    fn a_key_that_was_rotated_away_begins_no_other_identity(registry) {
        let mut first = Device::new("jis:a", 10);
        register(registry, &first);
        let (rotation, record) = first.rotate(key(12), START);
        registry.rotate(rotation, record, START).expect("rotated");
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:b", 10), None));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:a")), "as a first key");
        let mut second = Device::new("jis:c", 10);
        second.next = key(60);
        second = reincepted(second);
        second.rotate(key(61), START);
        let refusal = assert_untouched(registry, |r| claim(r, &second, None));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:a")), "hidden behind a rotation");
    }

    /// A device that has rotated before it first came here keeps its history, and both its keys are taken.
    fn a_device_with_a_history_registers_whole(registry) {
        let mut device = Device::new("jis:old", 10);
        device.rotate(key(12), START);
        let registered = claim(registry, &device, None).expect("registered");
        assert_eq!(registered.version.generation, 1);
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:new", 10), None));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:old")), "its first key");
        let refusal = assert_untouched(registry, |r| claim(r, &Device::new("jis:new", 11), None));
        assert_eq!(refusal, Refusal::KeyInUse(name("jis:old")), "its second key");
    }

    /// Row 54: an identity that is revoked already takes no name, so nobody can waste names that way.
    fn a_revoked_identity_takes_no_name(registry) {
        for (scope, authority, signer) in [
            (RevocationScope::Key, RevocationAuthority::CurrentKey, key(10)),
            (RevocationScope::Name, RevocationAuthority::NextKey, key(11)),
        ] {
            let mut device = Device::new("jis:dead", 10);
            let event = jis::KeyEvent::Revocation(device.revocation(scope, authority, &signer));
            device.identity = device.identity.apply(&event, &[]).expect("revoked");
            device.events.push(event);
            let refusal = assert_untouched(registry, |r| claim(r, &device, None));
            assert!(matches!(refusal, Refusal::Revoked { .. }), "{refusal:?}");
        }
        claim(registry, &Device::new("jis:dead", 20), None).expect("the name is still free");
    }

    /// `docs/decisions/0007-names-above-existing-names.md`.
    fn a_name_above_existing_names_is_not_for_the_first_stranger(registry) {
        registry.set_policy(with_issuer());
        let origin = registry.origin().clone();
        claim(registry, &Device::new("jis:home:kitchen:lamp", 10), None).expect("nothing above or below");
        for text in ["jis:home", "jis:home:kitchen"] {
            let refusal = assert_untouched(registry, |r| claim(r, &Device::new(text, 20), None));
            assert_eq!(refusal, Refusal::PermissionNeeded { name: name(text), holder: name(text) });
        }
        claim(registry, &Device::new("jis:home:bath", 30), None).expect("beside is free");
        claim(registry, &Device::new("jis:home", 40), Some(token(1, "jis:home", &origin, |_| ()))).expect("by token");
    }

    fn a_closed_registry_takes_tokens_and_grants_only(registry) {
        registry.set_policy(Policy { first_come: FirstCome::Closed, ..with_issuer() });
        let origin = registry.origin().clone();
        let home = Device::new("jis:home", 0);
        assert_eq!(assert_untouched(registry, |r| claim(r, &home, None)), Refusal::ClosedToFirstCome);
        let certified = Device::new(Name::of_key(&any_key(20)).as_str(), 20);
        assert_eq!(assert_untouched(registry, |r| claim(r, &certified, None)), Refusal::ClosedToFirstCome);
        claim(registry, &home, Some(token(1, "jis:home", &origin, |_| ()))).expect("token");
        claim(registry, &Device::new("jis:home:x", 10), Some(home.grant("jis:home:*", &origin, |_| ()))).expect("grant");
        assert!(!claim(registry, &home, None).expect("an owner needs no permission").changed);
    }

    /// A self-certifying name belongs to its key, whoever comes first.
    fn a_self_certifying_name_is_its_keys_own(registry) {
        let own = Device::new(Name::of_key(&any_key(10)).as_str(), 10);
        claim(registry, &own, None).expect("its own");
        assert_eq!(registry.store().count(), Ok(1));
    }

    /// Row 49, at the registry: names and self-certifying names alike.
    fn row_49_a_network_gets_sixteen_names_an_hour(registry) {
        registry.set_policy(with_issuer());
        let origin = registry.origin().clone();
        let from = |text: &str| Source::Network(text.parse().expect("address"));
        let mut taken = 0;
        for i in 0..40u64 {
            let device = if i % 2 == 0 {
                Device::new(&format!("jis:n{i}"), 1000 + 10 * i)
            } else {
                Device::new(Name::of_key(&any_key(1000 + 10 * i)).as_str(), 1000 + 10 * i)
            };
            match registry.register(device.registration(), from(&format!("203.0.113.{i}")), START) {
                Ok(_) => taken += 1,
                Err(refusal) => assert_eq!(refusal, Refusal::Quota { retry_after: after(3600) }),
            }
        }
        assert_eq!(taken, NAMES_PER_HOUR);
        assert_eq!(registry.store().count(), Ok(u64::from(NAMES_PER_HOUR)));
        let late = Device::new("jis:late", 5000);
        registry.register(late.registration(), from("203.0.114.1"), START).expect("another network");
        let enrolled = Device::new("jis:enrolled", 5010).asking(token(1, "jis:enrolled", &origin, |_| ()));
        registry.register(enrolled, from("203.0.113.1"), START).expect("tokens are not counted");
        let next = Device::new("jis:next", 5020).registration();
        registry.register(next, from("203.0.113.1"), after(3600)).expect("an hour later");
        let again = registry.register(late.registration(), from("203.0.113.1"), START);
        assert!(!again.expect("owners are not counted").changed);
    }

    /// Nothing at all is written for a stranger's claim that the policy refuses.
    fn a_refused_claim_leaves_no_token(registry) {
        register(registry, &Device::new("jis:home", 0));
        let before = contents(registry);
        claim(registry, &Device::new("jis:home:x", 10), None).expect_err("no grant");
        assert_eq!(contents(registry), before);
    }
}

/// A device whose inception commits to its present `next`.
fn reincepted(device: Device) -> Device {
    let inception = jis::Inception {
        name: device.identity.name.clone(),
        key: device.key.public_key(),
        next: jis::NextKeyCommitment::to(&device.next.public_key()),
        created_at: START,
    };
    let inception = Signed::seal(inception, &device.key).expect("inception");
    let identity = jis::Identity::incept(&inception).expect("identity");
    let mut record = device.record.clone();
    record.fingerprint = identity.fingerprint;
    record.next = identity.next;
    Device { identity, events: vec![jis::KeyEvent::Inception(inception)], record, ..device }
}

/// Runs `each` on 8 threads with a registry of their own over one file, and gives all results.
fn from_eight_processes<T: Send>(
    path: &std::path::Path,
    each: impl Fn(&mut Registry<tibet_registry::SqliteStore>, u64) -> T + Sync,
) -> Vec<T> {
    let (barrier, each) = (Barrier::new(8), &each);
    let barrier = &barrier;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u64)
            .map(|thread| {
                scope.spawn(move || {
                    let opening = tibet_registry::Opening { policy: with_issuer(), ..opening() };
                    barrier.wait();
                    let store = tibet_registry::SqliteStore::open(path).expect("one of them makes the file");
                    let mut registry = Registry::open(store, opening).expect("opens");
                    (0..125).map(|i| each(&mut registry, thread * 125 + i)).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn patiently<T>(mut request: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
    loop {
        match request() {
            Err(Refusal::Store(StoreError::Busy)) => {}
            done => return done,
        }
    }
}

/// Row 47, between processes that share one file, which they also make at the same moment (rule R34).
#[test]
fn row_47_eight_writers_on_one_file_give_one_name_once() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let results = from_eight_processes(&path, |registry, i| {
        let device = Device::new("jis:wanted", 10 * i);
        patiently(|| claim(registry, &device, None)).map(|registered| registered.fingerprint)
    });
    assert_eq!(results.len(), 1000);
    let winners: Vec<_> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    let registry = on_disk(&path);
    let held = registry.peek(&name("jis:wanted"), START).expect("read").expect("taken");
    assert_eq!(held.route.fingerprint, *winners[0], "the one that was told it won is the one that has it");
    assert_clean(&registry);
}

/// Row 48, between processes that share one file (rule R36).
#[test]
fn row_48_eight_writers_on_one_file_spend_a_token_once() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let results = from_eight_processes(&path, |registry, i| {
        let shown = token(1, "jis:fleet:*", &registry.origin().clone(), |_| ());
        let device = Device::new(&format!("jis:fleet:{i}"), 10 * i);
        patiently(|| claim(registry, &device, Some(shown.clone())))
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let used = Err(Refusal::Permission(PermissionError::Used));
    assert_eq!(results.iter().filter(|result| **result == used).count(), 999);
    let registry = on_disk(&path);
    assert_eq!(registry.store().count(), Ok(1));
    assert_clean(&registry);
}

/// Rule R33: a store belongs to one log key and one name, whatever is asked later.
#[test]
fn a_file_opens_only_for_the_registry_it_belongs_to() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    drop(on_disk(&path));
    let open = |opening| {
        let store = tibet_registry::SqliteStore::open(&path).expect("file");
        Registry::open(store, opening).map(|_| ())
    };
    let other_key = tibet_registry::Opening { log_key: std::sync::Arc::new(issuer()), ..opening() };
    assert!(matches!(open(other_key), Err(StoreError::Foreign(_))));
    let other_name = tibet_registry::Opening { origin: Some(name("jis:else")), ..opening() };
    assert!(matches!(open(other_name), Err(StoreError::Foreign(_))));
    assert_eq!(in_memory().origin(), on_disk(&path).origin(), "without a name it is named for its log key");
}
