//! F12: a whole node, bytes in, actions out. SECURITY R15, R17, R20, R21, T13 and T14.
//!
//! An input is a story: datagrams come from a few addresses, clocks go on and are set, the operator does something. After every step:
//!
//! - All that is due is done in a few rounds; the queues are empty once they were polled; the counts are what was counted here.
//! - To an address that sent nothing believable nothing is sent, unless the operator named it.
//! - To an address that has not proven itself no more is sent than came from it.
//! - No question is handed to the application twice.
//!
//! Which datagrams are believable, and which answers prove an address, is looked at afresh, with less care than the node takes: it may be
//! stricter.

mod acts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use jis::{Fingerprint, SecretKey, UnixTime};
use tibet_core::Zone;
use tibet_ping::{
    Binding, Destination, Encoding, Event, Frame, KeySource, Kind, MAX_PENDING_PER_SOURCE, NodeConfig,
    NodeIdentity, Now, Packet, PingNode, QuestionId, Response, RestartBound, Thresholds, Transmit, beacon_in,
    can_be_answered, request_hash, verify_ping, verify_pong,
};

use super::Verdict;
use super::honest::{NOON, key, name};
use super::replay::any_wall;
use super::script::Script;

/// Steps of a story at most, so that one takes milliseconds.
const MAX_STEPS: usize = 200;
/// Rounds after which a node that is still due is said to spin.
const MAX_ROUNDS: usize = 64;
/// How long an address that nothing comes from stays proven.
const PROVEN_FOR: Duration = Duration::from_secs(120);
const HUB: &str = "jis:home:hub";
/// Signs for whoever it is not.
const IMPOSTOR: usize = 5;
/// Who speaks: name, trust, and key if it has one; the node knows those of the first three.
const SPEAKERS: [(&str, Option<f64>, Option<usize>); 6] = [
    ("jis:home:groen", Some(0.9), Some(1)),
    ("jis:home:geel", Some(0.5), Some(2)),
    ("jis:home:rood", Some(0.1), Some(3)),
    ("jis:unknown", None, Some(4)),
    ("jis:old:groen", Some(0.9), None),
    ("jis:old:rood", None, None),
];
/// The first is the node's own; from the last three nobody can be answered.
const ADDRESSES: [&str; 9] = [
    "10.0.0.1:7150",
    "192.0.2.1:7150",
    "192.0.2.2:7150",
    "192.0.2.2:9",
    "[2001:db8::3]:7150",
    "[::ffff:192.0.2.1]:7150",
    "192.0.2.4:0",
    "224.0.0.1:7150",
    "0.0.0.0:7150",
];

/// Plays one story. Accepted if the node sent something where the operator had not told it to.
pub fn check(input: &[u8]) -> Verdict {
    let mut script = Script::new(input);
    let Some(mut world) = World::begin(&mut script) else { return Verdict::Refused };
    for _ in 0..MAX_STEPS {
        if world.step(&mut script).is_none() {
            break;
        }
        world.settle();
    }
    world.wait(Duration::from_secs(150));
    Verdict::of(world.places.values().any(|place| place.sent > 0))
}

/// What is known of an address.
#[derive(Default)]
struct Place {
    received: usize,
    /// Before it was proven.
    sent: usize,
    /// Something believable came from somebody who is not ROOD.
    welcome: bool,
    /// The operator wants something to go there.
    named: bool,
    proven: bool,
    heard: Duration,
}

struct World {
    node: PingNode,
    now: Now,
    /// What the node takes for the time.
    clock: UnixTime,
    places: BTreeMap<SocketAddr, Place>,
    /// Names the operator entered as peers: they stay where they are last proven to be.
    fixed: BTreeSet<String>,
    /// What came in, to come again, and the packets that went out, to be answered.
    thrown: Vec<Vec<u8>>,
    asked: Vec<(SocketAddr, Packet)>,
    questions: Vec<QuestionId>,
    handed_out: BTreeSet<[String; 4]>,
    sent: u64,
    made: u64,
}

