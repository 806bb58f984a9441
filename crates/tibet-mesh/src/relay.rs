//! The relay: for two devices between which nothing goes directly, a node passes on what it cannot read.
//!
//! | frame | from | bytes | says |
//! |---|---|---|---|
//! | send | device | 56 and the message | pass this on to that address |
//! | delivery | relay | 56 and the message | that address sent this |
//! | call | device | 48 | are you there, and may I be found here? |
//! | alive | relay | 48 | yes; show this, and you may |
//!
//! A session is between one device and one relay. Both have its keys from the [request](jis::RelayOpen) that opened it and from the relay's answer, so nobody else makes
//! a frame of it, and no frame counts twice (SECURITY R53). What is passed on is sealed from one device to the other: the relay's keys protect the way, not the words.
//! Wire format: `docs/spec/relay.md`.
//!
//! [`RelayServer`] is the relay, [`RelayClient`] a device's end of a session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use jis::{Fingerprint, RelayOpen, TransportKey, TransportSecret};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::choice::Health;
use crate::paths::ProbeTransmit;
use crate::probe::Session;
use crate::wire::{HEADER, RELAY_ALIVE, RELAY_CALL, RELAY_DELIVERY, RELAY_SEND, Wire, header};

const CONTEXT: &str = "jis-relay:v1";
const MAC: usize = 16;
/// What stands before the mac of a send or a delivery: session, counter, overlay address.
const CARRIED: usize = 32;
/// What stands before the mac of a call or its answer: session, counter, challenge.
const CALLED: usize = 24;
/// Bytes of a call or its answer, all in all: alike, so nobody is sent more than he sent (SECURITY R15).
const CALL_LENGTH: usize = HEADER + CALLED + MAC;
/// Bytes that a relayed message has before it: a delivery is as long as what it delivers was.
pub const RELAY_OVERHEAD: usize = HEADER + CARRIED + MAC;
/// Longest message that is relayed: what a UDP datagram has room for.
pub const MAX_RELAYED: usize = 65_507 - RELAY_OVERHEAD;

/// Shows that whoever sends it received what was sent to its address.
type Challenge = [u8; 8];

// The keys of a session.

/// The keys of a session, as one of its two ends uses them. Wiped when dropped, never printed.
pub struct RelayKeys {
    /// Of what this end makes.
    ours: [u8; 32],
    /// Of what the other end makes.
    theirs: [u8; 32],
}

impl RelayKeys {
    /// The device's end. `secret` belongs to [`RelayOpen::exchange`], `relay` is the exchange key in the relay's signed answer, `request` the
    /// [hash](jis::message_hash) of the request's M. `None` if the two agree on zero, which everybody knows.
    #[must_use]
    pub fn for_device(secret: &TransportSecret, relay: &TransportKey, request: &[u8; 32]) -> Option<Self> {
        let (ours, theirs) = agree(secret, relay, request, relay)?;
        Some(Self { ours, theirs })
    }

    /// The relay's end. `secret` was made for this session, and its public key is what the relay's answer names; `device` is [`RelayOpen::exchange`], `request` the
    /// [hash](jis::message_hash) of the request's M. `None` if the two agree on zero, which everybody knows.
    #[must_use]
    pub fn for_relay(secret: &TransportSecret, device: &TransportKey, request: &[u8; 32]) -> Option<Self> {
        let (theirs, ours) = agree(secret, device, request, &secret.public_key())?;
        Some(Self { ours, theirs })
    }
}

/// The key of what the device makes, and of what the relay makes.
fn agree(
    secret: &TransportSecret,
    other: &TransportKey,
    request: &[u8; 32],
    relay: &TransportKey,
) -> Option<([u8; 32], [u8; 32])> {
    let shared = secret.agree(other);
    if bool::from(shared.ct_eq(&[0; 32])) {
        return None;
    }
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&*shared);
    hasher.update(request);
    hasher.update(relay.as_bytes());
    let mut reader = hasher.finalize_xof();
    let (mut device_to_relay, mut relay_to_device) = ([0; 32], [0; 32]);
    reader.fill(&mut device_to_relay);
    reader.fill(&mut relay_to_device);
    Some((device_to_relay, relay_to_device))
}

impl Drop for RelayKeys {
    fn drop(&mut self) {
        self.ours.zeroize();
        self.theirs.zeroize();
    }
}

impl std::fmt::Debug for RelayKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayKeys").finish_non_exhaustive()
    }
}

