//! Two devices of the mesh speak by their overlay addresses: over the relay at first, directly where NATs let them, and not at all once they may not.

mod common;

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use common::{CONE, NatKind, SYMMETRIC, World, packet, secret};
use jis::{Endpoint, Fingerprint};
use tibet_mesh::{
    Mesh, MeshEvent, Path, PeerError, ProbeKeys, RelayClient, RelayConfig, RelayId, RelayKeys, RelayOpening,
    RelayServer, Role, TunnelStats, Tunnels, Undeliverable, Wire,
};

const RELAY: RelayId = RelayId(1);
/// How long a datagram takes over the relay: twice half of it.
const RELAYED: Duration = Duration::from_millis(25);
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

fn relay_address() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 7150))
}

fn identity(device: usize) -> Fingerprint {
    Fingerprint::of_inception(&[u8::try_from(device).expect("few devices")])
}

/// Has the relay open a session for a device that is seen at `from`, and names it in its record.
fn open_relay(relay: &mut RelayServer, device: &Fingerprint, from: SocketAddr, now: Duration) -> RelayClient {
    let (ours, theirs, request) = (secret(11), secret(12), [9; 32]);
    let keys = RelayKeys::for_relay(&theirs, &ours.public_key(), &request).expect("keys");
    let address = device.overlay_address("tibet");
    let opening = RelayOpening { owner: *device, address, keys, from, accepts: true, lifetime: LIFETIME };
    let session = relay.open(opening, now).expect("room");
    let keys = RelayKeys::for_device(&ours, &theirs.public_key(), &request).expect("keys");
    RelayClient::new(keys, session, relay_address(), LIFETIME, now)
}

/// Two devices, a relay between them, and what has arrived at each.
struct Pair {
    world: World,
    meshes: [Mesh; 2],
    /// Whether consents are exchanged when a path is wanted.
    consents: bool,
    agreements: u8,
    relay: RelayServer,
    relay_works: bool,
    /// On the way to the relay, and from it: when it arrives there, from where or at which device.
    to_relay: VecDeque<(Duration, SocketAddr, BytesMut)>,
    from_relay: VecDeque<(Duration, usize, Vec<u8>)>,
    arrived: [Vec<(Duration, BytesMut)>; 2],
    over_relay: usize,
}

impl Pair {
    fn behind(nats: [Option<NatKind>; 2]) -> Self {
        let world = World::of_two(nats);
        let mesh = |device: usize, number: u8| Mesh::new("tibet", &identity(device), &secret(number), 1280);
        let mut pair = Self {
            world,
            meshes: [mesh(0, 1), mesh(1, 2)],
            consents: true,
            agreements: 0,
            relay: RelayServer::new(RelayConfig::default(), [7; 32]),
            relay_works: true,
            to_relay: VecDeque::new(),
            from_relay: VecDeque::new(),
            arrived: Default::default(),
            over_relay: 0,
        };
        pair.meshes[0].set_peer(identity(1), secret(2).public_key()).expect("a peer");
        pair.meshes[1].set_peer(identity(0), secret(1).public_key()).expect("a peer");
        for device in 0..2 {
            let (now, from) = (pair.world.now, pair.world.observed(device));
            let client = open_relay(&mut pair.relay, &identity(device), from, now);
            pair.meshes[device].open_relay(RELAY, client, now);
            pair.meshes[device].set_relays(&identity(1 - device), vec![RELAY], now);
        }
        pair
    }

