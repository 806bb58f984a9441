//! The relay on a node's socket: who has a session, who may be found through it, and what each has used (SECURITY R50, R51).
//!
//! [`RelayServer`] passes on and counts. What it knows of identities it knows from here: a session is opened by an identity that is registered with this node, for its
//! present key, and it lasts no longer than that. Who asked once is answered alike when it asks again, because the answer got lost, and a request from before the one
//! that was served opens nothing: whoever recorded it would end the session of today.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jis::{
    AnswerOutcome, Fingerprint, IdentityStatus, Query, RelayOpen, Signed, TransportSecret, UnixTime,
    message_hash,
};
use tibet_mesh::{
    RELAY_CALL, RELAY_SEND, RelayConfig, RelayCounts, RelayDrop, RelayKeys, RelayOpening, RelayRefusal,
    RelayServer,
};

use super::directory::Directory;
use super::glance;
use super::relay_usage::UsageFile;
use super::requests::busy;
use super::shared::{Asker, Shared, lock};
use super::stats::OverlayStats;
use crate::intents::{Failure, FailureCode, RelayAnswer};
use crate::system::{self, NoRandomness};

/// How a node relays.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// Name of the network whose overlay addresses it relays between.
    pub network: String,
    /// What it grants.
    pub limits: RelayConfig,
    /// Where it keeps what each identity has used of its day (SECURITY R51); nowhere if `None`.
    pub usage_file: Option<std::path::PathBuf>,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { network: "tibet".into(), limits: RelayConfig::default(), usage_file: None }
    }
}

pub(super) struct Relay {
    network: String,
    bytes_per_second: u64,
    /// The node's own name, as records name it among their relays.
    name: jis::Name,
    start: Instant,
    inner: Mutex<Inner>,
    usage: Option<Mutex<UsageFile>>,
}

struct Inner {
    server: RelayServer,
    /// The sessions by the number of their identity: as many as the server has.
    opened: HashMap<u32, Opened>,
}

/// What a session was opened with, and what was answered.
struct Opened {
    owner: Fingerprint,
    key: [u8; 32],
    /// SHA-256 of the request's M.
    request: [u8; 32],
    issued_at: UnixTime,
    answer: RelayAnswer,
    ends: Duration,
}

