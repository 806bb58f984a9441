//! Newer records and key events of identities that are registered.

use std::collections::BTreeSet;

use jis::{
    EventError, Identity, IdentityStatus, KeyEvent, Name, PublicKey, Record, Revocation, Signed,
    SignedRotation, UnixTime,
};
use tibet_core::object;

use super::names::describe;
use super::{Registered, Registry};
use crate::entry::Entry;
use crate::refusal::Refusal;
use crate::registration::MAX_EVENTS;
use crate::store::{KeyUse, Store};
use crate::update::CheckedUpdate;

/// How far a record's sequence number may jump ahead of the one held (SECURITY R43).
pub const MAX_SEQUENCE_JUMP: u64 = 1 << 20;

impl<S: Store> Registry<S> {
    /// Takes a newer record of a registered identity: a new address, other capabilities, a goodbye.
    ///
    /// # Errors
    /// [`Refusal`]. A second record for a version already held is kept as evidence and disputes the identity.
    pub fn update(&mut self, record: Signed<Record>, now: UnixTime) -> Result<Registered, Refusal> {
        self.check_clock(now)?;
        self.transact(|registry| {
            let (id, held) = registry.known_entry(&record.claims().name)?;
            // An old record is sent again more often than one is forged, and comparing numbers costs nothing.
            check_newer(&held, &record)?;
            let checked = CheckedUpdate::check(record, &held.identity)?;
            registry.take_record(id, held, checked, now)
        })
    }

    /// Like [`Registry::update`], for a record whose signature was verified elsewhere.
    ///
    /// # Errors
    /// As [`Registry::update`]; [`Refusal::WrongKey`] when the identity has changed its key since then.
    pub fn update_checked(&mut self, update: CheckedUpdate, now: UnixTime) -> Result<Registered, Refusal> {
        self.check_clock(now)?;
        self.transact(|registry| {
            let (id, held) = registry.known_entry(&update.record().claims().name)?;
            registry.take_record(id, held, update, now)
        })
    }

    /// Moves an identity to its next key, with the first record under that key.
    ///
    /// # Errors
    /// [`Refusal`]. A second rotation to a generation already reached is kept as evidence and disputes the identity.
    pub fn rotate(
        &mut self,
        rotation: SignedRotation,
        record: Signed<Record>,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        self.check_clock(now)?;
        self.transact(|registry| {
            let name = rotation.rotation.claims().name.clone();
            let (id, mut held) = registry.known_entry(&name)?;
            let event = KeyEvent::Rotation(rotation);
            let rotated = match held.identity.apply(&event, &[]) {
                Ok(rotated) => rotated,
                // A contradiction is kept as evidence there.
                Err(error) => {
                    return registry.apply_event(id, &mut held, &event, now).and(Err(error.into()));
                }
            };
            // The record is looked at before the rotation is written: the two belong together.
            let checked = CheckedUpdate::check(record, &rotated)?;
            let claims = checked.record().claims();
            claims.check_time(now)?;
            registry.check_new_sequence(0, claims.version.seq)?;
            registry.check_transport_key(claims)?;
            registry.apply_event(id, &mut held, &event, now)?;
            registry.take_record(id, held, checked, now)
        })
    }

