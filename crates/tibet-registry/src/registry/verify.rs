//! Having a device prove who it is.

use jis::{Challenge, IdentityStatus, Name, Proof, PublicKey, Signed, UnixTime};
use tibet_core::object;

use super::Registry;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::tally::Counted;
use crate::trust::Standing;

/// A proof that convinced.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// Who proved itself.
    pub name: Name,
    /// The device's standing when it answered, before this answer is counted.
    pub standing: Standing,
    /// Whether this verification counts towards trust; at most one in ten minutes does.
    pub counted: bool,
    /// How long the name has been bound to this identity.
    pub registered_at: UnixTime,
}

impl<S: Store> Registry<S> {
    /// A question for a registered device, to be answered within 30 s. `random` is 8 fresh random bytes. Nothing is stored.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Revoked`], [`Refusal::ClockUnset`], [`Refusal::Store`].
    pub fn challenge(
        &self,
        prover: &Name,
        verifier: &Name,
        verifier_key: PublicKey,
        random: [u8; 8],
        now: UnixTime,
    ) -> Result<Challenge, Refusal> {
        self.check_clock(now)?;
        let route = self.route(prover)?.ok_or_else(|| Refusal::Unknown(prover.clone()))?;
        if route.status != IdentityStatus::Active {
            return Err(Refusal::Revoked { name: prover.clone(), status: route.status });
        }
        Ok(self.challenges.ask(prover.clone(), verifier.clone(), verifier_key, random, now))
    }

    /// Takes the answer to a challenge of [`Registry::challenge`].
    ///
    /// # Errors
    /// [`Refusal::NoSuchChallenge`], [`Refusal::Proof`] and others. An answer that does not convince is counted and changes nothing
    /// else: the challenge stays open for the device's own answer, and the device's trust is not touched (SECURITY R11, R37).
    pub fn accept_proof(
        &mut self,
        challenge: &Challenge,
        proof: &Signed<Proof>,
        now: UnixTime,
    ) -> Result<Verification, Refusal> {
        self.check_clock(now)?;
        // One hash, before any question to the store.
        if !self.challenges.is_open(challenge) {
            self.count(Counted::FailedProof, "all names", now)?;
            return Err(Refusal::NoSuchChallenge);
        }
        self.transact(|registry| {
            let name = &challenge.prover;
            let (id, mut entry) = registry.known_entry(name)?;
            if let Err(error) = challenge.check(proof, &entry.identity, now) {
                registry.count(Counted::FailedProof, "all names", now)?;
                return Err(error.into());
            }
            registry.challenges.close(challenge, now)?;
            let standing = registry.standing_of(id, &entry, now)?;
            let counted = entry.history.record_pass(now);
            let details = object! {
                "verifier" => challenge.verifier.as_str(),
                "generation" => i64::try_from(entry.identity.generation).unwrap_or(i64::MAX),
                "trust" => standing.score,
                "counted" => counted,
                "challenge" => jis::hex::encode(&challenge.verifier_nonce),
            };
            registry.record("verify", &mut entry, details, now)?;
            registry.store.replace(id, name, &entry.encode())?;
            Ok(Verification { name: name.clone(), standing, counted, registered_at: entry.registered_at })
        })
    }
}
