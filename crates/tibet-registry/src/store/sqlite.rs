//! A store in a SQLite file: the default of a registry.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use jis::{Capability, Name, UnixTime};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};
use tibet_core::{Head, Query, Token, sqlite as tokens};

use super::columns::{
    RequestRow, below, millis, presence, signed, stored_key, stored_name, stored_state, time, unsigned,
    with_checksum, without_checksum,
};
use super::{
    Evidence, KeyUse, MAX_EVIDENCE, NameRequest, Presence, Store, StoreError, StoredEntry, StoredVouch,
};

/// `TIBE` in ASCII, in the file's header: this file is a registry and nothing else.
const APPLICATION_ID: i32 = 0x5449_4245;
/// Files up to this size are checked whole when opened, in a fraction of a second; larger ones by [`SqliteStore::check`].
const CHECKED_WHEN_OPENED: u64 = 256 << 20;
/// How often opening tries to get a lock that SQLite does not wait for, 10 ms apart.
const OPEN_ATTEMPTS: u32 = 500;
/// SQLite has no smaller pages, so no smaller files but the empty one.
const SMALLEST_PAGE: u64 = 512;

/// How the tables came to be what they are: what each version added, from version 1 on. A file gets those it has not.
///
/// Portable but for `WITHOUT ROWID` and the types' names. Numbers of identities and capabilities keep the indexes small.
const STEPS: &[&str] = &["
CREATE TABLE registry_settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE registry_identities (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, entry BLOB NOT NULL);
CREATE TABLE registry_keys (key BLOB PRIMARY KEY, identity INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE registry_capability_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE registry_capabilities (
    capability INTEGER NOT NULL, identity INTEGER NOT NULL, PRIMARY KEY (capability, identity)
) WITHOUT ROWID;
CREATE TABLE registry_spent (token BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE registry_vouches (
    id BLOB PRIMARY KEY, subject INTEGER NOT NULL, voucher INTEGER NOT NULL, voucher_name TEXT NOT NULL,
    factor_permille INTEGER NOT NULL, voucher_generation INTEGER NOT NULL, expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX registry_vouches_subject ON registry_vouches (subject);
CREATE INDEX registry_vouches_voucher ON registry_vouches (voucher);
CREATE TABLE registry_evidence (
    id INTEGER PRIMARY KEY, identity INTEGER NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL, kept_at INTEGER NOT NULL
);
CREATE INDEX registry_evidence_identity ON registry_evidence (identity);
", "
CREATE TABLE registry_presence (
    identity INTEGER PRIMARY KEY, node TEXT NOT NULL, online INTEGER NOT NULL, since INTEGER NOT NULL
);
CREATE TABLE registry_requests (
    name TEXT PRIMARY KEY, fingerprint BLOB NOT NULL, key BLOB NOT NULL, source TEXT NOT NULL, network BLOB NOT NULL,
    since INTEGER NOT NULL, state INTEGER NOT NULL, decided_at INTEGER NOT NULL
) WITHOUT ROWID;
"];
/// Version of the tables this program works with.
const SCHEMA_VERSION: usize = STEPS.len();

/// A registry's memory in one SQLite file, write-ahead logged, every commit synced to the disk before it is acknowledged.
///
/// Each entry carries a checksum over itself and its name, so a damaged or swapped row is noticed when it is read. Whoever can edit
/// the file can also renew a checksum; what cannot be renewed are the devices' own signatures inside and the tokens of the audit
/// log, which [`Registry::audit`](crate::Registry::audit) compares.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    /// A commit failed in a way after which what is on the disk is unknown (SECURITY R70).
    failed: bool,
}

impl SqliteStore {
    /// Opens a registry's file, or makes a new one.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for a file of something else, [`StoreError::Damaged`], or what the system reports.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite takes the stump of a file for a new one.
        if std::fs::metadata(path).is_ok_and(|file| (1..SMALLEST_PAGE).contains(&file.len())) {
            return Err(StoreError::Damaged("the file was cut off".into()));
        }
        let connection = Connection::open(path)?;
        Self::harden(&connection)?;
        // Nothing is changed in a file before it is known to be ours: even the journal mode is written into it.
        if !Self::is_new(&connection)? {
            Self::recognise(&connection)?;
        }
        let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_WHEN_OPENED);
        let mut store = Self::prepare(connection)?;
        store.create_or_recognise()?;
        if small {
            store.check()?;
        }
        Ok(store)
    }

    /// Opens an existing registry's file for reading only. Writing fails with [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Self::harden(&connection)?;
        let version = Self::recognise(&connection)?;
        if version < SCHEMA_VERSION {
            return Err(StoreError::Foreign(format!(
                "its tables have version {version}; opened once for writing, they get version {SCHEMA_VERSION}"
            )));
        }
        let store = Self { connection, failed: false };
        if std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_WHEN_OPENED) {
            store.check()?;
        }
        Ok(store)
    }

    /// SECURITY R69. A file whose schema was tampered with gets no functions to call and no way to write to its own pages.
    fn harden(connection: &Connection) -> Result<(), StoreError> {
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection
            .execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA foreign_keys = OFF;")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(())
    }

    fn prepare(connection: Connection) -> Result<Self, StoreError> {
        // Two processes that open a new file at once meet here, at a lock for which SQLite does not wait by itself.
        let mut attempts = 0;
        while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL").map_err(StoreError::from)
        {
            attempts += 1;
            if error != StoreError::Busy || attempts > OPEN_ATTEMPTS {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        connection.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             PRAGMA wal_autocheckpoint = 8192; PRAGMA journal_size_limit = 67108864;",
        )?;
        Ok(Self { connection, failed: false })
    }

    /// One transaction, so that two processes opening a new file do not both create it.
    fn create_or_recognise(&mut self) -> Result<(), StoreError> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let held = if Self::is_new(&transaction)? {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            0
        } else {
            Self::recognise(&transaction)?
        };
        if held < SCHEMA_VERSION {
            Self::bring_up(&transaction, held, SCHEMA_VERSION)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION as i64)?;
        }
        transaction.commit()?;
        Self::recognise(&self.connection)?;
        Ok(())
    }

    /// Adds what the versions after `held` added, up to `version`.
    fn bring_up(connection: &Connection, held: usize, version: usize) -> Result<(), StoreError> {
        for step in &STEPS[held..version] {
            connection.execute_batch(step)?;
        }
        tokens::create_tables(connection)?;
        Ok(())
    }

    /// Whether this is an empty database that nobody has marked.
    fn is_new(connection: &Connection) -> Result<bool, StoreError> {
        let objects: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        Ok(objects == 0 && id == 0)
    }

    /// The version of a file that is ours, and is what its version says.
    fn recognise(connection: &Connection) -> Result<usize, StoreError> {
        // Version and tables of one moment: another process may be bringing the file to its own version.
        let _moment = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        if pragma("application_id")? != APPLICATION_ID {
            return Err(StoreError::Foreign("the file belongs to another program".into()));
        }
        let version = pragma("user_version")?;
        let version = usize::try_from(version)
            .ok()
            .filter(|version| (1..=SCHEMA_VERSION).contains(version))
            .ok_or_else(|| {
                StoreError::Foreign(format!(
                    "its tables have version {version}, this program knows {SCHEMA_VERSION}"
                ))
            })?;
        // The version is a number anybody can write. A missing index would change no answer and a trigger could change any.
        let made = Connection::open_in_memory()?;
        Self::bring_up(&made, 0, version)?;
        if Self::schema(connection)? != Self::schema(&made)? {
            return Err(StoreError::Foreign("its tables are not those of its version".into()));
        }
        Ok(version)
    }

    /// Everything in the schema but the planner's statistics, in order.
    fn schema(connection: &Connection) -> Result<Vec<[Option<String>; 4]>, StoreError> {
        // `GLOB` takes an underscore for itself.
        let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat*'
                   ORDER BY type, name";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Checks the structure of the whole file.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with what SQLite says first.
    pub fn check(&self) -> Result<(), StoreError> {
        let verdict: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged(verdict)) }
    }

    /// Lets the file grow by at most so many pages, as a full disk would; for tests.
    ///
    /// # Errors
    /// [`StoreError`].
    #[doc(hidden)]
    pub fn limit_growth(&self, pages: u32) -> Result<(), StoreError> {
        let count: u32 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        self.connection.pragma_update(None, "max_page_count", count.saturating_add(pages))?;
        Ok(())
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    fn first<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    fn all_requests(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<NameRequest>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (name, source): (String, String) = (row.get(0)?, row.get(3)?);
            let (fingerprint, key): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
            let row = RequestRow {
                name: &name,
                fingerprint: &fingerprint,
                key: &key,
                source: &source,
                since: row.get(4)?,
                state: row.get(5)?,
                decided_at: row.get(6)?,
            };
            found.push(row.read()?);
        }
        Ok(found)
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// The name in a column, read in place.
fn name_in(row: &Row<'_>, column: usize) -> Result<Name, StoreError> {
    stored_name(row.get_ref(column)?.as_str().map_err(|_| StoreError::Damaged("a name is no text".into()))?)
}

impl Store for SqliteStore {
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed("an earlier commit failed; open the registry again".into()));
        }
        // SQLite would begin a transaction that can only read, and say so at the first write.
        if self.connection.is_readonly(rusqlite::MAIN_DB)? {
            return Err(StoreError::ReadOnly);
        }
        self.execute("BEGIN IMMEDIATE", [])?;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        match self.execute("COMMIT", []) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.rollback();
                // A full disk is found out before anything is synced; after any other failure the disk's state is unknown.
                self.failed = !matches!(error, StoreError::Full | StoreError::Busy | StoreError::ReadOnly);
                Err(error)
            }
        }
    }

    fn rollback(&mut self) {
        // SQLite has rolled back by itself after some errors; then there is nothing left to do.
        if !self.connection.is_autocommit() && self.execute("ROLLBACK", []).is_err() {
            self.failed = true;
        }
    }

    fn entry(&self, name: &Name) -> Result<Option<StoredEntry>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, entry FROM registry_identities WHERE name = ?1")?;
        let mut rows = statement.query([name.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let stored =
            row.get_ref(1)?.as_blob().map_err(|_| StoreError::Damaged("an entry is no blob".into()))?;
        Ok(Some(StoredEntry { id: unsigned(row.get(0)?), bytes: without_checksum(name, stored)?.into() }))
    }

    fn for_each_entry(&self, visit: &mut dyn FnMut(u64, &Name, &[u8])) -> Result<(), StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, name, entry FROM registry_identities ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = name_in(row, 1)?;
            let stored =
                row.get_ref(2)?.as_blob().map_err(|_| StoreError::Damaged("an entry is no blob".into()))?;
            visit(unsigned(row.get(0)?), &name, without_checksum(&name, stored)?);
        }
        Ok(())
    }

    fn count(&self) -> Result<u64, StoreError> {
        // Numbers are given in order and entries never removed, so the last number is the count.
        let last =
            self.first("SELECT coalesce(max(id), 0) FROM registry_identities", [], |row| row.get(0))?;
        Ok(unsigned(last.unwrap_or(0)))
    }

    fn name_of_key(&self, usage: KeyUse, key: &[u8; 32]) -> Result<Option<Name>, StoreError> {
        let sql = "SELECT i.name FROM registry_keys k JOIN registry_identities i ON i.id = k.identity WHERE k.key = ?1";
        let name: Option<String> = self.first(sql, [stored_key(usage, key)], |row| row.get(0))?;
        name.map(|name| stored_name(&name)).transpose()
    }

    fn has_names_below(&self, name: &Name) -> Result<bool, StoreError> {
        let (first, end) = below(name);
        let sql = "SELECT EXISTS (SELECT 1 FROM registry_identities WHERE name > ?1 AND name < ?2)";
        let found = self.first(sql, [first, end], |row| row.get(0))?;
        Ok(found.unwrap_or(false))
    }

    fn with_capability(
        &self,
        capability: &Capability,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Name)>, StoreError> {
        let sql = "SELECT i.id, i.name FROM registry_capabilities c JOIN registry_identities i ON i.id = c.identity
                   WHERE c.capability = (SELECT id FROM registry_capability_names WHERE name = ?1) AND c.identity > ?2
                   ORDER BY c.identity LIMIT ?3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![capability.as_str(), signed(after), limit])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((unsigned(row.get(0)?), name_in(row, 1)?));
        }
        Ok(found)
    }

    fn claim(&mut self, name: &Name, entry: &[u8]) -> Result<Option<u64>, StoreError> {
        let sql =
            "INSERT INTO registry_identities (name, entry) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
        let added = self.execute(sql, params![name.as_str(), with_checksum(name, entry)])?;
        Ok((added == 1).then(|| unsigned(self.connection.last_insert_rowid())))
    }

    fn replace(&mut self, id: u64, name: &Name, entry: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE registry_identities SET entry = ?2 WHERE id = ?1 AND name = ?3";
        match self.execute(sql, params![signed(id), with_checksum(name, entry), name.as_str()])? {
            1 => Ok(()),
            _ => Err(StoreError::Damaged(format!("{name} is not where it was"))),
        }
    }

    fn bind_key(&mut self, usage: KeyUse, key: &[u8; 32], id: u64) -> Result<bool, StoreError> {
        let key = stored_key(usage, key);
        let sql = "INSERT INTO registry_keys (key, identity) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
        if self.execute(sql, params![key, signed(id)])? == 1 {
            return Ok(true);
        }
        let owner: Option<i64> =
            self.first("SELECT identity FROM registry_keys WHERE key = ?1", [key], |row| row.get(0))?;
        Ok(owner == Some(signed(id)))
    }

    fn set_capabilities(
        &mut self,
        id: u64,
        old: &BTreeSet<Capability>,
        new: &BTreeSet<Capability>,
    ) -> Result<(), StoreError> {
        for capability in old.difference(new) {
            let sql = "DELETE FROM registry_capabilities WHERE identity = ?1
                       AND capability = (SELECT id FROM registry_capability_names WHERE name = ?2)";
            self.execute(sql, params![signed(id), capability.as_str()])?;
        }
        for capability in new.difference(old) {
            let add = "INSERT INTO registry_capabilities (capability, identity)
                       SELECT id, ?2 FROM registry_capability_names WHERE name = ?1";
            if self.execute(add, params![capability.as_str(), signed(id)])? == 0 {
                self.execute(
                    "INSERT INTO registry_capability_names (name) VALUES (?1)",
                    [capability.as_str()],
                )?;
                self.execute(add, params![capability.as_str(), signed(id)])?;
            }
        }
        Ok(())
    }

    fn spend(&mut self, token: &[u8; 32]) -> Result<bool, StoreError> {
        let sql = "INSERT INTO registry_spent (token) VALUES (?1) ON CONFLICT (token) DO NOTHING";
        Ok(self.execute(sql, [token])? == 1)
    }

    fn remove_vouch(&mut self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.execute("DELETE FROM registry_vouches WHERE id = ?1", [id])?;
        Ok(())
    }

    fn add_vouch(&mut self, vouch: &StoredVouch, now: UnixTime) -> Result<bool, StoreError> {
        let forget = "DELETE FROM registry_vouches WHERE subject = ?1 AND expires_at < ?2";
        self.execute(forget, params![signed(vouch.subject), millis(now)])?;
        let sql = "INSERT INTO registry_vouches
                   (id, subject, voucher, voucher_name, factor_permille, voucher_generation, expires_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING";
        let StoredVouch {
            id,
            subject,
            voucher,
            voucher_name,
            factor_permille,
            voucher_generation,
            expires_at,
        } = vouch;
        let added = self.execute(
            sql,
            params![
                &id[..],
                signed(*subject),
                signed(*voucher),
                voucher_name.as_str(),
                signed(*factor_permille),
                signed(*voucher_generation),
                millis(*expires_at)
            ],
        )?;
        Ok(added == 1)
    }

    fn vouches_for(&self, subject: u64, now: UnixTime) -> Result<Vec<StoredVouch>, StoreError> {
        let sql = "SELECT id, voucher, voucher_name, factor_permille, voucher_generation, expires_at
                   FROM registry_vouches WHERE subject = ?1 AND expires_at >= ?2 ORDER BY id";
        let read = |row: &Row<'_>| {
            Ok((
                row.get::<_, [u8; 16]>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
                row.get::<_, i64>(4)?,
                row.get::<_, i64>(5)?,
            ))
        };
        let rows = self.all(sql, params![signed(subject), millis(now)], read)?;
        let build = |(id, voucher, name, factor, generation, expires_at): (_, _, String, _, _, _)| {
            Ok(StoredVouch {
                id,
                subject,
                voucher: unsigned(voucher),
                voucher_name: stored_name(&name)?,
                factor_permille: unsigned(factor),
                voucher_generation: unsigned(generation),
                expires_at: time(expires_at),
            })
        };
        rows.into_iter().map(build).collect()
    }

    fn vouches_by(&self, voucher: u64, now: UnixTime) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM registry_vouches WHERE voucher = ?1 AND expires_at >= ?2";
        let count = self.first(sql, params![signed(voucher), millis(now)], |row| row.get(0))?;
        Ok(unsigned(count.unwrap_or(0)))
    }

    fn add_evidence(
        &mut self,
        id: u64,
        first: &[u8],
        second: &[u8],
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_evidence (identity, first, second, kept_at) SELECT ?1, ?2, ?3, ?4
                   WHERE (SELECT count(*) FROM registry_evidence WHERE identity = ?1) < ?5
                   AND NOT EXISTS (SELECT 1 FROM registry_evidence WHERE identity = ?1 AND first = ?2 AND second = ?3)";
        self.execute(sql, params![signed(id), first, second, millis(now), MAX_EVIDENCE as i64])?;
        Ok(())
    }

    fn evidence(&self, id: u64) -> Result<Vec<Evidence>, StoreError> {
        let sql = "SELECT first, second FROM registry_evidence WHERE identity = ?1 ORDER BY id";
        self.all(sql, [signed(id)], |row| Ok(Evidence { first: row.get(0)?, second: row.get(1)? }))
    }

    fn set_presence(&mut self, identity: u64, presence: &Presence) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_presence (identity, node, online, since) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (identity)
                   DO UPDATE SET node = excluded.node, online = excluded.online, since = excluded.since";
        let Presence { node, online, since } = presence;
        self.execute(sql, params![signed(identity), node.as_str(), online, millis(*since)])?;
        Ok(())
    }

    fn presence(&self, identity: u64) -> Result<Option<Presence>, StoreError> {
        let sql = "SELECT node, online, since FROM registry_presence WHERE identity = ?1";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
        let held = self.first(sql, [signed(identity)], read)?;
        held.map(|(node, online, since)| presence(&node, online, since)).transpose()
    }

    fn for_each_presence(&self, visit: &mut dyn FnMut(u64, Presence)) -> Result<(), StoreError> {
        let sql = "SELECT identity, node, online, since FROM registry_presence ORDER BY identity";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let node: String = row.get(1)?;
            visit(unsigned(row.get(0)?), presence(&node, row.get(2)?, row.get(3)?)?);
        }
        Ok(())
    }

    fn put_request(&mut self, request: &NameRequest) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO registry_requests
                   (name, fingerprint, key, source, network, since, state, decided_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let NameRequest { name, fingerprint, key, source, since, state, .. } = request;
        let (state, decided_at) = stored_state(*state);
        let values = params![
            name.as_str(),
            &fingerprint.as_bytes()[..],
            &key.as_bytes()[..],
            source.to_string(),
            request.network().octets(),
            millis(*since),
            state,
            decided_at
        ];
        self.execute(sql, values)?;
        Ok(())
    }

    fn request(&self, name: &Name) -> Result<Option<NameRequest>, StoreError> {
        let sql = "SELECT name, fingerprint, key, source, since, state, decided_at FROM registry_requests
                   WHERE name = ?1";
        Ok(self.all_requests(sql, [name.as_str()])?.pop())
    }

    fn requests(&self, after: Option<&Name>, limit: usize) -> Result<Vec<NameRequest>, StoreError> {
        let sql = "SELECT name, fingerprint, key, source, since, state, decided_at FROM registry_requests
                   WHERE name > ?1 ORDER BY name LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // No name is as small as none.
        self.all_requests(sql, params![after.map_or("", Name::as_str), limit])
    }

    fn count_requests(&self, network: Ipv6Addr) -> Result<(u64, u64), StoreError> {
        let sql =
            "SELECT count(*), count(*) FILTER (WHERE state = 0 AND network = ?1) FROM registry_requests";
        let counts = self.first(sql, [network.octets()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (all, waiting) = counts.unwrap_or_default();
        Ok((unsigned(all), unsigned(waiting)))
    }

    fn remove_request(&mut self, name: &Name) -> Result<bool, StoreError> {
        Ok(self.execute("DELETE FROM registry_requests WHERE name = ?1", [name.as_str()])? > 0)
    }

    fn forget_denied(&mut self, before: UnixTime) -> Result<(), StoreError> {
        self.execute("DELETE FROM registry_requests WHERE state = 2 AND decided_at < ?1", [millis(before)])?;
        Ok(())
    }

    fn append_token(&mut self, token: &Token) -> Result<(), StoreError> {
        tokens::append(&self.connection, token)?;
        Ok(())
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(tokens::head(&self.connection)?)
    }

    fn find_tokens(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        Ok(tokens::find(&self.connection, query)?)
    }

    fn for_each_token(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        Ok(tokens::for_each(&self.connection, from, visit)?)
    }

    fn tokens_from(
        &self,
        from: u64,
        limit: u64,
        visit: &mut dyn FnMut(u64, Token),
    ) -> Result<(), StoreError> {
        // The index is the row's own number: each of these is one step down one tree.
        for index in from..from.saturating_add(limit) {
            let Some(token) = tokens::at(&self.connection, index)? else { break };
            visit(index, token);
        }
        Ok(())
    }

    /// Opening looks at the structure only, which is fast; this also finds an entry that its name no longer leads to.
    fn check_indexes(&self) -> Result<(), StoreError> {
        let verdict: String = self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged(verdict)) }
    }

    fn unchanging(&self, read: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        if !self.connection.is_autocommit() {
            return read();
        }
        self.execute("BEGIN", [])?;
        let out = read();
        let ended = self.execute("ROLLBACK", []);
        out.and(ended.map(|_| ()))
    }

    fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.first("SELECT value FROM registry_settings WHERE key = ?1", [key], |row| row.get(0))
    }

    fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_settings (key, value) VALUES (?1, ?2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.execute(sql, [key, value])?;
        Ok(())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            Some(_) | None => Self::Failed(error.to_string()),
        }
    }
}
