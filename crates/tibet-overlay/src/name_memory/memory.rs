//! Where names are remembered: in memory or in a file that several programs share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use jis::{Identity, IdentityStatus, KeyEvent, Name, PublicKey, Record, Signed, UnixTime};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use tibet_registry::StoreError;

use super::MAX_REMEMBERED;

/// `TIBR` in ASCII, in the file's header: this file is a memory of names and nothing else.
const APPLICATION_ID: i32 = 0x5449_4252;
/// Version of the tables below.
const SCHEMA_VERSION: i32 = 1;
/// Pairs of records kept as evidence.
const MAX_EVIDENCE: i64 = 1000;
/// Names of the file that need not be verified again as long as the file says the same of them…
const MAX_VERIFIED: usize = 4096;
/// … and have no more key events than this: some 2 KiB each, and 5 at most.
const FEW_EVENTS: usize = 4;

const TABLES: &str = "
CREATE TABLE seen (
    name TEXT PRIMARY KEY, events BLOB NOT NULL, record BLOB NOT NULL, expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX seen_expiry ON seen (expires_at);
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL, kept_at INTEGER NOT NULL
);
";

/// What is known of a name, verified.
#[derive(Debug, Clone)]
pub struct KnownName {
    /// The identity after its key events.
    pub identity: Identity,
    /// Its newest record.
    pub record: Signed<Record>,
    /// Its key events.
    pub events: Vec<KeyEvent>,
}

impl KnownName {
    /// Whether this key is, or was, the identity's.
    #[must_use]
    pub fn has_had(&self, key: &PublicKey) -> bool {
        self.events.iter().any(|event| match event {
            KeyEvent::Inception(inception) => inception.claims().key == *key,
            KeyEvent::Rotation(rotation) => rotation.rotation.claims().key == *key,
            KeyEvent::Revocation(_) => false,
        })
    }
}

/// Where it is remembered.
#[derive(Debug)]
pub(super) enum Memory {
    /// As long as the program runs.
    Held(HashMap<Name, KnownName>),
    /// In a file: what was seen is seen for ever (SECURITY R42).
    File(Box<File>),
}

/// A file that other programs read and write too.
#[derive(Debug)]
pub(super) struct File {
    connection: Connection,
    verified: Verified,
}

/// What was found good of the file's content. Whoever speaks with many looks each of them up every few seconds, and mostly finds what was there before.
#[derive(Debug, Default)]
struct Verified(RefCell<HashMap<Name, Box<KnownName>>>);

impl Default for Memory {
    fn default() -> Self {
        Self::Held(HashMap::new())
    }
}

impl Memory {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // No write-ahead log: it is read more than written, and one file is easier to keep safe than three.
        connection.execute_batch(
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA synchronous = FULL;",
        )?;
        // One transaction, so that two programs opening a new file do not both make it.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let objects: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if objects == 0 && pragma("application_id")? == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        } else if pragma("application_id")? != APPLICATION_ID || pragma("user_version")? != SCHEMA_VERSION {
            let reason = format!("{} is no memory of names of this version", path.display());
            return Err(StoreError::Foreign(reason));
        }
        transaction.commit()?;
        Ok(Self::File(Box::new(File { connection, verified: Verified::default() })))
    }

    /// Has `change` decide over what is known of a name, while no other program decides over anything.
    pub(super) fn change<T, E: From<StoreError>>(
        &mut self,
        name: &Name,
        now: UnixTime,
        change: impl FnOnce(Option<&KnownName>) -> Change<T, E>,
    ) -> Result<T, E> {
        let file = match self {
            Self::Held(held) => {
                let Change { keep, evidence: _, result } = change(held.get(name));
                if let Some(known) = keep {
                    if !held.contains_key(name) && !make_room(held, now) {
                        return Err(StoreError::Full.into());
                    }
                    held.insert(name.clone(), known);
                }
                return result;
            }
            Self::File(file) => file,
        };
        let transaction = file.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(StoreError::from)?;
        let before = read(&transaction, &file.verified, name)?;
        let Change { keep, evidence, result } = change(before.as_ref());
        if let Some(known) = keep {
            if before.is_none() && !make_room_in_file(&transaction, now)? {
                return Err(StoreError::Full.into());
            }
            write(&transaction, name, &known)?;
        }
        if let Some([first, second]) = evidence {
            keep_evidence(&transaction, name, &first, &second, now)?;
        }
        transaction.commit().map_err(StoreError::from)?;
        result
    }

    pub(super) fn get(&self, name: &Name) -> Result<Option<KnownName>, StoreError> {
        match self {
            Self::Held(held) => Ok(held.get(name).cloned()),
            Self::File(file) => read(&file.connection, &file.verified, name),
        }
    }

    /// How many pairs of contradicting records are kept.
    pub(super) fn evidence(&self) -> Result<u64, StoreError> {
        match self {
            Self::Held(_) => Ok(0),
            Self::File(file) => {
                let sql = "SELECT count(*) FROM evidence";
                let count: i64 = file.connection.query_row(sql, [], |row| row.get(0))?;
                Ok(count.unsigned_abs())
            }
        }
    }
}