    /// Has what is on its way to the relay, and from it, arrive.
    fn relay(&mut self) {
        let now = self.world.now;
        while self.to_relay.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, from, datagram) = self.to_relay.pop_front().expect("seen");
            let Some(Wire::Frame { kind, body }) = Wire::read(&datagram) else { panic!("no frame") };
            self.relay.handle_frame(kind, body, from, now);
        }
        let observed = [self.world.observed(0), self.world.observed(1)];
        self.relay.handle_turn_end(|to, datagram| {
            if let Some(device) = observed.iter().position(|seen| *seen == to) {
                self.from_relay.push_back((now + RELAYED / 2, device, datagram));
            }
        });
        while self.from_relay.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, device, datagram) = self.from_relay.pop_front().expect("seen");
            assert!(self.meshes[device].handle_datagram(relay_address(), datagram[..].into(), now));
        }
    }

    fn address(&self, device: usize) -> Ipv6Addr {
        self.meshes[device].address()
    }

    fn say(&mut self, from: usize, payload: &[u8]) {
        let packet = packet(self.address(from), self.address(1 - from), payload);
        let now = self.world.now;
        self.meshes[from].handle_packet(packet, now).expect("a packet for the mesh");
    }

    fn consent(&mut self) {
        self.agreements += 1;
        let (first, second) = ([self.agreements; 16], [self.agreements + 100; 16]);
        for (device, other, role) in [(1, 0, Role::Answered), (0, 1, Role::Asked)] {
            let secrets = [secret(1), secret(2)];
            let keys =
                ProbeKeys::agree(&secrets[device], &secrets[other].public_key(), &first, &second, role);
            let named = [self.world.address(other), self.world.observed(other)];
            let named: Vec<Endpoint> =
                named.iter().filter_map(|address| Endpoint::new(*address).ok()).collect();
            let now = self.world.now;
            self.meshes[device].begin(&identity(other), keys, &named, now);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        loop {
            let mut wanted = false;
            for device in 0..2 {
                let now = self.world.now;
                self.meshes[device].handle_timeout(now);
                while let Some(transmit) = self.meshes[device].poll_transmit() {
                    if transmit.to != relay_address() {
                        self.world.send(device, transmit.to, transmit.datagram.to_vec());
                    } else if self.relay_works {
                        self.over_relay += usize::from(transmit.peer.is_some());
                        let from = self.world.observed(device);
                        self.to_relay.push_back((now + RELAYED / 2, from, transmit.datagram));
                    }
                }
                while let Some((_, packet)) = self.meshes[device].poll_packet() {
                    self.arrived[device].push((now, packet));
                }
                while let Some(event) = self.meshes[device].poll_event() {
                    wanted |= matches!(event, MeshEvent::PathWanted(_));
                }
            }
            if wanted && self.consents {
                self.consent();
                continue;
            }
            let timers = self.meshes.iter().filter_map(Mesh::poll_timeout);
            let to_relay = self.to_relay.front().map(|(at, ..)| *at);
            let relayed = to_relay.into_iter().chain(self.from_relay.front().map(|(at, ..)| *at));
            let next = timers.chain(self.world.next()).chain(relayed).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.world.now = self.world.now.max(next);
            let now = self.world.now;
            while let Some(arrival) = self.world.take() {
                let datagram = BytesMut::from(&arrival.datagram[..]);
                assert!(self.meshes[arrival.device].handle_datagram(arrival.from, datagram, now));
            }
            self.relay();
        }
        self.world.now = end;
    }

    fn payloads(&self, device: usize) -> Vec<Vec<u8>> {
        self.arrived[device].iter().map(|(_, packet)| packet[40..].to_vec()).collect()
    }

    fn chosen(&self, device: usize) -> Option<Path> {
        self.meshes[device].status(&identity(1 - device), self.world.now).and_then(|status| status.chosen)
    }

    fn tunnel(&self, device: usize) -> TunnelStats {
        self.meshes[device].status(&identity(1 - device), self.world.now).expect("a peer").tunnel
    }
}

#[test]
fn the_first_packet_goes_over_the_relay_and_soon_they_speak_directly() {
    let mut pair = Pair::behind([Some(CONE), Some(CONE)]);
    let begun = pair.world.now;
    pair.say(0, b"first");
    pair.run(Duration::from_millis(200));
    assert_eq!(pair.payloads(1), [b"first"]);
    // A handshake there and back, and the packet.
    assert!(pair.arrived[1][0].0 - begun <= 3 * RELAYED);
    for device in 0..2 {
        assert!(matches!(pair.chosen(device), Some(Path::Direct(_))), "{:?}", pair.chosen(device));
    }
    let over_relay = pair.over_relay;
    for number in 0..100_u8 {
        pair.say(0, &[number]);
        pair.say(1, &[number]);
        pair.run(Duration::from_millis(10));
    }
    assert_eq!(pair.over_relay, over_relay, "nothing more over the relay");
    assert_eq!((pair.payloads(1).len(), pair.payloads(0).len()), (101, 100));
    assert!(pair.tunnel(0).since_handshake.is_some() && pair.tunnel(1).received > 0);
}

