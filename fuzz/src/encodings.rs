//! F4: JSON and msgpack of one thing. SECURITY R7, R47 and 3.2 rows 9, 27, 29 to 37.
//!
//! - What is read in one encoding is written in the other and read again as the same, with the same bytes under a signature: the request's
//!   hash, the canonical text, a response's signature.
//! - A signature made over it verifies in both encodings.
//! - Nothing verifies under the sensor's or the hub's key but what they signed ([`honest`](super::honest)).
//!
//! The first byte of an input says what the body is: bit 0 a response, bit 1 msgpack, as the flags of a frame do.

use std::sync::OnceLock;

use tibet_ping::{
    Encoding, Kind, Packet, Response, canonical, request_hash, sign_ping, sign_pong, verify_ping, verify_pong,
};

use super::Verdict;
use super::bodies::{body, object_holds, written};
use super::honest::{self, REQUEST, at, key, name};

/// Checks one body and the byte before it.
pub fn check(input: &[u8]) -> Verdict {
    let Some((flags, bytes)) = input.split_first() else { return Verdict::Refused };
    let (from, to) = match flags & 2 {
        0 => (Encoding::Json, Encoding::Msgpack),
        _ => (Encoding::Msgpack, Encoding::Json),
    };
    if flags & 1 == 0 {
        let packet = Packet::decode(from, bytes);
        Verdict::of(packet.is_ok_and(|packet| packet_is_the_same(&packet, from, to, bytes.len())))
    } else {
        let response = Response::decode(from, bytes);
        Verdict::of(response.is_ok_and(|response| response_is_the_same(&response, from, to, bytes.len())))
    }
}

/// Whether the packet is legacy or what the sensor signed; not, if it says the sensor signed it and that is not so.
fn packet_is_the_same(packet: &Packet, from: Encoding, to: Encoding, length: usize) -> bool {
    let Some(there) = packet_through(packet, to, length) else { return true };
    assert_eq!(there, *packet);
    assert_eq!(request_hash(&there), request_hash(packet));
    assert_eq!(canonical::canonical_text(&there), canonical::canonical_text(packet));
    assert_eq!(canonical::payload_hash(&there.payload), canonical::payload_hash(&packet.payload));
    if let Some(back) = packet_through(&there, from, length) {
        assert_eq!(back.encode(from), packet.encode(from));
    }

    let believed = verify_ping(packet, &sensors_key()).map(|verified| verified.hash()).ok();
    assert_eq!(verify_ping(&there, &sensors_key()).map(|verified| verified.hash()).ok(), believed);
    if let Some(hash) = believed {
        assert!(honest_hashes().contains(&hash), "a forged packet: {packet:?}");
        return true;
    }

    // Signed by somebody else, with all of its own contents that can be signed.
    let mut signed = packet.clone();
    signed.source_did = "jis:fuzz".into();
    signed.target_did = "jis:home:hub".into();
    signed.nonce = "0123456789abcdef".repeat(2);
    signed.timestamp = "2026-01-02T03:04:05.000001+00:00".into();
    sign_ping(&mut signed, &key(9), 0, None, at(30)).expect("everything is as it must be");
    let hash = request_hash(&signed);
    for encoding in [from, to] {
        // The claim takes some 300 bytes more.
        if let Some(read) = packet_through(&signed, encoding, length) {
            let verified = verify_ping(&read, &key(9).public_key()).expect("signed");
            assert_eq!(verified.hash(), hash);
            assert_eq!(read.signature, signed.signature);
        }
    }
    packet.claim.is_none()
}

/// As [`packet_is_the_same`], of the hub.
fn response_is_the_same(response: &Response, from: Encoding, to: Encoding, length: usize) -> bool {
    let Some(there) = response_through(response, to, length) else { return true };
    assert_eq!(there, *response);
    if let Some(back) = response_through(&there, from, length) {
        assert_eq!(back.encode(from), response.encode(from));
    }

    let (hub, hubs_key) = (name("jis:home:hub"), key(1).public_key());
    let believed = verify_pong(response, &REQUEST, &hub, &hubs_key).is_ok();
    assert_eq!(verify_pong(&there, &REQUEST, &hub, &hubs_key).is_ok(), believed);
    if believed {
        assert_eq!(there, honest::response(), "a forged response");
        return true;
    }

    let mut signed =
        [response.clone(), there].map(|response| Response { responder_did: "jis:fuzz".into(), ..response });
    for response in &mut signed {
        sign_pong(response, &REQUEST, &key(9), 0).expect("everything is as it must be");
    }
    assert_eq!(signed[0].claim, signed[1].claim);
    let [signed, _] = signed;
    for encoding in [from, to] {
        if let Some(read) = response_through(&signed, encoding, length) {
            verify_pong(&read, &REQUEST, &name("jis:fuzz"), &key(9).public_key()).expect("signed");
            assert!(verify_pong(&read, &[8; 32], &name("jis:fuzz"), &key(9).public_key()).is_err());
        }
    }
    response.claim.is_none()
}

fn packet_through(packet: &Packet, encoding: Encoding, length: usize) -> Option<Packet> {
    let datagram = written(packet.encode(encoding), length, object_holds(&packet.payload, 2))?;
    Some(Packet::decode(encoding, body(&datagram, Kind::Packet, encoding)).expect("was written here"))
}

fn response_through(response: &Response, encoding: Encoding, length: usize) -> Option<Response> {
    let members = object_holds(&response.payload, 2) + object_holds(&response.fira_breakdown, 2);
    let datagram = written(response.encode(encoding), length, members)?;
    Some(Response::decode(encoding, body(&datagram, Kind::Response, encoding)).expect("was written here"))
}

fn sensors_key() -> jis::PublicKey {
    static KEY: OnceLock<jis::PublicKey> = OnceLock::new();
    *KEY.get_or_init(|| key(0).public_key())
}

fn honest_hashes() -> &'static [[u8; 32]] {
    static HASHES: OnceLock<Vec<[u8; 32]>> = OnceLock::new();
    HASHES.get_or_init(|| honest::packets().iter().map(request_hash).collect())
}