// The frames.

/// A send or a delivery, taken apart and not yet believed.
struct Carried<'a> {
    session: Session,
    counter: u64,
    /// Whom it is for, or from.
    address: Ipv6Addr,
    claimed: &'a [u8; CARRIED],
    mac: &'a [u8; MAC],
    message: &'a [u8],
}

impl<'a> Carried<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let (claimed, rest) = body.split_first_chunk::<CARRIED>()?;
        let (mac, message) = rest.split_first_chunk::<MAC>()?;
        if message.len() > MAX_RELAYED {
            return None;
        }
        let (session, rest) = claimed.split_first_chunk()?;
        let (counter, address) = rest.split_first_chunk()?;
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?);
        let counter = u64::from_be_bytes(*counter);
        Some(Self { session: *session, counter, address, claimed, mac, message })
    }

    /// Whether it was made with this key, and its message is as long as it was.
    fn is_made_with(&self, key: &[u8; 32], kind: u8) -> bool {
        mac(key, kind, self.claimed, self.message.len()).ct_eq(self.mac).into()
    }

    /// The whole datagram: one allocation, and one copy of the message.
    fn write(
        kind: u8,
        key: &[u8; 32],
        session: &Session,
        counter: u64,
        address: Ipv6Addr,
        message: &[u8],
    ) -> Vec<u8> {
        let mut claimed = [0; CARRIED];
        claimed[..8].copy_from_slice(session);
        claimed[8..16].copy_from_slice(&counter.to_be_bytes());
        claimed[16..].copy_from_slice(&address.octets());
        let length = u32::try_from(CARRIED + MAC + message.len()).unwrap_or_default();
        let mut datagram = Vec::with_capacity(RELAY_OVERHEAD + message.len());
        datagram.extend_from_slice(&header(kind, length));
        datagram.extend_from_slice(&claimed);
        datagram.extend_from_slice(&mac(key, kind, &claimed, message.len()));
        datagram.extend_from_slice(message);
        datagram
    }
}

/// A call or its answer, taken apart and not yet believed.
struct Called<'a> {
    session: Session,
    counter: u64,
    challenge: Challenge,
    claimed: &'a [u8; CALLED],
    mac: &'a [u8; MAC],
}

impl<'a> Called<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let (claimed, rest) = body.split_first_chunk::<CALLED>()?;
        let mac = rest.try_into().ok()?;
        let (session, rest) = claimed.split_first_chunk()?;
        let (counter, challenge) = rest.split_first_chunk()?;
        let counter = u64::from_be_bytes(*counter);
        Some(Self { session: *session, counter, challenge: challenge.try_into().ok()?, claimed, mac })
    }

    fn is_made_with(&self, key: &[u8; 32], kind: u8) -> bool {
        mac(key, kind, self.claimed, 0).ct_eq(self.mac).into()
    }

    fn write(kind: u8, key: &[u8; 32], session: &Session, counter: u64, challenge: &Challenge) -> Vec<u8> {
        let mut claimed = [0; CALLED];
        claimed[..8].copy_from_slice(session);
        claimed[8..16].copy_from_slice(&counter.to_be_bytes());
        claimed[16..].copy_from_slice(challenge);
        let mut datagram = Vec::with_capacity(CALL_LENGTH);
        datagram.extend_from_slice(&header(kind, (CALLED + MAC) as u32));
        datagram.extend_from_slice(&claimed);
        datagram.extend_from_slice(&mac(key, kind, &claimed, 0));
        datagram
    }
}

/// Says what only the two ends of a session can say. All it hashes fits one block of BLAKE3.
fn mac<const N: usize>(key: &[u8; 32], kind: u8, claimed: &[u8; N], message: usize) -> [u8; MAC] {
    let mut input = [0; 1 + CARRIED + 2];
    input[0] = kind;
    input[1..=N].copy_from_slice(claimed);
    // Nothing longer is read or written: a UDP datagram has no room for it.
    let length = u16::try_from(message).unwrap_or(u16::MAX).to_be_bytes();
    input[1 + N..N + 3].copy_from_slice(&length);
    let hash = blake3::keyed_hash(key, &input[..N + 3]);
    let mut mac = [0; MAC];
    mac.copy_from_slice(&hash.as_bytes()[..MAC]);
    mac
}

// Replay.

