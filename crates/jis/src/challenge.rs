//! Proof of possession, second version: a device shows a verifier that it holds its key, now.
//!
//! The proof names the verifier, so one made for one verifier convinces no other (SECURITY R9). Wire format:
//! `docs/spec/challenge.md`. The text form of the ecosystem is in [`crate::challenge_v1`].

use std::time::Duration;

use crate::field::{read_key, read_name, read_time};
use crate::identity::{Identity, IdentityStatus};
use crate::key::{BadSignature, PublicKey, SecretKey};
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::permission::check_lifetime;
use crate::signed::{Signed, SignedObject};
use crate::time::UnixTime;

/// What a proof is wanted for. A proof for one purpose is no proof for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChallengePurpose {
    /// To verify an identity.
    Verify,
}

/// What a verifier asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What the proof is wanted for.
    pub purpose: ChallengePurpose,
    /// Who shall prove itself.
    pub prover: Name,
    /// Who asks.
    pub verifier: Name,
    /// The key of who asks.
    pub verifier_key: PublicKey,
    /// Chosen by the verifier, never used twice.
    pub verifier_nonce: [u8; 32],
    /// When it was asked.
    pub issued_at: UnixTime,
    /// Until when an answer counts: at most [`Challenge::MAX_LIFETIME`] later.
    pub expires_at: UnixTime,
    /// Hash of the secure channel the proof travels in, zeros for plain UDP or a call within one program.
    pub channel_binding: [u8; 32],
}

/// A challenge with the prover's part. Signed by the prover's identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The challenge that is answered, word for word.
    pub challenge: Challenge,
    /// The prover's current key.
    pub key: PublicKey,
    /// The prover's generation.
    pub generation: u64,
    /// Chosen by the prover: no verifier can get a signature over a message it knew beforehand.
    pub prover_nonce: [u8; 32],
}

/// Why a device does not answer a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The challenge is for somebody else.
    #[error("the challenge is for another name")]
    NotForUs,
    /// The challenge has expired, is dated ahead, or would live too long.
    #[error("the challenge is outside its time: it may live at most {} s", Challenge::MAX_LIFETIME.as_secs())]
    OutOfTime,
}

/// Why a proof does not convince.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The proof answers another challenge: other nonce, verifier, purpose, channel or time.
    #[error("the proof answers another challenge")]
    OtherChallenge,
    /// The proof came after the challenge had expired.
    #[error("the proof came too late")]
    Expired,
    /// The key or generation in the proof is not the one bound to the name.
    #[error("the proof is made with a key that is not bound to this name")]
    WrongKey,
    /// The bound key was revoked.
    #[error("the key bound to this name is revoked")]
    Revoked,
    /// The signature does not verify.
    #[error("the proof's signature does not verify under the bound key")]
    BadSignature,
}

impl From<BadSignature> for ProofError {
    fn from(BadSignature: BadSignature) -> Self {
        Self::BadSignature
    }
}

impl Challenge {
    /// Longest time an answer may take (SECURITY R10).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(30);
    /// How far the two clocks may differ (SECURITY R21).
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

    /// Answers as `identity`, which holds `key`.
    ///
    /// # Errors
    /// [`AnswerError`]: a device signs only challenges meant for it and only while they live.
    pub fn answer(
        &self,
        identity: &Identity,
        key: &SecretKey,
        prover_nonce: [u8; 32],
        now: UnixTime,
    ) -> Result<Signed<Proof>, AnswerError> {
        if self.prover != identity.name || key.public_key() != identity.key {
            return Err(AnswerError::NotForUs);
        }
        let lives = check_lifetime(self.issued_at, self.expires_at, Self::MAX_LIFETIME).is_ok();
        let ahead = self.issued_at > now.saturating_add(Self::MAX_CLOCK_SKEW);
        if ahead || now > self.expires_at || !lives {
            return Err(AnswerError::OutOfTime);
        }
        let proof = Proof {
            challenge: self.clone(),
            key: identity.key,
            generation: identity.generation,
            prover_nonce,
        };
        Ok(Signed::seal(proof, key).expect("a challenge of typed fields is a readable one"))
    }

    /// Checks a proof against the challenge that was sent and the identity bound to the prover's name. That the challenge is
    /// answered once only is the caller's part.
    ///
    /// # Errors
    /// [`ProofError`]. Whatever the error, the challenge stays open: anybody can send a bad answer (SECURITY R11).
    pub fn check(&self, proof: &Signed<Proof>, bound: &Identity, now: UnixTime) -> Result<(), ProofError> {
        let claimed = proof.claims();
        if claimed.challenge != *self || bound.name != self.prover {
            return Err(ProofError::OtherChallenge);
        }
        if now > self.expires_at {
            return Err(ProofError::Expired);
        }
        if bound.status != IdentityStatus::Active {
            return Err(ProofError::Revoked);
        }
        if claimed.key != bound.key || claimed.generation != bound.generation {
            return Err(ProofError::WrongKey);
        }
        proof.verify(&bound.key)?;
        Ok(())
    }
}

impl SignedObject for Proof {
    const TAG: Tag = Tag::Challenge;
    const FIELDS: u16 = 11;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        let Challenge {
            purpose: ChallengePurpose::Verify,
            prover,
            verifier,
            verifier_key,
            verifier_nonce,
            issued_at,
            expires_at,
            channel_binding,
        } = &self.challenge;
        message
            .integer(1)
            .text(prover.as_str())
            .bytes(self.key.as_bytes())
            .integer(self.generation)
            .text(verifier.as_str())
            .bytes(verifier_key.as_bytes())
            .bytes(verifier_nonce)
            .bytes(&self.prover_nonce)
            .integer(issued_at.as_millis())
            .integer(expires_at.as_millis())
            .bytes(channel_binding)
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let purpose = match message.integer("purpose")? {
            1 => ChallengePurpose::Verify,
            _ => return Err(DecodeError::Field("purpose")),
        };
        let prover = read_name(message, "prover")?;
        let key = read_key(message, "key")?;
        let generation = message.integer("generation")?;
        let verifier = read_name(message, "verifier")?;
        let verifier_key = read_key(message, "verifier_key")?;
        let verifier_nonce = message.array("verifier_nonce")?;
        let prover_nonce = message.array("prover_nonce")?;
        let issued_at = read_time(message, "issued_at")?;
        let expires_at = read_time(message, "expires_at")?;
        check_lifetime(issued_at, expires_at, Challenge::MAX_LIFETIME)?;
        let channel_binding = message.array("channel_binding")?;
        let challenge = Challenge {
            purpose,
            prover,
            verifier,
            verifier_key,
            verifier_nonce,
            issued_at,
            expires_at,
            channel_binding,
        };
        Ok(Self { challenge, key, generation, prover_nonce })
    }
}
