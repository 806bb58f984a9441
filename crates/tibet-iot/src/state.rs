//! What a node keeps between runs: the keys it has seen, and until when it may have accepted packets.
//!
//! ```text
//! DIRECTORY/known-keys     names and the keys they were first seen with, as ssh keeps known_hosts
//! DIRECTORY/replay-bound   one time, see tibet_ping::RestartBound
//! DIRECTORY/node.lock      locked while a node runs
//! ```

mod durable;
mod error;
pub use error::StateError;
mod known_keys;
pub use known_keys::KnownKey;
use known_keys::KnownKeys;
mod replay_bound;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use jis::{Name, UnixTime};
use tibet_ping::Binding;

/// A node's directory, locked: two nodes with one identity would each accept what the other has seen.
///
/// The directory belongs to us alone (mode 0700, files 0600), and whatever says it is written has reached the disk, the name of the file
/// included. All calls block on the disk. A call that failed to write may have written or not; after one that failed to append, the file is
/// not touched again until the directory is opened anew, which mends it (SECURITY R70).
#[derive(Debug)]
pub struct NodeState {
    directory: PathBuf,
    known: KnownKeys,
    _lock: File,
}

impl NodeState {
    /// Opens a node's directory, or makes it, and holds it until dropped.
    ///
    /// # Errors
    /// [`StateError`]: [`StateError::InUse`] if another node runs on it, [`StateError::Line`] for a damaged line, …
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StateError> {
        let directory = directory.into();
        durable::create_directory(&directory)?;
        let lock = durable::lock(&directory.join("node.lock"))?;
        let known = KnownKeys::open(directory.join("known-keys"))?;
        Ok(Self { directory, known, _lock: lock })
    }

    /// Reads the keys a node has noted without holding its directory, for programs that look on while it runs. A line that is just being written
    /// is left out. Empty where no node ever ran.
    ///
    /// # Errors
    /// [`StateError`], except [`StateError::InUse`].
    pub fn read_known_keys(directory: impl AsRef<Path>) -> Result<BTreeMap<Name, KnownKey>, StateError> {
        known_keys::read(&directory.as_ref().join("known-keys"))
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The keys that names were first seen with: pins, to be given to [`tibet_ping::KeyBook::bind`] with [`tibet_ping::KeySource::Pin`].
    #[must_use]
    pub fn known_keys(&self) -> &BTreeMap<Name, KnownKey> {
        self.known.all()
    }

    /// How many bytes of a half-written last line were cut off when the directory was opened: a crash while a key was being noted. That key was not
    /// relied on yet. Worth a line in the log.
    #[must_use]
    pub fn cut_off(&self) -> Option<usize> {
        self.known.cut_off()
    }

    /// Notes the key a name was first seen with. It is on disk when this returns. Noting what is noted already does nothing.
    ///
    /// # Errors
    /// [`StateError::OtherKey`] if another key or generation is noted for the name: [`forget`](Self::forget) it first, which is for the operator to
    /// decide. [`StateError::Full`] at [`tibet_ping::MAX_PINS`]; and what the disk reports.
    pub fn remember(&mut self, binding: &Binding, first_seen: UnixTime) -> Result<(), StateError> {
        self.known.remember(binding, first_seen)
    }

    /// Forgets a name's key. Whether there was one.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn forget(&mut self, name: &Name) -> Result<bool, StateError> {
        self.known.forget(name)
    }

    /// The bound an earlier run left for [`tibet_ping::RestartBound::new`]; `None` if none ever did.
    ///
    /// # Errors
    /// [`StateError::Bound`] if the file holds anything but a time; and what the disk reports.
    pub fn replay_bound(&self) -> Result<Option<UnixTime>, StateError> {
        replay_bound::read(&self.bound_file())
    }

    /// Writes the bound. It is on disk when this returns, and may be given to [`tibet_ping::RestartBound::handle_persisted`].
    ///
    /// # Errors
    /// What the disk reports; then the old bound or the new one is there, whole.
    pub fn set_replay_bound(&self, bound: UnixTime) -> Result<(), StateError> {
        replay_bound::write(&self.bound_file(), bound)
    }

    fn bound_file(&self) -> PathBuf {
        self.directory.join("replay-bound")
    }
}