/// Which counters have been seen: the newest, and the 1024 up to it (SECURITY R53).
#[derive(Debug, Default)]
struct Window {
    newest: u64,
    /// A ring of bits, one word more than the window has, so that no bit stands for two counters of it.
    seen: [u64; WINDOW_WORDS],
}

const WINDOW: u64 = 1024;
const WINDOW_WORDS: usize = 17;

impl Window {
    /// Whether a genuine frame's counter is new; if so, it counts from now on. Zero is no counter.
    fn take(&mut self, counter: u64) -> bool {
        if counter == 0 || self.newest.saturating_sub(counter) >= WINDOW {
            return false;
        }
        let words = WINDOW_WORDS as u64;
        let (word, newest) = (counter / 64, self.newest / 64);
        for skipped in newest.saturating_add(1)..=word.min(newest.saturating_add(words)) {
            self.seen[(skipped % words) as usize] = 0;
        }
        self.newest = self.newest.max(counter);
        let (place, bit) = (&mut self.seen[(word % words) as usize], 1 << (counter % 64));
        let new = *place & bit == 0;
        *place |= bit;
        new
    }
}

// Quotas.

/// What a relay grants, at most (SECURITY R51).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// Bytes that one identity sends in a second, whole datagrams counted. 1 Mbit/s.
    pub bytes_per_second: u64,
    /// Bytes that one identity sends at once after a pause. A second's worth.
    pub burst: u64,
    /// Datagrams to one target that wait for the end of a turn; the oldest make room. 64.
    pub queue: usize,
    /// Targets that one identity sends to in an hour, which begins with the first. 1000. Each costs 4 bytes.
    pub targets_per_hour: usize,
    /// Bytes that one identity sends in a day, which begins with the first. 10 GiB.
    pub bytes_per_day: u64,
    /// Bytes that all send in a second. 1 Gbit/s.
    pub total_bytes_per_second: u64,
    /// Bytes that all send at once. An eighth of a second's worth.
    pub total_burst: u64,
    /// Sessions at once, each of at most 5 KiB: 1 KiB, and the targets of the hour. 65 536.
    pub sessions: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            bytes_per_second: 125_000,
            burst: 125_000,
            queue: 64,
            targets_per_hour: 1000,
            bytes_per_day: 10 << 30,
            total_bytes_per_second: 125_000_000,
            total_burst: 15_625_000,
            sessions: 65_536,
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A bucket that fills with time: kept as the moment at which it is full again.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes bytes out, if there are so many.
    fn take(&mut self, bytes: u64, per_second: u64, burst: u64, now: Duration) -> bool {
        let lasts = |bytes: u64| {
            let nanos = bytes.saturating_mul(1_000_000_000).checked_div(per_second);
            nanos.map_or(Duration::MAX, Duration::from_nanos)
        };
        let full_at = self.full_at.max(now).saturating_add(lasts(bytes));
        let enough = full_at.saturating_sub(now) <= lasts(burst);
        if enough {
            self.full_at = full_at;
        }
        enough
    }
}

/// What one identity has used: of the identity and not of its session, so that another session is no second quota.
#[derive(Debug, Clone, Default)]
struct Account {
    bucket: Bucket,
    day_ends: Duration,
    day_bytes: u64,
    hour_ends: Duration,
    /// The targets of the hour, in order: of each the last four bytes of its address, which are those of a hash.
    targets: Vec<u32>,
}

impl Account {
    /// Counts a datagram, if it is within the quotas; one that is not uses nothing up.
    fn take(
        &mut self,
        config: &RelayConfig,
        bytes: u64,
        target: Ipv6Addr,
        now: Duration,
    ) -> Result<(), RelayDrop> {
        if now >= self.hour_ends {
            self.targets.clear();
        }
        let [.., a, b, c, d] = target.octets();
        let target = u32::from_be_bytes([a, b, c, d]);
        let place = self.targets.binary_search(&target);
        if place.is_err() && self.targets.len() >= config.targets_per_hour {
            return Err(RelayDrop::Targets);
        }
        let used = if now < self.day_ends { self.day_bytes } else { 0 };
        let used = used.saturating_add(bytes);
        if used > config.bytes_per_day {
            return Err(RelayDrop::Day);
        }
        if !self.bucket.take(bytes, config.bytes_per_second, config.burst, now) {
            return Err(RelayDrop::Rate);
        }
        if now >= self.day_ends {
            self.day_ends = now.saturating_add(DAY);
        }
        self.day_bytes = used;
        if let Err(place) = place {
            if self.targets.is_empty() {
                self.hour_ends = now.saturating_add(HOUR);
            }
            self.targets.insert(place, target);
        }
        Ok(())
    }

