//! A device's part of the mesh: its tunnels, the paths they take, and what travels in them.
//!
//! [`Mesh`] takes datagrams, packets and the time, and gives datagrams, packets and events:
//!
//! | the owner does | with |
//! |---|---|
//! | a datagram came in on the socket | [`Mesh::handle_datagram`], or [`Mesh::handle_frame`] |
//! | an application sends a packet | [`Mesh::handle_packet`] |
//! | a record was verified, and the peer may be spoken to | [`Mesh::set_peer`]; [`Mesh::remove_peer`] when it may not any more |
//! | both have consented to direct paths | [`Mesh::begin`] |
//! | a relay has opened a session | [`Mesh::open_relay`]; [`Mesh::close_relay`] when it is wanted no more |
//! | a peer's record names relays that have one | [`Mesh::set_relays`] |
//! | the machine has another address | [`Mesh::handle_moved`] |
//! | [`Mesh::poll_timeout`] is due | [`Mesh::handle_timeout`] |
//! | then sends | [`Mesh::poll_transmit`] until there is nothing |
//! | hands to applications | [`Mesh::poll_packet`] until there is nothing |
//! | and takes note | [`Mesh::poll_event`] until there is nothing |
//!
//! Who is a peer is the owner's decision, from verified records and trust. From the moment a peer is removed nothing of it is taken and nothing is sent to it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use jis::{Endpoint, Fingerprint, TransportKey, TransportSecret};

use crate::budget::ProbeBudget;
use crate::choice::{Health, Measured, Path, RelayId};
use crate::flows::Flows;
use crate::inner::{InnerPacket, InnerReject};
use crate::paths::Paths;
use crate::probe::{ProbeKeys, Session, session_of};
use crate::relay::RelayClient;
use crate::routes::{RouteError, Routes};
use crate::tunnels::{Opened, Refusal, TunnelDestination, TunnelStats, TunnelTransmit, Tunnels};
use crate::wire::{RELAY_ALIVE, RELAY_DELIVERY, Wire};

/// Datagrams of one peer that wait for a path.
const MAX_WAITING: usize = 16;
/// Datagrams, packets or events that wait for the owner, who fetches them after every call.
const MAX_QUEUED: usize = 4096;
/// The first byte of a handshake initiation, and of a data message.
const INITIATION: u8 = 1;
const DATA: u8 = 4;
/// How long a session holds (WireGuard's REJECT_AFTER_TIME).
const REJECT_AFTER: Duration = Duration::from_secs(180);
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
    relays: BTreeMap<RelayId, Relay>,
    /// What was said to peers that may only answer.
    flows: Flows,
    budget: ProbeBudget,
    transmits: VecDeque<MeshTransmit>,
    packets: VecDeque<(Fingerprint, BytesMut)>,
    events: VecDeque<MeshEvent>,
    counts: MeshCounts,
}

#[derive(Debug)]
struct Relay {
    client: RelayClient,
    /// How it stood when the peers' paths were last told, and whether the owner was told that it is over.
    told: Option<(Health, Option<Duration>)>,
    due_told: bool,
}

#[derive(Debug)]
struct Peer {
    address: Ipv6Addr,
    paths: Paths,
    /// It may answer, and begin nothing.
    answers_only: bool,
    /// The relays that its record names and that we have sessions with.
    relays: Vec<RelayId>,
    /// Where the answer to its handshake went, and the index that its packets bear which can only be made from that answer.
    greeted: Option<(SocketAddr, [u8; 4])>,
    /// What is sent once there is a path.
    waiting: VecDeque<BytesMut>,
    /// When a direct path was last asked for, and how often in vain.
    asked: Option<(Duration, usize)>,
}

