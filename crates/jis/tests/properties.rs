//! Properties of every encoding: reading never panics, there is exactly one encoding of an object, and no altered byte goes
//! unnoticed. Covers rule R1 and, for numbers, R45.

mod common;

use common::{any_signed, kinds};
use jis::{DecodeError, KeyEvent, Name, NamePattern, Signed, SignedObject, challenge_v1::TextChallenge};
use proptest::prelude::*;
use proptest::sample::Index;

fn round_trip<T: SignedObject + PartialEq + std::fmt::Debug>(object: &T) -> Result<(), TestCaseError> {
    let read = T::from_message(&object.message());
    prop_assert_eq!(read.as_ref(), Ok(object));
    Ok(())
}

/// Reads bytes as everything they could be. Whatever is accepted must be written back byte for byte.
fn read_as_everything(bytes: &[u8]) -> Result<usize, TestCaseError> {
    let mut accepted = 0;
    for kind in kinds() {
        if let Some(again) = (kind.again)(bytes) {
            prop_assert_eq!(again, bytes);
            accepted += 1;
        }
    }
    if let Ok(event) = KeyEvent::decode(bytes) {
        prop_assert_eq!(event.encode(), bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(name) = text.parse::<Name>() {
        prop_assert_eq!(name.as_str(), &text);
    }
    if let Ok(name) = Name::from_input(&text) {
        let read = name.as_str().parse();
        prop_assert_eq!(read, Ok(name));
    }
    if let Ok(pattern) = text.parse::<NamePattern>() {
        prop_assert_eq!(pattern.to_string(), text.as_ref());
    }
    if let Ok(challenge) = TextChallenge::parse(&text) {
        prop_assert_eq!(challenge.text(), text.as_ref());
    }
    Ok(accepted)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_as_everything(&bytes)?;
    }

    /// Random bytes never get past the tag, so here they follow a valid one and a valid field count.
    #[test]
    fn arbitrary_fields_behind_a_valid_tag_never_panic(
        which in any::<Index>(),
        tail in prop::collection::vec(prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], 0..400),
    ) {
        let kinds = kinds();
        let kind = &kinds[which.index(kinds.len())];
        let head = kind.tag.as_str().len() + 3;
        let bytes = [&kind.sample[..head], &tail[..]].concat();
        read_as_everything(&bytes)?;
    }

    #[test]
    fn mutated_objects_never_panic_and_have_one_encoding(
        (_, mut bytes, _) in any_signed(),
        edits in prop::collection::vec((any::<Index>(), any::<u8>(), 0..4), 1..6),
    ) {
        for (at, byte, edit) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match edit {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if at < bytes.len() => { bytes.remove(at); }
                _ => bytes.truncate(at),
            }
        }
        read_as_everything(&bytes)?;
    }

    /// decode ∘ encode, from the side of the bytes: an object of each kind is read as its kind and no other.
    #[test]
    fn a_signed_object_opens_as_its_kind_alone((tag, bytes, key) in any_signed()) {
        prop_assert_eq!(read_as_everything(&bytes)?, 1);
        for kind in kinds() {
            prop_assert_eq!((kind.opens)(&bytes, &key), kind.tag == tag);
        }
    }

    #[test]
    fn any_altered_byte_is_noticed((tag, bytes, key) in any_signed(), at in any::<Index>(), flip in 1..=255_u8) {
        let mut altered = bytes;
        let at = at.index(altered.len());
        altered[at] ^= flip;
        for kind in kinds() {
            prop_assert!(!(kind.opens)(&altered, &key), "byte {} of a {:?} as {:?}", at, tag, kind.tag);
        }
    }

    #[test]
    fn inceptions_survive(object in common::any_inception()) { round_trip(&object)?; }
    #[test]
    fn rotations_survive(object in common::any_rotation()) { round_trip(&object)?; }
    #[test]
    fn revocations_survive(object in common::any_revocation()) { round_trip(&object)?; }
    #[test]
    fn records_survive(object in common::any_record()) { round_trip(&object)?; }
    #[test]
    fn transport_certificates_survive(object in common::any_transport_certificate()) { round_trip(&object)?; }
    #[test]
    fn name_grants_survive(object in common::any_name_grant()) { round_trip(&object)?; }
    #[test]
    fn enrolment_tokens_survive(object in common::any_enrolment_token()) { round_trip(&object)?; }
    #[test]
    fn vouches_survive(object in common::any_vouch()) { round_trip(&object)?; }
    #[test]
    fn proofs_survive(object in common::any_proof()) { round_trip(&object)?; }
    #[test]
    fn questions_survive(object in common::any_query()) { round_trip(&object)?; }
    #[test]
    fn answers_survive(object in common::any_answer()) { round_trip(&object)?; }
    #[test]
    fn consents_survive(object in common::any_punch()) { round_trip(&object)?; }
    #[test]
    fn relay_opens_survive(object in common::any_relay_open()) { round_trip(&object)?; }

    #[test]
    fn names_as_users_write_them_have_one_canonical_form(name in common::any_name()) {
        let text = name.as_str();
        let bare = text.strip_prefix("jis:").expect("prefix");
        for spelling in [text.to_owned(), name.to_did()] {
            prop_assert_eq!(Name::from_input(&spelling), Ok(name.clone()));
        }
        if !bare.starts_with("jis:") && !bare.starts_with("did:") {
            prop_assert_eq!(Name::from_input(bare), Ok(name.clone()));
        }
    }
}

/// Every single byte of one object of each kind, not a random choice of them.
#[test]
fn every_altered_byte_of_every_kind_is_noticed() {
    let key = common::key(0).public_key();
    for kind in kinds() {
        for at in 0..kind.sample.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut altered = kind.sample.clone();
                altered[at] ^= flip;
                assert!(!(kind.opens)(&altered, &key), "byte {at} of a {:?} flipped by {flip:#x}", kind.tag);
            }
        }
    }
}

/// Cut anywhere, an object is refused; so is one with a byte more.
#[test]
fn shorter_and_longer_objects_are_refused() {
    for kind in kinds() {
        for length in 0..kind.sample.len() {
            assert_eq!((kind.again)(&kind.sample[..length]), None, "{:?} cut to {length}", kind.tag);
        }
        let longer = [&kind.sample[..], &[0]].concat();
        assert_eq!((kind.again)(&longer), None, "{:?}", kind.tag);
    }
}

/// What is signed is what is kept: an object its encoding cannot hold exactly is not sealed as something else.
#[test]
fn a_sealed_object_is_the_one_its_bytes_say() {
    let hub = common::identity("jis:home:hub", 0, 1);
    let mut record = common::record(&hub);
    record.ttl = std::time::Duration::from_millis(1500);
    match Signed::seal(record, &common::key(0)) {
        Ok(signed) => {
            let read = Signed::decode(&signed.encode()).expect("sealed objects are readable");
            assert!(signed == read, "sealed with {:?}, reads {:?}", signed.claims().ttl, read.claims().ttl);
        }
        Err(error) => assert_eq!(error, DecodeError::Field("ttl")),
    }
}
