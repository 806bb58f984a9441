//! What the registry knows of one identity, and how it is stored.
//!
//! ```text
//! 0x01 · status u8 · disputed u8 · behind_nat u8 · generation u64 · fingerprint 32 · key 32 · next 32 · last_event 32
//! · registered_at u64 · interactions u64 · verify_pass u64 · verify_fail u64 · anomalies u64 · last_success u64 · explicit f64
//! · vouches u32 · seq u64 · expires_at u64 · u32 length · last token id · u32 length · record (M ‖ signature)
//! · u32 length · history ( n × ( u32 length · event ) )
//! ```
//!
//! All integers big-endian. A missing `last_success` is 2^64 − 1, a missing `explicit` is a NaN. Stores treat this as bytes, so all of
//! them hold the same.

use std::ops::Range;
use std::sync::Arc;

use jis::{
    DecodeError, Fingerprint, Identity, IdentityStatus, KeyEvent, Name, NextKeyCommitment, PublicKey, Record,
    RecordVersion, Signed, UnixTime,
};

use crate::trust::{History, Standing};

/// Layout version, the first byte.
const LAYOUT: u8 = 1;
const NO_TIME: u64 = u64::MAX;

/// Everything about one identity.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) identity: Identity,
    pub(crate) events: Vec<KeyEvent>,
    pub(crate) record: Signed<Record>,
    pub(crate) registered_at: UnixTime,
    pub(crate) history: History,
    pub(crate) explicit_trust: Option<f64>,
    pub(crate) disputed: bool,
    /// Vouches ever taken for this identity; zero spares the look-up.
    pub(crate) vouches: u32,
    /// Id of the last token about this identity: the device's own chain.
    pub(crate) last_token: String,
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let record = self.record.encode();
        let claims = self.record.claims();
        let mut out = Vec::with_capacity(400 + record.len() + 256 * self.events.len());
        out.push(LAYOUT);
        out.push(match self.identity.status {
            IdentityStatus::Active => 0,
            IdentityStatus::KeyRevoked => 1,
            IdentityStatus::NameRevoked => 2,
        });
        out.push(self.disputed.into());
        out.push(claims.behind_nat.into());
        out.extend(self.identity.generation.to_be_bytes());
        out.extend(self.identity.fingerprint.as_bytes());
        out.extend(self.identity.key.as_bytes());
        out.extend(self.identity.next.as_bytes());
        out.extend(self.identity.last_event);
        out.extend(self.registered_at.as_millis().to_be_bytes());
        let History { interactions, verify_pass, verify_fail, anomalies, last_success } = self.history;
        for count in [interactions, verify_pass, verify_fail, anomalies] {
            out.extend(count.to_be_bytes());
        }
        out.extend(last_success.map_or(NO_TIME, UnixTime::as_millis).to_be_bytes());
        out.extend(self.explicit_trust.unwrap_or(f64::NAN).to_be_bytes());
        out.extend(self.vouches.to_be_bytes());
        out.extend(claims.version.seq.to_be_bytes());
        out.extend(claims.expires_at().as_millis().to_be_bytes());
        push_block(&mut out, self.last_token.as_bytes());
        push_block(&mut out, &record);
        let mut events = Vec::new();
        for event in &self.events {
            push_block(&mut events, &event.encode());
        }
        push_block(&mut out, &events);
        out
    }

    /// Reads a whole entry, keys and signed objects included. For changing it; for looking at it [`Route::decode`] is far cheaper.
    pub(crate) fn decode(name: &Name, bytes: &[u8]) -> Result<Self, Damaged> {
        let fixed = Fixed::read(bytes)?;
        let identity = Identity {
            name: name.clone(),
            fingerprint: fixed.fingerprint,
            generation: fixed.generation,
            key: PublicKey::from_bytes(&fixed.key).map_err(|_| Damaged)?,
            next: NextKeyCommitment::from_bytes(fixed.next),
            last_event: fixed.last_event,
            status: fixed.status,
        };
        let mut events = Vec::new();
        let mut reader = Reader(&bytes[fixed.events]);
        while !reader.0.is_empty() {
            events.push(KeyEvent::decode(reader.block()?)?);
        }
        Ok(Self {
            identity,
            events,
            record: Signed::decode(&bytes[fixed.record])?,
            registered_at: fixed.registered_at,
            history: fixed.history,
            explicit_trust: fixed.explicit_trust,
            disputed: fixed.disputed,
            vouches: fixed.vouches,
            last_token: fixed.last_token.to_owned(),
        })
    }
}

