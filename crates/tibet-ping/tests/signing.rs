//! Signatures of packets and responses: SECURITY 3.2 rows 10, 29 to 37, and the properties behind them.

mod common;

use common::{any_packet, any_response, any_signed, any_value, at, key, name, now, packet, sign, signed};
use jis::{MessageWriter, PublicKey, Tag};
use proptest::prelude::*;
use tibet_core::object;
use tibet_ping::{
    Decision, Encoding, Frame, Packet, PingType, Priority, ReplayCache, ReplayConfig, Response, RoutingMode,
    Sender, SignError, VerifyError, request_hash, sign_ping, sign_pong, verify_ping, verify_pong,
};

fn sensor() -> PublicKey {
    key(0).public_key()
}

fn body(datagram: &[u8]) -> &[u8] {
    match Frame::read(datagram).expect("frame") {
        Frame::Version1 { body, .. } | Frame::Version2 { body, .. } => body,
    }
}

fn through(packet: &Packet, encoding: Encoding) -> Packet {
    Packet::decode(encoding, body(&packet.encode(encoding).expect("encoded"))).expect("decoded")
}

#[test]
fn an_honest_packet_is_believed() {
    let packet = signed(1);
    let verified = verify_ping(&packet, &sensor()).expect("verified");
    assert_eq!(verified.source(), &name("jis:home:sensor"));
    assert_eq!(verified.claim().public_key, sensor());
    assert_eq!(verified.timestamp().as_micros(), 1_767_323_045_000_000);
    assert_eq!(verified.hash(), request_hash(&packet));
    assert_eq!(verified.check_audience(&name("jis:home:hub"), &key(1).public_key()), Ok(()));
}

#[test]
fn row_29_signatures_of_the_wrong_shape() {
    let good = signed(1);
    for (signature, error) in [
        ("0".repeat(128), VerifyError::BadSignature),
        (good.signature[..126].to_owned(), VerifyError::Malformed("signature")),
        (format!("{}00", good.signature), VerifyError::Malformed("signature")),
        (String::new(), VerifyError::Malformed("signature")),
        (good.signature.replace(|_| true, "g"), VerifyError::Malformed("signature")),
    ] {
        let packet = Packet { signature: signature.clone(), ..good.clone() };
        assert_eq!(verify_ping(&packet, &sensor()).err(), Some(error), "{signature}");
        if error != VerifyError::BadSignature {
            // And none of these even gets as far.
            assert!(packet.encode(Encoding::Json).is_err());
            let text =
                String::from_utf8(body(&good.encode(Encoding::Json).expect("json")).to_vec()).expect("text");
            let text = text.replace(&good.signature, &signature);
            assert!(Packet::decode(Encoding::Json, text.as_bytes()).is_err(), "{signature}");
        }
    }
    // Without a claim there is no signature, whatever it says there.
    let unsigned = Packet { claim: None, ..good };
    assert_eq!(verify_ping(&unsigned, &sensor()).err(), Some(VerifyError::Unsigned));
}

#[test]
fn row_30_malleable_signatures() {
    // L, the order of the group, little-endian (RFC 8032 §5.1).
    let order = common::bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let good = signed(1);
    let mut bytes = common::bytes(&good.signature);
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(&order) {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits 32 bytes");
    let packet = Packet { signature: jis::hex::encode(&bytes), ..good.clone() };
    assert_eq!(verify_ping(&packet, &sensor()).err(), Some(VerifyError::BadSignature));
    let mut bytes = common::bytes(&good.signature);
    bytes[63] |= 0x80;
    let packet = Packet { signature: jis::hex::encode(&bytes), ..good };
    assert_eq!(verify_ping(&packet, &sensor()).err(), Some(VerifyError::BadSignature));
}

#[test]
fn row_31_and_32_weak_and_non_canonical_keys_are_no_keys() {
    let good =
        String::from_utf8(body(&signed(1).encode(Encoding::Json).expect("json")).to_vec()).expect("text");
    let own = sensor().to_multibase();
    // The identity point; a point of order 8; 2^255 − 19 + 1, which is 1 spelled otherwise.
    for hex in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        // 64 hex digits are read by jis elsewhere; here a key has one spelling.
        for spelled in [hex.to_owned(), format!("f{hex}")] {
            let text = good.replace(&own, &spelled);
            assert_ne!(text, good);
            assert!(Packet::decode(Encoding::Json, text.as_bytes()).is_err(), "{spelled}");
        }
    }
    let hex = jis::hex::encode(sensor().as_bytes());
    assert!(Packet::decode(Encoding::Json, good.replace(&own, &hex).as_bytes()).is_err());
    // A point of small order for R.
    let mut bytes = common::bytes(&signed(1).signature);
    bytes[..32]
        .copy_from_slice(&common::bytes("0100000000000000000000000000000000000000000000000000000000000000"));
    let packet = Packet { signature: jis::hex::encode(&bytes), ..signed(1) };
    assert_eq!(verify_ping(&packet, &sensor()).err(), Some(VerifyError::BadSignature));
}

