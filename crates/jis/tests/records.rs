//! What a record may say, as far as the record alone decides: rows 50, 51, 55, 57 and 58 of the bad-input table, rules R6, R42
//! and R43.

mod common;

use std::time::Duration;

use common::{at, identity, key, name, record, transport_key};
use jis::{
    DecodeError, Endpoint, KeyError, MessageReader, MessageWriter, NextKeyCommitment, Record,
    RecordTimeError, RecordVersion, Signed, SignedObject, TransportKey, UnixTime,
};

fn sample() -> Record {
    record(&identity("jis:home:hub", 0, 1))
}

/// The sample's fields as bytes, in order.
fn fields() -> Vec<Vec<u8>> {
    let message = sample().message();
    let mut reader = MessageReader::open(&message, Record::TAG, Record::FIELDS).expect("sample");
    (0..Record::FIELDS).map(|_| reader.bytes().expect("field").to_vec()).collect()
}

/// Reads the sample with field number `at` replaced. Such bytes cannot be made with the types, so they are made by hand.
fn with(at: usize, field: impl Into<Vec<u8>>) -> Result<Record, DecodeError> {
    let mut fields = fields();
    fields[at] = field.into();
    let message = fields.iter().fold(MessageWriter::new(Record::TAG), |m, f| m.bytes(f)).finish();
    Record::from_message(&message)
}

fn list<I: AsRef<[u8]>>(items: impl IntoIterator<Item = I>) -> Vec<u8> {
    let mut field = Vec::new();
    for item in items {
        let item = item.as_ref();
        field.extend_from_slice(&(item.len() as u32).to_be_bytes());
        field.extend_from_slice(item);
    }
    field
}

const KEY: usize = 3;
const TRANSPORT_KEY: usize = 4;
const SEQ: usize = 5;
const ISSUED_AT: usize = 6;
const TTL: usize = 7;
const ENDPOINTS: usize = 8;
const RELAYS: usize = 9;
const CAPABILITIES: usize = 10;
const STATUS: usize = 11;
const PREVIOUS: usize = 12;
const FLAGS: usize = 14;

#[test]
fn the_sample_reads_and_an_exchanged_field_is_seen() {
    assert_eq!(Record::from_message(&sample().message()), Ok(sample()));
    assert_eq!(with(SEQ, 8_u64.to_be_bytes()).map(|r| r.version.seq), Ok(8));
}

#[test]
fn row_50_seq_stays_below_2_53() {
    let seq = |seq: u64| with(SEQ, seq.to_be_bytes()).map(|record| record.version.seq);
    assert_eq!(seq(0), Ok(0));
    assert_eq!(seq(9_007_199_254_740_991), Ok(9_007_199_254_740_991));
    for beyond in [9_007_199_254_740_992, u64::MAX] {
        assert_eq!(seq(beyond), Err(DecodeError::Field("seq")));
    }
    assert_eq!(with(SEQ, [0, 0, 0, 7]), Err(DecodeError::Field("seq")), "4 bytes");
    assert_eq!(with(SEQ, [0; 9]), Err(DecodeError::Field("seq")), "9 bytes");
}

/// R42, R43: generation before seq, so that no seq, however high, outlives a rotation.
#[test]
fn row_50_records_are_ordered_by_generation_first() {
    let version = |generation, seq| RecordVersion { generation, seq };
    assert!(version(1, 0) > version(0, Record::MAX_SEQ));
    assert!(version(1, 1) > version(1, 0));
    assert_eq!(version(1, 1).cmp(&version(1, 1)), std::cmp::Ordering::Equal);
}

#[test]
fn row_51_ttl_is_1_second_to_24_hours() {
    let ttl = |seconds: u64| with(TTL, seconds.to_be_bytes()).map(|record| record.ttl.as_secs());
    assert_eq!(ttl(1), Ok(1));
    assert_eq!(ttl(86_400), Ok(86_400));
    for bad in [0, 86_401, 1 << 53, 1 << 63, u64::MAX] {
        assert_eq!(ttl(bad), Err(DecodeError::Field("ttl")), "{bad}");
    }
    // And such a record is not signed either.
    let record = Record { ttl: Duration::from_millis(999), ..sample() };
    assert_eq!(Signed::seal(record, &key(0)), Err(DecodeError::Field("ttl")));
}

