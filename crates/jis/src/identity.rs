//! What key events do to an identity.

use crate::event::{Inception, KeyEvent, Revocation, RevocationAuthority, RevocationScope, SignedRotation};
use crate::fingerprint::{Fingerprint, NextKeyCommitment, message_hash};
use crate::key::{BadSignature, PublicKey};
use crate::name::Name;
use crate::record::Record;
use crate::signed::Signed;

/// Whether an identity may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityStatus {
    /// The current key is good.
    Active,
    /// The current key was revoked; a rotation to the committed next key brings the identity back.
    KeyRevoked,
    /// The name has ended for ever.
    NameRevoked,
}

/// The state of an identity after its key events so far.
///
/// An event is a step from one state to the next: [`Identity::incept`] begins, [`Identity::apply`] goes on. A step that is not
/// allowed leaves the state as it was and says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: Name,
    /// Hash of the inception; the same for the identity's whole life.
    pub fingerprint: Fingerprint,
    /// Number of rotations so far.
    pub generation: u64,
    /// The current key.
    pub key: PublicKey,
    /// Commitment to the key of the next generation.
    pub next: NextKeyCommitment,
    /// SHA-256 of the M of the last inception or rotation.
    pub last_event: [u8; 32],
    /// Whether the identity may speak.
    pub status: IdentityStatus,
}

/// Why a key event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The signature does not verify under the key that may sign this event.
    #[error("the event's signature does not verify under the key that may sign it")]
    BadSignature,
    /// The event speaks of another identity.
    #[error("the event belongs to another identity")]
    WrongIdentity,
    /// A self-certifying name was claimed for another key than the one it names.
    #[error("this name belongs to the key it spells, and to no other")]
    NotCertified,
    /// A second inception.
    #[error("the identity has begun already")]
    SecondInception,
    /// The generation is neither the next one nor one already reached.
    #[error("the event is for generation {found}, the identity is at {current}")]
    WrongGeneration {
        /// Generation in the event.
        found: u64,
        /// Generation of the identity.
        current: u64,
    },
    /// The revealed key is not the one that was committed to.
    #[error("the revealed key is not the one committed to")]
    NotCommitted,
    /// The event does not follow the last one.
    #[error("the event does not follow the identity's last event")]
    WrongPrevious,
    /// A second, different rotation to a generation already reached, validly signed: proof that the owner's next key signed
    /// two histories.
    #[error("two different rotations exist for this generation")]
    Equivocation,
    /// The signer's role may not end what the revocation ends.
    #[error(
        "this key may not revoke that: a current key can only revoke itself; the next key or a name above can end the name"
    )]
    NotAllowed,
    /// The name has ended; nothing follows.
    #[error("the name was revoked for ever")]
    Ended,
}

/// Why a record is not an identity's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Another name or fingerprint.
    #[error("the record is another identity's")]
    OtherIdentity,
    /// Another generation, key or commitment than the identity's last key event made.
    #[error("the record does not match the identity's last key event")]
    OtherGeneration,
    /// Not signed by the identity's key.
    #[error("the record is not signed by the identity's key")]
    BadSignature,
}

impl From<BadSignature> for EventError {
    fn from(BadSignature: BadSignature) -> Self {
        Self::BadSignature
    }
}

impl Identity {
    /// Begins an identity.
    ///
    /// # Errors
    /// [`EventError::BadSignature`], or [`EventError::NotCertified`] for a self-certifying name of another key.
    pub fn incept(event: &Signed<Inception>) -> Result<Self, EventError> {
        // The one place where a key inside an object is the key to expect: the inception defines the identity, and the
        // fingerprint made of it is what the name gets bound to.
        let claimed = event.claims();
        if claimed.name.certified_key().is_some_and(|key| key != claimed.key) {
            return Err(EventError::NotCertified);
        }
        let Inception { name, key, next, created_at: _ } = event.verify(&claimed.key)?;
        Ok(Self {
            name: name.clone(),
            fingerprint: Fingerprint::of_inception(event.message()),
            generation: 0,
            key: *key,
            next: *next,
            last_event: message_hash(event.message()),
            status: IdentityStatus::Active,
        })
    }

    /// Replays a whole history. `ancestors` are the identities of names above, needed where one of them revoked the name.
    ///
    /// # Errors
    /// [`EventError`] of the first event that does not fit; [`EventError::WrongIdentity`] for an empty history or one that does not
    /// begin with an inception.
    pub fn replay(events: &[KeyEvent], ancestors: &[Self]) -> Result<Self, EventError> {
        let (first, rest) = events.split_first().ok_or(EventError::WrongIdentity)?;
        let KeyEvent::Inception(inception) = first else { return Err(EventError::WrongIdentity) };
        rest.iter().try_fold(Self::incept(inception)?, |identity, event| identity.apply(event, ancestors))
    }

