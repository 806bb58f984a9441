//! `signature_payload.json` and `timestamps.json`.

mod common;

use common::{bytes, table, vectors};
use jis::{PublicKey, UnixTime};
use sha2::{Digest as _, Sha256};
use tibet_ping::canonical::canonical_text;
use tibet_ping::{Encoding, Packet, Timestamp};

#[test]
fn canonical_text_is_pythons() {
    let file = vectors("signature_payload.json");
    let signer: PublicKey = file.map("signer").text("public_hex").parse().expect("key");
    let cases = file.cases("cases");
    assert_eq!(cases.len(), 17);
    for case in cases {
        let packet = match case.optional("packet_json") {
            Some(json) => Packet::decode(Encoding::Json, json.as_bytes()),
            None => Packet::decode(Encoding::Msgpack, &bytes(case.text("packet_msgpack_hex"))),
        };
        let name = case.text("name");
        let text = canonical_text(&packet.unwrap_or_else(|e| panic!("{name}: {e}")));
        assert_eq!(text, case.text("canonical"), "{name}");
        assert_eq!(jis::hex::encode(&Sha256::digest(&text)), case.text("sha256"), "{name}");
        let signature = case.text("signature").parse().expect("signature");
        assert!(signer.verify(text.as_bytes(), &signature).is_ok(), "{name}");
    }
}

#[test]
fn timestamps_are_read_to_the_microsecond() {
    let cases = vectors("timestamps.json").cases("cases");
    assert_eq!(cases.len(), 23);
    for case in cases {
        let text = case.text("timestamp");
        let expected = case.truth("ok").then(|| case.integer("epoch_micros"));
        assert_eq!(Timestamp::parse(text).map(Timestamp::as_micros), expected, "{text:?}");
    }
}

/// What CPython's parser lets through and the page says we refuse.
#[test]
fn the_parsers_slack_is_refused() {
    let rows = table("frame.md", "### Timestamps refused");
    assert_eq!(rows.len(), 11);
    for row in rows {
        let text = row[0].trim_matches('`');
        assert_eq!(Timestamp::parse(text), None, "{text:?}");
    }
}

#[test]
fn calendar_and_offsets() {
    // Computed with Python's datetime.
    for (text, micros) in [
        ("1970-01-01", 0),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ("2000-02-29T12:00:00Z", 951_825_600_000_000),
        ("2024-03-01T00:00:00-0130", 1_709_256_600_000_000),
        ("1969-12-31T23:59:59,25+00", -750_000),
        ("20260102T0304-01", 1_767_326_640_000_000),
    ] {
        assert_eq!(Timestamp::parse(text).map(Timestamp::as_micros), Some(micros), "{text}");
    }
    for text in ["2023-02-29", "1900-02-29", "2026-13-01", "2026-00-10", "0000-01-01", "2026-04-31"] {
        assert_eq!(Timestamp::parse(text), None, "{text}");
    }
}

#[test]
fn times_are_written_as_python_writes_them() {
    let text = |ms| tibet_ping::timestamp::write(UnixTime::from_millis(ms).expect("time"));
    assert_eq!(text(1_767_323_045_678), "2026-01-02T03:04:05.678000+00:00");
    assert_eq!(text(1_767_323_045_000), "2026-01-02T03:04:05+00:00");
}
