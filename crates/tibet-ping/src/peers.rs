//! Who is near, and where.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jis::Name;

use crate::now::Now;
use crate::signing::VerifiedPing;
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
    /// Where it is: where its first direct packet came from, or where it has answered us since.
    pub endpoint: SocketAddr,
    /// Whether it is known to receive there: it has answered a question of ours from that address, or the operator says so. Nobody else's
    /// packets are sent to an address that only a sender's claim stands for.
    pub reachable: bool,
    /// Whether the operator entered it. Such a peer does not become stale.
    pub fixed: bool,
    /// When it was first heard, in monotonic time.
    pub first_seen: Duration,
    /// When it was last heard.
    pub last_seen: Duration,
    /// How often it was heard.
    pub packets: u64,
}

/// What a packet said about where its sender is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is new here, or was silent so long that where it was before counts no more.
    New(Peer),
    /// It is where it was.
    Same(Peer),
    /// It is known elsewhere. Nothing has moved: a captured packet can be sent from any address. It moves when it answers a question from
    /// there, see [`PeerTable::confirm`].
    Elsewhere(Peer),
    /// Nothing: the packet came over a relay, or from an address that cannot be answered, or there is no room for another peer.
    Nothing,
}

impl Heard {
    /// The peer as it stands in the table now.
    #[must_use]
    pub fn peer(self) -> Option<Peer> {
        match self {
            Self::New(peer) | Self::Same(peer) | Self::Elsewhere(peer) => Some(peer),
            Self::Nothing => None,
        }
    }
}

/// The peers that were heard of late. Only a packet that was verified and is no replay can add one, and only a verified answer can move one:
/// who sends what nobody signed moves nothing (SECURITY R24, R72).
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

    /// Enters a peer of the operator's choice. It stays where it is until it answers from elsewhere, and never becomes stale.
    pub fn insert_fixed(&mut self, name: Name, endpoint: SocketAddr, now: Now) -> bool {
        if self.is_full_for(&name) {
            return false;
        }
        let (first_seen, last_seen) = (now.mono, now.mono);
        self.peers
            .insert(name, Peer { endpoint, reachable: true, fixed: true, first_seen, last_seen, packets: 0 });
        true
    }

    /// Takes the sender of a packet that has passed the replay cache. A packet that came over the mesh shows a relay's address and changes
    /// nothing; neither does one from an address that cannot be answered.
    pub fn handle_ping(&mut self, ping: &VerifiedPing<'_>, from: SocketAddr, now: Now) -> Heard {
        let direct = match ping.packet().routing_mode {
            RoutingMode::Direct | RoutingMode::Broadcast => ping.packet().hop_count == 0,
            RoutingMode::Mesh => false,
        };
        let name = ping.source();
        if !direct || !can_be_answered(from) || self.is_full_for(name) {
            return Heard::Nothing;
        }
        let mono = now.mono;
        if let Some(peer) = self.peers.get_mut(name).filter(|peer| is_alive(peer, self.timeout, now)) {
            if peer.endpoint != from {
                return Heard::Elsewhere(*peer);
            }
            peer.last_seen = peer.last_seen.max(mono);
            peer.packets = peer.packets.saturating_add(1);
            return Heard::Same(*peer);
        }
        let peer = Peer {
            endpoint: from,
            reachable: false,
            fixed: false,
            first_seen: mono,
            last_seen: mono,
            packets: 1,
        };
        self.peers.insert(name.clone(), peer);
        Heard::New(peer)
    }

    /// A peer has answered a question of ours that was sent straight to `endpoint`, the answer was verified and came from there: that is where
    /// it is. Returns where it was, if it was known elsewhere.
    pub fn confirm(&mut self, name: &Name, endpoint: SocketAddr, now: Now) -> Option<SocketAddr> {
        if self.is_full_for(name) {
            return None;
        }
        let (first_seen, last_seen) = (now.mono, now.mono);
        let new = Peer { endpoint, reachable: true, fixed: false, first_seen, last_seen, packets: 0 };
        let peer = self.peers.entry(name.clone()).or_insert(new);
        peer.last_seen = peer.last_seen.max(now.mono);
        peer.reachable = true;
        let before = std::mem::replace(&mut peer.endpoint, endpoint);
        (before != endpoint).then_some(before)
    }

    /// Clears peers that are stale, when that is due, and gives their names.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Name> {
        if now.mono < self.poll_timeout() {
            return Vec::new();
        }
        self.cleaned_at = now.mono;
        self.prune(now)
    }

    /// When to clear next, in monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        self.cleaned_at.saturating_add(PEER_CLEANUP)
    }

    /// Clears stale peers at once, and gives their names.
    pub fn prune(&mut self, now: Now) -> Vec<Name> {
        let timeout = self.timeout;
        self.peers.extract_if(.., |_, peer| !is_alive(peer, timeout, now)).map(|(name, _)| name).collect()
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

    fn is_full_for(&mut self, name: &Name) -> bool {
        let full = self.peers.len() >= MAX_PEERS && !self.peers.contains_key(name);
        self.refused += u64::from(full);
        full
    }
}

fn is_alive(peer: &Peer, timeout: Duration, now: Now) -> bool {
    peer.fixed || now.mono.saturating_sub(peer.last_seen) <= timeout
}

/// Whether a datagram from this address can be answered: not from port 0, nobody, everybody or a group (SECURITY 3.2 row 11). Whether it is our
/// own is for the shell to say.
#[must_use]
pub fn can_be_answered(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let everybody = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !everybody
}
