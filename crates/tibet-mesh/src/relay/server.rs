//! The relay itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use jis::{Fingerprint, RelayOpen};

use super::counts::{RelayCounts, RelayDrop};
use super::frames::{Called, Carried, RELAY_OVERHEAD};
use super::index::{Index, name_of};
use super::keys::RelayKeys;
use super::quota::{Account, Bucket, RelayConfig, RelayUsage};
use super::secret::Secret;
use super::turn::{Place, Turn};
use super::window::Window;
use crate::probe::Session;
use crate::wire::{RELAY_ALIVE, RELAY_CALL, RELAY_DELIVERY, RELAY_SEND, Wire};

/// How long deliveries go to an address after it was last proven: a device calls every 25 s and more often.
const PROVEN: Duration = Duration::from_secs(120);

/// A relay: takes in what devices send to each other, and hands it on.
///
/// | the owner does | with |
/// |---|---|
/// | a [request](RelayOpen) was verified | [`RelayServer::open`] |
/// | a session should end | [`RelayServer::close`] |
/// | a device's record names this relay, or not any more | [`RelayServer::set_accepts`] |
/// | a frame came in | [`RelayServer::handle_frame`] |
/// | a batch of frames was taken in | [`RelayServer::handle_turn_end`], which gives all that is to be sent |
/// | [`RelayServer::poll_timeout`] is due | [`RelayServer::handle_timeout`] |
///
/// Nobody can see from outside why something was not delivered: whether the target is absent, has not asked this relay, or gets too much (SECURITY R20). Before the relay
/// looks for a target, the send has been counted against its sender.
#[derive(Debug)]
pub struct RelayServer {
    config: RelayConfig,
    /// Makes session ids and challenges: of the relay alone, since a device could otherwise prove an address that is not its own.
    secret: Secret,
    /// Sessions opened: makes their ids.
    opened: u64,
    slots: Vec<Option<Box<Open>>>,
    free: Vec<usize>,
    sessions: Index,
    addresses: Index,
    owners: BTreeMap<Fingerprint, usize>,
    ends: BTreeSet<(Duration, usize)>,
    /// What those without a session have used.
    past: BTreeMap<Fingerprint, Account>,
    total: Bucket,
    turn: Turn,
    counts: RelayCounts,
}

/// A session, as the relay has it.
#[derive(Debug)]
struct Open {
    owner: Fingerprint,
    address: Ipv6Addr,
    session: Session,
    keys: RelayKeys,
    ends: Duration,
    accepts: bool,
    /// Where deliveries go, the call that proved it, and how long that holds.
    place: SocketAddr,
    placed_by: u64,
    proven_until: Duration,
    window: Window,
    /// Deliveries made: makes their counters.
    delivered: u64,
    account: Account,
    queue: Place,
}

impl Open {
    /// Whether the device has made a frame, and it comes for the first time.
    fn believe(
        &mut self,
        counter: u64,
        is_made_with: impl FnOnce(&[u8; 32]) -> bool,
    ) -> Result<(), RelayDrop> {
        if !is_made_with(&self.keys.theirs) {
            return Err(RelayDrop::Forged);
        }
        if self.window.take(counter) { Ok(()) } else { Err(RelayDrop::Replayed) }
    }
}

/// What a session is opened with: everything in it was verified by the owner.
#[derive(Debug)]
pub struct RelayOpening {
    /// Whose it is.
    pub owner: Fingerprint,
    /// Its overlay address, by which others name it.
    pub address: Ipv6Addr,
    /// [`RelayKeys::for_relay`].
    pub keys: RelayKeys,
    /// Where the request came from, and has shown that it did (a cookie): deliveries go there.
    pub from: SocketAddr,
    /// Whether the owner's own record names this relay (SECURITY R50).
    pub accepts: bool,
    /// How long the session lasts, at most [`RelayOpen::MAX_LIFETIME`].
    pub lifetime: Duration,
}

/// Why no session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayRefusal {
    /// There are as many as [`RelayConfig::sessions`] says.
    #[error("the relay has no room for another session")]
    Full,
    /// Another identity with the same overlay address has a session (SECURITY R28).
    #[error("another identity has a session for the address {0}")]
    AddressTaken(Ipv6Addr),
}

impl RelayServer {
    /// A relay without sessions. `secret` is random, drawn for this start of the relay.
    #[must_use]
    pub fn new(config: RelayConfig, secret: [u8; 32]) -> Self {
        let secret = Secret::new(secret);
        let (sessions, addresses) = (Index::new(&secret, 1), Index::new(&secret, 2));
        Self {
            config,
            secret,
            opened: 0,
            slots: Vec::new(),
            free: Vec::new(),
            sessions,
            addresses,
            owners: BTreeMap::new(),
            ends: BTreeSet::new(),
            past: BTreeMap::new(),
            total: Bucket::default(),
            turn: Turn::first(),
            counts: RelayCounts::default(),
        }
    }

