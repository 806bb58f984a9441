//! F2, F3, F4: the bodies of all vectors, rows 9 and 14 to 37, 58 and 67.

use tibet_core::json::{Object, Value};
use tibet_core::object;
use tibet_fuzz::honest::{self, key, name};
use tibet_ping::{Encoding, Frame, HEADER, Kind, Packet, sign_ping};

use crate::{cases, map, put, slug, text, vectors};

const JSON: &str = "f02_json";
const MSGPACK: &str = "f03_msgpack";
const BOTH: &str = "f04_encodings";

const PACKET: &str = r#"{"packet_id":"p1","source_did":"jis:a","target_did":"jis:b","ping_type":"intent","priority":2,"routing_mode":"direct","intent":"x","purpose":"y"}"#;
const RESPONSE: &str =
    r#"{"response_id":"r1","in_response_to":"p1","responder_did":"jis:b","decision":"accept"}"#;

pub(crate) fn write() {
    from_vectors();
    json();
    msgpack();
    signed();
    forged();
}

fn from_vectors() {
    let file = vectors("reference/frames.json");
    for group in ["valid", "malformed"] {
        for case in cases(map(&file, "cases"), group) {
            let datagram = jis::hex::decode(text(case, "frame_hex")).expect("hex");
            let Ok(Frame::Version1 { kind, encoding, body }) = Frame::read(&datagram) else { continue };
            let target = if encoding == Encoding::Json { JSON } else { MSGPACK };
            let name = slug(text(case, "name"));
            put(target, &name, body);
            if group == "valid" {
                put(BOTH, &name, &flagged(kind, encoding, body));
            }
        }
    }
}

/// The input of F4.
fn flagged(kind: Kind, encoding: Encoding, body: &[u8]) -> Vec<u8> {
    let flags = u8::from(kind == Kind::Response) | u8::from(encoding == Encoding::Msgpack) << 1;
    [&[flags], body].concat()
}

/// The smallest packet with more members.
fn with(members: &str) -> String {
    format!("{},{members}}}", PACKET.trim_end_matches('}'))
}

