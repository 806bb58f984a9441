//! What goes out: over which path, and what waits for one.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use jis::Fingerprint;

use super::{Mesh, MeshEvent, MeshTransmit, Peer, push};
use crate::choice::Path;
use crate::tunnels::{TunnelDestination, TunnelTransmit};

/// Datagrams of one peer that wait for a path.
const MAX_WAITING: usize = 16;
/// How soon a direct path is asked for again: the more often it was in vain, the later.
const ASK_AGAIN: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(300)];

impl Mesh {
    /// Sends what tunnels have made; `back` is where the message came from that they answer.
    pub(super) fn transmit(
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
    pub(super) fn send(&mut self, peer: Fingerprint, datagram: BytesMut, now: Duration) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if let Some(path) = known.paths.chosen() {
            let overlay = known.address;
            known.paths.note_datagram(now);
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

    /// Looks at the paths of all peers that have something to do.
    pub(super) fn tend_paths(&mut self, now: Duration) {
        let due = |known: &Peer| known.paths.poll_timeout().is_some_and(|due| due <= now);
        let due: Vec<Fingerprint> =
            self.peers.iter().filter(|(_, known)| due(known)).map(|(peer, _)| *peer).collect();
        for peer in due {
            if let Some(known) = self.peers.get_mut(&peer) {
                known.paths.handle_timeout(now, &peer, &mut self.budget);
            }
            self.choose(peer, now);
        }
        self.due = self.peers.values().filter_map(|known| known.paths.poll_timeout()).min();
    }

    /// Notes when the paths of a peer have something to do next, if that is before all others. What has moved to later is found when the time is there.
    fn note_due(&mut self, peer: &Fingerprint) {
        let next = self.peers.get(peer).and_then(|known| known.paths.poll_timeout());
        self.due = self.due.into_iter().chain(next).min();
    }

    /// The same as [`Mesh::choose`] for every packet: where a direct path is in use, time and probes say when that changes.
    pub(super) fn choose_unless_direct(&mut self, peer: Fingerprint, now: Duration) {
        let direct = |known: &Peer| matches!(known.paths.chosen(), Some(Path::Direct(_)));
        if self.peers.get(&peer).is_some_and(direct) {
            self.note_due(&peer);
        } else {
            self.choose(peer, now);
        }
    }

    /// Looks at the paths of a peer again after anything has happened to it, and sends what has waited.
    pub(super) fn choose(&mut self, peer: Fingerprint, now: Duration) {
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
            if !known.waiting.is_empty() {
                known.paths.note_datagram(now);
            }
            for datagram in std::mem::take(&mut known.waiting) {
                self.send_over(path, overlay, Some(peer), datagram, now);
            }
        }
        self.note_due(&peer);
    }
}
