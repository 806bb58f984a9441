//! Pings in tunnels: UDP from port 7150 of one overlay address to port 7150 of the other, with a body of `docs/spec/sealed-ping.md`.
//!
//! The tunnel has proved who speaks, so they carry no signature. They are ours also where there is a TUN device: no program gets or sends them.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut as _, BytesMut};
use jis::{Fingerprint, Name, PublicKey};
use tibet_iot::{MAIN_PORT, Outgoing, SealedInbox, SealedSender};

use super::MeshNode;
use super::book::Peer;
use super::engine::Engine;
use crate::daemon::shared::Core;

const IPV6: usize = 40;
const UDP: usize = 8;
/// The protocol number of UDP (RFC 768).
const UDP_HEADER: u8 = 17;

/// Who pings through which tunnel, and where what comes out goes.
#[derive(Debug, Default)]
pub(super) struct Pings {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    inbox: Option<SealedInbox>,
    peers: BTreeMap<Fingerprint, (Name, PublicKey)>,
    names: BTreeMap<Name, (Fingerprint, Ipv6Addr)>,
}

impl Pings {
    /// Takes a packet that came through the tunnel to a peer, if it is a ping. It is from that peer's overlay address, and for ours.
    pub(super) fn take(&self, peer: &Fingerprint, packet: &[u8]) -> bool {
        let Some(datagram) = datagram(packet) else { return false };
        let state = self.state();
        if let (Some(payload), Some(inbox), Some((name, key))) =
            (payload(datagram), &state.inbox, state.peers.get(peer))
        {
            // What finds no room is lost like any datagram.
            let _ = inbox.push(name, key, payload);
        }
        true
    }

    pub(super) fn add(&self, peer: &Peer) {
        let mut state = self.state();
        state.peers.insert(peer.fingerprint, (peer.name.clone(), peer.key));
        state.names.insert(peer.name.clone(), (peer.fingerprint, peer.address));
    }

    pub(super) fn remove(&self, peer: &Peer) {
        let mut state = self.state();
        state.peers.remove(&peer.fingerprint);
        state.names.remove(&peer.name);
    }