#[test]
fn row_51_a_record_holds_from_5_minutes_ahead_until_its_ttl_ends() {
    let record = sample(); // one hour
    assert_eq!(record.check_time(at(-300)), Ok(()));
    assert_eq!(record.check_time(at(-301)), Err(RecordTimeError::FromTheFuture));
    assert_eq!(record.check_time(at(-3600)), Err(RecordTimeError::FromTheFuture));
    assert_eq!(record.check_time(at(3600)), Ok(()));
    assert_eq!(record.check_time(at(3601)), Err(RecordTimeError::Expired));
    // Row 51, R45: no arithmetic goes wrong at the end of time.
    let last = Record { issued_at: UnixTime::MAX, ..sample() };
    assert_eq!(last.expires_at(), UnixTime::MAX);
    assert_eq!(last.check_time(UnixTime::MAX), Ok(()));
    for beyond in [1_u64 << 53, u64::MAX] {
        assert_eq!(with(ISSUED_AT, beyond.to_be_bytes()), Err(DecodeError::Field("issued_at")));
    }
}

#[test]
fn row_55_endpoints_in_a_record() {
    let v4 = |last: u8| vec![203, 0, 113, last, 0xad, 0x21];
    let eight: Vec<_> = (1..=8).map(v4).collect();
    assert_eq!(with(ENDPOINTS, list(&eight)).map(|r| r.endpoints.len()), Ok(8));
    assert_eq!(with(ENDPOINTS, []).map(|r| r.endpoints.len()), Ok(0));
    let nine: Vec<_> = (1..=9).map(v4).collect();
    let mut mapped = vec![0; 10];
    mapped.extend([0xff, 0xff, 10, 0, 0, 1, 0xad, 0x21]);
    let cases: [(&str, Vec<Vec<u8>>); 9] = [
        ("nine", nine),
        ("repeated", vec![v4(1), v4(2), v4(1)]),
        ("127.0.0.1", vec![vec![127, 0, 0, 1, 0xad, 0x21]]),
        ("169.254.0.1", vec![vec![169, 254, 0, 1, 0xad, 0x21]]),
        ("::ffff:10.0.0.1", vec![mapped]),
        (":: port 1", vec![[[0; 17].as_slice(), &[1]].concat()]),
        ("port 0", vec![vec![203, 0, 113, 1, 0, 0]]),
        ("port 53", vec![vec![203, 0, 113, 1, 0, 53]]),
        ("7 bytes", vec![vec![203, 0, 113, 1, 0xad, 0x21, 0]]),
    ];
    for (what, items) in cases {
        assert_eq!(with(ENDPOINTS, list(items)), Err(DecodeError::Field("endpoints")), "{what}");
    }
    let sealed = Signed::seal(
        Record { endpoints: vec!["203.0.113.1:44321".parse::<Endpoint>().expect("endpoint"); 2], ..sample() },
        &key(0),
    );
    assert_eq!(sealed, Err(DecodeError::Field("endpoints")));
}

#[test]
fn row_57_relays_in_a_record() {
    let relays = |items: &[&str]| with(RELAYS, list(items)).map(|r| r.relays.len());
    let bad = Err(DecodeError::Field("relays"));
    assert_eq!(relays(&["jis:a", "jis:b", "jis:c", "jis:d"]), Ok(4));
    assert_eq!(relays(&["jis:a", "jis:b", "jis:c", "jis:d", "jis:e"]), bad, "five");
    assert_eq!(relays(&["jis:home:hub"]), bad, "itself");
    assert_eq!(relays(&["jis:a", "jis:home:hub"]), bad, "itself, second");
    assert_eq!(relays(&["jis:a", "jis:b", "jis:a"]), bad, "repeated");
    assert_eq!(relays(&["jis:A"]), bad, "no name");
    let thousand: Vec<String> = (0..1000).map(|n| format!("jis:r{n}")).collect();
    let field = list(&thousand);
    assert!(field.len() < jis::MAX_MESSAGE);
    assert_eq!(with(RELAYS, field), Err(DecodeError::Field("relays")), "a thousand");
    let own = Record { relays: vec![name("jis:home:hub")], ..sample() };
    assert_eq!(Signed::seal(own, &key(0)), Err(DecodeError::Field("relays")));
}

