//! A device and a registry to play with, under a clock that the test holds.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

#[cfg(feature = "postgres")]
pub mod postgres;

use std::sync::Arc;
use std::time::Duration;

use jis::{
    EnrolmentToken, Identity, Inception, KeyEvent, Name, NameGrant, NextKeyCommitment, PublicKey, Record,
    RecordStatus, RecordVersion, Revocation, RevocationAuthority, RevocationScope, Rotation, SecretKey,
    Signed, SignedRotation, UnixTime, Vouch, message_hash,
};
use tibet_core::{Head, Query, Token};
use tibet_registry::{
    MemoryStore, Opening, Permission, Policy, Refusal, Registered, Registration, Registry, Source,
    SqliteStore, Store, Verification,
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

    /// A registration that shows a permission.
    pub fn asking(&self, permission: Permission) -> Registration {
        Registration { permission: Some(permission), ..self.registration() }
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

impl Device {
    /// A revocation of this device's key or name.
    pub fn revocation(
        &self,
        scope: RevocationScope,
        authority: RevocationAuthority,
        signer: &SecretKey,
    ) -> Signed<Revocation> {
        let revocation = Revocation {
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            generation: self.identity.generation,
            key: self.identity.key,
            scope,
            authority,
            signer: signer.public_key(),
            reason: "lost".parse().expect("reason"),
            revoked_at: START,
        };
        Signed::seal(revocation, signer).expect("revocation")
    }

    /// The current key ends itself.
    pub fn revoke_own_key(&self) -> Signed<Revocation> {
        self.revocation(RevocationScope::Key, RevocationAuthority::CurrentKey, &self.key)
    }

    /// Vouches for another device, from START for 30 days, with the usual factor.
    pub fn vouch(&self, id: u64, subject: &Self, change: impl FnOnce(&mut Vouch)) -> Signed<Vouch> {
        let mut vouch = Vouch {
            id: number16(id),
            voucher: self.identity.name.clone(),
            voucher_generation: self.identity.generation,
            voucher_key: self.identity.key,
            subject: subject.identity.name.clone(),
            subject_fingerprint: subject.identity.fingerprint,
            factor_permille: Vouch::DEFAULT_FACTOR_PERMILLE,
            reason: "known".parse().expect("reason"),
            issued_at: START,
            expires_at: START.saturating_add(Vouch::MAX_LIFETIME),
        };
        change(&mut vouch);
        Signed::seal(vouch, &self.key).expect("vouch")
    }

    /// Grants names below its own, from START for a year.
    pub fn grant(&self, pattern: &str, origin: &Name, change: impl FnOnce(&mut NameGrant)) -> Permission {
        let mut grant = NameGrant {
            id: [1; 16],
            parent: self.identity.name.clone(),
            parent_generation: self.identity.generation,
            parent_key: self.identity.key,
            pattern: pattern.parse().expect("pattern"),
            subject: None,
            origin: origin.clone(),
            overrides: false,
            issued_at: START,
            expires_at: after(365 * 86_400),
        };
        change(&mut grant);
        Permission::Grant(Signed::seal(grant, &self.key).expect("grant"))
    }
}

pub fn number16(number: u64) -> [u8; 16] {
    let mut id = [0x11; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
}

/// The key of an operator who issues enrolment tokens.
pub fn issuer() -> SecretKey {
    key(777_777)
}

/// An enrolment token, from START for 24 hours.
pub fn token(id: u64, pattern: &str, origin: &Name, change: impl FnOnce(&mut EnrolmentToken)) -> Permission {
    let issuer = issuer();
    let mut token = EnrolmentToken {
        id: number16(id),
        issuer: issuer.public_key(),
        pattern: pattern.parse().expect("pattern"),
        subject: None,
        origin: origin.clone(),
        issued_at: START,
        expires_at: START.saturating_add(EnrolmentToken::MAX_LIFETIME),
    };
    change(&mut token);
    Permission::Token(Signed::seal(token, &issuer).expect("token"))
}

/// First come is open, tokens of [`issuer`] are taken.
pub fn with_issuer() -> Policy {
    Policy { issuers: vec![issuer().public_key()], ..Policy::default() }
}

pub fn name(text: &str) -> Name {
    text.parse().expect("name")
}

pub fn any_key(number: u64) -> PublicKey {
    key(number).public_key()
}

pub type Contents = (Vec<(u64, Name, Vec<u8>)>, Option<Head>);

/// All that is kept of identities, and the end of the log: equal before and after means nothing was written.
pub fn contents<S: Store>(registry: &Registry<S>) -> Contents {
    let mut entries = Vec::new();
    registry
        .store()
        .for_each_entry(&mut |id, name, bytes| entries.push((id, name.clone(), bytes.to_vec())))
        .expect("entries");
    (entries, registry.head().expect("head"))
}

/// Tokens of one action, oldest first.
pub fn tokens<S: Store>(registry: &Registry<S>, action: &str) -> Vec<Token> {
    let query = Query { action: Some(action.into()), limit: 100_000, ..Query::default() };
    registry.tokens(&query).expect("tokens")
}

pub fn assert_clean<S: Store>(registry: &Registry<S>) {
    let audit = registry.audit(None).expect("audited");
    assert!(audit.is_clean(), "{audit:?}");
}

/// Refused with this, and nothing was written but counts of refusals.
pub fn assert_untouched<S: Store, T: std::fmt::Debug>(
    registry: &mut Registry<S>,
    request: impl FnOnce(&mut Registry<S>) -> Result<T, Refusal>,
) -> Refusal {
    let (before, _) = contents(registry);
    let refusal = request(registry).expect_err("refused");
    assert_eq!(contents(registry).0, before, "{refusal}");
    refusal
}

/// A test over all stores. At its end every registry must pass its own audit.
#[macro_export]
macro_rules! on_all_stores {
    ($($(#[$attribute:meta])* fn $name:ident($registry:ident) $body:block)+) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            fn run<S: tibet_registry::Store>($registry: &mut tibet_registry::Registry<S>) {
                $body
                $crate::common::assert_clean($registry);
            }
            run(&mut $crate::common::in_memory());
            let dir = tempfile::tempdir().expect("dir");
            run(&mut $crate::common::on_disk(&dir.path().join("registry.db")));
            #[cfg(feature = "postgres")]
            if let Some(database) = $crate::common::postgres::Database::new() {
                run(&mut database.registry());
            }
        }
    )+};
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
