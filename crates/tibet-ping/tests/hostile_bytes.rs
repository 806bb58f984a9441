//! Bytes that peers should not send: SECURITY 3.2 rows 1 to 9, 14 to 28 and 67, and the properties of the readers.

mod common;

use common::{any_packet, any_response, any_signed};
use proptest::prelude::*;
use tibet_core::json::Value;
use tibet_core::object;
use tibet_ping::{
    EncodeError, Encoding, Frame, Kind, MAX_BODY, MAX_DEPTH, MAX_MAP_MEMBERS, MAX_MEMBERS, Packet, Reject,
    Response,
};

const MINIMAL: &str = r#"{"packet_id":"p1","source_did":"jis:a","target_did":"jis:b","ping_type":"intent","priority":2,"routing_mode":"direct","intent":"x","purpose":"y"}"#;

fn frame(version: u8, flags: u8, declared: u32, body: &[u8]) -> Vec<u8> {
    [b"TP".as_slice(), &[version, flags], &declared.to_be_bytes(), body].concat()
}

fn good() -> Vec<u8> {
    frame(1, 0, MINIMAL.len() as u32, MINIMAL.as_bytes())
}

/// As a node reads: header, then body.
fn receive(datagram: &[u8]) -> Result<(), Reject> {
    match Frame::read(datagram)? {
        Frame::Version1 { kind: Kind::Packet, encoding, body } => Packet::decode(encoding, body).map(|_| ()),
        Frame::Version1 { kind: Kind::Response, encoding, body } => {
            Response::decode(encoding, body).map(|_| ())
        }
        Frame::Version2 { .. } => Ok(()),
    }
}

/// The minimal packet with members added, as JSON.
fn json_with(members: &str) -> Result<Packet, Reject> {
    let text = format!("{},{members}}}", MINIMAL.trim_end_matches('}'));
    Packet::decode(Encoding::Json, text.as_bytes())
}

/// The minimal packet with one member added, as msgpack; `value` is its encoding.
fn msgpack_with(name: &str, value: &[u8]) -> Result<Packet, Reject> {
    let packet = Packet::decode(Encoding::Json, MINIMAL.as_bytes()).expect("minimal");
    let datagram = packet.encode(Encoding::Msgpack).expect("msgpack");
    // map16 of 19 members becomes one of 20; all of Python's are there, so the new one is either unknown or given twice.
    let mut body = datagram[8..].to_vec();
    assert_eq!(body[..3], [0xde, 0, 19]);
    body[2] = 20;
    body.push(0xa0 | name.len() as u8);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(value);
    Packet::decode(Encoding::Msgpack, &body)
}

#[test]
fn row_01_and_02_less_than_a_header() {
    assert_eq!(receive(&good()), Ok(()));
    for length in 0..8 {
        assert_eq!(receive(&good()[..length]), Err(Reject::TruncatedHeader), "{length}");
    }
}

#[test]
fn row_03_wrong_magic_and_version() {
    for (at, byte, class) in [
        (0, b't', Reject::BadMagic),
        (1, b'Q', Reject::BadMagic),
        (2, 0, Reject::BadVersion),
        (2, 2, Reject::BadVersion),
        (2, 255, Reject::BadVersion),
    ] {
        let mut datagram = good();
        datagram[at] = byte;
        assert_eq!(receive(&datagram), Err(class), "{at} {byte}");
    }
    // Version 2 has kinds from 1 on, which are handed out as they are.
    let keepalive = frame(2, 1, 16, &[7; 16]);
    assert_eq!(Frame::read(&keepalive), Ok(Frame::Version2 { kind: 1, body: &[7; 16] }));
    assert_eq!(keepalive.len(), 24);
    assert_eq!(Frame::read(&keepalive).expect("frame").write(), Ok(keepalive.clone()));
    assert_eq!(Frame::read(&keepalive[..23]), Err(Reject::TruncatedPayload));
}

#[test]
fn row_04_reserved_flag_bits() {
    for bit in 2..8 {
        let mut datagram = good();
        datagram[3] = 1 << bit;
        assert_eq!(receive(&datagram), Err(Reject::BadFlags), "bit {bit}");
    }
}

