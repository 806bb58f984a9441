//! Tokens in a database of their own.

use std::path::Path;

use rusqlite::Connection;

use super::{StoreError, TokenStore};
use crate::minter::Head;
use crate::query::Query;
use crate::sqlite::{self, database};
use crate::token::Token;

/// Keeps tokens in SQLite, each append a transaction of its own. To write tokens together with other changes use the functions of
/// [`crate::sqlite`] instead.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    /// Opens or creates the database at `path`: write-ahead log, a sync to disk for every append.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(database)?;
        // A damaged or hostile file is noticed instead of followed; mapped memory would hide read errors as crashes.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;
                 PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0;",
            )
            .map_err(database)?;
        Self::with_connection(connection)
    }

    /// A database in memory.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with_connection(Connection::open_in_memory().map_err(database)?)
    }

    /// Uses an open connection as it is and creates the tables in it where they are missing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn with_connection(connection: Connection) -> Result<Self, StoreError> {
        sqlite::create_tables(&connection)?;
        Ok(Self { connection })
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl TokenStore for SqliteStore {
    fn append(&mut self, token: &Token) -> Result<u64, StoreError> {
        let transaction = self.connection.transaction().map_err(database)?;
        let index = sqlite::append(&transaction, token)?;
        transaction.commit().map_err(database)?;
        Ok(index)
    }

    fn len(&self) -> Result<u64, StoreError> {
        sqlite::len(&self.connection)
    }

    fn at(&self, index: u64) -> Result<Option<Token>, StoreError> {
        sqlite::at(&self.connection, index)
    }

    fn get(&self, token_id: &str) -> Result<Option<Token>, StoreError> {
        sqlite::get(&self.connection, token_id)
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        sqlite::head(&self.connection)
    }

    fn find(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        sqlite::find(&self.connection, query)
    }

    fn for_each(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        sqlite::for_each(&self.connection, from, visit)
    }
}
