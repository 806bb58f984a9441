//! What comes in: which part of the mesh it is for, and what a tunnel makes of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;

use super::{Mesh, push};
use crate::choice::Path;
use crate::inner::InnerPacket;
use crate::probe::session_of;
use crate::tunnels::{INITIATION, Opened, TunnelDestination};
use crate::wire::{RELAY_ALIVE, RELAY_DELIVERY, Wire};

/// The first byte of a data message.
const DATA: u8 = 4;

impl Mesh {
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

    pub(super) fn open(&mut self, path: Path, from: SocketAddr, message: BytesMut, now: Duration) {
        let length = message.len();
        let (kind, index) =
            (message.first().copied(), message.get(4..).and_then(|rest| rest.first_chunk::<4>().copied()));
        let mut sent = Vec::new();
        let opened = self.tunnels.open(from, message, now, &mut |transmit| sent.push(transmit));
        let (peer, packet) = match opened {
            Opened::Packet(peer, packet) => (peer, Some(packet)),
            Opened::Heard(peer) => (peer, None),
            Opened::Asked => return,
            Opened::Refused(refusal) => {
                *self.counts.refused.entry(refusal).or_default() += 1;
                return self.transmit(Some((path, from, None)), sent, now);
            }
        };
        if let Path::Relayed(id) = path {
            self.note_relay(&peer, id, now);
        }
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
}
