//! What time brings.

use std::time::Duration;

use jis::Name;

use super::drops::Dropped;
use super::event::Event;
use super::{NodeConfig, PingNode, earliest};
use crate::now::Now;
use crate::packet::Packet;

/// How often what was dropped is summed up (SECURITY R64).
const SUMMARY: Duration = Duration::from_secs(60);
/// Peers that get a heartbeat at one time, and the pause after them: so 16 384 peers take three seconds and no burst.
const HEARTBEAT_SLICE: usize = 256;
const HEARTBEAT_PAUSE: Duration = Duration::from_millis(50);

/// When what is due.
#[derive(Debug)]
pub(super) struct Rounds {
    heartbeat: Option<Duration>,
    /// The peer that had the last heartbeat, while a round is on its way, and the frame they all get.
    round: Option<(Name, Vec<u8>)>,
    discovery: Option<Duration>,
    summary: Duration,
}

impl Rounds {
    /// The first heartbeat comes after an interval, the first announcement at once.
    pub(super) fn new(config: &NodeConfig, now: Now) -> Self {
        Self {
            heartbeat: config.heartbeat.map(|interval| now.mono.saturating_add(interval)),
            round: None,
            discovery: first_announcement(config, now),
            summary: now.mono.saturating_add(SUMMARY),
        }
    }

    pub(super) fn announce_from(&mut self, config: &NodeConfig, now: Now) {
        self.discovery = first_announcement(config, now);
    }
}

fn first_announcement(config: &NodeConfig, now: Now) -> Option<Duration> {
    config.discovery.filter(|_| config.port.is_some()).map(|_| now.mono)
}

impl PingNode {
    /// When [`handle_timeout`](Self::handle_timeout) is due, in monotonic time. Moves with every call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        earliest([
            Some(self.peers.poll_timeout()),
            Some(self.rounds.summary),
            self.rounds.heartbeat,
            self.rounds.discovery,
            self.requests.poll_timeout(),
            self.questions.poll_timeout(),
            self.pending.poll_timeout(),
            self.late.poll_timeout(),
            self.restart.as_ref().map(crate::replay::RestartBound::poll_timeout),
        ])
    }

    /// Does what is due by now. To be called when [`poll_timeout`](Self::poll_timeout) says so; more often does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        self.replay.follow(now);
        self.vouches.handle_timeout(now.wall);
        while let Some((id, request)) = self.requests.expired(now.mono) {
            self.give_up(id, request);
        }
        while self.questions.expired(now.mono) {
            self.drops.count(Dropped::NotAnswered);
        }
        for ping in self.pending.handle_timeout(now) {
            if let Ok(stamp) = self.stamp(now) {
                self.tell_settled(ping, None, stamp);
            }
        }
        for name in self.peers.handle_timeout(now) {
            if let Ok(stamp) = self.stamp(now) {
                self.tell(Event::PeerGone { name, stamp });
            }
        }
        self.send_signs_of_life(now);
        self.send_late_answers(now);
        self.send_heartbeats(now);
        self.announce(now);
        self.sum_up(now);
    }

    /// Sends a heartbeat to every peer at once. How many there are.
    pub fn send_heartbeat(&mut self, now: Now) -> usize {
        self.rounds.round = None;
        self.rounds.heartbeat = Some(now.mono);
        self.send_heartbeats(now);
        self.peers.alive(now).count()
    }

    fn send_heartbeats(&mut self, now: Now) {
        if self.rounds.heartbeat.is_none_or(|due| due > now.mono) {
            return;
        }
        let round = self.rounds.round.take();
        let begun = round.is_some();
        let Some((after, bytes)) = round.or_else(|| self.begin_heartbeats(now)) else {
            self.rounds.heartbeat = self.config.heartbeat.map(|interval| now.mono.saturating_add(interval));
            return;
        };
        let later = |name: &Name| !begun || *name > after;
        let slice: Vec<_> = self
            .peers
            .alive(now)
            .filter(|(name, _)| later(name))
            .take(HEARTBEAT_SLICE)
            .map(|(name, peer)| (name.clone(), *peer))
            .collect();
        for (name, peer) in &slice {
            if peer.reachable {
                self.transmit(peer.endpoint, bytes.clone());
            } else {
                // Nobody else's address is flooded in a peer's name: it is asked whether it is there, once that is paid for.
                self.probe(name, peer.endpoint, now);
            }
        }
        match slice.last() {
            Some((last, _)) if slice.len() == HEARTBEAT_SLICE => {
                self.rounds.round = Some((last.clone(), bytes));
                self.rounds.heartbeat = Some(now.mono.saturating_add(HEARTBEAT_PAUSE));
            }
            _ => {
                self.rounds.heartbeat =
                    self.config.heartbeat.map(|interval| now.mono.saturating_add(interval));
            }
        }
    }

    /// One packet for all: it is signed once.
    fn begin_heartbeats(&mut self, now: Now) -> Option<(Name, Vec<u8>)> {
        self.peers.alive(now).next()?;
        let (fresh, _) = self.draw(now).ok()?;
        let packet = Packet::heartbeat(&self.identity.name, fresh);
        let bytes = self.sealed(packet, now)?;
        Some((self.identity.name.clone(), bytes))
    }

    fn announce(&mut self, now: Now) {
        if self.rounds.discovery.is_some_and(|due| due <= now.mono) {
            self.rounds.discovery = self.config.discovery.map(|interval| now.mono.saturating_add(interval));
            if self.search(now).is_err() {
                self.drops.count(Dropped::Unwritable);
            }
        }
    }

    fn sum_up(&mut self, now: Now) {
        if self.rounds.summary > now.mono {
            return;
        }
        self.rounds.summary = now.mono.saturating_add(SUMMARY);
        let counts = self.drops.summary();
        if !counts.is_empty()
            && let Ok(stamp) = self.stamp(now)
        {
            self.tell(Event::Dropped { counts, stamp });
        }
    }
}
