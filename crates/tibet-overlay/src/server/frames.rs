//! What comes in on the socket: answered at once where one keyed hash and one look-up do, handed to the workers where signatures are to be checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jis::{IdentityStatus, Query};
use tibet_iot::{Frames, Outgoing};
use tibet_ping::{
    COOKIE, Compact, Cookie, ExchangeId, Found, FoundStatus, HEADER, KeepaliveToken, MAX_UNFRAGMENTED,
};
use tibet_registry::Route;

use super::glance::{QueryGlance, RecordGlance};
use super::limits::network;
use super::queue::{Lane, WorkQueue};
use super::relay::Relay;
use super::second_port::SecondPort;
use super::sessions::{Comer, Heard};
use super::shared::Shared;
use crate::system;

/// Something whose signature is to be checked.
pub(super) enum Work {
    /// A question whose cookie holds, with the time at which that was issued: M and signature.
    Query(SocketAddr, Duration, Vec<u8>),
    /// An answer that is awaited.
    Answer(SocketAddr, ExchangeId, Vec<u8>),
    /// The number of an identity that has come back by a keepalive.
    Back(u32),
}

/// The node's part of its socket.
pub(super) struct NodeFrames {
    pub(super) shared: Arc<Shared>,
    pub(super) work: WorkQueue,
    /// Whether the relay has got something since its turn ended.
    pub(super) relayed: bool,
}

impl Frames for NodeFrames {
    fn handle(&mut self, from: SocketAddr, kind: u8, body: &[u8], out: &mut Vec<Outgoing>) {
        // Port 0 cannot be answered, and whoever claims it does not want to be (SECURITY 3.2 row 11).
        if from.port() == 0 {
            return self.shared.counters.malformed.add();
        }
        if Relay::takes(kind)
            && let Some(relay) = &self.shared.relay
        {
            self.relayed = true;
            return relay.handle_frame(from, kind, body);
        }
        let reply = match Compact::read(kind, body) {
            Ok(Compact::Keepalive(token)) => self.keepalive(from, token),
            Ok(Compact::Lookup { id, cookie, events_from, name }) => {
                self.lookup(from, id, &cookie, events_from, name)
            }
            Ok(Compact::Hello(id)) => Some(self.shared.welcome(from, id)),
            Ok(Compact::AskElsewhere { id, cookie }) => Some(self.elsewhere(from, id, &cookie)),
            Ok(Compact::Query(query)) => self.query(from, query),
            Ok(Compact::Answer { id, answer }) => {
                self.answer(from, id, answer);
                None
            }
            // These are answers of other nodes to nothing that was asked here.
            Ok(
                Compact::Alive(_)
                | Compact::Welcome(_)
                | Compact::Found { .. }
                | Compact::Stale(_)
                | Compact::Elsewhere { .. },
            )
            | Err(_) => {
                self.shared.counters.malformed.add();
                None
            }
        };
        out.extend(reply.map(|bytes| Outgoing { to: from, bytes }));
    }

    fn end_of_batch(&mut self, out: &mut Vec<Outgoing>) {
        if std::mem::take(&mut self.relayed)
            && let Some(relay) = &self.shared.relay
        {
            relay.end_turn(|to, bytes| out.push(Outgoing { to, bytes }));
        }
    }
}

impl NodeFrames {
    /// Has the second port answer too, and says which that is.
    fn elsewhere(&self, from: SocketAddr, id: ExchangeId, cookie: &Cookie) -> Vec<u8> {
        let shared = &self.shared;
        if shared.cookies.issue_time(cookie, from, shared.mono()).is_none() {
            return self.stale(id);
        }
        shared.counters.elsewhere.add();
        let second = shared.second_port.get();
        if let Some(second) = second {
            second.answer(from, id);
        }
        Compact::Elsewhere { id, port: second.map_or(0, SecondPort::port) }.write()
    }

    fn keepalive(&self, from: SocketAddr, token: KeepaliveToken) -> Option<Vec<u8>> {
        let shared = &self.shared;
        let now = shared.mono();
        // Held until it is done: the writer ends sessions after it has changed the directory.
        let directory = shared.directory();
        let heard = shared
            .tokens
            .identity_of(&token, from, system::now(), |number| directory.key_of(number))
            .filter(|(number, _)| !directory.is_silenced(*number))
            .and_then(|(number, key)| {
                let comer = Comer { number, key: &key, address: from, shown: now };
                let away = || directory.route_of(number).is_none_or(|route| is_away(&route));
                Some((number, shared.sessions().keep(comer, now, away)?))
            });
        drop(directory);
        let Some((number, heard)) = heard else {
            shared.counters.keepalives_refused.add();
            return None;
        };
        shared.counters.keepalives.add();
        if heard == Heard::Back {
            // Whether it may speak at all is looked up by a worker: once, not at every keepalive.
            let _ = self.work.push(Lane::Home, Work::Back(number));
        }
        Some(Compact::Alive(token).write())
    }