/// What becomes of what was known.
pub(super) struct Change<T, E> {
    pub(super) keep: Option<KnownName>,
    pub(super) evidence: Option<[Signed<Record>; 2]>,
    pub(super) result: Result<T, E>,
}

impl<T, E> Change<T, E> {
    pub(super) fn nothing(result: Result<T, E>) -> Self {
        Self { keep: None, evidence: None, result }
    }
}

fn make_room(held: &mut HashMap<Name, KnownName>, now: UnixTime) -> bool {
    if held.len() < MAX_REMEMBERED {
        return true;
    }
    let expiry = |known: &KnownName| known.record.claims().expires_at();
    let oldest = held.iter().min_by_key(|(_, known)| expiry(known));
    let expired = oldest.filter(|(_, known)| expiry(known) < now).map(|(name, _)| name.clone());
    expired.is_some_and(|name| held.remove(&name).is_some())
}

fn make_room_in_file(file: &Connection, now: UnixTime) -> Result<bool, StoreError> {
    let count: i64 = file.query_row("SELECT count(*) FROM seen", [], |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count < MAX_REMEMBERED) {
        return Ok(true);
    }
    let sql = "DELETE FROM seen WHERE name = (SELECT name FROM seen WHERE expires_at < ?1 ORDER BY expires_at LIMIT 1)";
    Ok(file.execute(sql, params![millis(now)])? == 1)
}

fn read(file: &Connection, verified: &Verified, name: &Name) -> Result<Option<KnownName>, StoreError> {
    let columns = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let sql = "SELECT events, record FROM seen WHERE name = ?1";
    let found = file.prepare_cached(sql)?.query_row(params![name.as_str()], columns).optional()?;
    let Some((events, record)) = found else { return Ok(None) };
    if let Some(known) = verified.get(name, &events, &record) {
        return Ok(Some(known));
    }
    let known = verify(name, &events, &record).ok_or_else(|| {
        StoreError::Damaged(format!("what is remembered of {name} is not what was written"))
    })?;
    verified.keep(name, &known);
    Ok(Some(known))
}

fn verify(name: &Name, events: &[u8], record: &[u8]) -> Option<KnownName> {
    let (events, record) = (split(events)?, Signed::<Record>::decode(record).ok()?);
    let identity = Identity::replay(&events, &[]).ok()?;
    // The record came before the revocation, if there is one.
    Identity { status: IdentityStatus::Active, ..identity.clone() }.check_record(&record).ok()?;
    (identity.name == *name).then_some(KnownName { identity, record, events })
}

impl Verified {
    /// What is known of a name, if it was verified as these very bytes.
    fn get(&self, name: &Name, events: &[u8], record: &[u8]) -> Option<KnownName> {
        let verified = self.0.borrow();
        let known = verified.get(name)?;
        (known.record.encode() == record && join(&known.events) == events).then(|| KnownName::clone(known))
    }

    fn keep(&self, name: &Name, known: &KnownName) {
        if known.events.len() > FEW_EVENTS {
            return;
        }
        let mut verified = self.0.borrow_mut();
        if verified.len() >= MAX_VERIFIED && !verified.contains_key(name) {
            verified.clear();
        }
        verified.insert(name.clone(), Box::new(known.clone()));
    }
}

fn write(file: &Connection, name: &Name, known: &KnownName) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO seen (name, events, record, expires_at) VALUES (?1, ?2, ?3, ?4)";
    let expires_at = millis(known.record.claims().expires_at());
    let values = params![name.as_str(), join(&known.events), known.record.encode(), expires_at];
    file.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn keep_evidence(
    file: &Connection,
    name: &Name,
    first: &Signed<Record>,
    second: &Signed<Record>,
    now: UnixTime,
) -> Result<(), StoreError> {
    let (first, second) = (first.encode(), second.encode());
    let sql = "INSERT INTO evidence (name, first, second, kept_at) SELECT ?1, ?2, ?3, ?4
               WHERE (SELECT count(*) FROM evidence) < ?5
                 AND NOT EXISTS (SELECT 1 FROM evidence WHERE name = ?1 AND first = ?2 AND second = ?3)";
    file.execute(sql, params![name.as_str(), first, second, millis(now), MAX_EVIDENCE])?;
    Ok(())
}

/// Each event with its length in four bytes before it.
fn join(events: &[KeyEvent]) -> Vec<u8> {
    let one = |event: &KeyEvent| {
        let bytes = event.encode();
        [&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()[..], &bytes].concat()
    };
    events.iter().flat_map(one).collect()
}

fn split(mut bytes: &[u8]) -> Option<Vec<KeyEvent>> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (event, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        events.push(KeyEvent::decode(event).ok()?);
        bytes = rest;
    }
    bytes.is_empty().then_some(events)
}

fn millis(time: UnixTime) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
