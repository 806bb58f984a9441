//! F9: challenges of both versions. SECURITY R8, R9 and 3.2 rows 59, 60 and 62.
//!
//! - Whether a text is a question of version 1 is decided a second time below, and agrees about every text. One that is read is written again
//!   byte for byte: the text is what is signed.
//! - A proof of version 2 that is read is written again byte for byte, and nothing convinces the gate but the one proof that the hub made for
//!   it: no other bytes, however near ([`honest`](super::honest)).
//!
//! The first byte of an input says what follows: 0 a text, 1 the parts of a question, 2 a proof, 3 changes to the hub's proof.

use std::sync::OnceLock;
use std::time::Duration;

use jis::challenge_v1::{TextChallenge, TextProofError};
use jis::{Challenge, Identity, Proof, Signature, Signed, SignedObject as _, UnixTime};

use super::Verdict;
use super::honest::{self, at, key};
use super::script::Script;

/// Checks one challenge.
pub fn check(input: &[u8]) -> Verdict {
    let mut script = Script::new(input);
    let taken = match script.byte().map(|byte| byte % 4) {
        Some(0) => text_holds(script.rest()),
        Some(1) => parts_hold(&mut script).is_some(),
        Some(2) => proof_holds(script.rest()),
        Some(_) => proof_holds(&changed(&mut script)),
        None => false,
    };
    Verdict::of(taken)
}

fn text_holds(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let question = TextChallenge::parse(text);
    assert_eq!(question.is_ok(), is_question(text), "{text:?}: {question:?}");
    let Ok(question) = question else { return false };
    assert_eq!(question.text(), text);
    question_holds(&question, &Signature::from_bytes([0x11; 64]));
    true
}

/// A question made of parts is refused, or can be read as the same parts.
fn parts_hold(script: &mut Script<'_>) -> Option<TextChallenge> {
    let issued_at = u64::from_be_bytes(script.take()?);
    let signature = Signature::from_bytes(script.take()?);
    let text = std::str::from_utf8(script.rest()).ok()?;
    let (agent_id, nonce) = text.split_once('\n')?;
    let question = TextChallenge::new(agent_id, nonce, issued_at).ok()?;
    assert_eq!(question.agent_id(), agent_id);
    assert_eq!(question.text(), format!("jis-challenge:v1:{agent_id}:{nonce}:{issued_at}"));
    assert_eq!(TextChallenge::parse(&question.text()).as_ref(), Ok(&question));
    question_holds(&question, &signature);
    Some(question)
}

/// Its answer counts for half a minute at most, by one key, and nothing else counts ever.
fn question_holds(question: &TextChallenge, other: &Signature) {
    let digits = question.text().rsplit_once(':').map(|(_, issued_at)| issued_at.to_owned());
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).expect("digits");
    let millis = if number >= 1_000_000_000_000 { number } else { number * 1000 };
    let issued_at = UnixTime::from_millis(millis).expect("13 digits");
    let answer = question.answer(&key(1));
    if answer == *other {
        return;
    }
    let verify = |signature, ttl, later| {
        let now = issued_at.saturating_add(Duration::from_millis(later));
        question.verify(&key(1).public_key(), signature, Duration::from_secs(ttl), now)
    };
    assert_eq!(verify(&answer, u64::MAX, 29_999), Ok(()));
    assert_eq!(verify(&answer, u64::MAX, 30_000), Err(TextProofError::Expired));
    assert_eq!(verify(&answer, 10, 10_000), Err(TextProofError::Expired));
    assert_eq!(verify(other, 30, 0), Err(TextProofError::BadSignature));
    let early = UnixTime::from_millis(millis - 5_001).expect("less");
    let ahead = question.verify(&key(1).public_key(), &answer, Duration::from_secs(30), early);
    assert_eq!(ahead, Err(TextProofError::FromTheFuture));
}

/// `jis-challenge:v1:<agent_id>:<nonce>:<issued_at>`, as a list of conditions.
fn is_question(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let ["jis-challenge", "v1", agent_id @ .., nonce, issued_at] = parts.as_slice() else { return false };
    let agent_id = agent_id.join(":");
    let visible = |text: &str| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    (1..=200).contains(&agent_id.len())
        && (1..=128).contains(&nonce.len())
        && visible(&agent_id)
        && visible(nonce)
        && (10..=13).contains(&issued_at.len())
        && issued_at.bytes().all(|byte| byte.is_ascii_digit())
        && issued_at.as_bytes()[0] != b'0'
}

fn proof_holds(bytes: &[u8]) -> bool {
    let Ok(proof) = Signed::<Proof>::decode(bytes) else { return false };
    assert_eq!(proof.encode(), bytes);
    assert_eq!(proof.claims().message(), proof.message());
    let asked = &proof.claims().challenge;
    let life = asked.expires_at.saturating_since(asked.issued_at);
    assert!(Duration::ZERO < life && life <= Challenge::MAX_LIFETIME);

    let ((hub, challenge), honest) = known();
    let is_honest = bytes == honest.as_slice();
    assert_eq!(challenge.check(&proof, hub, at(2)).is_ok(), is_honest, "another proof convinces");
    assert!(challenge.check(&proof, hub, at(31)).is_err(), "too late");
    // Nor does it convince whoever asked what it says it answers, unless the hub signed it.
    assert_eq!(asked.check(&proof, hub, asked.expires_at).is_ok(), is_honest, "a forged proof");
    is_honest
}

/// The hub's proof with bytes changed: pairs of a place, from the start or from the end, and what to add there; after 255 the rest is put
/// in place of its end.
fn changed(script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = known().1.clone();
    while let Some([at, add]) = script.take() {
        if at == u8::MAX {
            bytes.truncate(bytes.len().saturating_sub(add.into()));
            bytes.extend_from_slice(script.rest());
            return bytes;
        }
        let length = bytes.len();
        let at = if at < 128 {
            usize::from(at) * 2 + usize::from(add & 1)
        } else {
            length - usize::from(at - 127)
        };
        bytes[at % length] = bytes[at % length].wrapping_add(add);
    }
    bytes
}

type Known = ((Identity, Challenge), Vec<u8>);

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| (honest::challenge(), honest::proof().encode()))
}
