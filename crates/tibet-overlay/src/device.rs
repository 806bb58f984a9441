//! A device whose keys are on this machine.

mod files;
pub use files::DeviceFiles;
use files::StoredDevice;

use std::collections::BTreeSet;
use std::time::Duration;

use jis::{
    Capability, Challenge, DecodeError, Endpoint, EventError, Identity, IdentityStatus, Inception, KeyError,
    KeyEvent, Name, NextKeyCommitment, PublicKey, Record, RecordStatus, RecordVersion, Remark, Revocation,
    RevocationAuthority, RevocationScope, Rotation, SecretKey, Signed, SignedRotation, TransportCertificate,
    TransportSecret, UnixTime, Vouch, message_hash,
};
use tibet_ping::NodeIdentity;
use tibet_registry::{MAX_EVENTS, Permission, Registration};
use zeroize::Zeroizing;

use crate::secret_file::SecretFileError;
use crate::system::{NoRandomness, random};

/// A device's identity with its secret keys, able to sign what the device says.
///
/// With [`DeviceFiles`] it lives in a directory, and everything it signs is written there before it is handed out: a device that comes
/// back after a crash never signs two different things under one number.
#[derive(Debug)]
pub struct LocalDevice {
    identity: Identity,
    events: Vec<KeyEvent>,
    key: SecretKey,
    next: NextKey,
    transport: TransportSecret,
    record: Option<Signed<Record>>,
    files: Option<DeviceFiles>,
}

/// Where the pre-committed next key is.
#[derive(Debug)]
enum NextKey {
    /// With us, for devices that live in memory.
    Held(Box<SecretKey>),
    /// In its file, or wherever the owner has taken it.
    InFile,
}

/// Where a device is and what it offers. What is not set is left empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Where the device can be reached, best first.
    pub endpoints: Vec<Endpoint>,
    /// Whether it sits behind a NAT.
    pub behind_nat: bool,
    /// The relays that pass packets on to it. At most [`Record::MAX_RELAYS`].
    pub relays: Vec<Name>,
    /// What it offers.
    pub capabilities: BTreeSet<Capability>,
    /// How long the record holds.
    pub ttl: Duration,
    /// Whether the device is there.
    pub status: RecordStatus,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            behind_nat: false,
            relays: Vec::new(),
            capabilities: BTreeSet::new(),
            ttl: Record::MAX_TTL,
            status: RecordStatus::Active,
        }
    }
}

