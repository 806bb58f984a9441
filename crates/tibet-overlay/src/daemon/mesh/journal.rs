//! Tokens of what happens in the mesh: who became a peer, and who is none any more, and why.
//!
//! They are written on a thread of their own: the tunnels wait for no disk.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use jis::{Name, SecretKey};
use tibet_core::{Draft, FileStore, Fsync, Micros, Minter, Provider, StoreError, object};
use tibet_registry::Zone;

use crate::system;

/// Tokens that wait for the disk: more than peers come and go while one hangs.
const MAX_WAITING: usize = 4096;

/// The log, on this device's disk and signed with its log key. What was noted is written before it is dropped.
pub(super) struct Journal {
    notes: Option<SyncSender<(Draft, Micros)>>,
    writer: Option<JoinHandle<()>>,
}

/// Why somebody is a peer or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    Admitted(Zone),
    Distrusted,
    Waiting,
    Revoked,
    Unknown,
    Expired,
    NoTransportKey,
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
            Self::Expired => f.write_str("its record has expired, and there is no newer one"),
            Self::NoTransportKey => f.write_str("its record names no transport key any more"),
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
        let mut provider = Provider::new(minter, store)?;
        let (notes, waiting) = sync_channel::<(Draft, Micros)>(MAX_WAITING);
        let write = move || {
            for (draft, at) in waiting {
                let Ok([a, b, c, d, ..]) = system::random::<8>() else {
                    tracing::error!("a token could not be written: no random bytes");
                    continue;
                };
                if let Err(error) = provider.create(draft, at, [a, b, c, d]) {
                    tracing::error!(%error, "a token could not be written");
                }
            }
        };
        let writer = thread::Builder::new().name("mesh log".to_owned()).spawn(write);
        let writer = writer.map_err(|error| StoreError::File {
            path: path.to_owned(),
            kind: error.kind(),
            message: error.to_string(),
        })?;
        Ok(Self { notes: Some(notes), writer: Some(writer) })
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
        let Some(now) = Micros::from_micros(system::now().as_millis().saturating_mul(1000)) else { return };
        if self.notes.as_ref().is_none_or(|notes| notes.try_send((draft, now)).is_err()) {
            tracing::error!(peer = %peer, "a token could not be written: too many wait for the disk");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.notes = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the log of the mesh is not written to its end");
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tibet_core::TokenStore as _;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn what_was_noted_is_on_disk_when_the_journal_is_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mesh.jsonl");
        let name: Name = "jis:home:hub".parse().expect("a name");
        let key = SecretKey::from_seed(Zeroizing::new(std::array::from_fn(|at| at as u8))).expect("a key");
        let journal = Journal::open(&path, &name, key).expect("opened");
        for _ in 0..50 {
            journal.note(&name, &Reason::Revoked);
        }
        drop(journal);
        let (store, recovered) = FileStore::open(&path, Fsync::Never).expect("opened");
        assert_eq!((store.len().expect("read"), recovered), (50, None));
    }
}
