//! What must hold, and what was seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Violations that are kept.
const MOST: usize = 8;

/// A packet that an application has sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// When.
    pub at: Duration,
    /// When it arrived.
    pub arrived: Option<Duration>,
}

/// All that is noted of a run.
#[derive(Debug, Default)]
pub struct Watch {
    /// What went wrong, and when.
    pub violations: Vec<String>,
    /// By station and address: who has truly spoken to it from there.
    heard: BTreeMap<(usize, SocketAddr), BTreeSet<usize>>,
    /// By sender and receiver.
    pub packets: BTreeMap<(usize, usize), Vec<Sent>>,
    /// Probes of a station to addresses that it never heard anybody from: when they went out, by its own clock.
    probes: BTreeMap<(usize, IpAddr), VecDeque<Duration>>,
    /// The same since the last consent, by peer.
    asked: BTreeMap<(usize, usize, SocketAddr), u8>,
    /// Bytes that attackers sent to a station from an address of their own, and got there.
    reflected: BTreeMap<(usize, SocketAddr), (usize, usize)>,
    /// Most probes of one station to one such address in any minute.
    pub most_probes: usize,
    /// Datagrams that travelled.
    pub datagrams: u64,
    /// Of them an attacker's.
    pub forged: u64,
    digest: blake3::Hasher,
}

impl Watch {
    /// Something is wrong.
    pub fn wrong(&mut self, now: Duration, what: String) {
        if self.violations.len() < MOST {
            self.violations.push(format!("at {:.3} s: {what}", now.as_secs_f64()));
        }
    }

    /// Goes into the digest of the run: what happened, without what was enciphered.
    pub fn trace(&mut self, parts: &[u64]) {
        for part in parts {
            self.digest.update(&part.to_be_bytes());
        }
    }

    /// The digest of all that happened.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.finalize().to_hex()[..16].to_owned()
    }

    /// Somebody has spoken to a station from this address.
    pub fn heard(&mut self, station: usize, from: SocketAddr, by: usize) {
        self.heard.entry((station, from)).or_default().insert(by);
    }

    /// Whether it ever did.
    #[must_use]
    pub fn was_heard(&self, station: usize, from: SocketAddr, by: usize) -> bool {
        self.heard.get(&(station, from)).is_some_and(|heard| heard.contains(&by))
    }

    /// Both have consented anew.
    pub fn consented(&mut self, station: usize, peer: usize) {
        self.asked.retain(|(asker, asked, _), _| (*asker, *asked) != (station, peer));
    }

    /// A station probes an address (SECURITY R58). `clock` is its own.
    pub fn probe(
        &mut self,
        now: Duration,
        clock: Duration,
        station: usize,
        peer: usize,
        to: SocketAddr,
        calm: bool,
    ) {
        if self.heard.contains_key(&(station, to)) {
            return;
        }
        let asked = self.asked.entry((station, peer, to)).or_default();
        *asked = asked.saturating_add(1);
        let times = *asked;
        let sent = self.probes.entry((station, to.ip())).or_default();
        sent.push_back(clock);
        while sent.front().is_some_and(|at| clock.saturating_sub(*at) >= Duration::from_secs(60)) {
            sent.pop_front();
        }
        let in_a_minute = sent.len();
        self.most_probes = self.most_probes.max(in_a_minute);
        if in_a_minute > 20 {
            self.wrong(
                now,
                format!("R58: {in_a_minute} probes of host {station} to {} in a minute", to.ip()),
            );
        }
        // Genuine messages that somebody sends on from elsewhere cost one more each.
        if times > 5 && calm {
            self.wrong(now, format!("R58: probe {times} of host {station} to {to} for one consent"));
        }
    }

    /// Bytes went to an attacker's own address, or came from there (SECURITY R15).
    pub fn reflects(&mut self, now: Duration, station: usize, address: SocketAddr, came: usize, went: usize) {
        let (all_came, all_went) = self.reflected.entry((station, address)).or_default();
        *all_came += came;
        *all_went += went;
        let (came, went) = (*all_came, *all_went);
        if went > came {
            self.wrong(
                now,
                format!("R15: station {station} sent {went} bytes to {address}, which had sent {came}"),
            );
        }
    }
}
