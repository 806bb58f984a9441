//! A device's part of the mesh: its tunnels, the paths they take, and what travels in them.
//!
//! [`Mesh`] takes datagrams, packets and the time, and gives datagrams, packets and events:
//!
//! | the owner does | with |
//! |---|---|
//! | a datagram came in on the socket | [`Mesh::handle_datagram`] |
//! | a relay has passed one on | [`Mesh::handle_relayed`] |
//! | an application sends a packet | [`Mesh::handle_packet`] |
//! | a record was verified, and the peer may be spoken to | [`Mesh::set_peer`]; [`Mesh::remove_peer`] when it may not any more |
//! | both have consented to direct paths | [`Mesh::begin`] |
//! | a way through a relay is there, or not any more | [`Mesh::set_relay`] |
//! | the machine has another address | [`Mesh::handle_moved`] |
//! | [`Mesh::poll_timeout`] is due | [`Mesh::handle_timeout`] |
//! | then sends | [`Mesh::poll_transmit`] until there is nothing |
//! | hands to applications | [`Mesh::poll_packet`] until there is nothing |
//! | and takes note | [`Mesh::poll_event`] until there is nothing |
//!
//! Who is a peer is the owner's decision, from verified records and trust. From the moment a peer is removed nothing of it is taken and nothing is sent to it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use jis::{Endpoint, Fingerprint, TransportKey, TransportSecret};

use crate::budget::ProbeBudget;
use crate::choice::{Health, Measured, Path, RelayId};
use crate::inner::{InnerPacket, InnerReject};
use crate::paths::Paths;
use crate::probe::{ProbeKeys, Session, session_of};
use crate::routes::{RouteError, Routes};
use crate::tunnels::{Opened, Refusal, TunnelDestination, TunnelStats, TunnelTransmit, Tunnels};
use crate::wire::Wire;

/// Datagrams of one peer that wait for a path.
const MAX_WAITING: usize = 16;
/// Datagrams, packets or events that wait for the owner, who fetches them after every call.
const MAX_QUEUED: usize = 4096;
/// How soon a direct path is asked for again: the more often it was in vain, the later.
const ASK_AGAIN: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(300)];

/// A device's part of the mesh.
#[derive(Debug)]
pub struct Mesh {
    address: Ipv6Addr,
    routes: Routes,
    tunnels: Tunnels,
    peers: BTreeMap<Fingerprint, Peer>,
    sessions: BTreeMap<Session, Fingerprint>,
    budget: ProbeBudget,
    transmits: VecDeque<MeshTransmit>,
    packets: VecDeque<BytesMut>,
    events: VecDeque<MeshEvent>,
    counts: MeshCounts,
}

#[derive(Debug)]
struct Peer {
    address: Ipv6Addr,
    paths: Paths,
    /// What is sent once there is a path.
    waiting: VecDeque<BytesMut>,
    /// When a direct path was last asked for, and how often in vain.
    asked: Option<(Duration, usize)>,
}

/// A datagram to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct MeshTransmit {
    /// Which way.
    pub path: Path,
    /// For whom; `None` for an answer to somebody who is no peer.
    pub peer: Option<Fingerprint>,
    /// The whole datagram.
    pub datagram: BytesMut,
}

/// What the owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeshEvent {
    /// There is traffic with this peer, and no direct path: both should consent to look for one, and a relay serves meanwhile.
    PathWanted(Fingerprint),
    /// The peer's packets take this path from now on; `None` when there is none.
    PathChosen(Fingerprint, Option<Path>),
}

/// Why a packet is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undeliverable {
    /// It is none for the mesh.
    #[error(transparent)]
    Packet(#[from] InnerReject),
    /// No peer has the address it is for.
    #[error("no peer has the address {0}")]
    NoPeer(Ipv6Addr),
}

/// Why a peer is not taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Its address.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Another peer's record names the same transport key; neither one's word is better.
    #[error("another peer has the same transport key")]
    KeyTaken,
}