/// Why a device cannot do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A key file, or the directory of one.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A key file holds no usable key.
    #[error("{path}: {source}")]
    Pem {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: jis::pem::PemError,
    },
    /// The device's own file is damaged or of another version.
    #[error("{path}: {reason}")]
    State {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another program has changed the device since it was opened.
    #[error("{path} was changed by another program meanwhile")]
    ChangedMeanwhile {
        /// The file.
        path: std::path::PathBuf,
    },
    /// No randomness for a new key.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// A generated key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What should be signed has a list too long or a value out of its bounds.
    #[error("this cannot be signed: {0}")]
    Unsignable(#[from] DecodeError),
    /// The key does not fit the identity.
    #[error("the key does not fit: {0}")]
    Event(#[from] EventError),
    /// The identity can no longer speak.
    #[error("{name} is revoked; {}", if *status == IdentityStatus::KeyRevoked { "rotate it to its next key" } else { "its name has ended for ever" })]
    Revoked {
        /// The name.
        name: Name,
        /// What is revoked.
        status: IdentityStatus,
    },
    /// The history is as long as registries take it.
    #[error("{0} has as many key events as a registry takes, {MAX_EVENTS}; its key cannot be rotated again")]
    HistoryFull(Name),
    /// The challenge is not for this device, or not for now.
    #[error(transparent)]
    Answer(#[from] jis::AnswerError),
}

impl LocalDevice {
    /// A new device in memory, with new keys.
    ///
    /// # Errors
    /// [`DeviceError::Randomness`], or [`DeviceError::Event`] for a self-certifying name, which belongs to a key that exists.
    pub fn create(name: Name, now: UnixTime) -> Result<Self, DeviceError> {
        let next = new_key()?;
        Self::incept(name, new_key()?, next.public_key(), now)
            .map(|device| Self { next: NextKey::Held(next.into()), ..device })
    }

    fn incept(name: Name, key: SecretKey, next: PublicKey, now: UnixTime) -> Result<Self, DeviceError> {
        let next = NextKeyCommitment::to(&next);
        let inception = Inception { name, key: key.public_key(), next, created_at: now };
        let inception = Signed::seal(inception, &key)?;
        Ok(Self {
            identity: Identity::incept(&inception)?,
            events: vec![KeyEvent::Inception(inception)],
            key,
            next: NextKey::InFile,
            transport: TransportSecret::from_bytes(Zeroizing::new(random()?))?,
            record: None,
            files: None,
        })
    }

    /// Who the device is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The key events of the device's life.
    #[must_use]
    pub fn events(&self) -> &[KeyEvent] {
        &self.events
    }

    /// The last record it signed.
    #[must_use]
    pub fn record(&self) -> Option<&Signed<Record>> {
        self.record.as_ref()
    }

    /// Where its files are.
    #[must_use]
    pub fn files(&self) -> Option<&DeviceFiles> {
        self.files.as_ref()
    }

    /// The secret of its tunnels: a copy.
    ///
    /// # Errors
    /// [`DeviceError::Key`]; never, for one that was good before.
    pub fn transport(&self) -> Result<TransportSecret, DeviceError> {
        Ok(TransportSecret::from_bytes(self.transport.to_bytes())?)
    }

    /// The device as a node of the TP protocol, with a copy of its current key.
    ///
    /// # Errors
    /// [`DeviceError::Revoked`]: a revoked identity does not speak.
    pub fn node_identity(&self) -> Result<NodeIdentity, DeviceError> {
        self.check_active()?;
        let Identity { name, fingerprint, generation, .. } = &self.identity;
        let key = SecretKey::from_seed(self.key.to_seed())?;
        Ok(NodeIdentity { name: name.clone(), key, generation: *generation, fingerprint: *fingerprint })
    }

    /// The presence its last record tells of.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.record.as_ref().map_or_else(Presence::default, |record| {
            let Record { endpoints, behind_nat, relays, capabilities, ttl, status, .. } =
                record.claims().clone();
            Presence { endpoints, behind_nat, relays, capabilities, ttl, status }
        })
    }

    /// Whether the last record must be followed by a new one whatever it says: there is none under this key, it is dated in the future, or two fifths of
    /// its time have passed. Whoever renewed at the last moment would be late when a node is away; and who publishes from time to time, as a
    /// command does, is never out of date so.
    #[must_use]
    pub fn is_record_due(&self, now: UnixTime) -> bool {
        self.record.as_ref().is_none_or(|record| {
            let record = record.claims();
            record.version.generation != self.identity.generation
                || record.issued_at > now
                || now >= record.issued_at.saturating_add(record.ttl * 2 / 5)
        })
    }

    /// Signs a record of `presence`, unless the last one says the same and none [is due](Self::is_record_due).
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_if_due(&mut self, presence: Presence, now: UnixTime) -> Result<(), DeviceError> {
        if self.is_record_due(now) || self.presence() != presence {
            self.publish(presence, now)?;
        }
        Ok(())
    }

    /// Signs a record of `presence`, newer than any before.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing was signed under a new number then.
    pub fn publish(&mut self, presence: Presence, now: UnixTime) -> Result<Signed<Record>, DeviceError> {
        self.check_active()?;
        let seq = self.record.as_ref().map(|record| record.claims().version).map_or(0, |held| {
            if held.generation == self.identity.generation { held.seq.saturating_add(1) } else { 0 }
        });
        let record = self.make_record(seq, presence, now)?;
        self.save(&StoredDevice::new(&self.identity.name, &self.events, Some(&record)))?;
        self.record = Some(record.clone());
        Ok(record)
    }

    fn make_record(
        &self,
        seq: u64,
        presence: Presence,
        now: UnixTime,
    ) -> Result<Signed<Record>, DeviceError> {
        let Presence { endpoints, behind_nat, relays, capabilities, ttl, status } = presence;
        let record = Record {
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            version: RecordVersion { generation: self.identity.generation, seq },
            key: self.identity.key,
            transport_key: Some(self.transport.public_key()),
            issued_at: now,
            ttl,
            endpoints,
            relays,
            capabilities,
            status,
            previous: self.record.as_ref().map_or([0; 32], |record| message_hash(record.message())),
            next: self.identity.next,
            behind_nat,
        };
        Ok(Signed::seal(record, &self.key)?)
    }

    /// Everything a registry needs to take this device in: its history, its last record, the certificate of its transport key.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn registration(
        &mut self,
        permission: Option<Permission>,
        now: UnixTime,
    ) -> Result<Registration, DeviceError> {
        let record = match &self.record {
            Some(record) if record.claims().version.generation == self.identity.generation => record.clone(),
            _ => self.publish(self.presence(), now)?,
        };
        let certificate = TransportCertificate {
            name: self.identity.name.clone(),
            generation: self.identity.generation,
            key: self.identity.key,
            transport_key: self.transport.public_key(),
            not_before: now,
            not_after: now.saturating_add(TransportCertificate::MAX_LIFETIME),
        };
        let transport = Some(Signed::seal(certificate, &self.key)?);
        Ok(Registration { events: self.events.clone(), record, transport, permission })
    }

    /// Answers a challenge.
    ///
    /// # Errors
    /// [`DeviceError::Answer`], [`DeviceError::Randomness`].
    pub fn answer(&self, challenge: &Challenge, now: UnixTime) -> Result<Signed<jis::Proof>, DeviceError> {
        Ok(challenge.answer(&self.identity, &self.key, random()?, now)?)
    }

    /// Moves the device to its pre-committed next key and commits to a new one. The rotation and the first record under the new key
    /// are for the registries that know the device.
    ///
    /// `next` is the next key, for devices whose owner keeps it elsewhere; without it, the key in memory or in the next key's file is
    /// taken.
    ///
    /// # Errors
    /// [`DeviceError`]; the device is then as it was.
    pub fn rotate(
        &mut self,
        next: Option<SecretKey>,
        now: UnixTime,
    ) -> Result<(SignedRotation, Signed<Record>), DeviceError> {
        // Before any key is made: no registry would take the rotation, and the identity would be lost to all of them.
        if self.events.len() >= MAX_EVENTS {
            return Err(DeviceError::HistoryFull(self.identity.name.clone()));
        }
        let revealed = self.reveal_next_key(next)?;
        let after = new_key()?;
        let rotation = Rotation {
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            generation: self.identity.generation.saturating_add(1),
            key: revealed.public_key(),
            next: NextKeyCommitment::to(&after.public_key()),
            previous: self.identity.last_event,
            rotated_at: now,
        };
        // The old key co-signs while it is good for anything.
        let old = (self.identity.status == IdentityStatus::Active).then_some(&self.key);
        let rotation = SignedRotation::seal(rotation, &revealed, old)?;
        let event = KeyEvent::Rotation(rotation.clone());
        let identity = self.identity.apply(&event, &[])?;
        let mut rotated = Self {
            identity,
            events: [&self.events[..], &[event]].concat(),
            key: revealed,
            next: NextKey::InFile,
            transport: TransportSecret::from_bytes(self.transport.to_bytes())?,
            record: self.record.clone(),
            files: self.files.clone(),
        };
        let record = rotated.make_record(0, self.presence(), now)?;
        rotated.record = Some(record.clone());
        match &self.files {
            Some(files) => {
                files.commit_rotation(&self.stored(), &rotated.stored(), &rotated.key, &after)?;
            }
            None => rotated.next = NextKey::Held(after.into()),
        }
        *self = rotated;
        Ok((rotation, record))
    }

    /// Ends the device's current key, signed by that key, or its name, signed by the next key. The device is then revoked here too.
    ///
    /// # Errors
    /// [`DeviceError`]; the device is then as it was.
    pub fn revoke(
        &mut self,
        scope: RevocationScope,
        next: Option<SecretKey>,
        reason: Remark,
        now: UnixTime,
    ) -> Result<Signed<Revocation>, DeviceError> {
        let held = || SecretKey::from_seed(self.key.to_seed());
        let (authority, signer) = match scope {
            RevocationScope::Key => (RevocationAuthority::CurrentKey, held()?),
            RevocationScope::Name => (RevocationAuthority::NextKey, self.reveal_next_key(next)?),
        };
        let revocation = Revocation {
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            generation: self.identity.generation,
            key: self.identity.key,
            scope,
            authority,
            signer: signer.public_key(),
            reason,
            revoked_at: now,
        };
        let revocation = Signed::seal(revocation, &signer)?;
        let event = KeyEvent::Revocation(revocation.clone());
        let identity = self.identity.apply(&event, &[])?;
        let events = [&self.events[..], &[event]].concat();
        self.save(&StoredDevice::new(&self.identity.name, &events, self.record.as_ref()))?;
        self.events = events;
        self.identity = identity;
        Ok(revocation)
    }

    /// The next key: the one given, else the one in memory, else the one in its file.
    fn reveal_next_key(&self, given: Option<SecretKey>) -> Result<SecretKey, DeviceError> {
        match (given, &self.next, &self.files) {
            (Some(given), _, _) => Ok(given),
            (None, NextKey::Held(next), _) => Ok(SecretKey::from_seed(next.to_seed())?),
            (None, NextKey::InFile, Some(files)) => files.read_next_key(),
            (None, NextKey::InFile, None) => Err(EventError::NotCommitted.into()),
        }
    }

    /// The revocation that ended the device's key or name, if it was signed before and nothing came after it.
    #[must_use]
    pub fn revocation(&self, scope: RevocationScope) -> Option<Signed<Revocation>> {
        match self.events.last() {
            Some(KeyEvent::Revocation(revocation)) if revocation.claims().scope == scope => {
                Some(revocation.clone())
            }
            _ => None,
        }
    }

    /// Vouches for another identity with part of this one's trust.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn vouch(
        &self,
        subject: &Name,
        subject_fingerprint: jis::Fingerprint,
        factor_permille: u64,
        lifetime: Duration,
        reason: Remark,
        now: UnixTime,
    ) -> Result<Signed<Vouch>, DeviceError> {
        self.check_active()?;
        let vouch = Vouch {
            id: random()?,
            voucher: self.identity.name.clone(),
            voucher_generation: self.identity.generation,
            voucher_key: self.identity.key,
            subject: subject.clone(),
            subject_fingerprint,
            factor_permille,
            reason,
            issued_at: now,
            expires_at: now.saturating_add(lifetime),
        };
        Ok(Signed::seal(vouch, &self.key)?)
    }

    fn check_active(&self) -> Result<(), DeviceError> {
        let status = self.identity.status;
        if status == IdentityStatus::Active {
            return Ok(());
        }
        Err(DeviceError::Revoked { name: self.identity.name.clone(), status })
    }

    fn stored(&self) -> StoredDevice {
        StoredDevice::new(&self.identity.name, &self.events, self.record.as_ref())
    }

    /// Writes `after` over what is known of this device, where it has files.
    fn save(&self, after: &StoredDevice) -> Result<(), DeviceError> {
        self.files.as_ref().map_or(Ok(()), |files| files.save(&self.stored(), after))
    }
}

