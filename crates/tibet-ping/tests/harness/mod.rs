//! Nodes on a simulated network under one virtual clock.
//!
//! [`Net`] passes datagrams, time and randomness to several [`PingNode`]s. All that is left to chance follows from its seed, which a test that fails
//! prints. Nothing sleeps: [`Net::run`] goes from one thing that is due to the next.
#![allow(dead_code, unreachable_pub, reason = "shared by the test files beside; each uses its own part")]

mod random;
pub use random::Random;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use jis::{Fingerprint, Name, UnixTime};
use proptest::prelude::ProptestConfig;
use tibet_ping::{
    Answered, Ask, Destination, Discovered, Encoding, Event, NodeConfig, NodeIdentity, Now, Packet, PingNode,
    PingSeen, QuestionId, RequestId, RestartBound,
};

use crate::common::{NOON, fresh, key, name};

/// Timeouts that may be due at one moment before a node is said to spin.
const MOST_AT_ONCE: u32 = 200;

/// What happens to datagrams on their way.
#[derive(Clone, Copy)]
pub struct Link {
    /// In a thousand.
    pub lost: u64,
    /// In a thousand.
    pub doubled: u64,
    /// The shortest way takes this long.
    pub delay: Duration,
    /// A datagram takes up to this much longer, so that later ones overtake it.
    pub jitter: Duration,
}

impl Link {
    /// Nothing is lost, and one millisecond passes.
    pub const GOOD: Self =
        Self { lost: 0, doubled: 0, delay: Duration::from_millis(1), jitter: Duration::ZERO };
    /// One in five is lost, one in ten comes twice, and order means little.
    pub const BAD: Self =
        Self { lost: 200, doubled: 100, delay: Duration::from_millis(5), jitter: Duration::from_millis(200) };
}

/// A datagram that a node has sent, whether it arrived or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    pub at: Duration,
    pub from: SocketAddr,
    /// `None` for the discovery groups.
    pub to: Option<SocketAddr>,
    pub bytes: Vec<u8>,
}

/// How a datagram travels.
#[derive(Clone, Copy, PartialEq)]
enum Channel {
    Straight,
    Multicast,
    Tunnel,
}

struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    channel: Channel,
    bytes: Vec<u8>,
}

pub struct Host {
    pub node: PingNode,
    pub name: Name,
    pub address: SocketAddr,
    pub events: Vec<Event>,
    /// The key it signs with, by number.
    pub key: usize,
    /// Who is in the same group hears its multicasts.
    pub group: Option<u8>,
    /// How far its wall clock is ahead, in milliseconds.
    pub ahead: i64,
    /// The restart bound on its disk.
    pub disk: Option<UnixTime>,
}

pub struct Net {
    seed: u64,
    random: Random,
    pub elapsed: Duration,
    pub hosts: Vec<Host>,
    flights: BTreeMap<(Duration, u64), Flight>,
    flown: u64,
    pub link: Link,
    cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    pub captures: Vec<Capture>,
    /// What went into tunnels: every two nodes have one, and nobody sees what is in it.
    pub sealed: Vec<Capture>,
}

/// A node that speaks when it is spoken to.
pub fn quiet() -> NodeConfig {
    NodeConfig { heartbeat: None, discovery: None, ..NodeConfig::default() }
}

/// Address number `n`, on port 7150.
pub fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250 + 1) as u8], 7150))
}

/// How long a search goes on: so many cases, or as many as `PROPTEST_CASES` says.
pub fn cases(few: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(few), failure_persistence: None, ..ProptestConfig::default() }
}

