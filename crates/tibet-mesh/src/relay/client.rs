//! A device's end of a session.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::frames::{Called, Carried, Challenge, MAX_RELAYED};
use super::keys::RelayKeys;
use super::window::Window;
use crate::choice::Health;
use crate::paths::ProbeTransmit;
use crate::probe::Session;
use crate::wire::{RELAY_ALIVE, RELAY_CALL, RELAY_DELIVERY, RELAY_SEND, Wire};

/// How often a device calls while there is traffic.
const CALL_ACTIVE: Duration = Duration::from_secs(10);
/// The same while there is none: mappings in NATs last for 30 s and more (RFC 4787 REQ-5).
const CALL_IDLE: Duration = Duration::from_secs(25);
/// How long after the last packet there is traffic.
const ACTIVE: Duration = Duration::from_secs(120);
/// How soon a call follows one that was not answered, unless the way is slower.
const CALL_AGAIN: Duration = Duration::from_millis(500);
/// Missed answers that make the relay suspect.
const SUSPECT: u8 = 3;
/// Missed answers after which the session counts as dead.
const DEAD: u8 = 8;
/// A session is renewed when a tenth of its time is left, and no earlier than this before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(3600);

/// A device's end of a session with one relay.
///
/// | the owner does | with |
/// |---|---|
/// | the relay has answered its request | [`RelayClient::new`] |
/// | a message should go through the relay | [`RelayClient::seal`] |
/// | a frame came in | [`RelayClient::handle_frame`] |
/// | the machine has another address | [`RelayClient::handle_moved`] |
/// | [`RelayClient::poll_timeout`] is due | [`RelayClient::handle_timeout`] |
/// | then sends | [`RelayClient::poll_transmit`] until there is nothing |
/// | [`RelayClient::is_due`] | opens another session, and takes its client in place of this one |
#[derive(Debug)]
pub struct RelayClient {
    relay: SocketAddr,
    session: Session,
    keys: RelayKeys,
    renew_at: Duration,
    ends: Duration,
    /// Frames made: makes their counters.
    count: u64,
    window: Window,
    /// What the last call showed, and the next one shows.
    challenge: Challenge,
    /// The calls that may still be answered, the oldest first: counter, when it went out, what it showed.
    waiting: VecDeque<(u64, Duration, Challenge)>,
    missed: u8,
    next_call: Option<Duration>,
    /// Whether the last call followed an answer at once: its own answer brings no other.
    followed: bool,
    rtt: Option<Duration>,
    active_at: Duration,
    /// When a message went out that nothing has come after from the relay.
    unanswered_since: Option<Duration>,
    transmits: VecDeque<ProbeTransmit>,
}

/// What a relay has delivered. Who sent it, the relay says; the tunnel finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The overlay address of the sender's session.
    pub source: Ipv6Addr,
    /// A message of WireGuard.
    pub message: &'a [u8],
}

impl RelayClient {
    /// A session that was opened at `now`, with the relay at this address. It calls at once.
    #[must_use]
    pub fn new(
        keys: RelayKeys,
        session: Session,
        relay: SocketAddr,
        lifetime: Duration,
        now: Duration,
    ) -> Self {
        let ends = now.saturating_add(lifetime);
        Self {
            relay,
            session,
            keys,
            renew_at: ends.saturating_sub(RENEW_BEFORE.min(lifetime / 10)),
            ends,
            count: 0,
            window: Window::default(),
            challenge: [0; 8],
            waiting: VecDeque::new(),
            missed: 0,
            next_call: Some(now),
            followed: false,
            rtt: None,
            active_at: now,
            unanswered_since: None,
            transmits: VecDeque::new(),
        }
    }

    /// The session, by which the frames for this client are known: see [`session_of`](crate::session_of).
    #[must_use]
    pub fn session(&self) -> Session {
        self.session
    }

    /// Where the relay is.
    #[must_use]
    pub fn relay(&self) -> SocketAddr {
        self.relay
    }

    /// The datagram to the relay that carries a message to a target. `None` if the session is over, or what should be sent is no message of WireGuard or longer than
    /// [`MAX_RELAYED`].
    #[must_use]
    pub fn seal(&mut self, target: Ipv6Addr, message: &[u8], now: Duration) -> Option<Vec<u8>> {
        let possible =
            message.len() <= MAX_RELAYED && matches!(Wire::read(message), Some(Wire::WireGuard(_)));
        if !possible || now >= self.ends {
            return None;
        }
        self.note_traffic(now);
        self.unanswered_since.get_or_insert(now);
        let counter = self.next_counter();
        Some(Carried::write(RELAY_SEND, &self.keys.ours, &self.session, counter, target, message))
    }