/// What is needed to hand an identity's record on: nothing is parsed that only a change would need.
#[derive(Debug, Clone)]
pub struct Route {
    bytes: Arc<[u8]>,
    record: Range<usize>,
    events: Range<usize>,
    key: [u8; 32],
    next: [u8; 32],
    last_event: [u8; 32],
    /// Fingerprint of the identity.
    pub fingerprint: Fingerprint,
    /// Generation and sequence number of the record.
    pub version: RecordVersion,
    /// Whether the identity may speak.
    pub status: IdentityStatus,
    /// Whether the device says it sits behind a NAT.
    pub behind_nat: bool,
    /// Until when the record holds.
    pub expires_at: UnixTime,
    /// When the name was registered.
    pub registered_at: UnixTime,
    /// What the device's trust is computed from.
    pub history: History,
    /// Trust set by the operator.
    pub explicit_trust: Option<f64>,
    /// Whether contradicting signed objects were seen.
    pub disputed: bool,
    /// Vouches ever taken for the identity; with none, [`Route::own_standing`] is its standing.
    pub vouches: u32,
    /// The store's number for this identity, from 1 in the order of registration.
    pub id: u64,
}

impl Route {
    /// Reads the fixed part of an entry and where the others lie. `id` is the store's number for the identity.
    ///
    /// # Errors
    /// [`Damaged`] for bytes that are no entry.
    pub fn decode(id: u64, bytes: Arc<[u8]>) -> Result<Self, Damaged> {
        let fixed = Fixed::read(&bytes)?;
        Ok(Self {
            record: fixed.record,
            events: fixed.events,
            key: fixed.key,
            next: fixed.next,
            last_event: fixed.last_event,
            fingerprint: fixed.fingerprint,
            version: RecordVersion { generation: fixed.generation, seq: fixed.seq },
            status: fixed.status,
            behind_nat: fixed.behind_nat,
            expires_at: fixed.expires_at,
            registered_at: fixed.registered_at,
            history: fixed.history,
            explicit_trust: fixed.explicit_trust,
            disputed: fixed.disputed,
            vouches: fixed.vouches,
            id,
            bytes,
        })
    }

    /// The device's own signed record, `M ‖ signature`, as it published it.
    #[must_use]
    pub fn record_bytes(&self) -> &[u8] {
        &self.bytes[self.record.clone()]
    }

    /// The key bound to the name, 32 bytes.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// The key bound to the name.
    ///
    /// # Errors
    /// [`Damaged`] when the store no longer holds what was put in.
    pub fn key(&self) -> Result<PublicKey, Damaged> {
        PublicKey::from_bytes(&self.key).map_err(|_| Damaged)
    }

    /// The identity as it is now, without replaying its history. `name` is the name the entry was found by.
    ///
    /// # Errors
    /// [`Damaged`] when the store no longer holds what was put in.
    pub fn identity(&self, name: &Name) -> Result<Identity, Damaged> {
        Ok(Identity {
            name: name.clone(),
            fingerprint: self.fingerprint,
            generation: self.version.generation,
            key: self.key()?,
            next: NextKeyCommitment::from_bytes(self.next),
            last_event: self.last_event,
            status: self.status,
        })
    }

    /// How far to trust the identity by what was set and earned, without what others lend to it: its standing when
    /// [`Route::vouches`] is 0, and at most too low otherwise.
    #[must_use]
    pub fn own_standing(&self, now: UnixTime) -> Standing {
        self.standing(None, now)
    }

    /// Likewise, with the most that anybody lends.
    pub(crate) fn standing(&self, vouched: Option<f64>, now: UnixTime) -> Standing {
        if self.status != IdentityStatus::Active {
            return Standing::REVOKED;
        }
        Standing::of(self.explicit_trust, vouched, self.history.score(now), self.disputed)
    }

