//! Passing packets on, and their answers back.

mod way_back;
pub use way_back::{MAX_ANSWERS, MAX_WAYS_BACK, WAY_BACK_LIFETIME};

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use jis::Name;

use crate::now::Now;
use crate::packet::{Packet, Target};
use crate::peers::{PeerTable, can_be_answered};
use crate::rate::{Buckets, Rate};
use crate::relay::way_back::WaysBack;
use crate::response::Response;
use crate::signing::VerifiedPing;
use crate::words::RoutingMode;

/// Most hops of a packet, whatever it asks for.
pub const MAX_HOPS: u8 = 10;
/// Most copies of a packet a relay sends (SECURITY R52).
pub const MAX_FAN_OUT: usize = 3;
/// Packets remembered as seen, for as long as they can be accepted: some 100 bytes each, 7 MiB.
pub const MAX_SEEN: usize = 65_536;
/// Packets of one origin that are passed on.
pub const ORIGIN_RATE: Rate = Rate { burst: 20, per_second: 10 };
/// Origins whose rate is counted at one time.
pub const MAX_ORIGINS: usize = 4096;
/// How long a packet is remembered after it was passed on: one dated 5 s ahead is accepted for 35 s more, as in the replay check.
const SEEN_FOR: Duration = Duration::from_secs(41);

/// What becomes of a packet that is for somebody else.
#[derive(Debug, Clone, PartialEq)]
pub enum RelayDecision {
    /// Send `packet` to each of `to`, at least one and at most [`MAX_FAN_OUT`]. Its hop count is raised, the rest is as it was.
    Forward {
        /// The packet to be encoded again.
        packet: Box<Packet>,
        /// Where to.
        to: Vec<SocketAddr>,
    },
    /// Drop it silently.
    Drop(RelayDrop),
}

/// Why a packet is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RelayDrop {
    /// Not sent over the mesh, or for everybody.
    NotMesh,
    /// Our own packet, heard again.
    Own,
    /// Passed on before.
    Seen,
    /// Has taken as many hops as it may.
    HopLimit,
    /// More than [`ORIGIN_RATE`] from its origin, or too many origins at a time.
    Rate,
    /// The memory of seen packets or of ways back is full. Live ones are never given up for new ones.
    Full,
    /// Another packet with this id is on its way: an answer could not be told from the other's.
    IdTaken,
    /// There is nobody to pass it to.
    NoWay,
}

impl RelayDrop {
    /// The reason in words fit for a counter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotMesh => "not_mesh",
            Self::Own => "own",
            Self::Seen => "seen",
            Self::HopLimit => "hop_limit",
            Self::Rate => "rate",
            Self::Full => "full",
            Self::IdTaken => "id_taken",
            Self::NoWay => "no_way",
        }
    }
}

/// How a relay is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// Our own hop limit; more than [`MAX_HOPS`] is taken as that.
    pub max_hops: u8,
    /// Packets remembered as seen; more than [`MAX_SEEN`] is taken as that.
    pub max_seen: usize,
    /// What one origin may send.
    pub origin_rate: Rate,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { max_hops: MAX_HOPS, max_seen: MAX_SEEN, origin_rate: ORIGIN_RATE }
    }
}

/// A mesh relay's memory. It passes on what verified origins send, each packet once, to three peers at most, and brings answers back the way
/// the packet came; the Python packages lose these.
///
/// Only a [`VerifiedPing`] gets in here: neither legacy packets nor forged ones are ever passed on (SECURITY R52, R72).
#[derive(Debug)]
pub struct Relay {
    own: Name,
    config: RelayConfig,
    /// SHA-256(M) of packets passed on. Not the packet's id, which two packets can share.
    seen: BTreeSet<[u8; 32]>,
    /// The same in the order they came, which is the order they are forgotten in.
    seen_until: VecDeque<(Duration, [u8; 32])>,
    ways_back: WaysBack,
    rates: Buckets<Name>,
    relayed: u64,
    dropped: u64,
}

impl Relay {
    /// A relay at the node called `own`.
    #[must_use]
    pub fn new(own: Name, config: RelayConfig) -> Self {
        Self {
            own,
            config,
            seen: BTreeSet::new(),
            seen_until: VecDeque::new(),
            ways_back: WaysBack::default(),
            rates: Buckets::new(config.origin_rate, MAX_ORIGINS),
            relayed: 0,
            dropped: 0,
        }
    }

