//! One identity vouching for another.
//!
//! Wire format: `docs/spec/vouch.md`.

use std::time::Duration;

use crate::field::{Remark, read_key, read_name, read_remark, read_time};
use crate::fingerprint::Fingerprint;
use crate::key::PublicKey;
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::permission::check_lifetime;
use crate::signed::SignedObject;
use crate::time::UnixTime;

/// Who vouches, for whom, how strongly and for how long. Signed by the voucher's identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouch {
    /// Random, names this vouch.
    pub id: [u8; 16],
    /// Who vouches.
    pub voucher: Name,
    /// The voucher's generation.
    pub voucher_generation: u64,
    /// The voucher's key.
    pub voucher_key: PublicKey,
    /// For whom.
    pub subject: Name,
    /// The subject's fingerprint: a vouch is for an identity, not for whoever holds the name later.
    pub subject_fingerprint: Fingerprint,
    /// How much of the voucher's own trust is lent, in thousandths: 0 to 1000, usually 700.
    pub factor_permille: u64,
    /// Why.
    pub reason: Remark,
    /// When it was given.
    pub issued_at: UnixTime,
    /// Until when it counts: at most 30 days.
    pub expires_at: UnixTime,
}

impl Vouch {
    /// Longest life (SECURITY R10).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
    /// The usual factor, 0.7.
    pub const DEFAULT_FACTOR_PERMILLE: u64 = 700;
}

impl SignedObject for Vouch {
    const TAG: Tag = Tag::Vouch;
    const FIELDS: u16 = 10;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .bytes(&self.id)
            .text(self.voucher.as_str())
            .integer(self.voucher_generation)
            .bytes(self.voucher_key.as_bytes())
            .text(self.subject.as_str())
            .bytes(self.subject_fingerprint.as_bytes())
            .integer(self.factor_permille)
            .text(self.reason.as_str())
            .integer(self.issued_at.as_millis())
            .integer(self.expires_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let vouch = Self {
            id: message.array("id")?,
            voucher: read_name(message, "voucher")?,
            voucher_generation: message.integer("voucher_generation")?,
            voucher_key: read_key(message, "voucher_key")?,
            subject: read_name(message, "subject")?,
            subject_fingerprint: Fingerprint::from_bytes(message.array("subject_fingerprint")?),
            factor_permille: message.integer("factor_permille")?,
            reason: read_remark(message, "reason")?,
            issued_at: read_time(message, "issued_at")?,
            expires_at: read_time(message, "expires_at")?,
        };
        if vouch.factor_permille > 1000 {
            return Err(DecodeError::Field("factor_permille"));
        }
        if vouch.voucher == vouch.subject {
            return Err(DecodeError::Field("subject"));
        }
        check_lifetime(vouch.issued_at, vouch.expires_at, Self::MAX_LIFETIME)?;
        Ok(vouch)
    }
}