    /// Whether it would make a difference to forget it.
    fn matters(&self, now: Duration) -> bool {
        now < self.day_ends.max(self.hour_ends).max(self.bucket.full_at)
    }
}

/// What an identity has used of its day, for keeping over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayUsage {
    /// Whose.
    pub owner: Fingerprint,
    /// Bytes sent in this day.
    pub bytes: u64,
    /// How long its day still lasts, from the moment [`RelayServer::usage`] was asked.
    pub ends_in: Duration,
}

// The relay.

/// How long deliveries go to an address after it was last proven: a device calls every 25 s and more often.
const PROVEN: Duration = Duration::from_secs(120);
/// How long a challenge lasts: the present and the last such time count.
const EPOCH: Duration = Duration::from_secs(60);
/// Bytes that wait for the end of a turn, all in all; an owner that ends its turns never has as many.
const MAX_TURN: usize = 8 << 20;

/// Empty queues that are kept for the next turn.
const KEPT_QUEUES: usize = 1024;

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

/// Wiped when dropped, never printed.
struct Secret(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
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
    /// The turn it last got something in, and its queue there.
    queue: (u64, usize),
}

/// What waits for the end of a turn.
#[derive(Debug, Default)]
struct Turn {
    number: u64,
    bytes: usize,
    replies: Vec<(SocketAddr, Vec<u8>)>,
    /// The first so many of them are used in this turn; the others keep their memory for the next.
    queues: Vec<(SocketAddr, VecDeque<Vec<u8>>)>,
    used: usize,
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

/// Why a frame came to nothing. Its sender does not learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RelayDrop {
    /// No frame for a relay.
    Malformed,
    /// Of no session, or of one that is over.
    NoSession,
    /// Not made with the session's key: altered, redirected, another session's.
    Forged,
    /// Seen before, or too old to tell.
    Replayed,
    /// Genuine, but what it carries is no message of WireGuard.
    Foreign,
    /// The sender has sent too much in this second.
    Rate,
    /// The sender has sent too much in this day.
    Day,
    /// The sender has had too many targets in this hour.
    Targets,
    /// All senders together have sent too much.
    Total,
    /// The target has no session.
    Absent,
    /// The target's record does not name this relay.
    NotAccepting,
    /// The target has not shown for long where it is.
    Silent,
    /// Newer ones for the same target have taken its place.
    Overflow,
    /// The owner does not end its turns.
    Turn,
}

/// What a relay has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Datagrams handed out for delivery.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Calls answered.
    pub calls: u64,
    /// Times that a session's deliveries went to another address.
    pub moved: u64,
    /// What came to nothing, by reason.
    pub dropped: BTreeMap<RelayDrop, u64>,
}

