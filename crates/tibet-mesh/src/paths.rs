//! The paths to one peer: found, measured, kept and left.
//!
//! [`Paths`] sends probes to the addresses that a peer has named in its consent, notes which of them answer, and says which path its packets take. It is driven as
//! every machine here:
//!
//! | the owner does | with |
//! |---|---|
//! | both have consented | [`Paths::begin`] |
//! | a probe frame came in | [`Paths::handle_frame`] |
//! | a tunnel message of the peer came in, and was genuine | [`Paths::handle_data`] |
//! | a packet is for the peer | [`Paths::note_sent`] |
//! | a datagram goes to it over the path in use | [`Paths::note_datagram`] |
//! | the machine has another address | [`Paths::handle_moved`] |
//! | [`Paths::poll_timeout`] is due | [`Paths::handle_timeout`] |
//! | then sends | [`Paths::poll_transmit`] until there is nothing |
//!
//! Whatever is not proven is asked for in vain at most five times for each consent (SECURITY R58). What is proven is asked for as long as there is traffic: seldom while
//! the peer is heard over it, every 300 ms once it is not. A path that misses three answers is suspect, one that misses eight is left.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use jis::Fingerprint;

use crate::budget::ProbeBudget;
use crate::choice::{Health, Measured, Path, choose};
use crate::probe::{Checked, PROBE_LENGTH, ProbeId, ProbeKeys, Session};
use crate::ways::{Standing, Ways};

/// Addresses of one peer that are looked at: what two consents name.
pub const MAX_CANDIDATES: usize = 16;

/// Probes to an address that has not answered, for each consent (SECURITY R58).
const PROBES: u8 = 5;
/// The wait after the first of them; it doubles: all are sent within 600 ms.
const FIRST_GAP: Duration = Duration::from_millis(40);
/// How often a probe is sent over a path that is in use and from which the peer was heard.
const KEEP: Duration = Duration::from_secs(10);
/// The same over other proven paths, so that they are there when they are needed.
const KEEP_SPARE: Duration = Duration::from_secs(20);
/// How soon a probe follows one that was not answered, unless the path is slower.
const RETRY: Duration = Duration::from_millis(300);
/// Missed answers that make a path suspect.
const SUSPECT: u8 = 3;
/// Missed answers after which a path is left.
const LEFT: u8 = 8;
/// How long a path counts as proven that nothing was heard over: mappings in NATs last for 30 s and more (RFC 4787 REQ-5).
const STALE: Duration = Duration::from_secs(30);
/// How long after the last packet paths are kept up.
const ACTIVE: Duration = Duration::from_secs(120);
/// How long the peer may be silent after a packet of ours before the path is asked.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Probes of one path that may still be answered.
const IN_FLIGHT: usize = 8;
/// Datagrams that wait for the owner; he fetches them after every call, which makes no more than one for each address.
const MAX_QUEUED: usize = 2 * MAX_CANDIDATES;

/// The paths to one peer.
#[derive(Debug, Default)]
pub struct Paths {
    /// The newest agreement last; one before it, for what is still on the way.
    keys: VecDeque<ProbeKeys>,
    candidates: Vec<Candidate>,
    relays: Ways,
    chosen: Option<Path>,
    /// The path that the owner was last told of.
    told: Option<Path>,
    /// Probes sent: makes their numbers.
    count: u64,
    /// When a packet last went to the peer or came from it.
    active_at: Option<Duration>,
    /// When a packet went out that nothing has been heard after.
    unanswered_since: Option<Duration>,
    transmits: VecDeque<ProbeTransmit>,
}

/// A datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTransmit {
    /// Where to.
    pub to: SocketAddr,
    /// The whole datagram, at most 64 bytes.
    pub datagram: Vec<u8>,
}

#[derive(Debug)]
struct Candidate {
    address: SocketAddr,
    state: State,
    rtt: Option<Duration>,
    /// The last probes, the oldest first, and when they went out.
    waiting: VecDeque<(ProbeId, Duration)>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// No answer yet.
    Asked { times: u8, next: Duration },
    /// No answer ever came, or none any more.
    Silent,
    /// The peer was heard over it.
    Proven { heard_at: Duration, missed: u8, next: Duration },
}

impl Paths {
    /// Those of the one of two peers that follows the other to another relay later than that one would: of each two one is to have this, and the other the default.
    #[must_use]
    pub fn patient() -> Self {
        Self { relays: Ways::patient(), ..Self::default() }
    }

