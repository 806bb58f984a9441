//! A device and a registry to play with, under a clock that the test holds.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use jis::{
    Identity, Inception, KeyEvent, Name, NextKeyCommitment, Record, RecordStatus, RecordVersion, Rotation,
    SecretKey, Signed, SignedRotation, UnixTime, message_hash,
};
use tibet_registry::{
    MemoryStore, Opening, Policy, Refusal, Registered, Registration, Registry, Source, SqliteStore, Store,
    Verification,
};

/// 2026-06-01T00:00:00Z.
pub const START: UnixTime = UnixTime::from_secs(1_780_272_000);

pub fn after(secs: u64) -> UnixTime {
    START.saturating_add(Duration::from_secs(secs))
}

/// A key made of a number: the same number, the same key.
pub fn key(number: u64) -> SecretKey {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_seed(seed.into()).expect("not degenerate")
}

/// A device as it lives outside the registry: it holds its keys and makes its own records.
pub struct Device {
    pub identity: Identity,
    pub events: Vec<KeyEvent>,
    pub key: SecretKey,
    pub next: SecretKey,
    pub record: Record,
}

impl Device {
    /// Keys come from `number` and the ones after it: leave room of 10.
    pub fn new(name: &str, number: u64) -> Self {
        let (secret, next) = (key(number), key(number + 1));
        let inception = Inception {
            name: name.parse().expect("name"),
            key: secret.public_key(),
            next: NextKeyCommitment::to(&next.public_key()),
            created_at: START,
        };
        let inception = Signed::seal(inception, &secret).expect("inception");
        let identity = Identity::incept(&inception).expect("identity");
        let record = Record {
            name: identity.name.clone(),
            fingerprint: identity.fingerprint,
            version: RecordVersion { generation: 0, seq: 0 },
            key: identity.key,
            transport_key: None,
            issued_at: START,
            ttl: Record::MAX_TTL,
            endpoints: vec!["203.0.113.1:44321".parse().expect("endpoint")],
            relays: Vec::new(),
            capabilities: ["mqtt".parse().expect("capability")].into(),
            status: RecordStatus::Active,
            previous: [0; 32],
            next: identity.next,
            behind_nat: true,
        };
        Self { identity, events: vec![KeyEvent::Inception(inception)], key: secret, next, record }
    }

    pub fn name(&self) -> &Name {
        &self.identity.name
    }

    pub fn signed_record(&self) -> Signed<Record> {
        Signed::seal(self.record.clone(), &self.key).expect("record")
    }

    pub fn registration(&self) -> Registration {
        Registration {
            events: self.events.clone(),
            record: self.signed_record(),
            transport: None,
            permission: None,
        }
    }

    /// The next record, issued at `now`, changed by `change`.
    pub fn move_on(&mut self, now: UnixTime, change: impl FnOnce(&mut Record)) -> Signed<Record> {
        self.record.previous = message_hash(self.signed_record().message());
        self.record.version.seq += 1;
        self.record.issued_at = now;
        change(&mut self.record);
        self.signed_record()
    }

    /// A rotation to the committed key, and the first record under it. The device is rotated.
    pub fn rotate(&mut self, after_next: SecretKey, now: UnixTime) -> (SignedRotation, Signed<Record>) {
        let rotation = Rotation {
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            generation: self.identity.generation + 1,
            key: self.next.public_key(),
            next: NextKeyCommitment::to(&after_next.public_key()),
            previous: self.identity.last_event,
            rotated_at: now,
        };
        let rotation = SignedRotation::seal(rotation, &self.next, Some(&self.key)).expect("rotation");
        let event = KeyEvent::Rotation(rotation.clone());
        self.identity = self.identity.apply(&event, &[]).expect("fits");
        self.events.push(event);
        self.key = std::mem::replace(&mut self.next, after_next);
        self.record.key = self.identity.key;
        self.record.next = self.identity.next;
        self.record.version = RecordVersion { generation: self.identity.generation, seq: 0 };
        self.record.issued_at = now;
        (rotation, self.signed_record())
    }
}

pub fn opening() -> Opening {
    Opening { log_key: Arc::new(key(999_999)), origin: None, policy: Policy::default(), secret: [7; 32] }
}

pub fn in_memory() -> Registry<MemoryStore> {
    Registry::open(MemoryStore::new(), opening()).expect("opens")
}

pub fn on_disk(path: &std::path::Path) -> Registry<SqliteStore> {
    Registry::open(SqliteStore::open(path).expect("file"), opening()).expect("opens")
}

pub fn register<S: Store>(registry: &mut Registry<S>, device: &Device) -> Registered {
    registry.register(device.registration(), Source::Local, device.record.issued_at).expect("registered")
}

/// The whole way: the registry asks, the device answers, the registry judges.
pub fn verify<S: Store>(
    registry: &mut Registry<S>,
    device: &Device,
    now: UnixTime,
) -> Result<Verification, Refusal> {
    let verifier = registry.origin().clone();
    let random = now.as_millis().to_be_bytes();
    let challenge = registry.challenge(device.name(), &verifier, *registry.log_key(), random, now)?;
    let proof = challenge.answer(&device.identity, &device.key, [3; 32], now).expect("device answers");
    registry.accept_proof(&challenge, &proof, now)
}