    /// The identity after `event`.
    ///
    /// # Errors
    /// [`EventError`]; the state does not change.
    pub fn apply(&self, event: &KeyEvent, ancestors: &[Self]) -> Result<Self, EventError> {
        match event {
            KeyEvent::Inception(_) => Err(EventError::SecondInception),
            KeyEvent::Rotation(event) => self.rotate(event),
            KeyEvent::Revocation(event) => self.revoke(event, ancestors),
        }
    }

    fn rotate(&self, event: &SignedRotation) -> Result<Self, EventError> {
        let claimed = event.rotation.claims();
        if claimed.fingerprint != self.fingerprint || claimed.name != self.name {
            return Err(EventError::WrongIdentity);
        }
        if self.status == IdentityStatus::NameRevoked {
            return Err(EventError::Ended);
        }
        if claimed.generation == self.generation && claimed.key == self.key {
            return Err(self.compare_with_last_rotation(event));
        }
        if Some(claimed.generation) != self.generation.checked_add(1) {
            return Err(EventError::WrongGeneration { found: claimed.generation, current: self.generation });
        }
        if NextKeyCommitment::to(&claimed.key) != self.next {
            return Err(EventError::NotCommitted);
        }
        if claimed.previous != self.last_event {
            return Err(EventError::WrongPrevious);
        }
        let rotation = event.rotation.verify(&claimed.key)?;
        if let Some(cosignature) = &event.cosignature {
            self.key.verify(event.rotation.message(), cosignature)?;
        }
        Ok(Self {
            generation: rotation.generation,
            key: rotation.key,
            next: rotation.next,
            last_event: message_hash(event.rotation.message()),
            status: IdentityStatus::Active,
            ..self.clone()
        })
    }

    /// A rotation to the generation we are at: either the one we have (late or repeated) or a second one.
    fn compare_with_last_rotation(&self, event: &SignedRotation) -> EventError {
        let same = message_hash(event.rotation.message()) == self.last_event;
        if !same && event.rotation.verify(&self.key).is_ok() {
            return EventError::Equivocation;
        }
        EventError::WrongGeneration { found: self.generation, current: self.generation }
    }

    fn revoke(&self, event: &Signed<Revocation>, ancestors: &[Self]) -> Result<Self, EventError> {
        let claimed = event.claims();
        if claimed.fingerprint != self.fingerprint || claimed.name != self.name {
            return Err(EventError::WrongIdentity);
        }
        if self.status == IdentityStatus::NameRevoked {
            return Err(EventError::Ended);
        }
        if claimed.generation != self.generation || claimed.key != self.key {
            return Err(EventError::WrongGeneration { found: claimed.generation, current: self.generation });
        }
        let allowed = match (claimed.authority, claimed.scope) {
            (RevocationAuthority::CurrentKey, RevocationScope::Key) => {
                // A revoked key has nothing left to say.
                self.status == IdentityStatus::Active && claimed.signer == self.key
            }
            (RevocationAuthority::NextKey, RevocationScope::Name) => {
                NextKeyCommitment::to(&claimed.signer) == self.next
            }
            (RevocationAuthority::Ancestor, RevocationScope::Name) => ancestors.iter().any(|above| {
                above.status == IdentityStatus::Active
                    && above.key == claimed.signer
                    && above.is_above(&self.name)
            }),
            _ => false,
        };
        if !allowed {
            return Err(EventError::NotAllowed);
        }
        event.verify(&claimed.signer)?;
        let status = match claimed.scope {
            RevocationScope::Key => IdentityStatus::KeyRevoked,
            RevocationScope::Name => IdentityStatus::NameRevoked,
        };
        Ok(Self { status, ..self.clone() })
    }

    /// Whether this identity's name stands above `name`.
    fn is_above(&self, name: &Name) -> bool {
        std::iter::successors(name.parent(), Name::parent).any(|parent| parent == self.name)
    }

    /// The record, if it is this identity's: its name, fingerprint, generation, key and commitment, and signed by its key. A record is
    /// never to be believed without this: what it says of itself proves nothing. The cheap comparisons come first.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn check_record<'a>(&self, record: &'a Signed<Record>) -> Result<&'a Record, RecordError> {
        let claimed = record.claims();
        if claimed.name != self.name || claimed.fingerprint != self.fingerprint {
            return Err(RecordError::OtherIdentity);
        }
        let version = claimed.version.generation == self.generation;
        if !version || claimed.key != self.key || claimed.next != self.next {
            return Err(RecordError::OtherGeneration);
        }
        record.verify(&self.key).map_err(|BadSignature| RecordError::BadSignature)
    }

    /// Whether `name` and `key` are who this identity is now: the rule by which an address change keeps an actor and a key
    /// change makes another.
    #[must_use]
    pub fn is_actor(&self, name: &Name, key: &PublicKey) -> bool {
        self.status == IdentityStatus::Active && self.name == *name && self.key == *key
    }
}