    /// Takes a frame that came from `from`; what it delivers, if the relay has made it and it delivers something.
    pub fn handle_frame<'a>(
        &mut self,
        kind: u8,
        body: &'a [u8],
        from: SocketAddr,
        now: Duration,
    ) -> Option<Delivered<'a>> {
        if now >= self.ends || canonical(from) != canonical(self.relay) {
            return None;
        }
        match kind {
            RELAY_DELIVERY => {
                let frame = Carried::read(body).filter(|frame| frame.session == self.session)?;
                let genuine = frame.is_made_with(&self.keys.theirs, RELAY_DELIVERY);
                if !genuine || !self.window.take(frame.counter) {
                    return None;
                }
                let Some(Wire::WireGuard(message)) = Wire::read(frame.message) else { return None };
                self.note_traffic(now);
                self.unanswered_since = None;
                Some(Delivered { source: frame.address, message })
            }
            RELAY_ALIVE => {
                let frame = Called::read(body).filter(|frame| frame.session == self.session)?;
                if frame.is_made_with(&self.keys.theirs, RELAY_ALIVE) {
                    self.handle_alive(frame.counter, frame.challenge, now);
                }
                None
            }
            _ => None,
        }
    }

    /// The machine has another address: calls at once, and again with what the answer brings, which proves the new address to the relay.
    pub fn handle_moved(&mut self, now: Duration) {
        self.missed = SUSPECT;
        self.followed = false;
        self.waiting.clear();
        self.next_call = Some(now);
    }

    /// When [`RelayClient::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        // A relay that has started anew knows the session no more, and says nothing: who speaks and hears nothing asks.
        let asked = self.unanswered_since.filter(|_| self.waiting.is_empty());
        let asked = asked.map(|since| since.saturating_add(CALL_AGAIN));
        self.next_call
            .map(|next| asked.map_or(next, |asked| next.min(asked)))
            .filter(|next| *next < self.ends)
    }

    /// Calls, if it is time to.
    pub fn handle_timeout(&mut self, now: Duration) {
        if now >= self.ends {
            self.next_call = None;
            return;
        }
        if self.poll_timeout().is_none_or(|next| now < next) {
            return;
        }
        if !self.waiting.is_empty() {
            self.missed = self.missed.saturating_add(1);
            if self.missed >= DEAD {
                self.next_call = None;
                return;
            }
        }
        self.followed = false;
        self.call(now);
    }

    /// What is to be sent.
    pub fn poll_transmit(&mut self) -> Option<ProbeTransmit> {
        self.transmits.pop_front()
    }

    /// How the way to the relay stands. Proven at first: the request that opened the session was answered over it.
    #[must_use]
    pub fn health(&self, now: Duration) -> Health {
        match self.missed {
            _ if now >= self.ends => Health::Unproven,
            0..SUSPECT => Health::Proven,
            SUSPECT..DEAD => Health::Suspect,
            DEAD.. => Health::Unproven,
        }
    }

    /// How long to the relay and back takes, where that was measured.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Whether another session should be opened: this one is dead, or ends soon.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.missed >= DEAD || now >= self.renew_at
    }

    /// The relay answers a call of ours.
    fn handle_alive(&mut self, counter: u64, challenge: Challenge, now: Duration) {
        let Some(at) = self.waiting.iter().position(|(called, ..)| *called == counter) else { return };
        let Some((_, sent_at, shown)) = self.waiting.remove(at) else { return };
        self.rtt = Some(now.saturating_sub(sent_at));
        self.missed = 0;
        self.unanswered_since = None;
        self.challenge = challenge;
        self.waiting.clear();
        self.next_call = Some(now.saturating_add(self.interval(now)));
        if challenge != shown && !self.followed {
            self.call(now);
            self.followed = true;
        }
    }

    fn call(&mut self, now: Duration) {
        let counter = self.next_counter();
        let datagram = Called::write(RELAY_CALL, &self.keys.ours, &self.session, counter, &self.challenge);
        self.transmits.push_back(ProbeTransmit { to: self.relay, datagram });
        if self.waiting.len() >= DEAD.into() {
            self.waiting.pop_front();
        }
        self.waiting.push_back((counter, now, self.challenge));
        let again = CALL_AGAIN.max(self.rtt.unwrap_or_default().saturating_mul(2));
        self.next_call = Some(now.saturating_add(again));
    }

    fn interval(&self, now: Duration) -> Duration {
        if now.saturating_sub(self.active_at) < ACTIVE { CALL_ACTIVE } else { CALL_IDLE }
    }

    fn note_traffic(&mut self, now: Duration) {
        self.active_at = now;
        self.next_call = self.next_call.map(|next| next.min(now.saturating_add(CALL_ACTIVE)));
    }

    fn next_counter(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// A socket for both kinds of addresses says IPv4 its own way.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}
