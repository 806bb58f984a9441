//! Why a node does not start, or stops.

use tibet_core::StoreError;

use crate::state::StateError;
use crate::system::NoRandomness;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It runs.
    #[error("the node runs already")]
    Running,
    /// Its port cannot be had.
    #[error("{0}")]
    Bind(std::io::Error),
    /// Announcements can neither be sent nor heard.
    #[error("{0}")]
    Discovery(std::io::Error),
    /// What it keeps on disk cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// What must be on disk before it starts is not.
    #[error(transparent)]
    Keep(NodeError),
    /// It failed before in a way that cost it its files; make it anew.
    #[error("the node has failed before; make it anew")]
    Lost,
    /// The system gives no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// Why a node stopped by itself. It does not go on without what it is to keep (SECURITY R30).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The socket is of no use any more.
    #[error("the socket failed: {0}")]
    Socket(std::io::Error),
    /// A token could not be kept.
    #[error("the audit log cannot be written: {0}")]
    Audit(#[from] StoreError),
    /// What it keeps on disk cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A part of it panicked.
    #[error("the node failed: {0}")]
    Failed(String),
}
