//! SECURITY 3.2, rows 1 to 39 and 62 to 77, as far as they come in by datagram: a node sends nothing, counts why, and afterwards answers a good
//! ping. What the readers say to each is in `hostile_bytes.rs`; rows with a story of their own are told in the other `node_*.rs`:
//! 10 and 13 in `node_responses`, 11, 12 and 73 in `node_peers`, 33 and 77 in `node_keys`, 63 to 66 in `node_replay`, 67 and 68 in `node_mesh`, 74 and 75 in
//! `node_discovery`. Rows 39 and 62 come in nowhere here: no datagram carries a transport key or a challenge.

mod common;
mod harness;

use common::{key, name};
use harness::{Net, elsewhere, fingerprint, quiet, sign};
use jis::{Signed, Vouch};
use tibet_core::{Zone, object};
use tibet_ping::{
    Binding, Decision, Encoding, KeySource, MAX_BODY, OperatorError, Packet, Response, RoutingMode, Rule,
    RulePattern, VouchRefusal, sign_pong,
};

const PAIR: [&str; 2] = ["jis:home:sensor", "jis:home:hub"];

/// The hub, which knows and trusts the sensor.
struct Bench(Net);

impl Bench {
    fn new(seed: u64) -> Self {
        let mut net = Net::of(seed, &PAIR, &quiet());
        net.trust(1, 0, 0.9);
        let binding = Binding { name: name(PAIR[0]), key: key(0).public_key(), generation: 0 };
        net.with(1, |node, _| node.bind_key(binding, KeySource::Operator)).expect("room");
        Self(net)
    }

    /// A good ping, signed.
    fn packet(&mut self) -> Packet {
        let packet = self.0.packet(PAIR[0], 1);
        sign(Packet { payload: object! { "n" => 1 }, ..packet }, 0, self.0.time())
    }

    fn json(&mut self) -> String {
        let bytes = self.packet().encode(Encoding::Json).expect("encoded");
        String::from_utf8(bytes[8..].to_vec()).expect("text")
    }

    fn msgpack(&mut self) -> Vec<u8> {
        self.packet().encode(Encoding::Msgpack).expect("encoded")[8..].to_vec()
    }

    /// Nothing is sent, and `reason` counted.
    fn dropped(&mut self, row: u8, what: &str, bytes: &[u8], reason: &str) {
        let (before, pings) = (self.0.dropped(1, reason), self.0.hosts[1].events.len());
        for from in [self.0.hosts[0].address, elsewhere(1)] {
            self.0.throw(from, 1, bytes);
        }
        assert_eq!(self.0.captures, [], "row {row}: {what}");
        let counts = self.0.node(1).stats().dropped;
        assert_eq!(self.0.dropped(1, reason), before + 2, "row {row}: {what}: {counts:?}");
        assert_eq!(self.0.hosts[1].events.len(), pings, "row {row}: {what}");
    }

    /// A good ping is answered.
    fn good(&mut self, row: u8) {
        self.accepted(row, "a good ping", |_| {});
    }

    fn accepted(&mut self, row: u8, what: &str, change: impl FnOnce(&mut String)) {
        let mut text = self.json();
        change(&mut text);
        self.accepted_bytes(row, what, &frame(0, text.as_bytes()));
    }

    fn accepted_bytes(&mut self, row: u8, what: &str, bytes: &[u8]) {
        let from = self.0.hosts[0].address;
        self.0.throw(from, 1, bytes);
        let counts = self.0.node(1).stats().dropped;
        assert_eq!(self.0.captures.len(), 1, "row {row}: {what} is answered: {counts:?}");
        self.0.captures.clear();
        // Two a second are as many as one sender may send.
        self.0.seconds(1.0);
    }
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    header(1, flags, body.len() as u32, body)
}

