//! The socket through which commands talk to a running daemon.
//!
//! HTTP with JSON over a Unix socket in the state directory, which only its owner can open. What is asked and answered are the reports of
//! [`RemoteOverlay`](crate::RemoteOverlay) and [`DaemonStatus`].
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | – | [`DaemonStatus`] |
//! | `POST /v1/resolve` | `{"name"}` | [`ResolveReport`](crate::ResolveReport) |
//! | `POST /v1/verify` | `{"name"}` | [`VerifyReport`](crate::VerifyReport) |
//! | `POST /v1/find` | `{"capability", "limit"}` | [`FindReport`](crate::FindReport) |
//! | `POST /v1/ping` | `{"name", "intent", "purpose"}` | [`PingReport`](crate::PingReport) |
//! | `POST /v1/forward` | `{"listen", "name", "port"}` | [`ForwardReport`] |
//! | `DELETE /v1/forward` | `{"listen"}` | [`ForwardReport`] |
//! | `POST /v1/expose` | `{"port", "local"}` | [`ExposeReport`] |
//! | `DELETE /v1/expose` | `{"port"}` | [`ExposeReport`] |
//! | `POST /v1/address` | `{"name"}` | [`AddressReport`] |
//!
//! What fails is answered with status 502 or 400 and a [`RemoteError`](crate::RemoteError).

mod client;
pub use client::Control;
mod reports;
pub use reports::{AddressReport, ExposeReport, ForwardReport};
mod server;
pub use server::ControlServer;

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use jis::{Capability, Name};
use serde::{Deserialize, Serialize};

use crate::remote::RemoteError;
use crate::state_dir::StateDir;

/// Longest path of a Unix socket: 108 bytes with the zero at its end (unix(7)).
const MAX_PATH: usize = 107;

/// Why a daemon cannot be talked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The system has no room for such a path.
    #[error("the path of the control socket is longer than {MAX_PATH} bytes: {0}")]
    PathTooLong(PathBuf),
    /// No daemon is there.
    #[error("no daemon runs at {0}")]
    NotRunning(PathBuf),
    /// The system's words.
    #[error("{path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The daemon could not do it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// It answered what this program does not understand.
    #[error("the daemon gave an answer that makes no sense: {0}")]
    Answer(String),
}

/// Whom to resolve or to verify.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NameQuestion {
    name: String,
}

/// What to find.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FindQuestion {
    capability: String,
    limit: usize,
}

/// Whom to ping, and for what.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PingQuestion {
    name: String,
    intent: String,
    purpose: String,
}

/// What shall lead to a peer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForwardQuestion {
    listen: SocketAddr,
    name: String,
    port: NonZero<u16>,
}

/// Which forward shall end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndForwardQuestion {
    listen: SocketAddr,
}

/// What shall be open to peers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExposeQuestion {
    port: NonZero<u16>,
    local: SocketAddr,
}

/// What shall not be open to peers any more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndExposeQuestion {
    port: u16,
}

impl NameQuestion {
    fn of(name: &Name) -> Self {
        Self { name: name.to_string() }
    }
}

impl FindQuestion {
    fn of(capability: &Capability, limit: usize) -> Self {
        Self { capability: capability.to_string(), limit }
    }
}

impl PingQuestion {
    fn of(name: &Name, intent: &Capability, purpose: &str) -> Self {
        Self { name: name.to_string(), intent: intent.to_string(), purpose: purpose.to_owned() }
    }
}

/// Where the daemon of this device listens, or would.
#[must_use]
pub fn control_socket(state: &StateDir, name: &Name) -> PathBuf {
    state.node(name).join("control.sock")
}

fn check_length(path: &Path) -> Result<(), ControlError> {
    let fits = path.as_os_str().as_encoded_bytes().len() <= MAX_PATH;
    if fits { Ok(()) } else { Err(ControlError::PathTooLong(path.to_owned())) }
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> ControlError {
    let path = path.to_owned();
    move |source| ControlError::Io { path, source }
}
