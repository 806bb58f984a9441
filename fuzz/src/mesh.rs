//! F13: two devices of the mesh, a relay between them, a peer of both that means ill, and somebody who sends what he likes from wherever he likes.
//! SECURITY R15, R19, R20, R24, R50, R53, R56, R58, 3.2 rows 55, 56, 69 to 71, 78 and 79.
//!
//! An input is a story. After every step:
//!
//! - What arrives was sent, by whom it says, to whom it is for, and once; of the peer that means ill, what is from its address and for ours.
//! - To where nobody lives no more is sent than came from there, but for five probes to each address that a consent named; and no path leads there, or to anybody but the
//!   peer itself.
//! - The relay sends to those alone that have a session, and to others no more than came from them.
//! - Nothing is due that was done, and nothing is left in a queue.
//!
//! What tunnels draw from the system is not in the input: a story that fails fails for what happens in it, whatever the keys of its sessions. WireGuard's own clock
//! does not follow the story's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::BytesMut;
use jis::{Endpoint, Fingerprint, TransportKey, TransportSecret};
use tibet_mesh::{
    Mesh, Path, ProbeKeys, RelayClient, RelayConfig, RelayId, RelayKeys, RelayOpening, RelayServer, Role,
    Tunnels, Wire,
};

use super::Verdict;
use super::script::Script;

const MAX_STEPS: usize = 120;
/// Rounds after which a machine that is still due is said to spin.
const MAX_ROUNDS: usize = 64;
/// Datagrams that somebody remembers who overhears them.
const MEMORY: usize = 64;
const RELAY: usize = 3;
const RELAY_ID: RelayId = RelayId(0);
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The two devices, the peer that means ill, the relay; then places where nobody lives, the last of them in the mesh's own network.
const PLACES: [&str; 7] = [
    "192.0.2.1:7150",
    "192.0.2.2:7150",
    "192.0.2.3:7150",
    "198.51.100.1:7150",
    "203.0.113.66:666",
    "[2001:db8::66]:666",
    "203.0.113.67:7150",
];
/// Bytes of a probe, and how many of them an address gets for each consent that names it.
const PROBES: usize = 5 * 64;

/// Plays one story. Accepted if anything arrived.
pub fn check(input: &[u8]) -> Verdict {
    let mut script = Script::new(input);
    let mut world = World::new();
    for _ in 0..MAX_STEPS {
        if world.step(&mut script).is_none() {
            break;
        }
        world.settle();
    }
    Verdict::of(world.arrived > 0)
}

/// A datagram on its way, or one that was overheard.
#[derive(Clone)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct World {
    now: Duration,
    meshes: [Mesh; 2],
    relay: RelayServer,
    /// The third's tunnels to the two, and its session with the relay.
    third: Tunnels,
    third_at_relay: RelayClient,
    way: Vec<Datagram>,
    overheard: Vec<Datagram>,
    /// What each of the three has said to each of the two, and has not arrived.
    said: BTreeSet<(usize, usize, Vec<u8>)>,
    /// Whether each of the two has this one of the others for a peer.
    peers: [[bool; 3]; 2],
    /// Bytes that came from a place where nobody lives, for each of the two and the relay; and those that may be sent there.
    received: BTreeMap<(usize, SocketAddr), usize>,
    sent: BTreeMap<(usize, SocketAddr), usize>,
    consents: u8,
    requests: u8,
    count: u32,
    arrived: usize,
}

