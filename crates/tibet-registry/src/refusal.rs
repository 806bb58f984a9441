//! Why the registry says no.

use jis::{
    BadSignature, DecodeError, EventError, IdentityStatus, Name, ProofError, RecordTimeError, RecordVersion,
    UnixTime,
};

use crate::store::StoreError;

/// Why a request was not carried out. Nothing has changed then, except where a variant says that evidence was kept.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Bytes that are not the object they should be.
    #[error("malformed request: {0}")]
    Malformed(#[from] DecodeError),
    /// A key event does not fit the identity.
    #[error("key event refused: {0}")]
    Event(#[from] EventError),
    /// The proof does not convince.
    #[error("not proven: {0}")]
    Proof(#[from] ProofError),
    /// The proof answers no challenge of ours, or one that was answered before.
    #[error("the proof answers no open challenge of this verifier")]
    NoSuchChallenge,
    /// The signature is not by the key bound to the name.
    #[error("the signature is not by the key bound to {0}; only the device that holds that key can do this")]
    WrongKey(Name),
    /// The record, certificate or history contradicts itself: different names, keys or generations in parts of one request.
    #[error("the parts of the request do not belong together: {0}")]
    Inconsistent(&'static str),
    /// The name belongs to another identity.
    #[error("{0} is taken by another key; choose another name, or ask its owner")]
    NameTaken(Name),
    /// The key already has a name.
    #[error("this key already has a name here: {0}; one key has one name")]
    KeyInUse(Name),
    /// A name above exists, or names below: first come does not decide.
    #[error("{name} needs a grant by {holder}, or an enrolment token")]
    PermissionNeeded {
        /// The name claimed.
        name: Name,
        /// The name above that exists, or the name claimed itself when names below it exist.
        holder: Name,
    },
    /// The policy of this registry takes no claims by first come.
    #[error("this registry takes new names only with an enrolment token or a grant")]
    ClosedToFirstCome,
    /// The policy does not give the name by itself; a human was asked (name policy with approval).
    #[error(
        "{0} waits for the approval of this registry's operator; try again when it was given, or use an enrolment token"
    )]
    WaitsForApproval(Name),
    /// The operator has denied this identity the name.
    #[error("{0} was denied to this key by this registry's operator")]
    Denied(Name),
    /// Another identity has asked for the name and was not refused.
    #[error("{0} was asked for by another key before; choose another name")]
    AskedFor(Name),
    /// Nobody asks for the name.
    #[error("nobody asks for {0} here")]
    NoRequest(Name),
    /// Too many new names from this network within the hour.
    #[error("too many new names from this network; try again after {retry_after}, or use an enrolment token")]
    Quota {
        /// When the next claim is possible.
        retry_after: UnixTime,
    },
    /// The grant or token does not permit this claim.
    #[error("the permission does not hold: {0}")]
    Permission(PermissionError),
    /// The name is not known.
    #[error("{0} is not registered here")]
    Unknown(Name),
    /// The identity's key or name is revoked.
    #[error("{name} is revoked ({})", if *status == IdentityStatus::NameRevoked { "the name, for ever" } else { "its key; the owner can rotate to the next key" })]
    Revoked {
        /// The name.
        name: Name,
        /// What is revoked.
        status: IdentityStatus,
    },
    /// The record does not hold now.
    #[error("record refused: {0}")]
    RecordTime(#[from] RecordTimeError),
    /// The record is older than the one held.
    #[error("record refused: version {}.{} is not newer than {}.{}, which is held", .offered.generation, .offered.seq, .held.generation, .held.seq)]
    Stale {
        /// Version offered.
        offered: RecordVersion,
        /// Version held.
        held: RecordVersion,
    },
    /// The record's sequence number is too far ahead (SECURITY R43).
    #[error("record refused: its sequence number jumps by more than 2^20; continue from {held}")]
    SequenceJump {
        /// Sequence number held.
        held: u64,
    },
    /// Two different signed objects exist where there may be one. Evidence was kept and the identity is disputed.
    #[error(
        "two different signed {0} exist for one version; both are kept as evidence and the identity is disputed"
    )]
    Equivocation(&'static str),
    /// A transport certificate is not valid now.
    #[error("the transport key's certificate is not valid now")]
    CertificateTime,
    /// A score that is no number from 0 to 1.
    #[error("a trust score is a number from 0 to 1")]
    Score,
    /// A vouch does not count.
    #[error("the vouch does not count: {0}")]
    Vouch(&'static str),
    /// The clock stands before this program was made, so no expiry can be judged.
    #[error("the clock shows {0}, before this program was made; set the clock")]
    ClockUnset(UnixTime),
    /// A bounded memory is full.
    #[error("too many {0} at the moment; try again in a minute")]
    Busy(&'static str),
    /// The storage below failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a grant or an enrolment token does not permit a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermissionError {
    /// Not signed by the parent's current key, or by a known issuer.
    #[error("it is not signed by the current key of the granting name, or of an issuer this registry knows")]
    Signer,
    /// For other names.
    #[error("it is for other names")]
    Pattern,
    /// For another key.
    #[error("it is for another key")]
    Subject,
    /// For another registry.
    #[error("it is for another registry")]
    Origin,
    /// Outside its time.
    #[error("it has expired, or is dated in the future")]
    Time,
    /// Used before.
    #[error("it was used before")]
    Used,
}

impl From<BadSignature> for PermissionError {
    fn from(BadSignature: BadSignature) -> Self {
        Self::Signer
    }
}

impl From<PermissionError> for Refusal {
    fn from(error: PermissionError) -> Self {
        Self::Permission(error)
    }
}
