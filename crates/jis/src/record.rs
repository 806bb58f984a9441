//! Endpoint records: where a device can be reached and what it offers, in its own signed words.
//!
//! Wire format: `docs/spec/record.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::field::{ABSENT, Capability, read_key, read_list, read_name, read_time};
use crate::fingerprint::{Fingerprint, NextKeyCommitment};
use crate::key::PublicKey;
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::signed::SignedObject;
use crate::time::UnixTime;
use crate::transport::TransportKey;

/// Flag bit 0 of a record: the device sits behind a NAT.
const FLAG_BEHIND_NAT: u64 = 1;

/// The order of an identity's records. A higher one replaces a lower one, whatever the clocks say (SECURITY R42, R43).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordVersion {
    /// The identity's generation; a rotation restarts `seq`.
    pub generation: u64,
    /// A stored counter, not a clock.
    pub seq: u64,
}

/// What the device says about its presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordStatus {
    /// The device is there.
    Active,
    /// The device has said goodbye; its endpoints will not answer.
    Away,
}

/// A device's endpoint record. Signed by its identity key, so that any cache, relay or registry can hand it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The identity's name.
    pub name: Name,
    /// The identity's fingerprint.
    pub fingerprint: Fingerprint,
    /// Generation and sequence number.
    pub version: RecordVersion,
    /// The identity key of that generation, which signs the record.
    pub key: PublicKey,
    /// The WireGuard key, for devices on the mesh.
    pub transport_key: Option<TransportKey>,
    /// When the record was made.
    pub issued_at: UnixTime,
    /// How long it holds: 1 s to 24 h, whole seconds.
    pub ttl: Duration,
    /// Where the device can be reached, best first. At most 8, no repeats.
    pub endpoints: Vec<Endpoint>,
    /// Names of the relays that will pass packets on to the device. At most 4, no repeats, not the device itself.
    pub relays: Vec<Name>,
    /// What the device offers. At most 32.
    pub capabilities: BTreeSet<Capability>,
    /// Whether the device is there.
    pub status: RecordStatus,
    /// SHA-256 of the M of the record before, zeros for the first.
    pub previous: [u8; 32],
    /// The commitment to the identity's next key, as in its last key event.
    pub next: NextKeyCommitment,
    /// Whether the device sits behind a NAT.
    pub behind_nat: bool,
}

/// Why a record does not hold at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordTimeError {
    /// Issued more than [`Record::MAX_CLOCK_LEAD`] in the future.
    #[error("the record is dated in the future; check the clock of the device that made it")]
    FromTheFuture,
    /// Its ttl has run out.
    #[error("the record has expired; the device has to publish a new one")]
    Expired,
}

impl Record {
    /// Most endpoints.
    pub const MAX_ENDPOINTS: usize = 8;
    /// Most relays.
    pub const MAX_RELAYS: usize = 4;
    /// Most capabilities.
    pub const MAX_CAPABILITIES: usize = 32;
    /// Longest ttl (SECURITY R10).
    pub const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
    /// Sequence numbers stay below 2^53, so that every JSON reader holds them exactly (SECURITY R43).
    pub const MAX_SEQ: u64 = (1 << 53) - 1;
    /// How far ahead of the reader's clock a record may be dated (SECURITY R43).
    pub const MAX_CLOCK_LEAD: Duration = Duration::from_secs(300);

    /// The last moment the record holds.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.issued_at.saturating_add(self.ttl)
    }

    /// Checks that the record holds at `now`.
    ///
    /// # Errors
    /// [`RecordTimeError`].
    pub fn check_time(&self, now: UnixTime) -> Result<(), RecordTimeError> {
        if self.issued_at > now.saturating_add(Self::MAX_CLOCK_LEAD) {
            return Err(RecordTimeError::FromTheFuture);
        }
        if now > self.expires_at() { Err(RecordTimeError::Expired) } else { Ok(()) }
    }
}

impl SignedObject for Record {
    const TAG: Tag = Tag::Record;
    const FIELDS: u16 = 15;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        let transport_key = self.transport_key.map_or(ABSENT, |key| *key.as_bytes());
        let status = match self.status {
            RecordStatus::Active => 1,
            RecordStatus::Away => 2,
        };
        message
            .text(self.name.as_str())
            .bytes(self.fingerprint.as_bytes())
            .integer(self.version.generation)
            .bytes(self.key.as_bytes())
            .bytes(&transport_key)
            .integer(self.version.seq)
            .integer(self.issued_at.as_millis())
            .integer(self.ttl.as_secs())
            .list(self.endpoints.iter().map(Endpoint::to_bytes))
            .list(self.relays.iter().map(Name::as_str))
            .list(self.capabilities.iter().map(Capability::as_str))
            .integer(status)
            .bytes(&self.previous)
            .bytes(self.next.as_bytes())
            .integer(if self.behind_nat { FLAG_BEHIND_NAT } else { 0 })
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let name = read_name(message, "name")?;
        let fingerprint = Fingerprint::from_bytes(message.array("fingerprint")?);
        let generation = message.integer("generation")?;
        let key = read_key(message, "key")?;
        let transport_key = match message.array("transport_key")? {
            ABSENT => None,
            bytes => Some(TransportKey::from_bytes(&bytes).map_err(|_| DecodeError::Field("transport_key"))?),
        };
        let seq = message.integer("seq")?;
        if seq > Self::MAX_SEQ {
            return Err(DecodeError::Field("seq"));
        }
        let issued_at = read_time(message, "issued_at")?;
        let ttl = Duration::from_secs(message.integer("ttl")?);
        if ttl.is_zero() || ttl > Self::MAX_TTL {
            return Err(DecodeError::Field("ttl"));
        }
        let endpoints = read_endpoints(message)?;
        let relays: Vec<Name> = read_list(message, "relays", Self::MAX_RELAYS)?;
        if relays.contains(&name) || has_repeats(&relays) {
            return Err(DecodeError::Field("relays"));
        }
        let capabilities: Vec<Capability> = read_list(message, "capabilities", Self::MAX_CAPABILITIES)?;
        if !capabilities.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Field("capabilities"));
        }
        let status = match message.integer("status")? {
            1 => RecordStatus::Active,
            2 => RecordStatus::Away,
            _ => return Err(DecodeError::Field("status")),
        };
        let previous = message.array("previous")?;
        let next = NextKeyCommitment::from_bytes(message.array("next")?);
        let behind_nat = match message.integer("flags")? {
            0 => false,
            FLAG_BEHIND_NAT => true,
            _ => return Err(DecodeError::Field("flags")),
        };
        Ok(Self {
            name,
            fingerprint,
            version: RecordVersion { generation, seq },
            key,
            transport_key,
            issued_at,
            ttl,
            endpoints,
            relays,
            capabilities: capabilities.into_iter().collect(),
            status,
            previous,
            next,
            behind_nat,
        })
    }
}

fn read_endpoints(message: &mut MessageReader<'_>) -> Result<Vec<Endpoint>, DecodeError> {
    let malformed = DecodeError::Field("endpoints");
    let items = message.list("endpoints", Record::MAX_ENDPOINTS)?;
    let endpoints: Vec<Endpoint> = items
        .into_iter()
        .map(|item| Endpoint::from_bytes(item).ok_or(malformed))
        .collect::<Result<_, _>>()?;
    if has_repeats(&endpoints) { Err(malformed) } else { Ok(endpoints) }
}

fn has_repeats<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().any(|(i, item)| items[..i].contains(item))
}
