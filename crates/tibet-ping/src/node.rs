//! A node: all parts of the protocol together, and still no socket.
//!
//! [`PingNode`] takes datagrams and the time, and gives datagrams and events. Its owner passes them on:
//!
//! | the owner does | with |
//! |---|---|
//! | what came in on the socket | [`PingNode::handle_datagram`], [`PingNode::handle_multicast`] |
//! | what came through a tunnel | [`PingNode::handle_sealed`] |
//! | what its user wants | [`PingNode::ping`], [`PingNode::sealed_ping`], [`PingNode::set_trust`], … |
//! | when [`PingNode::poll_timeout`] is due | [`PingNode::handle_timeout`] |
//! | then sends | [`PingNode::poll_transmit`] until there is nothing |
//! | and takes note | [`PingNode::poll_event`] until there is nothing |
//!
//! | file | holds |
//! |---|---|
//! | `node/inbound.rs` | what becomes of a packet for us, and of one for somebody else |
//! | `node/answering.rs` | answers: at once, by the application, by a human |
//! | `node/asking.rs`, `node/requests.rs` | requests of ours and what answers them |
//! | `node/sealed.rs`, `node/tunnels.rs` | the same through tunnels |
//! | `node/rounds.rs` | what time brings: heartbeats, beacons, clean-up |
//! | `node/discovery.rs` | searching devices and being found |
//! | `node/operator.rs` | keys, trust, vouches and rules |
//! | `node/paths.rs` | how much may be sent to an address |
//! | `node/drops.rs` | what is dropped, by reason |

mod answering;
pub use answering::{AnswerError, MAX_QUESTIONS, QUESTION_LIFETIME};
mod asking;
pub use asking::{Ask, AskError, REQUEST_TIMEOUT};
mod config;
pub use config::{DISCOVERY_INTERVAL, HEARTBEAT_INTERVAL, NodeConfig, NodeIdentity, RandomSource};
mod discovery;
mod drops;
mod event;
pub use event::{
    Answered, Destination, Discovered, Event, Ignored, PendingSettled, PingSeen, Proof, QuestionId,
    RequestId, TokenStamp, Transmit, Via,
};
mod inbound;
mod operator;
pub use operator::{MAX_CLAIMS, OperatorError};
mod paths;
mod requests;
pub use requests::MAX_REQUESTS;
mod rounds;
mod sealed;
mod tunnels;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use jis::{Name, PublicKey, UnixTime};
use tibet_core::Micros;

use crate::airlock::{Airlock, PendingQueue};
use crate::beacon::BeaconBook;
use crate::frame::{Frame, Kind};
use crate::glob::Glob;
use crate::keys::KeyBook;
use crate::now::Now;
use crate::packet::{Fresh, Packet};
use crate::peers::{MAX_PEERS, PeerTable, can_be_answered};
use crate::rate::{Bucket, Buckets, Rate};
use crate::reject::Reject;
use crate::relay::Relay;
use crate::replay::{ReplayCache, RestartBound};
use crate::response::{MAX_CAPABILITIES, Response};
use crate::trust::TrustTable;
use crate::vouching::VouchBook;

use answering::Questions;
use discovery::LateAnswers;
use drops::{Dropped, Drops};
use paths::Paths;
use requests::Requests;
use rounds::Rounds;
use tunnels::Tunnels;

/// Datagrams and events that wait for the owner; it fetches them after every call, so this is never reached but by an owner who does not.
const MAX_QUEUED: usize = 32_768;
/// Bodies read from addresses that nothing believable came from of late: some 5 µs each, so a quarter of a core.
const UNKNOWN_BODIES: Rate = Rate { burst: 10_000, per_second: 50_000 };
/// Own addresses a node can be told.
const MAX_OWN_ADDRESSES: usize = 256;