    /// Opens a session; its id, for the answer. An identity has one: the one before it ends at once, and what is still on the way in it is lost, so that whoever opens
    /// anew because a key is in wrong hands need not wait.
    ///
    /// # Errors
    /// [`RelayRefusal`]; then nothing has changed.
    pub fn open(&mut self, opening: RelayOpening, now: Duration) -> Result<Session, RelayRefusal> {
        let RelayOpening { owner, address, keys, from, accepts, lifetime } = opening;
        self.handle_timeout(now);
        let holder = self.addresses.get(address.to_bits()).and_then(|slot| self.at(slot));
        if holder.is_some_and(|holder| holder.owner != owner) {
            return Err(RelayRefusal::AddressTaken(address));
        }
        if self.owners.len() >= self.config.sessions && !self.owners.contains_key(&owner) {
            return Err(RelayRefusal::Full);
        }
        self.close(&owner, now);
        let account = self.past.remove(&owner).unwrap_or_default();
        let session = self.new_session();
        let ends = now.saturating_add(lifetime.min(RelayOpen::MAX_LIFETIME));
        let open = Box::new(Open {
            owner,
            address,
            session,
            keys,
            ends,
            accepts,
            place: from,
            placed_by: 0,
            proven_until: now.saturating_add(PROVEN),
            window: Window::default(),
            delivered: 0,
            account,
            queue: Turn::NEVER,
        });
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(open);
        self.sessions.insert(name_of(&session), slot);
        self.addresses.insert(address.to_bits(), slot);
        self.owners.insert(owner, slot);
        self.ends.insert((ends, slot));
        Ok(session)
    }

    /// An identity's own record names this relay, or not any more. Whether it has a session.
    pub fn set_accepts(&mut self, owner: &Fingerprint, accepts: bool) -> bool {
        let slot = self.owners.get(owner).copied();
        let open = slot.and_then(|slot| self.slots.get_mut(slot)).and_then(Option::as_deref_mut);
        open.map(|open| open.accepts = accepts).is_some()
    }

    /// Ends an identity's session, at once: what waits for it is not delivered. Whether it had one. What it has used stays counted.
    pub fn close(&mut self, owner: &Fingerprint, now: Duration) -> bool {
        let slot = self.owners.get(owner).copied();
        slot.is_some_and(|slot| self.end(slot, now))
    }

    /// Takes a frame that came from `from`. What comes of it, [`RelayServer::handle_turn_end`] hands out.
    pub fn handle_frame(&mut self, kind: u8, body: &[u8], from: SocketAddr, now: Duration) {
        let done = match kind {
            RELAY_SEND => self.pass_on(body, now),
            RELAY_CALL => self.answer(body, from, now),
            _ => Err(RelayDrop::Malformed),
        };
        if let Err(reason) = done {
            self.counts.add(reason);
        }
    }

    /// Hands out all that is to be sent: whole datagrams, and where to. Called after every batch of frames, and after a single one.
    pub fn handle_turn_end(&mut self, mut out: impl FnMut(SocketAddr, Vec<u8>)) {
        self.turn.reply_all(&mut out);
        self.turn.deliver_all(|to, datagram| {
            self.counts.delivered += 1;
            self.counts.delivered_bytes += datagram.len() as u64;
            out(to, datagram);
        });
    }

