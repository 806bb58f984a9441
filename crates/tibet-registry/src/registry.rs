//! The rules.
//!
//! Each file below holds the requests of one kind. All follow one order: cheap checks, signatures, questions to the store, and only
//! then writes, the token last. So a refusal has written nothing, except where evidence of a contradiction is what there is to keep.

mod audit;
pub use audit::{Audit, AuditProblem};
mod changes;
pub use changes::{Changes, MAX_CHANGES};
mod events;
pub use events::MAX_SEQUENCE_JUMP;
mod names;
mod noted;
pub use noted::NotedLookups;
mod presence;
pub use presence::{MAX_PRESENCE_TOKENS, PresenceChange};
mod requests;
pub use requests::{DENIAL, MAX_REQUESTS, MAX_REQUESTS_WAITING};
mod resolve;
pub use resolve::{MAX_PAGE, Page, Resolution};
mod signs;
pub use signs::{MAX_SIGNS, NodeSign};
mod tokens;
mod trust;
pub use trust::{MAX_VOUCHES_GIVEN, MAX_VOUCHES_TAKEN};
mod verify;
pub use verify::Verification;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use jis::{Fingerprint, Name, PublicKey, RecordVersion, SecretKey, UnixTime};
use tibet_core::{Head, Micros, Minter, Query, Token};

use crate::challenges::Challenges;
use crate::entry::Entry;
use crate::policy::Policy;
use crate::quota::FirstComeQuota;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError, StoredEntry};
use crate::tally::Tally;
use crate::trust::Standing;

/// 2026-01-01T00:00:00Z. A clock before this was never set, and no expiry can be judged by it (SECURITY R30).
const EARLIEST: UnixTime = UnixTime::from_secs(1_767_225_600);

/// Settings in the store that say whose registry it is. They are written once.
pub(crate) const ORIGIN: &str = "origin";
pub(crate) const LOG_KEY: &str = "log_key";

/// Who owns which name, where devices are and how far they are trusted, over a store.
///
/// Drive it with one call per request; every call takes the time. A call is one transaction; [`Registry::group`] makes one of many,
/// which is many times faster because the disk is synced once. Nothing is acknowledged before it is durable.
#[derive(Debug)]
pub struct Registry<S> {
    store: S,
    origin: Name,
    log_key: PublicKey,
    /// The log key as every token names it; spelling it anew would cost more than the token's hash.
    log_key_text: String,
    minter: Minter,
    policy: Policy,
    quota: FirstComeQuota,
    challenges: Challenges,
    tally: Tally,
    group: Group,
}

/// Whether a transaction of several requests is open.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    None,
    Open,
    /// The store failed one of the requests; nothing of the group may be kept.
    Failed(StoreError),
}

/// What is needed to open a registry besides its store.
#[derive(Debug)]
pub struct Opening {
    /// Signs the audit log, and nothing else.
    pub log_key: Arc<SecretKey>,
    /// The registry's own name. Grants and tokens are made for it, and bindings hold within it. None for the name the log key
    /// certifies, or the one given when the registry was made.
    pub origin: Option<Name>,
    /// What the operator decides.
    pub policy: Policy,
    /// 32 bytes from the operating system's generator, new at every start.
    pub secret: [u8; 32],
}

/// A registration or an update that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// The name.
    pub name: Name,
    /// The identity's fingerprint.
    pub fingerprint: Fingerprint,
    /// The version of the record now held.
    pub version: RecordVersion,
    /// Until when that record holds.
    pub expires_at: UnixTime,
    /// The device's standing.
    pub standing: Standing,
    /// Whether anything changed: false for a request that was carried out before.
    pub changed: bool,
}

impl<S: Store> Registry<S> {
    /// Opens a registry over a store, and makes it a registry if the store is empty.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] when the store belongs to a registry with another log key or name, or what the store reports.
    pub fn open(mut store: S, opening: Opening) -> Result<Self, StoreError> {
        let Opening { log_key: signer, origin, policy, secret } = opening;
        let log_key = signer.public_key();
        let mut held = (store.setting(LOG_KEY)?, store.setting(ORIGIN)?);
        if held.0.is_none() || held.1.is_none() {
            // Another process may be doing the same: under the lock, the first one decides.
            store.begin()?;
            held = Self::settle(&mut store, &log_key, origin.as_ref()).inspect_err(|_| store.rollback())?;
            store.commit()?;
        }
        let origin = match held {
            (Some(key), Some(held)) => {
                if key != log_key.to_multibase() {
                    return Err(StoreError::Foreign("its log is signed with another key".into()));
                }
                let held: Name = held
                    .parse()
                    .map_err(|_| StoreError::Damaged("the registry's own name is damaged".into()))?;
                if origin.is_some_and(|origin| origin != held) {
                    return Err(StoreError::Foreign(format!("it is named {held}")));
                }
                held
            }
            _ => return Err(StoreError::Damaged("the registry's settings are incomplete".into())),
        };
        let mut minter = Minter::new(origin.as_str()).signer(signer);
        minter.restore_head(store.head()?);
        Ok(Self {
            store,
            origin,
            log_key,
            log_key_text: log_key.to_multibase(),
            minter,
            policy,
            quota: FirstComeQuota::default(),
            challenges: Challenges::new(secret),
            tally: Tally::default(),
            group: Group::None,
        })
    }

