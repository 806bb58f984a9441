//! Proofs of possession: rows 59 to 62 of the bad-input table as far as a challenge alone decides, rules R8 to R11.

mod common;

use std::time::Duration;

use common::{at, challenge, identity, key, name, revoke, rotate};
use jis::challenge_v1::{TextChallenge, TextChallengeError, TextProofError};
use jis::{
    AnswerError, Challenge, DecodeError, MessageReader, MessageWriter, Proof, ProofError,
    RevocationAuthority, RevocationScope, Signed, SignedObject, Tag, UnixTime,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const PROVER_NONCE: [u8; 32] = [0xb2; 32];

fn hub() -> jis::Identity {
    identity("jis:home:hub", 0, 1)
}

fn answer(challenge: &Challenge) -> Signed<Proof> {
    challenge.answer(&hub(), &key(0), PROVER_NONCE, at(1)).expect("answer")
}

#[test]
fn an_answer_in_time_by_the_bound_key_convinces() {
    let asked = challenge(&hub());
    let proof = answer(&asked);
    assert_eq!(asked.check(&proof, &hub(), at(2)), Ok(()));
    assert_eq!(asked.check(&proof, &hub(), at(30)), Ok(()), "the last moment");
    let read = Signed::<Proof>::decode(&proof.encode()).expect("decoded");
    assert_eq!(asked.check(&read, &hub(), at(2)), Ok(()));
}

/// A man in the middle shows the prover a challenge of his own, or of verifier A, and passes the answer on to verifier B, who asked
/// something of its own. In 10 000 tries with random fields B accepts nothing, not even where all but the names agree.
#[test]
fn row_60_a_proof_for_one_verifier_convinces_no_other() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[60; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let fields = (common::any_name(), common::any_key(), any::<[u8; 32]>(), 0..3_u8);
    let (hub, hubs_key) = (hub(), key(0));
    let (verifier_a, key_of_a) = (name("jis:gate:a"), key(2).public_key());
    let mut accepted = 0;
    let mut asked_by_b = 0;
    for _ in 0..10_000 {
        let (verifier, verifier_key, nonce, agree) = fields.new_tree(&mut runner).expect("fields").current();
        let of_b = Challenge { verifier, verifier_key, verifier_nonce: nonce, ..challenge(&hub) };
        // What the middle man asks the prover in the name of A: as near to B's question as A's name and key allow.
        let relayed = match agree {
            0 => Challenge { verifier: verifier_a.clone(), verifier_key: key_of_a, ..of_b.clone() },
            1 => Challenge { verifier: verifier_a.clone(), ..of_b.clone() },
            _ => Challenge { verifier_key: key_of_a, ..of_b.clone() },
        };
        if relayed == of_b {
            continue; // the draw hit A's own name or key
        }
        asked_by_b += 1;
        let proof = relayed.answer(&hub, &hubs_key, PROVER_NONCE, at(1)).expect("answer");
        accepted += usize::from(of_b.check(&proof, &hub, at(2)).is_ok());
    }
    assert!(asked_by_b > 9_900);
    assert_eq!(accepted, 0);
}

/// And the middle man cannot write B's name into the proof: the signature covers it.
#[test]
fn row_60_the_verifier_in_a_proof_cannot_be_exchanged() {
    let of_b = Challenge { verifier: name("jis:gate:b"), ..challenge(&hub()) };
    let proof = answer(&challenge(&hub()));
    let claims = Proof { challenge: of_b.clone(), ..proof.claims().clone() };
    let forged = [&claims.message()[..], proof.signature().as_bytes()].concat();
    let forged = Signed::decode(&forged).expect("well-formed");
    assert_eq!(of_b.check(&forged, &hub(), at(2)), Err(ProofError::BadSignature));
}

/// Each field of the challenge alone makes it another one.
#[test]
fn row_61_a_proof_of_another_challenge() {
    let asked = challenge(&hub());
    let others = [
        Challenge { verifier: name("jis:gate:b"), ..asked.clone() },
        Challenge { verifier_key: key(2).public_key(), ..asked.clone() },
        Challenge { verifier_nonce: [0xa2; 32], ..asked.clone() },
        Challenge { issued_at: at(1), ..asked.clone() },
        Challenge { expires_at: at(29), ..asked.clone() },
        Challenge { channel_binding: [1; 32], ..asked.clone() },
    ];
    for other in others {
        let proof = answer(&other);
        assert_eq!(other.check(&proof, &hub(), at(2)), Ok(()));
        assert_eq!(asked.check(&proof, &hub(), at(2)), Err(ProofError::OtherChallenge), "{other:?}");
    }
    // The prover's own part, altered on the way, breaks the signature or the binding of the key.
    let proof = answer(&asked);
    let altered = |claims: Proof| {
        let bytes = [&claims.message()[..], proof.signature().as_bytes()].concat();
        asked.check(&Signed::decode(&bytes).expect("well-formed"), &hub(), at(2))
    };
    let claims = proof.claims().clone();
    assert_eq!(altered(claims.clone()), Ok(()));
    assert_eq!(altered(Proof { prover_nonce: [0; 32], ..claims.clone() }), Err(ProofError::BadSignature));
    assert_eq!(altered(Proof { generation: 1, ..claims.clone() }), Err(ProofError::WrongKey));
    assert_eq!(altered(Proof { key: key(1).public_key(), ..claims }), Err(ProofError::WrongKey));
}

/// There is one purpose so far; another number is no proof at all.
#[test]
fn row_61_a_proof_for_another_purpose() {
    let message = answer(&challenge(&hub())).message().to_vec();
    let mut reader = MessageReader::open(&message, Tag::Challenge, Proof::FIELDS).expect("proof");
    let fields: Vec<_> = (0..Proof::FIELDS).map(|_| reader.bytes().expect("field")).collect();
    for purpose in [0_u64, 2, 1 << 56] {
        let altered = fields[1..]
            .iter()
            .fold(MessageWriter::new(Tag::Challenge).integer(purpose), |m, field| m.bytes(field))
            .finish();
        assert_eq!(Proof::from_message(&altered), Err(DecodeError::Field("purpose")));
    }
}

#[test]
fn row_61_a_late_proof() {
    let asked = challenge(&hub());
    let proof = answer(&asked);
    assert_eq!(asked.check(&proof, &hub(), at(31)), Err(ProofError::Expired));
    assert_eq!(asked.check(&proof, &hub(), UnixTime::MAX), Err(ProofError::Expired));
}

#[test]
fn row_61_a_proof_by_another_key() {
    let asked = challenge(&hub());
    // Another identity of the same name, and one of another name with the same key.
    let namesake = identity("jis:home:hub", 2, 3);
    let proof = asked.answer(&namesake, &key(2), PROVER_NONCE, at(1)).expect("answer");
    assert_eq!(asked.check(&proof, &hub(), at(2)), Err(ProofError::WrongKey));
    let other = identity("jis:home:lamp", 0, 1);
    assert_eq!(asked.check(&answer(&asked), &other, at(2)), Err(ProofError::OtherChallenge));
    // The right claims under the wrong signature.
    let forged = Signed::seal(answer(&asked).claims().clone(), &key(2)).expect("sealed");
    assert_eq!(asked.check(&forged, &hub(), at(2)), Err(ProofError::BadSignature));
}

#[test]
fn row_61_a_proof_by_a_rotated_or_revoked_key() {
    let asked = challenge(&hub());
    let proof = answer(&asked);
    let rotated = hub().apply(&rotate(&hub(), 1, 2), &[]).expect("rotated");
    assert_eq!(asked.check(&proof, &rotated, at(2)), Err(ProofError::WrongKey));
    let revoke =
        |scope, role, signer| hub().apply(&revoke(&hub(), scope, role, signer), &[]).expect("revoked");
    let key_revoked = revoke(RevocationScope::Key, RevocationAuthority::CurrentKey, 0);
    let name_revoked = revoke(RevocationScope::Name, RevocationAuthority::NextKey, 1);
    for bound in [key_revoked, name_revoked] {
        assert_eq!(asked.check(&proof, &bound, at(2)), Err(ProofError::Revoked));
    }
}

/// A prover is not an oracle: it signs what is meant for it, now, and for no longer than R10 allows.
#[test]
fn row_61_what_a_prover_does_not_answer() {
    let asked = challenge(&hub());
    let answer = |asked: &Challenge, now| asked.answer(&hub(), &key(0), PROVER_NONCE, now).map(|_| ());
    assert_eq!(answer(&asked, at(0)), Ok(()));
    assert_eq!(answer(&asked, at(30)), Ok(()));
    assert_eq!(answer(&asked, at(31)), Err(AnswerError::OutOfTime));
    assert_eq!(answer(&asked, at(-5)), Ok(()), "clocks differ");
    assert_eq!(answer(&asked, at(-6)), Err(AnswerError::OutOfTime));
    for expires_at in [at(31), UnixTime::MAX, at(0), at(-1)] {
        let odd = Challenge { expires_at, ..asked.clone() };
        assert_eq!(answer(&odd, at(0)), Err(AnswerError::OutOfTime), "{expires_at}");
    }
    let for_another = Challenge { prover: name("jis:home:lamp"), ..asked.clone() };
    assert_eq!(answer(&for_another, at(0)), Err(AnswerError::NotForUs));
    // With a key that is not the identity's no proof would convince anybody.
    assert_eq!(asked.answer(&hub(), &key(1), PROVER_NONCE, at(0)).map(|_| ()), Err(AnswerError::NotForUs));
}

/// R10 binds the object, not only the prover: nothing that lives longer is a proof.
#[test]
fn row_61_a_proof_that_lives_too_long_is_none() {
    let claims = |expires_at| Proof {
        challenge: Challenge { expires_at, ..challenge(&hub()) },
        key: hub().key,
        generation: 0,
        prover_nonce: PROVER_NONCE,
    };
    assert!(Signed::seal(claims(at(30)), &key(0)).is_ok());
    for expires_at in [at(31), at(86_400), UnixTime::MAX, at(0), at(-1)] {
        assert_eq!(Signed::seal(claims(expires_at), &key(0)), Err(DecodeError::Field("expires_at")));
    }
}

// The text form.

const AGENT: &str = "jis:home:hub";
const NONCE: &str = "0123456789abcdefABCDEF_-";
const ISSUED: u64 = 1_767_323_045; // common::NOW in seconds

fn text_challenge() -> TextChallenge {
    TextChallenge::new(AGENT, NONCE, ISSUED).expect("challenge")
}

#[test]
fn the_text_form_is_read_from_the_right() {
    let text = "jis-challenge:v1:jis:home:hub:0123456789abcdefABCDEF_-:1767323045";
    assert_eq!(text_challenge().text(), text);
    assert_eq!(TextChallenge::parse(text), Ok(text_challenge()));
    assert_eq!(text_challenge().agent_id(), AGENT);
}

#[test]
fn row_59_nonces() {
    let with = |nonce: &str| {
        let made = TextChallenge::new(AGENT, nonce, ISSUED).map(|_| ());
        let read = TextChallenge::parse(&format!("jis-challenge:v1:{AGENT}:{nonce}:{ISSUED}")).map(|_| ());
        (made, read)
    };
    assert_eq!(with(&"n".repeat(128)), (Ok(()), Ok(())));
    let refused = Err(TextChallengeError::Nonce);
    for bad in ["", " ", "a b", "a\nb", "a\0", "n\u{200b}", "\u{202e}n", "é"] {
        assert_eq!(with(bad), (refused, refused), "{bad:?}");
    }
    for long in [129, 10 * 1024] {
        assert_eq!(with(&"n".repeat(long)), (refused, refused), "{long}");
    }
    // With a colon the text would be that of another agent; it is read as that, and never made.
    assert_eq!(TextChallenge::new(AGENT, "a:b", ISSUED), Err(TextChallengeError::Nonce));
    let shifted = TextChallenge::parse("jis-challenge:v1:jis:home:a:b:1767323045").expect("another agent");
    assert_eq!(shifted.agent_id(), "jis:home:a");
}

#[test]
fn row_59_times() {
    let read =
        |time: &str| TextChallenge::parse(&format!("jis-challenge:v1:{AGENT}:{NONCE}:{time}")).map(|_| ());
    for good in ["1000000000", "1767323045", "1767323045000", "9999999999999"] {
        assert_eq!(read(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "-1767323045",
        "+1767323045",
        "now",
        "176732304",      // 9 digits
        "17673230450000", // 14 digits
        "1767323045.0",
        " 1767323045",
        "0x6957d5a500",
        "١٧٦٧٣٢٣٠٤٥",
        "99999999999999999999999999",
    ] {
        assert_eq!(read(bad), Err(TextChallengeError::IssuedAt), "{bad:?}");
    }
    for bad in [0, 999_999_999, 10_000_000_000_000, u64::MAX] {
        assert_eq!(TextChallenge::new(AGENT, NONCE, bad), Err(TextChallengeError::IssuedAt));
    }
}

/// The text is what is signed, so a time has one spelling: with leading zeros it would be another text of the same challenge.
#[test]
fn row_59_a_time_has_one_spelling() {
    for time in ["01767323045", "0001767323045", "0000000000"] {
        let text = format!("jis-challenge:v1:{AGENT}:{NONCE}:{time}");
        assert_eq!(TextChallenge::parse(&text), Err(TextChallengeError::IssuedAt), "{time}");
    }
}

#[test]
fn row_59_agents_and_syntax() {
    for agent in ["", "a b", "a\tb", "a\u{200b}", "jis:é"] {
        assert_eq!(TextChallenge::new(agent, NONCE, ISSUED), Err(TextChallengeError::AgentId), "{agent:?}");
    }
    let long = "a".repeat(201);
    assert_eq!(TextChallenge::new(&long, NONCE, ISSUED), Err(TextChallengeError::AgentId));
    for text in [
        "",
        "jis-challenge:v1:",
        "jis-challenge:v1:a",
        "jis-challenge:v1:a:b",
        "jis-challenge:v2:a:b:1767323045",
    ] {
        assert!(TextChallenge::parse(text).is_err(), "{text}");
    }
}

#[test]
fn row_61_the_text_form_in_time() {
    let asked = text_challenge();
    let signature = asked.answer(&key(0));
    let bound = key(0).public_key();
    let verify = |ttl: u64, now| asked.verify(&bound, &signature, Duration::from_secs(ttl), now);
    assert_eq!(verify(30, at(0)), Ok(()));
    assert_eq!(verify(30, at(29)), Ok(()));
    assert_eq!(verify(30, at(30)), Err(TextProofError::Expired));
    assert_eq!(verify(30, at(31)), Err(TextProofError::Expired));
    assert_eq!(verify(86_400, at(30)), Err(TextProofError::Expired), "30 s whatever the caller allows");
    assert_eq!(verify(u64::MAX, at(30)), Err(TextProofError::Expired));
    assert_eq!(verify(0, at(0)), Err(TextProofError::Expired));
    assert_eq!(verify(30, at(-5)), Ok(()));
    assert_eq!(verify(30, at(-6)), Err(TextProofError::FromTheFuture));
    // 13 digits are milliseconds.
    let millis = TextChallenge::new(AGENT, NONCE, ISSUED * 1000 + 500).expect("challenge");
    let signature = millis.answer(&key(0));
    let verify = |now| millis.verify(&bound, &signature, Duration::from_secs(30), now);
    assert_eq!(verify(at(30)), Ok(()));
    assert_eq!(verify(at(31)), Err(TextProofError::Expired));
}

/// The verifier compares with what it asked: an answer to anything else is a bad signature.
#[test]
fn row_61_an_answer_to_another_text() {
    let asked = text_challenge();
    let ttl = Duration::from_secs(30);
    let others = [
        TextChallenge::new("jis:home:lamp", NONCE, ISSUED),
        TextChallenge::new(AGENT, "another-nonce", ISSUED),
        TextChallenge::new(AGENT, NONCE, ISSUED + 1),
    ];
    for other in others {
        let signature = other.expect("challenge").answer(&key(0));
        let verdict = asked.verify(&key(0).public_key(), &signature, ttl, at(2));
        assert_eq!(verdict, Err(TextProofError::BadSignature));
    }
    let by_another = asked.answer(&key(1));
    assert_eq!(
        asked.verify(&key(0).public_key(), &by_another, ttl, at(2)),
        Err(TextProofError::BadSignature)
    );
}

/// Row 62 as far as this crate goes: the answer to a text challenge is a signature over text, which is no object that registers,
/// rotates, enrols or opens anything; nor is an answer of the second version one of the first.
#[test]
fn row_62_a_text_answer_is_nothing_else() {
    let signature = text_challenge().answer(&key(0));
    for kind in common::kinds() {
        let (message, _) = kind.sample.split_last_chunk::<64>().expect("signature");
        let bytes = [message, signature.as_bytes()].concat();
        assert!(!(kind.opens)(&bytes, &key(0).public_key()), "{:?}", kind.tag);
    }
    let second = answer(&challenge(&hub()));
    let first = text_challenge();
    let verdict = first.verify(&key(0).public_key(), second.signature(), Duration::from_secs(30), at(2));
    assert_eq!(verdict, Err(TextProofError::BadSignature));
}