impl RelayServer {
    /// A relay without sessions. `secret` is random, drawn for this start of the relay.
    #[must_use]
    pub fn new(config: RelayConfig, secret: [u8; 32]) -> Self {
        let (sessions, addresses) = (Index::new(&secret, 1), Index::new(&secret, 2));
        Self {
            config,
            secret: Secret(Zeroizing::new(secret)),
            opened: 0,
            slots: Vec::new(),
            free: Vec::new(),
            sessions,
            addresses,
            owners: BTreeMap::new(),
            ends: BTreeSet::new(),
            past: BTreeMap::new(),
            total: Bucket::default(),
            // Zero is the turn of those that never had a queue.
            turn: Turn { number: 1, ..Turn::default() },
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
            queue: (0, 0),
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
        self.turn.replies.drain(..).for_each(|(to, datagram)| out(to, datagram));
        for (to, queue) in self.turn.queues.iter_mut().take(self.turn.used) {
            for datagram in queue.drain(..) {
                self.counts.delivered += 1;
                self.counts.delivered_bytes += datagram.len() as u64;
                out(*to, datagram);
            }
        }
        self.turn.number += 1;
        (self.turn.used, self.turn.bytes) = (0, 0);
        self.turn.queues.truncate(KEPT_QUEUES);
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
        all.filter(move |(_, account)| account.day_bytes > 0 && now < account.day_ends).map(
            move |(owner, account)| RelayUsage {
                owner,
                bytes: account.day_bytes,
                ends_in: account.day_ends.saturating_sub(now),
            },
        )
    }

    /// Puts back what [`RelayServer::usage`] gave, `elapsed` ago: before the first session is opened.
    pub fn restore(&mut self, usage: impl IntoIterator<Item = RelayUsage>, elapsed: Duration, now: Duration) {
        for RelayUsage { owner, bytes, ends_in } in usage {
            let left = ends_in.min(DAY).saturating_sub(elapsed);
            let account =
                Account { day_ends: now.saturating_add(left), day_bytes: bytes, ..Account::default() };
            self.remember(owner, account, now);
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
            let session = number(&self.secret.0, b"session", &self.opened.to_be_bytes());
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
        if let Some(queue) = self.turn.queue(open.queue) {
            queue.clear();
        }
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
                self.past.iter().map(|(owner, account)| (account.day_bytes, *owner)).collect();
            let half = used.len() / 2;
            used.select_nth_unstable(half);
            used.iter().take(half).for_each(|(_, owner)| drop(self.past.remove(owner)));
        }
    }

    fn pass_on(&mut self, body: &[u8], now: Duration) -> Result<(), RelayDrop> {
        let frame = Carried::read(body).ok_or(RelayDrop::Malformed)?;
        let sender = find(&mut self.slots, self.sessions.get(name_of(&frame.session)), now);
        let sender = sender.ok_or(RelayDrop::NoSession)?;
        if !frame.is_made_with(&sender.keys.theirs, RELAY_SEND) {
            return Err(RelayDrop::Forged);
        }
        if !sender.window.take(frame.counter) {
            return Err(RelayDrop::Replayed);
        }
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
        let queue = self.turn.queue_for(&mut target.queue, target.place);
        queue.push_back(datagram);
        if queue.len() > most {
            self.turn.bytes -= queue.pop_front().map_or(0, |oldest| oldest.len()).min(self.turn.bytes);
            return Err(RelayDrop::Overflow);
        }
        Ok(())
    }

    fn answer(&mut self, body: &[u8], from: SocketAddr, now: Duration) -> Result<(), RelayDrop> {
        let call = Called::read(body).ok_or(RelayDrop::Malformed)?;
        let open = find(&mut self.slots, self.sessions.get(name_of(&call.session)), now);
        let open = open.ok_or(RelayDrop::NoSession)?;
        if !call.is_made_with(&open.keys.theirs, RELAY_CALL) {
            return Err(RelayDrop::Forged);
        }
        if !open.window.take(call.counter) {
            return Err(RelayDrop::Replayed);
        }
        let epoch = now.as_secs() / EPOCH.as_secs();
        let challenge = |epoch| challenge(&self.secret.0, &call.session, from, epoch);
        let asked = [Some(epoch), epoch.checked_sub(1)];
        let proven =
            asked.into_iter().flatten().any(|epoch| bool::from(challenge(epoch).ct_eq(&call.challenge)));
        // A call that was overtaken on its way says where the device was.
        if proven && call.counter > open.placed_by {
            self.counts.moved += u64::from(open.place != from);
            (open.place, open.placed_by) = (from, call.counter);
            open.proven_until = now.saturating_add(PROVEN);
        }
        let challenge = challenge(epoch);
        let alive = Called::write(RELAY_ALIVE, &open.keys.ours, &call.session, call.counter, &challenge);
        self.turn.take_room(alive.len())?;
        self.turn.replies.push((from, alive));
        self.counts.calls += 1;
        Ok(())
    }
}

/// Finds a slot by its name, in one or two steps into memory: every datagram is looked up twice. Which names share a place depends on a secret, so that nobody can choose
/// many that do.
struct Index {
    mix: [u64; 2],
    /// As many as there are names, or up to twice as many: a power of two.
    places: Vec<Vec<(u128, usize)>>,
    names: usize,
}

/// A session's name in an index.
fn name_of(session: &Session) -> u128 {
    u64::from_be_bytes(*session).into()
}

impl Index {
    fn new(secret: &[u8; 32], which: u8) -> Self {
        let part = |half| u64::from_be_bytes(number(secret, b"index", &[which, half]));
        Self { mix: [part(1), part(2)], places: vec![Vec::new()], names: 0 }
    }

