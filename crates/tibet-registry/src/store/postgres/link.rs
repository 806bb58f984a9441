//! The connection, and what becomes of a transaction when it breaks.
//!
//! Outside a transaction a broken connection is made anew and the question asked again. Within one nothing is asked again: the
//! transaction has failed, and all that comes until its end is refused without being sent, so that no half of it is ever written by
//! itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use postgres::types::ToSql;
use postgres::{Client, Row, SimpleQueryMessage, Statement};

use super::errors::{is_lost, meaning, words};
use super::schema;
use super::target::Target;
use crate::registry::{LOG_KEY, ORIGIN};
use crate::store::StoreError;

/// The settings that say whose registry it is.
const WHOSE: [&str; 2] = [LOG_KEY, ORIGIN];
/// The advisory lock that every writer takes: one at a time, of all processes on this database.
pub(super) const LOCK: i64 = 0x5449_4245_0000_0001;
/// How long to leave an unreachable database alone. Whoever asks meanwhile is refused at once, not made to wait.
const PAUSE: Duration = Duration::from_secs(1);

/// A lock is waited for as long as SQLite's. A writer that hangs, machine and all, holds it for half a minute at most.
const SESSION: &str = "
SET lock_timeout = '5s'; SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '30s';
SET client_min_messages = 'error';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')";

#[derive(Debug)]
enum Transaction {
    None,
    Open,
    /// It cannot be committed any more.
    Failed(StoreError),
}

