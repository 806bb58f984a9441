//! What comes in on the socket: answered at once where one keyed hash and one look-up do, handed to the workers where signatures are to be checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use jis::{IdentityStatus, Query};
use tibet_iot::{Frames, Outgoing};
use tibet_ping::{
    COOKIE, Compact, Cookie, ExchangeId, Found, FoundStatus, HEADER, KeepaliveToken, MAX_UNFRAGMENTED,
    Welcome,
};
use tibet_registry::Route;

use super::sessions::Heard;
use super::shared::Shared;
use crate::system;

/// Longest question, in bytes: M at its longest, and a signature. What waits for the workers is bounded by it.
const MAX_QUERY: usize = jis::MAX_MESSAGE + 64;

/// Something whose signature is to be checked.
pub(super) enum Work {
    /// A question whose cookie holds: M and signature.
    Query(SocketAddr, Vec<u8>),
    /// An answer that is awaited.
    Answer(SocketAddr, ExchangeId, Vec<u8>),
    /// The number of an identity that has come back by a keepalive.
    Back(u32),
}

/// The node's part of its socket.
pub(super) struct NodeFrames {
    pub(super) shared: Arc<Shared>,
    pub(super) work: SyncSender<Work>,
}

impl Frames for NodeFrames {
    fn handle(&mut self, from: SocketAddr, kind: u8, body: &[u8], out: &mut Vec<Outgoing>) {
        // Port 0 cannot be answered, and whoever claims it does not want to be (SECURITY 3.2 row 11).
        if from.port() == 0 {
            return self.shared.counters.malformed.add();
        }
        let reply = match Compact::read(kind, body) {
            Ok(Compact::Keepalive(token)) => self.keepalive(from, token),
            Ok(Compact::Lookup { id, cookie, events_from, name }) => {
                self.lookup(from, id, &cookie, events_from, name)
            }
            Ok(Compact::Hello(id)) => Some(self.welcome(from, id)),
            Ok(Compact::Query(query)) => self.query(from, query),
            Ok(Compact::Answer { id, answer }) => {
                self.answer(from, id, answer);
                None
            }
            // These are answers of other nodes to nothing that was asked here.
            Ok(Compact::Alive(_) | Compact::Welcome(_) | Compact::Found { .. } | Compact::Stale(_))
            | Err(_) => {
                self.shared.counters.malformed.add();
                None
            }
        };
        out.extend(reply.map(|bytes| Outgoing { to: from, bytes }));
    }
}

impl NodeFrames {
    fn welcome(&self, from: SocketAddr, id: ExchangeId) -> Vec<u8> {
        self.shared.counters.welcomed.add();
        let cookie = self.shared.cookies.issue(from, self.shared.mono());
        let key = *self.shared.public_key.as_bytes();
        Compact::Welcome(Welcome { id, key, cookie, observed: from }).write()
    }

    fn keepalive(&self, from: SocketAddr, token: KeepaliveToken) -> Option<Vec<u8>> {
        let shared = &self.shared;
        let heard = shared
            .tokens
            .identity_of(&token, from, system::now())
            .filter(|number| !shared.directory().is_silenced(*number))
            .and_then(|number| Some((number, shared.sessions().keep(number, from, shared.mono())?)));
        let Some((number, heard)) = heard else {
            shared.counters.keepalives_refused.add();
            return None;
        };
        shared.counters.keepalives.add();
        if heard == Heard::Back {
            // Whether it may speak at all is looked up by a worker: once, not at every keepalive.
            let _ = self.work.try_send(Work::Back(number));
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
        if !shared.cookies.holds(cookie, from, shared.mono()) {
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
        if !shared.cookies.holds(cookie, from, now) {
            return Some(self.stale(*id));
        }
        if query.len() > MAX_QUERY {
            shared.counters.malformed.add();
            return None;
        }
        // Whoever has sent much that did not verify waits, and keeps nobody else waiting.
        if !shared.bad().has_room(from, now) {
            shared.counters.queries_limited.add();
        } else if self.work.try_send(Work::Query(from, query.to_vec())).is_err() {
            shared.counters.queries_overflow.add();
        }
        None
    }

    fn answer(&self, from: SocketAddr, id: ExchangeId, answer: &[u8]) {
        let shared = &self.shared;
        if !shared.forwards().is_awaited(&id, from) {
            shared.counters.answers_unasked.add();
        } else if !shared.bad().has_room(from, shared.mono()) {
            shared.counters.queries_limited.add();
        } else if self.work.try_send(Work::Answer(from, id, answer.to_vec())).is_err() {
            shared.counters.queries_overflow.add();
        }
    }

    fn stale(&self, id: ExchangeId) -> Vec<u8> {
        self.shared.counters.stale_cookies.add();
        Compact::Stale(id).write()
    }
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