impl Relay {
    /// A relay that goes on with what its file says was used. Reads it.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub(super) fn start(settings: RelaySettings, name: jis::Name) -> Result<Self, NoRandomness> {
        let RelaySettings { network, limits, usage_file } = settings;
        let mut server = RelayServer::new(limits, system::random()?);
        let usage = usage_file.map(UsageFile::new);
        if let Some(kept) = usage.as_ref().and_then(UsageFile::read) {
            let elapsed = system::now().saturating_since(kept.at);
            server.restore(kept.usage, elapsed, Duration::ZERO);
        }
        Ok(Self {
            network,
            bytes_per_second: limits.bytes_per_second,
            name,
            start: Instant::now(),
            inner: Mutex::new(Inner { server, opened: HashMap::new() }),
            usage: usage.map(Mutex::new),
        })
    }

    /// Whether frames of this kind are for a relay.
    pub(super) const fn takes(kind: u8) -> bool {
        matches!(kind, RELAY_SEND | RELAY_CALL)
    }

    /// Takes a frame. What comes of it goes out with [`Relay::end_turn`].
    pub(super) fn handle_frame(&self, from: SocketAddr, kind: u8, body: &[u8]) {
        let now = self.now();
        lock(&self.inner).server.handle_frame(kind, body, from, now);
    }

    /// Hands out what the frames since the last time led to.
    pub(super) fn end_turn(&self, out: impl FnMut(SocketAddr, Vec<u8>)) {
        lock(&self.inner).server.handle_turn_end(out);
    }

    /// Ends what is over. To be called once a second or so.
    pub(super) fn handle_timeout(&self) {
        let now = self.now();
        let mut inner = lock(&self.inner);
        if inner.server.poll_timeout().is_some_and(|due| due <= now) {
            inner.server.handle_timeout(now);
            inner.opened.retain(|_, opened| now < opened.ends);
        }
    }

    /// Looks again at identities that have changed. To be called before the directory is let go: whoever opens a session holds it.
    pub(super) fn look_again(&self, directory: &Directory, numbers: impl IntoIterator<Item = u32>) {
        let now = self.now();
        let mut inner = lock(&self.inner);
        for number in numbers {
            inner.look_again(directory, number, self.name.as_str(), now);
        }
    }

    /// Likewise at all that have a session: the registry was read anew.
    pub(super) fn look_at_all(&self, directory: &Directory) {
        let numbers: Vec<u32> = lock(&self.inner).opened.keys().copied().collect();
        self.look_again(directory, numbers);
    }

    /// Writes down what was used, if that has changed since the last time. Blocks.
    pub(super) fn save(&self) {
        let Some(file) = &self.usage else { return };
        let usage: Vec<_> = lock(&self.inner).server.usage(self.now()).collect();
        lock(file).write(usage, system::now());
    }

    pub(super) fn sessions(&self) -> usize {
        lock(&self.inner).server.sessions()
    }

    /// Adds what the relay has done.
    pub(super) fn count(&self, stats: &mut OverlayStats) {
        let inner = lock(&self.inner);
        let RelayCounts { delivered, delivered_bytes, calls, moved, dropped } = inner.server.counts();
        (stats.relay_delivered, stats.relay_delivered_bytes) = (*delivered, *delivered_bytes);
        (stats.relay_calls, stats.relay_moved) = (*calls, *moved);
        for (reason, count) in dropped {
            let counter = match reason {
                RelayDrop::Rate | RelayDrop::Day | RelayDrop::Targets | RelayDrop::Total => {
                    &mut stats.relay_over_quota
                }
                RelayDrop::Absent | RelayDrop::NotAccepting | RelayDrop::Silent => {
                    &mut stats.relay_undeliverable
                }
                RelayDrop::Overflow | RelayDrop::Turn => &mut stats.relay_overflow,
                // The others are not genuine; so is what is added later, until somebody has thought of it.
                _ => &mut stats.relay_refused,
            };
            *counter = counter.saturating_add(*count);
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Inner {
    /// Ends the session of an identity that may not have it any more, and says whether it may be found.
    fn look_again(&mut self, directory: &Directory, number: u32, relay: &str, now: Duration) {
        let Some(opened) = self.opened.get(&number) else { return };
        let route = directory.route_of(number).filter(|route| {
            let is_its = (route.fingerprint, *route.key_bytes()) == (opened.owner, opened.key);
            is_its && route.status == IdentityStatus::Active && !directory.is_silenced(number)
        });
        match route {
            Some(route) => {
                let accepts = glance::accepts_from(route.record_bytes(), relay);
                self.server.set_accepts(&opened.owner, accepts);
            }
            None => {
                self.server.close(&opened.owner, now);
                self.opened.remove(&number);
            }
        }
    }
}

/// Opens a session for whoever asks.
pub(super) fn open(shared: &Shared, query: &Query, request: &Signed<RelayOpen>, asker: Asker) {
    let refuse = |code, detail: &str| shared.fail(&asker, &Failure::new(code, detail));
    let Some(relay) = &shared.relay else { return refuse(FailureCode::Refused, "this node does not relay") };
    let claims = request.claims();
    let own = (&claims.name, &claims.key, claims.generation) == (&query.source, &query.key, query.generation);
    if !own || claims.relay != shared.public_key {
        return refuse(FailureCode::Malformed, "what opens a relay is signed by whoever asks, for this node");
    }
    let now = system::now();
    if !claims.is_valid_at(now) {
        return refuse(FailureCode::Refused, "the request is not valid now, by the clock of the node");
    }
    if request.verify(&query.key).is_err() {
        shared.charge_bad(asker.address);
        return shared.counters.queries_bad_signature.add();
    }
    if !shared.take_asking(&asker) {
        return busy(shared, &asker);
    }
    let hash = message_hash(request.message());
    let Ok(secret) = system::random().map(zeroize::Zeroizing::new) else { return };
    let Ok(secret) = TransportSecret::from_bytes(secret) else { return };
    let Some(keys) = RelayKeys::for_relay(&secret, &claims.exchange, &hash) else {
        return refuse(FailureCode::Malformed, "exchange is a key that everybody knows the secret of");
    };

    // Held until it is done: the writer looks at sessions after it has changed the directory, and misses none that began before.
    let directory = shared.directory();
    let number = directory.number(claims.name.as_str());
    let known = number.and_then(|number| Some((number, directory.route_of(number)?))).filter(|(_, route)| {
        let its = (claims.key.as_bytes(), claims.generation);
        (route.key_bytes(), route.version.generation) == its && route.status == IdentityStatus::Active
    });
    let Some((number, route)) = known else {
        drop(directory);
        return refuse(FailureCode::Unknown, "a node relays for devices that are registered with it");
    };
    let mono = relay.now();
    let mut inner = lock(&relay.inner);
    if let Some(before) = inner.opened.get(&number).filter(|before| mono < before.ends) {
        if before.request == hash {
            let lifetime = whole_seconds(before.ends.saturating_sub(mono));
            let values = RelayAnswer { lifetime, ..before.answer }.values();
            drop((inner, directory));
            return shared.answer(&asker, AnswerOutcome::Yes, values);
        }
        if claims.issued_at < before.issued_at {
            drop((inner, directory));
            return refuse(FailureCode::Refused, "a newer request than this one has been served");
        }
    }
    let lifetime = claims.expires_at.saturating_since(now).min(RelayOpen::MAX_LIFETIME);
    let opening = RelayOpening {
        owner: route.fingerprint,
        address: route.fingerprint.overlay_address(&relay.network),
        keys,
        from: asker.address,
        accepts: glance::accepts_from(route.record_bytes(), relay.name.as_str()),
        lifetime,
    };
    let session = match inner.server.open(opening, mono) {
        Ok(session) => session,
        Err(refusal) => {
            drop((inner, directory));
            let full = matches!(refusal, RelayRefusal::Full);
            let code = if full { FailureCode::Busy } else { FailureCode::Refused };
            let retry_after = full.then_some(Duration::from_secs(60));
            let failure = Failure::new(code, refusal.to_string());
            return shared.fail(&asker, &Failure { retry_after, ..failure });
        }
    };
    let answer = RelayAnswer {
        session,
        exchange: secret.public_key(),
        lifetime: whole_seconds(lifetime),
        bytes_per_second: relay.bytes_per_second,
    };
    let opened = Opened {
        owner: route.fingerprint,
        key: *claims.key.as_bytes(),
        request: hash,
        issued_at: claims.issued_at,
        answer,
        ends: mono.saturating_add(lifetime),
    };
    inner.opened.insert(number, opened);
    drop((inner, directory));
    shared.counters.relays_opened.add();
    shared.answer(&asker, AnswerOutcome::Yes, answer.values());
}

/// As an answer has it: whoever renews does so a little early rather than late. Never zero, which would be no session.
fn whole_seconds(lifetime: Duration) -> Duration {
    Duration::from_secs(lifetime.as_secs().max(1))
}