/// A node of the TP protocol.
pub struct PingNode {
    identity: NodeIdentity,
    public_key: PublicKey,
    config: NodeConfig,
    /// What stands in answers, as text.
    capabilities: Vec<String>,
    random: RandomSource,
    own_addresses: BTreeSet<SocketAddr>,
    keys: KeyBook,
    trust: TrustTable,
    vouches: VouchBook,
    airlock: Airlock,
    pending: PendingQueue,
    replay: ReplayCache,
    restart: Option<RestartBound>,
    peers: PeerTable,
    relay: Relay,
    beacons: BeaconBook,
    requests: Requests,
    questions: Questions,
    /// Intents that the application answers.
    claims: Vec<Glob>,
    late: LateAnswers,
    tunnels: Tunnels,
    /// What rules are asked about a ping through a tunnel.
    scratch: Packet,
    /// Whether events of pings that are answered at once through tunnels are wanted.
    watched: bool,
    paths: Paths,
    rounds: Rounds,
    drops: Drops,
    received: u64,
    sent: u64,
    /// Limits the bodies that are read from addresses nothing believable came from of late.
    unknown: Bucket,
    /// Limits signature checks of first contacts.
    strangers: Bucket,
    /// Limits signature checks of known names that speak from elsewhere than they are known to be.
    elsewhere: Bucket,
    /// Counts bad signatures that come from where a peer is.
    forged: Buckets<Name>,
    /// Limits what is told of senders that proved nothing.
    told: Bucket,
    /// Limits what is told of legacy searches.
    hearsay: Bucket,
    /// Tells tokens of one millisecond apart.
    stamps: u16,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// What a node has done so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeStats {
    /// Datagrams taken.
    pub received: u64,
    /// Datagrams given out.
    pub sent: u64,
    /// Datagrams that led to nothing, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Packets and responses passed on.
    pub relayed: u64,
    /// Peers in the table.
    pub peers: usize,
    /// Names whose key is known.
    pub keys: usize,
    /// Pings that wait for a human.
    pub pending: usize,
    /// Requests of ours that wait for an answer.
    pub requests: usize,
    /// Nonces remembered.
    pub nonces: usize,
}

impl PingNode {
    /// A node that has heard of nobody yet. `seed` is random and secret.
    #[must_use]
    pub fn new(
        identity: NodeIdentity,
        config: NodeConfig,
        random: RandomSource,
        seed: [u8; 16],
        now: Now,
    ) -> Self {
        let mut trust = TrustTable::new();
        // A vouch lends the voucher's own trust: ours is whole. Nobody can use it, since packets under our own name are dropped.
        let own_trust = trust.set(identity.name.clone(), 1.0);
        debug_assert!(own_trust.is_ok(), "an empty table has room");
        let capabilities =
            config.capabilities.iter().take(MAX_CAPABILITIES).map(ToString::to_string).collect();
        Self {
            public_key: identity.key.public_key(),
            capabilities,
            random,
            own_addresses: BTreeSet::new(),
            keys: KeyBook::new(config.first_contact),
            trust,
            vouches: VouchBook::new(),
            airlock: Airlock::new(config.thresholds),
            pending: PendingQueue::new(),
            replay: ReplayCache::new(config.replay, seed, now),
            restart: config.restart,
            peers: PeerTable::new(config.peer_timeout, now),
            relay: Relay::new(identity.name.clone(), config.relay),
            beacons: BeaconBook::new(config.beacon_rules.clone()),
            requests: Requests::default(),
            questions: Questions::default(),
            claims: Vec::new(),
            late: LateAnswers::default(),
            tunnels: Tunnels::default(),
            scratch: sealed::scratch(&identity.name, now),
            watched: true,
            paths: Paths::default(),
            rounds: Rounds::new(&config, now),
            drops: Drops::default(),
            received: 0,
            sent: 0,
            unknown: Bucket::FULL,
            strangers: Bucket::FULL,
            elsewhere: Bucket::FULL,
            forged: Buckets::new(inbound::FORGED, MAX_PEERS),
            told: Bucket::FULL,
            hearsay: Bucket::FULL,
            stamps: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            identity,
            config,
        }
    }