    /// Begins to look for paths: both sides have consented. `named` are the addresses in the peer's consent that may be probed; those beyond the first
    /// [`MAX_CANDIDATES`] of all are left out.
    pub fn begin(&mut self, keys: ProbeKeys, named: impl IntoIterator<Item = SocketAddr>, now: Duration) {
        self.keys.push_back(keys);
        if self.keys.len() > 2 {
            self.keys.pop_front();
        }
        for candidate in &mut self.candidates {
            if let State::Proven { next, .. } = &mut candidate.state {
                *next = now;
            } else {
                candidate.state = State::Silent;
            }
        }
        for address in named {
            let state = State::Asked { times: 0, next: now };
            match self.candidates.iter_mut().find(|candidate| candidate.address == address) {
                Some(Candidate { state: State::Proven { .. }, .. }) => {}
                Some(candidate) => candidate.state = state,
                None => self.add(address, state),
            }
        }
        self.active_at = Some(now);
    }

    /// A frame of the kinds of probes came in from `from`. Whether the peer has made it.
    pub fn handle_frame(&mut self, kind: u8, body: &[u8], from: SocketAddr, now: Duration) -> bool {
        let mut keys = self.keys.iter().rev();
        let checked = keys.find_map(|keys| Some((keys.check(kind, body, from, now)?, keys)));
        let Some((checked, keys)) = checked else { return false };
        match checked {
            Checked::Probe(id) => {
                let answer = keys.answer(id, from, now).to_vec();
                self.transmit(from, answer);
            }
            Checked::Answer { id, challenge } => {
                let confirm = keys.confirm(challenge).to_vec();
                if self.answered(id, from, now) {
                    self.transmit(from, confirm);
                }
            }
            Checked::Confirmed => self.proven(from, now),
        }
        true
    }

    /// A message of the peer's came in over `path`, with `length` bytes, and its tunnel has found it genuine.
    ///
    /// From an address that is not known yet the peer is asked whether it is there (SECURITY R24); packets go there only once it has answered.
    pub fn handle_data(&mut self, path: Path, length: usize, now: Duration) {
        self.active_at = Some(now);
        self.relays.heard(path, self.chosen, now);
        let Path::Direct(from) = path else {
            return self.doubt_what_is_silent(now);
        };
        self.unanswered_since = None;
        match self.candidates.iter_mut().find(|candidate| candidate.address == from) {
            Some(Candidate { state: State::Proven { heard_at, missed, .. }, .. }) => {
                (*heard_at, *missed) = (now, 0);
                self.doubt_the_one_in_use(from, now);
            }
            Some(Candidate { state: State::Asked { .. }, .. }) => {}
            // Nobody is sent more than he sent (SECURITY R15), and without an agreement there is nothing to ask with.
            _ if length < PROBE_LENGTH || self.keys.is_empty() => {}
            Some(candidate) => candidate.state = State::Asked { times: PROBES - 1, next: now },
            None => self.add(from, State::Asked { times: PROBES - 1, next: now }),
        }
    }

    /// A handshake with the peer was completed over this address: it has received there what it could not have guessed (SECURITY R24). So a peer that
    /// knows nothing of probes, any implementation of WireGuard, has a path too.
    pub fn proven_by_handshake(&mut self, from: SocketAddr, now: Duration) {
        self.proven(from, now);
    }

    /// A packet went to the peer.
    pub fn note_sent(&mut self, now: Duration) {
        // After a pause what was proven may be so no more.
        let paused = self.active_at.is_none_or(|at| now.saturating_sub(at) >= STALE / 2);
        self.active_at = Some(now);
        self.unanswered_since.get_or_insert(now);
        if paused {
            self.relays.forget_sent();
            self.rechoose(now);
        }
    }

    /// A datagram goes to the peer over the path in use.
    pub fn note_datagram(&mut self, now: Duration) {
        if let Some(Path::Relayed(relay)) = self.chosen {
            self.relays.sent(relay, now);
        }
    }

    /// This machine has another address: no path is sure any more, and all that were proven are asked at once. Those that were asked in vain wait for new consents.
    pub fn handle_moved(&mut self, now: Duration) {
        for candidate in &mut self.candidates {
            if let State::Proven { missed, next, .. } = &mut candidate.state {
                (*missed, *next) = ((*missed).max(SUSPECT + 1), now);
            }
        }
        self.relays.handle_moved();
        self.rechoose(now);
    }

    /// How the ways stand through the relays that the peer's record names; those that it names no more are none of its ways. Ways beyond
    /// [`MAX_RELAYS`](crate::MAX_RELAYS) are left out.
    pub fn set_relays(&mut self, named: &[Standing]) {
        self.relays.set(named);
    }

    /// The peer has spoken over a relay, which stands like this: a way to it even where its record does not name it, after all that this names.
    pub fn note_relay(&mut self, relay: Standing) {
        self.relays.note(relay);
    }

    /// A relay stands like this from now on. Whether it is a way to the peer.
    pub fn update_relay(&mut self, relay: Standing) -> bool {
        self.relays.update(relay)
    }