#[test]
fn row_58_capabilities_in_a_record() {
    let capabilities = |items: &[String]| with(CAPABILITIES, list(items)).map(|r| r.capabilities.len());
    let numbered = |n: usize| (0..n).map(|i| format!("c{i:05}")).collect::<Vec<_>>();
    let text = |items: &[&str]| items.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
    let bad = Err(DecodeError::Field("capabilities"));
    assert_eq!(capabilities(&numbered(32)), Ok(32));
    assert_eq!(capabilities(&numbered(33)), bad);
    // 10^4 entries: as many as fit into a message are too many, and all of them are too long a message.
    assert_eq!(capabilities(&numbered(1000)), bad);
    assert_eq!(capabilities(&numbered(10_000)), Err(DecodeError::TooLong));
    assert_eq!(capabilities(&["a".repeat(1 << 20)]), Err(DecodeError::TooLong));
    assert_eq!(capabilities(&["a".repeat(64)]), Ok(1));
    assert_eq!(capabilities(&["a".repeat(65)]), bad);
    // One order only, or one set of capabilities would have many encodings.
    assert_eq!(capabilities(&text(&["a", "b"])), Ok(2));
    assert_eq!(capabilities(&text(&["b", "a"])), bad);
    assert_eq!(capabilities(&text(&["a", "a"])), bad);
    for word in ["", "A", ".a", "a b", "a\0", "é"] {
        assert_eq!(capabilities(&text(&[word])), bad, "{word:?}");
    }
}

/// Row 38: there is no room for a second key or signature, whatever is appended or announced.
#[test]
fn row_38_one_key_and_one_signature() {
    let mut message = sample().message();
    let count = Record::TAG.as_str().len() + 1;
    message[count + 1] = 16;
    assert_eq!(Record::from_message(&message), Err(DecodeError::FieldCount));
    let two_keys = [sample().key.as_bytes().as_slice(), sample().key.as_bytes()].concat();
    assert_eq!(with(KEY, two_keys), Err(DecodeError::Field("key")));
    let signed = Signed::seal(sample(), &key(0)).expect("sealed");
    let two_signatures = [&signed.encode()[..], signed.signature().as_bytes()].concat();
    assert!(Signed::<Record>::decode(&two_signatures).is_err());
}

#[test]
fn row_39_transport_key_in_a_record() {
    assert_eq!(with(TRANSPORT_KEY, [0; 32]).map(|r| r.transport_key), Ok(None));
    assert_eq!(
        with(TRANSPORT_KEY, *transport_key().as_bytes()).map(|r| r.transport_key),
        Ok(Some(transport_key()))
    );
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    let order_8: [u8; 32] = jis::hex::decode_array(order_8).expect("hex");
    for weak in [one, minus_one, order_8] {
        assert_eq!(TransportKey::from_bytes(&weak), Err(KeyError::Weak));
        assert_eq!(with(TRANSPORT_KEY, weak), Err(DecodeError::Field("transport_key")));
    }
    let mut high_bit = *transport_key().as_bytes();
    high_bit[31] |= 0x80; // X25519 ignores this bit, so it would be a second spelling of the key
    assert_eq!(with(TRANSPORT_KEY, high_bit), Err(DecodeError::Field("transport_key")));
}

#[test]
fn other_fields_have_one_form() {
    assert_eq!(with(KEY, [0; 32]), Err(DecodeError::Field("key")));
    for status in [0_u64, 3, u64::MAX] {
        assert_eq!(with(STATUS, status.to_be_bytes()), Err(DecodeError::Field("status")));
    }
    for flags in [2_u64, 3, 1 << 63] {
        assert_eq!(with(FLAGS, flags.to_be_bytes()), Err(DecodeError::Field("flags")));
    }
    assert_eq!(with(PREVIOUS, [0; 31]), Err(DecodeError::Field("previous")));
    // A list with half an item.
    assert_eq!(with(RELAYS, [0, 0, 0, 5, b'j']), Err(DecodeError::Truncated));
    assert_eq!(with(RELAYS, [0, 0, 0]), Err(DecodeError::Truncated));
}

/// Row 52: a record of a key that was rotated away does not verify under the key that came after it, and sorts below its records.
#[test]
fn row_52_a_record_from_before_the_rotation() {
    let hub = identity("jis:home:hub", 0, 1);
    let old = Signed::seal(record(&hub), &key(0)).expect("sealed");
    let rotated = hub.apply(&common::rotate(&hub, 1, 2), &[]).expect("rotated");
    assert!(old.verify(&rotated.key).is_err());
    assert!(!rotated.is_actor(&old.claims().name, &old.claims().key));
    let first = Record {
        version: RecordVersion { generation: 1, seq: 0 },
        key: rotated.key,
        next: rotated.next,
        ..sample()
    };
    assert!(first.version > old.claims().version);
    assert_eq!(first.next, NextKeyCommitment::to(&key(2).public_key()));
}