/// What came to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshCounts {
    /// Datagrams that are none of the mesh's.
    pub foreign: u64,
    /// Probes that no peer has made, or not for us.
    pub probes_refused: u64,
    /// Messages of WireGuard, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Packets in tunnels that were not from the one end to the other (SECURITY R56).
    pub inner_refused: u64,
    /// Datagrams and packets that the owner was too slow for, or no path was there for.
    pub overflow: u64,
}

/// How a peer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its overlay address.
    pub address: Ipv6Addr,
    /// The path its packets take.
    pub chosen: Option<Path>,
    /// All paths.
    pub paths: Vec<Measured>,
    /// Its tunnel.
    pub tunnel: TunnelStats,
}

impl Mesh {
    /// The mesh of the named network, for the device `identity`, which holds `secret`. `mtu` is that of the packets in tunnels, in bytes.
    #[must_use]
    pub fn new(network: &str, identity: &Fingerprint, secret: &TransportSecret, mtu: u16) -> Self {
        let routes = Routes::new(network);
        Self {
            address: routes.address_of(identity),
            routes,
            tunnels: Tunnels::new(secret, mtu),
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            budget: ProbeBudget::default(),
            transmits: VecDeque::new(),
            packets: VecDeque::new(),
            events: VecDeque::new(),
            counts: MeshCounts::default(),
        }
    }

