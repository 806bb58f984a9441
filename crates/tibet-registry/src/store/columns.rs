//! How values stand in the columns of a database, whichever it is.

use jis::{Name, UnixTime};
use sha2::{Digest as _, Sha256};

use super::{KeyUse, StoreError};

/// Bytes of the checksum after each entry.
const CHECKSUM: usize = 16;

/// First bytes of SHA-256 over the name, a zero, and the entry.
fn checksum(name: &Name, entry: &[u8]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(name.as_str()).chain_update([0]).chain_update(entry).finalize();
    *hash.first_chunk().expect("SHA-256 has 32 bytes")
}

pub(super) fn with_checksum(name: &Name, entry: &[u8]) -> Vec<u8> {
    [entry, &checksum(name, entry)].concat()
}

pub(super) fn without_checksum<'a>(name: &Name, stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match stored.split_last_chunk::<CHECKSUM>() {
        Some((entry, sum)) if *sum == checksum(name, entry) => Ok(entry),
        _ => Err(StoreError::Damaged(format!("the entry of {name} is not what was written"))),
    }
}

/// A byte for the use, then the key.
pub(super) fn stored_key(usage: KeyUse, key: &[u8; 32]) -> [u8; 33] {
    let mut stored = [0; 33];
    stored[0] = match usage {
        KeyUse::Identity => 1,
        KeyUse::Transport => 2,
    };
    stored[1..].copy_from_slice(key);
    stored
}

/// Names are checked when they enter; one that no longer parses was changed in the store.
pub(super) fn stored_name(text: &str) -> Result<Name, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged(format!("{text:?} stands where a name should")))
}

/// Both ends of the names below one. Those of jis:a begin with "jis:a:"; the next character after ':' is ';', which no name holds.
pub(super) fn below(name: &Name) -> (String, String) {
    (format!("{name}:"), format!("{name};"))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn millis(time: UnixTime) -> i64 {
    signed(time.as_millis())
}

pub(super) fn time(millis: i64) -> UnixTime {
    UnixTime::from_millis(unsigned(millis)).unwrap_or(UnixTime::MAX)
}
