//! The canonical text of a packet, as the Python packages define it, and the hash of a payload.

use sha2::{Digest as _, Sha256};
use tibet_core::json::{self, Object, Order, Separators};
use tibet_core::object;

use crate::packet::Packet;

/// The text that a signature of the Python packages would cover, if they made any: eight members as one JSON object, names sorted at
/// every level, no blanks, ASCII only. Ours cover more, see [`sign_ping`](crate::sign_ping).
#[must_use]
pub fn canonical_text(packet: &Packet) -> String {
    let signed = object! {
        "intent" => packet.intent.as_str(),
        "nonce" => packet.nonce.as_str(),
        "packet_id" => packet.packet_id.as_str(),
        "payload" => packet.payload.clone(),
        "ping_type" => packet.ping_type.as_str(),
        "source_did" => packet.source_did.as_str(),
        "target_did" => packet.target_did.as_str(),
        "timestamp" => packet.timestamp.as_str(),
    };
    sorted_text(&signed)
}

/// SHA-256 of the canonical text of a map: the same whether it came as JSON or msgpack, and whoever wrote it again on the way
/// (`docs/decisions/0010-payload-hash.md`).
#[must_use]
pub fn payload_hash(payload: &Object) -> [u8; 32] {
    Sha256::digest(sorted_text(payload)).into()
}

fn sorted_text(object: &Object) -> String {
    let mut text = String::new();
    json::write_object_into(&mut text, object, Separators::Compact, Order::Sorted);
    text
}
