//! The sessions with relays, and which peers' paths lead through them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use jis::Fingerprint;

use super::{Mesh, MeshEvent, MeshTransmit, push};
use crate::choice::{Health, Path, RelayId};
use crate::relay::RelayClient;
use crate::ways::Standing;
use crate::wire::RELAY_ALIVE;

#[derive(Debug)]
pub(super) struct Relay {
    pub(super) client: RelayClient,
    /// How it stood when the peers' paths were last told, and whether the owner was told that it is over.
    told: Option<Standing>,
    due_told: bool,
}

impl Relay {
    /// How ways through it stand.
    fn standing(&self, id: RelayId, now: Duration) -> Standing {
        (id, self.client.health(now), self.client.rtt())
    }
}

impl Mesh {
    /// A relay has opened a session, which takes the place of the one before.
    pub fn open_relay(&mut self, id: RelayId, client: RelayClient, now: Duration) {
        self.relays.insert(id, Relay { client, told: None, due_told: false });
        self.handle_timeout(now);
    }

    /// Ends the session with a relay.
    pub fn close_relay(&mut self, id: RelayId, now: Duration) {
        self.relays.remove(&id);
        self.tell_paths((id, Health::Unproven, None), now);
    }

    /// The relays that the peer's record names, as far as we have sessions with them.
    pub fn set_relays(&mut self, peer: &Fingerprint, relays: Vec<RelayId>, now: Duration) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        let standing = |id: RelayId| match self.relays.get(&id) {
            Some(relay) => relay.standing(id, now),
            None => (id, Health::Unproven, None),
        };
        let named: Vec<Standing> = relays.into_iter().map(standing).collect();
        known.paths.set_relays(&named);
        self.choose(*peer, now);
    }

    /// A peer has spoken through a relay of ours, so it has a session there too: it is answered that way, even if the record that we know of it is from before it had.
    pub(super) fn note_relay(&mut self, peer: &Fingerprint, id: RelayId, now: Duration) {
        let Some((known, relay)) = self.peers.get_mut(peer).zip(self.relays.get(&id)) else { return };
        known.paths.note_relay(relay.standing(id, now));
    }

    /// How the relays stand, and how long there and back takes.
    #[must_use]
    pub fn relays(&self, now: Duration) -> Vec<Standing> {
        self.relays.iter().map(|(id, relay)| relay.standing(*id, now)).collect()
    }

    /// Tells the paths of all peers how a relay stands.
    fn tell_paths(&mut self, relay: Standing, now: Duration) {
        let peers = self.peers.iter_mut().filter_map(|(peer, known)| {
            let through = known.paths.update_relay(relay);
            through.then_some(*peer)
        });
        for peer in peers.collect::<Vec<Fingerprint>>() {
            self.choose(peer, now);
        }
    }

    /// Looks at the relays after anything has happened to them: sends what they have to say, and tells the peers' paths how they stand.
    pub(super) fn tend_relays(&mut self, now: Duration) {
        let mut changed = Vec::new();
        for (id, relay) in &mut self.relays {
            while let Some(call) = relay.client.poll_transmit() {
                let transmit = MeshTransmit { to: call.to, peer: None, datagram: call.datagram[..].into() };
                push(&mut self.transmits, transmit, &mut self.counts.overflow);
            }
            let standing = relay.standing(*id, now);
            if relay.told != Some(standing) {
                relay.told = Some(standing);
                changed.push(standing);
            }
            if relay.client.is_due(now) && !std::mem::replace(&mut relay.due_told, true) {
                push(&mut self.events, MeshEvent::RelayDue(*id), &mut self.counts.overflow);
            }
        }
        for relay in changed {
            self.tell_paths(relay, now);
        }
    }

    /// A relay says that it is there, or passes on what it says is a message of somebody's. Whose it is, the tunnel finds out.
    pub(super) fn hear_relay(&mut self, from: SocketAddr, kind: u8, body: &[u8], now: Duration) {
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
}