    /// Sends what is due. `budget` is shared by all peers, of which this is `peer`.
    pub fn handle_timeout(&mut self, now: Duration, peer: &Fingerprint, budget: &mut ProbeBudget) {
        self.rechoose(now);
        let (active_until, urgent) = (self.active_until(), self.urgent_at());
        let Some(keys) = self.keys.back() else { return };
        for candidate in &mut self.candidates {
            let in_use = self.chosen == Some(Path::Direct(candidate.address));
            let due = candidate.due(in_use, urgent, active_until).is_some_and(|due| due <= now);
            if due && self.transmits.len() < MAX_QUEUED && candidate.may_be_asked(now, peer, budget) {
                self.count += 1;
                let id = keys.id(self.count);
                candidate.asked(id, now);
                let datagram = keys.probe(id).to_vec();
                self.transmits.push_back(ProbeTransmit { to: candidate.address, datagram });
            }
        }
        self.rechoose(now);
    }

    /// The next datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<ProbeTransmit> {
        self.transmits.pop_front()
    }

    /// When [`Paths::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        // Without an agreement there is nothing to ask with.
        self.keys.back()?;
        let (active_until, urgent) = (self.active_until(), self.urgent_at());
        let due = |candidate: &Candidate| {
            candidate.due(self.chosen == Some(Path::Direct(candidate.address)), urgent, active_until)
        };
        self.candidates.iter().filter_map(due).min()
    }

    /// The path that packets take now.
    #[must_use]
    pub fn chosen(&self) -> Option<Path> {
        self.chosen
    }

    /// How long there and back takes on it, where that was measured.
    #[must_use]
    pub fn rtt(&self, now: Duration) -> Option<Duration> {
        self.measured(now).into_iter().find(|measured| Some(measured.path) == self.chosen)?.rtt
    }

    /// All paths, with what is known of them.
    #[must_use]
    pub fn measured(&self, now: Duration) -> Vec<Measured> {
        let direct = self.candidates.iter().map(|candidate| Measured {
            path: Path::Direct(candidate.address),
            health: candidate.health(now),
            rtt: candidate.rtt,
            noted: false,
        });
        direct.chain(self.relays.measured()).collect()
    }

    /// What frames of this peer begin with.
    pub fn sessions(&self) -> impl Iterator<Item = Session> + '_ {
        self.keys.iter().map(ProbeKeys::receives)
    }

    /// The path that packets take from now on, if it is another than when this was asked last.
    pub fn take_change(&mut self, now: Duration) -> Option<Option<Path>> {
        self.rechoose(now);
        let changed = self.chosen != self.told;
        self.told = self.chosen;
        changed.then_some(self.chosen)
    }

    /// Whether packets went to the peer or came from it of late.
    #[must_use]
    pub fn is_active(&self, now: Duration) -> bool {
        self.active_at.is_some() && now < self.active_until()
    }

    fn rechoose(&mut self, now: Duration) {
        self.chosen = choose(self.chosen, &self.measured(now));
    }

    fn active_until(&self) -> Duration {
        self.active_at.map_or(Duration::ZERO, |at| at + ACTIVE)
    }

    /// When the path in use is asked because a packet went out and nothing came back.
    fn urgent_at(&self) -> Option<Duration> {
        self.unanswered_since.map(|since| since + ANSWER_WITHIN)
    }

    fn transmit(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        if self.transmits.len() < MAX_QUEUED {
            self.transmits.push_back(ProbeTransmit { to, datagram });
        }
    }

    /// Adds an address. When there are too many it takes the place of one that is silent; and one that is proven that of the one not in use from which the peer was heard
    /// longest ago: without probes an address that is dead never becomes silent.
    fn add(&mut self, address: SocketAddr, state: State) {
        if self.candidates.len() >= MAX_CANDIDATES {
            let proven = matches!(state, State::Proven { .. });
            let chosen = self.chosen;
            let leaves = |candidate: &Candidate| match candidate.state {
                _ if chosen == Some(Path::Direct(candidate.address)) => None,
                State::Silent => Some((0, Duration::ZERO)),
                State::Proven { heard_at, .. } => proven.then_some((1, heard_at)),
                State::Asked { .. } => proven.then_some((2, Duration::ZERO)),
            };
            let places = self.candidates.iter().enumerate();
            let place = places.filter_map(|(at, candidate)| Some((leaves(candidate)?, at))).min();
            let Some((_, place)) = place else { return };
            self.candidates.remove(place);
        }
        self.candidates.push(Candidate { address, state, rtt: None, waiting: VecDeque::new() });
    }

    /// Notes an answer. Whether it is one to a probe of ours, from where that went.
    fn answered(&mut self, id: ProbeId, from: SocketAddr, now: Duration) -> bool {
        let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.address == from) else {
            return false;
        };
        let Some(at) = candidate.waiting.iter().position(|(sent, _)| *sent == id) else { return false };
        if let Some((_, sent_at)) = candidate.waiting.remove(at) {
            candidate.measured(now.saturating_sub(sent_at));
        }
        self.proven(from, now);
        true
    }

    /// The peer is at this address: it has repeated what only it can have received.
    fn proven(&mut self, address: SocketAddr, now: Duration) {
        let known = self.candidates.iter_mut().find(|candidate| candidate.address == address);
        // One that we have not measured ourselves yet is asked at once.
        let measured = known.as_ref().is_some_and(|candidate| candidate.rtt.is_some());
        let next = if measured { now + KEEP_SPARE } else { now };
        let state = State::Proven { heard_at: now, missed: 0, next };
        match known {
            Some(candidate) => candidate.state = state,
            None => self.add(address, state),
        }
        self.rechoose(now);
        if self.chosen == Some(Path::Direct(address)) {
            self.unanswered_since = None;
        }
    }

    /// The peer speaks over the relay, and the direct path in use has been silent for longer than that takes: the peer has left it, as whoever moves does. It is asked at
    /// once, and until it answers the relay serves.
    fn doubt_what_is_silent(&mut self, now: Duration) {
        let Some(Path::Direct(in_use)) = self.chosen else { return };
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.address == in_use)
            && let State::Proven { heard_at, next, missed } = &mut candidate.state
            && *missed <= SUSPECT
            && now.saturating_sub(*heard_at) >= ANSWER_WITHIN + candidate.rtt.unwrap_or_default()
        {
            (*missed, *next) = (SUSPECT + 1, now);
            self.rechoose(now);
        }
    }

    /// The peer speaks over another path than the one we use. It may have left ours, or just have chosen otherwise: ours is asked at once.
    fn doubt_the_one_in_use(&mut self, spoken: SocketAddr, now: Duration) {
        let Some(Path::Direct(in_use)) = self.chosen.filter(|path| *path != Path::Direct(spoken)) else {
            return;
        };
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.address == in_use)
            && let State::Proven { heard_at, next, missed: 0 } = &mut candidate.state
            && now.saturating_sub(*heard_at) >= ANSWER_WITHIN
        {
            *next = (*next).min(now);
        }
    }
}

