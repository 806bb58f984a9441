//! Tokens of what happens in the mesh: who became a peer, and who is none any more, and why.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jis::{Name, SecretKey};
use tibet_core::{Draft, FileStore, Fsync, Micros, Minter, Provider, StoreError, object};
use tibet_registry::Zone;

use crate::system;

/// The log, on this device's disk and signed with its log key.
pub(super) struct Journal {
    provider: Mutex<Provider<FileStore>>,
}

/// Why somebody is a peer or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    Admitted(Zone),
    Distrusted,
    Waiting,
    Revoked,
    Unknown,
    OtherIdentity,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admitted(zone) => write!(f, "its record verified; it stands in {}", zone.as_str()),
            Self::Distrusted => f.write_str("it has fallen to ROOD"),
            Self::Waiting => f.write_str("it has fallen to GEEL, and nobody here has asked for it"),
            Self::Revoked => f.write_str("its identity is revoked"),
            Self::Unknown => f.write_str("no node knows it any more"),
            Self::OtherIdentity => f.write_str("its name belongs to another identity now"),
        }
    }
}

impl Journal {
    /// Continues the log in `path`, or begins it.
    pub(super) fn open(path: &Path, actor: &Name, key: SecretKey) -> Result<Self, StoreError> {
        let (store, recovered) = FileStore::open(path, Fsync::EveryAppend)?;
        if let Some(recovered) = recovered {
            tracing::warn!(bytes = recovered.bytes, path = %path.display(), "a half-written token was cut off");
        }
        let minter = Minter::new(actor.as_str()).signer(Arc::new(key));
        Ok(Self { provider: Mutex::new(Provider::new(minter, store)?) })
    }

    /// Writes down what has become of `peer`.
    pub(super) fn note(&self, peer: &Name, reason: &Reason) {
        let action = match reason {
            Reason::Admitted(_) => "mesh.peer.admitted",
            _ => "mesh.peer.dismissed",
        };
        let draft = Draft::new(action)
            .erin(object! { "peer" => peer.as_str() })
            .eraan([peer.as_str()])
            .erachter(reason.to_string());
        let Ok(random) = system::random::<8>() else { return };
        let Some(now) = Micros::from_micros(system::now().as_millis().saturating_mul(1000)) else { return };
        let random = [random[0], random[1], random[2], random[3]];
        let mut provider = self.provider.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = provider.create(draft, now, random) {
            tracing::error!(%error, "a token could not be written");
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}
