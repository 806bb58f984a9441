//! Why a node could not be asked, or did not do what it was asked.

use jis::DecodeError;

use crate::intents::{Failure, FailureCode, Malformed};
use crate::secret_file::SecretFileError;
use crate::system::NoRandomness;

/// Why a question to a node led to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The node's name leads to no address.
    #[error("the node {node} has no address: {reason}")]
    NoAddress {
        /// As it was written.
        node: String,
        /// The system's words.
        reason: String,
    },
    /// Nothing came back. So it is for a node that is not there, and for an asker whom a node tells nothing (SECURITY R20).
    #[error("the node {node} does not answer")]
    NoAnswer {
        /// As it was written.
        node: String,
    },
    /// Somebody with another key is there.
    #[error("the node {node} has another key than the one it is known by: {found}, not {expected}")]
    OtherKey {
        /// As it was written.
        node: String,
        /// The key it is known by, z6Mk….
        expected: String,
        /// The key of whoever answered.
        found: String,
    },
    /// It said no.
    #[error("the node {node} said no: {failure}")]
    Refused {
        /// As it was written.
        node: String,
        /// Why.
        failure: Failure,
    },
    /// A human has to decide first.
    #[error("the node {node} wants a human to decide first: {failure}")]
    Waiting {
        /// As it was written.
        node: String,
        /// What about, and when to ask again.
        failure: Failure,
    },
    /// It answered, signed, what no node answers.
    #[error("the node {node} gave an answer that makes no sense: {reason}")]
    Malformed {
        /// As it was written.
        node: String,
        /// What is wrong with it.
        reason: Malformed,
    },
    /// Too many questions wait for an answer.
    #[error("too many questions wait for an answer")]
    Full,
    /// The question cannot be signed.
    #[error("this cannot be asked: {0}")]
    Unsignable(DecodeError),
    /// The system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The key of a node could not be noted, so it is not relied on.
    #[error("the key of the node {node} cannot be noted: {reason}")]
    Unkept {
        /// As it was written.
        node: String,
        /// What the system said.
        reason: String,
    },
}

impl QueryError {
    /// What the node said, where it said anything.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure, .. } | Self::Waiting { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// The kind of what the node said.
    #[must_use]
    pub fn code(&self) -> Option<FailureCode> {
        self.failure().map(|failure| failure.code)
    }

    pub(super) fn unkept(node: &str, error: &SecretFileError) -> Self {
        Self::Unkept { node: node.to_owned(), reason: error.to_string() }
    }
}