/// SECURITY R24, roaming: whoever hears a peer that has moved answers over the way that it hears it.
#[test]
fn a_peer_that_has_moved_is_answered_over_the_relay_at_once() {
    let mut pair = Pair::behind([Some(CONE), Some(CONE)]);
    pair.say(0, b"first");
    pair.run(Duration::from_secs(2));
    assert!(matches!(pair.chosen(1), Some(Path::Direct(_))));
    let ends = [pair.world.observed(0).ip(), pair.world.observed(1).ip()];
    pair.world.cut.push((ends[0], ends[1]));
    pair.consents = false;
    let now = pair.world.now;
    pair.meshes[0].handle_moved(now);
    // The relay has answered by then.
    pair.run(2 * RELAYED);
    pair.say(0, b"I have moved");
    pair.run(RELAYED + Duration::from_millis(5));
    assert_eq!(pair.payloads(1).len(), 2);
    pair.say(1, b"I have heard");
    pair.run(RELAYED + Duration::from_millis(5));
    assert_eq!(pair.payloads(0), [b"I have heard"]);
}

#[test]
fn a_peer_that_did_not_know_us_yet_is_spoken_to_as_soon_as_it_consents() {
    let mut pair = Pair::behind([Some(SYMMETRIC), Some(SYMMETRIC)]);
    pair.consents = false;
    pair.meshes[1].remove_peer(&identity(0));
    pair.say(0, b"hello");
    pair.run(Duration::from_millis(200));
    let now = pair.world.now;
    pair.meshes[1].set_peer(identity(0), secret(1).public_key()).expect("a peer");
    pair.meshes[1].set_relays(&identity(0), vec![RELAY], now);
    pair.consent();
    pair.run(4 * RELAYED);
    assert_eq!(pair.payloads(1), [b"hello"]);
}

/// Its record may have been looked up before it named the relay.
#[test]
fn a_peer_that_speaks_over_a_relay_is_answered_over_it() {
    let mut pair = Pair::behind([Some(SYMMETRIC), Some(SYMMETRIC)]);
    pair.consents = false;
    let now = pair.world.now;
    pair.meshes[1].set_relays(&identity(0), Vec::new(), now);
    pair.say(0, b"hello");
    pair.run(4 * RELAYED);
    assert_eq!(pair.payloads(1), [b"hello"]);
    pair.say(1, b"I have heard");
    pair.run(2 * RELAYED);
    assert_eq!(pair.payloads(0), [b"I have heard"]);
    // A relay that it has left is none of its paths any more.
    let now = pair.world.now;
    pair.meshes[1].set_relays(&identity(0), Vec::new(), now);
    assert_eq!(pair.chosen(1), None);
}

#[test]
fn behind_two_symmetric_nats_everything_goes_over_the_relay_and_arrives() {
    let mut pair = Pair::behind([Some(SYMMETRIC), Some(SYMMETRIC)]);
    for number in 0..100_u8 {
        pair.say(0, &[number]);
        pair.run(Duration::from_millis(50));
    }
    let expected: Vec<Vec<u8>> = (0..100).map(|number| vec![number]).collect();
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.payloads(1), expected);
    assert_eq!(pair.chosen(0), Some(Path::Relayed(RELAY)));
}

#[test]
fn without_any_path_the_newest_packets_wait_for_one() {
    let mut pair = Pair::behind([None, None]);
    pair.consents = false;
    for device in 0..2 {
        let now = pair.world.now;
        pair.meshes[device].close_relay(RELAY, now);
    }
    pair.say(0, b"wait");
    pair.run(Duration::from_secs(1));
    assert!(pair.arrived[1].is_empty() && pair.chosen(0).is_none());
    pair.consent();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.payloads(1), [b"wait"]);
}

/// SECURITY R20, R56, zone gate: a peer that is removed is gone at once, in both directions.
#[test]
fn a_peer_that_may_speak_no_more_is_cut_off_at_once() {
    let mut pair = Pair::behind([None, None]);
    pair.say(0, b"first");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.payloads(1).len(), 1);
    pair.say(0, b"on its way");
    pair.meshes[1].remove_peer(&identity(0));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.payloads(1).len(), 1);
    let (a, b) = (pair.address(0), pair.address(1));
    let now = pair.world.now;
    assert_eq!(pair.meshes[1].handle_packet(packet(b, a, b"back"), now), Err(Undeliverable::NoPeer(a)));
    let before = pair.world.sent_to.get(&pair.world.address(0)).copied();
    for _ in 0..20 {
        pair.say(0, b"still there?");
        pair.run(Duration::from_secs(1));
    }
    let after = pair.world.sent_to.get(&pair.world.address(0)).copied();
    assert_eq!(before, after, "not a byte goes to it");
    assert_eq!(pair.payloads(1).len(), 1);
}

