//! What the parts of a node share.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use jis::{Answer, AnswerOutcome, Name, PublicKey, Query, SecretKey, Signed, message_hash};
use tibet_iot::{Outbox, Outgoing};
use tibet_ping::{Compact, ExchangeId, Welcome};
use tibet_registry::PresenceChange;

use super::cookies::Cookies;
use super::directory::Directory;
use super::forwards::Forwards;
use super::limits::{Limiter, Rate, network};
use super::lookups::Lookups;
use super::relay::Relay;
use super::second_port::SecondPort;
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
    /// Likewise; never where there is none.
    pub(super) second_port: OnceLock<SecondPort>,
    pub(super) relay: Option<Arc<Relay>>,
    sessions: Arc<Mutex<Sessions>>,
    forwards: Mutex<Forwards>,
    lookups: Mutex<Lookups>,
    /// Who came and went, and is not written down yet.
    presence: Mutex<VecDeque<PresenceChange>>,
    /// Networks, charged with what did not verify.
    bad: Mutex<Limiter>,
    /// Networks, charged with every question before its signatures are looked at.
    questions: Mutex<Limiter>,
    /// Keys and networks, charged with what has a device asked.
    asking: Mutex<Limiter>,
    asking_network: Mutex<Limiter>,
}

/// What a [`Shared`] is made of besides its locks.
pub(super) struct Parts {
    pub(super) key: SecretKey,
    pub(super) cookies: Cookies,
    pub(super) tokens: Tokens,
    pub(super) keepalive_every: Duration,
    pub(super) query_rate: Rate,
    pub(super) sessions: Arc<Mutex<Sessions>>,
    pub(super) directory: Arc<RwLock<Directory>>,
    pub(super) registry: RegistryHandle,
    pub(super) relay: Option<Arc<Relay>>,
    pub(super) secret: [u8; 32],
}

/// Signatures that do not verify, before what comes from that network waits.
const BAD: Rate = Rate { burst: 200, per_second: 20 };
/// Questions for devices by one asker.
const ASKING: Rate = Rate { burst: 64, per_second: 16 };
/// Likewise by all askers of one network: whoever makes itself many keys takes no more than a part of [`Forwards`].
const ASKING_NETWORK: Rate = Rate { burst: 256, per_second: 64 };

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            key,
            cookies,
            tokens,
            keepalive_every,
            query_rate,
            sessions,
            directory,
            registry,
            relay,
            secret,
        } = parts;
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
            second_port: OnceLock::new(),
            relay,
            sessions,
            forwards: Mutex::default(),
            lookups: Mutex::default(),
            presence: Mutex::default(),
            bad: Mutex::new(Limiter::new(secret, BAD)),
            questions: Mutex::new(Limiter::new(secret, query_rate)),
            asking: Mutex::new(Limiter::new(secret, ASKING)),
            asking_network: Mutex::new(Limiter::new(secret, ASKING_NETWORK)),
        }
    }

    /// The node's monotonic time.
    pub(super) fn mono(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever wants both takes the directory first.
    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    pub(super) fn forwards(&self) -> MutexGuard<'_, Forwards> {
        lock(&self.forwards)
    }

    pub(super) fn lookups(&self) -> MutexGuard<'_, Lookups> {
        lock(&self.lookups)
    }

    pub(super) fn presence_changes(&self) -> MutexGuard<'_, VecDeque<PresenceChange>> {
        lock(&self.presence)
    }

    pub(super) fn bad(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.bad)
    }

    pub(super) fn questions(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.questions)
    }

    /// Takes one question for a device off what an asker may have asked. What it signed has verified.
    pub(super) fn take_asking(&self, asker: &Asker) -> bool {
        let now = self.mono();
        lock(&self.asking).take(asker.key.as_bytes(), 1, now)
            && lock(&self.asking_network).take(&network(asker.address), 1, now)
    }

    /// Notes that something from there does not verify.
    pub(super) fn charge_bad(&self, from: SocketAddr) {
        self.bad().take(&network(from), 1, self.mono());
    }

    /// Greets whoever said hello from there: with a cookie, of which nothing is kept.
    pub(super) fn welcome(&self, from: SocketAddr, id: ExchangeId) -> Vec<u8> {
        self.counters.welcomed.add();
        let cookie = self.cookies.issue(from, self.mono());
        let key = *self.public_key.as_bytes();
        Compact::Welcome(Welcome { id, key, cookie, observed: from }).write()
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

    /// Has whoever asked greet anew and ask again.
    pub(super) fn stale(&self, to: &Asker) {
        self.counters.stale_cookies.add();
        self.send(to.address, Compact::Stale(to.id).write());
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
    /// What the question is signed with.
    pub(super) key: PublicKey,
    /// When the cookie was issued that the question shows, in the node's monotonic time.
    pub(super) shown: Duration,
}

impl Asker {
    pub(super) fn of(query: &Signed<Query>, address: SocketAddr, shown: Duration) -> Self {
        let Query { id, key, .. } = *query.claims();
        Self { address, id, request: message_hash(query.message()), key, shown }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
