//! The verifier's side of proofs of possession, without memory for questions asked.
//!
//! A nonce is `8 random bytes ‖ HMAC-SHA256(secret, everything in the challenge)[..24]`: whether a challenge is ours is computed, not
//! looked up, so asking a million questions stores nothing (SECURITY R14). Only answers that convinced are remembered, so that none counts
//! twice, until their challenge has expired.

use std::collections::HashMap;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use jis::{Challenge, ChallengePurpose, Name, PublicKey, UnixTime};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::refusal::Refusal;

/// Answers remembered at a time. A challenge lives 30 s, so this is some 2 000 verifications a second.
pub const MAX_ANSWERED: usize = 65_536;

/// Makes challenges and recognises them again.
pub(crate) struct Challenges {
    secret: [u8; 32],
    answered: HashMap<[u8; 32], UnixTime>,
    /// When expired answers were last thrown out: once a second at most, since it takes a look at all of them.
    swept_at: Option<UnixTime>,
}

impl Challenges {
    /// `secret` comes from the operating system's generator, new at every start: what was asked before a restart is forgotten.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret, answered: HashMap::new(), swept_at: None }
    }

    pub(crate) fn ask(
        &self,
        prover: Name,
        verifier: Name,
        verifier_key: PublicKey,
        random: [u8; 8],
        now: UnixTime,
    ) -> Challenge {
        let mut challenge = Challenge {
            purpose: ChallengePurpose::Verify,
            prover,
            verifier,
            verifier_key,
            verifier_nonce: [0; 32],
            issued_at: now,
            expires_at: now.saturating_add(Challenge::MAX_LIFETIME),
            channel_binding: [0; 32],
        };
        challenge.verifier_nonce = self.nonce(random, &challenge);
        challenge
    }

    /// Whether the challenge is one of ours that was not answered yet.
    pub(crate) fn is_open(&self, challenge: &Challenge) -> bool {
        let random = *challenge.verifier_nonce.first_chunk().expect("a nonce has 32 bytes");
        let ours = self.nonce(random, challenge);
        bool::from(ours.ct_eq(&challenge.verifier_nonce))
            && !self.answered.contains_key(&challenge.verifier_nonce)
    }

    /// Remembers that a challenge was answered.
    pub(crate) fn close(&mut self, challenge: &Challenge, now: UnixTime) -> Result<(), Refusal> {
        let full = self.answered.len() >= MAX_ANSWERED;
        if full
            && self.swept_at.is_none_or(|at| now < at || now.saturating_since(at) >= Duration::from_secs(1))
        {
            self.answered.retain(|_, expires_at| *expires_at >= now);
            self.swept_at = Some(now);
        }
        // Live entries are never thrown out: that would open the door to the replay they prevent.
        if self.answered.len() >= MAX_ANSWERED {
            return Err(Refusal::Busy("verifications"));
        }
        self.answered.insert(challenge.verifier_nonce, challenge.expires_at);
        Ok(())
    }

    fn nonce(&self, random: [u8; 8], challenge: &Challenge) -> [u8; 32] {
        let Challenge {
            purpose,
            prover,
            verifier,
            verifier_key,
            verifier_nonce: _,
            issued_at,
            expires_at,
            channel_binding,
        } = challenge;
        let purpose: u8 = match purpose {
            ChallengePurpose::Verify => 1,
            _ => 0,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(&random);
        mac.update(&[purpose]);
        // Names end where their length says, so no two challenges give the same input.
        for name in [prover, verifier] {
            mac.update(&(name.as_str().len() as u64).to_be_bytes());
            mac.update(name.as_str().as_bytes());
        }
        mac.update(verifier_key.as_bytes());
        mac.update(&issued_at.as_millis().to_be_bytes());
        mac.update(&expires_at.as_millis().to_be_bytes());
        mac.update(channel_binding);
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&random);
        nonce[8..].copy_from_slice(&mac.finalize().into_bytes()[..24]);
        nonce
    }
}

impl std::fmt::Debug for Challenges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Challenges({} answered)", self.answered.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 65 of the bad-input table: a full memory refuses new answers and forgets no live one, until their time is over.
    #[test]
    fn row_65_answers_are_remembered_within_a_bound_and_as_long_as_they_live() {
        let key: PublicKey =
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse().expect("RFC 8032 key");
        let name: Name = "jis:a".parse().expect("name");
        let mut challenges = Challenges::new([7; 32]);
        let now = UnixTime::from_secs(1_800_000_000);
        let ask = |challenges: &Challenges, number: u64, now| {
            challenges.ask(name.clone(), name.clone(), key, number.to_be_bytes(), now)
        };
        let first = ask(&challenges, 0, now);
        for number in 0..MAX_ANSWERED as u64 {
            let challenge = ask(&challenges, number, now);
            assert!(challenges.is_open(&challenge));
            assert_eq!(challenges.close(&challenge, now), Ok(()));
        }
        let last = now.saturating_add(Challenge::MAX_LIFETIME);
        let next = ask(&challenges, u64::MAX, last);
        assert_eq!(challenges.close(&next, last), Err(Refusal::Busy("verifications")));
        assert!(challenges.is_open(&next), "it can be answered later");
        assert!(!challenges.is_open(&first), "a live answer is not forgotten");
        let over = last.saturating_add(Duration::from_secs(1));
        assert_eq!(challenges.close(&next, over), Ok(()));
        assert_eq!(challenges.answered.len(), 1);
    }
}
