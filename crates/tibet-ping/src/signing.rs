//! Signing packets and responses, and checking that the right key did.
//!
//! Wire format: `docs/spec/ping.md`. Both signatures cover decoded members through [`jis::MessageWriter`], never the text of a body: so JSON
//! and msgpack of one packet have one signature, and a relay may write a packet anew.

mod ping;
pub use ping::{VerifiedPing, request_hash, sign_ping, verify_ping};
mod pong;
pub use pong::{VerifiedPong, sign_pong, verify_pong};

use std::time::Duration;

use jis::NameError;

/// Longest life of a packet: from its timestamp to its expiry (SECURITY R10).
pub const MAX_LIFETIME: Duration = Duration::from_secs(30);

/// Why something cannot be signed: the caller's mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Source, target or responder is no canonical name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The named member is not what a signed packet must have.
    #[error("member {0} cannot be signed as it is")]
    Member(&'static str),
}

/// Why a packet or response is not believed. The first three are the ordinary ways to be a stranger, the rest are lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Not signed.
    #[error("not signed")]
    Unsigned,
    /// It says it is signed by another key than the one bound to the name.
    #[error("signed by another key than the one bound to the name")]
    WrongKey,
    /// Not for us: another name, or another key behind our name.
    #[error("meant for somebody else")]
    NotForUs,
    /// The named member is not what a signed packet has.
    #[error("malformed member {0}")]
    Malformed(&'static str),
    /// The response is from somebody else than the one expected, or answers another packet.
    #[error("answers another packet, or comes from somebody else")]
    WrongRequest,
    /// The signature does not verify.
    #[error("bad signature")]
    BadSignature,
}
