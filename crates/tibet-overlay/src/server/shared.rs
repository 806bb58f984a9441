//! What the parts of a node share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use jis::{Answer, AnswerOutcome, Name, PublicKey, Query, SecretKey, Signed, message_hash};
use tibet_iot::{Outbox, Outgoing};
use tibet_ping::Compact;
use tibet_registry::PresenceChange;

use super::cookies::Cookies;
use super::directory::Directory;
use super::forwards::Forwards;
use super::limits::Limiter;
use super::lookups::Lookups;
use super::sessions::Sessions;
use super::stats::Counters;
use super::tokens::Tokens;
use super::writer::RegistryHandle;
use crate::intents::Failure;

pub(super) struct Shared {
    pub(super) key: SecretKey,
    pub(super) public_key: PublicKey,
    /// The self-certifying name of the key.
    pub(super) name: Name,
    pub(super) start: Instant,
    pub(super) cookies: Cookies,
    pub(super) tokens: Tokens,
    pub(super) keepalive_every: Duration,
    pub(super) directory: Arc<RwLock<Directory>>,
    pub(super) registry: RegistryHandle,
    pub(super) counters: Counters,
    /// Set once the socket is there.
    pub(super) outbox: OnceLock<Outbox>,
    sessions: Mutex<Sessions>,
    forwards: Mutex<Forwards>,
    lookups: Mutex<Lookups>,
    /// Who came and went in this second.
    presence: Mutex<Vec<PresenceChange>>,
    /// Charged with what did not verify.
    bad: Mutex<Limiter>,
    /// Charged with what has a device asked.
    asking: Mutex<Limiter>,
}

/// What a [`Shared`] is made of besides its locks.
pub(super) struct Parts {
    pub(super) key: SecretKey,
    pub(super) cookies: Cookies,
    pub(super) tokens: Tokens,
    pub(super) keepalive_every: Duration,
    pub(super) gone_after: Duration,
    pub(super) directory: Arc<RwLock<Directory>>,
    pub(super) registry: RegistryHandle,
    pub(super) secret: [u8; 32],
}

/// Signatures that do not verify, at once and a second, before what comes from that network waits.
const BAD: (u32, u32) = (200, 20);
/// Questions for devices, likewise.
const ASKING: (u32, u32) = (64, 16);

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { key, cookies, tokens, keepalive_every, gone_after, directory, registry, secret } = parts;
        let public_key = key.public_key();
        Self {
            name: Name::of_key(&public_key),
            key,
            public_key,
            start: Instant::now(),
            cookies,
            tokens,
            keepalive_every,
            directory,
            registry,
            counters: Counters::default(),
            outbox: OnceLock::new(),
            sessions: Mutex::new(Sessions::new(gone_after)),
            forwards: Mutex::default(),
            lookups: Mutex::default(),
            presence: Mutex::default(),
            bad: Mutex::new(Limiter::new(secret, BAD.0, BAD.1)),
            asking: Mutex::new(Limiter::new(secret, ASKING.0, ASKING.1)),
        }
    }

    /// The node's monotonic time.
    pub(super) fn mono(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    pub(super) fn forwards(&self) -> MutexGuard<'_, Forwards> {
        lock(&self.forwards)
    }

    pub(super) fn lookups(&self) -> MutexGuard<'_, Lookups> {
        lock(&self.lookups)
    }

    pub(super) fn presence_changes(&self) -> MutexGuard<'_, Vec<PresenceChange>> {
        lock(&self.presence)
    }

    pub(super) fn bad(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.bad)
    }

    pub(super) fn asking(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.asking)
    }

    pub(super) fn send(&self, to: SocketAddr, bytes: Vec<u8>) {
        if let Some(outbox) = self.outbox.get() {
            outbox.send([Outgoing { to, bytes }]);
        }
    }

    /// Signs an answer and sends it.
    pub(super) fn answer(&self, to: &Asker, outcome: AnswerOutcome, values: Vec<Vec<u8>>) {
        let answer = Answer { request: to.request, key: self.public_key, outcome, values };
        // Of typed values and below the bounds: an answer always is one.
        let Ok(answer) = Signed::seal(answer, &self.key) else { return };
        self.send(to.address, Compact::Answer { id: to.id, answer: &answer.encode() }.write());
    }

    pub(super) fn fail(&self, to: &Asker, failure: &Failure) {
        let outcome = match failure.code {
            crate::intents::FailureCode::Waiting => AnswerOutcome::Pending,
            _ => AnswerOutcome::No,
        };
        self.answer(to, outcome, failure.values());
    }
}

/// Whom an answer is for, and to what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) address: SocketAddr,
    pub(super) id: [u8; 8],
    /// SHA-256 of the question's M.
    pub(super) request: [u8; 32],
}

impl Asker {
    pub(super) fn of(query: &Signed<Query>, address: SocketAddr) -> Self {
        Self { address, id: query.claims().id, request: message_hash(query.message()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
