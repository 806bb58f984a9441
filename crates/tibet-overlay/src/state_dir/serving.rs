//! What an overlay node keeps, and the store its registry is in.
//!
//! ```text
//! STATE-DIR/node/identity.pem    the node's identity key: it answers with it, and is its name
//! STATE-DIR/node/keepalive.key   32 bytes in hex: makes keepalive tokens, so that they hold across restarts
//! STATE-DIR/node/operator.sock   HTTP for the operator, while the node runs
//! STATE-DIR/node/relay.json      what each identity has sent through the relay today
//! STATE-DIR/registry/issuer.pem  signs enrolment tokens; made on first use
//! ```

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use jis::{SecretKey, hex, pem};
use tibet_registry::{Opening, Policy, PostgresStore, Registry, SqliteStore, Store, StoreError};
use zeroize::Zeroizing;

use super::{OpenError, StateDir, key_on_first_use, new_key, read_key_file};
use crate::device::DeviceError;
use crate::secret_file;
use crate::server::{AnyRegistry, NodeKeys};
use crate::system::random;

/// Where a node's registry is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreLocation {
    /// The state directory's own file.
    #[default]
    Own,
    /// Another SQLite file. The log key stays in the state directory.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several nodes may share. All of them need the same log key.
    Postgres(String),
}

/// A text that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a store is sqlite:PATH or postgres://USER@HOST/DATABASE")]
pub struct NoStoreLocation;

impl FromStr for StoreLocation {
    type Err = NoStoreLocation;

    fn from_str(text: &str) -> Result<Self, NoStoreLocation> {
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self::Sqlite(path.into()));
        }
        let postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if postgres { Ok(Self::Postgres(text.into())) } else { Err(NoStoreLocation) }
    }
}

/// Without what may be a password.
impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the state directory"),
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => {
                let (_, rest) = url.split_once("://").unwrap_or(("", url));
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                write!(f, "postgres://{}", host.split('?').next().unwrap_or_default())
            }
        }
    }
}

impl StateDir {
    /// The keys of the overlay node, made on first use.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn node_keys(&self) -> Result<NodeKeys, DeviceError> {
        let directory = self.root().join("node");
        let identity = key_on_first_use(&directory.join("identity.pem"))?;
        let path = directory.join("keepalive.key");
        let text = secret_file::read_or_create(&path, || {
            let secret = Zeroizing::new(random::<32>()?);
            Ok::<_, DeviceError>(Zeroizing::new(format!("{}\n", hex::encode(&*secret))))
        })?;
        let keepalive = hex::decode_array(text.trim()).ok_or_else(|| DeviceError::State {
            path,
            reason: "it does not hold 32 bytes in hex; remove it and devices will register again".into(),
        })?;
        Ok(NodeKeys { identity, keepalive: Zeroizing::new(keepalive) })
    }

    /// The Unix socket on which an overlay node takes its operator's requests.
    #[must_use]
    pub fn operator_socket(&self) -> PathBuf {
        self.root().join("node").join("operator.sock")
    }

    /// Where an overlay node keeps what each identity has sent through its relay today.
    #[must_use]
    pub fn relay_usage_file(&self) -> PathBuf {
        self.root().join("node").join("relay.json")
    }

    /// The key that signs enrolment tokens of this registry, made on first use.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn issuer_key(&self) -> Result<SecretKey, DeviceError> {
        key_on_first_use(&self.root().join("registry").join("issuer.pem"))
    }

    /// Opens the registry of an overlay node, wherever it is, or makes a new one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_for_serving(
        &self,
        location: &StoreLocation,
        policy: Policy,
    ) -> Result<AnyRegistry, OpenError> {
        match location {
            StoreLocation::Own => Ok(self.open_registry(policy)?.boxed()),
            StoreLocation::Sqlite(path) => {
                let failed = |source| OpenError::Store { path: path.clone(), source };
                self.open_elsewhere(Box::new(SqliteStore::open(path).map_err(failed)?), path.clone(), policy)
            }
            StoreLocation::Postgres(url) => {
                let shown = PathBuf::from(location.to_string());
                let failed = |source| OpenError::Store { path: shown.clone(), source };
                self.open_elsewhere(
                    Box::new(PostgresStore::connect(url).map_err(failed)?),
                    shown.clone(),
                    policy,
                )
            }
        }
    }

    /// A registry whose log key is here and whose store is not. A store that is somebody's already is not taken over with a new key.
    fn open_elsewhere(
        &self,
        store: Box<dyn Store + Send>,
        shown: PathBuf,
        policy: Policy,
    ) -> Result<AnyRegistry, OpenError> {
        let directory = self.root().join("registry");
        secret_file::create_directory(&directory).map_err(DeviceError::from)?;
        let _lock = secret_file::lock_directory(&directory).map_err(DeviceError::from)?;
        let path = self.log_key_file();
        let failed = |source: StoreError| OpenError::Store { path: shown.clone(), source };
        let empty = store.head().map_err(failed)?.is_none() && store.count().map_err(failed)? == 0;
        let key = match read_key_file(&path)? {
            Some(key) => key,
            None if empty => {
                let key = new_key()?;
                secret_file::create(&path, &pem::encode_identity(&key, None)).map_err(DeviceError::from)?;
                key
            }
            // The node that made it has the key; copied here, this one can write to the same log.
            None => return Err(OpenError::LogKeyMissing(path)),
        };
        let secret = random().map_err(DeviceError::from)?;
        Registry::open(store, Opening { log_key: Arc::new(key), origin: None, policy, secret })
            .map_err(failed)
    }
}
