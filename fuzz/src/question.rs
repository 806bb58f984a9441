//! F19: signed questions and answers. SECURITY 3.2 rows 29 to 34, R1, R5 and R7.
//!
//! - What is read is written again byte for byte, and its own reader's bounds hold.
//! - A question's id and cookie lie where nodes look for them before anything is read.
//! - Under the keys of two honest devices nothing verifies but the one question and the one answer they ever signed.
//!
//! The first byte says which of the two it is.

use jis::{Answer, AnswerOutcome, MAX_MESSAGE, Query, Signed, SignedObject, message_hash};

use super::Verdict;
use super::honest::{key, name};

/// Checks a question or an answer.
pub fn check(input: &[u8]) -> Verdict {
    let Some((kind, bytes)) = input.split_first() else { return Verdict::Refused };
    if kind.is_multiple_of(2) { question(bytes) } else { answer(bytes) }
}

fn question(bytes: &[u8]) -> Verdict {
    let Some(query) = read::<Query>(bytes) else { return Verdict::Refused };
    let claims = query.claims();
    assert!(claims.arguments.len() <= Query::MAX_ARGUMENTS);
    assert_eq!(bytes[Query::ID_AT..][..24], [&claims.id[..], &claims.cookie].concat());
    let honest = honest_question();
    let verified = query.verify(&key(0).public_key()).is_ok();
    assert!(!verified || query.message() == honest.message(), "a forged question");
    // What it is under the key it names itself is nobody's business, but is found out without harm.
    let _ = query.verify(&claims.key);
    Verdict::of(verified)
}

fn answer(bytes: &[u8]) -> Verdict {
    let Some(answer) = read::<Answer>(bytes) else { return Verdict::Refused };
    assert!(answer.claims().values.len() <= Answer::MAX_VALUES);
    let accepted = Answer::check(&answer, &honest_question()).is_ok();
    assert!(!accepted || answer.message() == honest_answer().message(), "a forged answer");
    let _ = answer.verify(&answer.claims().key);
    Verdict::of(accepted)
}

/// Read and written again.
fn read<T: SignedObject>(bytes: &[u8]) -> Option<Signed<T>> {
    let signed = Signed::<T>::decode(bytes).ok()?;
    assert_eq!(signed.encode(), bytes);
    assert_eq!(signed.claims().message(), signed.message());
    assert!(signed.message().len() <= MAX_MESSAGE);
    Some(signed)
}

/// The only question the sensor ever signed; to the hub.
#[must_use]
pub fn honest_question() -> Signed<Query> {
    let query = Query {
        id: [1; 8],
        cookie: [2; 16],
        source: name("jis:home:sensor"),
        key: key(0).public_key(),
        generation: 0,
        responder: key(1).public_key(),
        method: "overlay.resolve".parse().expect("a method"),
        arguments: vec![b"jis:home:gate".to_vec(), vec![255]],
    };
    Signed::seal(query, &key(0)).expect("can be signed")
}

/// The only answer the hub ever signed; to [`honest_question`].
#[must_use]
pub fn honest_answer() -> Signed<Answer> {
    let answer = Answer {
        request: message_hash(honest_question().message()),
        key: key(1).public_key(),
        outcome: AnswerOutcome::No,
        values: vec![b"unknown".to_vec(), b"jis:home:gate is not registered here".to_vec(), Vec::new()],
    };
    Signed::seal(answer, &key(1)).expect("can be signed")
}