#[test]
fn row_05_to_07_declared_length() {
    let length = MINIMAL.len() as u32;
    for (declared, class) in [
        (0, Reject::TrailingBytes),
        (length - 1, Reject::TrailingBytes),
        (length + 1, Reject::TruncatedPayload),
        (MAX_BODY as u32, Reject::TruncatedPayload),
        (MAX_BODY as u32 + 1, Reject::TooLarge),
        (u32::MAX, Reject::TooLarge),
    ] {
        assert_eq!(receive(&frame(1, 0, declared, MINIMAL.as_bytes())), Err(class), "{declared}");
    }
    assert_eq!(receive(&frame(1, 0, 0, b"")), Err(Reject::BadJson));
    assert_eq!(receive(&[good(), b"x".to_vec()].concat()), Err(Reject::TrailingBytes));
    assert_eq!(receive(&[good(), good()].concat()), Err(Reject::TrailingBytes));
    // As many bytes as declared, and more than may be.
    let large = vec![b' '; MAX_BODY + 1];
    assert_eq!(receive(&frame(1, 0, MAX_BODY as u32 + 1, &large)), Err(Reject::TooLarge));
}

#[test]
fn row_09_and_27_flags_that_do_not_fit_the_body() {
    let response =
        br#"{"response_id":"r1","in_response_to":"p1","responder_did":"jis:b","decision":"accept"}"#;
    assert_eq!(receive(&frame(1, 1, response.len() as u32, response)), Ok(()));
    assert_eq!(
        receive(&frame(1, 0, response.len() as u32, response)),
        Err(Reject::MissingField("packet_id"))
    );
    let mut datagram = good();
    datagram[3] = 1;
    assert_eq!(receive(&datagram), Err(Reject::MissingField("response_id")));
    datagram[3] = 2;
    assert_eq!(receive(&datagram), Err(Reject::BadMsgpack));
    let packet = Packet::decode(Encoding::Json, MINIMAL.as_bytes()).expect("minimal");
    let mut datagram = packet.encode(Encoding::Msgpack).expect("msgpack");
    datagram[3] = 0;
    assert_eq!(receive(&datagram), Err(Reject::BadUtf8));
}

#[test]
fn row_14_bodies_that_are_no_map() {
    for body in ["[]", "null", "\"x\"", "1", "true", "1.5"] {
        assert_eq!(Packet::decode(Encoding::Json, body.as_bytes()), Err(Reject::NotAMap), "{body}");
    }
    for body in [&[0x90_u8][..], &[0xc0], &[0xa1, b'x'], &[1]] {
        assert_eq!(Packet::decode(Encoding::Msgpack, body), Err(Reject::NotAMap), "{body:?}");
    }
}