    /// The device's own overlay address.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// Takes a peer on, or its next transport key: from a verified record, and only of somebody who may be spoken to. Its overlay address.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn set_peer(&mut self, peer: Fingerprint, key: TransportKey) -> Result<Ipv6Addr, PeerError> {
        let address = self.routes.add(peer)?;
        if !self.tunnels.set(peer, key) {
            if !self.peers.contains_key(&peer) {
                self.routes.remove(&peer);
            }
            return Err(PeerError::KeyTaken);
        }
        self.peers.entry(peer).or_insert_with(|| Peer {
            address,
            paths: Paths::default(),
            waiting: VecDeque::new(),
            asked: None,
        });
        Ok(address)
    }

    /// Ends everything with a peer, at once.
    pub fn remove_peer(&mut self, peer: &Fingerprint) {
        self.tunnels.remove(peer);
        self.routes.remove(peer);
        self.peers.remove(peer);
        self.sessions.retain(|_, owner| owner != peer);
        self.transmits.retain(|transmit| transmit.peer != Some(*peer));
    }

    /// Begins to look for direct paths to a peer: both sides have consented, and `keys` come from these consents. `candidates` are those of the peer's.
    pub fn begin(&mut self, peer: &Fingerprint, keys: ProbeKeys, candidates: &[Endpoint], now: Duration) {
        let named = candidates.iter().map(Endpoint::address);
        let named: Vec<SocketAddr> = named.filter(|address| self.is_outside(address)).collect();
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.paths.begin(keys, named, now);
        self.sessions.retain(|_, owner| owner != peer);
        self.sessions.extend(known.paths.sessions().map(|session| (session, *peer)));
        self.handle_timeout(now);
    }

    /// A way to a peer through a relay, and how it stands.
    pub fn set_relay(
        &mut self,
        peer: &Fingerprint,
        relay: RelayId,
        health: Health,
        rtt: Option<Duration>,
        now: Duration,
    ) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        known.paths.set_relay(relay, health, rtt);
        self.choose(*peer, now);
    }

    /// A datagram came in from `from`. Whether it was the mesh's; one that was not is another protocol's on the same socket.
    ///
    /// One from within the mesh has come through a tunnel: it would have that tunnel lead through itself, and is dropped.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: BytesMut, now: Duration) -> bool {
        if !self.is_outside(&from) {
            self.counts.foreign += 1;
            return false;
        }
        match Wire::read(&datagram) {
            Some(Wire::Frame { kind, body }) => {
                let peer = session_of(body).and_then(|session| self.sessions.get(&session).copied());
                let made_by = peer.filter(|peer| {
                    let known = self.peers.get_mut(peer);
                    known.is_some_and(|known| known.paths.handle_frame(kind, body, from, now))
                });
                match made_by {
                    Some(peer) => self.choose(peer, now),
                    None => self.counts.probes_refused += 1,
                }
                true
            }
            Some(Wire::WireGuard(_)) => {
                self.open(Path::Direct(from), from, datagram, now);
                true
            }
            None => {
                self.counts.foreign += 1;
                false
            }
        }
    }

    /// A relay has passed on what it says is a message of a peer's. Whose it is, the tunnel finds out.
    pub fn handle_relayed(&mut self, relay: RelayId, message: BytesMut, now: Duration) {
        if !matches!(Wire::read(&message), Some(Wire::WireGuard(_))) {
            self.counts.foreign += 1;
            return;
        }
        // Stands for the relay where an address is wanted: a cookie goes back the same way. 240/4 is no sender's (RFC 1112).
        let [a, b, c, d] = relay.0.to_be_bytes();
        let stand_in = SocketAddr::from((Ipv4Addr::new(0xf0 | a & 0x0f, b, c, d), 1));
        self.open(Path::Relayed(relay), stand_in, message, now);
    }

    /// An application sends a packet.
    ///
    /// # Errors
    /// [`Undeliverable`].
    pub fn handle_packet(&mut self, mut packet: BytesMut, now: Duration) -> Result<(), Undeliverable> {
        let inner = InnerPacket::read(&packet)?;
        let (destination, length) = (inner.destination, inner.bytes.len());
        inner.check(self.address, destination)?;
        let peer = self.routes.owner(destination).ok_or(Undeliverable::NoPeer(destination))?;
        packet.truncate(length);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.paths.note_sent(now);
        }
        if let Some(datagram) = self.tunnels.seal(&peer, packet, now) {
            self.send(peer, datagram);
        }
        self.choose_unless_direct(peer, now);
        Ok(())
    }

    /// This machine has another address.
    pub fn handle_moved(&mut self, now: Duration) {
        for known in self.peers.values_mut() {
            known.paths.handle_moved(now);
            known.asked = None;
        }
        self.handle_timeout(now);
    }

    /// Does what time brings.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut sent = Vec::new();
        self.tunnels.handle_timeout(now, &mut |transmit| sent.push(transmit));
        self.transmit(None, sent);
        let due: Vec<Fingerprint> = self
            .peers
            .iter()
            .filter(|(_, known)| known.paths.poll_timeout().is_some_and(|due| due <= now))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            if let Some(known) = self.peers.get_mut(&peer) {
                known.paths.handle_timeout(now, &mut self.budget);
            }
            self.choose(peer, now);
        }
    }

    /// When [`Mesh::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let paths = self.peers.values().filter_map(|known| known.paths.poll_timeout());
        paths.chain(self.tunnels.poll_timeout()).min()
    }

    /// The next datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<MeshTransmit> {
        self.transmits.pop_front()
    }

    /// The next packet for applications: from the overlay address of the peer whose tunnel it came through, and for ours.
    pub fn poll_packet(&mut self) -> Option<BytesMut> {
        self.packets.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<MeshEvent> {
        self.events.pop_front()
    }

    /// How a peer stands.
    #[must_use]
    pub fn status(&self, peer: &Fingerprint, now: Duration) -> Option<PeerStatus> {
        let known = self.peers.get(peer)?;
        Some(PeerStatus {
            address: known.address,
            chosen: known.paths.chosen(),
            paths: known.paths.measured(now),
            tunnel: self.tunnels.stats(peer)?,
        })
    }

    /// What came to nothing so far.
    #[must_use]
    pub fn counts(&self) -> &MeshCounts {
        &self.counts
    }

    /// Whether an address is none of the mesh's own, which would send tunnels through themselves.
    fn is_outside(&self, address: &SocketAddr) -> bool {
        match address {
            SocketAddr::V6(v6) => !self.routes.is_inside(*v6.ip()),
            SocketAddr::V4(_) => true,
        }
    }

    fn open(&mut self, path: Path, from: SocketAddr, message: BytesMut, now: Duration) {
        let length = message.len();
        let mut sent = Vec::new();
        let opened = self.tunnels.open(from, message, now, &mut |transmit| sent.push(transmit));
        let (peer, packet) = match opened {
            Opened::Packet(peer, packet) => (peer, Some(packet)),
            Opened::Heard(peer) => (peer, None),
            Opened::Refused(refusal) => {
                *self.counts.refused.entry(refusal).or_default() += 1;
                return self.transmit(Some((path, None)), sent);
            }
        };
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.paths.handle_data(path, length, now);
        let (source, destination) = (known.address, self.address);
        self.transmit(Some((path, Some(peer))), sent);
        if let Some(mut packet) = packet {
            let inner = InnerPacket::read(&packet).and_then(|inner| {
                inner.check(source, destination)?;
                Ok(inner.bytes.len())
            });
            match inner {
                Ok(length) => {
                    packet.truncate(length);
                    push(&mut self.packets, packet, &mut self.counts.overflow);
                }
                Err(_) => self.counts.inner_refused += 1,
            }
        }
        self.choose_unless_direct(peer, now);
    }

    /// Sends what tunnels have made; `back` is where the message came from that they answer.
    fn transmit(&mut self, back: Option<(Path, Option<Fingerprint>)>, sent: Vec<TunnelTransmit>) {
        for TunnelTransmit { to, datagram } in sent {
            match (to, back) {
                (TunnelDestination::Peer(peer), _) => self.send(peer, datagram),
                (TunnelDestination::Back, Some((path, peer))) => {
                    let transmit = MeshTransmit { path, peer, datagram };
                    push(&mut self.transmits, transmit, &mut self.counts.overflow);
                }
                (TunnelDestination::Back, None) => {}
            }
        }
    }

    /// Sends a datagram to a peer over the path in use; without one it waits.
    fn send(&mut self, peer: Fingerprint, datagram: BytesMut) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if let Some(path) = known.paths.chosen() {
            let transmit = MeshTransmit { path, peer: Some(peer), datagram };
            return push(&mut self.transmits, transmit, &mut self.counts.overflow);
        }
        if known.waiting.len() >= MAX_WAITING {
            known.waiting.pop_front();
            self.counts.overflow += 1;
        }
        known.waiting.push_back(datagram);
    }

    /// The same as [`Mesh::choose`] for every packet: where a direct path is in use, time and probes say when that changes.
    fn choose_unless_direct(&mut self, peer: Fingerprint, now: Duration) {
        let direct = |known: &Peer| matches!(known.paths.chosen(), Some(Path::Direct(_)));
        if !self.peers.get(&peer).is_some_and(direct) {
            self.choose(peer, now);
        }
    }

    /// Looks at the paths of a peer again after anything has happened to it, and sends what has waited.
    fn choose(&mut self, peer: Fingerprint, now: Duration) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        while let Some(probe) = known.paths.poll_transmit() {
            let path = Path::Direct(probe.to);
            let transmit = MeshTransmit { path, peer: Some(peer), datagram: probe.datagram[..].into() };
            push(&mut self.transmits, transmit, &mut self.counts.overflow);
        }
        if let Some(chosen) = known.paths.take_change(now) {
            push(&mut self.events, MeshEvent::PathChosen(peer, chosen), &mut self.counts.overflow);
        }
        if let Some(path) = known.paths.chosen() {
            for datagram in known.waiting.drain(..) {
                let transmit = MeshTransmit { path, peer: Some(peer), datagram };
                push(&mut self.transmits, transmit, &mut self.counts.overflow);
            }
        }
        let direct = matches!(known.paths.chosen(), Some(Path::Direct(_)));
        let (asked_at, times) = known.asked.map_or((None, 0), |(at, times)| (Some(at), times));
        let again = asked_at.is_none_or(|at| {
            now.saturating_sub(at) >= ASK_AGAIN[times.saturating_sub(1).min(ASK_AGAIN.len() - 1)]
        });
        if direct {
            known.asked = None;
        } else if again && known.paths.is_active(now) {
            known.asked = Some((now, times + 1));
            push(&mut self.events, MeshEvent::PathWanted(peer), &mut self.counts.overflow);
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, overflow: &mut u64) {
    if queue.len() < MAX_QUEUED {
        queue.push_back(item);
    } else {
        *overflow += 1;
    }
}