#[test]
fn row_33_another_key_for_this_name() {
    let packet = sign(packet(1), 2);
    assert_eq!(verify_ping(&packet, &sensor()).err(), Some(VerifyError::WrongKey));
    // Claiming the right key with the wrong one's signature.
    let mut forged = packet;
    if let Some(claim) = &mut forged.claim {
        claim.public_key = sensor();
    }
    assert_eq!(verify_ping(&forged, &sensor()).err(), Some(VerifyError::BadSignature));
}

/// The same fields under every other tag are no packet.
#[test]
fn row_34_signatures_under_other_tags() {
    let packet = signed(1);
    let sender = key(0);
    let claim = packet.claim.expect("claim");
    let under = |tag| {
        MessageWriter::new(tag)
            .text(&packet.packet_id)
            .text(&packet.source_did)
            .bytes(claim.public_key.as_bytes())
            .integer(claim.generation)
            .text(&packet.target_did)
            .bytes(key(1).public_key().as_bytes())
            .text("intent")
            .integer(2)
            .text("direct")
            .text(&packet.intent)
            .text(&packet.purpose)
            // SHA-256 of `{}`.
            .bytes(&common::bytes("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"))
            .list::<&str>([])
            .list::<&str>([])
            .integer(10)
            .text(&packet.nonce)
            .text(&packet.timestamp)
            .integer(claim.expires_at.as_millis())
            .list::<&str>([])
            .finish()
    };
    for tag in Tag::ALL {
        let packet = Packet { signature: sender.sign(&under(tag)).to_string(), ..packet.clone() };
        let verified = verify_ping(&packet, &sensor()).map(|_| ());
        assert_eq!(verified.is_ok(), tag == Tag::Ping, "{}", tag.as_str());
    }
}

#[test]
fn row_35_packets_for_somebody_else() {
    let (hub, hub_key) = (name("jis:home:hub"), key(1).public_key());
    let check =
        |packet: &Packet| verify_ping(packet, &sensor()).expect("verified").check_audience(&hub, &hub_key);
    assert_eq!(check(&signed(1)), Ok(()));
    // Another name; our name with another key behind it.
    let other = sign(Packet { target_did: "jis:home:lamp".into(), ..packet(1) }, 0);
    assert_eq!(check(&other), Err(VerifyError::NotForUs));
    let mut stale = packet(1);
    sign_ping(&mut stale, &key(0), 0, Some(key(2).public_key()), at(30)).expect("signed");
    assert_eq!(check(&stale), Err(VerifyError::NotForUs));
    // A sender that does not know our key leaves it out.
    let mut keyless = packet(1);
    sign_ping(&mut keyless, &key(0), 0, None, at(30)).expect("signed");
    assert_eq!(check(&keyless), Ok(()));
    // For everybody, which names no key.
    let broadcast = Packet::heartbeat(&name("jis:home:sensor"), common::fresh(1, at(0)));
    assert_eq!(check(&sign(broadcast.clone(), 0)), Ok(()));
    let mut keyed = broadcast;
    let refused = sign_ping(&mut keyed, &key(0), 0, Some(hub_key), at(30));
    assert_eq!(refused, Err(SignError::Member("target_key")));
    assert!(keyed.claim.is_none());
}

