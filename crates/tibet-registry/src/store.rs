//! Where a registry keeps its memory.
//!
//! A store holds bytes and indexes and decides nothing but uniqueness: which of two claims of a name came first, whether a token was
//! spent (SECURITY R34, R36). Everything else is the registry's rules.

mod boxed;
mod columns;
mod memory;
pub use memory::{MAX_IDENTITIES, MAX_TOKENS, MemoryStore};
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
mod sqlite;
pub use sqlite::SqliteStore;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use jis::{Capability, Fingerprint, Name, PublicKey, UnixTime};
use tibet_core::{Head, Query, Token};

/// What a registry needs of a store.
///
/// All writes lie between [`Store::begin`] and [`Store::commit`]. Nothing written may be visible to another process before the commit,
/// and all of it must survive a crash once the commit has returned.
pub trait Store {
    /// Begins a transaction and locks out other writers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Makes the transaction durable.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of the transaction is kept. [`StoreError::Uncertain`] where that cannot be known.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Forgets the transaction.
    fn rollback(&mut self);

    /// The entry of a name.
    ///
    /// # Errors
    /// [`StoreError`].
    fn entry(&self, name: &Name) -> Result<Option<StoredEntry>, StoreError>;

    /// Visits all entries in the order of their numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn for_each_entry(&self, visit: &mut dyn FnMut(u64, &Name, &[u8])) -> Result<(), StoreError>;

    /// How many identities there are.
    ///
    /// # Errors
    /// [`StoreError`].
    fn count(&self) -> Result<u64, StoreError>;

    /// The name of the identity that has, or ever had, this key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn name_of_key(&self, usage: KeyUse, key: &[u8; 32]) -> Result<Option<Name>, StoreError>;

    /// Whether names exist below this one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn has_names_below(&self, name: &Name) -> Result<bool, StoreError>;

    /// Up to `limit` identities that offer a capability, with numbers above `after`, in the order of their numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn with_capability(
        &self,
        capability: &Capability,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Name)>, StoreError>;

    /// Puts a new entry in; `None` when the name is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    fn claim(&mut self, name: &Name, entry: &[u8]) -> Result<Option<u64>, StoreError>;

    /// Replaces the entry with this number.
    ///
    /// # Errors
    /// [`StoreError`].
    fn replace(&mut self, id: u64, name: &Name, entry: &[u8]) -> Result<(), StoreError>;

    /// Remembers for ever that a key belongs to an identity; false when it belongs to one already.
    ///
    /// # Errors
    /// [`StoreError`].
    fn bind_key(&mut self, usage: KeyUse, key: &[u8; 32], id: u64) -> Result<bool, StoreError>;

    /// Changes what an identity is found by.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_capabilities(
        &mut self,
        id: u64,
        old: &BTreeSet<Capability>,
        new: &BTreeSet<Capability>,
    ) -> Result<(), StoreError>;

    /// Marks a one-time token as spent for ever, by the hash of its message; false when it was spent before. Each one spent has made an
    /// entry, so there are never more of them than of those, and no clock decides when one is forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    fn spend(&mut self, token: &[u8; 32]) -> Result<bool, StoreError>;

    /// Forgets a vouch.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_vouch(&mut self, id: &[u8; 16]) -> Result<(), StoreError>;

    /// Keeps a vouch, and forgets those for the same identity that expired before `now`; false when there is one with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn add_vouch(&mut self, vouch: &StoredVouch, now: UnixTime) -> Result<bool, StoreError>;

    /// The vouches for an identity that have not expired.
    ///
    /// # Errors
    /// [`StoreError`].
    fn vouches_for(&self, subject: u64, now: UnixTime) -> Result<Vec<StoredVouch>, StoreError>;

    /// How many unexpired vouches an identity has given.
    ///
    /// # Errors
    /// [`StoreError`].
    fn vouches_by(&self, voucher: u64, now: UnixTime) -> Result<u64, StoreError>;

    /// Keeps two contradicting signed objects of one identity. At most [`MAX_EVIDENCE`] per identity; more prove nothing more.
    ///
    /// # Errors
    /// [`StoreError`].
    fn add_evidence(&mut self, id: u64, first: &[u8], second: &[u8], now: UnixTime)
    -> Result<(), StoreError>;

    /// The evidence kept about an identity, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn evidence(&self, id: u64) -> Result<Vec<Evidence>, StoreError>;

    /// Notes whether an identity's device is there, in place of what was noted before.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_presence(&mut self, identity: u64, presence: &Presence) -> Result<(), StoreError>;

    /// What was last noted of an identity's device.
    ///
    /// # Errors
    /// [`StoreError`].
    fn presence(&self, identity: u64) -> Result<Option<Presence>, StoreError>;

    /// Visits what was noted of all devices, in the order of their identities' numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn for_each_presence(&self, visit: &mut dyn FnMut(u64, Presence)) -> Result<(), StoreError>;

    /// Keeps a request for a name, in place of one for the same name.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_request(&mut self, request: &NameRequest) -> Result<(), StoreError>;

    /// The request for a name.
    ///
    /// # Errors
    /// [`StoreError`].
    fn request(&self, name: &Name) -> Result<Option<NameRequest>, StoreError>;

    /// Up to `limit` requests for names after this one, in the order of the names as bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    fn requests(&self, after: Option<&Name>, limit: usize) -> Result<Vec<NameRequest>, StoreError>;

    /// How many requests there are, and how many of them wait that came from this network.
    ///
    /// # Errors
    /// [`StoreError`].
    fn count_requests(&self, network: Ipv6Addr) -> Result<(u64, u64), StoreError>;

    /// Forgets the request for a name; false when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove_request(&mut self, name: &Name) -> Result<bool, StoreError>;

    /// Forgets the requests that were denied before a time.
    ///
    /// # Errors
    /// [`StoreError`].
    fn forget_denied(&mut self, before: UnixTime) -> Result<(), StoreError>;

    /// Appends a token to the audit log.
    ///
    /// # Errors
    /// [`StoreError`].
    fn append_token(&mut self, token: &Token) -> Result<(), StoreError>;

    /// The end of the audit log.
    ///
    /// # Errors
    /// [`StoreError`].
    fn head(&self) -> Result<Option<Head>, StoreError>;

    /// Tokens of the audit log that match, the last ones, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_tokens(&self, query: &Query) -> Result<Vec<Token>, StoreError>;

    /// Visits the audit log from an index on.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Unreadable`] with the index of a token that cannot be read.
    fn for_each_token(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError>;

    /// Visits at most `limit` tokens of the audit log from an index on.
    ///
    /// # Errors
    /// As [`Store::for_each_token`].
    fn tokens_from(&self, from: u64, limit: u64, visit: &mut dyn FnMut(u64, Token))
    -> Result<(), StoreError>;

    /// Compares all indexes with what they index, as far as the store has such.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that does not fit.
    fn check_indexes(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Runs `read` over one state of the store, whatever other processes write meanwhile.
    ///
    /// # Errors
    /// [`StoreError`], of `read` or of the store.
    fn unchanging(&self, read: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        read()
    }

    /// A value kept for the registry itself.
    ///
    /// # Errors
    /// [`StoreError`].
    fn setting(&self, key: &str) -> Result<Option<String>, StoreError>;

    /// Keeps a value for the registry itself.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError>;
}

/// An entry and the store's number for it.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Numbers are given from 1 in the order of registration, and never again.
    pub id: u64,
    /// The entry, as the registry wrote it.
    pub bytes: Arc<[u8]>,
}