fn new_key() -> Result<SecretKey, DeviceError> {
    Ok(SecretKey::from_seed(Zeroizing::new(random()?))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_due_when_there_is_none_of_this_key_or_it_has_grown_old_or_its_date_is_to_come() {
        let start = UnixTime::from_secs(1_800_000_000);
        let at = |seconds: u64| start.saturating_add(Duration::from_secs(seconds));
        let presence = Presence { ttl: Duration::from_secs(100), ..Presence::default() };
        let mut device = LocalDevice::create("jis:sensor".parse().expect("a name"), start).expect("keys");
        assert!(device.is_record_due(at(10)), "there is none");
        device.publish_if_due(presence.clone(), at(10)).expect("signed");
        let seq = |device: &LocalDevice| device.record().map(|record| record.claims().version.seq);
        for (now, due) in [(9, true), (10, false), (49, false), (50, true), (1000, true)] {
            assert_eq!(device.is_record_due(at(now)), due, "{now} s");
        }
        device.publish_if_due(presence.clone(), at(49)).expect("signed");
        assert_eq!(seq(&device), Some(0), "it says the same and is not due");
        device.publish_if_due(Presence { behind_nat: true, ..presence.clone() }, at(49)).expect("signed");
        assert_eq!(seq(&device), Some(1), "it says something else");
        device.publish_if_due(Presence { behind_nat: true, ..presence }, at(89)).expect("signed");
        assert_eq!(seq(&device), Some(2), "it is due");
        device.rotate(None, at(89)).expect("rotated");
        assert!(!device.is_record_due(at(89)), "a rotation comes with a record");
    }
}
