//! The worked examples of `docs/spec/ping.md`, rebuilt from their fields: hash and signature byte for byte. They were made by an independent
//! Python program, as the page says.

mod common;

use std::collections::BTreeMap;

use common::bytes;
use jis::{Fingerprint, SecretKey, Signed, UnixTime, hex, message_hash};
use tibet_core::json::{self, Object, Value};
use tibet_ping::{
    Beacon, Encoding, Frame, Packet, PingType, Priority, Response, RoutingMode, beacon_in, discover_payload,
    request_hash, sign_ping, sign_pong, verify_ping, verify_pong,
};

struct Example(BTreeMap<String, String>);

impl Example {
    /// `field = value`, long values going on in indented lines.
    fn parse(block: &str) -> Self {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in block.lines() {
            if let Some(more) = line.strip_prefix("    ") {
                fields.entry(last.clone()).or_default().push_str(more);
                continue;
            }
            let (field, value) = line.split_once(" = ").expect(line);
            last = field.to_owned();
            assert_eq!(fields.insert(last.clone(), value.to_owned()), None, "{field} twice");
        }
        Self(fields)
    }

    /// Takes a field out, so that what is left at the end is what no test has looked at.
    fn take(&mut self, field: &str) -> String {
        self.0.remove(field).unwrap_or_else(|| panic!("no {field} in {:?}", self.0))
    }

    fn optional(&mut self, field: &str) -> Option<String> {
        Some(self.take(field)).filter(|text| text != "none")
    }

    fn integer(&mut self, field: &str) -> u64 {
        self.take(field).parse().expect(field)
    }

    fn map(&mut self, field: &str) -> Object {
        match json::parse(&self.take(field)).expect(field) {
            Value::Object(object) => object,
            other => panic!("{field} = {other:?}"),
        }
    }

    fn signer(&mut self) -> SecretKey {
        self.take("signer seed").parse().expect("seed")
    }

    /// M must be what the hash is of; M itself is not handed out by the crate.
    fn hash(&mut self) -> [u8; 32] {
        let hash = message_hash(&bytes(&self.take("M")));
        assert_eq!(hex::encode(&hash), self.take("hash"));
        hash
    }
}

fn examples() -> Vec<Example> {
    let path = format!("{}/../../docs/spec/ping.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(path).expect("page");
    let blocks = page.split("```example\n").skip(1).map(|rest| rest.split("```").next().expect("fence"));
    let mut found: Vec<_> = blocks.map(Example::parse).collect();
    let kinds: Vec<_> = found.iter_mut().map(|example| example.take("object")).collect();
    assert_eq!(kinds, ["ping", "ping", "pong", "beacon"]);
    found
}

fn ping(mut e: Example) -> [u8; 32] {
    let (signer, hash) = (e.signer(), e.hash());
    let generation = e.integer("generation");
    let target_key = e.optional("target_key").map(|key| key.parse().expect("key"));
    let expires_at = UnixTime::from_millis(e.integer("expires_at")).expect("time");
    let mut packet = Packet {
        packet_id: e.take("packet_id"),
        source_did: e.take("source"),
        target_did: e.take("target"),
        ping_type: PingType::from_word(&e.take("ping_type")).expect("type"),
        priority: Priority::from_number(e.integer("priority") as i64).expect("priority"),
        routing_mode: RoutingMode::from_word(&e.take("routing_mode")).expect("mode"),
        intent: e.take("intent"),
        purpose: e.take("purpose"),
        payload: e.map("payload"),
        pod_id: e.optional("pod_id"),
        station_id: e.optional("station_id"),
        hop_count: 4,
        max_hops: e.integer("max_hops").try_into().expect("hops"),
        nonce: e.take("nonce"),
        timestamp: e.take("timestamp"),
        tibet_token_id: e.optional("tibet_token_id"),
        vouched_by: Some("anybody".into()),
        vouch_signature: None,
        signature: String::new(),
        claim: None,
    };
    assert_eq!(sign_ping(&mut packet, &signer, generation, target_key, expires_at), Ok(hash));
    assert_eq!(packet.signature, e.take("signature"));
    assert!(e.0.is_empty(), "unread: {:?}", e.0);
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let datagram = packet.encode(encoding).expect("encoded");
        let Ok(Frame::Version1 { body, .. }) = Frame::read(&datagram) else { panic!("frame") };
        let read = Packet::decode(encoding, body).expect("decoded");
        assert_eq!(verify_ping(&read, &signer.public_key()).expect("verified").hash(), hash);
        assert_eq!(request_hash(&read), hash);
    }
    hash
}

#[test]
fn packets_and_the_response() {
    let mut all = examples();
    let mut e = all.remove(2);
    ping(all.remove(1));
    let request = ping(all.remove(0));

    let (signer, _) = (e.signer(), e.hash());
    assert_eq!(hex::encode(&request), e.take("request"));
    let generation = e.integer("generation");
    let responder = common::name(&e.take("responder"));
    let mut response = Response {
        response_id: e.take("response_id"),
        in_response_to: e.take("in_response_to"),
        responder_did: responder.as_str().into(),
        decision: tibet_ping::Decision::from_word(&e.take("decision")).expect("decision"),
        payload: e.map("payload"),
        capabilities: e.take("capabilities").split(' ').map(str::to_owned).collect(),
        trust_score: e.take("trust_score").parse().expect("score"),
        fira_breakdown: e.map("fira_breakdown"),
        tibet_token_id: e.optional("tibet_token_id"),
        timestamp: e.take("timestamp"),
        rtt_ms: Some(e.take("rtt_ms").parse().expect("ms")),
        airlock_zone: e.take("airlock_zone"),
        applied_rule: e.optional("applied_rule"),
        claim: None,
    };
    sign_pong(&mut response, &request, &signer, generation).expect("signed");
    assert_eq!(response.claim.expect("claim").signature.to_string(), e.take("signature"));
    assert!(e.0.is_empty(), "unread: {:?}", e.0);
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let datagram = response.encode(encoding).expect("encoded");
        let Ok(Frame::Version1 { body, .. }) = Frame::read(&datagram) else { panic!("frame") };
        let read = Response::decode(encoding, body).expect("decoded");
        assert!(verify_pong(&read, &request, &responder, &signer.public_key()).is_ok());
    }
}

#[test]
fn beacon() {
    let mut e = examples().remove(3);
    let signer = e.signer();
    let m = e.0["M"].clone();
    e.hash();
    let beacon = Beacon {
        id: hex::decode_array(&e.take("id")).expect("id"),
        name: common::name(&e.take("name")),
        fingerprint: Fingerprint::from_bytes(hex::decode_array(&e.take("fingerprint")).expect("fingerprint")),
        key_hash: hex::decode_array(&e.take("key_hash")).expect("hash"),
        port: e.integer("port").try_into().expect("port"),
        capabilities: e.take("capabilities").split(' ').map(|c| c.parse().expect("capability")).collect(),
        device_type: e.take("device_type").parse().expect("type"),
        requested_pod: e.optional("requested_pod"),
        issued_at: UnixTime::from_millis(e.integer("issued_at")).expect("time"),
    };
    assert_eq!(beacon.key_hash, Beacon::hash_of(&signer.public_key()));
    let sealed = Signed::seal(beacon, &signer).expect("sealed");
    assert_eq!(hex::encode(sealed.message()), m);
    assert_eq!(sealed.signature().to_string(), e.take("signature"));
    assert!(e.0.is_empty(), "unread: {:?}", e.0);
    assert_eq!(beacon_in(&discover_payload(&sealed)).as_ref(), Some(&sealed));
}
