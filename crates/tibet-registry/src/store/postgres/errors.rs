//! What PostgreSQL's errors mean for a registry.

use postgres::error::SqlState;

use crate::store::StoreError;

/// An error in words, with what caused it, in one line. Values and addresses are not in it.
pub(super) fn words(error: &postgres::Error) -> String {
    let mut words = match error.as_db_error() {
        Some(said) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        None => error.to_string(),
    };
    let mut source = if error.as_db_error().is_some() { None } else { std::error::Error::source(error) };
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        source = cause.source();
    }
    words.replace('\n', " ")
}

/// Whether the connection is of no more use. Without a word from the server nothing is known of it, so it is not used again either.
pub(super) fn is_lost(error: &postgres::Error) -> bool {
    error.code().is_none_or(|code| class(code) == "08" || is_away(code))
}

fn class(code: &SqlState) -> &str {
    code.code().get(..2).unwrap_or_default()
}

/// The server goes down, comes up, has no room for us, or has ended our session.
fn is_away(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ]
    .contains(code)
}

pub(super) fn meaning(error: &postgres::Error) -> StoreError {
    let Some(code) = error.code() else { return StoreError::Unavailable(words(error)) };
    let full = [SqlState::DISK_FULL, SqlState::INSUFFICIENT_RESOURCES];
    let read_only = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::INSUFFICIENT_PRIVILEGE];
    let busy = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::QUERY_CANCELED,
    ];
    // Somebody has changed the tables under us.
    let foreign = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::DATATYPE_MISMATCH];
    if full.contains(code) {
        StoreError::Full
    } else if read_only.contains(code) {
        StoreError::ReadOnly
    } else if busy.contains(code) {
        StoreError::Busy
    } else if foreign.contains(code) {
        StoreError::Foreign(words(error))
    } else if is_lost(error) || ["28", "3D"].contains(&class(code)) {
        // Also a login or a database that the server does not know: to be set right where the database is.
        StoreError::Unavailable(words(error))
    } else if class(code) == "XX" {
        StoreError::Damaged(words(error))
    } else {
        StoreError::Failed(words(error))
    }
}
