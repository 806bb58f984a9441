//! Consent to a direct path: two devices tell each other where they may be looked for, and agree to look.
//!
//! Nobody sends packets to an address because a stranger named it: a device probes the other's candidates only after both have signed for this very
//! attempt (SECURITY R58). Wire format: `docs/spec/punch.md`.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::field::{read_key, read_name, read_time};
use crate::key::PublicKey;
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::permission::check_lifetime;
use crate::signed::SignedObject;
use crate::time::UnixTime;

/// One side's consent. Signed by its identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Punch {
    /// Who consents.
    pub from: Name,
    /// Its key.
    pub key: PublicKey,
    /// The generation of that key.
    pub generation: u64,
    /// With whom.
    pub to: Name,
    /// The other's key: consent given to one key is none to its successor.
    pub to_key: PublicKey,
    /// Random, never used twice.
    pub nonce: [u8; 16],
    /// The nonce of the consent that this one answers; zeros in the first of the two.
    pub answers: [u8; 16],
    /// When it was given.
    pub issued_at: UnixTime,
    /// Until when it counts: at most [`Punch::MAX_LIFETIME`] later.
    pub expires_at: UnixTime,
    /// Where it may be looked for, best first. At most [`Punch::MAX_CANDIDATES`], no repeats.
    pub candidates: Vec<Endpoint>,
}

impl Punch {
    /// The `answers` of a consent that begins.
    pub const FIRST: [u8; 16] = [0; 16];
    /// Longest validity (SECURITY R10).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(30);
    /// How far the two clocks may differ (SECURITY R21).
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);
    /// Most candidates: as many as a record has endpoints.
    pub const MAX_CANDIDATES: usize = 8;

    /// Whether this consent counts at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixTime) -> bool {
        self.issued_at <= now.saturating_add(Self::MAX_CLOCK_SKEW) && now <= self.expires_at
    }

    /// Whether this consent is the answer to `first`, from whom it was given to.
    #[must_use]
    pub fn answers(&self, first: &Self) -> bool {
        first.answers == Self::FIRST
            && self.answers == first.nonce
            && self.nonce != first.nonce
            && (&self.from, &self.key) == (&first.to, &first.to_key)
            && (&self.to, &self.to_key) == (&first.from, &first.key)
    }
}

impl SignedObject for Punch {
    const TAG: Tag = Tag::Punch;
    const FIELDS: u16 = 10;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .text(self.from.as_str())
            .bytes(self.key.as_bytes())
            .integer(self.generation)
            .text(self.to.as_str())
            .bytes(self.to_key.as_bytes())
            .bytes(&self.nonce)
            .bytes(&self.answers)
            .integer(self.issued_at.as_millis())
            .integer(self.expires_at.as_millis())
            .list(self.candidates.iter().map(Endpoint::to_bytes))
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let from = read_name(message, "from")?;
        let key = read_key(message, "key")?;
        let generation = message.integer("generation")?;
        let to = read_name(message, "to")?;
        let to_key = read_key(message, "to_key")?;
        let nonce = message.array("nonce")?;
        if nonce == Self::FIRST {
            return Err(DecodeError::Field("nonce"));
        }
        let answers = message.array("answers")?;
        let issued_at = read_time(message, "issued_at")?;
        let expires_at = read_time(message, "expires_at")?;
        check_lifetime(issued_at, expires_at, Self::MAX_LIFETIME)?;
        let mut candidates = Vec::new();
        for item in message.list("candidates", Self::MAX_CANDIDATES)? {
            let candidate = Endpoint::from_bytes(item).ok_or(DecodeError::Field("candidates"))?;
            if candidates.contains(&candidate) {
                return Err(DecodeError::Field("candidates"));
            }
            candidates.push(candidate);
        }
        Ok(Self { from, key, generation, to, to_key, nonce, answers, issued_at, expires_at, candidates })
    }
}