/// Two signed objects of which one identity should have made only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The one that was held.
    pub first: Vec<u8>,
    /// The one that came.
    pub second: Vec<u8>,
}

/// What a key is for. An identity key was proven by a signature, a transport key only named, so neither says anything about the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// An Ed25519 identity key.
    Identity,
    /// An X25519 transport key.
    Transport,
}

/// Most pieces of evidence kept per identity.
pub const MAX_EVIDENCE: usize = 4;

/// A vouch as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVouch {
    /// The vouch's own id.
    pub id: [u8; 16],
    /// Number of the identity vouched for.
    pub subject: u64,
    /// Number of the identity that vouches.
    pub voucher: u64,
    /// Name of the identity that vouches.
    pub voucher_name: Name,
    /// Thousandths of the voucher's trust that are lent.
    pub factor_permille: u64,
    /// Generation of the voucher's key at that time.
    pub voucher_generation: u64,
    /// Until when it counts.
    pub expires_at: UnixTime,
}

/// Whether a device is there, as a node saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The node that saw it.
    pub node: Name,
    /// Whether it is there.
    pub online: bool,
    /// Since when.
    pub since: UnixTime,
}

/// A claim of a name that a human decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRequest {
    /// The name asked for.
    pub name: Name,
    /// Fingerprint of the identity that asks.
    pub fingerprint: Fingerprint,
    /// Its key when it asked.
    pub key: PublicKey,
    /// Where it asked from.
    pub source: IpAddr,
    /// When it asked first.
    pub since: UnixTime,
    /// What was decided.
    pub state: RequestState,
}

impl NameRequest {
    /// The network it came from, as quotas count them: IPv4 by /24, IPv6 by /48.
    #[must_use]
    pub fn network(&self) -> Ipv6Addr {
        crate::quota::network(self.source)
    }
}

/// What became of a request for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// Nobody has decided yet.
    Waiting,
    /// The identity that asked may claim the name.
    Approved {
        /// Since when.
        at: UnixTime,
    },
    /// It may not.
    Denied {
        /// Since when.
        at: UnixTime,
    },
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full. Reading goes on.
    #[error("the disk is full; free some space, nothing was changed")]
    Full,
    /// The file or database may not be written.
    #[error("the registry's storage is read-only; check its permissions")]
    ReadOnly,
    /// Another process holds the file or database.
    #[error("another process is writing to the registry; try again")]
    Busy,
    /// The file or database is damaged, or was edited.
    #[error("the registry's storage is damaged: {0}; restore a backup, nothing of it is used")]
    Damaged(String),
    /// A row of the audit log is no token any more.
    #[error("token {index} of the audit log is damaged: {reason}")]
    Unreadable {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file belongs to something else, or to a newer version of this program.
    #[error("not a registry this program can use: {0}")]
    Foreign(String),
    /// The database does not answer. Reading and writing go on by themselves when it does again; nothing was changed.
    #[error("the database cannot be reached: {0}; start it or check the way to it, nothing was changed")]
    Unavailable(String),
    /// The connection broke while changes were made durable, and the database could not be asked since: they are kept as a whole or
    /// not at all. Doing them again is safe: what was kept is then no change.
    #[error(
        "the database went away while it was writing: {0}; it kept all of the last changes or none, look before repeating them"
    )]
    Uncertain(String),
    /// Something else went wrong below.
    #[error("storage failed: {0}")]
    Failed(String),
}

impl From<crate::entry::Damaged> for StoreError {
    fn from(_: crate::entry::Damaged) -> Self {
        Self::Damaged("an entry is not what was written".into())
    }
}

impl From<tibet_core::StoreError> for StoreError {
    fn from(error: tibet_core::StoreError) -> Self {
        match error {
            tibet_core::StoreError::Row { index, reason } => Self::Unreadable { index, reason },
            tibet_core::StoreError::Full => Self::Full,
            error => Self::Failed(error.to_string()),
        }
    }
}