type Change<T> = fn(&mut T);

/// One change for every member that is signed.
fn changes() -> Vec<(&'static str, Change<Packet>)> {
    fn claim(packet: &mut Packet) -> &mut tibet_ping::PingClaim {
        packet.claim.as_mut().expect("claim")
    }
    vec![
        ("packet_id", |p| p.packet_id.push('x')),
        ("source_did", |p| p.source_did = "jis:home:lamp".into()),
        ("target_did", |p| p.target_did = "jis:home:lamp".into()),
        ("ping_type", |p| {
            p.ping_type = if p.ping_type == PingType::Relay { PingType::Intent } else { PingType::Relay }
        }),
        ("priority", |p| {
            p.priority = if p.priority == Priority::Lazy { Priority::Urgent } else { Priority::Lazy }
        }),
        ("routing_mode", |p| {
            p.routing_mode =
                if p.routing_mode == RoutingMode::Mesh { RoutingMode::Direct } else { RoutingMode::Mesh }
        }),
        ("intent", |p| p.intent.push('x')),
        ("purpose", |p| p.purpose.push('x')),
        ("payload", |p| p.payload.insert("added", 1)),
        ("pod_id", |p| p.pod_id = if p.pod_id.is_some() { None } else { Some(String::new()) }),
        ("station_id", |p| p.station_id = if p.station_id.is_some() { None } else { Some(String::new()) }),
        ("max_hops", |p| p.max_hops ^= 1),
        ("nonce", |p| p.nonce = "f".repeat(32)),
        ("timestamp", |p| p.timestamp = "2026-01-02T03:04:05Z".into()),
        ("tibet_token_id", |p| {
            p.tibet_token_id = if p.tibet_token_id.is_some() { None } else { Some(String::new()) }
        }),
        ("generation", |p| claim(p).generation += 1),
        ("expires_at", |p| claim(p).expires_at = at(29)),
        ("target_key", |p| {
            claim(p).target_key =
                if p.claim.and_then(|c| c.target_key).is_some() { None } else { Some(key(2).public_key()) }
        }),
    ]
}

#[test]
fn row_36_purpose_routing_and_hops_are_signed() {
    let good = signed(1);
    for (member, change) in changes() {
        let mut packet = good.clone();
        change(&mut packet);
        assert_eq!(verify_ping(&packet, &sensor()).err(), Some(VerifyError::BadSignature), "{member}");
    }
    // Not signed, because relays change it or nobody reads it.
    let relayed =
        Packet { hop_count: 9, vouched_by: Some("x".into()), vouch_signature: Some("y".into()), ..good };
    assert!(verify_ping(&relayed, &sensor()).is_ok());
}

