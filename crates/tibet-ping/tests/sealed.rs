//! The frames of `docs/spec/sealed-ping.md`: its examples, byte for byte, and everything that is none of them.

mod common;

use std::collections::BTreeMap;

use common::bytes;
use proptest::prelude::*;
use tibet_core::Zone;
use tibet_core::json::{self, Object, Value};
use tibet_ping::{
    Decision, EncodeError, Expects, Frame, MAX_INTENT, MAX_PURPOSE, MAX_SEALED, Priority, Reject, Sealed,
    SealedAnswer, SealedPing,
};

const PING: SealedPing<'static> = SealedPing {
    id: [7; 8],
    priority: Priority::Normal,
    expects: Expects::Answer,
    intent: "temperature.read",
    purpose: "",
    payload_bytes: &[],
};
const ANSWER: SealedAnswer<'static> = SealedAnswer {
    id: [7; 8],
    decision: Decision::Accept,
    zone: Zone::Groen,
    trust: 9000,
    last: true,
    payload_bytes: &[],
};

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    Frame::Version2 { kind, body }.write().expect("fits")
}

fn map(text: &str) -> Object {
    match json::parse(text).expect(text) {
        Value::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/sealed-ping.md");
    let page = std::fs::read_to_string(page).expect("page");
    let blocks = page.split("```example\n").skip(1).map(|rest| rest.split("```").next().expect("fence"));
    let mut read = Vec::new();
    for block in blocks {
        let fields = block.lines().map(|line| line.split_once(" = ").expect(line));
        let mut fields: BTreeMap<&str, &str> = fields.collect();
        let mut take = |field: &str| fields.remove(field).unwrap_or_else(|| panic!("no {field}: {block}"));
        let (datagram, object, payload) = (bytes(take("datagram")), take("object"), map(take("payload")));
        let id: [u8; 8] = bytes(take("id")).try_into().expect("8 bytes");
        match Sealed::read(&datagram).expect(object) {
            Sealed::Ping(ping) => {
                assert_eq!((object, ping.id), ("ping", id));
                assert_eq!(ping.priority.as_number().to_string(), take("priority"));
                assert_eq!((ping.expects as u8).to_string(), take("expects"));
                assert_eq!((ping.intent, ping.purpose), (take("intent"), take("purpose")));
                assert_eq!(ping.payload(), Ok(payload));
                assert_eq!(ping.write(), Ok(datagram));
            }
            Sealed::Answer(answer) => {
                assert_eq!((object, answer.id), ("answer", id));
                assert_eq!(answer.decision.as_str(), take("decision"));
                assert_eq!(answer.zone.as_str(), take("zone"));
                assert_eq!(answer.trust.to_string(), take("trust"));
                assert_eq!(answer.last.to_string(), take("last"));
                assert_eq!(answer.payload(), Ok(payload));
                assert_eq!(answer.write(), Ok(datagram));
            }
        }
        assert!(fields.is_empty(), "unread: {fields:?}");
        read.push(object);
    }
    assert_eq!(read, ["ping", "ping", "answer", "answer", "answer"]);
}

/// SECURITY 3.2 rows 2, 5, 6: cut off anywhere it is no ping, and with a byte more another or none.
#[test]
fn what_is_cut_off_is_not_read() {
    for whole in [PING.write().expect("written"), ANSWER.write().expect("written")] {
        for length in 0..whole.len() {
            assert!(Sealed::read(&whole[..length]).is_err(), "{length} bytes");
            if length >= 8 {
                assert!(Sealed::read(&frame(whole[3], &whole[8..length])).is_err(), "body cut to {length}");
            }
        }
        assert_eq!(Sealed::read(&[&whole[..], &[0]].concat()), Err(Reject::TrailingBytes));
    }
    assert_eq!(Sealed::read(&frame(32, &[0; MAX_SEALED - 7])), Err(Reject::TooLarge));
    for kind in (0..32).chain(34..=255) {
        assert_eq!(Sealed::read(&frame(kind.max(1), &[0; 64])), Err(Reject::BadVersion), "kind {kind}");
    }
    let version_1 = [&b"TP\x01\x00\0\0\0\x02"[..], b"{}"].concat();
    assert_eq!(Sealed::read(&version_1), Err(Reject::BadVersion));
}

#[test]
fn flags_and_verdicts_without_meaning_are_refused() {
    let ping = |flags: u8| Sealed::read(&frame(32, &[&[7; 8][..], &[flags, 1, b'a', 0]].concat())).is_ok();
    let allowed: Vec<u8> = (0..=255).filter(|flags| ping(*flags)).collect();
    assert_eq!(allowed, [1, 2, 3, 5, 6, 7, 9, 10, 11]);
    let answer = |verdict: u8| Sealed::read(&frame(33, &[&[7; 8][..], &[verdict, 0, 0]].concat())).is_ok();
    let allowed: Vec<u8> = (0..=255).filter(|verdict| answer(*verdict)).collect();
    // Three decisions in three zones, which are the last; and pending ones that are not.
    assert_eq!(allowed, [6, 10, 14, 21, 22, 23, 25, 26, 27, 29, 30, 31]);
    let trust = |trust: [u8; 2]| Sealed::read(&frame(33, &[&[7; 8][..], &[21], &trust].concat())).is_ok();
    assert!(trust([0x27, 0x10]) && !trust([0x27, 0x11]) && !trust([0xff, 0xff]));
    for (score, written) in [(0.9, 9000), (0.5, 5000), (1.0, 10_000), (2.0, 10_000), (-1.0, 0), (f64::NAN, 0)]
    {
        assert_eq!(SealedAnswer::trust_of(score), written, "{score}");
    }
}

#[test]
fn an_intent_outside_the_grammar_is_neither_read_nor_written() {
    let long = "a".repeat(MAX_INTENT + 1);
    let bad = ["", ".read", "-x", "Temperature", "a b", "a\n", "é", "a:b", "a*", &long];
    for intent in bad {
        let body = [&[7; 8][..], &[6, intent.len() as u8], intent.as_bytes(), &[0]].concat();
        assert!(Sealed::read(&frame(32, &body)).is_err(), "{intent:?} is read");
        let ping = SealedPing { intent, ..PING };
        assert_eq!(ping.write(), Err(EncodeError::Member("intent")), "{intent:?}");
    }
    for intent in ["a", "0", "temperature.read", "a/b-c_d.9", &long[1..]] {
        let bytes = SealedPing { intent, ..PING }.write().expect(intent);
        let Ok(Sealed::Ping(ping)) = Sealed::read(&bytes) else { panic!("{intent}") };
        assert_eq!(ping.intent, intent);
    }
    for purpose in ["a\nb", "\u{9f}", &"x".repeat(MAX_PURPOSE + 1)] {
        let ping = SealedPing { purpose, ..PING };
        assert_eq!(ping.write(), Err(EncodeError::Member("purpose")), "{purpose:?}");
        if let Ok(length) = u8::try_from(purpose.len()) {
            let body = [&[7; 8][..], &[6, 1, b'a', length], purpose.as_bytes()].concat();
            assert_eq!(Sealed::read(&frame(32, &body)), Err(Reject::BadMember("purpose")), "{purpose:?}");
        }
    }
    let body = [&[7; 8][..], &[6, 1, b'a', 1, 0xff]].concat();
    assert_eq!(Sealed::read(&frame(32, &body)), Err(Reject::BadUtf8));
}

/// One encoding of each payload, or two datagrams would mean the same.
#[test]
fn a_payload_has_one_spelling() {
    let payload = |payload_bytes: &'static [u8]| SealedPing { payload_bytes, ..PING }.payload();
    assert_eq!(payload(b""), Ok(Object::new()));
    assert_eq!(payload(b"\x81\xa1a\x07"), Ok(map(r#"{"a":7}"#)));
    assert_eq!(payload(b"\x80"), Err(Reject::BadMember("payload")), "an empty map is no bytes");
    assert_eq!(payload(b"\x07"), Err(Reject::NotAMap));
    assert_eq!(payload(b"\xde\x00\x01\xa1a\x07"), Err(Reject::BadMsgpack), "a longer spelling");
    assert_eq!(payload(b"\x81\xa1a\x07\x00"), Err(Reject::BadMsgpack), "a byte more");
    assert_eq!(payload(b"\x82\xa1a\x07\xa1a\x07"), Err(Reject::BadMsgpack), "a key twice");
    assert_eq!(payload(b"\xdf\xff\xff\xff\xff"), Err(Reject::TooComplex));
}

#[test]
fn no_more_is_written_than_a_datagram_holds_and_an_answer_is_shorter_than_its_ping() {
    let shortest = SealedPing { intent: "a", ..PING }.write().expect("written");
    let answer = ANSWER.write().expect("written");
    assert!(answer.len() < shortest.len(), "{} bytes for {}", answer.len(), shortest.len());
    let room = MAX_SEALED - shortest.len();
    let payload = vec![0xc0; room + 1];
    let ping = |length: usize| SealedPing { intent: "a", payload_bytes: &payload[..length], ..PING }.write();
    assert_eq!(ping(room).expect("fits").len(), MAX_SEALED);
    assert_eq!(ping(room + 1), Err(EncodeError::Member("payload")));
    assert_eq!(SealedAnswer { trust: 10_001, ..ANSWER }.write(), Err(EncodeError::Member("trust")));
    assert_eq!(SealedAnswer { last: false, ..ANSWER }.write(), Err(EncodeError::Member("last")));
}

/// Bodies that are nearly right, so that the search gets past the first checks.
fn likely() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let ping = (any::<[u8; 8]>(), 0..16u8, "[a-z0-9./]{0,4}", "[ -~é]{0,4}", any::<Vec<u8>>()).prop_map(
        |(id, flags, intent, purpose, payload)| {
            let lengths = (intent.len() as u8, purpose.len() as u8);
            let head = [&id[..], &[flags, lengths.0], intent.as_bytes(), &[lengths.1], purpose.as_bytes()];
            (32, [&head.concat()[..], &payload].concat())
        },
    );
    let answer = (any::<[u8; 8]>(), 0..32u8, any::<u16>(), any::<Vec<u8>>()).prop_map(
        |(id, verdict, trust, payload)| {
            (33, [&id[..], &[verdict], &(trust / 6).to_be_bytes(), &payload].concat())
        },
    );
    let noise = (30..36u8, prop::collection::vec(any::<u8>(), 0..64));
    prop_oneof![ping, answer, noise]
}

proptest! {
    /// Whatever the bytes, reading ends; and what was read is written the same, payload included.
    #[test]
    fn what_is_read_is_written_the_same((kind, body) in likely()) {
        let datagram = frame(kind, &body);
        match Sealed::read(&datagram) {
            Ok(Sealed::Ping(ping)) => {
                prop_assert_eq!(ping.write(), Ok(datagram.clone()));
                let _ = ping.payload();
            }
            Ok(Sealed::Answer(answer)) => {
                prop_assert_eq!(answer.write(), Ok(datagram.clone()));
                let _ = answer.payload();
                prop_assert!(SealedAnswer::trust_of(answer.score()) == answer.trust);
            }
            Err(_) => {}
        }
    }
}
