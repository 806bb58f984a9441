//! Devices as they are outside a registry: keys, and signed objects as bytes.

use std::sync::Arc;

use jis::{
    Identity, Inception, KeyEvent, Name, NextKeyCommitment, Record, RecordStatus, RecordVersion, SecretKey,
    Signed, UnixTime, message_hash,
};
use tibet_registry::{MemoryStore, Opening, Policy, Registration, Registry, SqliteStore, Store};

use super::limits::SignedBytes;
use crate::Outcome;

/// 2026-06-01T00:00:00Z.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_780_272_000);
/// When records are changed.
pub(crate) const LATER: UnixTime = UnixTime::from_secs(1_780_272_600);

/// The capability of every fifth device.
pub(crate) const WANTED: &str = "hub";

/// One device.
pub(crate) struct Device {
    pub(crate) identity: Identity,
    pub(crate) key: SecretKey,
    /// Its inception, as sent.
    pub(crate) inception: Vec<u8>,
    /// Its first record, as sent.
    pub(crate) record: Vec<u8>,
}

impl Device {
    fn new(number: usize, next: NextKeyCommitment) -> Outcome<Self> {
        let key = SecretKey::from_seed(seed(number).into())?;
        let public = key.public_key();
        let name = name(number)?;
        let inception = Signed::seal(Inception { name, key: public, next, created_at: NOW }, &key)?;
        let identity = Identity::incept(&inception)?;
        let record = Signed::seal(first_record(&identity, number)?, &key)?.encode();
        Ok(Self { identity, key, inception: inception.encode(), record })
    }

    /// What a registry gets, read from the bytes as they came.
    pub(crate) fn registration(&self) -> Outcome<Registration> {
        Ok(Registration {
            events: vec![KeyEvent::decode(&self.inception)?],
            record: Signed::decode(&self.record)?,
            transport: None,
            permission: None,
        })
    }

    /// The device's second record, from another address.
    pub(crate) fn second_record(&self) -> Outcome<Vec<u8>> {
        let first = Signed::<Record>::decode(&self.record)?;
        let mut record = first.claims().clone();
        record.previous = message_hash(first.message());
        record.version.seq += 1;
        record.issued_at = LATER;
        record.endpoints = vec!["198.51.100.9:7150".parse()?];
        Ok(Signed::seal(record, &self.key)?.encode())
    }

    /// An encoded object of this device, taken apart for the raw limit.
    pub(crate) fn signed_bytes(&self, encoded: &[u8]) -> Outcome<SignedBytes> {
        let (message, signature) = encoded.split_last_chunk::<64>().ok_or("no signature")?;
        let key = *self.identity.key.as_bytes();
        Ok(SignedBytes { message: message.to_vec(), signature: *signature, key })
    }
}

fn name(number: usize) -> Outcome<Name> {
    Ok(format!("jis:bench:device-{number:06}").parse()?)
}

/// A different secret for each number.
fn seed(number: usize) -> [u8; 32] {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    seed
}

fn first_record(identity: &Identity, number: usize) -> Outcome<Record> {
    let mut capabilities = ["mqtt".parse()?].into_iter().collect::<std::collections::BTreeSet<_>>();
    if number.is_multiple_of(5) {
        capabilities.insert(WANTED.parse()?);
    }
    Ok(Record {
        name: identity.name.clone(),
        fingerprint: identity.fingerprint,
        version: RecordVersion { generation: 0, seq: 0 },
        key: identity.key,
        transport_key: None,
        issued_at: NOW,
        ttl: Record::MAX_TTL,
        endpoints: vec!["203.0.113.1:44321".parse()?],
        relays: Vec::new(),
        capabilities,
        status: RecordStatus::Active,
        previous: [0; 32],
        next: identity.next,
        behind_nat: true,
    })
}

/// Devices made ahead of the measurement.
pub(crate) struct Fleet {
    pub(crate) devices: Vec<Device>,
}

impl Fleet {
    pub(crate) fn new(size: usize) -> Outcome<Self> {
        eprintln!("making {size} devices");
        Ok(Self { devices: Self::some(0..size)? })
    }

    /// Devices with these numbers. All commit to one next key, which saves making as many more.
    pub(crate) fn some(numbers: std::ops::Range<usize>) -> Outcome<Vec<Device>> {
        let next = NextKeyCommitment::to(&log_key()?.public_key());
        numbers.map(|number| Device::new(number, next)).collect()
    }

    /// The devices of one round.
    pub(crate) fn of_round(&self, round: usize, size: usize) -> &[Device] {
        &self.devices[round * size..(round + 1) * size]
    }
}

/// The key that signs audit logs.
pub(crate) fn log_key() -> Outcome<SecretKey> {
    Ok(SecretKey::from_seed(seed(usize::MAX).into())?)
}

fn opening() -> Outcome<Opening> {
    Ok(Opening { log_key: Arc::new(log_key()?), origin: None, policy: Policy::default(), secret: [7; 32] })
}

/// An empty registry.
pub(crate) fn registry<S: Store>(store: S) -> Outcome<Registry<S>> {
    Ok(Registry::open(store, opening()?)?)
}

pub(crate) fn in_memory() -> Outcome<Registry<MemoryStore>> {
    registry(MemoryStore::new())
}

pub(crate) fn on_disk(path: &std::path::Path) -> Outcome<Registry<SqliteStore>> {
    registry(SqliteStore::open(path)?)
}