#[test]
fn row_15_repeated_members() {
    assert_eq!(json_with(r#""purpose":"z""#), Err(Reject::BadJson));
    assert_eq!(json_with(r#""payload":{"a":1,"a":1}"#), Err(Reject::BadJson));
    assert_eq!(json_with(r#""zzz":{"a":1,"\u0061":1}"#), Err(Reject::BadJson));
    assert_eq!(msgpack_with("purpose", &[0xa1, b'z']), Err(Reject::BadMsgpack));
    assert_eq!(msgpack_with("zzz", &[0x82, 0xa1, b'a', 1, 0xa1, b'a', 1]), Err(Reject::BadMsgpack));
}

/// Other than the row says, unknown members are ignored for the sake of version 1 peers: and lost.
#[test]
fn row_16_unknown_members_are_ignored_and_lost() {
    let packet = json_with(r#""zzz":{"a":1},"public_key":"aa","generation":"x""#).expect("packet");
    assert_eq!(packet, Packet::decode(Encoding::Json, MINIMAL.as_bytes()).expect("minimal"));
    // A scheme is not unknown: whatever is not ours is refused, and ours needs all its members.
    assert_eq!(json_with(r#""sig_scheme":"jis-ping:v2""#), Err(Reject::BadEnum("sig_scheme")));
    assert_eq!(json_with(r#""sig_scheme":null"#), Err(Reject::BadEnum("sig_scheme")));
    assert_eq!(json_with(r#""sig_scheme":"jis-ping:v1""#), Err(Reject::MissingField("public_key")));
}

#[test]
fn row_17_and_18_numbers() {
    for number in ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "01", "+1", ".5", "1.", "0x1"] {
        assert_eq!(json_with(&format!(r#""payload":{{"n":{number}}}"#)), Err(Reject::BadJson), "{number}");
    }
    for (hops, ok) in [
        ("0", true),
        ("255", true),
        ("-0", true),
        ("1.0", false),
        ("256", false),
        ("-1", false),
        ("\"5\"", false),
        ("null", false),
        ("true", false),
    ] {
        assert_eq!(json_with(&format!(r#""hop_count":{hops}"#)).is_ok(), ok, "{hops}");
    }
    for (number, ok) in [
        ("18446744073709551615", true),
        ("18446744073709551616", false),
        ("-9223372036854775808", true),
        ("-9223372036854775809", false),
    ] {
        assert_eq!(json_with(&format!(r#""payload":{{"n":{number}}}"#)).is_ok(), ok, "{number}");
    }
    for priority in ["2.0", "true", "\"2\"", "null", "0", "4"] {
        let text = MINIMAL.replace(r#""priority":2"#, &format!(r#""priority":{priority}"#));
        let error = Packet::decode(Encoding::Json, text.as_bytes());
        assert_eq!(error, Err(Reject::BadEnum("priority")), "{priority}");
    }
    // NaN and infinity in msgpack.
    for bits in [0x7ff8_0000_0000_0000_u64, 0x7ff0_0000_0000_0000, 0xfff0_0000_0000_0000] {
        let value = [&[0xcb][..], &bits.to_be_bytes()].concat();
        assert_eq!(msgpack_with("zzz", &value), Err(Reject::BadMsgpack));
    }
    // Generations and times beyond what doubles hold exactly.
    let packet = common::signed(1).encode(Encoding::Json).expect("json");
    let text = String::from_utf8(packet[8..].to_vec()).expect("text");
    for (number, ok) in [
        ("9007199254740991", true),
        ("9007199254740992", false),
        ("9007199254740993", false),
        ("-1", false),
        ("18446744073709551616", false),
    ] {
        let text = text.replace(r#""generation":0"#, &format!(r#""generation":{number}"#));
        assert_eq!(Packet::decode(Encoding::Json, text.as_bytes()).is_ok(), ok, "{number}");
    }
}

#[test]
fn row_19_and_28_nesting() {
    // The body is level 1, the payload 2: six more fit.
    let nested = |levels: usize| format!(r#""payload":{{"n":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(json_with(&nested(6)).is_ok());
    assert_eq!(json_with(&nested(7)), Err(Reject::TooComplex));
    assert_eq!(json_with(&nested(30_000)), Err(Reject::TooComplex));
    assert_eq!(Packet::decode(Encoding::Json, "[".repeat(60_000).as_bytes()), Err(Reject::TooComplex));
    let nested = |levels: usize| [vec![0x91; levels - 1], vec![0x90]].concat();
    assert!(msgpack_with("zzz", &nested(7)).is_ok());
    assert_eq!(msgpack_with("zzz", &nested(8)), Err(Reject::TooComplex));
    assert_eq!(msgpack_with("zzz", &nested(60_000)), Err(Reject::TooComplex));
    assert_eq!(MAX_DEPTH, 8);
}

#[test]
fn row_20_bad_text() {
    for (text, class) in [
        (&b"\xff"[..], Reject::BadUtf8),
        (b"\xed\xa0\x80", Reject::BadUtf8),
        (b"\\ud800", Reject::BadJson),
        (b"\\udc00\\ud800", Reject::BadJson),
        (b"a\x00b", Reject::BadJson),
        (b"a\\u0000b", Reject::BadMember("pod_id")),
        (b"a\\u001b[2J", Reject::BadMember("pod_id")),
        (b"a\\nb", Reject::BadMember("pod_id")),
    ] {
        let (start, end) = (MINIMAL.trim_end_matches('}').as_bytes(), b"\"}");
        let body = [start, b",\"pod_id\":\"", text, end].concat();
        assert_eq!(Packet::decode(Encoding::Json, &body), Err(class), "{text:?}");
    }
    let with_bom = format!("\u{feff}{MINIMAL}");
    assert_eq!(Packet::decode(Encoding::Json, with_bom.as_bytes()), Err(Reject::BadJson));
    assert_eq!(msgpack_with("zzz", &[0xa1, 0xff]), Err(Reject::BadUtf8));
}

#[test]
fn row_21_large_things() {
    let long = |length: usize| format!(r#""pod_id":"{}""#, "x".repeat(length));
    assert!(json_with(&long(1024)).is_ok());
    assert_eq!(json_with(&long(1025)), Err(Reject::BadMember("pod_id")));
    assert_eq!(json_with(&long(MAX_BODY)), Err(Reject::TooLarge));
    let members = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!(r#""{n}":0"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(json_with(&format!(r#""payload":{}"#, members(MAX_MAP_MEMBERS))).is_ok());
    assert_eq!(json_with(&format!(r#""payload":{}"#, members(MAX_MAP_MEMBERS + 1))), Err(Reject::TooComplex));
    let maps = |count: usize| format!(r#""payload":{{"l":[{}]}}"#, vec![members(200); count].join(","));
    assert!(json_with(&maps(20)).is_ok());
    assert_eq!(json_with(&maps(21)), Err(Reject::TooComplex));
    assert_eq!(MAX_MEMBERS, 4096);
    // The same bounds in msgpack, from the declared length on.
    assert_eq!(msgpack_with("zzz", &[0xde, 1, 1]), Err(Reject::TooComplex));
    let payload = (0..257).map(|n| (n.to_string(), n)).collect();
    let packet = Packet { payload, ..common::packet(1) };
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        assert_eq!(packet.encode(encoding), Err(EncodeError::TooComplex));
    }
}

#[test]
fn row_23_and_24_second_spellings_in_msgpack() {
    assert!(msgpack_with("zzz", &[0x01]).is_ok());
    assert_eq!(msgpack_with("zzz", &[0x01, 0xc0]), Err(Reject::BadMsgpack));
    for value in [
        &[0xcc, 0x7f][..],
        &[0xcd, 0, 0xff],
        &[0xce, 0, 0, 0xff, 0xff],
        &[0xcf, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[0xd0, 0x05],
        &[0xd0, 0xe0],
        &[0xd1, 0xff, 0x80],
        &[0xd2, 0xff, 0xff, 0x80, 0],
        &[0xd3, 0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0],
        &[0xd9, 1, b'x'],
        &[0xda, 0, 1, b'x'],
        &[0xdb, 0, 0, 0, 1, b'x'],
        &[0xdc, 0, 0],
        &[0xdd, 0, 0, 0, 0],
        &[0xde, 0, 0],
        &[0xdf, 0, 0, 0, 0],
        // float32
        &[0xca, 0x3f, 0x80, 0, 0],
        // bin, integer, float, nil and boolean keys
        &[0x81, 0xc4, 1, b'x', 0],
        &[0x81, 1, 0],
        &[0x81, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x81, 0xc0, 0],
        &[0x81, 0xc3, 0],
        // bin values, never used
        &[0xc4, 0],
        &[0xc5, 0, 0],
        &[0xc6, 0, 0, 0, 0],
        &[0xc1],
    ] {
        assert_eq!(msgpack_with("zzz", value), Err(Reject::BadMsgpack), "{value:x?}");
    }
    // The shortest forms of the same are read.
    for value in [
        &[0xcc, 0x80][..],
        &[0xcd, 1, 0],
        &[0xce, 0, 1, 0, 0],
        &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0],
        &[0xd0, 0xdf],
        &[0xd1, 0xff, 0x7f],
        &[0xd2, 0xff, 0xff, 0x7f, 0xff],
        &[0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
        &[0xe0],
    ] {
        assert!(msgpack_with("zzz", value).is_ok(), "{value:x?}");
    }
    // An array for a map.
    let array = [&[0x99][..], &[0xa1, b'x'].repeat(9)].concat();
    assert_eq!(Packet::decode(Encoding::Msgpack, &array), Err(Reject::NotAMap));
}

/// Lengths that are declared and not there. Nothing is set aside for them: a vector of 2³² values would end the test.
#[test]
fn row_25_declared_and_not_there() {
    for (head, class) in [(0xdd, Reject::BadMsgpack), (0xdf, Reject::TooComplex), (0xdb, Reject::BadMsgpack)]
    {
        let value = [head, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(msgpack_with("zzz", &value), Err(class), "{head:x}");
        assert_eq!(Packet::decode(Encoding::Msgpack, &value), Err(class), "{head:x}");
    }
}

#[test]
fn row_26_ext() {
    for value in [
        &[0xd4, 1, 0][..],
        &[0xd5, 1, 0, 0],
        &[0xd6, 0xff, 0, 0, 0, 0],
        &[0xd7, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xc7, 0, 1],
        &[0xc8, 0, 0, 1],
        &[0xc9, 0, 0, 0, 0, 1],
    ] {
        assert_eq!(msgpack_with("zzz", value), Err(Reject::BadMsgpack), "{value:x?}");
    }
}

#[test]
fn row_67_hops() {
    for (hops, ok) in [("-1000000000", false), ("255", true), ("\"5\"", false), ("256", false)] {
        assert_eq!(json_with(&format!(r#""hop_count":{hops}"#)).is_ok(), ok, "{hops}");
        assert_eq!(json_with(&format!(r#""max_hops":{hops}"#)).is_ok(), ok, "{hops}");
    }
}

/// Every member with a value of another type. Python reads all of these.
#[test]
fn wrong_types_are_refused() {
    for name in ["packet_id", "source_did", "target_did", "intent", "purpose"] {
        for value in ["1", "null", "[]", "{}", "true"] {
            let (start, rest) = MINIMAL.split_once(&format!(r#""{name}":"#)).expect(name);
            let text =
                format!(r#"{start}"{name}":{value}{}"#, &rest[rest[1..].find('"').expect("end") + 2..]);
            assert_eq!(
                Packet::decode(Encoding::Json, text.as_bytes()),
                Err(Reject::BadMember(name)),
                "{text}"
            );
        }
    }
    for name in [
        "pod_id",
        "station_id",
        "nonce",
        "timestamp",
        "tibet_token_id",
        "vouched_by",
        "vouch_signature",
        "signature",
    ] {
        for value in ["1", "[]", "{}", "true"] {
            assert_eq!(json_with(&format!(r#""{name}":{value}"#)), Err(Reject::BadMember(name)));
        }
    }
    assert_eq!(json_with(r#""payload":[]"#), Err(Reject::BadMember("payload")));
    assert_eq!(json_with(r#""payload":null"#), Err(Reject::BadMember("payload")));
    let base = r#"{"response_id":"r1","in_response_to":"p1","responder_did":"jis:b","decision":"accept""#;
    for (member, value) in [
        ("payload", "[]"),
        ("capabilities", "{}"),
        ("capabilities", "[1]"),
        ("trust_score", "1"),
        ("trust_score", "null"),
        ("fira_breakdown", "null"),
        ("timestamp", "1"),
        ("rtt_ms", "\"1\""),
        ("airlock_zone", "null"),
        ("applied_rule", "1"),
    ] {
        let text = format!(r#"{base},"{member}":{value}}}"#);
        assert_eq!(
            Response::decode(Encoding::Json, text.as_bytes()),
            Err(Reject::BadMember(member)),
            "{text}"
        );
    }
}

#[test]
fn what_would_be_refused_is_not_written() {
    let write = |packet: Packet| packet.encode(Encoding::Json).err();
    let long = "x".repeat(1025);
    assert_eq!(write(Packet { intent: long, ..common::packet(1) }), Some(EncodeError::Member("intent")));
    assert_eq!(
        write(Packet { purpose: "a\nb".into(), ..common::packet(1) }),
        Some(EncodeError::Member("purpose"))
    );
    for (value, error) in [
        (Value::Float(f64::NAN), EncodeError::NotFinite),
        (Value::Float(f64::INFINITY), EncodeError::NotFinite),
        ((0..7).fold(Value::Null, |inner, _| Value::Array(vec![inner])), EncodeError::TooComplex),
    ] {
        let payload = object! { "n" => value };
        assert_eq!(write(Packet { payload, ..common::packet(1) }), Some(error));
    }
    let response = Response::to(
        &common::packet(1),
        &common::name("jis:b"),
        tibet_ping::Decision::Accept,
        tibet_core::Zone::Groen,
        f64::NAN,
        common::fresh(1, common::NOON),
    );
    assert_eq!(response.encode(Encoding::Msgpack), Err(EncodeError::NotFinite));
    let response = Response { trust_score: 1.0, capabilities: vec!["x".into(); 33], ..response };
    assert_eq!(response.encode(Encoding::Json), Err(EncodeError::Member("capabilities")));
}

fn both() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Json), Just(Encoding::Msgpack)]
}

/// Bytes that look like msgpack more often than chance would have it.
fn likely_msgpack() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => any::<u8>().prop_map(|b| vec![b]),
        2 => prop::sample::select(vec![0x81, 0x82, 0x91, 0xdc, 0xdd, 0xde, 0xdf, 0xd9, 0xda, 0xdb, 0xc7]).prop_map(|b| vec![b, 0, 0, 0, 1]),
        3 => prop::sample::select(vec!["packet_id", "payload", "sig_scheme", "jis-ping:v1", "intent"])
            .prop_map(|text| [&[0xa0 | text.len() as u8][..], text.as_bytes()].concat()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), likely_msgpack()], flags in 0..4_u8) {
        let _ = Frame::read(&bytes);
        let _ = receive(&frame(1, flags, bytes.len() as u32, &bytes));
        // What is accepted is exactly what is written.
        if let Ok(Frame::Version1 { kind, encoding, body }) = Frame::read(&bytes) {
            prop_assert_eq!(Frame::Version1 { kind, encoding, body }.write(), Ok(bytes.clone()));
        }
    }

    #[test]
    fn nothing_panics_on_a_changed_packet(packet in any_signed(), encoding in both(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut datagram = packet.encode(encoding).expect("encoded");
        let at = at.index(datagram.len());
        datagram[at] = byte;
        let _ = receive(&datagram);
        let _ = receive(&datagram[..at]);
    }

    #[test]
    fn packets_are_read_as_they_were_written(packet in any_packet(), encoding in both()) {
        let datagram = packet.encode(encoding).expect("encoded");
        let Ok(Frame::Version1 { kind: Kind::Packet, encoding: found, body }) = Frame::read(&datagram) else {
            return Err(TestCaseError::fail("no packet frame"));
        };
        prop_assert_eq!(found, encoding);
        let read = Packet::decode(encoding, body).expect("decoded");
        prop_assert_eq!(&read, &packet);
        prop_assert_eq!(read.encode(encoding).expect("encoded"), datagram);
    }

    #[test]
    fn signed_packets_too(packet in any_signed(), encoding in both()) {
        let datagram = packet.encode(encoding).expect("encoded");
        prop_assert_eq!(Packet::decode(encoding, &datagram[8..]).expect("decoded"), packet);
    }

    #[test]
    fn responses_are_read_as_they_were_written(response in any_response(), encoding in both()) {
        let datagram = response.encode(encoding).expect("encoded");
        let Ok(Frame::Version1 { kind: Kind::Response, encoding: found, body }) = Frame::read(&datagram) else {
            return Err(TestCaseError::fail("no response frame"));
        };
        prop_assert_eq!(found, encoding);
        let read = Response::decode(encoding, body).expect("decoded");
        prop_assert_eq!(&read, &response);
        prop_assert_eq!(read.encode(encoding).expect("encoded"), datagram);
    }
}