    /// When [`RelayServer::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.ends.first().map(|(ends, _)| *ends)
    }

    /// Ends the sessions whose time is over.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some((_, slot)) = self.ends.first().copied().filter(|(ends, _)| *ends <= now) {
            self.end(slot, now);
        }
    }

    /// What all have used of their days, to be kept over a restart.
    pub fn usage(&self, now: Duration) -> impl Iterator<Item = RelayUsage> {
        let open = self.slots.iter().flatten().map(|open| (open.owner, &open.account));
        let all = open.chain(self.past.iter().map(|(owner, account)| (*owner, account)));
        all.filter_map(move |(owner, account)| account.usage(owner, now))
    }

    /// Puts back what [`RelayServer::usage`] gave, `elapsed` ago: before the first session is opened.
    pub fn restore(&mut self, usage: impl IntoIterator<Item = RelayUsage>, elapsed: Duration, now: Duration) {
        for usage in usage {
            self.remember(usage.owner, Account::restored(&usage, elapsed, now), now);
        }
    }

    /// What has been done.
    #[must_use]
    pub fn counts(&self) -> &RelayCounts {
        &self.counts
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.owners.len()
    }

    fn at(&self, slot: usize) -> Option<&Open> {
        self.slots.get(slot)?.as_deref()
    }

    /// Nobody guesses one, and none says how many there are.
    fn new_session(&mut self) -> Session {
        loop {
            self.opened += 1;
            let session = self.secret.number(b"session", &self.opened.to_be_bytes());
            if self.sessions.get(name_of(&session)).is_none() {
                return session;
            }
        }
    }

    fn end(&mut self, slot: usize, now: Duration) -> bool {
        let Some(open) = self.slots.get_mut(slot).and_then(Option::take) else { return false };
        self.free.push(slot);
        self.sessions.remove(name_of(&open.session));
        self.addresses.remove(open.address.to_bits());
        self.owners.remove(&open.owner);
        self.ends.remove(&(open.ends, slot));
        self.turn.clear(open.queue);
        self.remember(open.owner, open.account, now);
        true
    }

    /// Keeps what somebody without a session has used. When there are too many of them, the half that has used least is forgotten.
    fn remember(&mut self, owner: Fingerprint, account: Account, now: Duration) {
        if !account.matters(now) {
            return;
        }
        self.past.insert(owner, account);
        if self.past.len() > self.config.sessions {
            self.past.retain(|_, account| account.matters(now));
        }
        if self.past.len() > self.config.sessions {
            let mut used: Vec<(u64, Fingerprint)> =
                self.past.iter().map(|(owner, account)| (account.day_bytes(), *owner)).collect();
            let half = used.len() / 2;
            used.select_nth_unstable(half);
            used.iter().take(half).for_each(|(_, owner)| drop(self.past.remove(owner)));
        }
    }

    fn pass_on(&mut self, body: &[u8], now: Duration) -> Result<(), RelayDrop> {
        let frame = Carried::read(body).ok_or(RelayDrop::Malformed)?;
        let sender = find(&mut self.slots, self.sessions.get(name_of(&frame.session)), now);
        let sender = sender.ok_or(RelayDrop::NoSession)?;
        sender.believe(frame.counter, |key| frame.is_made_with(key, RELAY_SEND))?;
        if !matches!(Wire::read(frame.message), Some(Wire::WireGuard(_))) {
            return Err(RelayDrop::Foreign);
        }
        let bytes = RELAY_OVERHEAD + frame.message.len();
        sender.account.take(&self.config, bytes as u64, frame.address, now)?;
        let source = sender.address;
        let RelayConfig { total_bytes_per_second, total_burst, queue: most, .. } = self.config;
        if !self.total.take(bytes as u64, total_bytes_per_second, total_burst, now) {
            return Err(RelayDrop::Total);
        }
        // From here on it is about the target, and nothing of it shows.
        let target = find(&mut self.slots, self.addresses.get(frame.address.to_bits()), now);
        let target = target.ok_or(RelayDrop::Absent)?;
        if !target.accepts {
            return Err(RelayDrop::NotAccepting);
        }
        if now >= target.proven_until {
            return Err(RelayDrop::Silent);
        }
        if most == 0 {
            return Err(RelayDrop::Overflow);
        }
        self.turn.take_room(bytes)?;
        target.delivered += 1;
        let (keys, counter) = (&target.keys.ours, target.delivered);
        let datagram = Carried::write(RELAY_DELIVERY, keys, &target.session, counter, source, frame.message);
        self.turn.deliver(&mut target.queue, target.place, datagram, most)
    }

    fn answer(&mut self, body: &[u8], from: SocketAddr, now: Duration) -> Result<(), RelayDrop> {
        let call = Called::read(body).ok_or(RelayDrop::Malformed)?;
        let open = find(&mut self.slots, self.sessions.get(name_of(&call.session)), now);
        let open = open.ok_or(RelayDrop::NoSession)?;
        open.believe(call.counter, |key| call.is_made_with(key, RELAY_CALL))?;
        let proven = self.secret.has_challenged(&call.session, from, &call.challenge, now);
        // A call that was overtaken on its way says where the device was.
        if proven && call.counter > open.placed_by {
            self.counts.moved += u64::from(open.place != from);
            (open.place, open.placed_by) = (from, call.counter);
            open.proven_until = now.saturating_add(PROVEN);
        }
        let challenge = self.secret.challenge(&call.session, from, now);
        let alive = Called::write(RELAY_ALIVE, &open.keys.ours, &call.session, call.counter, &challenge);
        self.turn.reply(from, alive)?;
        self.counts.calls += 1;
        Ok(())
    }
}

/// A session that is not over.
fn find(slots: &mut [Option<Box<Open>>], slot: Option<usize>, now: Duration) -> Option<&mut Open> {
    slots.get_mut(slot?)?.as_deref_mut().filter(|open| now < open.ends)
}
