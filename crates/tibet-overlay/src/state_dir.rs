//! Where this machine keeps its identities and its registry.
//!
//! ```text
//! STATE-DIR/identities/home.hub/   one directory per identity, see DeviceFiles
//! STATE-DIR/registry/registry.db   names, records, trust, audit log
//! STATE-DIR/registry/log.pem       the key the audit log is signed with
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jis::pem;
use jis::{Name, SecretKey};
use tibet_registry::{Opening, Policy, Registry, SqliteStore, StoreError};
use zeroize::Zeroizing;

use crate::device::{DeviceError, DeviceFiles};
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
        "{0} is missing, and the registry's log cannot be continued without it; restore it from a backup"
    )]
    LogKeyMissing(PathBuf),
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
        // No label holds a dot, so no two names share a directory.
        let directory = name.labels().collect::<Vec<_>>().join(".");
        DeviceFiles::new(self.root.join("identities").join(directory), passphrase)
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

    /// Whether a registry is here.
    #[must_use]
    pub fn has_registry(&self) -> bool {
        self.registry_file().exists()
    }

    /// Opens the registry, or makes a new one with a new log key.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_registry(&self, policy: Policy) -> Result<Registry<SqliteStore>, OpenError> {
        let path = self.registry_file();
        let log_key = Arc::new(self.log_key()?);
        let failed = |source| OpenError::Store { path: path.clone(), source };
        let store = SqliteStore::open(&path).map_err(failed)?;
        let secret = random().map_err(DeviceError::from)?;
        Registry::open(store, Opening { log_key, origin: None, policy, secret }).map_err(failed)
    }

    fn log_key(&self) -> Result<SecretKey, OpenError> {
        let directory = self.root.join("registry");
        let path = directory.join("log.pem");
        secret_file::create_directory(&directory).map_err(DeviceError::from)?;
        // Two programs that begin at once shall not make two keys.
        let _lock = secret_file::lock_directory(&directory).map_err(DeviceError::from)?;
        match secret_file::read(&path) {
            Ok(text) => {
                let pem = |source| DeviceError::Pem { path: path.clone(), source };
                Ok(pem::decode_identity(&text, None).map_err(pem)?)
            }
            Err(error) if error.is_not_found() && self.has_registry() => Err(OpenError::LogKeyMissing(path)),
            Err(error) if error.is_not_found() => {
                let seed = Zeroizing::new(random().map_err(DeviceError::from)?);
                let key = SecretKey::from_seed(seed).map_err(DeviceError::from)?;
                secret_file::create(&path, &pem::encode_identity(&key, None)).map_err(DeviceError::from)?;
                Ok(key)
            }
            Err(error) => Err(DeviceError::from(error).into()),
        }
    }
}