    /// Makes an empty store this registry's, unless another process has done so. Gives the settings that are in it now.
    fn settle(
        store: &mut S,
        log_key: &PublicKey,
        origin: Option<&Name>,
    ) -> Result<(Option<String>, Option<String>), StoreError> {
        if (store.setting(LOG_KEY)?, store.setting(ORIGIN)?) == (None, None) {
            if store.head()?.is_some() || store.count()? > 0 {
                return Err(StoreError::Damaged("it has content, but not whose it is".into()));
            }
            let certified = Name::of_key(log_key);
            store.set_setting(LOG_KEY, &log_key.to_multibase())?;
            store.set_setting(ORIGIN, origin.unwrap_or(&certified).as_str())?;
        }
        Ok((store.setting(LOG_KEY)?, store.setting(ORIGIN)?))
    }

    /// Carries out several requests in one transaction, durable as a whole when this returns. Each request is taken or refused by
    /// itself. After the first that the store fails, all others of the group fail too. A group within a group is part of it.
    ///
    /// # Errors
    /// [`StoreError`]: then none of the requests was carried out, whatever they returned.
    ///
    /// # Panics
    /// If `requests` does; nothing of the group is kept then, and the registry goes on.
    pub fn group<T>(&mut self, requests: impl FnOnce(&mut Self) -> T) -> Result<T, StoreError> {
        if self.group != Group::None {
            return Ok(requests(self));
        }
        self.begin()?;
        let (out, failed) = self.run(requests);
        if let Some(error) = failed {
            self.store.rollback();
            return Err(error);
        }
        self.store.commit()?;
        Ok(out)
    }

    /// Opens a transaction. Another process may have appended since the last: its tokens come before ours.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.store.begin()?;
        let head = self.store.head().inspect_err(|_| self.store.rollback())?;
        self.minter.restore_head(head);
        self.group = Group::Open;
        Ok(())
    }

    /// Carries `requests` out in the open transaction and closes the group. Gives the store's first failure, if there was one.
    fn run<T>(&mut self, requests: impl FnOnce(&mut Self) -> T) -> (T, Option<StoreError>) {
        // A transaction left open by a panic would swallow every later request: each would be answered and none committed.
        match catch_unwind(AssertUnwindSafe(|| requests(&mut *self))) {
            Ok(out) => match std::mem::replace(&mut self.group, Group::None) {
                Group::Failed(error) => (out, Some(error)),
                Group::Open | Group::None => (out, None),
            },
            Err(panic) => {
                self.group = Group::None;
                self.store.rollback();
                resume_unwind(panic)
            }
        }
    }

    /// One request: a transaction of its own, or part of the open group.
    fn transact<T>(&mut self, request: impl FnOnce(&mut Self) -> Result<T, Refusal>) -> Result<T, Refusal> {
        // After a failure SQLite may have rolled back by itself: what came now would be committed alone.
        if let Group::Failed(error) = &self.group {
            return Err(Refusal::Store(error.clone()));
        }
        if self.group == Group::Open {
            let out = request(self);
            if let Err(Refusal::Store(error)) = &out
                && self.group == Group::Open
            {
                self.group = Group::Failed(error.clone());
            }
            return out;
        }
        self.begin()?;
        let (out, failed) = self.run(request);
        if let Some(error) = failed {
            self.store.rollback();
            return Err(Refusal::Store(error));
        }
        if matches!(out, Err(Refusal::Store(_))) {
            self.store.rollback();
            return out;
        }
        self.store.commit()?;
        out
    }

    /// The same registry, over a store of any kind.
    #[must_use]
    pub fn boxed(self) -> Registry<Box<dyn Store + Send>>
    where
        S: Send + 'static,
    {
        let Self { store, origin, log_key, log_key_text, minter, policy, quota, challenges, tally, group } =
            self;
        let store: Box<dyn Store + Send> = Box::new(store);
        Registry { store, origin, log_key, log_key_text, minter, policy, quota, challenges, tally, group }
    }

    /// The registry's own name.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// The key the audit log is signed with.
    #[must_use]
    pub fn log_key(&self) -> &PublicKey {
        &self.log_key
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Changes the policy.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The end of the audit log: how many tokens and the hash of the last. Kept elsewhere, it later shows whether the log was cut.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn head(&self) -> Result<Option<Head>, StoreError> {
        self.store.head()
    }

    /// Tokens of the audit log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tokens(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        self.store.find_tokens(query)
    }

    /// Writes the counts of look-ups that are still being gathered. To be called before a stop.
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub fn flush(&mut self, now: UnixTime) -> Result<(), Refusal> {
        let sums = self.tally.take_all();
        if sums.is_empty() { Ok(()) } else { self.write_sums(sums, now) }
    }

    fn check_clock(&self, now: UnixTime) -> Result<(), Refusal> {
        if now < EARLIEST { Err(Refusal::ClockUnset(now)) } else { Ok(()) }
    }

    fn entry(&self, name: &Name) -> Result<Option<(u64, Entry)>, StoreError> {
        let Some(StoredEntry { id, bytes }) = self.store.entry(name)? else { return Ok(None) };
        Ok(Some((id, Entry::decode(name, &bytes)?)))
    }

    fn known_entry(&self, name: &Name) -> Result<(u64, Entry), Refusal> {
        self.entry(name)?.ok_or_else(|| Refusal::Unknown(name.clone()))
    }
}

/// Where a request came from, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This machine's own programs: no quota.
    Local,
    /// The network, from this validated address.
    Network(IpAddr),
}

/// The time of a token: the request's millisecond, and within it a microsecond that differs from one token to the next, so that
/// ids differ without a random generator.
fn token_time(now: UnixTime, count: u64) -> Micros {
    Micros::from_micros(now.as_millis().saturating_mul(1000).saturating_add(count % 1000))
        .unwrap_or(Micros::MAX)
}
