//! Why a daemon ends by itself.

use jis::{IdentityStatus, Name};

/// Why a daemon has ended without being told to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonEnd {
    /// The device's files say that its key or name is revoked: it must not sign anything more.
    #[error("{} of {name} is revoked; the device has left the network", what(*status))]
    Revoked {
        /// The device.
        name: Name,
        /// What of it is revoked.
        status: IdentityStatus,
    },
    /// The TUN interface was deleted, or failed: no program reaches the mesh any more.
    #[error("the TUN interface {interface} is gone: {reason}")]
    Interface {
        /// The interface.
        interface: String,
        /// What the system said.
        reason: String,
    },
    /// The socket failed, with this reason.
    #[error("the socket failed: {0}")]
    Socket(String),
}

fn what(status: IdentityStatus) -> &'static str {
    match status {
        IdentityStatus::NameRevoked => "the name",
        IdentityStatus::KeyRevoked | IdentityStatus::Active => "the key",
    }
}
