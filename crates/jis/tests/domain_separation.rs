//! No bytes are two things: row 34 of the bad-input table, rules R1 and R2.

mod common;

use common::{key, kinds};
use jis::{MessageWriter, SignedRotation, Tag};
use proptest::prelude::*;

/// All tags, in the words of rule R2. Spelled out here so that a slip in the code is seen.
const TAGS: [&str; 19] = [
    "jis-record:v1",
    "jis-transport-key:v1",
    "jis-name-claim:v1",
    "jis-name-grant:v1",
    "jis-enrol:v1",
    "jis-rotate:v1",
    "jis-revoke:v1",
    "jis-ping:v1",
    "jis-pong:v1",
    "jis-query:v1",
    "jis-answer:v1",
    "jis-challenge:v2",
    "jis-vouch:v1",
    "jis-beacon:v1",
    "jis-punch:v1",
    "jis-relay-grant:v1",
    "jis-relay-open:v1",
    "jis-http:v1",
    "tibet-token:v1",
];

/// How signed or hashed messages of other kinds begin: the text challenge, BEP 44 items, C2SP cosignatures, our hash tags, and the
/// leaf and node bytes of RFC 6962.
const FOREIGN: [&[u8]; 8] = [
    b"jis-challenge:v1:",
    b"3:seqi",
    b"4:salt",
    b"cosignature/v1\n",
    b"jis-next-key:v1\0",
    b"jis-addr6:v1\0",
    b"\0",
    b"\x01",
];

#[test]
fn the_tags_are_those_of_the_specification() {
    assert_eq!(Tag::ALL.map(Tag::as_str), TAGS);
}

#[test]
fn row_34_no_tag_begins_another_message() {
    for (i, tag) in TAGS.iter().enumerate() {
        let start = [tag.as_bytes(), &[0]].concat();
        assert!(tag.is_ascii() && !tag.contains('\0'));
        for other in TAGS.iter().skip(i + 1) {
            let other = [other.as_bytes(), &[0]].concat();
            assert!(!start.starts_with(&other) && !other.starts_with(&start), "{tag}");
        }
        for foreign in FOREIGN {
            assert!(!start.starts_with(foreign) && !foreign.starts_with(&start), "{tag} and {foreign:?}");
        }
    }
}

/// Every object, offered as every other kind: it neither decodes nor verifies.
#[test]
fn row_34_an_object_is_of_one_kind() {
    let kinds = kinds();
    assert_eq!(kinds.len(), 13);
    let signer = key(0).public_key();
    for (i, offered) in kinds.iter().enumerate() {
        for (j, expected) in kinds.iter().enumerate() {
            let opens = (expected.opens)(&offered.sample, &signer);
            assert_eq!(opens, i == j, "a {:?} offered as a {:?}", offered.tag, expected.tag);
        }
    }
}

/// The same with the tag exchanged, as somebody who wants to reuse a signature would: fields of one kind under another's tag.
#[test]
fn row_34_a_signature_does_not_move_to_another_tag() {
    let kinds = kinds();
    let signer = key(0).public_key();
    for from in kinds {
        let fields = &from.sample[from.tag.as_str().len()..];
        for to in kinds.iter().filter(|to| to.tag != from.tag) {
            let moved = [to.tag.as_str().as_bytes(), fields].concat();
            assert!(!(to.opens)(&moved, &signer), "fields of a {:?} as a {:?}", from.tag, to.tag);
        }
    }
}

/// A signature over a text challenge is no signature over any object, whatever agent and nonce the asker chose.
#[test]
fn row_34_a_text_challenge_is_no_object() {
    let signer = key(0).public_key();
    let text = jis::challenge_v1::TextChallenge::new("jis:home:hub", "n0nce", 1_767_323_045).expect("text");
    let signature = text.answer(&key(0));
    let bytes = [text.text().as_bytes(), signature.as_bytes()].concat();
    for kind in kinds() {
        assert!(!(kind.opens)(&bytes, &signer), "{:?}", kind.tag);
        let (message, _) = kind.sample.split_last_chunk::<64>().expect("signature");
        assert!(signer.verify(message, &signature).is_err());
    }
}

/// The two signatures of a co-signed rotation are over the same M: taken for one object, the bytes are not a plain rotation.
#[test]
fn a_cosigned_rotation_is_not_read_as_a_plain_one() {
    let hub = common::identity("jis:home:hub", 0, 1);
    let rotation =
        SignedRotation::seal(common::rotation(&hub, 1, 2), &key(1), Some(&key(0))).expect("sealed");
    let bytes = jis::KeyEvent::Rotation(rotation.clone()).encode();
    assert!(jis::Signed::<jis::Rotation>::decode(&bytes).is_err());
    assert_eq!(jis::KeyEvent::decode(&bytes), Ok(jis::KeyEvent::Rotation(rotation)));
}

proptest! {
    /// Moving bytes from one field to the next, or splitting a field in two, gives another M (the construction is injective).
    #[test]
    fn row_34_different_fields_give_different_messages(
        a in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..5),
        b in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..5),
        tags in (0..TAGS.len(), 0..TAGS.len()),
    ) {
        let write = |tag: usize, fields: &[Vec<u8>]| {
            fields.iter().fold(MessageWriter::new(Tag::ALL[tag]), |m, field| m.bytes(field)).finish()
        };
        let (m, n) = (write(tags.0, &a), write(tags.1, &b));
        prop_assert_eq!(m == n, tags.0 == tags.1 && a == b);
        if tags.0 != tags.1 {
            prop_assert!(!m.starts_with(&n) && !n.starts_with(&m));
        }
        for foreign in FOREIGN {
            prop_assert!(!m.starts_with(foreign));
        }
    }
}
