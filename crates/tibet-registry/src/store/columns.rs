//! How values stand in the columns of a database, whichever it is.

use jis::{Fingerprint, Name, PublicKey, UnixTime};
use sha2::{Digest as _, Sha256};

use super::{KeyUse, NameRequest, Presence, RequestState, StoreError};

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

/// The columns of a request that say what was decided, and when.
pub(super) fn stored_state(state: RequestState) -> (i64, i64) {
    match state {
        RequestState::Waiting => (0, 0),
        RequestState::Approved { at } => (1, millis(at)),
        RequestState::Denied { at } => (2, millis(at)),
    }
}

/// A request for a name, as its columns have it.
pub(super) struct RequestRow<'a> {
    pub(super) name: &'a str,
    pub(super) fingerprint: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) source: &'a str,
    pub(super) since: i64,
    pub(super) state: i64,
    pub(super) decided_at: i64,
}

impl RequestRow<'_> {
    pub(super) fn read(&self) -> Result<NameRequest, StoreError> {
        let damaged =
            || StoreError::Damaged(format!("the request for {:?} is not what was written", self.name));
        let at = time(self.decided_at);
        Ok(NameRequest {
            name: stored_name(self.name)?,
            fingerprint: Fingerprint::from_bytes(self.fingerprint.try_into().map_err(|_| damaged())?),
            key: self
                .key
                .try_into()
                .ok()
                .and_then(|key| PublicKey::from_bytes(key).ok())
                .ok_or_else(damaged)?,
            source: self.source.parse().map_err(|_| damaged())?,
            since: time(self.since),
            state: match self.state {
                0 => RequestState::Waiting,
                1 => RequestState::Approved { at },
                2 => RequestState::Denied { at },
                _ => return Err(damaged()),
            },
        })
    }
}

/// A device's presence, as its columns have it.
pub(super) fn presence(node: &str, online: bool, since: i64) -> Result<Presence, StoreError> {
    Ok(Presence { node: stored_name(node)?, online, since: time(since) })
}