    fn lookup(
        &self,
        from: SocketAddr,
        id: ExchangeId,
        cookie: &Cookie,
        events_from: Option<u8>,
        name: &str,
    ) -> Option<Vec<u8>> {
        let shared = &self.shared;
        if shared.cookies.issue_time(cookie, from, shared.mono()).is_none() {
            return Some(self.stale(id));
        }
        let directory = shared.directory();
        let number = directory.number(name);
        let Some((number, route)) = number.and_then(|number| Some((number, directory.route_of(number)?)))
        else {
            drop(directory);
            shared.lookups().unknown();
            shared.counters.lookups_unknown.add();
            let found = Found { status: FoundStatus::Unknown, record: &[], events: 0, history: &[] };
            return Some(Compact::Found { id, found }.write());
        };
        drop(directory);
        shared.lookups().resolved(number);
        shared.counters.lookups.add();
        Some(found(id, &route, events_from))
    }

    fn query(&self, from: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
        let shared = &self.shared;
        let head = query.get(Query::ID_AT..).and_then(|rest| rest.split_first_chunk::<8>());
        let Some((id, cookie)) = head.and_then(|(id, rest)| Some((id, rest.first_chunk::<COOKIE>()?))) else {
            shared.counters.malformed.add();
            return None;
        };
        let now = shared.mono();
        let Some(shown) = shared.cookies.issue_time(cookie, from, now) else { return Some(self.stale(*id)) };
        let network = network(from);
        // What is longer than M may be is none; so what waits for the workers is bounded.
        let Some(glance) = QueryGlance::of(query) else {
            shared.charge_bad(from);
            shared.counters.malformed.add();
            return None;
        };
        // Whoever has sent much that did not verify waits, and so does whoever asks much, and keeps nobody else waiting.
        if !shared.bad().has_room(&network, now) || !shared.questions().take(&network, glance.weight, now) {
            shared.counters.queries_limited.add();
            return None;
        }
        let lane = if self.is_at_home(glance.source, from) { Lane::Home } else { Lane::Others };
        if !self.work.push(lane, Work::Query(from, shown, query.to_vec())) {
            shared.counters.queries_overflow.add();
        }
        None
    }

    /// Whether a device that is there with this name is at this address. Where the address is shown to be the sender's own, that is who asks, or
    /// somebody beside it who may be heard as well.
    fn is_at_home(&self, name: &str, from: SocketAddr) -> bool {
        let number = self.shared.directory().number(name);
        number.is_some_and(|number| self.shared.sessions().is_at(number, from))
    }

    fn answer(&self, from: SocketAddr, id: ExchangeId, answer: &[u8]) {
        let shared = &self.shared;
        if !shared.forwards().is_awaited(&id, from) {
            shared.counters.answers_unasked.add();
        } else if !shared.bad().has_room(&network(from), shared.mono()) {
            shared.counters.queries_limited.add();
        } else if !self.work.push(Lane::Home, Work::Answer(from, id, answer.to_vec())) {
            shared.counters.queries_overflow.add();
        }
    }

    fn stale(&self, id: ExchangeId) -> Vec<u8> {
        self.shared.counters.stale_cookies.add();
        Compact::Stale(id).write()
    }
}

/// Whether the record of an identity says goodbye.
fn is_away(route: &Route) -> bool {
    RecordGlance::of(route.record_bytes()).is_none_or(|record| record.away)
}

