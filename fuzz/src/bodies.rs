//! What every packet and response that was read has, whatever it was read from.

use tibet_core::json::{Object, Value};
use tibet_ping::{
    EncodeError, Encoding, Frame, Kind, MAX_CAPABILITIES, MAX_DEPTH, MAX_MAP_MEMBERS, MAX_MEMBERS, MAX_TEXT,
    Packet, Response,
};

/// Bodies up to this many bytes never become too large when they are written again: ASCII and full spellings of numbers take at most six
/// times the room.
const SURELY_SMALL: usize = 8 * 1024;
/// Members a packet has when all are written, and some to spare.
const OWN_MEMBERS: usize = 32;

/// Checks the bounds of a packet that was read from `length` bytes, and that it is written and read again as it is.
pub fn packet_holds(packet: &Packet, encoding: Encoding, length: usize) {
    let texts = [
        &packet.packet_id,
        &packet.source_did,
        &packet.target_did,
        &packet.intent,
        &packet.purpose,
        &packet.nonce,
        &packet.timestamp,
        &packet.signature,
    ];
    let optional = [
        &packet.pod_id,
        &packet.station_id,
        &packet.tibet_token_id,
        &packet.vouched_by,
        &packet.vouch_signature,
    ];
    texts.into_iter().chain(optional.into_iter().flatten()).for_each(|text| text_holds(text));
    let members = object_holds(&packet.payload, 2);
    if let Some(claim) = packet.claim {
        assert!(claim.generation < 1 << 53);
        assert!(jis::hex::decode_array::<64>(&packet.signature).is_some());
    }
    if let Some(datagram) = written(packet.encode(encoding), length, members) {
        let again =
            Packet::decode(encoding, body(&datagram, Kind::Packet, encoding)).expect("was written here");
        assert_eq!(again, *packet);
        // Equality takes 0.0 for −0.0; bytes do not.
        assert_eq!(again.encode(encoding), Ok(datagram));
    }
}

/// As [`packet_holds`].
pub fn response_holds(response: &Response, encoding: Encoding, length: usize) {
    let texts = [
        &response.response_id,
        &response.in_response_to,
        &response.responder_did,
        &response.timestamp,
        &response.airlock_zone,
    ];
    let optional = [&response.tibet_token_id, &response.applied_rule];
    texts.into_iter().chain(optional.into_iter().flatten()).for_each(|text| text_holds(text));
    assert!(response.capabilities.len() <= MAX_CAPABILITIES);
    response.capabilities.iter().for_each(|text| text_holds(text));
    assert!(response.trust_score.is_finite() && response.rtt_ms.is_none_or(f64::is_finite));
    assert!(response.claim.is_none_or(|claim| claim.generation < 1 << 53));
    let members = object_holds(&response.payload, 2) + object_holds(&response.fira_breakdown, 2);
    if let Some(datagram) = written(response.encode(encoding), length, members) {
        let read = Response::decode(encoding, body(&datagram, Kind::Response, encoding));
        let again = read.expect("was written here");
        assert_eq!(again, *response);
        assert_eq!(again.encode(encoding), Ok(datagram));
    }
}

/// The body of a frame that was written as this.
pub fn body(datagram: &[u8], kind: Kind, encoding: Encoding) -> &[u8] {
    match Frame::read(datagram) {
        Ok(Frame::Version1 { kind: k, encoding: e, body }) if (k, e) == (kind, encoding) => body,
        other => panic!("written as {kind:?} in {encoding:?}, read as {other:?}"),
    }
}

/// What was written. Only what lies near a bound may be refused: spelled out in full it lies beyond.
pub fn written(result: Result<Vec<u8>, EncodeError>, length: usize, members: usize) -> Option<Vec<u8>> {
    match result {
        Ok(datagram) => Some(datagram),
        Err(EncodeError::TooLarge(_)) if length > SURELY_SMALL => None,
        Err(EncodeError::TooComplex) if members > MAX_MEMBERS - OWN_MEMBERS => None,
        Err(error) => panic!("was read and is not written: {error}"),
    }
}

fn text_holds(text: &str) {
    assert!(text.len() <= MAX_TEXT);
    assert!(!text.contains(char::is_control));
}

/// Checks a map that opens level `level`; gives the members in it.
pub fn object_holds(object: &Object, level: usize) -> usize {
    assert!(level <= MAX_DEPTH && object.len() <= MAX_MAP_MEMBERS);
    let mut names: Vec<&str> = object.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name twice");
    let members = object.len() + object.iter().map(|(_, value)| value_holds(value, level)).sum::<usize>();
    assert!(members <= MAX_MEMBERS);
    members
}

/// Checks a value inside level `level`; gives the members in it.
fn value_holds(value: &Value, level: usize) -> usize {
    match value {
        Value::Object(object) => object_holds(object, level + 1),
        Value::Array(items) => {
            assert!(level < MAX_DEPTH);
            items.iter().map(|item| value_holds(item, level + 1)).sum()
        }
        Value::Float(number) => {
            assert!(number.is_finite());
            0
        }
        Value::BigInteger(number) => {
            assert!(number.as_str().parse::<u64>().is_ok());
            0
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Text(_) => 0,
    }
}
