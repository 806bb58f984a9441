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
//! | file | has |
//! |---|---|
//! | `mesh/arriving.rs` | what comes in, and what a tunnel makes of it |
//! | `mesh/sending.rs` | what goes out, over which path |
//! | `mesh/relays.rs` | the sessions with relays |
//! | `mesh/told.rs` | what the owner is told |
//!
//! Who is a peer is the owner's decision, from verified records and trust. From the moment a peer is removed nothing of it is taken and nothing is sent to it.

mod arriving;
mod relays;
mod sending;
mod told;
pub use told::{MeshCounts, MeshEvent, MeshTransmit, PeerError, PeerStatus, Undeliverable};

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use jis::{Endpoint, Fingerprint, TransportKey, TransportSecret};

use crate::budget::ProbeBudget;
use crate::choice::RelayId;
use crate::flows::Flows;
use crate::inner::InnerPacket;
use crate::paths::Paths;
use crate::probe::{ProbeKeys, Session};
use crate::routes::Routes;
use crate::tunnels::{REJECT_AFTER, Tunnels};
use relays::Relay;

/// Datagrams, packets or events that wait for the owner, who fetches them after every call.
const MAX_QUEUED: usize = 4096;

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
    /// No peer's paths have anything to do before this: kept, so that a packet of one peer costs no look at all the others.
    due: Option<Duration>,
    transmits: VecDeque<MeshTransmit>,
    packets: VecDeque<(Fingerprint, BytesMut)>,
    events: VecDeque<MeshEvent>,
    counts: MeshCounts,
}

#[derive(Debug)]
struct Peer {
    address: Ipv6Addr,
    paths: Paths,
    /// It may answer, and begin nothing.
    answers_only: bool,
    /// Where the answer to its handshake went, and the index that its packets bear which can only be made from that answer.
    greeted: Option<(SocketAddr, [u8; 4])>,
    /// What is sent once there is a path.
    waiting: VecDeque<BytesMut>,
    /// When a direct path was last asked for, and how often in vain.
    asked: Option<(Duration, usize)>,
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
            due: None,
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
        // One of the two is to have patience, and both know which.
        let patient = self.address > address;
        self.peers.entry(peer).or_insert_with(|| Peer {
            address,
            paths: if patient { Paths::patient() } else { Paths::default() },
            answers_only: false,
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
        self.due = Some(now);
        self.handle_timeout(now);
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
        self.due = Some(now);
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
        if self.due.is_some_and(|due| due <= now) {
            self.tend_paths(now);
        }
    }

    /// When [`Mesh::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        // A session that is over calls no more, and what it had in mind is past for ever.
        let relays = self.relays.values().filter_map(|relay| relay.client.poll_timeout());
        relays.chain(self.tunnels.poll_timeout()).chain(self.due).min()
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
}

fn push<T>(queue: &mut VecDeque<T>, item: T, overflow: &mut u64) {
    if queue.len() < MAX_QUEUED {
        queue.push_back(item);
    } else {
        *overflow += 1;
    }
}