impl World {
    fn begin(script: &mut Script<'_>) -> Option<Self> {
        let style = script.byte()?;
        let now = Now { wall: NOON, mono: Duration::from_secs(1000) };
        let capabilities = (0..style >> 4).map(|n| format!("capability-{n}").parse().expect("a word"));
        let config = NodeConfig {
            capabilities: capabilities.collect(),
            port: (style & 1 == 0).then_some(7150),
            encoding: encoding(style & 2),
            tokens: style & 4 != 0,
            restart: (style & 8 != 0).then(|| RestartBound::new(None)),
            ..NodeConfig::default()
        };
        let identity = NodeIdentity {
            name: name(HUB),
            key: key(10),
            generation: 0,
            fingerprint: Fingerprint::from_bytes([9; 32]),
        };
        let mut count = 0_u64;
        let random = move || {
            count += 1;
            let mut bytes = [0; 32];
            bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&count.to_be_bytes()));
            Some(bytes)
        };
        let mut node = PingNode::new(identity, config, Box::new(random), *b"a seed, a secret", now);
        node.set_own_addresses([address(0)]);
        for (text, trust, key) in SPEAKERS {
            if let Some(score) = trust {
                node.set_trust(name(text), score, "", now).expect("a score");
            }
            match key {
                Some(n @ 1..=3) => {
                    let binding = Binding { name: name(text), key: keys()[n].public_key(), generation: 0 };
                    assert_eq!(node.bind_key(binding, KeySource::Operator), Ok(true));
                }
                Some(_) => {}
                None => node.allow_unsigned(name(text)).expect("room"),
            }
        }
        let Ok(claimed) = "ask.*".parse();
        assert!(node.claim_intents(claimed));
        let mut world = Self {
            node,
            now,
            clock: now.wall,
            places: BTreeMap::new(),
            fixed: BTreeSet::new(),
            thrown: Vec::new(),
            asked: Vec::new(),
            questions: Vec::new(),
            handed_out: BTreeSet::new(),
            sent: 0,
            made: 0,
        };
        world.settle();
        Some(world)
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 16 {
            0 => {
                let [from, length] = script.take()?;
                let bytes = script.up_to(length.into()).to_vec();
                self.throw(from, from >> 4, bytes);
            }
            1..=5 => self.packet(script.take()?),
            // A datagram comes again, from here or there, whole or not.
            6 | 7 => {
                let [which, from, at, flip] = script.take()?;
                let mut bytes = acts::pick(&self.thrown, which).cloned().unwrap_or_default();
                let at = usize::from(at) * 4 + usize::from(flip & 3);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flip;
                }
                self.throw(from, from >> 4, bytes);
            }
            8 => self.search(script.take()?),
            9 | 10 => self.response(script.take()?),
            11 => self.wait(Duration::from_millis(u64::from(script.byte()?) * 40)),
            12 => self.wait(Duration::from_secs(script.byte()?.into())),
            13 => self.now.wall = any_wall(script)?,
            _ => self.operate(script.take()?),
        }
        Some(())
    }

    /// Hands the node a datagram; bit 1 of `how` for the discovery port, bit 0 for a neighbour's.
    fn throw(&mut self, from: u8, how: u8, bytes: Vec<u8>) {
        let from = address(from);
        self.note(from, how, &bytes);
        match how & 2 {
            0 => self.node.handle_datagram(from, &bytes, self.now),
            _ => self.node.handle_multicast(from, how & 1 == 1, &bytes, self.now),
        }
        self.thrown.push(bytes);
    }

    /// What a datagram entitles an address to.
    fn note(&mut self, from: SocketAddr, how: u8, bytes: &[u8]) {
        let Ok(Frame::Version1 { kind, encoding, body }) = Frame::read(bytes) else { return };
        match kind {
            Kind::Packet => {
                let Ok(packet) = Packet::decode(encoding, body) else { return };
                let beacon = beacon_in(&packet.payload).filter(|_| how & 2 != 0);
                // Whoever searches says itself which port it answers on.
                let to = beacon.map_or(from, |beacon| SocketAddr::new(from.ip(), beacon.claims().port));
                let welcome = (how & 2 == 0 || how & 1 == 1) && self.is_believable(&packet);
                let place = self.place(to);
                place.received += bytes.len();
                place.welcome |= welcome;
            }
            Kind::Response if how & 2 == 0 => {
                let Ok(response) = Response::decode(encoding, body) else { return };
                let proven = self.asked.iter().any(|(to, packet)| *to == from && answers(&response, packet));
                let named = proven && self.fixed.contains(&response.responder_did);
                let place = self.place(from);
                place.received += bytes.len();
                (place.proven, place.named) = (place.proven | proven, place.named | named);
            }
            Kind::Response => {}
        }
    }

    fn place(&mut self, at: SocketAddr) -> &mut Place {
        let now = self.now.mono;
        let place = self.places.entry(at).or_default();
        place.proven &= now.saturating_sub(place.heard) <= PROVEN_FOR;
        place.heard = now;
        place
    }

    fn is_believable(&self, packet: &Packet) -> bool {
        let Ok(source) = packet.source() else { return false };
        let bound = self.node.key_of(&source);
        let trust = self.node.trust_in(&source, self.now.wall).score;
        let true_words = match packet.claim {
            Some(claim) => {
                bound.is_none_or(|key| key == claim.public_key)
                    && verify_ping(packet, &claim.public_key).is_ok()
            }
            None => bound.is_none(),
        };
        Thresholds::default().zone(trust) != Zone::Rood && true_words
    }

    /// Time goes by, and all that is due in it happens.
    fn wait(&mut self, duration: Duration) {
        let end = self.now.mono + duration;
        while let Some(due) = self.node.poll_timeout().filter(|due| *due < end) {
            self.forward(due);
            self.settle();
        }
        self.forward(end);
        self.settle();
    }

    fn forward(&mut self, mono: Duration) {
        let by = mono.saturating_sub(self.now.mono);
        self.now = Now { wall: self.now.wall.saturating_add(by), mono: self.now.mono + by };
        self.clock = self.clock.saturating_add(by);
    }

    /// Does what is due and takes what there is.
    fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if let Some(bound) = self.node.poll_persist(self.now) {
                self.node.handle_persisted(bound);
            }
            self.drain(false);
            if self.node.poll_timeout().is_none_or(|due| due > self.now.mono) {
                return;
            }
            self.node.handle_timeout(self.now);
            self.clock = self.clock.max(self.now.wall);
        }
        panic!("due again and again: {:?}", self.node);
    }

    /// `named` if the operator wants all of it to be sent.
    fn drain(&mut self, named: bool) {
        while let Some(Transmit { to, bytes }) = self.node.poll_transmit() {
            self.sent += 1;
            if let Destination::Address(to) = to {
                self.sent_to(to, bytes.len(), named);
            }
            let Ok(Frame::Version1 { kind, encoding, body }) = Frame::read(&bytes) else {
                panic!("no frame")
            };
            if kind == Kind::Packet {
                let packet = Packet::decode(encoding, body).expect("what a node sends can be read");
                // Whoever hears a search may answer it; that proves nothing.
                let to = if let Destination::Address(to) = to { to } else { address(0) };
                self.asked.push((to, packet));
            }
        }
        while let Some(event) = self.node.poll_event() {
            if let Event::Question { id, ping } = event {
                let Packet { source_did, packet_id, nonce, timestamp, .. } = ping.packet;
                let question = [source_did, packet_id, nonce, timestamp];
                assert!(self.handed_out.insert(question.clone()), "asked twice: {question:?}");
                self.questions.push(id);
            }
        }
        assert!(self.node.poll_transmit().is_none() && self.node.poll_event().is_none());
        let stats = self.node.stats();
        assert_eq!((stats.received, stats.sent), (self.thrown.len() as u64, self.sent));
        assert!(stats.peers <= SPEAKERS.len() && stats.keys <= SPEAKERS.len(), "{stats:?}");
        assert!(
            stats.pending <= SPEAKERS.len() * MAX_PENDING_PER_SOURCE && stats.pending <= self.thrown.len()
        );
        assert!(stats.requests <= self.asked.len() && stats.nonces <= self.thrown.len(), "{stats:?}");
        assert!(stats.dropped.len() <= 64 && !stats.dropped.contains_key("overflow"), "{stats:?}");
    }

    fn sent_to(&mut self, to: SocketAddr, length: usize, named: bool) {
        assert!(can_be_answered(to), "sent to {to}");
        let now = self.now.mono;
        let place = self.places.entry(to).or_default();
        place.named |= named;
        assert!(place.named || place.welcome, "{length} bytes to {to}, where nobody believable was");
        // The operator may want even that.
        assert!(place.named || to != address(0), "sent to itself");
        let proven = place.proven && now.saturating_sub(place.heard) <= PROVEN_FOR;
        if !place.named && !proven {
            place.sent += length;
            assert!(place.sent <= place.received, "{} bytes to {to} for {}", place.sent, place.received);
        }
    }
}

/// Whether this is a true answer to a packet of the node's.
fn answers(response: &Response, packet: &Packet) -> bool {
    let Some((claim, name)) = response.claim.zip(response.responder().ok()) else { return false };
    let ours = packet.source_did == HUB && packet.packet_id == response.in_response_to;
    ours && verify_pong(response, &request_hash(packet), &name, &claim.public_key).is_ok()
}

fn address(n: u8) -> SocketAddr {
    ADDRESSES[usize::from(n & 15) % ADDRESSES.len()].parse().expect("an address")
}

fn encoding(bit: u8) -> Encoding {
    if bit == 0 { Encoding::Json } else { Encoding::Msgpack }
}

fn keys() -> &'static [SecretKey; 6] {
    static KEYS: OnceLock<[SecretKey; 6]> = OnceLock::new();
    KEYS.get_or_init(|| [10, 11, 12, 13, 14, 15].map(key))
}
