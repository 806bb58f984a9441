//! The ways to one peer through relays: those that its record names, and those that it has only spoken over.

use std::time::Duration;

use crate::choice::{Health, Measured, Path, RelayId};

/// Relays to one peer: what a record names.
pub const MAX_RELAYS: usize = 4;

/// How a way through a relay stands: which, whether our session with it works, and how long there and back takes to it.
pub type Standing = (RelayId, Health, Option<Duration>);

/// The ways to one peer through relays.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    ways: Vec<Way>,
}

#[derive(Debug)]
struct Way {
    relay: RelayId,
    health: Health,
    rtt: Option<Duration>,
    /// The peer has spoken over it, and the record that we know of it does not name it.
    noted: bool,
}

impl Ways {
    /// The relays that the peer's record names now; all others are none of its ways any more. Those beyond [`MAX_RELAYS`] are left out.
    pub(crate) fn set(&mut self, named: &[Standing]) {
        self.ways.retain(|way| named.iter().any(|(relay, ..)| *relay == way.relay));
        for (relay, health, rtt) in named.iter().copied() {
            match self.ways.iter_mut().find(|way| way.relay == relay) {
                Some(way) => (way.health, way.rtt, way.noted) = (health, rtt, false),
                None => {
                    if self.ways.len() < MAX_RELAYS {
                        self.ways.push(Way { relay, health, rtt, noted: false });
                    }
                }
            }
        }
    }

    /// The peer has spoken over this relay. One that its record does not name takes no place of one that it does.
    pub(crate) fn note(&mut self, (relay, health, rtt): Standing) {
        if self.ways.iter().any(|way| way.relay == relay) {
            return;
        }
        if self.ways.len() >= MAX_RELAYS {
            let useless = |way: &Way| way.noted && way.health == Health::Unproven;
            let Some(useless) = self.ways.iter().position(useless) else { return };
            self.ways.remove(useless);
        }
        self.ways.push(Way { relay, health, rtt, noted: true });
    }

    /// Our session with a relay stands otherwise than before. Whether it is a way to the peer.
    pub(crate) fn update(&mut self, (relay, health, rtt): Standing) -> bool {
        let way = self.ways.iter_mut().find(|way| way.relay == relay);
        way.is_some_and(|way| {
            (way.health, way.rtt) = (health, rtt);
            true
        })
    }

    /// This machine has another address: no session is sure before its relay has answered there.
    pub(crate) fn handle_moved(&mut self) {
        for way in &mut self.ways {
            way.health = way.health.max(Health::Suspect);
        }
    }

    pub(crate) fn measured(&self) -> impl Iterator<Item = Measured> + '_ {
        self.ways.iter().map(|way| Measured {
            path: Path::Relayed(way.relay),
            health: way.health,
            rtt: way.rtt,
            noted: way.noted,
        })
    }
}
