//! The token log in SQLite, as functions on a connection, so that a change and the token that records it can be written in one
//! transaction of the caller's: a `Transaction` dereferences to a `Connection`.
//!
//! ```
//! use tibet_core::{Draft, Micros, Minter, sqlite};
//!
//! let mut connection = rusqlite::Connection::open_in_memory()?;
//! sqlite::create_tables(&connection)?;
//! let mut minter = Minter::new("jis:hub");
//! let transaction = connection.transaction()?;
//! // … the change itself …
//! let token = minter.mint(Draft::new("registered"), Micros::from_micros(1).expect("early enough"), [0; 4]);
//! assert_eq!(sqlite::append(&transaction, &token)?, 0);
//! transaction.commit()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The line of each token is what counts; the other columns only find it. Actions and actors are numbers into a table of
//! names, which keeps their two indexes to a few bytes per token: writing is the hot path. There is no index over time (tokens come
//! in the order of time, so recent ones are near the end) and none over parents.

use rusqlite::ffi::{SQLITE_CONSTRAINT_NOTNULL, SQLITE_CONSTRAINT_UNIQUE};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::minter::Head;
use crate::query::{Query, filter};
use crate::store::{StoreError, head_of, line_to_keep};
use crate::time;
use crate::token::Token;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS tibet_names (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS tibet_tokens (
    idx INTEGER PRIMARY KEY CHECK (idx >= 0),
    token_id TEXT NOT NULL UNIQUE,
    action INTEGER NOT NULL,
    actor INTEGER NOT NULL,
    time BIGINT,
    parent_id TEXT,
    line TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS tibet_tokens_action ON tibet_tokens (action);
CREATE INDEX IF NOT EXISTS tibet_tokens_actor ON tibet_tokens (actor);
";

/// Gives the next index and finds the names in the same statement. Not `INSERT … SELECT`: reading the table it writes costs SQLite a
/// temporary copy of the row, ten times the rest. A name that is not there yet is a null, which the table refuses.
const APPEND: &str = "
INSERT INTO tibet_tokens (idx, token_id, action, actor, time, parent_id, line)
VALUES ((SELECT coalesce(max(idx) + 1, 0) FROM tibet_tokens), ?1, (SELECT id FROM tibet_names WHERE name = ?2),
        (SELECT id FROM tibet_names WHERE name = ?3), ?4, ?5, ?6)";

const ADD_NAME: &str = "INSERT INTO tibet_names (name) VALUES (?1) ON CONFLICT (name) DO NOTHING";

/// Creates the tables `tibet_tokens` and `tibet_names` with their indexes, where they do not exist.
///
/// # Errors
/// [`StoreError::Database`].
pub fn create_tables(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(TABLES).map_err(database)
}

/// Keeps `token` and gives its index: one more than the last, 0 for the first. Several statements: outside a transaction
/// each is one of its own.
///
/// # Errors
/// [`StoreError::DuplicateId`], [`StoreError::Refused`] or [`StoreError::Database`]. The token was not kept then, and the
/// transaction can go on.
pub fn append(connection: &Connection, token: &Token) -> Result<u64, StoreError> {
    let line = line_to_keep(token)?;
    let time = time::instant(&token.timestamp);
    let values = params![token.token_id, token.action, token.actor, time, token.parent_id, line];
    let mut statement = connection.prepare_cached(APPEND).map_err(database)?;
    let mut kept = statement.execute(values);
    if kept.as_ref().is_err_and(|error| is(error, SQLITE_CONSTRAINT_NOTNULL)) {
        add_names(connection, token)?;
        kept = statement.execute(values);
    }
    kept.map_err(|error| {
        if is(&error, SQLITE_CONSTRAINT_UNIQUE) {
            StoreError::DuplicateId(token.token_id.clone())
        } else {
            database(error)
        }
    })?;
    // `idx` is the row id.
    unsigned(connection.last_insert_rowid())
}

/// Gives the names in `token` numbers, where they have none.
fn add_names(connection: &Connection, token: &Token) -> Result<(), StoreError> {
    let mut add = connection.prepare_cached(ADD_NAME).map_err(database)?;
    for name in [&token.action, &token.actor] {
        add.execute([name]).map_err(database)?;
    }
    Ok(())
}

/// Whether SQLite gave this extended code.
fn is(error: &rusqlite::Error, code: i32) -> bool {
    error.sqlite_error().is_some_and(|cause| cause.extended_code == code)
}

/// The number of tokens: the last index plus one.
///
/// # Errors
/// [`StoreError::Database`].
pub fn len(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(max(idx) + 1, 0) FROM tibet_tokens").map_err(database)?;
    unsigned(statement.query_row([], |row| row.get(0)).map_err(database)?)
}

/// The token at `index`.
///
/// # Errors
/// [`StoreError::Row`] or [`StoreError::Database`].
pub fn at(connection: &Connection, index: u64) -> Result<Option<Token>, StoreError> {
    let Ok(index) = i64::try_from(index) else { return Ok(None) };
    one(connection, "SELECT idx, token_id, line FROM tibet_tokens WHERE idx = ?1", index)
}

/// The token with this id.
///
/// # Errors
/// [`StoreError::Row`] or [`StoreError::Database`].
pub fn get(connection: &Connection, token_id: &str) -> Result<Option<Token>, StoreError> {
    one(connection, "SELECT idx, token_id, line FROM tibet_tokens WHERE token_id = ?1", token_id)
}

/// The end of the log, `None` when it is empty.
///
/// # Errors
/// [`StoreError::Row`] or [`StoreError::Database`].
pub fn head(connection: &Connection) -> Result<Option<Head>, StoreError> {
    let count = len(connection)?;
    let Some(last) = count.checked_sub(1) else { return Ok(None) };
    Ok(head_of(count, at(connection, last)?))
}

/// The last tokens that match, oldest first.
///
/// # Errors
/// [`StoreError::Row`] or [`StoreError::Database`].
pub fn find(connection: &Connection, query: &Query) -> Result<Vec<Token>, StoreError> {
    let mut sql = String::from("SELECT idx, token_id, line FROM tibet_tokens WHERE 1 = 1");
    let mut values = Vec::new();
    for (column, name) in [("action", filter(&query.action)), ("actor", filter(&query.actor))] {
        if let Some(name) = name {
            sql.push_str(&format!(" AND {column} = (SELECT id FROM tibet_names WHERE name = ?)"));
            values.push(rusqlite::types::Value::from(name.to_owned()));
        }
    }
    if let Some(since) = filter(&query.since).and_then(time::instant) {
        // Tokens whose time is no time are compared as text by `Query::matches`.
        sql.push_str(" AND (time >= ? OR time IS NULL)");
        values.push(since.into());
    }
    sql.push_str(" ORDER BY idx DESC");

    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(&sql).map_err(database)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(database)?;
    while found.len() < query.limit
        && let Some(row) = rows.next().map_err(database)?
    {
        let (_, token) = read(row)?;
        if query.matches(&token) {
            found.push(token);
        }
    }
    found.reverse();
    Ok(found)
}

/// Visits all tokens from index `from` on, one row at a time. Stops at the first that cannot be read.
///
/// # Errors
/// [`StoreError::Row`] or [`StoreError::Database`].
pub fn for_each(
    connection: &Connection,
    from: u64,
    mut visit: impl FnMut(u64, Token),
) -> Result<(), StoreError> {
    let Ok(from) = i64::try_from(from) else { return Ok(()) };
    let mut statement = connection
        .prepare_cached("SELECT idx, token_id, line FROM tibet_tokens WHERE idx >= ?1 ORDER BY idx")
        .map_err(database)?;
    let mut rows = statement.query([from]).map_err(database)?;
    while let Some(row) = rows.next().map_err(database)? {
        let (index, token) = read(row)?;
        visit(index, token);
    }
    Ok(())
}

fn one(connection: &Connection, sql: &str, key: impl rusqlite::ToSql) -> Result<Option<Token>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(database)?;
    let found = statement.query_row([key], |row| Ok(read(row))).optional().map_err(database)?;
    Ok(found.transpose()?.map(|(_, token)| token))
}

/// Reads `idx, token_id, line` and holds the id against the line: the column must not lead to another token.
fn read(row: &Row<'_>) -> Result<(u64, Token), StoreError> {
    let index = unsigned(row.get(0).map_err(database)?)?;
    let unreadable = |reason: String| StoreError::Row { index, reason };
    let text = |column| -> Result<&str, StoreError> {
        row.get_ref(column).map_err(database)?.as_str().map_err(|error| unreadable(error.to_string()))
    };
    let token = Token::from_json_line(text(2)?).map_err(|error| unreadable(error.to_string()))?;
    if token.token_id != text(1)? {
        return Err(unreadable("its id column names another token".to_owned()));
    }
    Ok((index, token))
}

/// SQLite has signed integers only; the table admits none below zero.
fn unsigned(index: i64) -> Result<u64, StoreError> {
    u64::try_from(index).map_err(|_| StoreError::Database(format!("negative index {index}")))
}

/// The library's error type is no part of our interface.
pub(crate) fn database(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
        _ => StoreError::Database(error.to_string()),
    }
}
