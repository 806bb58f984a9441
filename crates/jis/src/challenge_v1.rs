//! Proof of possession in the ecosystem's text form, for compatibility only.
//!
//! ```text
//! jis-challenge:v1:<agent_id>:<nonce>:<issued_at>
//! ```
//!
//! signed as it stands. It names no verifier, so whoever is asked can pass the question on to the real device and its answer
//! back. It therefore proves possession on the path it came over and nothing else: it never registers, rotates or enrols anything,
//! and no function of this project takes one for that.

use std::time::Duration;

use crate::key::{BadSignature, PublicKey, SecretKey, Signature};
use crate::time::UnixTime;

/// A question in the text form. The verifier keeps it and compares the answer with it, never with what the answer claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextChallenge {
    agent_id: String,
    nonce: String,
    issued_at: u64,
}

/// Why a text is no question of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextChallengeError {
    /// Not `jis-challenge:v1:<agent_id>:<nonce>:<issued_at>`.
    #[error("expected jis-challenge:v1:<agent_id>:<nonce>:<issued_at>")]
    Syntax,
    /// The agent id is empty, longer than 200 bytes, or holds other characters than the visible ones of ASCII.
    #[error("the agent id must have 1 to {} visible ASCII characters", TextChallenge::MAX_AGENT_ID)]
    AgentId,
    /// The nonce is empty, longer than 128 bytes, or holds a colon or other characters than the visible ones of ASCII.
    #[error("the nonce must have 1 to {} visible ASCII characters and no ':'", TextChallenge::MAX_NONCE)]
    Nonce,
    /// The time is not written as 10 to 13 digits, the first not 0.
    #[error("issued_at must be 10 to 13 digits, the first not 0")]
    IssuedAt,
}

/// Why an answer does not convince.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextProofError {
    /// The answer came when the question's time was over.
    #[error("the answer came too late")]
    Expired,
    /// The question is dated ahead of the verifier's clock.
    #[error("the question is dated in the future")]
    FromTheFuture,
    /// The signature does not verify over the expected text.
    #[error("the signature does not verify over the expected challenge")]
    BadSignature,
}

impl From<BadSignature> for TextProofError {
    fn from(BadSignature: BadSignature) -> Self {
        Self::BadSignature
    }
}

impl TextChallenge {
    /// Longest agent id, in bytes.
    pub const MAX_AGENT_ID: usize = 200;
    /// Longest nonce, in bytes.
    pub const MAX_NONCE: usize = 128;
    /// Longest time an answer counts, whatever ttl a caller gives (SECURITY R8).
    pub const MAX_TTL: Duration = Duration::from_secs(30);

    /// Makes a question. `issued_at` is in the unit the peers use, seconds in all known ones; see [`TextChallenge::verify`].
    ///
    /// # Errors
    /// [`TextChallengeError`] naming the part that does not fit the form.
    pub fn new(agent_id: &str, nonce: &str, issued_at: u64) -> Result<Self, TextChallengeError> {
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if agent_id.len() > Self::MAX_AGENT_ID || !visible(agent_id) {
            return Err(TextChallengeError::AgentId);
        }
        if nonce.len() > Self::MAX_NONCE || !visible(nonce) || nonce.contains(':') {
            return Err(TextChallengeError::Nonce);
        }
        if !(1_000_000_000..10_000_000_000_000).contains(&issued_at) {
            return Err(TextChallengeError::IssuedAt);
        }
        Ok(Self { agent_id: agent_id.to_owned(), nonce: nonce.to_owned(), issued_at })
    }

    /// Reads the text, from the right because agent ids hold colons.
    ///
    /// # Errors
    /// [`TextChallengeError`].
    pub fn parse(text: &str) -> Result<Self, TextChallengeError> {
        let rest = text.strip_prefix("jis-challenge:v1:").ok_or(TextChallengeError::Syntax)?;
        let (rest, issued_at) = rest.rsplit_once(':').ok_or(TextChallengeError::Syntax)?;
        let (agent_id, nonce) = rest.rsplit_once(':').ok_or(TextChallengeError::Syntax)?;
        let digits = (10..=13).contains(&issued_at.len())
            && issued_at.bytes().all(|b| b.is_ascii_digit())
            && !issued_at.starts_with('0'); // one spelling: the text is what is signed
        let issued_at = issued_at.parse().ok().filter(|_| digits).ok_or(TextChallengeError::IssuedAt)?;
        Self::new(agent_id, nonce, issued_at)
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("jis-challenge:v1:{}:{}:{}", self.agent_id, self.nonce, self.issued_at)
    }

    /// Who is asked.
    #[must_use]
    pub fn agent_id(&self) -> &str {
        &self.agent_id
    }

    /// Answers.
    #[must_use]
    pub fn answer(&self, key: &SecretKey) -> Signature {
        key.sign(self.text().as_bytes())
    }

    /// Checks an answer to this question: `signature` by `bound`, the key bound to the agent, and `now < issued_at + ttl`. Times
    /// of 13 digits are milliseconds, shorter ones seconds.
    ///
    /// # Errors
    /// [`TextProofError`]. That a question is answered once only is the caller's part.
    pub fn verify(
        &self,
        bound: &PublicKey,
        signature: &Signature,
        ttl: Duration,
        now: UnixTime,
    ) -> Result<(), TextProofError> {
        let issued_at = if self.issued_at >= 1_000_000_000_000 {
            UnixTime::from_millis(self.issued_at).unwrap_or(UnixTime::MAX)
        } else {
            UnixTime::from_secs(self.issued_at)
        };
        if issued_at > now.saturating_add(crate::Challenge::MAX_CLOCK_SKEW) {
            return Err(TextProofError::FromTheFuture);
        }
        if now >= issued_at.saturating_add(ttl.min(Self::MAX_TTL)) {
            return Err(TextProofError::Expired);
        }
        bound.verify(self.text().as_bytes(), signature)?;
        Ok(())
    }
}