impl World {
    fn new() -> Self {
        let mesh = |number: usize| Mesh::new("tibet", &identity(number), &secret(number), 1280);
        let now = Duration::from_secs(1000);
        let mut third = Tunnels::new(&secret(2), 1280);
        assert!([0, 1].into_iter().all(|number| third.set(identity(number), KEYS[number])));
        let mut relay = RelayServer::new(RelayConfig::default(), [7; 32]);
        let third_at_relay = session(&mut relay, 2, 0, now);
        let mut world = Self {
            now,
            meshes: [mesh(0), mesh(1)],
            relay,
            third,
            third_at_relay,
            way: Vec::new(),
            overheard: Vec::new(),
            said: BTreeSet::new(),
            peers: [[false; 3]; 2],
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            consents: 0,
            requests: 0,
            count: 0,
            arrived: 0,
        };
        for device in 0..2 {
            for peer in (0..3).filter(|peer| *peer != device) {
                world.set_peer(device, peer, true);
            }
            world.open_relay(device);
        }
        world.settle();
        world
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 16 {
            // A device says something to another, over whatever path there is.
            0..=2 => {
                let [who, length] = script.take()?;
                let (from, to) = (usize::from(who & 1), usize::from(who >> 1 & 1));
                let to = if to == 0 { 1 - from } else { 2 };
                self.say(from, to, length.into());
            }
            3..=5 => self.arrive(),
            6 => self.way.clear(),
            // What was overheard comes again: whole or not, from here or there, to whom it was for or to another.
            7 | 8 => {
                let [which, from, to, at, flip] = script.take()?;
                let count = self.overheard.len().max(1);
                let mut again = self.overheard.get(usize::from(which) % count).cloned()?;
                again.from = if from & 1 == 0 { again.from } else { place(from >> 1) };
                again.to = if to & 1 == 0 { again.to } else { place(to >> 1 & 1) };
                if let Some(byte) = again.bytes.get_mut(usize::from(at)) {
                    *byte ^= flip;
                }
                self.throw(again);
            }
            // Anything.
            9 => {
                let [from, to, kind, length] = script.take()?;
                let to = [place(0), place(1), place(3)][usize::from(to) % 3];
                let mut bytes = script.up_to(length.into()).to_vec();
                if kind >= 16 {
                    let body = u32::try_from(bytes.len()).expect("short").to_be_bytes();
                    bytes = [b"TP\x02", &[16 + kind % 8][..], &body, &bytes].concat();
                } else if kind >= 8 {
                    bytes = [&[kind % 5, 0, 0, 0], &bytes[..]].concat();
                    bytes.resize([148, 92, 64, 32][usize::from(kind % 4)], kind);
                }
                self.throw(Datagram { from: place(from), to, bytes });
            }
            10 => self.forward(Duration::from_millis(u64::from(script.byte()?) * 40)),
            11 => self.forward(Duration::from_secs(u64::from(script.byte()?) * 60)),
            12 => self.consent(script.take()?),
            13 => {
                let [to, length] = script.take()?;
                let packet = script.up_to(length.into()).to_vec();
                self.third_says(to, &packet);
            }
            14 => {
                let [target, length] = script.take()?;
                let mut message = script.up_to(length.into()).to_vec();
                message.resize(message.len().max(32), 0);
                message[..4].copy_from_slice(&[4, 0, 0, 0]);
                let target = overlay(usize::from(target % 5));
                if let Some(bytes) = self.third_at_relay.seal(target, &message, self.now) {
                    self.way.push(Datagram { from: place(2), to: place(3), bytes });
                }
            }
            _ => self.operate(script.take()?),
        }
        Some(())
    }

    fn say(&mut self, from: usize, to: usize, length: usize) {
        self.count += 1;
        let packet = packet(from, to, &[&self.count.to_be_bytes()[..], &vec![7; length]].concat());
        let taken = self.meshes[from].handle_packet(packet[..].into(), self.now).is_ok();
        assert_eq!(taken, self.peers[from][to]);
        if taken && to < 2 {
            self.said.insert((from, to, packet));
        }
    }

    /// The third says what it likes in its tunnel: with a header of its own, or none at all.
    fn third_says(&mut self, to: u8, bytes: &[u8]) {
        let device = usize::from(to & 1);
        let inner = if to & 2 == 0 {
            self.count += 1;
            let mut inner = packet(2, device, &[&self.count.to_be_bytes()[..], bytes].concat());
            if to & 4 != 0 {
                let at = usize::from(to >> 3);
                inner[at] ^= bytes.first().copied().unwrap_or(1);
            }
            inner
        } else {
            bytes.to_vec()
        };
        let honest = inner.len() >= 40
            && inner[8..24] == overlay(2).octets()
            && inner[24..40] == overlay(device).octets();
        if let Some(bytes) = self.third.seal(&identity(device), inner[..].into(), self.now) {
            self.way.push(Datagram { from: place(2), to: place(to & 1), bytes: bytes.to_vec() });
        }
        if honest {
            self.said.insert((2, device, inner));
        }
    }

    /// Both consent, and each names places; or one of them never hears the other.
    fn consent(&mut self, [who, first, second]: [u8; 3]) {
        self.consents = self.consents.wrapping_add(1);
        let nonces = ([self.consents; 16], [self.consents ^ 0x80; 16]);
        let other = if who & 1 == 0 { 1 } else { 2 };
        let pair = [(0, other, Role::Asked, first), (other, 0, Role::Answered, second)];
        for (device, peer, role, named) in pair {
            if device == 2 || who >> (device + 1) & 1 == 1 || !self.peers[device][peer] {
                continue;
            }
            let keys = ProbeKeys::agree(&secret(device), &KEYS[peer], &nonces.0, &nonces.1, role);
            let mut named =
                vec![place(named), place(named >> 4), SocketAddr::new(overlay(peer).into(), 7150)];
            named.push(place(u8::try_from(peer).expect("few")));
            for to in named.iter().collect::<BTreeSet<_>>() {
                *self.received.entry((device, *to)).or_default() += PROBES;
            }
            let named: Vec<Endpoint> = named.iter().filter_map(|to| Endpoint::new(*to).ok()).collect();
            self.meshes[device].begin(&identity(peer), keys, &named, self.now);
        }
    }

