//! Vectors, keys, packets and strategies for the tests beside.
#![allow(dead_code, unreachable_pub, reason = "shared by the test files beside; each uses its own part")]

use std::time::Duration;

use jis::{Name, SecretKey, UnixTime};
use proptest::prelude::*;
use tibet_core::json::{self, Object, Value};
use tibet_ping::{Fresh, Now, Packet, PingType, Priority, Response, RoutingMode};

/// Seeds of RFC 8032 §7.1, TEST 1, 2, 3. Published, so of no worth.
pub const SEEDS: [&str; 3] = [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
];

/// 2026-01-02T03:04:05Z, the moment most vectors play at.
pub const NOON: UnixTime = UnixTime::from_secs(1_767_323_045);

/// Key number `n` of [`SEEDS`]; for further numbers a seed made of the number.
pub fn key(n: usize) -> SecretKey {
    match SEEDS.get(n) {
        Some(seed) => seed.parse().expect("seed"),
        None => {
            let mut seed = [0x55; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            SecretKey::from_seed(seed.into()).expect("seed")
        }
    }
}

pub fn name(text: &str) -> Name {
    text.parse().expect(text)
}

/// `NOON` and some seconds.
pub fn at(seconds: i64) -> UnixTime {
    UnixTime::from_secs(NOON.as_secs().checked_add_signed(seconds).expect("after 1970"))
}

/// Both clocks, `seconds` after `NOON` and 1000 s after the start of the machine.
pub fn now(seconds: f64) -> Now {
    let millis = (seconds * 1000.0).round() as u64;
    Now {
        wall: UnixTime::from_millis(NOON.as_millis() + millis).expect("a time"),
        mono: Duration::from_secs(1000) + Duration::from_millis(millis),
    }
}

pub fn fresh(n: u64, now: UnixTime) -> Fresh {
    let mut nonce = [0; 16];
    nonce[8..].copy_from_slice(&n.to_be_bytes());
    Fresh { id: n.to_be_bytes(), nonce, now }
}

/// A packet of the sensor for the hub, unsigned.
pub fn packet(n: u64) -> Packet {
    Packet::intent(
        &name("jis:home:sensor"),
        &name("jis:home:hub"),
        "temperature.read",
        "Check room temperature",
        fresh(n, NOON),
    )
}

/// A packet of `packet`'s kind, signed by key 0 for the holder of key 1.
pub fn signed(n: u64) -> Packet {
    sign(packet(n), 0)
}

/// Signs with key `n`, to expire in 30 s, for a target whose key is key 1.
pub fn sign(mut packet: Packet, n: usize) -> Packet {
    let target = (packet.target_did != "broadcast").then(|| key(1).public_key());
    tibet_ping::sign_ping(&mut packet, &key(n), 0, target, at(30)).expect("signed");
    packet
}

// Vectors.

pub struct Case(pub Object);

/// The vector file, read with the exact number reader: a usual one changes the floats.
pub fn vectors(file: &str) -> Case {
    let path = format!("{}/../../testdata/vectors/reference/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect(file);
    match json::parse(&text).expect(file) {
        Value::Object(object) => Case(object),
        other => panic!("{file}: {other:?}"),
    }
}

impl Case {
    pub fn of(value: &Value) -> Self {
        Self(value.as_object().unwrap_or_else(|| panic!("a map: {value:?}")).clone())
    }

    pub fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    pub fn is_null(&self, name: &str) -> bool {
        matches!(self.0.get(name), None | Some(Value::Null))
    }

    pub fn text(&self, name: &str) -> &str {
        self.get(name).as_str().unwrap_or_else(|| panic!("{name} is no text"))
    }

    pub fn optional(&self, name: &str) -> Option<String> {
        if self.is_null(name) { None } else { Some(self.text(name).to_owned()) }
    }

    pub fn integer(&self, name: &str) -> i64 {
        self.get(name).as_integer().unwrap_or_else(|| panic!("{name} is no integer"))
    }

    pub fn number(&self, name: &str) -> f64 {
        number(self.get(name))
    }

    pub fn truth(&self, name: &str) -> bool {
        self.get(name).as_bool().unwrap_or_else(|| panic!("{name} is no truth value"))
    }

    pub fn list(&self, name: &str) -> &[Value] {
        self.get(name).as_array().unwrap_or_else(|| panic!("{name} is no list"))
    }

    pub fn texts(&self, name: &str) -> Vec<String> {
        self.list(name).iter().map(|item| item.as_str().expect("text").to_owned()).collect()
    }

    pub fn cases(&self, name: &str) -> Vec<Case> {
        self.list(name).iter().map(Case::of).collect()
    }

    pub fn map(&self, name: &str) -> Case {
        Case::of(self.get(name))
    }
}

/// A number of either kind.
pub fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        other => panic!("{other:?} is no number"),
    }
}