    /// Takes a datagram from the main socket. Whatever it is, it costs bounded work and memory, and what it leads to is in
    /// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event).
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Now) {
        self.received = self.received.saturating_add(1);
        if let Err(dropped) = self.receive(from, datagram, now) {
            self.drops.count(dropped);
        }
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8], now: Now) -> Result<(), Dropped> {
        self.check_source(from)?;
        let Frame::Version1 { kind, encoding, body } = Frame::read(datagram)? else {
            // Whoever runs an overlay takes these before they come here.
            return Err(Reject::BadVersion.into());
        };
        // Whoever was believed of late comes first: the bodies of others are read as long as there is time for it (SECURITY R18).
        if !self.paths.is_known(from, now.mono) && !self.unknown.take(UNKNOWN_BODIES, now.mono) {
            return Err(Dropped::Budget);
        }
        match kind {
            Kind::Packet => {
                let packet = Packet::decode(encoding, body)?;
                self.handle_packet(inbound::Inbound { packet, from, encoding, length: datagram.len(), now })
            }
            Kind::Response => self.handle_response(Response::decode(encoding, body)?, from, encoding, now),
        }
    }

    /// SECURITY 3.2 row 11.
    fn check_source(&self, from: SocketAddr) -> Result<(), Dropped> {
        let usable = can_be_answered(from) && !self.own_addresses.contains(&canonical(from));
        usable.then_some(()).ok_or(Dropped::Source)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.transmits.pop_front()?;
        self.sent = self.sent.saturating_add(1);
        Some(transmit)
    }

    /// The next thing that has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A bound that is to be written to disk, and then told to [`handle_persisted`](Self::handle_persisted): until the first one is, every packet
    /// is refused (SECURITY R22). For nodes with [`NodeConfig::restart`]; also due when [`poll_timeout`](Self::poll_timeout) is.
    pub fn poll_persist(&mut self, now: Now) -> Option<UnixTime> {
        let clock = self.replay.clock(now);
        self.restart.as_mut().and_then(|restart| restart.poll_persist(clock, now))
    }

    /// The bound is on disk.
    pub fn handle_persisted(&mut self, bound: UnixTime) {
        if let Some(restart) = &mut self.restart {
            restart.handle_persisted(bound);
        }
    }

    /// Tells the node the addresses its own socket has, so that a packet that claims to come from there is dropped. At most 256.
    pub fn set_own_addresses(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.own_addresses = addresses.into_iter().map(canonical).take(MAX_OWN_ADDRESSES).collect();
    }

    /// Says which port the node answers on, so that it announces itself from now on, beginning at once; or that it has none any more.
    pub fn set_port(&mut self, port: Option<u16>, now: Now) {
        self.config.port = port;
        self.rounds.announce_from(&self.config, now);
    }

    /// Who the node is.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.identity.name
    }

    /// The key it signs with.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The peers that are alive.
    #[must_use]
    pub fn peers(&self) -> &PeerTable {
        &self.peers
    }

    /// The pings that wait for a human.
    #[must_use]
    pub fn pending(&self) -> &PendingQueue {
        &self.pending
    }

    /// The keys that names are bound to.
    #[must_use]
    pub fn keys(&self) -> &KeyBook {
        &self.keys
    }

    /// The rules.
    #[must_use]
    pub fn airlock(&self) -> &Airlock {
        &self.airlock
    }

    /// The vouches.
    #[must_use]
    pub fn vouches(&self) -> &VouchBook {
        &self.vouches
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        NodeStats {
            received: self.received,
            sent: self.sent,
            dropped: self.drops.counts().clone(),
            relayed: self.relay.counts().0,
            peers: self.peers.len(),
            keys: self.keys.len(),
            pending: self.pending.len(),
            requests: self.requests.len(),
            nonces: self.replay.len(),
        }
    }

    fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.transmit_to(Destination::Address(to), bytes);
    }

    fn transmit_to(&mut self, to: Destination, bytes: Vec<u8>) {
        if self.transmits.len() < MAX_QUEUED {
            self.transmits.push_back(Transmit { to, bytes });
        } else {
            self.drops.count(Dropped::Overflow);
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < MAX_QUEUED {
            self.events.push_back(event);
        } else {
            self.drops.count(Dropped::Overflow);
        }
    }

    /// What makes the next packet or response unique, and the token that records it.
    fn draw(&mut self, now: Now) -> Result<(Fresh, TokenStamp), Dropped> {
        let bytes = (self.random)().ok_or(Dropped::NoRandomness)?;
        let [a, b, c, d, e, f, g, h, nonce @ .., p, q, r, s, _, _, _, _] = bytes;
        let id = [a, b, c, d, e, f, g, h];
        self.stamps = (self.stamps + 1) % 1000;
        let micros = Micros::from(now.wall).as_micros().saturating_add(self.stamps.into());
        let at = Micros::from_micros(micros).unwrap_or(Micros::MAX);
        Ok((Fresh { id, nonce, now: now.wall }, TokenStamp { at, random: [p, q, r, s] }))
    }

    /// A stamp alone, for an event that leads to no packet.
    fn stamp(&mut self, now: Now) -> Result<TokenStamp, Dropped> {
        self.draw(now).map(|(_, stamp)| stamp)
    }

    /// Whether something about a sender that proved nothing may be told: ten times a second at most.
    fn may_tell(&mut self, now: Now) -> bool {
        self.told.take(Rate { burst: 20, per_second: 10 }, now.mono)
    }
}

impl fmt::Debug for PingNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PingNode")
            .field("identity", &self.identity)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// One spelling for an IPv4 address: a socket for both families writes it as one of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The first of these times.
fn earliest(times: impl IntoIterator<Item = Option<Duration>>) -> Option<Duration> {
    times.into_iter().flatten().min()
}