/// The rule that the payload's bytes are signed is not kept: docs/decisions/0010-payload-hash.md. Blanks and order do not matter, values do.
#[test]
fn row_37_payload_bytes_and_payload_meaning() {
    let mut good = Packet { payload: object! { "b" => 1, "a" => 2.0 }, ..packet(1) };
    good = sign(good, 0);
    let text = String::from_utf8(body(&good.encode(Encoding::Json).expect("json")).to_vec()).expect("text");
    let said = r#"{"b":1,"a":2.0}"#;
    assert!(text.contains(said));
    for (again, same) in [
        (r#"{ "a" : 2.0, "b":1}"#, true),
        (r#"{"b":1,"\u0061":20e-1}"#, true),
        (r#"{"b":1,"a":2}"#, false),
        (r#"{"b":1.0,"a":2.0}"#, false),
        (r#"{"b":1,"a":2.0000000000000004}"#, false),
    ] {
        let packet = Packet::decode(Encoding::Json, text.replace(said, again).as_bytes()).expect(again);
        assert_eq!(verify_ping(&packet, &sensor()).is_ok(), same, "{again}");
    }
}

fn answer(packet: &Packet) -> Response {
    let fresh = common::fresh(9, at(1));
    let response =
        Response::to(packet, &name("jis:home:hub"), Decision::Accept, tibet_core::Zone::Groen, 0.9, fresh);
    let mut response = Response { payload: object! { "celsius" => 21.5 }, ..response };
    sign_pong(&mut response, &request_hash(packet), &key(1), 0).expect("signed");
    response
}

#[test]
fn row_10_responses_that_answer_nothing() {
    let (hub, hub_key) = (name("jis:home:hub"), key(1).public_key());
    let (asked, other) = (signed(1), signed(2));
    let good = answer(&asked);
    assert!(verify_pong(&good, &request_hash(&asked), &hub, &hub_key).is_ok());
    // The right id and key, another request: one byte of the nonce is enough.
    let error = verify_pong(&good, &request_hash(&other), &hub, &hub_key).err();
    assert_eq!(error, Some(VerifyError::BadSignature));
    // The right id, another key; another name with its own key.
    let mut forged = good.clone();
    sign_pong(&mut forged, &request_hash(&asked), &key(2), 0).expect("signed");
    assert_eq!(
        verify_pong(&forged, &request_hash(&asked), &hub, &hub_key).err(),
        Some(VerifyError::WrongKey)
    );
    let mut lamp = Response { responder_did: "jis:home:lamp".into(), ..good.clone() };
    sign_pong(&mut lamp, &request_hash(&asked), &key(2), 0).expect("signed");
    let error = verify_pong(&lamp, &request_hash(&asked), &hub, &hub_key).err();
    assert_eq!(error, Some(VerifyError::WrongRequest));
    let unsigned = Response { claim: None, ..good };
    assert_eq!(
        verify_pong(&unsigned, &request_hash(&asked), &hub, &hub_key).err(),
        Some(VerifyError::Unsigned)
    );
}

#[test]
fn all_of_a_response_is_signed() {
    let (hub, hub_key) = (name("jis:home:hub"), key(1).public_key());
    let asked = signed(1);
    let good = answer(&asked);
    let changes: Vec<(&str, Change<Response>)> = vec![
        ("response_id", |r| r.response_id.push('x')),
        ("in_response_to", |r| r.in_response_to.push('x')),
        ("decision", |r| r.decision = Decision::Pending),
        ("payload", |r| r.payload.insert("celsius", 22.5)),
        ("capabilities", |r| r.capabilities.push("mqtt".into())),
        ("trust_score", |r| r.trust_score = 0.8),
        ("fira_breakdown", |r| r.fira_breakdown.insert("score", 0.9)),
        ("tibet_token_id", |r| r.tibet_token_id = Some("t".into())),
        ("timestamp", |r| r.timestamp.push('x')),
        ("rtt_ms", |r| r.rtt_ms = Some(0.0)),
        ("airlock_zone", |r| r.airlock_zone = "GEEL".into()),
        ("applied_rule", |r| r.applied_rule = Some(String::new())),
        ("generation", |r| r.claim.as_mut().expect("claim").generation = 1),
    ];
    for (member, change) in changes {
        let mut response = good.clone();
        change(&mut response);
        let error = verify_pong(&response, &request_hash(&asked), &hub, &hub_key).err();
        assert_eq!(error, Some(VerifyError::BadSignature), "{member}");
    }
}

#[test]
fn what_could_not_be_verified_is_not_signed() {
    let sign = |change: fn(&mut Packet), expires| {
        let mut packet = packet(1);
        change(&mut packet);
        let signed = sign_ping(&mut packet, &key(0), 0, None, expires);
        assert_eq!(signed.is_ok(), packet.claim.is_some());
        signed.err()
    };
    assert_eq!(sign(|_| (), at(30)), None);
    assert_eq!(sign(|_| (), at(0)), Some(SignError::Member("expires_at")));
    assert_eq!(sign(|_| (), at(31)), Some(SignError::Member("expires_at")));
    assert_eq!(sign(|p| p.nonce = "short".into(), at(30)), Some(SignError::Member("nonce")));
    assert_eq!(sign(|p| p.nonce = "A".repeat(32), at(30)), Some(SignError::Member("nonce")));
    assert_eq!(sign(|p| p.timestamp = "now".into(), at(30)), Some(SignError::Member("timestamp")));
    assert!(matches!(sign(|p| p.source_did = "jis:Home".into(), at(30)), Some(SignError::Name(_))));
    assert!(matches!(sign(|p| p.target_did = "Broadcast".into(), at(30)), Some(SignError::Name(_))));
    let mut packet = packet(1);
    assert_eq!(sign_ping(&mut packet, &key(0), 1 << 53, None, at(30)), Err(SignError::Member("generation")));
}

/// Row 66 whole: a forger who sends a packet's nonce first gains nothing.
#[test]
fn row_66_a_forged_packet_does_not_use_up_the_nonce() {
    let mut cache = ReplayCache::new(ReplayConfig::default(), [7; 16], now(0.0));
    let receive = |cache: &mut ReplayCache, packet: &Packet| {
        let expires = packet.claim.map(|claim| claim.expires_at);
        let sender = sensor();
        cache.check(Sender::Key(&sender), &packet.nonce, &packet.timestamp, expires, now(0.0)).is_ok()
            && verify_ping(packet, &sender).is_ok()
            && cache.insert(Sender::Key(&sender), &packet.nonce, &packet.timestamp, expires, now(0.0)).is_ok()
    };
    let honest = signed(1);
    let forged = Packet { signature: "00".repeat(64), ..honest.clone() };
    let same_id = Packet { intent: "door.unlock".into(), ..honest.clone() };
    assert!(!receive(&mut cache, &forged));
    assert!(!receive(&mut cache, &same_id));
    assert!(receive(&mut cache, &honest));
    assert!(!receive(&mut cache, &honest));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn both_encodings_have_one_signature(packet in any_signed()) {
        let hash = verify_ping(&packet, &sensor()).expect("verified").hash();
        let as_json = through(&packet, Encoding::Json);
        // As a relay does: read in one encoding, written in the other, one hop more.
        let relayed = Packet { hop_count: packet.hop_count.wrapping_add(1), ..as_json };
        let as_msgpack = through(&relayed, Encoding::Msgpack);
        prop_assert_eq!(verify_ping(&as_msgpack, &sensor()).expect("verified").hash(), hash);
        let back = through(&as_msgpack, Encoding::Json);
        prop_assert_eq!(&back.signature, &packet.signature);
        prop_assert_eq!(verify_ping(&back, &sensor()).expect("verified").hash(), hash);
    }

    #[test]
    fn any_change_of_a_signed_member_is_noticed(packet in any_signed(), which in 0..18_usize) {
        let mut changed = packet.clone();
        let (member, change) = changes()[which];
        change(&mut changed);
        prop_assert_ne!(&changed, &packet);
        prop_assert!(verify_ping(&changed, &sensor()).is_err(), "{}", member);
    }

    #[test]
    fn any_change_of_the_payload_is_noticed(packet in any_signed(), value in any_value(3)) {
        let mut changed = packet.clone();
        let name = packet.payload.iter().next().map_or("new".to_owned(), |(name, _)| name.clone());
        // −0.0 and 0.0 are equal to the computer, and not in the text that is signed.
        prop_assume!(packet.payload.get(&name) != Some(&value));
        changed.payload.insert(name, value);
        prop_assert!(verify_ping(&changed, &sensor()).is_err());
    }

    #[test]
    fn an_unsigned_packet_is_never_believed(packet in any_packet()) {
        prop_assert_eq!(verify_ping(&packet, &sensor()).err(), Some(VerifyError::Unsigned));
    }

    #[test]
    fn responses_keep_their_signature_in_both_encodings(response in any_response()) {
        let mut response = Response { responder_did: "jis:home:hub".into(), ..response };
        sign_pong(&mut response, &[5; 32], &key(1), 3).expect("signed");
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            let datagram = response.encode(encoding).expect("encoded");
            let read = Response::decode(encoding, body(&datagram)).expect("decoded");
            let verified = verify_pong(&read, &[5; 32], &name("jis:home:hub"), &key(1).public_key());
            prop_assert!(verified.is_ok());
            prop_assert!(verify_pong(&read, &[6; 32], &name("jis:home:hub"), &key(1).public_key()).is_err());
        }
    }
}
