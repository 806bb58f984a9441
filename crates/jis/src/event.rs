//! The events of an identity's life: inception, rotation, revocation.
//!
//! Wire formats and worked examples: `docs/spec/key-events.md`. What an event does to an identity: [`crate::Identity`].

use crate::field::{Remark, read_key, read_name, read_remark, read_time};
use crate::fingerprint::{Fingerprint, NextKeyCommitment, message_hash};
use crate::key::{PublicKey, SecretKey, Signature};
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::signed::{Signed, SignedObject};
use crate::time::UnixTime;

/// The first event: claims a name for a key and commits to the next key. Signed by that first key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inception {
    /// The name claimed.
    pub name: Name,
    /// Key of generation 0.
    pub key: PublicKey,
    /// Commitment to the key of generation 1, another one than `key`.
    pub next: NextKeyCommitment,
    /// When the identity was made.
    pub created_at: UnixTime,
}

impl SignedObject for Inception {
    const TAG: Tag = Tag::NameClaim;
    const FIELDS: u16 = 4;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .text(self.name.as_str())
            .bytes(self.key.as_bytes())
            .bytes(self.next.as_bytes())
            .integer(self.created_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let name = read_name(message, "name")?;
        let key = read_key(message, "key")?;
        let next = read_next(message, &key)?;
        Ok(Self { name, key, next, created_at: read_time(message, "created_at")? })
    }
}

/// The commitment to the key after `key`. A key that follows itself would let whoever steals it rotate (SECURITY R39).
fn read_next(message: &mut MessageReader<'_>, key: &PublicKey) -> Result<NextKeyCommitment, DecodeError> {
    let next = NextKeyCommitment::from_bytes(message.array("next")?);
    if next == NextKeyCommitment::to(key) { Err(DecodeError::Field("next")) } else { Ok(next) }
}

/// Moves an identity to the key it committed to. Signed by that revealed key, so a thief of the current key cannot rotate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The name, for readers; the fingerprint decides.
    pub name: Name,
    /// Which identity.
    pub fingerprint: Fingerprint,
    /// The generation this rotation makes: the old one plus one, so never 0.
    pub generation: u64,
    /// The revealed key.
    pub key: PublicKey,
    /// Commitment to the key after it, another one.
    pub next: NextKeyCommitment,
    /// SHA-256 of the M of the previous inception or rotation.
    pub previous: [u8; 32],
    /// When the key was rotated.
    pub rotated_at: UnixTime,
}

impl SignedObject for Rotation {
    const TAG: Tag = Tag::Rotate;
    const FIELDS: u16 = 7;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .text(self.name.as_str())
            .bytes(self.fingerprint.as_bytes())
            .integer(self.generation)
            .bytes(self.key.as_bytes())
            .bytes(self.next.as_bytes())
            .bytes(&self.previous)
            .integer(self.rotated_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let name = read_name(message, "name")?;
        let fingerprint = Fingerprint::from_bytes(message.array("fingerprint")?);
        let generation = message.integer("generation")?;
        // Generation 0 is the inception's. A "rotation" to it, signed by the first key, would pass for a second history.
        if generation == 0 {
            return Err(DecodeError::Field("generation"));
        }
        let key = read_key(message, "key")?;
        let next = read_next(message, &key)?;
        Ok(Self {
            name,
            fingerprint,
            generation,
            key,
            next,
            previous: message.array("previous")?,
            rotated_at: read_time(message, "rotated_at")?,
        })
    }
}

/// What a revocation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevocationScope {
    /// The current key. The name lives on and can be rotated to the next key.
    Key,
    /// The name, for ever.
    Name,
}

/// In which role a revocation is signed. It decides what the signer may end (SECURITY R40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationAuthority {
    /// The identity's current key: only itself.
    CurrentKey,
    /// The pre-committed next key, revealed in the revocation: the name.
    NextKey,
    /// The current key of a name above: the name.
    Ancestor,
}

/// Ends a key or a name. Permanent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The name, for readers; the fingerprint decides.
    pub name: Name,
    /// Which identity.
    pub fingerprint: Fingerprint,
    /// The generation whose key is revoked.
    pub generation: u64,
    /// The key revoked.
    pub key: PublicKey,
    /// What ends.
    pub scope: RevocationScope,
    /// The role of the signer.
    pub authority: RevocationAuthority,
    /// The signer's key.
    pub signer: PublicKey,
    /// Why, in words.
    pub reason: Remark,
    /// When.
    pub revoked_at: UnixTime,
}

