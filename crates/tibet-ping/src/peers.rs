//! Who is near, and where.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jis::Name;

use crate::now::Now;
use crate::signing::{VerifiedPing, VerifiedPong};
use crate::words::RoutingMode;

/// How long a peer that is not heard stays a peer.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(120);
/// How often stale peers are cleared.
pub const PEER_CLEANUP: Duration = Duration::from_secs(45);
/// Peers remembered: some 200 bytes each, 4 MiB. Each took a signature by a bound key, so it is a site's devices that fill it.
pub const MAX_PEERS: usize = 16_384;

/// A peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where its last direct packet came from.
    pub endpoint: SocketAddr,
    /// When it was first heard, in monotonic time.
    pub first_seen: Duration,
    /// When it was last heard.
    pub last_seen: Duration,
    /// How often it was heard.
    pub packets: u64,
}

/// The peers that were heard of late. Only a packet that was verified and is no replay can add one or move one: who sends what nobody
/// signed moves nothing (SECURITY R24, R72).
#[derive(Debug)]
pub struct PeerTable {
    timeout: Duration,
    peers: BTreeMap<Name, Peer>,
    cleaned_at: Duration,
    refused: u64,
}

impl PeerTable {
    /// An empty table; `timeout` is [`PEER_TIMEOUT`] unless tests want another.
    #[must_use]
    pub fn new(timeout: Duration, now: Now) -> Self {
        Self { timeout, peers: BTreeMap::new(), cleaned_at: now.mono, refused: 0 }
    }

    /// Takes the sender of a packet that has passed the replay cache. A packet that came over the mesh shows a relay's address and changes
    /// nothing; neither does one from an address that cannot be answered. Returns the peer if it is in the table.
    pub fn handle_ping(&mut self, ping: &VerifiedPing<'_>, from: SocketAddr, now: Now) -> Option<Peer> {
        let direct = match ping.packet().routing_mode {
            RoutingMode::Direct | RoutingMode::Broadcast => ping.packet().hop_count == 0,
            RoutingMode::Mesh => false,
        };
        let name = ping.source();
        if !direct || !can_be_answered(from) {
            return self.peers.get(name).copied();
        }
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(name) {
            self.refused += 1;
            return None;
        }
        let mono = now.mono;
        let new = Peer { endpoint: from, first_seen: mono, last_seen: mono, packets: 0 };
        let peer = self.peers.entry(name.clone()).or_insert(new);
        peer.endpoint = from;
        peer.last_seen = peer.last_seen.max(mono);
        peer.packets = peer.packets.saturating_add(1);
        Some(*peer)
    }

    /// Takes a verified response: its sender is alive if it came from where the sender is known to be. It moves nothing, since it may have
    /// come over the mesh.
    pub fn handle_pong(&mut self, pong: &VerifiedPong<'_>, from: SocketAddr, now: Now) {
        let peer = self.peers.get_mut(pong.response().responder_did.as_str());
        if let Some(peer) = peer.filter(|peer| peer.endpoint == from) {
            peer.last_seen = peer.last_seen.max(now.mono);
        }
    }

    /// Clears peers that are stale, when that is due. How many there were.
    pub fn handle_timeout(&mut self, now: Now) -> usize {
        if now.mono < self.poll_timeout() {
            return 0;
        }
        self.cleaned_at = now.mono;
        self.prune(now)
    }

    /// When to clear next, in monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        self.cleaned_at.saturating_add(PEER_CLEANUP)
    }

    /// Clears stale peers at once. How many there were.
    pub fn prune(&mut self, now: Now) -> usize {
        let before = self.peers.len();
        let timeout = self.timeout;
        self.peers.retain(|_, peer| is_alive(peer, timeout, now));
        before - self.peers.len()
    }

    /// Forgets a peer, for example because its key was revoked; whether it was there.
    pub fn forget(&mut self, name: &Name) -> bool {
        self.peers.remove(name).is_some()
    }

    /// A peer that is alive: heard within the timeout.
    #[must_use]
    pub fn get(&self, name: &Name, now: Now) -> Option<&Peer> {
        self.peers.get(name).filter(|peer| is_alive(peer, self.timeout, now))
    }

    /// The peers that are alive, by name.
    pub fn alive(&self, now: Now) -> impl Iterator<Item = (&Name, &Peer)> {
        self.peers.iter().filter(move |(_, peer)| is_alive(peer, self.timeout, now))
    }

    /// Peers in the table, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Peers for which there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

fn is_alive(peer: &Peer, timeout: Duration, now: Now) -> bool {
    now.mono.saturating_sub(peer.last_seen) <= timeout
}

/// Whether a datagram from this address can be answered: not from port 0, nobody, everybody or a group (SECURITY 3.2 row 11). Whether it is our
/// own is for the shell to say.
#[must_use]
pub fn can_be_answered(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let everybody = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !everybody
}