fn header(version: u8, flags: u8, declared: u32, body: &[u8]) -> Vec<u8> {
    [b"TP".as_slice(), &[version, flags], &declared.to_be_bytes(), body].concat()
}

/// A good packet's text with one member's value replaced.
fn with(text: &str, member: &str, value: &str) -> Vec<u8> {
    let start =
        text.find(&format!("\"{member}\":")).unwrap_or_else(|| panic!("no {member}")) + member.len() + 3;
    let rest = &text[start..];
    let end = match rest.as_bytes()[0] {
        b'"' => rest[1..].find('"').expect("end") + 2,
        b'{' => rest.find('}').expect("end") + 1,
        _ => rest.find([',', '}']).expect("end"),
    };
    frame(0, format!("{}{value}{}", &text[..start], &rest[end..]).as_bytes())
}

#[test]
fn row_01_to_09_frames() {
    let mut bench = Bench::new(1);
    let body = bench.json().into_bytes();
    let (good, length) = (frame(0, &body), body.len() as u32);
    bench.dropped(1, "nothing", &[], "truncated_header");
    for cut in 1..8 {
        bench.dropped(2, "a part of a header", &good[..cut], "truncated_header");
    }
    bench.dropped(3, "magic", &[b"tp", &good[2..]].concat(), "bad_magic");
    for version in [0, 2, 255] {
        bench.dropped(3, "version", &header(version, 0, length, &body), "bad_version");
    }
    bench.dropped(3, "version 2 has no kinds yet", &header(2, 1, length, &body), "bad_version");
    for bit in 2..8 {
        bench.dropped(4, "flag", &frame(1 << bit, &body), "bad_flags");
    }
    for (declared, reason) in [
        (0, "trailing_bytes"),
        (length - 1, "trailing_bytes"),
        (length + 1, "truncated_payload"),
        (u32::MAX, "too_large"),
    ] {
        bench.dropped(5, "declared length", &header(1, 0, declared, &body), reason);
    }
    bench.dropped(6, "trailing", &[&good[..], b"x"].concat(), "trailing_bytes");
    bench.dropped(7, "two frames", &[&good[..], &good[..]].concat(), "trailing_bytes");
    for (fill, reason) in [(b' ', "bad_json"), (b'[', "too_complex"), (0, "bad_json"), (b'1', "bad_json")] {
        bench.dropped(8, "as large as can be", &frame(0, &vec![fill; 65_499]), reason);
    }
    bench.dropped(8, "as large as can be, msgpack", &frame(2, &vec![0x80; 65_499]), "bad_msgpack");
    bench.dropped(9, "a packet as response", &frame(1, &body), "missing_field");
    let response =
        br#"{"response_id":"r1","in_response_to":"p1","responder_did":"jis:home:hub","decision":"accept"}"#;
    bench.dropped(9, "a response as packet", &frame(0, response), "missing_field");
    bench.good(9);
}

