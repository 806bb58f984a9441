//! The token.

mod read;
mod write;

use std::str::FromStr;

use jis::{MessageWriter, PublicKey, SecretKey, Signature, Tag};
use subtle::ConstantTimeEq;

use crate::hash::{self, HmacKey, is_lower_hex};
use crate::json::{JsonError, MAX_DEPTH, Object, Value};
use crate::state::{State, UnknownState};

/// Longest token line that is kept or read, in bytes, the line feed not counted: 1 MiB. The largest payload that comes in
/// one datagram is 64 KiB, and every byte of it may become six (`\u0001`) in a line.
pub const MAX_TOKEN_LINE: usize = 1024 * 1024;

/// What stands before the content hash of the parent in the last item of ERAAN.
pub const CONTENT_LINK: &str = "sha256:";

/// A provenance token: one event, its context, its hash, its signature, and its place in a chain.
///
/// The fields are the members of the format, in file order (`docs/spec/token.md`). A token is a claim: nothing in it holds before
/// [`Token::verify_hash`] and [`Token::verify_signature`] have said so.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// `tibet_` + UTC time to the microsecond + `_` + 8 random hex digits. Unique within a store.
    pub token_id: String,
    /// What kind of event, `ping.intent` for instance.
    pub action: String,
    /// When, as text: `YYYY-MM-DDTHH:MM:SS.ffffff+00:00` in tokens made here.
    pub timestamp: String,
    /// Who: the identity that acted.
    pub actor: String,
    /// What happened.
    pub erin: Value,
    /// What the event depends on: identities, token ids, and last the content link to the parent.
    pub eraan: Vec<String>,
    /// The context.
    pub eromheen: Object,
    /// The intent, for people to read.
    pub erachter: String,
    /// Id of the parent; `None` at the root of a chain. Empty in some tokens of Python, where it also means a root.
    pub parent_id: Option<String>,
    /// State of the matter.
    pub state: State,
    /// SHA-256 or HMAC-SHA256 of [`Token::hash_input`], 64 lower-case hex digits.
    pub content_hash: String,
    /// Ed25519 signature, 128 lower-case hex digits; empty when the token is not signed. Foreign tokens may hold other text
    /// here, which never verifies.
    pub signature: String,
}

/// Why text is not a token, or a token cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_LINE`].
    #[error("token longer than {MAX_TOKEN_LINE} bytes")]
    TooLong,
    /// Not JSON.
    #[error("token is not JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON, but not an object.
    #[error("token is not a JSON object")]
    NotAnObject,
    /// A member tokens do not have.
    #[error("unknown member {0:?}")]
    UnknownMember(String),
    /// A member every token has.
    #[error("member {0:?} is missing")]
    MissingMember(&'static str),
    /// The named member has another type or form than it must have.
    #[error("member {member:?} is not {expected}")]
    Malformed {
        /// The member.
        member: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The state is none of the five.
    #[error(transparent)]
    State(#[from] UnknownState),
    /// A valid token in another spelling than the one a store writes.
    #[error("line is not in the one spelling of its token")]
    Spelling,
    /// A value without a text that can be read back: a float that is not finite, or nested deeper than 64 levels.
    #[error("member {0:?} holds a value that could not be read back")]
    Unreadable(&'static str),
}

/// Why a token does not carry a valid signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("token is not signed")]
    Missing,
    /// There is one, and it is not that key's signature of this content hash.
    #[error("signature does not verify under the expected key")]
    Bad,
}

impl Token {
    /// The token a child names as its parent, or `None` for a root.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.parent_id.as_deref().filter(|id| !id.is_empty())
    }

    /// The parent's content hash that ERAAN carries as its last item, if it does.
    #[must_use]
    pub fn content_link(&self) -> Option<&str> {
        self.eraan.last()?.strip_prefix(CONTENT_LINK).filter(|hash| is_lower_hex(hash, 64))
    }

    /// Whether `content_hash` is the hash of this content, under `key` if there is one. Compared in constant time, and in
    /// lower case only: one token has one spelling.
    #[must_use]
    pub fn verify_hash(&self, key: Option<&HmacKey>) -> bool {
        let expected = hash::content_hash(&self.hash_input(), key);
        expected.as_bytes().ct_eq(self.content_hash.as_bytes()).into()
    }

    /// Checks that `signer` signed this token's content hash. The hash itself is the business of [`Token::verify_hash`]: only
    /// both together vouch for the content.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_signature(&self, signer: &PublicKey) -> Result<(), SignatureError> {
        if self.signature.is_empty() {
            return Err(SignatureError::Missing);
        }
        // `Signature` reads upper-case digits too; a token has one spelling.
        if !is_lower_hex(&self.signature, 128) {
            return Err(SignatureError::Bad);
        }
        let signature = Signature::from_str(&self.signature).map_err(|_| SignatureError::Bad)?;
        let message = self.signature_message(signer).ok_or(SignatureError::Bad)?;
        signer.verify(&message, &signature).map_err(|_| SignatureError::Bad)
    }

    /// The bytes a signature covers: the construction of `docs/spec/token.md` with the tag `tibet-token:v1` over the
    /// signer's public key (32 bytes) and the content hash (32 bytes). `None` when the content hash is not 64 hex digits.
    #[must_use]
    pub fn signature_message(&self, signer: &PublicKey) -> Option<Vec<u8>> {
        let content_hash: [u8; 32] = jis::hex::decode_array(&self.content_hash)?;
        Some(MessageWriter::new(Tag::Token).bytes(signer.as_bytes()).bytes(&content_hash).finish())
    }

    /// Checks that the token can be written, kept and read back. Every store asks this before it takes one.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] or [`TokenError::Unreadable`], naming the member.
    pub fn check(&self) -> Result<(), TokenError> {
        read::check_hash_form(&self.content_hash)?;
        // One level is the token itself.
        if !self.erin.is_readable_within(MAX_DEPTH - 1) {
            return Err(TokenError::Unreadable("erin"));
        }
        if !self.eromheen.iter().all(|(_, value)| value.is_readable_within(MAX_DEPTH - 2)) {
            return Err(TokenError::Unreadable("eromheen"));
        }
        Ok(())
    }

    /// Sets the content hash, and the signature if there is a signer.
    pub(crate) fn seal(&mut self, key: Option<&HmacKey>, signer: Option<(&SecretKey, &PublicKey)>) {
        self.content_hash = hash::content_hash(&self.hash_input(), key);
        if let Some((secret, public)) = signer {
            let message = self.signature_message(public);
            self.signature = message.map(|message| secret.sign(&message).to_string()).unwrap_or_default();
        }
    }
}