pub fn bytes(hex: &str) -> Vec<u8> {
    jis::hex::decode(hex).expect("hex")
}

// Pages.

/// The rows of the table that follows `heading` on a page of `docs/spec/`, as cells.
pub fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let path = format!("{}/../../docs/spec/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect(page);
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("no {heading:?} in {page}"));
    let lines =
        rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    lines
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect())
        .collect()
}

// Strategies.

/// Texts a member can be: anything short without control characters.
pub fn any_text() -> impl Strategy<Value = String> {
    "[ -~äλ中💡]{0,20}"
}

/// Values a payload can hold, of at most `depth` levels.
pub fn any_value(depth: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        (-200_i64..70_000).prop_map(Value::Integer),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::Float),
        "\\PC{0,40}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(depth, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::vec(("\\PC{0,6}", inner), 0..20)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

pub fn any_payload() -> impl Strategy<Value = Object> {
    prop::collection::vec(("\\PC{0,6}", any_value(4)), 0..6).prop_map(|members| members.into_iter().collect())
}

/// Any packet that can be written; not signed.
pub fn any_packet() -> impl Strategy<Value = Packet> {
    let optional = || prop::option::of(any_text());
    let kinds = (
        prop::sample::select(PingType::ALL),
        prop::sample::select(&[Priority::Lazy, Priority::Normal, Priority::Urgent][..]),
        prop::sample::select(RoutingMode::ALL),
    );
    let texts = (any_text(), any_text(), any_text(), any_text(), any_text(), any_text(), any_text());
    let optionals = (optional(), optional(), optional(), optional(), optional());
    (kinds, texts, any_text(), optionals, any_payload(), any::<u8>(), any::<u8>()).prop_map(
        |(kinds, texts, signature, optionals, payload, hop_count, max_hops)| Packet {
            packet_id: texts.0,
            source_did: texts.1,
            target_did: texts.2,
            ping_type: kinds.0,
            priority: kinds.1,
            routing_mode: kinds.2,
            intent: texts.3,
            purpose: texts.4,
            payload,
            pod_id: optionals.0,
            station_id: optionals.1,
            hop_count,
            max_hops,
            nonce: texts.5,
            timestamp: texts.6,
            tibet_token_id: optionals.2,
            vouched_by: optionals.3,
            vouch_signature: optionals.4,
            signature,
            claim: None,
        },
    )
}

/// Any packet that can be signed, signed by key 0.
pub fn any_signed() -> impl Strategy<Value = Packet> {
    (any_packet(), any::<bool>(), any::<u64>(), any::<bool>()).prop_map(
        |(mut packet, broadcast, n, known)| {
            packet.source_did = "jis:home:sensor".into();
            packet.target_did = if broadcast { "broadcast" } else { "jis:home:hub" }.into();
            let made = fresh(n, NOON);
            packet.nonce = jis::hex::encode(&made.nonce);
            packet.timestamp = "2026-01-02T03:04:05+00:00".into();
            let target = (known && !broadcast).then(|| key(1).public_key());
            tibet_ping::sign_ping(&mut packet, &key(0), n % 7, target, at(30)).expect("signed");
            packet
        },
    )
}

/// Any response that can be written; not signed.
pub fn any_response() -> impl Strategy<Value = Response> {
    let optional = || prop::option::of(any_text());
    let finite = || any::<f64>().prop_filter("finite", |n| n.is_finite());
    let texts = (any_text(), any_text(), any_text(), any_text(), any_text());
    let rest = (prop::option::of(finite()), optional(), optional(), prop::collection::vec(any_text(), 0..5));
    (prop::sample::select(tibet_ping::Decision::ALL), texts, any_payload(), any_payload(), finite(), rest)
        .prop_map(|(decision, texts, payload, fira_breakdown, trust_score, rest)| Response {
            response_id: texts.0,
            in_response_to: texts.1,
            responder_did: texts.2,
            decision,
            payload,
            capabilities: rest.3,
            trust_score,
            fira_breakdown,
            tibet_token_id: rest.1,
            timestamp: texts.3,
            rtt_ms: rest.0,
            airlock_zone: texts.4,
            applied_rule: rest.2,
            claim: None,
        })
}
