//! The members of packets and responses as structs that serde reads and writes: no bounds, no checks, texts as they come.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tibet_ping::{Encoding, HEADER};

use crate::Outcome;

/// A request of 24 members, as `docs/spec/frame.md` lists them.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct RawRequest {
    packet_id: String,
    source_did: String,
    target_did: String,
    ping_type: String,
    priority: u8,
    routing_mode: String,
    intent: String,
    purpose: String,
    payload: Map<String, Value>,
    pod_id: Option<String>,
    station_id: Option<String>,
    hop_count: u8,
    max_hops: u8,
    nonce: String,
    timestamp: String,
    tibet_token_id: Option<String>,
    vouched_by: Option<String>,
    vouch_signature: Option<String>,
    signature: String,
    sig_scheme: String,
    public_key: String,
    generation: u64,
    target_key: Option<String>,
    expires_at: u64,
}

/// A response of 17 members.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct RawResponse {
    response_id: String,
    in_response_to: String,
    responder_did: String,
    decision: String,
    payload: Map<String, Value>,
    capabilities: Vec<String>,
    trust_score: f64,
    fira_breakdown: Map<String, Value>,
    tibet_token_id: Option<String>,
    timestamp: String,
    rtt_ms: Option<f64>,
    airlock_zone: String,
    applied_rule: Option<String>,
    sig_scheme: String,
    public_key: String,
    generation: u64,
    signature: String,
}

impl RawMessage for RawRequest {}
impl RawMessage for RawResponse {}

/// What the libraries make of a body and a frame.
pub(crate) trait RawMessage: PartialEq + Serialize + DeserializeOwned {
    fn read(encoding: Encoding, body: &[u8]) -> Outcome<Self> {
        Ok(match encoding {
            Encoding::Json => serde_json::from_slice(body)?,
            Encoding::Msgpack => rmp_serde::from_slice(body)?,
        })
    }

    /// Written behind a header, in one buffer.
    fn write(&self, encoding: Encoding) -> Outcome<Vec<u8>> {
        let mut frame = Vec::with_capacity(1024);
        frame.extend_from_slice(b"TP\x01\x00\0\0\0\0");
        match encoding {
            Encoding::Json => serde_json::to_writer(&mut frame, self)?,
            Encoding::Msgpack => rmp_serde::encode::write_named(&mut frame, self)?,
        }
        let length = u32::try_from(frame.len() - HEADER)?;
        frame[4..HEADER].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }
}
