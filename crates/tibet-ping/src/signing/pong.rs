//! `jis-pong:v1`: the signature of a response, which binds it to the packet it answers.

use jis::{MessageWriter, Name, PublicKey, SecretKey, Signature, Tag};

use crate::canonical::payload_hash;
use crate::response::{PongClaim, Response};
use crate::signing::{SignError, VerifyError};

/// A response whose signature verified for one request under the key the responder's name is bound to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerifiedPong<'a> {
    response: &'a Response,
    claim: PongClaim,
}

impl<'a> VerifiedPong<'a> {
    /// The response. All of it is signed.
    #[must_use]
    pub fn response(&self) -> &'a Response {
        self.response
    }

    /// The key that signed it, and the generation.
    #[must_use]
    pub fn claim(&self) -> &PongClaim {
        &self.claim
    }
}

/// Signs `response` to the request with this [`request_hash`](crate::signing::request_hash): fills in its claim. Afterwards nothing in it may
/// change.
///
/// # Errors
/// [`SignError`] for a response that [`verify_pong`] would refuse.
pub fn sign_pong(
    response: &mut Response,
    request: &[u8; 32],
    key: &SecretKey,
    generation: u64,
) -> Result<(), SignError> {
    response.responder()?;
    if generation >= 1 << 53 {
        return Err(SignError::Member("generation"));
    }
    let message = message(response, request, &key.public_key(), generation);
    let signature: Signature = key.sign(&message);
    response.claim = Some(PongClaim { public_key: key.public_key(), generation, signature });
    Ok(())
}

/// Checks that `responder`, known by the key `expected`, signed `response` to the request with the hash `request`. A response that fails
/// must change nothing about the pending request (SECURITY R11).
///
/// # Errors
/// [`VerifyError`].
pub fn verify_pong<'a>(
    response: &'a Response,
    request: &[u8; 32],
    responder: &Name,
    expected: &PublicKey,
) -> Result<VerifiedPong<'a>, VerifyError> {
    let claim = response.claim.ok_or(VerifyError::Unsigned)?;
    if response.responder_did != responder.as_str() {
        return Err(VerifyError::WrongRequest);
    }
    if claim.public_key != *expected {
        return Err(VerifyError::WrongKey);
    }
    let message = message(response, request, expected, claim.generation);
    expected.verify(&message, &claim.signature).map_err(|_| VerifyError::BadSignature)?;
    Ok(VerifiedPong { response, claim })
}

/// M: the fields in the order of `docs/spec/ping.md`.
fn message(response: &Response, request: &[u8; 32], key: &PublicKey, generation: u64) -> Vec<u8> {
    MessageWriter::new(Tag::Pong)
        .bytes(request)
        .text(&response.response_id)
        .text(&response.in_response_to)
        .text(&response.responder_did)
        .bytes(key.as_bytes())
        .integer(generation)
        .text(response.decision.as_str())
        .text(&response.airlock_zone)
        .integer(response.trust_score.to_bits())
        .bytes(&payload_hash(&response.payload))
        .list(&response.capabilities)
        .bytes(&payload_hash(&response.fira_breakdown))
        .text(&response.timestamp)
        .list(&response.tibet_token_id)
        .list(&response.applied_rule)
        .list(response.rtt_ms.map(|ms| ms.to_bits().to_be_bytes()))
        .finish()
}
