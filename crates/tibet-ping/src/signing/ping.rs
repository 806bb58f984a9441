//! `jis-ping:v1`: the signature of a packet.

use jis::{MessageWriter, Name, PublicKey, SecretKey, Signature, Tag, UnixTime, message_hash};
use sha2::{Digest as _, Sha256};

use crate::canonical::{canonical_text, payload_hash};
use crate::packet::{Packet, PingClaim, Target};
use crate::signing::{MAX_LIFETIME, SignError, VerifyError};
use crate::timestamp::Timestamp;

/// Stands for the key of a target whose key is not known, or that is everybody.
const NO_KEY: [u8; 32] = [0; 32];

/// A packet whose signature verified under the key its source's name is bound to. There is no other way to make one.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedPing<'a> {
    packet: &'a Packet,
    source: Name,
    target: Target,
    claim: PingClaim,
    timestamp: Timestamp,
    hash: [u8; 32],
}

impl<'a> VerifiedPing<'a> {
    /// The packet. Its `hop_count`, `vouched_by` and `vouch_signature` are not signed.
    #[must_use]
    pub fn packet(&self) -> &'a Packet {
        self.packet
    }

    /// Who signed it.
    #[must_use]
    pub fn source(&self) -> &Name {
        &self.source
    }

    /// Whom it is for.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The key that signed it, the generation and the expiry.
    #[must_use]
    pub fn claim(&self) -> &PingClaim {
        &self.claim
    }

    /// When it was made.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// SHA-256 of its M: what a response is bound to, and what a relay remembers.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Whether it is for the holder of this name and key, or for everybody (SECURITY 3.2 row 35). A sender that does not know the key may
    /// leave it out; one that names a key means that key.
    ///
    /// # Errors
    /// [`VerifyError::NotForUs`].
    pub fn check_audience(&self, name: &Name, key: &PublicKey) -> Result<(), VerifyError> {
        let ours = match &self.target {
            Target::Broadcast => true,
            Target::Name(target) => target == name && self.claim.target_key.is_none_or(|named| named == *key),
        };
        if ours { Ok(()) } else { Err(VerifyError::NotForUs) }
    }
}

/// Signs `packet`: fills in its claim and signature.
///
/// `target_key` is the key the target is known by, `None` if it is not known; for a broadcast it must be `None`. The packet must have
/// been made at most [`MAX_LIFETIME`] before `expires_at`. Afterwards only `hop_count`, `vouched_by` and `vouch_signature` may change.
/// Returns [`request_hash`], which the response will be bound to.
///
/// # Errors
/// [`SignError`] for a packet that [`verify_ping`] would refuse.
pub fn sign_ping(
    packet: &mut Packet,
    key: &SecretKey,
    generation: u64,
    target_key: Option<PublicKey>,
    expires_at: UnixTime,
) -> Result<[u8; 32], SignError> {
    packet.source()?;
    packet.target()?;
    let claim = PingClaim { public_key: key.public_key(), generation, target_key, expires_at };
    check_members(packet, &claim).map_err(SignError::Member)?;
    let message = message(packet, &claim);
    packet.signature = key.sign(&message).to_string();
    packet.claim = Some(claim);
    Ok(message_hash(&message))
}

/// Checks that `expected` signed `packet`. `expected` is the key bound to the packet's source by record, by the operator or by a pin,
/// never the one in the packet (SECURITY R5). Costs one signature check at most, and none for what can be seen to be wrong without.
///
/// What is left to check: whom it is for, [`VerifiedPing::check_audience`]; whether it is fresh and new,
/// [`ReplayCache`](crate::replay::ReplayCache).
///
/// # Errors
/// [`VerifyError`].
pub fn verify_ping<'a>(packet: &'a Packet, expected: &PublicKey) -> Result<VerifiedPing<'a>, VerifyError> {
    let claim = packet.claim.ok_or(VerifyError::Unsigned)?;
    if claim.public_key != *expected {
        return Err(VerifyError::WrongKey);
    }
    let source = packet.source().map_err(|_| VerifyError::Malformed("source_did"))?;
    let target = packet.target().map_err(|_| VerifyError::Malformed("target_did"))?;
    let timestamp = check_members(packet, &claim).map_err(VerifyError::Malformed)?;
    let signature: Signature = packet.signature.parse().map_err(|_| VerifyError::Malformed("signature"))?;
    let message = message(packet, &claim);
    expected.verify(&message, &signature).map_err(|_| VerifyError::BadSignature)?;
    Ok(VerifiedPing { packet, source, target, claim, timestamp, hash: message_hash(&message) })
}

/// What the response to `packet` is bound to: SHA-256 of M, or of the canonical text of a packet that is not signed.
#[must_use]
pub fn request_hash(packet: &Packet) -> [u8; 32] {
    match &packet.claim {
        Some(claim) => message_hash(&message(packet, claim)),
        None => Sha256::digest(canonical_text(packet)).into(),
    }
}

/// What every signed packet has, whoever signs it: a proper nonce, a timestamp, a life of at most [`MAX_LIFETIME`], and no key for a
/// target that is everybody.
fn check_members(packet: &Packet, claim: &PingClaim) -> Result<Timestamp, &'static str> {
    let nonce = packet.nonce.as_bytes();
    if nonce.len() != 32 || !nonce.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("nonce");
    }
    if packet.target() == Ok(Target::Broadcast) && claim.target_key.is_some() {
        return Err("target_key");
    }
    if claim.generation >= 1 << 53 {
        return Err("generation");
    }
    let timestamp = Timestamp::parse(&packet.timestamp).ok_or("timestamp")?;
    let life = Timestamp::from(claim.expires_at).as_micros() - timestamp.as_micros();
    if (1..=MAX_LIFETIME.as_micros() as i64).contains(&life) { Ok(timestamp) } else { Err("expires_at") }
}

/// M: the fields in the order of `docs/spec/ping.md`.
fn message(packet: &Packet, claim: &PingClaim) -> Vec<u8> {
    MessageWriter::new(Tag::Ping)
        .text(&packet.packet_id)
        .text(&packet.source_did)
        .bytes(claim.public_key.as_bytes())
        .integer(claim.generation)
        .text(&packet.target_did)
        .bytes(claim.target_key.as_ref().map_or(&NO_KEY, |key| key.as_bytes()))
        .text(packet.ping_type.as_str())
        .integer(packet.priority.as_number().into())
        .text(packet.routing_mode.as_str())
        .text(&packet.intent)
        .text(&packet.purpose)
        .bytes(&payload_hash(&packet.payload))
        .list(&packet.pod_id)
        .list(&packet.station_id)
        .integer(packet.max_hops.into())
        .text(&packet.nonce)
        .text(&packet.timestamp)
        .integer(claim.expires_at.as_millis())
        .list(&packet.tibet_token_id)
        .finish()
}
