//! Consent to a direct path: SECURITY R58, row 78.

mod common;

use common::{NOW, at, key, name, punch};
use jis::{DecodeError, Punch, Signed, SignedObject};

/// The answer that the other side gives to [`punch`].
fn answer() -> Punch {
    let first = punch();
    Punch {
        from: first.to.clone(),
        key: first.to_key,
        to: first.from.clone(),
        to_key: first.key,
        nonce: [0x99; 16],
        answers: first.nonce,
        ..first
    }
}

#[test]
fn r58_an_answer_names_both_nonces_and_comes_from_whom_it_was_asked() {
    let first = punch();
    assert!(answer().answers(&first));
    let others = [
        Punch { answers: [0x98; 16], ..answer() },
        Punch { answers: Punch::FIRST, ..answer() },
        Punch { nonce: first.nonce, ..answer() },
        Punch { from: name("jis:other"), ..answer() },
        Punch { key: key(1).public_key(), ..answer() },
        Punch { to: name("jis:other"), ..answer() },
        Punch { to_key: key(1).public_key(), ..answer() },
    ];
    for other in others {
        assert!(!other.answers(&first), "{other:?}");
    }
    // An answer begins nothing, so nothing answers it.
    assert!(!Punch { answers: answer().nonce, ..first }.answers(&answer()));
}

#[test]
fn a_consent_counts_for_half_a_minute_and_five_seconds_of_clocks_apart() {
    let punch = punch();
    assert!([-5, 0, 30].iter().all(|seconds| punch.is_valid_at(at(*seconds))));
    assert!([-6, 31].iter().all(|seconds| !punch.is_valid_at(at(*seconds))));
    let long = Punch { expires_at: at(31), ..punch.clone() };
    assert!(Punch::from_message(&long.message()).is_err());
    assert!(Punch::from_message(&Punch { expires_at: NOW, ..punch }.message()).is_err());
}

#[test]
fn no_more_candidates_than_eight_each_once_and_no_nonce_that_stands_for_none() {
    let with = |candidates: Vec<String>| Punch {
        candidates: candidates.iter().map(|text| text.parse().expect("endpoint")).collect(),
        ..punch()
    };
    let many = |most: u8| (1..=most).map(|last| format!("203.0.113.{last}:7150")).collect::<Vec<_>>();
    assert!(Punch::from_message(&with(many(8)).message()).is_ok());
    assert!(Punch::from_message(&with(many(9)).message()).is_err());
    let twice = with(vec!["203.0.113.1:1".to_owned(), "203.0.113.1:1".to_owned()]);
    assert_eq!(Punch::from_message(&twice.message()), Err(DecodeError::Field("candidates")));
    let none = Punch { nonce: Punch::FIRST, ..punch() };
    assert_eq!(Punch::from_message(&none.message()), Err(DecodeError::Field("nonce")));
    assert!(Signed::seal(punch(), &key(0)).expect("sealed").verify(&key(0).public_key()).is_ok());
}
