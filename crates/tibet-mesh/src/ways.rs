//! The ways to one peer through relays: those that its record names, and those that it has only spoken over.
//!
//! Our session with a relay shows that the relay is there, and nothing of the peer's. So a way is doubted, whatever our session is like, when what goes over it meets
//! silence: while the peer speaks over another relay, or while it does not speak at all.

use std::time::Duration;

use crate::choice::{Health, Measured, Path, RelayId};

/// Relays to one peer: what a record names.
pub const MAX_RELAYS: usize = 4;

/// How a way through a relay stands: which, whether our session with it works, and how long there and back takes to it.
pub type Standing = (RelayId, Health, Option<Duration>);

/// How long the peer may be silent over a relay that we speak over while it speaks over another.
const FOLLOW: Duration = Duration::from_millis(500);
/// The same for the one of the two that has patience: who speak over two relays that both work would else take turns on them.
const FOLLOW_PATIENTLY: Duration = Duration::from_millis(1500);
/// How long it may be silent over all paths. WireGuard answers what it gets after 10 s at the latest, if only to say that it is there.
const SILENCE: Duration = Duration::from_secs(15);

/// The ways to one peer through relays.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    ways: Vec<Way>,
    patient: bool,
    /// When the peer last spoke, over any path.
    heard_at: Option<Duration>,
}

#[derive(Debug)]
struct Way {
    relay: RelayId,
    health: Health,
    rtt: Option<Duration>,
    /// The peer has spoken over it, and the record that we know of it does not name it.
    noted: bool,
    /// What went over it met silence, and the peer has not spoken over it since.
    doubted: bool,
    /// When something went over it that the peer has not spoken over it after.
    unanswered_since: Option<Duration>,
}

impl Way {
    fn new((relay, health, rtt): Standing, noted: bool) -> Self {
        Self { relay, health, rtt, noted, doubted: false, unanswered_since: None }
    }

    fn health(&self) -> Health {
        if self.doubted { self.health.max(Health::Suspect) } else { self.health }
    }

    /// Whether our session works, and the peer's record says that it is a way.
    fn is_there(&self) -> bool {
        !self.noted && self.health == Health::Proven
    }
}

impl Ways {
    /// Those of the one of two peers that has patience.
    pub(crate) fn patient() -> Self {
        Self { patient: true, ..Self::default() }
    }

    /// The relays that the peer's record names now; all others are none of its ways any more. Those beyond [`MAX_RELAYS`] are left out.
    pub(crate) fn set(&mut self, named: &[Standing]) {
        self.ways.retain(|way| named.iter().any(|(relay, ..)| *relay == way.relay));
        for (relay, health, rtt) in named.iter().copied() {
            match self.ways.iter_mut().find(|way| way.relay == relay) {
                Some(way) => (way.health, way.rtt, way.noted) = (health, rtt, false),
                None => {
                    if self.ways.len() < MAX_RELAYS {
                        self.ways.push(Way::new((relay, health, rtt), false));
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
        self.ways.push(Way::new((relay, health, rtt), true));
    }

    /// Our session with a relay stands otherwise than before. Whether it is a way to the peer.
    pub(crate) fn update(&mut self, (relay, health, rtt): Standing) -> bool {
        let way = self.ways.iter_mut().find(|way| way.relay == relay);
        way.is_some_and(|way| {
            (way.health, way.rtt) = (health, rtt);
            true
        })
    }

    /// Something goes to the peer over this relay.
    pub(crate) fn sent(&mut self, relay: RelayId, now: Duration) {
        let Some(way) = self.ways.iter_mut().find(|way| way.relay == relay) else { return };
        let since = *way.unanswered_since.get_or_insert(now);
        let heard = self.heard_at.is_some_and(|heard_at| heard_at >= since);
        if !heard && now.saturating_sub(since) >= SILENCE {
            self.doubt(relay);
        }
    }

    /// Another is to be used instead, if there is one. When there were doubts of all, the others are tried again: silence may have been the peer's own.
    fn doubt(&mut self, relay: RelayId) {
        let others = || self.ways.iter().filter(|way| way.relay != relay && way.is_there());
        let (any, certain) = (others().count() > 0, others().any(|way| !way.doubted));
        for way in &mut self.ways {
            if way.relay == relay {
                way.doubted = any;
            } else {
                way.doubted &= certain;
            }
        }
        self.forget_sent();
    }

    /// The peer speaks over this path, and what we say takes that one.
    ///
    /// It may speak over a relay because it has lost the one that we use. One that its record does not name says nothing of that: what we send over it may be dropped.
    pub(crate) fn heard(&mut self, path: Path, in_use: Option<Path>, now: Duration) {
        self.heard_at = Some(now);
        let Path::Relayed(relay) = path else { return self.forget_sent() };
        let Some(spoken) = self.ways.iter_mut().find(|way| way.relay == relay) else { return };
        (spoken.doubted, spoken.unanswered_since) = (false, None);
        let follow = if self.patient { FOLLOW_PATIENTLY } else { FOLLOW };
        if spoken.is_there()
            && let Some(way) = self.ways.iter().find(|way| Some(Path::Relayed(way.relay)) == in_use)
            && way.unanswered_since.is_some_and(|since| now.saturating_sub(since) >= follow)
        {
            self.doubt(way.relay);
        }
    }

    /// After a pause, or when the peer was heard otherwise, silence from before says nothing.
    pub(crate) fn forget_sent(&mut self) {
        self.ways.iter_mut().for_each(|way| way.unanswered_since = None);
    }

    /// This machine has another address: no session is sure before its relay has answered there.
    pub(crate) fn handle_moved(&mut self) {
        for way in &mut self.ways {
            way.health = way.health.max(Health::Suspect);
        }
        self.forget_sent();
    }

    pub(crate) fn measured(&self) -> impl Iterator<Item = Measured> + '_ {
        self.ways.iter().map(|way| Measured {
            path: Path::Relayed(way.relay),
            health: way.health(),
            rtt: way.rtt,
            noted: way.noted,
        })
    }
}
