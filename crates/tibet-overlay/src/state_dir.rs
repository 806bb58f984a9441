//! Where this machine keeps its identities, its registry and its nodes.
//!
//! ```text
//! STATE-DIR/identities/home.hub/   one directory per identity, see DeviceFiles
//! STATE-DIR/registry/registry.db   names, records, trust, audit log
//! STATE-DIR/registry/log.pem       the key the audit log is signed with
//! STATE-DIR/node/                  the keys of an overlay node, see state_dir/serving.rs
//! STATE-DIR/nodes/home.hub/        what the node of that name keeps between runs, see tibet_iot::NodeState
//! STATE-DIR/nodes/home.hub/log.pem the key its own audit logs are signed with
//! STATE-DIR/nodes/home.hub/log.pub the public part, z6Mk…, for whoever verifies them
//! STATE-DIR/client.pem             the key that questions to overlay nodes are signed with where no device asks
//! STATE-DIR/overlay-nodes          the keys that overlay nodes are known by, see NodePins
//! STATE-DIR/resolver.db            what was seen of names, so that nothing older is believed, see NameMemory
//! ```

mod serving;
pub use serving::{NoStoreLocation, StoreLocation};

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jis::pem;
use jis::{Fingerprint, Name, PublicKey, SecretKey};
use tibet_ping::NodeIdentity;
use tibet_registry::{Opening, Policy, Registry, SqliteStore, StoreError};
use zeroize::Zeroizing;

use crate::client::NodePins;
use crate::device::{DeviceError, DeviceFiles};
use crate::name_memory::NameMemory;
use crate::secret_file;
use crate::system::random;

/// A state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

/// Why a registry cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory, the log key, or randomness.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The registry's own file.
    #[error("{path}: {source}")]
    Store {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The registry is there but not its log key: it could not sign what it does.
    #[error(
        "{0} is missing, and the registry's log cannot be continued without it; restore it from a backup, or copy it from the node that made this registry"
    )]
    LogKeyMissing(PathBuf),
    /// The log key is there but not the registry, or only an empty file: beginning anew would give all names away again.
    #[error(
        "{0} is missing or empty, but its log key is there; restore the registry from a backup, or move log.pem away to begin anew"
    )]
    RegistryMissing(PathBuf),
}

impl StateDir {
    /// The state directory at `root`. Nothing is created yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the identity of this name is, or would be.
    #[must_use]
    pub fn identity(&self, name: &Name, passphrase: Option<Zeroizing<String>>) -> DeviceFiles {
        DeviceFiles::new(self.root.join("identities").join(directory_of(name)), passphrase)
    }

    /// Where the node of this name keeps what it has learnt, or would.
    #[must_use]
    pub fn node(&self, name: &Name) -> PathBuf {
        self.root.join("nodes").join(directory_of(name))
    }

    /// The key that the node of this name signs its audit logs with: not its identity key, whose signature says that the device speaks
    /// (SECURITY R3). Made on first use; its public part is then beside it, see [`node_log_key_file`](Self::node_log_key_file).
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn node_log_key(&self, name: &Name) -> Result<SecretKey, DeviceError> {
        let key = key_on_first_use(&self.node(name).join("log.pem"))?;
        let public = self.node_log_key_file(name);
        let _lock = secret_file::lock_directory(&self.node(name))?;
        if !public.exists() {
            secret_file::replace(&public, &format!("{}\n", key.public_key()))?;
        }
        Ok(key)
    }

    /// The file that holds the public part of [`node_log_key`](Self::node_log_key).
    #[must_use]
    pub fn node_log_key_file(&self, name: &Name) -> PathBuf {
        self.node(name).join("log.pub")
    }

