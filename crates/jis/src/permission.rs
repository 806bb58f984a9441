//! Permissions to claim a name: a parent's grant, and a one-time enrolment token.
//!
//! Wire formats: `docs/spec/name-grant.md`, `docs/spec/enrolment-token.md`. What a registry makes of them is its policy.

use std::time::Duration;

use crate::field::{ABSENT, read_flag, read_key, read_name, read_optional_key, read_pattern, read_time};
use crate::key::PublicKey;
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::{Name, NamePattern};
use crate::signed::SignedObject;
use crate::time::UnixTime;

/// A parent's permission to claim a name below its own. Signed by the parent's identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameGrant {
    /// Random, names this grant.
    pub id: [u8; 16],
    /// The name that grants.
    pub parent: Name,
    /// Its generation.
    pub parent_generation: u64,
    /// Its key.
    pub parent_key: PublicKey,
    /// The names granted, all below `parent`.
    pub pattern: NamePattern,
    /// The only key that may use the grant; none for any key.
    pub subject: Option<PublicKey>,
    /// The registry it is meant for.
    pub origin: Name,
    /// Whether the grant may take an existing name from its key. Such a grant waits 72 hours (SECURITY R32).
    pub overrides: bool,
    /// When it was given.
    pub issued_at: UnixTime,
    /// Until when it can be used: at most a year.
    pub expires_at: UnixTime,
}

impl NameGrant {
    /// Longest life (SECURITY R10).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);
}

impl SignedObject for NameGrant {
    const TAG: Tag = Tag::NameGrant;
    const FIELDS: u16 = 10;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .bytes(&self.id)
            .text(self.parent.as_str())
            .integer(self.parent_generation)
            .bytes(self.parent_key.as_bytes())
            .text(&self.pattern.to_string())
            .bytes(&self.subject.map_or(ABSENT, |key| *key.as_bytes()))
            .text(self.origin.as_str())
            .integer(self.overrides.into())
            .integer(self.issued_at.as_millis())
            .integer(self.expires_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let grant = Self {
            id: message.array("id")?,
            parent: read_name(message, "parent")?,
            parent_generation: message.integer("parent_generation")?,
            parent_key: read_key(message, "parent_key")?,
            pattern: read_pattern(message, "pattern")?,
            subject: read_optional_key(message, "subject")?,
            origin: read_name(message, "origin")?,
            overrides: read_flag(message, "overrides")?,
            issued_at: read_time(message, "issued_at")?,
            expires_at: read_time(message, "expires_at")?,
        };
        if !is_below_or_at_wildcard(&grant.pattern, &grant.parent) {
            return Err(DecodeError::Field("pattern"));
        }
        check_lifetime(grant.issued_at, grant.expires_at, NameGrant::MAX_LIFETIME)?;
        Ok(grant)
    }
}

/// Every name the pattern matches lies below `parent`.
fn is_below_or_at_wildcard(pattern: &NamePattern, parent: &Name) -> bool {
    let below = NamePattern::Below(parent.clone());
    match pattern {
        NamePattern::Exact(name) => below.matches(name),
        NamePattern::Children(base) | NamePattern::Below(base) => base == parent || below.matches(base),
    }
}

/// An operator's permission to claim one name, once. Signed by a key the registry's policy names as an issuer.
///
/// It is a bearer token: whoever shows it first may use it, unless it names the device's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Random; a registry takes each once.
    pub id: [u8; 16],
    /// The operator's key.
    pub issuer: PublicKey,
    /// The names it is for.
    pub pattern: NamePattern,
    /// The only key that may use it; none for any key.
    pub subject: Option<PublicKey>,
    /// The registry it is meant for.
    pub origin: Name,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// Until when it can be used: at most 24 hours.
    pub expires_at: UnixTime,
}

impl EnrolmentToken {
    /// Longest life (SECURITY R10).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
}

impl SignedObject for EnrolmentToken {
    const TAG: Tag = Tag::Enrol;
    const FIELDS: u16 = 7;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .bytes(&self.id)
            .bytes(self.issuer.as_bytes())
            .text(&self.pattern.to_string())
            .bytes(&self.subject.map_or(ABSENT, |key| *key.as_bytes()))
            .text(self.origin.as_str())
            .integer(self.issued_at.as_millis())
            .integer(self.expires_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let token = Self {
            id: message.array("id")?,
            issuer: read_key(message, "issuer")?,
            pattern: read_pattern(message, "pattern")?,
            subject: read_optional_key(message, "subject")?,
            origin: read_name(message, "origin")?,
            issued_at: read_time(message, "issued_at")?,
            expires_at: read_time(message, "expires_at")?,
        };
        check_lifetime(token.issued_at, token.expires_at, Self::MAX_LIFETIME)?;
        Ok(token)
    }
}

/// Expiry comes after issue and not too long after (SECURITY R10).
pub(crate) fn check_lifetime(
    issued_at: UnixTime,
    expires_at: UnixTime,
    max: Duration,
) -> Result<(), DecodeError> {
    if expires_at <= issued_at || expires_at > issued_at.saturating_add(max) {
        return Err(DecodeError::Field("expires_at"));
    }
    Ok(())
}
