//! The least that the work could cost: the libraries underneath, called with nothing around them.

use std::hint::black_box;
use std::path::Path;

use aws_lc_rs::signature::Ed25519KeyPair;
use ed25519_dalek::{Signature, VerifyingKey};
use rusqlite::{Connection, params};

use crate::Outcome;

/// What the registry's own file is opened with.
pub(crate) const REGISTRY_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -65536;
    PRAGMA wal_autocheckpoint = 8192; PRAGMA journal_size_limit = 67108864;";

/// What a file of tokens is opened with.
pub(crate) const TOKEN_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;";

/// A message, and who signed it, as bytes.
pub(crate) struct SignedBytes {
    pub(crate) message: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) key: [u8; 32],
}

impl SignedBytes {
    /// Reads the key and verifies strictly.
    pub(crate) fn verify_with_key_parsed(&self) -> Outcome<()> {
        self.verify(&VerifyingKey::from_bytes(&self.key)?)
    }

    /// Verifies strictly under a key that was read before.
    pub(crate) fn verify(&self, key: &VerifyingKey) -> Outcome<()> {
        Ok(key.verify_strict(&self.message, &Signature::from_bytes(&self.signature))?)
    }
}

/// Signs with AWS-LC.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new(seed: &[u8; 32]) -> Outcome<Self> {
        Ok(Self(Ed25519KeyPair::from_seed_unchecked(seed)?))
    }

    pub(crate) fn sign(&self, message: &[u8]) {
        black_box(self.0.sign(black_box(message)));
    }
}

/// Bytes of a row that stands for a device.
pub(crate) const DEVICE_ROW: [u8; 600] = [0x5a; 600];

/// What such a row is changed to: SQLite writes nothing where nothing changes.
const CHANGED_ROW: [u8; 600] = [0xa5; 600];

/// Two plain tables in one file, written in transactions like ours.
pub(crate) struct RawDatabase {
    connection: Connection,
}

impl RawDatabase {
    pub(crate) fn open(path: &Path, pragmas: &str) -> Outcome<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(pragmas)?;
        connection.execute_batch(
            "CREATE TABLE devices (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, row BLOB NOT NULL);
             CREATE TABLE tokens (idx INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, line TEXT NOT NULL);",
        )?;
        Ok(Self { connection })
    }

    /// Does `one` for each item, in transactions of `group`.
    pub(crate) fn in_groups<T>(
        &self,
        items: &[T],
        group: usize,
        mut one: impl FnMut(&Self, &T) -> Outcome<()>,
    ) -> Outcome<()> {
        for items in items.chunks(group) {
            self.run("BEGIN IMMEDIATE")?;
            for item in items {
                one(self, item)?;
            }
            self.run("COMMIT")?;
        }
        Ok(())
    }

    pub(crate) fn run(&self, sql: &str) -> Outcome<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    pub(crate) fn add_device(&self, name: &str) -> Outcome<()> {
        let sql = "INSERT INTO devices (name, row) VALUES (?1, ?2)";
        self.connection.prepare_cached(sql)?.execute(params![name, DEVICE_ROW])?;
        Ok(())
    }

    pub(crate) fn change_device(&self, name: &str) -> Outcome<()> {
        let sql = "UPDATE devices SET row = ?2 WHERE name = ?1";
        self.connection.prepare_cached(sql)?.execute(params![name, CHANGED_ROW])?;
        Ok(())
    }

    pub(crate) fn read_device(&self, name: &str) -> Outcome<Vec<u8>> {
        let mut statement = self.connection.prepare_cached("SELECT row FROM devices WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| row.get(0))?)
    }

    /// Names of `limit` devices in the order of their numbers, one in five from `after` on.
    pub(crate) fn read_names(&self, after: i64, limit: i64) -> Outcome<Vec<String>> {
        let sql = "SELECT d.name FROM listed l JOIN devices d ON d.id = l.device
                   WHERE l.device > ?1 ORDER BY l.device LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let names = statement.query_map(params![after, limit], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The list that [`RawDatabase::read_names`] reads.
    pub(crate) fn list_every_fifth(&self) -> Outcome<()> {
        self.connection.execute_batch(
            "CREATE TABLE listed (device INTEGER PRIMARY KEY);
             INSERT INTO listed SELECT id FROM devices WHERE id % 5 = 1;",
        )?;
        Ok(())
    }

    pub(crate) fn add_token(&self, id: &str, line: &str) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT INTO tokens (id, line) VALUES (?1, ?2)")?
            .execute([id, line])?;
        Ok(())
    }
}