    fn tunnel_to(&self, peer: &Name) -> Option<(Fingerprint, Ipv6Addr)> {
        self.state().names.get(peer).copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node's way into the tunnels.
struct Tunnels {
    engine: Arc<Engine>,
    own: Ipv6Addr,
}

impl SealedSender for Tunnels {
    fn is_live(&self, peer: &Name) -> bool {
        let tunnel = self.engine.pings().tunnel_to(peer);
        tunnel.is_some_and(|(peer, _)| self.engine.with(|mesh, _| mesh.is_live(&peer)))
    }

    fn seal(&mut self, peer: &Name, datagram: &[u8], out: &mut Vec<Outgoing>) {
        if let Some((_, to)) = self.engine.pings().tunnel_to(peer) {
            self.engine.send_packet(packet(self.own, to, datagram), out);
        }
    }
}

impl Core {
    /// Has the node of the device's socket ping through tunnels: at first, and after the node was replaced.
    pub(in crate::daemon) async fn join_pings(&self, mesh: &MeshNode) {
        let tunnels = Tunnels { engine: Arc::clone(&mesh.engine), own: mesh.address };
        let inbox = self.remote.socket().with(move |node| {
            node.set_tunnels(Some(Box::new(tunnels)));
            node.sealed_inbox()
        });
        mesh.engine.pings().state().inbox = inbox.await;
    }
}

impl Core {
    /// Lets the node and the tunnels go apart: each holds the other otherwise.
    pub(in crate::daemon) async fn leave_pings(&self) {
        let Some(mesh) = self.mesh() else { return };
        mesh.engine.pings().state().inbox = None;
        let _ = self.remote.socket().with(|node| node.set_tunnels(None)).await;
    }
}

/// The UDP datagram of a ping's packet; `None` for any other packet. Its ports alone decide: the kernel, which would have the packet otherwise, delivers also what is
/// shorter than the packet it is in.
fn datagram(packet: &[u8]) -> Option<&[u8]> {
    let (header, datagram) = packet.split_first_chunk::<IPV6>()?;
    let [a, b] = MAIN_PORT.to_be_bytes();
    (header[6] == UDP_HEADER && datagram.starts_with(&[a, b, a, b])).then_some(datagram)
}

/// The body of a ping, if its datagram is as long as it says.
fn payload(datagram: &[u8]) -> Option<&[u8]> {
    let (udp, payload) = datagram.split_first_chunk::<UDP>()?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    // That it arrived as it was sent, the tunnel has made sure of.
    (length == datagram.len()).then_some(payload)
}

fn packet(from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> BytesMut {
    let length = u16::try_from(UDP + payload.len()).unwrap_or(u16::MAX);
    let mut packet = BytesMut::with_capacity(IPV6 + UDP + payload.len() + tibet_net::SPARE);
    packet.put_slice(&[0x60, 0, 0, 0]);
    packet.put_u16(length);
    packet.put_slice(&[UDP_HEADER, 64]);
    packet.put_slice(&from.octets());
    packet.put_slice(&to.octets());
    packet.put_u16(MAIN_PORT);
    packet.put_u16(MAIN_PORT);
    packet.put_u16(length);
    packet.put_u16(0);
    packet.put_slice(payload);
    let sum = checksum(&packet[8..], u32::from(length) + u32::from(UDP_HEADER));
    packet[IPV6 + 6..IPV6 + UDP].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The checksum of RFC 768 over what follows `first`, the sum of what is not in `bytes`.
fn checksum(bytes: &[u8], first: u32) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    let mut sum = pairs.iter().fold(first + last, |sum, pair| sum + u32::from(u16::from_be_bytes(*pair)));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // All ones stand for zero: zero says that there is none.
    match !u16::try_from(sum).unwrap_or_default() {
        0 => 0xffff,
        sum => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Ipv6Addr, Ipv6Addr) {
        let address = |number: u8| Fingerprint::of_inception(&[number]).overlay_address("tibet");
        (address(1), address(2))
    }

    #[test]
    fn a_ping_comes_out_as_it_went_in_and_no_other_packet_is_taken_for_one() {
        let (from, to) = ends();
        for body in [&b""[..], b"x", b"some bytes"] {
            let whole = packet(from, to, body);
            assert_eq!(datagram(&whole).and_then(payload), Some(body));
            for end in 0..whole.len() {
                assert_eq!(datagram(&whole[..end]).and_then(payload), None, "cut off after {end}");
            }
            for at in [6, IPV6, IPV6 + 1, IPV6 + 2, IPV6 + 3] {
                let mut other = whole.clone();
                other[at] ^= 1;
                assert_eq!(datagram(&other), None, "byte {at}");
            }
        }
    }

    /// Whoever is in GEEL may send pings and nothing else to this port: what is none must not reach a program through the kernel.
    #[test]
    fn what_is_no_ping_from_port_to_port_is_dropped() {
        let (from, to) = ends();
        let pings = Pings::default();
        let peer = Fingerprint::of_inception(&[1]);
        let whole = packet(from, to, b"some bytes");
        assert!(pings.take(&peer, &whole));
        for length in [0_u16, 7, 8, 17, 19, u16::MAX] {
            let mut other = whole.clone();
            other[IPV6 + 4..IPV6 + 6].copy_from_slice(&length.to_be_bytes());
            assert!(pings.take(&peer, &other), "{length} bytes, as it says");
            assert_eq!(datagram(&other).and_then(payload), None, "{length} bytes, as it says");
        }
        for end in IPV6 + 4..whole.len() {
            assert!(pings.take(&peer, &whole[..end]), "cut off after {end}");
        }
        let mut other = whole;
        other[IPV6 + 1] ^= 1;
        assert!(!pings.take(&peer, &other), "from another port");
    }

    /// RFC 768: the sum over pseudo header, header, checksum and payload is all ones.
    #[test]
    fn the_checksum_holds_for_whoever_looks() {
        let (from, to) = ends();
        for length in 0..40_u8 {
            let body: Vec<u8> = (0..length).collect();
            let whole = packet(from, to, &body);
            let length = u32::from(length) + 8;
            let mut sum = length + 17;
            for pair in whole[8..].chunks(2) {
                sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            }
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            assert_eq!(sum, 0xffff, "{length} bytes");
        }
    }
}