    fn operate(&mut self, [what, who]: [u8; 2]) {
        let device = usize::from(who & 1);
        let peer = if who & 2 == 0 { 1 - device } else { 2 };
        match what % 8 {
            0 => self.set_peer(device, peer, false),
            1 | 2 => self.set_peer(device, peer, true),
            3 => self.meshes[device].set_answers_only(&identity(peer), who & 4 != 0),
            4 => self.meshes[device].close_relay(RELAY_ID, self.now),
            5 => self.open_relay(device),
            6 => self.meshes[device].handle_moved(self.now),
            _ => {
                self.relay.set_accepts(&identity(device), who & 4 != 0);
            }
        }
    }

    fn set_peer(&mut self, device: usize, peer: usize, wanted: bool) {
        let (mesh, identity) = (&mut self.meshes[device], identity(peer));
        if wanted {
            mesh.set_peer(identity, KEYS[peer]).expect("a key of its own");
            mesh.set_relays(&identity, vec![RELAY_ID], self.now);
        } else {
            mesh.remove_peer(&identity);
        }
        self.peers[device][peer] = wanted;
    }

    fn open_relay(&mut self, device: usize) {
        self.requests = self.requests.wrapping_add(1);
        let client = session(&mut self.relay, device, self.requests, self.now);
        self.meshes[device].open_relay(RELAY_ID, client, self.now);
    }

    /// Time goes by, and what is due in it happens.
    fn forward(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..MAX_ROUNDS {
            let due =
                self.meshes.iter().filter_map(Mesh::poll_timeout).chain(self.relay.poll_timeout()).min();
            self.now = due.filter(|due| *due <= end).unwrap_or(end).max(self.now);
            self.settle();
            if self.now == end {
                break;
            }
        }
        self.now = end;
    }

    /// Everybody gets what is on its way to him, and what comes of it.
    fn arrive(&mut self) {
        for _ in 0..4 {
            for datagram in std::mem::take(&mut self.way) {
                self.throw(datagram);
            }
            self.settle();
        }
    }

    fn throw(&mut self, Datagram { from, to, bytes }: Datagram) {
        let Some(node) = (0..=RELAY).find(|node| place_of(*node) == to) else { return };
        if node != 2 {
            *self.received.entry((node, from)).or_default() += bytes.len();
        }
        match node {
            RELAY => {
                if let Some(Wire::Frame { kind, body }) = Wire::read(&bytes) {
                    self.relay.handle_frame(kind, body, from, self.now);
                }
            }
            2 => self.third_hears(from, &bytes),
            _ => {
                self.meshes[node].handle_datagram(from, bytes[..].into(), self.now);
            }
        }
        self.settle();
    }

    /// The third answers handshakes as it should, so that it has sessions, and otherwise hears nothing.
    fn third_hears(&mut self, from: SocketAddr, bytes: &[u8]) {
        let message = match Wire::read(bytes) {
            Some(Wire::WireGuard(message)) => BytesMut::from(message),
            Some(Wire::Frame { kind, body }) => {
                let delivered = self.third_at_relay.handle_frame(kind, body, from, self.now);
                let Some(delivered) = delivered else { return };
                BytesMut::from(delivered.message)
            }
            None => return,
        };
        let mut sent = Vec::new();
        self.third.open(from, message, self.now, &mut |transmit| sent.push(transmit.datagram.to_vec()));
        self.way.extend(sent.into_iter().map(|bytes| Datagram { from: place(2), to: from, bytes }));
    }