/// The answer to a look-up: the record, and of the key events as many as fit.
fn found(id: ExchangeId, route: &Route, events_from: Option<u8>) -> Vec<u8> {
    let status = match route.status {
        IdentityStatus::Active => FoundStatus::Active,
        IdentityStatus::KeyRevoked => FoundStatus::KeyRevoked,
        IdentityStatus::NameRevoked => FoundStatus::NameRevoked,
    };
    let record = route.record_bytes();
    let mut history = Vec::new();
    let mut events = 0_u8;
    // Frame, id, status, lengths and the record.
    let room = MAX_UNFRAGMENTED.saturating_sub(HEADER + 8 + 1 + 2 + 1 + record.len());
    for event in route.event_bytes() {
        let wanted = events_from.is_some_and(|from| events >= from);
        events = events.saturating_add(1);
        // One event always goes, so that whoever asks on comes to the end.
        if wanted && (history.is_empty() || history.len() + 2 + event.len() <= room) {
            history.extend(u16::try_from(event.len()).unwrap_or(u16::MAX).to_be_bytes());
            history.extend(event);
        } else if wanted {
            // The rest is only counted.
            let total = route.event_bytes().count();
            events = u8::try_from(total).unwrap_or(u8::MAX);
            break;
        }
    }
    Compact::Found { id, found: Found { status, record, events, history: &history } }.write()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::random;
    use crate::{LocalDevice, Presence};
    use jis::SecretKey;
    use std::sync::{Mutex, RwLock};
    use tibet_registry::{MemoryStore, Opening, Policy, Registry, Source, Store};
    use zeroize::Zeroizing;

    use super::super::cookies::Cookies;
    use super::super::directory::Directory;
    use super::super::neighbours::Neighbours;
    use super::super::queue::{MAX_WAITING, queue};
    use super::super::sessions::Sessions;
    use super::super::shared::Parts;
    use super::super::tokens::Tokens;
    use super::super::{GONE_AFTER, KEEPALIVE, QUERY_RATE, writer};

    fn key() -> SecretKey {
        SecretKey::from_seed(random().expect("random").into()).expect("key")
    }

    /// A node without workers, that knows `jis:a`.
    fn shared() -> Arc<Shared> {
        let secret = random().expect("random");
        let opening = Opening { log_key: Arc::new(key()), origin: None, policy: Policy::default(), secret };
        let store: Box<dyn Store + Send> = Box::new(MemoryStore::new());
        let mut registry = Registry::open(store, opening).expect("opened");
        let now = system::now();
        let mut device = LocalDevice::create("jis:a".parse().expect("name"), now).expect("keys");
        device.publish(Presence::default(), now).expect("signed");
        let registration = device.registration(None, now).expect("signed");
        registry.register(registration, Source::Local, now).expect("registered");
        let directory = Arc::new(RwLock::new(Directory::load(&registry).expect("loaded")));
        let sessions = Arc::new(Mutex::new(Sessions::new(GONE_AFTER)));
        let own = key();
        let name = jis::Name::of_key(&own.public_key());
        let neighbours = Neighbours::new(name, GONE_AFTER, 0);
        let running =
            writer::spawn(registry, Arc::clone(&directory), Arc::clone(&sessions), None, neighbours);
        let cookies = Cookies::new(secret, *own.public_key().as_bytes());
        Arc::new(Shared::new(Parts {
            key: own,
            cookies,
            tokens: Tokens::new(Zeroizing::new([7; 32])),
            keepalive_every: KEEPALIVE,
            query_rate: QUERY_RATE,
            sessions,
            directory,
            registry: running.expect("a thread").handle,
            relay: None,
            secret,
        }))
    }

    /// SECURITY R18: strangers, each from an address of its own, ask more than is taken on; a device that is there goes before all of them.
    #[test]
    fn row_18_a_device_that_is_there_does_not_wait_for_a_flood_of_strangers() {
        let (work, source) = queue();
        let shared = shared();
        let frames = NodeFrames { shared: Arc::clone(&shared), work, relayed: false };
        let asker = key();
        let ask = |name: &str, from: SocketAddr| {
            let query = Query {
                id: [1; 8],
                cookie: shared.cookies.issue(from, shared.mono()),
                source: name.parse().expect("name"),
                key: asker.public_key(),
                generation: 0,
                responder: shared.public_key,
                method: "overlay.find".parse().expect("word"),
                arguments: Vec::new(),
            };
            // Nobody here looks at the signature.
            let mut query = jis::SignedObject::message(&query);
            query.extend([0; 64]);
            frames.query(from, &query)
        };
        let stranger = |number: usize| {
            let [.., b, c, d] = number.to_be_bytes();
            SocketAddr::from(([10, b, c, d], 7))
        };
        for number in 0..MAX_WAITING + 100 {
            ask("jis:stranger", stranger(number));
        }
        let dropped = || shared.counters.read().queries_overflow as usize - 100;
        assert_eq!(dropped(), 0, "all beyond what may wait");

        let home: SocketAddr = "203.0.113.9:7".parse().expect("address");
        ask("jis:a", home);
        assert_eq!(dropped(), 1, "it is not there yet");
        let key = shared.directory().key_of(1).expect("registered");
        let comer = Comer { number: 1, key: &key, address: home, shown: shared.mono() };
        shared.sessions().register(comer, shared.mono());
        ask("jis:a", home);
        assert_eq!(dropped(), 1, "and now it is");
        ask("jis:a", stranger(1));
        ask("jis:b", home);
        assert_eq!(dropped(), 3, "its name from elsewhere is a stranger, and so is another's at its address");
        let from = |work: Option<Work>| match work {
            Some(Work::Query(from, ..)) => from,
            _ => panic!("a question"),
        };
        assert_eq!(from(source.next()), home, "before all who came before it");
        assert_eq!(from(source.next()), stranger(0));
    }
}
