//! A host: a mesh, and the owner that does for it what a device's program does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tibet_mesh::{Mesh, Path};

use crate::services::{identity, secret};

/// How often a host tells the rendezvous that it is there, so that NATs keep its mapping.
pub const HELLO: Duration = Duration::from_secs(20);
/// The same while nothing has come back.
pub const HELLO_AGAIN: Duration = Duration::from_secs(1);
/// How often a consent is sent that is not answered.
pub const ASKS: u32 = 4;
/// How soon again at first; the time doubles.
pub const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A consent of ours that waits for its answer.
#[derive(Debug)]
pub struct Ask {
    /// Its number.
    pub nonce: [u8; 16],
    /// How often it was sent.
    pub times: u32,
    /// When it is sent next.
    pub next: Duration,
}

/// A session that is to be opened.
#[derive(Debug)]
pub struct Opening {
    /// Which of our requests.
    pub request: u64,
    /// When it is sent next.
    pub next: Duration,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    /// The machine.
    pub mesh: Mesh,
    /// Whether it sleeps.
    pub asleep: bool,
    /// How far its monotonic clock is ahead of the world's.
    pub ahead: Duration,
    /// How much of that it missed while it slept.
    pub behind: Duration,
    /// Where the rendezvous sees it.
    pub observed: Option<SocketAddr>,
    /// When it tells the rendezvous next.
    pub hello_at: Duration,
    /// Consents of ours that wait for their answers, by peer.
    pub asks: BTreeMap<usize, Ask>,
    /// Consents that were answered, and with what.
    pub answered: BTreeMap<(usize, [u8; 16]), [u8; 16]>,
    /// Sessions that are to be opened, by relay.
    pub opening: BTreeMap<usize, Opening>,
    /// Requests made.
    pub requests: u64,
    /// Peers that may be spoken to no more.
    pub removed: BTreeSet<usize>,
    /// The direct path to each peer: since when, or until when.
    pub direct: BTreeMap<usize, (SocketAddr, Option<Duration>)>,
    /// When its machine has something to do, by the world's clock.
    pub due: Option<Duration>,
}

impl Host {
    /// One that has just started.
    pub fn new(number: usize, peers: &[usize], relays: usize, now: Duration) -> Self {
        let mut mesh = Mesh::new("tibet", &identity(number), &secret(number), 1280);
        let ids: Vec<_> = (0..relays).map(|relay| tibet_mesh::RelayId(relay as u32)).collect();
        for peer in peers {
            mesh.set_peer(identity(*peer), secret(*peer).public_key()).expect("a peer");
            mesh.set_relays(&identity(*peer), ids.clone(), now);
        }
        let opening = (0..relays).map(|relay| (relay, Opening { request: 0, next: now })).collect();
        Self {
            mesh,
            asleep: false,
            ahead: Duration::ZERO,
            behind: Duration::ZERO,
            observed: None,
            hello_at: now,
            asks: BTreeMap::new(),
            answered: BTreeMap::new(),
            opening,
            requests: 0,
            removed: BTreeSet::new(),
            direct: BTreeMap::new(),
            due: None,
        }
    }

    /// Its monotonic clock, and the one that goes on while it sleeps.
    pub fn clocks(&self, now: Duration) -> (Duration, Duration) {
        let running = now + self.ahead;
        (running - self.behind, running)
    }

    /// When the owner itself has something to do.
    pub fn owner_due(&self) -> Duration {
        let asks = self.asks.values().map(|ask| ask.next);
        let openings = self.opening.values().map(|opening| opening.next);
        asks.chain(openings).chain([self.hello_at]).min().unwrap_or(self.hello_at)
    }

    /// The mesh has chosen a path.
    pub fn chose(&mut self, peer: usize, path: Option<Path>, now: Duration) {
        match path {
            Some(Path::Direct(to)) => {
                self.direct.insert(peer, (to, None));
            }
            _ => {
                if let Some((_, until)) = self.direct.get_mut(&peer) {
                    until.get_or_insert(now);
                }
            }
        }
    }
}