impl SignedObject for Revocation {
    const TAG: Tag = Tag::Revoke;
    const FIELDS: u16 = 9;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        let scope = match self.scope {
            RevocationScope::Key => 1,
            RevocationScope::Name => 2,
        };
        let authority = match self.authority {
            RevocationAuthority::CurrentKey => 1,
            RevocationAuthority::NextKey => 2,
            RevocationAuthority::Ancestor => 3,
        };
        message
            .text(self.name.as_str())
            .bytes(self.fingerprint.as_bytes())
            .integer(self.generation)
            .bytes(self.key.as_bytes())
            .integer(scope)
            .integer(authority)
            .bytes(self.signer.as_bytes())
            .text(self.reason.as_str())
            .integer(self.revoked_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: read_name(message, "name")?,
            fingerprint: Fingerprint::from_bytes(message.array("fingerprint")?),
            generation: message.integer("generation")?,
            key: read_key(message, "key")?,
            scope: match message.integer("scope")? {
                1 => RevocationScope::Key,
                2 => RevocationScope::Name,
                _ => return Err(DecodeError::Field("scope")),
            },
            authority: match message.integer("authority")? {
                1 => RevocationAuthority::CurrentKey,
                2 => RevocationAuthority::NextKey,
                3 => RevocationAuthority::Ancestor,
                _ => return Err(DecodeError::Field("authority")),
            },
            signer: read_key(message, "signer")?,
            reason: read_remark(message, "reason")?,
            revoked_at: read_time(message, "revoked_at")?,
        })
    }
}

/// A rotation with its second, optional signature: the old key's, when it still exists.
///
/// Encoded as the signed rotation followed by nothing or by 64 more bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRotation {
    /// The rotation, signed by the key it reveals.
    pub rotation: Signed<Rotation>,
    /// The old key's signature over the same M.
    pub cosignature: Option<Signature>,
}

impl SignedRotation {
    /// Signs with the revealed key and, where it still exists, the old one.
    ///
    /// # Errors
    /// As [`Signed::seal`].
    pub fn seal(
        rotation: Rotation,
        revealed: &SecretKey,
        old: Option<&SecretKey>,
    ) -> Result<Self, DecodeError> {
        let rotation = Signed::seal(rotation, revealed)?;
        let cosignature = old.map(|old| old.sign(rotation.message()));
        Ok(Self { rotation, cosignature })
    }
}

/// Any key event, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEvent {
    /// The first event.
    Inception(Signed<Inception>),
    /// A new key.
    Rotation(SignedRotation),
    /// The end of a key or a name.
    Revocation(Signed<Revocation>),
}

impl KeyEvent {
    /// The event as bytes: `M ‖ signature`, for a co-signed rotation `M ‖ signature ‖ co-signature`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Inception(event) => event.encode(),
            Self::Rotation(SignedRotation { rotation, cosignature }) => {
                let mut bytes = rotation.encode();
                bytes.extend(cosignature.iter().flat_map(|signature| signature.as_bytes()));
                bytes
            }
            Self::Revocation(event) => event.encode(),
        }
    }

    /// Reads any key event. Signatures are not checked here, see [`crate::Identity`].
    ///
    /// # Errors
    /// [`DecodeError`]; bytes that begin with no key event's tag give the error of an inception.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let is = |tag: Tag| {
            bytes.strip_prefix(tag.as_str().as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        };
        if is(Tag::Revoke) {
            return Signed::decode(bytes).map(Self::Revocation);
        }
        if !is(Tag::Rotate) {
            return Signed::decode(bytes).map(Self::Inception);
        }
        // One signature or two: M has a length of its own, so only one of the readings fits.
        if let Ok(rotation) = Signed::decode(bytes) {
            return Ok(Self::Rotation(SignedRotation { rotation, cosignature: None }));
        }
        let (first, cosignature) = bytes.split_last_chunk::<64>().ok_or(DecodeError::Truncated)?;
        let cosignature = Some(Signature::from_bytes(*cosignature));
        Ok(Self::Rotation(SignedRotation { rotation: Signed::decode(first)?, cosignature }))
    }

    /// SHA-256 of the event's M.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        message_hash(match self {
            Self::Inception(event) => event.message(),
            Self::Rotation(event) => event.rotation.message(),
            Self::Revocation(event) => event.message(),
        })
    }
}
