//! What the owner is told, and what it is to send.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use bytes::BytesMut;
use jis::Fingerprint;

use crate::choice::{Measured, Path, RelayId};
use crate::inner::InnerReject;
use crate::routes::RouteError;
use crate::tunnels::{Refusal, TunnelStats};

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