    /// Does what is due, takes what there is, and looks whether all of it may be.
    fn settle(&mut self) {
        for device in 0..2 {
            self.meshes[device].handle_timeout(self.now);
            while let Some(transmit) = self.meshes[device].poll_transmit() {
                self.goes(device, transmit.to, &transmit.datagram);
            }
            while let Some((peer, packet)) = self.meshes[device].poll_packet() {
                self.arrived += 1;
                let peer = (0..3).find(|number| identity(*number) == peer).expect("one of three");
                assert!(self.peers[device][peer], "from {peer}, which is no peer of {device}");
                // The third may say the same twice, and what it says may end in what looks like padding.
                let known = self.said.take(&(peer, device, packet.to_vec())).is_some();
                let begins = |(from, to, said): &(usize, usize, Vec<u8>)| {
                    (*from, *to) == (2, device) && (said.starts_with(&packet) || packet.starts_with(said))
                };
                assert!(
                    known || peer == 2 && self.said.iter().any(begins),
                    "{device} from {peer}: {packet:?}"
                );
            }
            while self.meshes[device].poll_event().is_some() {}
            let due = self.meshes[device].poll_timeout().filter(|due| *due <= self.now);
            assert_eq!(due, None, "due again");
            for peer in 0..3 {
                let chosen =
                    self.meshes[device].status(&identity(peer), self.now).and_then(|status| status.chosen);
                if let Some(Path::Direct(at)) = chosen {
                    assert_eq!(at, place_of(peer), "the path of {device} to {peer}");
                }
            }
        }
        self.relay.handle_timeout(self.now);
        let mut delivered = Vec::new();
        self.relay.handle_turn_end(|to, bytes| delivered.push((to, bytes)));
        for (to, bytes) in delivered {
            self.goes(RELAY, to, &bytes);
        }
        assert_eq!(self.relay.poll_timeout().filter(|due| *due <= self.now), None);
        assert!(self.relay.sessions() <= 3);
    }

    /// A datagram leaves.
    fn goes(&mut self, node: usize, to: SocketAddr, bytes: &[u8]) {
        let lives = (0..=RELAY).any(|node| place_of(node) == to);
        if !lives {
            assert!(to.ip() != overlay(0) && to.ip() != overlay(1) && to.ip() != overlay(2), "into the mesh");
            let sent = self.sent.entry((node, to)).or_default();
            *sent += bytes.len();
            let received = self.received.get(&(node, to)).copied().unwrap_or(0);
            assert!(*sent <= received, "{node} has sent {sent} bytes to {to}, for {received}");
            // Whoever passes on what came to an address of his own is a path; that is no fault of the mesh.
            return;
        }
        let datagram = Datagram { from: place_of(node), to, bytes: bytes.to_vec() };
        if self.overheard.len() >= MEMORY {
            self.overheard.remove(0);
        }
        self.overheard.push(datagram.clone());
        self.way.push(datagram);
    }
}

/// What is asked for all the time, made once.
static IDENTITIES: LazyLock<[Fingerprint; 5]> =
    LazyLock::new(|| [0, 1, 2, 3, 4].map(|number| Fingerprint::of_inception(&[number])));
static OVERLAYS: LazyLock<[Ipv6Addr; 5]> =
    LazyLock::new(|| IDENTITIES.map(|identity| identity.overlay_address("tibet")));
static ADDRESSES: LazyLock<[SocketAddr; PLACES.len()]> =
    LazyLock::new(|| PLACES.map(|place| place.parse().expect("an address")));
static KEYS: LazyLock<[TransportKey; 3]> =
    LazyLock::new(|| [0, 1, 2].map(|number| secret(number).public_key()));

fn identity(number: usize) -> Fingerprint {
    IDENTITIES[number]
}

fn overlay(number: usize) -> Ipv6Addr {
    OVERLAYS[number]
}

fn secret(number: usize) -> TransportSecret {
    let mut bytes = [u8::try_from(number).expect("few"); 32];
    bytes[0] ^= 1;
    TransportSecret::from_bytes(bytes.into()).expect("a secret")
}

/// Where a node is.
fn place_of(node: usize) -> SocketAddr {
    ADDRESSES[node]
}

fn place(number: u8) -> SocketAddr {
    place_of(usize::from(number & 15) % PLACES.len())
}

fn packet(from: usize, to: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 59, 64];
    bytes[4..6].copy_from_slice(&u16::try_from(payload.len()).expect("short").to_be_bytes());
    bytes.extend(overlay(from).octets());
    bytes.extend(overlay(to).octets());
    bytes.extend(payload);
    bytes
}

/// Opens a session with the relay.
fn session(relay: &mut RelayServer, device: usize, request: u8, now: Duration) -> RelayClient {
    let (ours, theirs, request) = (secret(device + 10), secret(20), [request; 32]);
    let keys = RelayKeys::for_relay(&theirs, &ours.public_key(), &request).expect("keys");
    let from = place_of(device);
    let opening = RelayOpening {
        owner: identity(device),
        address: overlay(device),
        keys,
        from,
        accepts: true,
        lifetime: LIFETIME,
    };
    let session = relay.open(opening, now).expect("room");
    let keys = RelayKeys::for_device(&ours, &theirs.public_key(), &request).expect("keys");
    RelayClient::new(keys, session, place_of(RELAY), LIFETIME, now)
}