    /// The public part of [`node_log_key`](Self::node_log_key), if that node ever kept a log.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn node_log_public_key(&self, name: &Name) -> Result<Option<PublicKey>, DeviceError> {
        Ok(read_key_file(&self.node(name).join("log.pem"))?.map(|key| key.public_key()))
    }

    /// Whoever asks overlay nodes from here without being a device: named by a key of its own, `jis:ed25519:z6Mk…`, made on first use.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn client_identity(&self) -> Result<NodeIdentity, DeviceError> {
        Ok(named_by_its_key(key_on_first_use(&self.root.join("client.pem"))?))
    }

    /// The keys that overlay nodes are known by.
    #[must_use]
    pub fn node_pins(&self) -> NodePins {
        NodePins::in_file(self.root.join("overlay-nodes"))
    }

    /// What was seen of names from here.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn name_memory(&self) -> Result<NameMemory, OpenError> {
        let path = self.root.join("resolver.db");
        secret_file::create_directory(&self.root).map_err(DeviceError::from)?;
        NameMemory::open(&path).map_err(|source| OpenError::Store { path, source })
    }

    /// The names of the identities kept here, sorted.
    ///
    /// # Errors
    /// What the system reports, except that the directory is not there.
    pub fn identities(&self) -> std::io::Result<Vec<Name>> {
        let entries = match fs::read_dir(self.root.join("identities")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let directory = entry?.file_name();
            let name = directory
                .to_str()
                .and_then(|labels| format!("jis:{}", labels.replace('.', ":")).parse().ok());
            names.extend(name.filter(|name| self.identity(name, None).exist()));
        }
        names.sort();
        Ok(names)
    }

    /// The registry's file.
    #[must_use]
    pub fn registry_file(&self) -> PathBuf {
        self.root.join("registry").join("registry.db")
    }

    /// Whether a registry is here, or the log key of one.
    #[must_use]
    pub fn has_registry(&self) -> bool {
        self.has_registry_file() || self.log_key_file().exists()
    }

    fn has_registry_file(&self) -> bool {
        std::fs::metadata(self.registry_file()).is_ok_and(|file| file.len() > 0)
    }

    fn log_key_file(&self) -> PathBuf {
        self.root.join("registry").join("log.pem")
    }

    /// Opens the registry, or makes a new one with a new log key.
    ///
    /// The key gets its name only when the registry's file is there and names the key. So a key without a file means that the file was
    /// lost, and no empty registry takes its place.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_registry(&self, policy: Policy) -> Result<Registry<SqliteStore>, OpenError> {
        let directory = self.root.join("registry");
        let (path, new) = (self.log_key_file(), directory.join("log.pem.new"));
        secret_file::create_directory(&directory).map_err(DeviceError::from)?;
        // Two programs that begin at once shall not make two keys.
        let lock = secret_file::lock_directory(&directory).map_err(DeviceError::from)?;
        match read_key_file(&path)? {
            Some(_) if !self.has_registry_file() => Err(OpenError::RegistryMissing(self.registry_file())),
            Some(key) => {
                drop(lock);
                self.open_with(key, policy)
            }
            None => {
                let key = match read_key_file(&new)? {
                    // A program stopped half-way through making this registry.
                    Some(key) => key,
                    None if self.has_registry_file() => return Err(OpenError::LogKeyMissing(path)),
                    None => make_log_key(&new)?,
                };
                let registry = self.open_with(key, policy)?;
                let named = fs::rename(&new, &path)
                    .map_err(|source| secret_file::SecretFileError::Io { path, source });
                named.map_err(DeviceError::from)?;
                Ok(registry)
            }
        }
    }

    fn open_with(&self, key: SecretKey, policy: Policy) -> Result<Registry<SqliteStore>, OpenError> {
        let path = self.registry_file();
        let failed = |source| OpenError::Store { path: path.clone(), source };
        let store = SqliteStore::open(&path).map_err(failed)?;
        let secret = random().map_err(DeviceError::from)?;
        Registry::open(store, Opening { log_key: Arc::new(key), origin: None, policy, secret })
            .map_err(failed)
    }
}

/// No label holds a dot, so no two names share a directory.
fn directory_of(name: &Name) -> String {
    name.labels().collect::<Vec<_>>().join(".")
}

fn read_key_file(path: &Path) -> Result<Option<SecretKey>, DeviceError> {
    match secret_file::read(path) {
        Ok(text) => decode_key(path, &text).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The key in this file, made if it is not there.
fn key_on_first_use(path: &Path) -> Result<SecretKey, DeviceError> {
    let text = secret_file::read_or_create(path, || new_key().map(|key| pem::encode_identity(&key, None)))?;
    decode_key(path, &text)
}

fn decode_key(path: &Path, text: &str) -> Result<SecretKey, DeviceError> {
    pem::decode_identity(text, None).map_err(|source| DeviceError::Pem { path: path.to_owned(), source })
}

fn new_key() -> Result<SecretKey, DeviceError> {
    Ok(SecretKey::from_seed(Zeroizing::new(random()?))?)
}

fn make_log_key(path: &Path) -> Result<SecretKey, DeviceError> {
    let key = new_key()?;
    secret_file::replace(path, &pem::encode_identity(&key, None))?;
    Ok(key)
}

/// It never rotates: the name is the key. So it has no inception, and nothing but itself to be known by, as an overlay node.
fn named_by_its_key(key: SecretKey) -> NodeIdentity {
    let public = key.public_key();
    let fingerprint = Fingerprint::of_inception(public.as_bytes());
    NodeIdentity { name: Name::of_key(&public), key, generation: 0, fingerprint }
}
