//! Where tokens are kept.

mod file;
pub use file::{FileStore, Fsync, Recovered, TokenLines};
mod memory;
pub use memory::MemoryStore;
mod sqlite;
pub use sqlite::SqliteStore;

use std::io;
use std::path::{Path, PathBuf};

use crate::minter::Head;
use crate::query::Query;
use crate::token::{Token, TokenError};

/// A place that keeps tokens in the order they come, numbered from 0 without gaps. Nothing is ever changed or removed.
///
/// A store checks that a token can be read back and that its id is new. It does not verify hashes or signatures: that is
/// the business of [`verify_store`](crate::verify_store), and a log that holds a forged token must still open to be looked at.
pub trait TokenStore {
    /// Keeps `token` and gives its index.
    ///
    /// # Errors
    /// [`StoreError::DuplicateId`], [`StoreError::Refused`], or what the storage below reports. The store is unchanged then.
    fn append(&mut self, token: &Token) -> Result<u64, StoreError>;

    /// The number of tokens.
    ///
    /// # Errors
    /// What the storage below reports.
    fn len(&self) -> Result<u64, StoreError>;

    /// The token at `index`, if there are so many.
    ///
    /// # Errors
    /// As [`TokenStore::for_each`].
    fn at(&self, index: u64) -> Result<Option<Token>, StoreError>;

    /// The token with this id.
    ///
    /// # Errors
    /// As [`TokenStore::for_each`].
    fn get(&self, token_id: &str) -> Result<Option<Token>, StoreError>;

    /// The end of the log, `None` when it is empty.
    ///
    /// # Errors
    /// As [`TokenStore::for_each`].
    fn head(&self) -> Result<Option<Head>, StoreError>;

    /// The last tokens that match, oldest first.
    ///
    /// # Errors
    /// As [`TokenStore::for_each`].
    fn find(&self, query: &Query) -> Result<Vec<Token>, StoreError>;

    /// Visits all tokens from index `from` on, one at a time.
    ///
    /// # Errors
    /// [`StoreError::Row`] for something that is no token any more, naming its index; what the storage below reports.
    fn for_each(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError>;

    /// Whether there are no tokens.
    ///
    /// # Errors
    /// As [`TokenStore::len`].
    fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is a token with this id already.
    #[error("there is a token {0} already")]
    DuplicateId(String),
    /// The token could not be read back, so it is not kept.
    #[error("token not kept: {0}")]
    Refused(#[source] TokenError),
    /// What stands at this index is not a token, or not the one the store's index says it is.
    #[error("token at index {index} is unreadable: {reason}")]
    Row {
        /// Index in the store, from 0.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// What stands in this line of the file is not a token, or repeats the id of an earlier one.
    #[error("{path}: line {line}{}: {reason}", .token_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// Id of the token, where it is still readable.
        token_id: Option<String>,
        /// What is wrong with the line.
        reason: String,
    },
    /// The file has another length than after the last write: something else changed it.
    #[error("{path}: changed by somebody else")]
    ChangedElsewhere {
        /// The file.
        path: PathBuf,
    },
    /// An earlier write failed, and what reached the disk is unknown. Open the store anew.
    #[error("{path}: an earlier write failed; open the file again")]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The words of the operating system.
        message: String,
    },
    /// The disk of the database is full.
    #[error("database: the disk is full")]
    Full,
    /// The database refused.
    #[error("database: {0}")]
    Database(String),
}

impl StoreError {
    fn file(path: &Path, error: &io::Error) -> Self {
        Self::File { path: path.to_owned(), kind: error.kind(), message: error.to_string() }
    }
}

/// The line of a token that may be kept.
pub(crate) fn line_to_keep(token: &Token) -> Result<String, StoreError> {
    token.check().map_err(StoreError::Refused)?;
    let line = token.to_json_line();
    if line.len() > crate::token::MAX_TOKEN_LINE {
        return Err(StoreError::Refused(TokenError::TooLong));
    }
    Ok(line)
}

/// The head of a log whose last token is `last`, of `count` tokens.
pub(crate) fn head_of(count: u64, last: Option<Token>) -> Option<Head> {
    last.map(|token| Head { count, token_id: token.token_id, content_hash: token.content_hash })
}