    fn place(&self, name: u128) -> usize {
        let (high, low) = ((name >> 64) as u64, name as u64);
        let product = u128::from(high ^ self.mix[0]) * u128::from(low ^ self.mix[1]);
        // Both halves of the product: each bit of the name reaches them.
        ((product >> 64) as u64 ^ product as u64) as usize & (self.places.len() - 1)
    }

    fn get(&self, name: u128) -> Option<usize> {
        let entries = self.places.get(self.place(name))?;
        entries.iter().find(|(known, _)| *known == name).map(|(_, slot)| *slot)
    }

    /// Adds a name that is not there.
    fn insert(&mut self, name: u128, slot: usize) {
        if self.names >= self.places.len() {
            let wider = vec![Vec::new(); 2 * self.places.len()];
            let entries = std::mem::replace(&mut self.places, wider);
            entries.into_iter().flatten().for_each(|(name, slot)| self.put(name, slot));
        }
        self.put(name, slot);
        self.names += 1;
    }

    fn put(&mut self, name: u128, slot: usize) {
        let place = self.place(name);
        self.places[place].push((name, slot));
    }

    fn remove(&mut self, name: u128) {
        let place = self.place(name);
        let before = self.places[place].len();
        self.places[place].retain(|(known, _)| *known != name);
        self.names -= before - self.places[place].len();
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("names", &self.names).finish_non_exhaustive()
    }
}

/// A session that is not over.
fn find(slots: &mut [Option<Box<Open>>], slot: Option<usize>, now: Duration) -> Option<&mut Open> {
    slots.get_mut(slot?)?.as_deref_mut().filter(|open| now < open.ends)
}

/// What a device shows that received something at this address: computed and not stored (SECURITY R13).
fn challenge(secret: &[u8; 32], session: &Session, address: SocketAddr, epoch: u64) -> Challenge {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut input = [0; 34];
    input[..8].copy_from_slice(session);
    input[8..24].copy_from_slice(&ip.octets());
    input[24..26].copy_from_slice(&address.port().to_be_bytes());
    input[26..].copy_from_slice(&epoch.to_be_bytes());
    number(secret, b"challenge", &input)
}

/// What nobody but the relay can compute. What for comes first, and none of the three is the beginning of another.
fn number(secret: &[u8; 32], what_for: &[u8], input: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(what_for);
    hasher.update(input);
    let mut number = [0; 8];
    hasher.finalize_xof().fill(&mut number);
    number
}

impl Turn {
    fn take_room(&mut self, bytes: usize) -> Result<(), RelayDrop> {
        if self.bytes + bytes > MAX_TURN {
            return Err(RelayDrop::Turn);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// The queue of a session in this turn, if it has one.
    fn queue(&mut self, (turn, place): (u64, usize)) -> Option<&mut VecDeque<Vec<u8>>> {
        let queue = self.queues.get_mut(place).filter(|_| turn == self.number);
        queue.map(|(_, queue)| queue)
    }

    /// The queue of a session in this turn, for deliveries to this place.
    fn queue_for(&mut self, known: &mut (u64, usize), to: SocketAddr) -> &mut VecDeque<Vec<u8>> {
        if known.0 != self.number {
            *known = (self.number, self.used);
            self.used += 1;
        }
        if self.queues.len() <= known.1 {
            self.queues.resize_with(known.1 + 1, || (to, VecDeque::new()));
        }
        let (place, queue) = &mut self.queues[known.1];
        *place = to;
        queue
    }
}

impl RelayCounts {
    fn add(&mut self, reason: RelayDrop) {
        *self.dropped.entry(reason).or_default() += 1;
    }
}

// The device.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_finds_what_was_put_in_and_nothing_that_was_taken_out() {
        let mut index = Index::new(&[3; 32], 1);
        let mut expected = BTreeMap::new();
        for step in 0..5000_u64 {
            let name = u128::from(step * 7919 % 1009) << 64 | u128::from(step * 31 % 3);
            match expected.remove(&name) {
                Some(_) => index.remove(name),
                None => {
                    index.insert(name, step as usize);
                    expected.insert(name, step as usize);
                }
            }
            index.remove(u128::MAX);
            assert_eq!(index.get(name), expected.get(&name).copied());
            assert_eq!(index.names, expected.len());
        }
        assert!(expected.len() > 100);
        assert!(expected.iter().all(|(name, slot)| index.get(*name) == Some(*slot)));
        assert!(index.places.len() <= 4096 && index.places.iter().all(|place| place.len() < 12));
    }
}