/// SECURITY R56: what an application may send, and what a peer may.
#[test]
fn r56_packets_are_from_the_one_end_and_for_the_other() {
    let mut pair = Pair::behind([None, None]);
    let (a, b, now) = (pair.address(0), pair.address(1), pair.world.now);
    let other = identity(9).overlay_address("tibet");
    let send = |pair: &mut Pair, packet| pair.meshes[0].handle_packet(packet, now);
    assert!(matches!(send(&mut pair, packet(other, b, b"forged")), Err(Undeliverable::Packet(_))));
    assert_eq!(send(&mut pair, packet(a, other, b"whom?")), Err(Undeliverable::NoPeer(other)));
    assert!(matches!(send(&mut pair, BytesMut::from(&b"no packet"[..])), Err(Undeliverable::Packet(_))));
    // A peer whose program does not look: its tunnel is good, and its packets are another's, or for another.
    let third = Fingerprint::of_inception(b"third");
    let mut careless = Mesh::new("tibet", &third, &secret(1), 1280);
    careless.set_peer(identity(1), secret(2).public_key()).expect("a peer");
    let from = SocketAddr::from(([192, 0, 2, 77], 7150));
    let client = open_relay(&mut pair.relay, &third, from, now);
    careless.open_relay(RELAY, client, now);
    careless.set_relays(&identity(1), vec![RELAY], now);
    careless.handle_packet(packet(careless.address(), b, b"forged"), now).expect("its own address");
    let mut inbox = Vec::new();
    for _ in 0..4 {
        while let Some(transmit) = careless.poll_transmit() {
            inbox.push((from, transmit.datagram));
        }
        while let Some(transmit) = pair.meshes[1].poll_transmit() {
            inbox.push((pair.world.observed(1), transmit.datagram));
        }
        for (from, datagram) in inbox.drain(..) {
            let Some(Wire::Frame { kind, body }) = Wire::read(&datagram) else { continue };
            pair.relay.handle_frame(kind, body, from, now);
        }
        let second = pair.world.observed(1);
        pair.relay.handle_turn_end(|to, datagram| {
            let receiver = if to == second { &mut pair.meshes[1] } else { &mut careless };
            receiver.handle_datagram(relay_address(), datagram[..].into(), now);
        });
    }
    assert!(pair.meshes[1].poll_packet().is_none());
    assert_eq!(pair.meshes[1].counts().inner_refused, 1);
}

#[test]
fn nobodys_key_is_anothers_and_nobodys_word_takes_a_peers_place() {
    let mut pair = Pair::behind([None, None]);
    let key = secret(2).public_key();
    assert_eq!(pair.meshes[0].set_peer(identity(7), key), Err(PeerError::KeyTaken));
    let now = pair.world.now;
    let to_seven = packet(pair.address(0), identity(7).overlay_address("tibet"), b"");
    assert!(matches!(pair.meshes[0].handle_packet(to_seven, now), Err(Undeliverable::NoPeer(_))));
    assert!(pair.meshes[0].set_peer(identity(1), key).is_ok(), "it stays a peer");
}

/// Zone gate: who is in GEEL may answer, and begin nothing.
#[test]
fn a_peer_that_may_only_answer_does_not_begin() {
    let mut pair = Pair::behind([None, None]);
    pair.meshes[1].set_answers_only(&identity(0), true);
    let udp = |from: u16, to: u16| [from.to_be_bytes(), to.to_be_bytes(), [0; 2], [0; 2]].concat();
    let say = |pair: &mut Pair, from: usize, ports: (u16, u16)| {
        let mut packet = packet(pair.address(from), pair.address(1 - from), &udp(ports.0, ports.1));
        packet[6] = 17;
        let now = pair.world.now;
        pair.meshes[from].handle_packet(packet, now).expect("a packet");
        pair.run(Duration::from_millis(200));
    };
    say(&mut pair, 0, (4000, 53));
    assert_eq!((pair.payloads(1).len(), pair.meshes[1].counts().unasked), (0, 1));
    say(&mut pair, 1, (53, 4000));
    say(&mut pair, 0, (4000, 53));
    assert_eq!((pair.payloads(0).len(), pair.payloads(1).len()), (1, 1));
}

/// What comes from an address of the mesh has come through a tunnel; to answer there would send the tunnel through itself.
#[test]
fn a_datagram_from_within_the_mesh_is_dropped() {
    let mut pair = Pair::behind([None, None]);
    let now = pair.world.now;
    for device in 0..2 {
        pair.meshes[device].close_relay(RELAY, now);
        while pair.meshes[device].poll_transmit().is_some() {}
    }
    let mut peer = stock();
    let handshake =
        peer.seal(&identity(1), packet(pair.address(0), pair.address(1), b""), now).expect("a handshake");
    let inside = SocketAddr::new(pair.address(0).into(), 7150);
    assert!(!pair.meshes[1].handle_datagram(inside, handshake.clone(), now));
    assert!(pair.meshes[1].poll_transmit().is_none());
    let outside = pair.world.address(0);
    assert!(pair.meshes[1].handle_datagram(outside, handshake, now));
    assert!(pair.meshes[1].poll_transmit().is_some());
}