    /// The record, decoded and verified under the bound key.
    ///
    /// # Errors
    /// [`Damaged`] when the store no longer holds what was put in.
    pub fn record(&self) -> Result<Signed<Record>, Damaged> {
        let record = Signed::<Record>::decode(self.record_bytes())?;
        record.verify(&self.key()?).map_err(|_| Damaged)?;
        Ok(record)
    }

    /// The identity's key events, inception first, not yet replayed.
    ///
    /// # Errors
    /// [`Damaged`] when the store no longer holds what was put in.
    pub fn events(&self) -> Result<Vec<KeyEvent>, Damaged> {
        self.event_bytes().map(|event| Ok(KeyEvent::decode(event)?)).collect()
    }

    /// The identity's key events as they were signed, inception first, none of them parsed.
    pub fn event_bytes(&self) -> impl Iterator<Item = &[u8]> {
        // That the blocks fill their range was checked when the entry was read.
        let mut reader = Reader(&self.bytes[self.events.clone()]);
        std::iter::from_fn(move || reader.block().ok())
    }
}

/// A stored entry is not what was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored entry is damaged")]
pub struct Damaged;

impl From<DecodeError> for Damaged {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// The fixed part, and where the variable parts lie.
struct Fixed<'a> {
    status: IdentityStatus,
    disputed: bool,
    behind_nat: bool,
    generation: u64,
    fingerprint: Fingerprint,
    key: [u8; 32],
    next: [u8; 32],
    last_event: [u8; 32],
    registered_at: UnixTime,
    history: History,
    explicit_trust: Option<f64>,
    vouches: u32,
    seq: u64,
    expires_at: UnixTime,
    last_token: &'a str,
    record: Range<usize>,
    events: Range<usize>,
}

impl<'a> Fixed<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        let [LAYOUT, status, disputed, behind_nat] = reader.array()? else { return Err(Damaged) };
        let status = match status {
            0 => IdentityStatus::Active,
            1 => IdentityStatus::KeyRevoked,
            2 => IdentityStatus::NameRevoked,
            _ => return Err(Damaged),
        };
        let generation = reader.integer()?;
        let fingerprint = Fingerprint::from_bytes(reader.array()?);
        let (key, next, last_event) = (reader.array()?, reader.array()?, reader.array()?);
        let registered_at = reader.time()?;
        let [interactions, verify_pass, verify_fail, anomalies] =
            [reader.integer()?, reader.integer()?, reader.integer()?, reader.integer()?];
        let last_success = match reader.integer()? {
            NO_TIME => None,
            millis => Some(UnixTime::from_millis(millis).ok_or(Damaged)?),
        };
        let explicit = f64::from_be_bytes(reader.array()?);
        let vouches = u32::from_be_bytes(reader.array()?);
        let seq = reader.integer()?;
        let expires_at = reader.time()?;
        let last_token = std::str::from_utf8(reader.block()?).map_err(|_| Damaged)?;
        let mut block = || -> Result<Range<usize>, Damaged> {
            let length = reader.block()?.len();
            let end = bytes.len() - reader.0.len();
            Ok(end - length..end)
        };
        let (record, events) = (block()?, block()?);
        let mut history = Reader(&bytes[events.clone()]);
        while !history.0.is_empty() {
            history.block()?;
        }
        if !reader.0.is_empty() || disputed > 1 || behind_nat > 1 {
            return Err(Damaged);
        }
        Ok(Self {
            status,
            disputed: disputed == 1,
            behind_nat: behind_nat == 1,
            generation,
            fingerprint,
            key,
            next,
            last_event,
            registered_at,
            history: History { interactions, verify_pass, verify_fail, anomalies, last_success },
            explicit_trust: (!explicit.is_nan()).then_some(explicit),
            vouches,
            seq,
            expires_at,
            last_token,
            record,
            events,
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Damaged)?;
        self.0 = tail;
        Ok(*head)
    }

    fn integer(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<UnixTime, Damaged> {
        UnixTime::from_millis(self.integer()?).ok_or(Damaged)
    }

    fn block(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| Damaged)?;
        let (block, tail) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = tail;
        Ok(block)
    }
}

fn push_block(out: &mut Vec<u8>, block: &[u8]) {
    let length = u32::try_from(block.len()).expect("records and histories are far below 4 GiB");
    out.extend(length.to_be_bytes());
    out.extend(block);
}