/// An address no node has.
pub fn elsewhere(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 1000 + n))
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            elapsed: Duration::ZERO,
            hosts: Vec::new(),
            flights: BTreeMap::new(),
            flown: 0,
            link: Link::GOOD,
            cuts: BTreeSet::new(),
            captures: Vec::new(),
            sealed: Vec::new(),
        }
    }

    /// Nodes with these names, on addresses and with keys of their own.
    pub fn of(seed: u64, names: &[&str], config: &NodeConfig) -> Self {
        let mut net = Self::new(seed);
        for text in names {
            net.add(text, config.clone());
        }
        net
    }

    pub fn add(&mut self, text: &str, config: NodeConfig) -> usize {
        let n = self.hosts.len();
        self.add_with_key(text, n, config)
    }

    pub fn add_with_key(&mut self, text: &str, key: usize, config: NodeConfig) -> usize {
        let (n, name, address) = (self.hosts.len(), name(text), address(self.hosts.len()));
        let node = self.start(name.clone(), address, key, config, self.now_of(0));
        let host = Host { node, name, address, events: Vec::new(), key, group: None, ahead: 0, disk: None };
        self.hosts.push(host);
        self.drain(n);
        n
    }

    fn start(&mut self, name: Name, address: SocketAddr, n: usize, config: NodeConfig, now: Now) -> PingNode {
        let fingerprint = fingerprint(n);
        let identity = NodeIdentity { name, key: key(n), generation: 0, fingerprint };
        let mut random = Random::new(self.random.next());
        let seed = random.bytes();
        let mut node = PingNode::new(identity, config, Box::new(move || Some(random.bytes())), seed, now);
        node.set_own_addresses([address]);
        node
    }

    /// Ends a node and starts it again with what it has on disk.
    pub fn restart(&mut self, n: usize, config: NodeConfig) {
        let config = NodeConfig { restart: Some(RestartBound::new(self.hosts[n].disk)), ..config };
        let (name, address, key) = (self.hosts[n].name.clone(), self.hosts[n].address, self.hosts[n].key);
        self.hosts[n].node = self.start(name, address, key, config, self.now(n));
        self.drain(n);
    }

    fn now_of(&self, ahead: i64) -> Now {
        let millis = NOON.as_millis() + self.elapsed.as_millis() as u64;
        let wall = UnixTime::from_millis(millis.checked_add_signed(ahead).expect("after 1970"));
        Now { wall: wall.expect("a time"), mono: Duration::from_secs(1000) + self.elapsed }
    }

    /// The clocks of a node.
    pub fn now(&self, n: usize) -> Now {
        self.now_of(self.hosts[n].ahead)
    }

    /// The clocks of whoever is no node.
    pub fn time(&self) -> Now {
        self.now_of(0)
    }

    pub fn node(&self, n: usize) -> &PingNode {
        &self.hosts[n].node
    }

    /// Does something with a node, and lets what follows from it happen.
    pub fn with<T>(&mut self, n: usize, act: impl FnOnce(&mut PingNode, Now) -> T) -> T {
        let now = self.now(n);
        let result = act(&mut self.hosts[n].node, now);
        self.drain(n);
        result
    }

    /// Has `n` trust `other` so far.
    pub fn trust(&mut self, n: usize, other: usize, score: f64) {
        let name = self.hosts[other].name.clone();
        self.with(n, |node, now| node.set_trust(name, score, "test", now)).expect("a score");
    }

    /// Has every node trust every other so far.
    pub fn trust_all(&mut self, score: f64) {
        for n in 0..self.hosts.len() {
            for other in (0..self.hosts.len()).filter(|other| *other != n) {
                self.trust(n, other, score);
            }
        }
    }

    /// A question of `n` to `other`, to be changed before it is asked.
    pub fn question(&self, other: usize) -> Ask {
        let host = &self.hosts[other];
        Ask::new(host.name.clone(), Some(host.address), "temperature.read")
    }

    pub fn ask(&mut self, n: usize, other: usize) -> RequestId {
        let ask = self.question(other);
        self.with(n, |node, now| node.ping(ask, now)).expect("asked")
    }

    /// Hands a node a datagram at once.
    pub fn throw(&mut self, from: SocketAddr, n: usize, bytes: &[u8]) {
        self.with(n, |node, now| node.handle_datagram(from, bytes, now));
    }

    /// Hands a node a datagram of the discovery groups at once.
    pub fn throw_multicast(&mut self, from: SocketAddr, on_link: bool, n: usize, bytes: &[u8]) {
        self.with(n, |node, now| node.handle_multicast(from, on_link, bytes, now));
    }

    /// Hands a node at once what came through the tunnel from node `from`.
    pub fn throw_sealed(&mut self, from: usize, n: usize, bytes: &[u8]) {
        let (peer, key) = (self.hosts[from].name.clone(), key(self.hosts[from].key).public_key());
        self.with(n, |node, now| node.handle_sealed(&peer, &key, bytes, now));
    }

    /// From now on nothing goes from one to the other, nor back.
    pub fn cut(&mut self, one: usize, other: usize) {
        let (a, b) = (self.hosts[one].address, self.hosts[other].address);
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub fn join(&mut self, one: usize, other: usize) {
        let (a, b) = (self.hosts[one].address, self.hosts[other].address);
        self.cuts.remove(&(a, b));
        self.cuts.remove(&(b, a));
    }

    /// The host gets another address, as after a night; what is on its way to the old one is lost.
    pub fn move_to(&mut self, n: usize, address: SocketAddr) {
        self.hosts[n].address = address;
        self.hosts[n].node.set_own_addresses([address]);
    }

    fn drain(&mut self, n: usize) {
        let now = self.now(n);
        loop {
            let host = &mut self.hosts[n];
            if let Some(bound) = host.node.poll_persist(now) {
                host.disk = Some(bound);
                host.node.handle_persisted(bound);
            }
            while let Some(event) = host.node.poll_event() {
                host.events.push(event);
            }
            let (from, group) = (host.address, host.group);
            let Some(transmit) = host.node.poll_transmit() else { return };
            match transmit.to {
                Destination::Address(to) => {
                    self.fly(from, to, Channel::Straight, &transmit.bytes);
                    self.captures.push(Capture {
                        at: self.elapsed,
                        from,
                        to: Some(to),
                        bytes: transmit.bytes,
                    });
                }
                Destination::Multicast => {
                    let hears = |host: &&Host| group.is_some() && host.group == group && host.address != from;
                    let heard: Vec<_> = self.hosts.iter().filter(hears).map(|host| host.address).collect();
                    heard.into_iter().for_each(|to| self.fly(from, to, Channel::Multicast, &transmit.bytes));
                    self.captures.push(Capture { at: self.elapsed, from, to: None, bytes: transmit.bytes });
                }
                Destination::Sealed(peer) => {
                    let to = self.hosts.iter().find(|host| host.name == peer).map(|host| host.address);
                    to.into_iter().for_each(|to| self.fly(from, to, Channel::Tunnel, &transmit.bytes));
                    self.sealed.push(Capture { at: self.elapsed, from, to, bytes: transmit.bytes });
                }
            }
        }
    }

    fn fly(&mut self, from: SocketAddr, to: SocketAddr, channel: Channel, bytes: &[u8]) {
        if self.cuts.contains(&(from, to)) || self.random.chance(self.link.lost) {
            return;
        }
        let copies = if self.random.chance(self.link.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.elapsed + self.link.delay + self.random.up_to(self.link.jitter);
            self.flown += 1;
            self.flights.insert((at, self.flown), Flight { from, to, channel, bytes: bytes.to_vec() });
        }
    }

    /// Lets time pass, and all that is due in it happen.
    pub fn run(&mut self, duration: Duration) {
        let end = self.elapsed + duration;
        let mut at_once = 0;
        loop {
            let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
            let timer = (0..self.hosts.len()).map(|n| (self.due(n), n)).min();
            let due = flight.into_iter().chain(timer.map(|(due, _)| due)).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            at_once = if due > self.elapsed { 0 } else { at_once };
            self.elapsed = self.elapsed.max(due);
            if flight.is_some_and(|at| at <= due) {
                let Some((_, Flight { from, to, channel, bytes })) = self.flights.pop_first() else {
                    break;
                };
                if let Some(n) = self.hosts.iter().position(|host| host.address == to) {
                    match channel {
                        Channel::Straight => self.throw(from, n, &bytes),
                        Channel::Multicast => self.throw_multicast(from, true, n, &bytes),
                        Channel::Tunnel => {
                            let sender = self.hosts.iter().position(|host| host.address == from);
                            self.throw_sealed(sender.expect("a node"), n, &bytes);
                        }
                    }
                }
            } else if let Some((_, n)) = timer {
                at_once += 1;
                assert!(at_once < MOST_AT_ONCE, "{} is due again and again", self.hosts[n].name);
                self.with(n, PingNode::handle_timeout);
            }
        }
        self.elapsed = end;
    }

    /// As [`Net::run`], in seconds.
    pub fn seconds(&mut self, seconds: f64) {
        self.run(Duration::from_secs_f64(seconds));
    }

    fn due(&self, n: usize) -> Duration {
        let mono = self.hosts[n].node.poll_timeout().expect("a node always waits for something");
        mono.saturating_sub(Duration::from_secs(1000))
    }

    // What has happened.

    pub fn bytes_to(&self, to: SocketAddr) -> usize {
        self.captures.iter().filter(|c| c.to == Some(to)).map(|c| c.bytes.len()).sum()
    }

    /// What a node has sent, multicasts included.
    pub fn sent_by(&self, n: usize) -> Vec<&Capture> {
        self.captures.iter().filter(|c| c.from == self.hosts[n].address).collect()
    }

    pub fn dropped(&self, n: usize, reason: &str) -> u64 {
        self.node(n).stats().dropped.get(reason).copied().unwrap_or(0)
    }

    pub fn answers(&self, n: usize) -> Vec<&Answered> {
        let answers = self.hosts[n].events.iter();
        answers.filter_map(|e| if let Event::Answered(a) = e { Some(&**a) } else { None }).collect()
    }

    pub fn pings(&self, n: usize) -> Vec<&PingSeen> {
        let pings = self.hosts[n].events.iter();
        pings.filter_map(|e| if let Event::Ping(p) = e { Some(&**p) } else { None }).collect()
    }

    pub fn questions(&self, n: usize) -> Vec<(QuestionId, &PingSeen)> {
        let questions = self.hosts[n].events.iter();
        questions
            .filter_map(|e| if let Event::Question { id, ping } = e { Some((*id, &**ping)) } else { None })
            .collect()
    }

    pub fn discovered(&self, n: usize) -> Vec<&Discovered> {
        let found = self.hosts[n].events.iter();
        found.filter_map(|e| if let Event::Discovered(d) = e { Some(&**d) } else { None }).collect()
    }

    /// How many events of a kind a node has told of.
    pub fn count(&self, n: usize, kind: impl Fn(&Event) -> bool) -> usize {
        self.hosts[n].events.iter().filter(|event| kind(event)).count()
    }

    // What others make up.

    /// A packet from `source` to node `n`, made now.
    pub fn packet(&mut self, source: &str, n: usize) -> Packet {
        let fresh = fresh(self.random.next(), self.time().wall);
        Packet::intent(&name(source), &self.hosts[n].name, "temperature.read", "test", fresh)
    }

    /// The frame of a packet, signed now with key number `key`.
    pub fn signed(&self, packet: Packet, key: usize) -> Vec<u8> {
        sign(packet, key, self.time()).encode(Encoding::Json).expect("encoded")
    }
}

/// Signs with key number `n`, to count for 30 s from `now` on.
pub fn sign(mut packet: Packet, n: usize, now: Now) -> Packet {
    let expires_at = now.wall.saturating_add(tibet_ping::MAX_LIFETIME);
    tibet_ping::sign_ping(&mut packet, &key(n), 0, None, expires_at).expect("signed");
    packet
}

/// The fingerprint of the identity whose key is number `n`.
pub fn fingerprint(n: usize) -> Fingerprint {
    Fingerprint::from_bytes([n as u8; 32])
}

impl Drop for Net {
    #[allow(clippy::print_stderr, reason = "whoever looks into a failure needs the seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, {:?} after the start", self.seed, self.elapsed);
        }
    }
}