/// A connection with the statements it knows.
struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Session {
    fn rows(
        &mut self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, postgres::Error> {
        let statement = match self.statements.get(sql) {
            Some(statement) => statement,
            None => {
                let prepared = self.client.prepare(sql)?;
                self.statements.entry(sql).or_insert(prepared)
            }
        };
        self.client.query(statement, values)
    }
}

pub(super) struct Link {
    target: Target,
    session: Option<Session>,
    transaction: Transaction,
    /// The last attempt to connect that failed, and why.
    failed: Option<(Instant, StoreError)>,
    /// Whose registry was found at first. Another one behind the same address is not to be written to.
    settings: Option<Vec<(String, String)>>,
    /// The last token of the open transaction, to ask for if its end remains unknown.
    last_token: Option<String>,
}

impl Link {
    pub(super) fn open(target: Target) -> Result<Self, StoreError> {
        let mut link = Self {
            target,
            session: None,
            transaction: Transaction::None,
            failed: None,
            settings: None,
            last_token: None,
        };
        link.session()?;
        Ok(link)
    }

    /// The connection, made anew if there is none.
    fn session(&mut self) -> Result<&mut Session, StoreError> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            if let Some((at, error)) = &self.failed
                && at.elapsed() < PAUSE
            {
                return Err(error.clone());
            }
            match self.connect() {
                Ok(session) => self.session = Some(session),
                Err(error) => {
                    self.failed = Some((Instant::now(), error.clone()));
                    return Err(error);
                }
            }
            self.failed = None;
        }
        Ok(self.session.as_mut().expect("there is one now"))
    }

    fn connect(&mut self) -> Result<Session, StoreError> {
        let mut client = self.target.connect().map_err(|error| meaning(&error))?;
        client.batch_execute(SESSION).map_err(|error| meaning(&error))?;
        schema::prepare(&mut client)?;
        let settings = settings(&mut client).map_err(|error| meaning(&error))?;
        if let Some(known) = &self.settings
            && known.iter().any(|setting| !settings.contains(setting))
        {
            return Err(StoreError::Foreign("another registry stands where ours was".into()));
        }
        self.settings = Some(settings);
        Ok(Session { client, statements: HashMap::new() })
    }

    /// Asks, with bound values. `sql` is prepared once for each connection.
    pub(super) fn rows(
        &mut self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        match &self.transaction {
            Transaction::Failed(error) => return Err(error.clone()),
            Transaction::None => return self.ask(|session| session.rows(sql, values)),
            Transaction::Open => {}
        }
        let Some(session) = &mut self.session else {
            return Err(StoreError::Failed("a transaction without a connection".into()));
        };
        session.rows(sql, values).map_err(|error| {
            // The server carries out nothing more of it either.
            let meant = meaning(&error);
            if is_lost(&error) {
                self.session = None;
            }
            self.transaction = Transaction::Failed(meant.clone());
            meant
        })
    }

    /// Asks something that may be asked twice, outside a transaction: a connection that broke since its last use is found out by using
    /// it.
    fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut Session) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        let fresh = self.session.is_none();
        let error = match question(self.session()?) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !is_lost(&error) {
            return Err(meaning(&error));
        }
        self.session = None;
        if fresh {
            return Err(meaning(&error));
        }
        question(self.session()?).map_err(|error| {
            if is_lost(&error) {
                self.session = None;
            }
            meaning(&error)
        })
    }

    /// Begins a transaction of the only writer.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.rollback();
        // Each statement after the lock sees what the writer before has committed: that is what READ COMMITTED means.
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SHOW transaction_read_only; SELECT pg_advisory_xact_lock({LOCK})"
        );
        let answer = self.ask(|session| session.client.simple_query(&sql));
        let said = match answer {
            Ok(said) => said,
            Err(error) => {
                self.end();
                return Err(error);
            }
        };
        self.transaction = Transaction::Open;
        self.last_token = None;
        let read_only = said.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.try_get(0).is_ok_and(|value| value == Some("on"))),
        );
        if read_only {
            self.rollback();
            return Err(StoreError::ReadOnly);
        }
        Ok(())
    }

    /// Begins a transaction that only reads, one state of the database.
    pub(super) fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        self.ask(|session| session.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))?;
        self.transaction = Transaction::Open;
        Ok(())
    }

    pub(super) fn in_transaction(&self) -> bool {
        !matches!(self.transaction, Transaction::None)
    }

    /// Notes the token by which the open transaction is known.
    pub(super) fn wrote(&mut self, token: &str) {
        self.last_token = Some(token.to_owned());
    }

    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None => return Err(StoreError::Failed("there is no transaction to commit".into())),
            Transaction::Failed(error) => {
                // A server asked to commit what has failed rolls it back and calls that a success.
                self.end();
                return Err(error);
            }
            Transaction::Open => {}
        }
        let Some(session) = &mut self.session else {
            return Err(StoreError::Failed("a transaction without a connection".into()));
        };
        let Err(error) = session.client.batch_execute("COMMIT") else {
            if self.settings.is_none() {
                // Durable it is, whatever becomes of this question.
                self.settings = settings(&mut session.client).ok();
            }
            return Ok(());
        };
        if is_lost(&error) {
            self.session = None;
            return self.find_out(&error);
        }
        self.end();
        Err(meaning(&error))
    }

    /// The connection broke before the answer to a commit came. The log of the database tells whether it was kept, once the lock is free:
    /// then that transaction has ended, one way or the other.
    fn find_out(&mut self, broken: &postgres::Error) -> Result<(), StoreError> {
        let Some(token) = self.last_token.take() else {
            // Without a token nothing was changed that counts.
            return Err(meaning(broken));
        };
        let uncertain = |_| StoreError::Uncertain(words(broken));
        self.begin().map_err(uncertain)?;
        let found = self.rows("SELECT 1 FROM tibet_tokens WHERE token_id = $1", &[&token]);
        self.rollback();
        if found.map_err(uncertain)?.is_empty() { Err(meaning(broken)) } else { Ok(()) }
    }

    pub(super) fn rollback(&mut self) {
        if !matches!(std::mem::replace(&mut self.transaction, Transaction::None), Transaction::None) {
            self.end();
        }
    }

    /// Takes back whatever is open. A connection that cannot do that is not used again.
    fn end(&mut self) {
        if let Some(session) = &mut self.session
            && session.client.batch_execute("ROLLBACK").is_err()
        {
            self.session = None;
        }
    }

    /// A setting was changed by ourselves.
    pub(super) fn set(&mut self, key: &str) {
        if WHOSE.contains(&key) {
            self.settings = None;
        }
    }
}

/// Whose registry it is. Others change all the time, and not by us alone.
fn settings(client: &mut Client) -> Result<Vec<(String, String)>, postgres::Error> {
    let sql = "SELECT key, value FROM registry_settings WHERE key IN ($1, $2) ORDER BY key";
    let rows = client.query(sql, &[&WHOSE[0], &WHOSE[1]])?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("target", &self.target)
            .field("connected", &self.session.is_some())
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}