    /// Takes a packet that is for somebody else. It must have passed the replay check; it need not be inserted there, since packets are
    /// remembered here.
    ///
    /// A target that is known, alive and [reachable](crate::Peer::reachable) gets it straight; otherwise up to [`MAX_FAN_OUT`] peers do, which differ from packet to packet, but
    /// never the one it came from nor its origin. There is no broadcast.
    pub fn handle_ping(
        &mut self,
        ping: &VerifiedPing<'_>,
        from: SocketAddr,
        peers: &PeerTable,
        now: Now,
    ) -> RelayDecision {
        self.forget(now);
        match self.decide(ping, from, peers, now) {
            Ok(decision) => {
                self.relayed += 1;
                decision
            }
            Err(reason) => {
                self.dropped += 1;
                RelayDecision::Drop(reason)
            }
        }
    }

    /// Takes a response that answers none of our own packets, and says to whom it goes back. `None` to drop it: we passed no such packet on,
    /// or not to where this comes from, or too long ago, or the packet has had [`MAX_ANSWERS`]. The response goes on as it is: whether it
    /// is true is for the asker to see.
    pub fn handle_response(&mut self, response: &Response, from: SocketAddr, now: Now) -> Option<SocketAddr> {
        let back = self.ways_back.answer(&response.in_response_to, from, now.mono);
        match back {
            Some(_) => self.relayed += 1,
            None => self.dropped += 1,
        }
        back
    }

    /// Packets and responses passed on, and dropped.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.relayed, self.dropped)
    }

    /// Packets remembered as seen.
    #[must_use]
    pub fn seen_len(&self) -> usize {
        self.seen.len()
    }

    /// Ways back that are kept.
    #[must_use]
    pub fn ways_back_len(&self) -> usize {
        self.ways_back.len()
    }

    fn decide(
        &mut self,
        ping: &VerifiedPing<'_>,
        from: SocketAddr,
        peers: &PeerTable,
        now: Now,
    ) -> Result<RelayDecision, RelayDrop> {
        let packet = ping.packet();
        let target = match ping.target() {
            Target::Name(target) if packet.routing_mode == RoutingMode::Mesh => target,
            _ => return Err(RelayDrop::NotMesh),
        };
        let origin = ping.source();
        if *origin == self.own {
            return Err(RelayDrop::Own);
        }
        if self.seen.contains(&ping.hash()) {
            return Err(RelayDrop::Seen);
        }
        // Neither is remembered: the same packet may come again over a shorter way.
        let limit = self.config.max_hops.min(MAX_HOPS).min(packet.max_hops);
        if packet.hop_count >= limit {
            return Err(RelayDrop::HopLimit);
        }
        let to = next_hops(ping, target, from, peers, now);
        if to.is_empty() {
            return Err(RelayDrop::NoWay);
        }
        if self.seen.len() >= self.config.max_seen.min(MAX_SEEN) {
            return Err(RelayDrop::Full);
        }
        if !self.rates.take(origin.clone(), now.mono) {
            return Err(RelayDrop::Rate);
        }
        self.ways_back.remember(&packet.packet_id, from, &to, now.mono)?;
        self.seen.insert(ping.hash());
        self.seen_until.push_back((now.mono.saturating_add(SEEN_FOR), ping.hash()));
        let packet = Box::new(Packet { hop_count: packet.hop_count + 1, ..packet.clone() });
        Ok(RelayDecision::Forward { packet, to })
    }

    /// Each is forgotten once, so over time this costs what remembering did.
    fn forget(&mut self, now: Now) {
        self.ways_back.forget(now.mono);
        while let Some(&(until, hash)) = self.seen_until.front()
            && until < now.mono
        {
            self.seen.remove(&hash);
            self.seen_until.pop_front();
        }
    }
}

/// Where a packet goes next.
fn next_hops(
    ping: &VerifiedPing<'_>,
    target: &Name,
    from: SocketAddr,
    peers: &PeerTable,
    now: Now,
) -> Vec<SocketAddr> {
    if let Some(peer) = peers.get(target, now).filter(|peer| peer.reachable) {
        // Where it came from is no way to go, even if the target is there: it has had it.
        return if peer.endpoint == from { Vec::new() } else { vec![peer.endpoint] };
    }
    let candidates: BTreeSet<SocketAddr> = peers
        .alive(now)
        .filter(|(name, peer)| {
            *name != ping.source()
                && peer.reachable
                && peer.endpoint != from
                && can_be_answered(peer.endpoint)
        })
        .map(|(_, peer)| peer.endpoint)
        .collect();
    // The packet's hash says where in the list to begin: all peers get their share, and every copy of a packet the same choice.
    let [a, b, c, d, ..] = ping.hash();
    let start = u32::from_be_bytes([a, b, c, d]) as usize % candidates.len().max(1);
    candidates
        .iter()
        .chain(&candidates)
        .skip(start)
        .take(MAX_FAN_OUT.min(candidates.len()))
        .copied()
        .collect()
}