/// A datagram to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct MeshTransmit {
    /// Where to: the peer, or a relay.
    pub to: SocketAddr,
    /// For whom; `None` for the relay itself, or an answer to somebody who is no peer.
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
    /// The session with a relay ends soon, or is dead: another is to be opened. Told once for each session.
    RelayDue(RelayId),
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
    /// Frames that no relay of ours has made, or that came before.
    pub relayed_refused: u64,
    /// Messages of WireGuard, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Packets in tunnels that were not from the one end to the other (SECURITY R56).
    pub inner_refused: u64,
    /// Packets of peers that may only answer, and that answered nothing.
    pub unasked: u64,
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
            relays: BTreeMap::new(),
            flows: Flows::default(),
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
            answers_only: false,
            relays: Vec::new(),
            greeted: None,
            waiting: VecDeque::new(),
            asked: None,
        });
        Ok(address)
    }

    /// Whether a peer may only answer what is said to it, and begin nothing: neither connections nor datagrams to ports that nobody here has spoken from. At
    /// first it may.
    pub fn set_answers_only(&mut self, peer: &Fingerprint, answers_only: bool) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.answers_only = answers_only;
        }
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
        // Until it consented it may not have had us for a peer.
        if let Some(datagram) = self.tunnels.begin_again(peer, now) {
            self.send(*peer, datagram, now);
        }
        self.handle_timeout(now);
    }

    /// A relay has opened a session, which takes the place of the one before.
    pub fn open_relay(&mut self, id: RelayId, client: RelayClient, now: Duration) {
        self.relays.insert(id, Relay { client, told: None, due_told: false });
        self.handle_timeout(now);
    }

    /// Ends the session with a relay.
    pub fn close_relay(&mut self, id: RelayId, now: Duration) {
        self.relays.remove(&id);
        let through: Vec<Fingerprint> = self.peers_through(id);
        for peer in through {
            if let Some(known) = self.peers.get_mut(&peer) {
                known.paths.set_relay(id, Health::Unproven, None);
            }
            self.choose(peer, now);
        }
    }

    /// The relays that the peer's record names, as far as we have sessions with them.
    pub fn set_relays(&mut self, peer: &Fingerprint, relays: Vec<RelayId>, now: Duration) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        for gone in known.relays.iter().filter(|id| !relays.contains(id)) {
            known.paths.set_relay(*gone, Health::Unproven, None);
        }
        known.relays = relays;
        for id in &known.relays {
            let (health, rtt) =
                self.relays.get(id).map_or((Health::Unproven, None), |relay| relay.standing(now));
            known.paths.set_relay(*id, health, rtt);
        }
        self.choose(*peer, now);
    }

    /// How the relays stand, and how long there and back takes.
    #[must_use]
    pub fn relays(&self, now: Duration) -> Vec<(RelayId, Health, Option<Duration>)> {
        let standing = |(id, relay): (&RelayId, &Relay)| {
            let (health, rtt) = relay.standing(now);
            (*id, health, rtt)
        };
        self.relays.iter().map(standing).collect()
    }

    fn peers_through(&self, id: RelayId) -> Vec<Fingerprint> {
        let through = self.peers.iter().filter(|(_, known)| known.relays.contains(&id));
        through.map(|(peer, _)| *peer).collect()
    }

    /// Looks at the relays after anything has happened to them: sends what they have to say, and tells the peers' paths how they stand.
    fn tend_relays(&mut self, now: Duration) {
        let mut changed = Vec::new();
        for (id, relay) in &mut self.relays {
            while let Some(call) = relay.client.poll_transmit() {
                let transmit = MeshTransmit { to: call.to, peer: None, datagram: call.datagram[..].into() };
                push(&mut self.transmits, transmit, &mut self.counts.overflow);
            }
            let standing = relay.standing(now);
            if relay.told != Some(standing) {
                relay.told = Some(standing);
                changed.push((*id, standing));
            }
            if relay.client.is_due(now) && !std::mem::replace(&mut relay.due_told, true) {
                push(&mut self.events, MeshEvent::RelayDue(*id), &mut self.counts.overflow);
            }
        }
        for (id, (health, rtt)) in changed {
            for peer in self.peers_through(id) {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.paths.set_relay(id, health, rtt);
                }
                self.choose(peer, now);
            }
        }
    }

    /// A datagram came in from `from`. Whether it was the mesh's; one that was not is another protocol's on the same socket.
    ///
    /// One from within the mesh has come through a tunnel: it would have that tunnel lead through itself, and is dropped.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: BytesMut, now: Duration) -> bool {
        match Wire::read(&datagram) {
            Some(Wire::Frame { kind, body }) => self.handle_frame(from, kind, body, now),
            Some(Wire::WireGuard(_)) if self.is_outside(&from) => {
                self.open(Path::Direct(from), from, datagram, now);
                true
            }
            Some(Wire::WireGuard(_)) | None => {
                self.counts.foreign += 1;
                false
            }
        }
    }

    /// The same for a frame whose header was read already.
    pub fn handle_frame(&mut self, from: SocketAddr, kind: u8, body: &[u8], now: Duration) -> bool {
        if !self.is_outside(&from) {
            self.counts.foreign += 1;
            return false;
        }
        if matches!(kind, RELAY_DELIVERY | RELAY_ALIVE) {
            self.hear_relay(from, kind, body, now);
            return true;
        }
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

    /// A relay says that it is there, or passes on what it says is a message of somebody's. Whose it is, the tunnel finds out.
    fn hear_relay(&mut self, from: SocketAddr, kind: u8, body: &[u8], now: Duration) {
        let mut relays = self.relays.iter_mut().filter(|(_, relay)| relay.client.relay() == from);
        let delivered = relays.find_map(|(id, relay)| {
            let delivered = relay.client.handle_frame(kind, body, from, now)?;
            // It stands for the sender's address where one is wanted: a cookie counts for whoever is there.
            Some((*id, SocketAddr::new(delivered.source.into(), 1), BytesMut::from(delivered.message)))
        });
        match delivered {
            Some((id, source, message)) => self.open(Path::Relayed(id), source, message, now),
            None if kind == RELAY_ALIVE => self.tend_relays(now),
            None => self.counts.relayed_refused += 1,
        }
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
            if known.answers_only {
                self.flows.note(&peer, &packet, now);
            }
        }
        if let Some(datagram) = self.tunnels.seal(&peer, packet, now) {
            self.send(peer, datagram, now);
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
        for relay in self.relays.values_mut() {
            relay.client.handle_moved(now);
        }
        self.handle_timeout(now);
    }

    /// Does what time brings.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut sent = Vec::new();
        self.tunnels.handle_timeout(now, &mut |transmit| sent.push(transmit));
        self.transmit(None, sent, now);
        for relay in self.relays.values_mut() {
            relay.client.handle_timeout(now);
        }
        self.tend_relays(now);
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
        // A session that is over calls no more, and what it had in mind is past for ever.
        let relays = self.relays.values().filter_map(|relay| relay.client.poll_timeout());
        paths.chain(self.tunnels.poll_timeout()).chain(relays).min()
    }

    /// The next datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<MeshTransmit> {
        self.transmits.pop_front()
    }

    /// The next packet for applications, and the peer whose tunnel it came through: it is from that one's overlay address, and for ours.
    pub fn poll_packet(&mut self) -> Option<(Fingerprint, BytesMut)> {
        self.packets.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<MeshEvent> {
        self.events.pop_front()
    }

    /// Whether a peer has this address.
    #[must_use]
    pub fn has_peer(&self, address: Ipv6Addr) -> bool {
        self.routes.owner(address).is_some()
    }

    /// Whether packets went to a peer or came from it of late.
    #[must_use]
    pub fn is_active(&self, peer: &Fingerprint, now: Duration) -> bool {
        self.peers.get(peer).is_some_and(|known| known.paths.is_active(now))
    }

    /// Whether packets to a peer can leave at once: it has a session that holds, and a path.
    #[must_use]
    pub fn is_live(&self, peer: &Fingerprint) -> bool {
        let has_path = self.peers.get(peer).is_some_and(|known| known.paths.chosen().is_some());
        let session = self.tunnels.stats(peer).and_then(|stats| stats.since_handshake);
        has_path && session.is_some_and(|age| age < REJECT_AFTER)
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
        let (kind, index) =
            (message.first().copied(), message.get(4..).and_then(|rest| rest.first_chunk::<4>().copied()));
        let mut sent = Vec::new();
        let opened = self.tunnels.open(from, message, now, &mut |transmit| sent.push(transmit));
        let (peer, packet) = match opened {
            Opened::Packet(peer, packet) => (peer, Some(packet)),
            Opened::Heard(peer) => (peer, None),
            Opened::Refused(refusal) => {
                *self.counts.refused.entry(refusal).or_default() += 1;
                return self.transmit(Some((path, from, None)), sent, now);
            }
        };
        let Some(known) = self.peers.get_mut(&peer) else { return };
        // What goes back is taken off: nobody is sent more than he sent, a probe included (SECURITY R15).
        let back = sent.iter().filter(|transmit| transmit.to == TunnelDestination::Back);
        let back: usize = back.map(|transmit| transmit.datagram.len()).sum();
        known.paths.handle_data(path, length.saturating_sub(back), now);
        if path == Path::Direct(from) {
            match (kind, sent.first()) {
                (Some(INITIATION), Some(response)) => {
                    let index = response.datagram.get(4..).and_then(|rest| rest.first_chunk::<4>());
                    known.greeted = index.map(|index| (from, *index));
                }
                // Only whoever has received our answer there can have made this: the handshake was a challenge of its path (SECURITY R24).
                (Some(DATA), _)
                    if known.greeted.is_some() && known.greeted == index.map(|index| (from, index)) =>
                {
                    known.greeted = None;
                    known.paths.proven_by_handshake(from, now);
                }
                _ => {}
            }
        }
        let (source, destination, answers_only) = (known.address, self.address, known.answers_only);
        self.transmit(Some((path, from, Some(peer))), sent, now);
        if let Some(mut packet) = packet {
            let inner = InnerPacket::read(&packet).and_then(|inner| {
                inner.check(source, destination)?;
                Ok(inner.bytes.len())
            });
            match inner {
                Ok(_) if answers_only && !self.flows.answers(&peer, &packet, now) => self.counts.unasked += 1,
                Ok(length) => {
                    packet.truncate(length);
                    push(&mut self.packets, (peer, packet), &mut self.counts.overflow);
                }
                Err(_) => self.counts.inner_refused += 1,
            }
        }
        self.choose_unless_direct(peer, now);
    }

    /// Sends what tunnels have made; `back` is where the message came from that they answer.
    fn transmit(
        &mut self,
        back: Option<(Path, SocketAddr, Option<Fingerprint>)>,
        sent: Vec<TunnelTransmit>,
        now: Duration,
    ) {
        for TunnelTransmit { to, datagram } in sent {
            match (to, back) {
                (TunnelDestination::Peer(peer), _) => self.send(peer, datagram, now),
                (TunnelDestination::Back, Some((path, from, peer))) => {
                    let overlay = match from {
                        SocketAddr::V6(from) => *from.ip(),
                        SocketAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
                    };
                    self.send_over(path, overlay, peer, datagram, now);
                }
                (TunnelDestination::Back, None) => {}
            }
        }
    }

    /// Sends a datagram to a peer over the path in use; without one it waits.
    fn send(&mut self, peer: Fingerprint, datagram: BytesMut, now: Duration) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if let Some(path) = known.paths.chosen() {
            let overlay = known.address;
            return self.send_over(path, overlay, Some(peer), datagram, now);
        }
        if known.waiting.len() >= MAX_WAITING {
            known.waiting.pop_front();
            self.counts.overflow += 1;
        }
        known.waiting.push_back(datagram);
    }

    /// Sends a datagram over this path; `overlay` is whom a relay passes it on to.
    fn send_over(
        &mut self,
        path: Path,
        overlay: Ipv6Addr,
        peer: Option<Fingerprint>,
        datagram: BytesMut,
        now: Duration,
    ) {
        let transmit = match path {
            Path::Direct(to) => MeshTransmit { to, peer, datagram },
            Path::Relayed(id) => {
                let Some(relay) = self.relays.get_mut(&id) else { return };
                let Some(datagram) = relay.client.seal(overlay, &datagram, now) else { return };
                MeshTransmit { to: relay.client.relay(), peer, datagram: datagram[..].into() }
            }
        };
        push(&mut self.transmits, transmit, &mut self.counts.overflow);
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
            let transmit =
                MeshTransmit { to: probe.to, peer: Some(peer), datagram: probe.datagram[..].into() };
            push(&mut self.transmits, transmit, &mut self.counts.overflow);
        }
        if let Some(chosen) = known.paths.take_change(now) {
            push(&mut self.events, MeshEvent::PathChosen(peer, chosen), &mut self.counts.overflow);
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
        if let Some(path) = known.paths.chosen() {
            let overlay = known.address;
            for datagram in std::mem::take(&mut known.waiting) {
                self.send_over(path, overlay, Some(peer), datagram, now);
            }
        }
    }
}

impl Relay {
    /// How ways through it stand.
    fn standing(&self, now: Duration) -> (Health, Option<Duration>) {
        (self.client.health(now), self.client.rtt())
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, overflow: &mut u64) {
    if queue.len() < MAX_QUEUED {
        queue.push_back(item);
    } else {
        *overflow += 1;
    }
}