#[test]
fn row_14_to_22_json() {
    let mut bench = Bench::new(2);
    let text = bench.json();
    for body in ["[]", "null", "\"x\"", "1"] {
        bench.dropped(14, body, &frame(0, body.as_bytes()), "not_a_map");
    }
    let added = |members: &str| frame(0, format!("{},{members}}}", text.trim_end_matches('}')).as_bytes());
    bench.dropped(15, "top level", &added(r#""purpose":"z""#), "bad_json");
    bench.dropped(15, "nested", &with(&text, "payload", r#"{"a":1,"a":2}"#), "bad_json");
    // Members nobody knows are ignored for the sake of version 1 peers, and change nothing that is signed.
    bench.accepted(16, "an unknown member", |text| text.insert_str(text.len() - 1, r#","zzz":1"#));
    bench.dropped(16, "another scheme", &with(&text, "sig_scheme", "\"jis-ping:v9\""), "bad_enum");
    for number in ["NaN", "Infinity", "1e400"] {
        bench.dropped(17, number, &with(&text, "payload", &format!("{{\"n\":{number}}}")), "bad_json");
    }
    bench.dropped(17, "1.0 for an integer", &with(&text, "hop_count", "1.0"), "bad_member");
    for (number, reason) in
        [("9007199254740993", "bad_member"), ("18446744073709551616", "bad_json"), ("-1", "bad_member")]
    {
        bench.dropped(18, number, &with(&text, "generation", number), reason);
    }
    for depth in [9, 30_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        bench.dropped(19, "depth", &added(&format!("\"z\":{deep}")), "too_complex");
    }
    for (what, purpose, reason) in [
        ("lone surrogate", r"\ud800", "bad_json"),
        ("NUL", r"\u0000", "bad_member"),
        ("escape sequence", r"\u001b[2J", "bad_member"),
    ] {
        bench.dropped(20, what, &with(&text, "purpose", &format!("\"{purpose}\"")), reason);
    }
    let mut invalid = text.clone().into_bytes();
    let at = text.find("\"test\"").expect("the purpose") + 1;
    invalid[at] = 0xff;
    bench.dropped(20, "not UTF-8", &frame(0, &invalid), "bad_utf8");
    bench.dropped(20, "byte order mark", &frame(0, format!("\u{feff}{text}").as_bytes()), "bad_json");
    let long = format!("\"{}\"", "x".repeat(60_000));
    bench.dropped(21, "long text", &with(&text, "purpose", &long), "bad_member");
    bench.dropped(21, "1 MiB", &header(1, 0, 1 << 20, &vec![b'x'; 1 << 20]), "too_large");
    let members: Vec<_> = (0..5000).map(|n| format!("\"{n:x}\":0")).collect();
    let many = format!("{{{}}}", members.join(","));
    bench.dropped(21, "many members", &with(&text, "payload", &many), "too_complex");
    assert!(many.len() < MAX_BODY);
    for (what, source) in [
        ("NFC", "jis:caf\u{e9}:hub"),
        ("NFD", "jis:cafe\u{301}:hub"),
        ("Cyrillic", "jis:h\u{43e}me:sensor"),
        ("zero-width joiner", "jis:home\u{200d}:sensor"),
        ("bidi override", "jis:\u{202e}home:sensor"),
        ("upper case", "jis:Home:sensor"),
        ("empty", ""),
    ] {
        bench.dropped(22, what, &with(&text, "source_did", &format!("\"{source}\"")), "bad_name");
        bench.dropped(22, what, &with(&text, "target_did", &format!("\"{source}\"")), "bad_name");
    }
    bench.good(22);
}

#[test]
fn row_23_to_28_msgpack() {
    let mut bench = Bench::new(3);
    let body = bench.msgpack();
    assert_eq!(body[..3], [0xde, 0, 24]);
    let added = |value: &[u8]| {
        let mut body = body.clone();
        body[2] += 1;
        frame(2, &[&body[..], &[0xa3], b"zzz", value].concat())
    };
    bench.dropped(23, "trailing", &frame(2, &[&body[..], &[0xc0]].concat()), "bad_msgpack");
    for (what, value) in [
        ("integer of two spellings", &[0xcc, 5][..]),
        ("bin key", &[0x81, 0xc4, 1, b'x', 0]),
        ("integer key", &[0x81, 1, 0]),
    ] {
        bench.dropped(24, what, &added(value), "bad_msgpack");
    }
    bench.dropped(24, "an array", &frame(2, &[&[0xdc, 0, 48], &body[3..]].concat()), "not_a_map");
    for (head, reason) in [(0xdd, "bad_msgpack"), (0xdf, "too_complex"), (0xdb, "bad_msgpack")] {
        bench.dropped(25, "declared and not there", &added(&[head, 255, 255, 255, 255]), reason);
        bench.dropped(25, "and nothing else", &frame(2, &[head, 255, 255, 255, 255]), reason);
    }
    for value in [
        &[0xd4, 1, 0][..],
        &[0xd6, 0xff, 0, 0, 0, 0],
        &[0x81, 0xc0, 0],
        &[0x81, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        bench.dropped(26, "ext, float key, nil key", &added(value), "bad_msgpack");
    }
    bench.dropped(27, "msgpack as JSON", &frame(0, &body), "bad_utf8");
    let text = bench.json();
    bench.dropped(27, "JSON as msgpack", &frame(2, text.as_bytes()), "bad_msgpack");
    bench.dropped(28, "nesting", &added(&[0x91; 60_000]), "too_complex");
    bench.good(28);
}

/// ℓ, the order of the base point, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn row_29_to_32_signatures_and_keys() {
    let mut bench = Bench::new(4);
    let text = bench.json();
    let at = text.find("\"signature\":\"").expect("signature") + 13;
    let signature = common::bytes(&text[at..at + 128]);
    let put = |bytes: &[u8]| with(&text, "signature", &format!("\"{}\"", jis::hex::encode(bytes)));
    bench.dropped(29, "all zero", &put(&[0; 64]), "bad_signature");
    for (what, bytes) in [("63", &signature[..63]), ("65", &[&signature[..], &[0]].concat()), ("none", &[])] {
        bench.dropped(29, what, &put(bytes), "bad_member");
    }
    bench.dropped(
        29,
        "missing",
        &frame(0, text.replace("\"signature\":", "\"zzz\":").as_bytes()),
        "bad_member",
    );
    let mut plus_l = signature.clone();
    let mut carry = 0;
    for (byte, add) in plus_l[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    bench.dropped(30, "S + L", &put(&plus_l), "bad_signature");
    let mut high = signature.clone();
    high[63] |= 0xe0;
    bench.dropped(30, "high bits", &put(&high), "bad_signature");
    let identity = {
        let mut point = [0; 32];
        point[0] = 1;
        point
    };
    bench.dropped(31, "R of small order", &put(&[&identity[..], &[0; 32]].concat()), "bad_signature");
    // p + 1, which is 1 in another spelling.
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xee, 0x7f);
    bench.dropped(
        32,
        "R in another spelling",
        &put(&[&not_canonical[..], &signature[32..]].concat()),
        "bad_signature",
    );
    for (row, what, point) in [
        (31, "A of small order", identity),
        (31, "A zero", [0; 32]),
        (32, "A in another spelling", not_canonical),
    ] {
        let spelled = format!("\"z{}\"", base58(&[&[0xed, 0x01][..], &point].concat()));
        bench.dropped(row, what, &with(&text, "public_key", &spelled), "bad_member");
    }
    // The spelling itself is right: another good key is read, and is not the one that is known.
    let other = format!("\"z{}\"", base58(&[&[0xed, 0x01][..], key(5).public_key().as_bytes()].concat()));
    let before = bench.0.dropped(1, "wrong_key");
    bench.0.throw(elsewhere(1), 1, &with(&text, "public_key", &other));
    assert_eq!(bench.0.dropped(1, "wrong_key"), before + 1, "row 33");
    bench.good(32);
}

/// Bytes in the alphabet of base58, by long division.
fn base58(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            (*digit, carry) = (carry % 58, carry / 58);
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    digits.iter().rev().map(|digit| char::from(ALPHABET[*digit as usize])).collect()
}

#[test]
fn row_34_to_38_what_is_signed() {
    let mut bench = Bench::new(5);
    let packet = bench.packet();
    let text = bench.json();
    let json = |packet: &Packet| packet.encode(Encoding::Json).expect("encoded");
    // Signed by the right key, as something else.
    let fresh = common::fresh(1, bench.0.time().wall);
    let mut pong = Response::to(&packet, &name(PAIR[0]), Decision::Accept, Zone::Groen, 1.0, fresh);
    sign_pong(&mut pong, &[0; 32], &key(0), 0).expect("signed");
    let pong = pong.claim.expect("signed").signature;
    bench.dropped(
        34,
        "a response's signature",
        &with(&text, "signature", &format!("\"{pong}\"")),
        "bad_signature",
    );
    let vouch = bench_vouch(0, PAIR[0], PAIR[1], bench.0.time().wall);
    let vouch = Signed::seal(vouch, &key(0)).expect("sealed").encode();
    let vouch = jis::hex::encode(&vouch[vouch.len() - 64..]);
    bench.dropped(
        34,
        "a vouch's signature",
        &with(&text, "signature", &format!("\"{vouch}\"")),
        "bad_signature",
    );
    let sign_for = |bench: &mut Bench, change: &dyn Fn(&mut Packet), target: Option<usize>| {
        let mut packet = bench.0.packet(PAIR[0], 1);
        change(&mut packet);
        let expires_at = bench.0.time().wall.saturating_add(tibet_ping::MAX_LIFETIME);
        let target = target.map(|n| key(n).public_key());
        tibet_ping::sign_ping(&mut packet, &key(0), 0, target, expires_at).expect("signed");
        packet
    };
    let other = sign_for(&mut bench, &|p| p.target_did = "jis:home:other".into(), None);
    bench.dropped(35, "another target", &json(&other), "not_for_us");
    let other = sign_for(&mut bench, &|_| {}, Some(5));
    bench.dropped(35, "another key behind our name", &json(&other), "not_for_us");
    let everybody = sign_for(&mut bench, &|p| p.target_did = "broadcast".into(), None);
    bench.dropped(35, "an intent for everybody", &json(&everybody), "broadcast");
    for (what, changed) in [
        ("purpose", Packet { purpose: "other".into(), ..packet.clone() }),
        ("intent", Packet { intent: "door.open".into(), ..packet.clone() }),
        ("routing mode", Packet { routing_mode: RoutingMode::Mesh, ..packet.clone() }),
        ("max_hops", Packet { max_hops: 11, ..packet.clone() }),
        ("payload", Packet { payload: object! { "n" => 2 }, ..packet.clone() }),
        ("a payload of other type", Packet { payload: object! { "n" => 1.0 }, ..packet.clone() }),
    ] {
        bench.dropped(36, what, &json(&changed), "bad_signature");
    }
    // The encoding is not signed: both say the same, and whichever comes first is the only one that counts. The same goes for spaces in the payload.
    bench.accepted_bytes(36, "another encoding", &packet.encode(Encoding::Msgpack).expect("encoded"));
    bench.dropped(36, "and then the first", &json(&packet), "replayed");
    let spaced = text.replace(r#"{"n": 1}"#, r#"{ "n" :  1 }"#).replace(r#"{"n":1}"#, r#"{ "n" :  1 }"#);
    assert_ne!(spaced, text);
    bench.accepted_bytes(37, "spaces in the payload", &frame(0, spaced.as_bytes()));
    bench.dropped(37, "and then without", &frame(0, text.as_bytes()), "replayed");
    let text = bench.json();
    let many = (0..64).map(|_| ",\"signature\":\"00\",\"public_key\":\"z6Mk\"").collect::<String>();
    bench.dropped(
        38,
        "64 signatures",
        &frame(0, format!("{}{many}}}", text.trim_end_matches('}')).as_bytes()),
        "bad_json",
    );
    bench.good(38);
}

fn bench_vouch(n: usize, voucher: &str, subject: &str, now: jis::UnixTime) -> Vouch {
    Vouch {
        id: [3; 16],
        voucher: name(voucher),
        voucher_generation: 0,
        voucher_key: key(n).public_key(),
        subject: name(subject),
        subject_fingerprint: fingerprint(5),
        factor_permille: Vouch::DEFAULT_FACTOR_PERMILLE,
        reason: "test".parse().expect("a remark"),
        issued_at: now,
        expires_at: now.saturating_add(Vouch::MAX_LIFETIME),
    }
}

#[test]
fn row_72_vouches_that_do_not_count() {
    let mut bench = Bench::new(6);
    let now = bench.0.time().wall;
    let add = |bench: &mut Bench, vouch: Vouch, n: usize| {
        let vouch = Signed::seal(vouch, &key(n)).expect("sealed");
        bench.0.with(1, |node, now| node.add_vouch(&vouch, &fingerprint(5), now))
    };
    let good = || bench_vouch(0, PAIR[0], "jis:new", now);
    let expired = Vouch { issued_at: common::at(-100), expires_at: common::at(-50), ..good() };
    assert_eq!(add(&mut bench, expired, 0), Err(OperatorError::Vouch(VouchRefusal::Expired)), "row 72");
    let unknown = bench_vouch(9, "jis:nobody", "jis:new", now);
    assert_eq!(add(&mut bench, unknown, 9), Err(OperatorError::UnknownKey(name("jis:nobody"))), "row 72");
    let other = Vouch { subject_fingerprint: fingerprint(6), ..good() };
    assert_eq!(add(&mut bench, other, 0), Err(OperatorError::Vouch(VouchRefusal::WrongSubject)), "row 72");
    assert!(add(&mut bench, good(), 0).is_ok());
    assert_eq!(add(&mut bench, good(), 0), Err(OperatorError::Vouch(VouchRefusal::Known)), "row 72");
    let trust = |bench: &Bench, text: &str| bench.0.node(1).trust_in(&name(text), now).score;
    assert!((trust(&bench, "jis:new") - 0.63).abs() < 1e-9, "nine tenths of seven tenths");
    // Depth 2: who is only vouched for lends nothing.
    let binding = Binding { name: name("jis:new"), key: key(5).public_key(), generation: 0 };
    bench.0.with(1, |node, _| node.bind_key(binding, KeySource::Operator)).expect("room");
    let deeper = Vouch { id: [4; 16], ..bench_vouch(5, "jis:new", "jis:newer", now) };
    assert!(add(&mut bench, deeper, 5).is_ok());
    assert_eq!(trust(&bench, "jis:newer"), 0.0, "row 72: depth 2");
    assert_eq!(
        bench.0.with(1, |node, now| node.vouch_for(&name(PAIR[1]), &fingerprint(1), "self", now)),
        Err(OperatorError::OwnVouch),
        "row 72"
    );
    let set = |bench: &mut Bench, score| {
        bench.0.with(1, |node, now| node.set_trust(name("jis:x"), score, "", now).is_ok())
    };
    assert!(!set(&mut bench, f64::NAN), "row 72: NaN");
    assert!(set(&mut bench, 7.0));
    assert_eq!(trust(&bench, "jis:x"), 1.0, "row 72: 7.0");
    bench.good(72);
}

/// Row 76: rules are globs, which take time in proportion to the text and the pattern, whatever both say.
#[test]
fn row_76_rules_take_linear_time() {
    let mut bench = Bench::new(7);
    for pattern in ["(a+)+$".to_owned(), "*a".repeat(400) + "b"] {
        let Ok(glob) = pattern.parse();
        let pattern = RulePattern { intent: Some(glob), ..RulePattern::default() };
        let rule = Rule {
            id: "r".into(),
            name: "r".into(),
            pattern,
            zone: Zone::Groen,
            decision: Decision::Accept,
            priority: 50,
        };
        bench.0.with(1, |node, _| node.add_rule(rule)).expect("room");
    }
    // With a machine that backtracks the first of these would not end.
    for n in 0..20 {
        let packet = Packet { intent: "a".repeat(1000 + n), ..bench.0.packet(PAIR[0], 1) };
        let bytes = bench.0.signed(packet, 0);
        bench.accepted_bytes(76, "a long name", &bytes);
    }
}