fn json() {
    put(JSON, "smallest_packet-accepted", PACKET.as_bytes());
    put(JSON, "smallest_response-accepted", RESPONSE.as_bytes());
    for (name, body) in [
        ("row_14_list-refused", "[]"),
        ("row_14_null-refused", "null"),
        ("row_14_text-refused", "\"x\""),
        ("row_14_number-refused", "1"),
        ("row_20_byte_order_mark-refused", "\u{feff}{}"),
    ] {
        put(JSON, name, body.as_bytes());
    }
    for (name, members) in [
        ("row_15_member_twice-refused", r#""intent":"z""#),
        ("row_15_member_twice_inside-refused", r#""payload":{"a":1,"a":1}"#),
        ("row_15_member_twice_in_disguise-refused", r#""payload":{"a":1,"\u0061":1}"#),
        ("row_16_unknown_member-accepted", r#""zzz":{"a":[1,2.5,"x"]}"#),
        ("row_17_nan-refused", r#""payload":{"n":NaN}"#),
        ("row_17_infinity-refused", r#""payload":{"n":Infinity}"#),
        ("row_17_1e400-refused", r#""payload":{"n":1e400}"#),
        ("row_17_minus_zero-accepted", r#""payload":{"n":[-0,-0.0,0.0,0]}"#),
        ("row_17_float_for_an_integer-refused", r#""hop_count":1.0"#),
        ("row_17_floats-accepted", r#""payload":{"n":[0.1,1e16,1e-7,5e-324,1.7976931348623157e308,2.5]}"#),
        ("row_18_beyond_2_53-accepted", r#""payload":{"seq":9007199254740993}"#),
        ("row_18_2_64-refused", r#""payload":{"seq":18446744073709551616}"#),
        ("row_18_2_64_minus_1-accepted", r#""payload":{"seq":18446744073709551615}"#),
        ("row_18_minus_1-accepted", r#""payload":{"seq":-1}"#),
        ("row_18_below_i64-refused", r#""payload":{"seq":-9223372036854775809}"#),
        ("row_20_lone_surrogate-refused", r#""payload":{"t":"\ud800"}"#),
        ("row_20_wrong_pair-refused", r#""payload":{"t":"\udc00\ud800"}"#),
        ("row_20_pair-accepted", r#""payload":{"t":"\ud83d\ude00"}"#),
        ("row_20_nul_in_member-refused", r#""pod_id":"\u0000""#),
        ("row_20_nul_in_payload-accepted", r#""payload":{"t":"\u0000\u001f\u007f"}"#),
        ("row_22_not_composed-accepted", "\"payload\":{\"t\":\"e\u{301}é\u{202e}\u{200d}а\"}"),
        ("row_67_hops_below_zero-refused", r#""hop_count":-1000000000"#),
        ("row_67_hops_255-accepted", r#""hop_count":255,"max_hops":255"#),
        ("row_67_hops_as_text-refused", r#""hop_count":"5""#),
        ("row_67_max_hops_256-refused", r#""max_hops":256"#),
    ] {
        put(JSON, name, with(members).as_bytes());
    }
    let invalid = with("\"pod_id\":\"?\"").into_bytes();
    put(
        JSON,
        "row_20_not_utf8-refused",
        &invalid.iter().map(|b| if *b == b'?' { 0xff } else { *b }).collect::<Vec<_>>(),
    );

    let nested =
        |levels: usize| with(&format!(r#""payload":{{"n":{}{}}}"#, "[".repeat(levels), "]".repeat(levels)));
    put(JSON, "row_19_depth_8-accepted", nested(6).as_bytes());
    put(JSON, "row_19_depth_9-refused", nested(7).as_bytes());
    put(JSON, "row_19_depth_60000-refused", "[".repeat(60_000).as_bytes());
    put(
        JSON,
        "row_21_text_of_30000-accepted",
        with(&format!(r#""payload":{{"t":"{}"}}"#, "x".repeat(30_000))).as_bytes(),
    );
    put(
        JSON,
        "row_21_text_too_long_for_a_member-refused",
        with(&format!(r#""pod_id":"{}""#, "x".repeat(1025))).as_bytes(),
    );
    let members = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!(r#""{n:x}":{n}"#)).collect();
        with(&format!(r#""payload":{{{}}}"#, members.join(",")))
    };
    put(JSON, "row_21_map_of_256-accepted", members(256).as_bytes());
    put(JSON, "row_21_map_of_257-refused", members(257).as_bytes());
    // Eight members and 4088 more: read, but all of its own members written out it is refused.
    let maps: Vec<String> = (0..16)
        .map(|map| {
            let members: Vec<String> =
                (0..if map < 15 { 255 } else { 246 }).map(|n| format!(r#""{n:x}":0"#)).collect();
            format!(r#""{map}":{{{}}}"#, members.join(","))
        })
        .collect();
    put(
        JSON,
        "row_21_members_4096-accepted",
        with(&format!(r#""payload":{{{}}}"#, maps.join(","))).as_bytes(),
    );
    let capabilities = |count: usize| {
        let list = vec![r#""mqtt""#; count].join(",");
        format!(r#"{},"capabilities":[{list}]}}"#, RESPONSE.trim_end_matches('}'))
    };
    put(JSON, "row_58_capabilities_32-accepted", capabilities(32).as_bytes());
    put(JSON, "row_58_capabilities_33-refused", capabilities(33).as_bytes());
}

fn msgpack() {
    let packet = Packet::decode(Encoding::Json, PACKET.as_bytes()).expect("the smallest packet");
    let datagram = packet.encode(Encoding::Msgpack).expect("small");
    // map16 of 19 members becomes one of 20.
    let with = |member: &str, value: &[u8]| {
        let mut body = datagram[HEADER..].to_vec();
        body[2] = 20;
        body.push(0xa0 | member.len() as u8);
        body.extend_from_slice(member.as_bytes());
        body.extend_from_slice(value);
        body
    };
    put(MSGPACK, "smallest_packet-accepted", &datagram[HEADER..]);
    for (name, body) in [
        ("row_14_list-refused", &[0x90][..]),
        ("row_14_nil-refused", &[0xc0]),
        ("row_14_text-refused", &[0xa1, b'x']),
        ("row_14_number-refused", &[1]),
        (
            "row_24_array_for_map-refused",
            &[0x99, 0xa1, b'x', 0xa1, b'x', 0xa1, b'x', 0xa1, b'x', 0xa1, b'x', 1, 1, 1, 1],
        ),
        ("row_25_array32_of_nothing-refused", &[0xdd, 0xff, 0xff, 0xff, 0xff]),
        ("row_25_map32_of_nothing-refused", &[0xdf, 0xff, 0xff, 0xff, 0xff]),
        ("row_25_str32_of_nothing-refused", &[0x81, 0xdb, 0xff, 0xff, 0xff, 0xff]),
    ] {
        put(MSGPACK, name, body);
    }
    put(MSGPACK, "row_23_trailing_byte-refused", &[&datagram[HEADER..], &[0xc0]].concat());
    for (name, value) in [
        ("row_15_member_twice_inside-refused", &[0x82, 0xa1, b'a', 1, 0xa1, b'a', 1][..]),
        ("row_16_unknown_member-accepted", &[0x81, 0xa1, b'a', 0xc3]),
        ("row_17_nan-refused", &[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        ("row_17_minus_zero-accepted", &[0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("row_20_not_utf8-refused", &[0xa1, 0xff]),
        ("row_24_uint8_of_5-refused", &[0xcc, 5]),
        ("row_24_uint64_of_2_32_minus_1-refused", &[0xcf, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        ("row_24_int8_of_5-refused", &[0xd0, 5]),
        ("row_24_int64_of_minus_1-refused", &[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("row_24_str8_of_1-refused", &[0xd9, 1, b'x']),
        ("row_24_array16_of_1-refused", &[0xdc, 0, 1, 0xc0]),
        ("row_24_map16_of_1-refused", &[0xde, 0, 1, 0xa1, b'a', 0xc0]),
        ("row_24_bin_key-refused", &[0x81, 0xc4, 1, b'a', 0xc0]),
        ("row_24_integer_key-refused", &[0x81, 1, 0xc0]),
        ("row_24_bin-refused", &[0xc4, 1, 0]),
        ("row_24_float32-refused", &[0xca, 0x3f, 0x80, 0, 0]),
        (
            "row_24_shortest_forms-accepted",
            &[0x94, 0xcc, 0x80, 0xd0, 0xdf, 0xd1, 0xff, 0x7f, 0xcf, 0, 0, 0, 1, 0, 0, 0, 0],
        ),
        ("row_26_ext-refused", &[0xd4, 1, 0]),
        ("row_26_timestamp-refused", &[0xd6, 0xff, 0, 0, 0, 0]),
        ("row_26_float_key-refused", &[0x81, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
        ("row_26_nil_key-refused", &[0x81, 0xc0, 0xc0]),
        ("row_26_never_used-refused", &[0xc1]),
    ] {
        put(MSGPACK, name, &with("zzz", value));
    }
    put(MSGPACK, "row_15_member_twice-refused", &with("intent", &[0xa1, b'z']));
    put(MSGPACK, "row_28_depth_60000-refused", &with("zzz", &[0x91; 60_000]));
    let nested = |levels: usize| with("zzz", &[&vec![0x91; levels - 2][..], &[0x90]].concat());
    put(MSGPACK, "row_28_depth_8-accepted", &nested(8));
    put(MSGPACK, "row_28_depth_9-refused", &nested(9));
}

/// What is honestly signed, in both encodings.
fn signed() {
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let target = if encoding == Encoding::Json { JSON } else { MSGPACK };
        for (n, packet) in honest::packets().iter().enumerate() {
            let datagram = packet.encode(encoding).expect("small");
            put(target, &format!("signed_packet_{n}-accepted"), &datagram[HEADER..]);
            let input = flagged(Kind::Packet, encoding, &datagram[HEADER..]);
            put(BOTH, &format!("signed_packet_{n}_{encoding:?}-accepted"), &input);
        }
        let datagram = honest::response().encode(encoding).expect("small");
        put(target, "signed_response-accepted", &datagram[HEADER..]);
        let input = flagged(Kind::Response, encoding, &datagram[HEADER..]);
        put(BOTH, &format!("signed_response_{encoding:?}-accepted"), &input);
    }
}

/// Rows 9, 27 and 29 to 37: packets that are not what was signed.
fn forged() {
    let honest = honest::packets().remove(0);
    let json = |packet: &Packet| {
        let datagram = packet.encode(Encoding::Json).expect("small");
        String::from_utf8(datagram[HEADER..].to_vec()).expect("JSON")
    };
    let packet = |body: &str| flagged(Kind::Packet, Encoding::Json, body.as_bytes());
    let text = json(&honest);
    let replaced = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        packet(&text.replace(from, to))
    };

    put(
        BOTH,
        "row_09_response_flag_on_a_packet-refused",
        &flagged(Kind::Response, Encoding::Json, text.as_bytes()),
    );
    put(BOTH, "row_09_response_without_the_flag-refused", &packet(RESPONSE));
    put(
        BOTH,
        "row_27_msgpack_flag_on_json-refused",
        &flagged(Kind::Packet, Encoding::Msgpack, text.as_bytes()),
    );
    let msgpack = honest.encode(Encoding::Msgpack).expect("small");
    put(
        BOTH,
        "row_27_msgpack_without_the_flag-refused",
        &flagged(Kind::Packet, Encoding::Json, &msgpack[HEADER..]),
    );

    let signature = honest.signature.as_str();
    put(BOTH, "row_29_signature_of_zeros-refused", &replaced(signature, &"00".repeat(64)));
    put(BOTH, "row_29_signature_of_63_bytes-refused", &replaced(signature, &signature[..126]));
    put(BOTH, "row_29_signature_of_65_bytes-refused", &replaced(signature, &format!("{signature}00")));
    put(BOTH, "row_29_no_signature-refused", &replaced(signature, ""));
    // Another spelling of the same bytes; the signature is not covered by itself.
    put(BOTH, "row_30_signature_in_capitals-accepted", &replaced(signature, &signature.to_uppercase()));
    put(BOTH, "row_30_s_not_reduced-refused", &replaced(signature, &plus_the_order(signature)));
    put(BOTH, "row_30_high_bits_of_s-refused", &replaced(signature, &format!("{}ff", &signature[..126])));
    let own = key(0).public_key().to_multibase();
    for (name, other) in [
        ("row_31_identity_point-refused", "z6MkeXATEjyXENzBXBxgC5EHk2JE5aqd7qMGGtDpLUH1e2Sj"),
        ("row_31_key_of_order_2-refused", "z6MkvQQfodDS9hpfvSLcFA5f2iCB9tBXk3PE5b1P8VVsjtRt"),
        ("row_31_key_of_order_8-refused", "z6Mkh59EgPEuBMugWwYWVMbZFQmHm8V1tcgLejJJTx6d8KB2"),
        ("row_32_key_not_canonical-refused", "z6Mkvg2JPc7mj3oXZCpWHB9ScRB6BvScZqnrR4Ew9Gjrd75G"),
        ("row_32_key_in_hex-refused", "fd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
    ] {
        put(BOTH, name, &replaced(&own, other));
    }
    let small_r = format!("01{}{}", "00".repeat(31), &signature[64..]);
    put(BOTH, "row_31_r_of_small_order-refused", &replaced(signature, &small_r));
    let odd_r = format!("ee{}7f{}", "ff".repeat(30), &signature[64..]);
    put(BOTH, "row_32_r_not_canonical-refused", &replaced(signature, &odd_r));

    let mut others = Packet { claim: None, signature: String::new(), ..honest.clone() };
    sign_ping(&mut others, &key(1), 0, Some(key(1).public_key()), honest::at(30)).expect("can be signed");
    put(BOTH, "row_33_signed_by_another_key-refused", &packet(&json(&others)));
    let claimed = json(&others).replace(&key(1).public_key().to_multibase(), &own);
    put(BOTH, "row_33_another_key_under_our_name-refused", &packet(&claimed));
    // What the same key signed as something else.
    let vouch = jis::MessageWriter::new(jis::Tag::Vouch).text("jis:home:sensor").finish();
    put(BOTH, "row_34_signature_of_a_vouch-refused", &replaced(signature, &key(0).sign(&vouch).to_string()));
    put(BOTH, "row_35_for_another_target-refused", &replaced("jis:home:hub", "jis:home:hut"));
    put(BOTH, "row_36_another_purpose-refused", &replaced("window", "widow"));
    put(BOTH, "row_36_another_way-refused", &replaced(r#""direct""#, r#""mesh""#));
    put(BOTH, "row_36_more_hops-refused", &replaced(r#""max_hops":10"#, r#""max_hops":11"#));
    put(BOTH, "row_36_a_hop_taken-accepted", &replaced(r#""hop_count":0"#, r#""hop_count":1"#));
    put(BOTH, "row_37_another_payload-refused", &replaced("21.5", "21.6"));
    // Signed is what a payload says, not its spelling: docs/decisions/0010-payload-hash.md.
    put(
        BOTH,
        "row_37_blanks_in_the_payload-accepted",
        &replaced(r#""celsius":21.5"#, r#""celsius" : 2.15e1"#),
    );

    let datagram = honest::response().encode(Encoding::Msgpack).expect("small");
    let (rest, digits) = datagram[HEADER..].split_at(datagram.len() - HEADER - 128);
    let capitals = [rest, &digits.to_ascii_uppercase()].concat();
    put(MSGPACK, "found_signature_of_a_response_in_capitals-accepted", &capitals);
    put(
        BOTH,
        "response_signature_in_capitals-accepted",
        &flagged(Kind::Response, Encoding::Msgpack, &capitals),
    );

    put(BOTH, "scheme_unknown-refused", &replaced("jis-ping:v1", "jis-ping:v9"));
    put(BOTH, "scheme_removed-accepted", &replaced(r#""sig_scheme":"jis-ping:v1","#, ""));
    let mut rich = Packet::intent(
        &name("jis:a"),
        &name("jis:b"),
        "x",
        "y",
        tibet_ping::Fresh { id: [4; 8], nonce: [4; 16], now: honest::NOON },
    );
    rich.payload = every_kind();
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let datagram = rich.encode(encoding).expect("small");
        put(
            BOTH,
            &format!("every_kind_of_value_{encoding:?}-accepted"),
            &flagged(Kind::Packet, encoding, &datagram[HEADER..]),
        );
    }
}

/// Values at the edges of each width, in a payload.
fn every_kind() -> Object {
    let integers =
        [0, 127, 128, 255, 256, 65_535, 65_536, -1, -32, -33, -128, -129, -32_769, i64::MIN, i64::MAX];
    let floats = [0.0, -0.0, 0.1, 1e16, 1e-5, f64::MAX, f64::MIN_POSITIVE, 5e-324];
    object! {
        "integers" => integers.map(Value::Integer).to_vec(),
        "largest" => Value::from(u64::MAX),
        "floats" => floats.map(Value::Float).to_vec(),
        "texts" => ["", "é", "💡", "\u{0}\u{7f}\u{2028}", &"x".repeat(31), &"y".repeat(32), &"z".repeat(256)].map(|t| Value::Text(t.to_owned())).to_vec(),
        "words" => vec![Value::Null, Value::Bool(true), Value::Bool(false)],
        "maps" => object! { "" => Object::new(), "b" => object! { "é" => 1_i64, "a" => 2_i64 } },
        "list" => (0..17_i64).map(Value::Integer).collect::<Vec<_>>(),
    }
}

/// S + L: the same number to whoever does not look, L being the order of the group (RFC 8032 §5.1).
fn plus_the_order(signature: &str) -> String {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = jis::hex::decode_array::<64>(signature).expect("128 digits");
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    jis::hex::encode(&bytes)
}