    /// Ends a key or a name.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn revoke(&mut self, revocation: Signed<Revocation>, now: UnixTime) -> Result<(), Refusal> {
        self.check_clock(now)?;
        self.transact(|registry| {
            let name = revocation.claims().name.clone();
            let (id, mut held) = registry.known_entry(&name)?;
            registry.apply_event(id, &mut held, &KeyEvent::Revocation(revocation), now)
        })
    }

    /// Applies one key event to `held` and stores it with its token.
    pub(super) fn apply_event(
        &mut self,
        id: u64,
        held: &mut Entry,
        event: &KeyEvent,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let name = held.identity.name.clone();
        let ancestors = match event {
            KeyEvent::Revocation(_) => self.ancestors(&name)?,
            KeyEvent::Inception(_) | KeyEvent::Rotation(_) => Vec::new(),
        };
        let next = match held.identity.apply(event, &ancestors) {
            Ok(next) => next,
            Err(EventError::Equivocation) => {
                let ours = held.events.iter().rfind(|event| matches!(event, KeyEvent::Rotation(_)));
                let ours = ours.map(KeyEvent::encode).unwrap_or_default();
                self.dispute(id, held, &ours, &event.encode(), "rotations", now)?;
                return Err(Refusal::Equivocation("rotations"));
            }
            Err(error) => return Err(error.into()),
        };
        if next.key != held.identity.key {
            self.check_event_count(held, 1)?;
            self.check_identity_key(&next.key)?;
            self.store.bind_key(KeyUse::Identity, next.key.as_bytes(), id)?;
        }
        if next.status != IdentityStatus::Active {
            // Who may not speak is not found either.
            self.store.set_capabilities(id, &held.record.claims().capabilities, &BTreeSet::new())?;
        }
        held.identity = next;
        held.events.push(event.clone());
        let (action, details) = match event {
            KeyEvent::Revocation(revocation) => {
                let claims = revocation.claims();
                let ends = if held.identity.status == IdentityStatus::NameRevoked { "name" } else { "key" };
                (
                    "revoke",
                    object! { "ends" => ends, "by" => claims.signer.to_multibase(), "reason" => claims.reason.as_str() },
                )
            }
            KeyEvent::Inception(_) | KeyEvent::Rotation(_) => ("rotate", object! {}),
        };
        let mut details = details;
        details.insert("generation", i64::try_from(held.identity.generation).unwrap_or(i64::MAX));
        details.insert("key", held.identity.key.to_multibase());
        details.insert("event", jis::hex::encode(&event.hash()));
        self.record(action, held, details, now)?;
        self.store.replace(id, &name, &held.encode())?;
        Ok(())
    }

    /// Takes a record into `held` if it is newer, and stores the entry.
    pub(super) fn take_record(
        &mut self,
        id: u64,
        mut held: Entry,
        update: CheckedUpdate,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        let name = held.identity.name.clone();
        check_newer(&held, update.record())?;
        let record = update.for_holder(&held.identity)?;
        let (offered, current) = (record.claims().version, held.record.claims().version);
        if offered == current {
            if record.message() == held.record.message() {
                return self.registered(id, &held, false, now);
            }
            let ours = held.record.encode();
            self.dispute(id, &mut held, &ours, &record.encode(), "records", now)?;
            return Err(Refusal::Equivocation("records"));
        }
        record.claims().check_time(now)?;
        // A rotation restarts the count, so what a thief or a broken device did to it does not outlive the key.
        let base = if offered.generation == current.generation { current.seq } else { 0 };
        self.check_new_sequence(base, offered.seq)?;
        self.check_transport_key(record.claims())?;
        // After a revoked key was replaced, the old record's capabilities are no longer indexed.
        let rotated = offered.generation != current.generation;
        let old = if rotated { BTreeSet::new() } else { held.record.claims().capabilities.clone() };
        if rotated {
            self.store.set_capabilities(id, &held.record.claims().capabilities, &BTreeSet::new())?;
        }
        let moved = held.record.claims().endpoints != record.claims().endpoints;
        held.record = record;
        self.store.set_capabilities(id, &old, &held.record.claims().capabilities)?;
        let action = if moved { "endpoint_change" } else { "record_change" };
        let details = describe(&held);
        self.record(action, &mut held, details, now)?;
        self.bind_transport_key(id, &held)?;
        self.store.replace(id, &name, &held.encode())?;
        self.registered(id, &held, true, now)
    }

    /// There is room for so many more key events. A history of revocations ends by itself, and must never be kept from ending by this
    /// bound, so it is asked for rotations only.
    pub(super) fn check_event_count(&self, held: &Entry, more: usize) -> Result<(), Refusal> {
        if held.events.len().saturating_add(more) > MAX_EVENTS {
            Err(Refusal::Inconsistent("too many key events"))
        } else {
            Ok(())
        }
    }

    /// The key belongs to nobody here, and never did.
    pub(super) fn check_identity_key(&self, key: &PublicKey) -> Result<(), Refusal> {
        match self.store.name_of_key(KeyUse::Identity, key.as_bytes())? {
            Some(owner) => Err(Refusal::KeyInUse(owner)),
            None => Ok(()),
        }
    }

    pub(super) fn check_new_sequence(&self, held: u64, offered: u64) -> Result<(), Refusal> {
        if offered > held.saturating_add(MAX_SEQUENCE_JUMP) {
            Err(Refusal::SequenceJump { held })
        } else {
            Ok(())
        }
    }

    /// Keeps two contradicting objects, both validly signed, and marks the identity disputed: at most GEEL until the operator has
    /// settled it. What was kept before is settled or counted already: sent again, by anybody, it changes nothing.
    fn dispute(
        &mut self,
        id: u64,
        held: &mut Entry,
        ours: &[u8],
        theirs: &[u8],
        what: &str,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        if self.store.evidence(id)?.iter().any(|known| known.first == ours && known.second == theirs) {
            return Ok(());
        }
        self.store.add_evidence(id, ours, theirs, now)?;
        if !held.disputed {
            held.disputed = true;
            let digest = |bytes| jis::hex::encode(&jis::message_hash(bytes));
            let details =
                object! { "contradicting" => what, "first" => digest(ours), "second" => digest(theirs) };
            self.record("equivocation", held, details, now)?;
            let name = held.identity.name.clone();
            self.store.replace(id, &name, &held.encode())?;
        }
        Ok(())
    }

    /// One transport key belongs to one name, the first that named it. The later claim is refused and nothing else happens: naming a key
    /// proves nothing, so it must not harm the name that has it. See `docs/decisions/0005-copied-transport-keys.md`.
    pub(super) fn check_transport_key(&self, record: &Record) -> Result<(), Refusal> {
        let Some(key) = record.transport_key else { return Ok(()) };
        match self.store.name_of_key(KeyUse::Transport, key.as_bytes())? {
            Some(owner) if owner != record.name => Err(Refusal::KeyInUse(owner)),
            _ => Ok(()),
        }
    }

    pub(super) fn bind_transport_key(&mut self, id: u64, entry: &Entry) -> Result<(), Refusal> {
        if let Some(key) = entry.record.claims().transport_key {
            self.store.bind_key(KeyUse::Transport, key.as_bytes(), id)?;
        }
        Ok(())
    }

    /// The identities of the names above, nearest first.
    fn ancestors(&self, name: &Name) -> Result<Vec<Identity>, Refusal> {
        let mut found = Vec::new();
        for above in std::iter::successors(name.parent(), Name::parent) {
            found.extend(self.entry(&above)?.map(|(_, entry)| entry.identity));
        }
        Ok(found)
    }

    pub(super) fn registered(
        &self,
        id: u64,
        entry: &Entry,
        changed: bool,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        Ok(Registered {
            name: entry.identity.name.clone(),
            fingerprint: entry.identity.fingerprint,
            version: entry.record.claims().version,
            expires_at: entry.record.claims().expires_at(),
            standing: self.standing_of(id, entry, now)?,
            changed,
        })
    }
}

/// The identity may speak, and the record is no older than the one held.
fn check_newer(held: &Entry, record: &Signed<Record>) -> Result<(), Refusal> {
    let Identity { name, status, .. } = &held.identity;
    if *status != IdentityStatus::Active {
        return Err(Refusal::Revoked { name: name.clone(), status: *status });
    }
    let (offered, held) = (record.claims().version, held.record.claims().version);
    if offered < held { Err(Refusal::Stale { offered, held }) } else { Ok(()) }
}