impl Candidate {
    fn health(&self, now: Duration) -> Health {
        match self.state {
            State::Proven { heard_at, missed, .. } => {
                let sure = missed <= SUSPECT && now.saturating_sub(heard_at) < STALE;
                if sure { Health::Proven } else { Health::Suspect }
            }
            State::Asked { .. } | State::Silent => Health::Unproven,
        }
    }

    /// When this path is to be asked next, if ever.
    fn due(&self, in_use: bool, urgent: Option<Duration>, active_until: Duration) -> Option<Duration> {
        match self.state {
            State::Silent => None,
            State::Asked { next, .. } => Some(next),
            State::Proven { heard_at, next, missed: 0 } if in_use => {
                Some(next.min(heard_at + KEEP).min(urgent.unwrap_or(Duration::MAX)))
            }
            State::Proven { next, .. } => Some(next),
        }
        .filter(|due| matches!(self.state, State::Asked { .. }) || *due <= active_until)
    }

    /// Whether it is asked once more, or given up. An address that has not answered costs a part of the budget.
    fn may_be_asked(&mut self, now: Duration, peer: &Fingerprint, budget: &mut ProbeBudget) -> bool {
        let go_on = match self.state {
            State::Asked { times, .. } => times < PROBES && budget.take(self.address.ip(), peer, now),
            State::Proven { missed, .. } => missed < LEFT,
            State::Silent => false,
        };
        if !go_on {
            self.state = State::Silent;
        }
        go_on
    }

    /// Notes that a probe goes out.
    fn asked(&mut self, id: ProbeId, now: Duration) {
        if self.waiting.len() >= IN_FLIGHT {
            self.waiting.pop_front();
        }
        self.waiting.push_back((id, now));
        // Not before the last could have been answered.
        let retry = RETRY.max(self.rtt.unwrap_or_default() * 2);
        match &mut self.state {
            State::Asked { times, next } => {
                *next = now + FIRST_GAP * 2_u32.pow(u32::from(*times));
                *times += 1;
            }
            State::Proven { missed, next, .. } => {
                *missed += 1;
                *next = now + retry;
            }
            State::Silent => {}
        }
    }

    /// Smooths as TCP does (RFC 6298), and forgets older times quickly: a path that has changed is another path.
    fn measured(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(rtt, |before| (before * 3 + rtt) / 4));
    }
}
