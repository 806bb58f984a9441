//! Proofs of possession at the registry: rows 59–61 of the bad-input table, rules R9, R11, R14.

mod common;

use common::{Device, after, any_key, assert_untouched, key, name, on_disk, register, tokens, verify};
use jis::{Challenge, Proof, ProofError, Signed, UnixTime};
use tibet_registry::{Opening, Refusal, Registry, Store};

fn ask<S: Store>(registry: &Registry<S>, device: &Device, now: UnixTime) -> Challenge {
    let verifier = registry.origin().clone();
    registry
        .challenge(device.name(), &verifier, *registry.log_key(), now.as_millis().to_be_bytes(), now)
        .expect("asked")
}

fn answer(challenge: &Challenge, device: &Device, now: UnixTime) -> Signed<Proof> {
    challenge.answer(&device.identity, &device.key, [3; 32], now).expect("answered")
}

on_all_stores! {
    /// Row 61.
    fn row_61_a_challenge_is_answered_once(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let challenge = ask(registry, &device, after(1));
        let proof = answer(&challenge, &device, after(1));
        registry.accept_proof(&challenge, &proof, after(2)).expect("first");
        assert_eq!(assert_untouched(registry, |r| r.accept_proof(&challenge, &proof, after(3))), Refusal::NoSuchChallenge);
        let another = challenge.answer(&device.identity, &device.key, [4; 32], after(3)).expect("answered");
        assert_eq!(assert_untouched(registry, |r| r.accept_proof(&challenge, &another, after(3))), Refusal::NoSuchChallenge);
        assert_eq!(tokens(registry, "verify").len(), 1);
    }

    /// Row 61: 30 s count, 31 s do not.
    fn row_61_a_late_answer_does_not_count(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let challenge = ask(registry, &device, after(0));
        let proof = answer(&challenge, &device, after(30));
        let refusal = assert_untouched(registry, |r| r.accept_proof(&challenge, &proof, after(31)));
        assert_eq!(refusal, Refusal::Proof(ProofError::Expired));
        registry.accept_proof(&challenge, &proof, after(30)).expect("the last second");
    }

    /// Row 60: a challenge that was made for or by somebody else.
    fn row_60_a_proof_for_another_verifier_does_not_count(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let challenge = ask(registry, &device, after(1));
        let relayed = Challenge { verifier: name("jis:other"), verifier_key: any_key(70), ..challenge.clone() };
        let proof = answer(&relayed, &device, after(1));
        let refusal = assert_untouched(registry, |r| r.accept_proof(&challenge, &proof, after(1)));
        assert_eq!(refusal, Refusal::Proof(ProofError::OtherChallenge));
        let refusal = assert_untouched(registry, |r| r.accept_proof(&relayed, &proof, after(1)));
        assert_eq!(refusal, Refusal::NoSuchChallenge);
    }

    /// Row 59: a nonce that the client chose, or any part of a challenge changed, is no challenge of ours.
    fn row_59_a_challenge_the_registry_did_not_make_is_foreign(registry) {
        let device = Device::new("jis:a", 10);
        let other = Device::new("jis:b", 20);
        register(registry, &device);
        register(registry, &other);
        let genuine = ask(registry, &device, after(1));
        let changed: Vec<Challenge> = vec![
            Challenge { verifier_nonce: [0; 32], ..genuine.clone() },
            Challenge { verifier_nonce: { let mut n = genuine.verifier_nonce; n[31] ^= 1; n }, ..genuine.clone() },
            Challenge { verifier_nonce: { let mut n = genuine.verifier_nonce; n[0] ^= 1; n }, ..genuine.clone() },
            Challenge { prover: name("jis:b"), ..genuine.clone() },
            Challenge { verifier: name("jis:b"), ..genuine.clone() },
            Challenge { verifier_key: any_key(70), ..genuine.clone() },
            Challenge { issued_at: after(2), ..genuine.clone() },
            Challenge { expires_at: after(30), ..genuine.clone() },
            Challenge { channel_binding: [1; 32], ..genuine.clone() },
        ];
        for challenge in changed {
            let prover = if challenge.prover == *device.name() { &device } else { &other };
            let proof = answer(&challenge, prover, after(2));
            let refusal = assert_untouched(registry, |r| r.accept_proof(&challenge, &proof, after(2)));
            assert_eq!(refusal, Refusal::NoSuchChallenge, "{challenge:?}");
        }
        let proof = answer(&genuine, &device, after(2));
        registry.accept_proof(&genuine, &proof, after(2)).expect("unchanged");
    }

    /// Row 66 and rule R11: whatever strangers send first, the device's own answer still counts, and its trust is not touched.
    fn bad_answers_close_nothing_and_cost_no_trust(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let challenge = ask(registry, &device, after(1));
        let genuine = answer(&challenge, &device, after(1));
        let before = registry.standing(device.name(), after(1)).expect("standing");
        let forged = Signed::seal(genuine.claims().clone(), &key(66)).expect("proof");
        let stranger = Device::new("jis:a", 66);
        let of_stranger = answer(&challenge, &stranger, after(1));
        let mut bent = genuine.encode();
        *bent.last_mut().expect("bytes") ^= 1;
        let bent = Signed::<Proof>::decode(&bent).expect("fields are whole");
        for _ in 0..100 {
            for (bad, error) in [
                (&forged, ProofError::BadSignature),
                (&of_stranger, ProofError::WrongKey),
                (&bent, ProofError::BadSignature),
            ] {
                let refusal = assert_untouched(registry, |r| r.accept_proof(&challenge, bad, after(2)));
                assert_eq!(refusal, Refusal::Proof(error));
            }
        }
        assert_eq!(registry.standing(device.name(), after(2)), Ok(before));
        assert!(registry.accept_proof(&challenge, &genuine, after(2)).expect("its own").counted);
        registry.flush(after(2)).expect("flushed");
        assert_eq!(tokens(registry, "proof_refused").len(), 2, "300 bad answers: one token and one sum (rule R64)");
    }

    /// A challenge from before a rotation or revocation is answered by a key that says nothing any more.
    fn an_answer_by_a_key_that_went_since_does_not_count(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let challenge = ask(registry, &device, after(1));
        let old = answer(&challenge, &device, after(1));
        let (rotation, record) = device.rotate(key(12), after(2));
        registry.rotate(rotation, record, after(2)).expect("rotated");
        let refusal = assert_untouched(registry, |r| r.accept_proof(&challenge, &old, after(3)));
        assert_eq!(refusal, Refusal::Proof(ProofError::WrongKey));
        let new = answer(&challenge, &device, after(3));
        registry.revoke(device.revoke_own_key(), after(3)).expect("revoked");
        let refusal = assert_untouched(registry, |r| r.accept_proof(&challenge, &new, after(3)));
        assert_eq!(refusal, Refusal::Proof(ProofError::Revoked));
    }

    fn nobody_unknown_is_asked(registry) {
        let nobody = Device::new("jis:nobody", 10);
        assert_eq!(verify(registry, &nobody, after(1)), Err(Refusal::Unknown(name("jis:nobody"))));
    }
}

/// A challenge from before a restart is no challenge of the new process, which has another secret (rule R14).
#[test]
fn a_restart_forgets_what_was_asked() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let device = Device::new("jis:a", 10);
    let mut registry = on_disk(&path);
    register(&mut registry, &device);
    let challenge = ask(&registry, &device, after(1));
    let proof = answer(&challenge, &device, after(1));
    registry.accept_proof(&challenge, &proof, after(1)).expect("proven");
    drop(registry);
    let store = tibet_registry::SqliteStore::open(&path).expect("file");
    let mut registry =
        Registry::open(store, Opening { secret: [8; 32], ..common::opening() }).expect("opens");
    assert_eq!(registry.accept_proof(&challenge, &proof, after(2)), Err(Refusal::NoSuchChallenge));
}