/// Device 0 as any implementation of WireGuard has it: with tunnels, and without probes.
fn stock() -> Tunnels {
    let mut stock = Tunnels::new(&secret(1), 1280);
    assert!(stock.set(identity(1), secret(2).public_key()));
    stock
}

/// SECURITY R24: whoever completes a handshake has shown where it is. Whoever only repeats what he has overheard has not.
#[test]
fn r24_a_peer_that_knows_no_probes_is_where_its_handshake_was_completed() {
    let mut mesh = Mesh::new("tibet", &identity(1), &secret(2), 1280);
    mesh.set_peer(identity(0), secret(1).public_key()).expect("a peer");
    let (now, mut stock) = (Duration::from_secs(1000), stock());
    let (own, other) = (identity(0).overlay_address("tibet"), mesh.address());
    let [home, thief] = [1, 2].map(|last| SocketAddr::from(([192, 0, 2, last], 51820)));
    let begun = stock.seal(&identity(1), packet(own, other, b"hello"), now).expect("a handshake");
    assert!(mesh.handle_datagram(home, begun, now));
    assert_eq!(
        mesh.status(&identity(0), now).expect("a peer").chosen,
        None,
        "anybody can repeat an initiation"
    );
    let answer = mesh.poll_transmit().expect("an answer");
    assert_eq!(answer.to, home);
    let mut sent = Vec::new();
    stock.open(SocketAddr::from(([198, 51, 100, 2], 7150)), answer.datagram, now, &mut |transmit| {
        sent.push(transmit.datagram);
    });
    let first = sent.pop().expect("what waited");
    // Overheard, and sent on before it arrives: genuine, and it proves nothing of where it came from.
    assert!(mesh.handle_datagram(thief, first, now));
    assert_eq!(mesh.poll_packet().map(|(peer, _)| peer), Some(identity(0)));
    assert_eq!(mesh.status(&identity(0), now).expect("a peer").chosen, None);
    let second = stock.seal(&identity(1), packet(own, other, b"again"), now).expect("sealed");
    assert!(mesh.handle_datagram(home, second, now));
    assert_eq!(mesh.status(&identity(0), now).expect("a peer").chosen, Some(Path::Direct(home)));
    assert_eq!(mesh.poll_timeout().filter(|due| *due <= now), None, "nothing is asked without an agreement");
    mesh.handle_packet(packet(other, own, b"welcome"), now).expect("a packet");
    let back = std::iter::from_fn(|| mesh.poll_transmit()).last().expect("a message");
    assert_eq!(back.to, home);
}

/// SECURITY R15: whoever sends on a handshake from elsewhere is answered, and not probed too: together they would be more than he sent.
#[test]
fn r15_a_handshake_from_elsewhere_gets_less_back_than_it_was() {
    let mut pair = Pair::behind([None, None]);
    pair.consents = false;
    pair.consent();
    let now = pair.world.now;
    let begun = stock().seal(&identity(1), packet(pair.address(0), pair.address(1), b"hello"), now);
    let begun = begun.expect("a handshake");
    let (elsewhere, length) = (SocketAddr::from(([198, 51, 100, 66], 666)), begun.len());
    assert!(pair.meshes[1].handle_datagram(elsewhere, begun, now));
    pair.run(Duration::from_secs(5));
    let back = pair.world.sent_to[&elsewhere];
    assert!(back > 0 && back <= length, "{back} bytes for {length}");
}

/// A machine that has slept for long, or whose clock has jumped: a session that ended meanwhile leaves nothing behind that stays due.
#[test]
fn a_session_with_a_relay_that_is_over_keeps_nobody_awake() {
    let mut pair = Pair::behind([None, None]);
    pair.run(Duration::from_secs(1));
    let (mesh, now) = (&mut pair.meshes[0], pair.world.now + LIFETIME);
    mesh.handle_timeout(now);
    assert_eq!(mesh.poll_timeout().filter(|due| *due <= now), None);
    assert!(std::iter::from_fn(|| mesh.poll_event()).any(|event| event == MeshEvent::RelayDue(RELAY)));
}
