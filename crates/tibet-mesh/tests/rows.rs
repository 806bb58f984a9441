//! SECURITY 3.2, rows 39, 41, 55 to 57, 78 to 80 and 96, as far as the mesh of a device meets them; rows 69 to 71 are in `relay.rs`.

mod common;
#[path = "common/noise.rs"]
mod noise;

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use common::{packet, secret};
use jis::{Endpoint, Fingerprint, TransportSecret};
use noise::Ephemeral;
use tibet_mesh::{
    HANDSHAKES_AT_ONCE, HANDSHAKES_PER_SECOND, MAX_RELAYS, Mesh, MeshTransmit, Opened, Path, PeerError,
    ProbeKeys, RELAY_DELIVERY, Refusal, RelayConfig, RelayId, RelayKeys, RelayOpening, RelayServer, Role,
    TunnelTransmit, Tunnels,
};

const NOW: Duration = Duration::from_secs(1000);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// The handshake of WireGuard: its two messages, and a cookie.
const INITIATION: usize = 148;
const RESPONSE: usize = 92;
const COOKIE: usize = 64;

fn identity(number: u8) -> Fingerprint {
    Fingerprint::of_inception(&[number])
}

fn address(number: u8) -> Ipv6Addr {
    identity(number).overlay_address("tibet")
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 51820))
}

/// The mesh of device 1, with device 2 for a peer.
fn mesh() -> Mesh {
    let mut mesh = Mesh::new("tibet", &identity(1), &secret(1), 1280);
    mesh.set_peer(identity(2), secret(2).public_key()).expect("a peer");
    mesh
}

/// Device `number` as any implementation of WireGuard has it, with device 1 for a peer: it sends whatever it likes through its tunnel.
fn careless(number: u8) -> Tunnels {
    tunnels(number, 1)
}

fn tunnels(number: u8, peer: u8) -> Tunnels {
    let mut tunnels = Tunnels::new(&secret(number), 1280);
    assert!(tunnels.set(identity(peer), secret(peer).public_key()));
    tunnels
}

fn open(tunnels: &mut Tunnels, from: SocketAddr, message: &[u8]) -> (Opened, Vec<TunnelTransmit>) {
    let mut sent = Vec::new();
    let opened = tunnels.open(from, message.into(), NOW, &mut |transmit| sent.push(transmit));
    (opened, sent)
}

fn sent(mesh: &mut Mesh) -> Vec<MeshTransmit> {
    std::iter::from_fn(|| mesh.poll_transmit()).collect()
}

/// Has the peer complete a handshake from `from`, and send a packet. Everything it sent.
fn speaks(mesh: &mut Mesh, peer: &mut Tunnels, from: SocketAddr, now: Duration) -> Vec<BytesMut> {
    let begun = peer.seal(&identity(1), packet(address(2), address(1), b"hello"), now).expect("a handshake");
    let mut said = vec![begun.clone()];
    assert!(mesh.handle_datagram(from, begun, now));
    for answer in sent(mesh) {
        assert_eq!(answer.to, from);
        peer.open(at(99), answer.datagram, now, &mut |transmit| said.push(transmit.datagram));
    }
    for message in &said[1..] {
        assert!(mesh.handle_datagram(from, message.clone(), now));
    }
    assert_eq!(mesh.poll_packet().map(|(peer, _)| peer), Some(identity(2)));
    assert_eq!(mesh.status(&identity(2), now).expect("a peer").chosen, Some(Path::Direct(from)));
    said
}

/// Points of small order as a message may spell them (RFC 7748 ignores the highest bit, and takes numbers beyond the prime).
fn small_order() -> Vec<[u8; 32]> {
    let number = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let order_8 = order_8.map(|text| {
        let bytes = jis::hex::decode(text).expect("hex");
        <[u8; 32]>::try_from(&bytes[..]).expect("32 bytes")
    });
    let mut points = vec![
        number(0, 0, 0),
        number(1, 0, 0),
        number(0xec, 0xff, 0x7f),
        number(0xed, 0xff, 0x7f),
        number(0xee, 0xff, 0x7f),
    ];
    points.extend(order_8);
    let again = points.clone();
    points.extend(again.into_iter().map(|mut point| {
        point[31] |= 0x80;
        point
    }));
    points
}

/// SECURITY 3.2 row 39: whoever holds a peer's key could have a session whose secret everybody knows; it is not taken up, in either role.
#[test]
fn row_39_an_ephemeral_key_of_small_order_makes_no_session() {
    let (us, them) = (secret(2), secret(1));
    let honest = secret(20);
    let begin = |ephemeral: &Ephemeral<'_>| {
        noise::initiation(&us, &them.public_key(), ephemeral, *b"\x40\0\0\0\0\0\0\x01\0\0\0\0")
    };
    let answer = |ephemeral: &Ephemeral<'_>| {
        let mut tunnels = tunnels(1, 2);
        let begun = tunnels.seal(&identity(2), b"hello"[..].into(), NOW).expect("a handshake");
        let answer = noise::response(&us, &them.public_key(), &begun, ephemeral);
        let (opened, sent) = open(&mut tunnels, at(2), &answer);
        let session = tunnels.stats(&identity(2)).expect("a tunnel").since_handshake.is_some();
        (matches!(opened, Opened::Heard(_)), sent.len(), session)
    };
    // The very same messages with an honest key are taken: it is the key that is refused.
    let (opened, sent) = open(&mut tunnels(1, 2), at(2), &begin(&Ephemeral::Honest(&honest)));
    assert!(matches!(opened, Opened::Heard(_)) && sent[0].datagram.len() == RESPONSE, "{opened:?}");
    let (heard, sent, session) = answer(&Ephemeral::Honest(&honest));
    assert!(heard && sent >= 1 && session);
    for point in small_order() {
        let (opened, sent) = open(&mut tunnels(1, 2), at(2), &begin(&Ephemeral::Point(point)));
        assert!(matches!(opened, Opened::Refused(Refusal::Bad)) && sent.is_empty(), "{point:?}: {opened:?}");
        assert_eq!(answer(&Ephemeral::Point(point)), (false, 0, false), "{point:?}");
    }
}

/// SECURITY 3.2 row 41, as `docs/decisions/0005-copied-transport-keys.md` has it: the key is the first one's, who keeps its tunnel, and the second has none.
/// Whoever holds the key speaks as the first alone.
#[test]
fn row_41_a_transport_key_is_the_first_peers_and_speaks_for_no_other() {
    let (mut mesh, mut peer) = (mesh(), careless(2));
    speaks(&mut mesh, &mut peer, at(2), NOW);
    assert_eq!(mesh.set_peer(identity(3), secret(2).public_key()), Err(PeerError::KeyTaken));
    assert!(mesh.status(&identity(3), NOW).is_none() && !mesh.has_peer(address(3)));
    let as_third = peer.seal(&identity(1), packet(address(3), address(1), b"I am 3"), NOW).expect("sealed");
    mesh.handle_datagram(at(2), as_third, NOW);
    assert!(mesh.poll_packet().is_none());
    assert_eq!(mesh.counts().inner_refused, 1);
    let as_itself = peer.seal(&identity(1), packet(address(2), address(1), b"I am 2"), NOW).expect("sealed");
    mesh.handle_datagram(at(2), as_itself, NOW);
    assert_eq!(mesh.poll_packet().map(|(peer, _)| peer), Some(identity(2)));
}

/// Both have consented, and the peer says that it may be at `named`.
fn agree(mesh: &mut Mesh, peer: u8, round: u8, named: &[SocketAddr], now: Duration) {
    let keys = ProbeKeys::agree(&secret(1), &secret(peer).public_key(), &[round; 16], &[77; 16], Role::Asked);
    let named: Vec<Endpoint> =
        named.iter().map(|address| Endpoint::new(*address).expect("an endpoint")).collect();
    mesh.begin(&identity(peer), keys, &named, now);
}

/// What is sent from now on within `time`, with when.
fn within(mesh: &mut Mesh, from: Duration, time: Duration) -> Vec<(Duration, MeshTransmit)> {
    let (mut now, mut all) = (from, Vec::new());
    loop {
        mesh.handle_timeout(now);
        all.extend(sent(mesh).into_iter().map(|transmit| (now, transmit)));
        match mesh.poll_timeout().filter(|due| *due <= from + time) {
            Some(due) => now = now.max(due),
            None => return all,
        }
    }
}

/// SECURITY 3.2 row 55, R58: where a tunnel would lead through itself nothing is looked for. Loopback and the like are no endpoints at all (`jis`, `endpoint.rs`), and our
/// own addresses are left out where consents are read (`tibet-overlay`, `consent.rs`).
#[test]
fn row_55_addresses_within_the_mesh_are_not_probed() {
    let mut mesh = mesh();
    let inside = [address(1), address(2), address(9)].map(|ip| SocketAddr::new(ip.into(), 7150));
    agree(&mut mesh, 2, 1, &inside, NOW);
    assert!(within(&mut mesh, NOW, Duration::from_secs(10)).is_empty());
    agree(&mut mesh, 2, 2, &[at(2)], NOW + HOUR);
    assert_eq!(within(&mut mesh, NOW + HOUR, Duration::from_secs(10)).len(), 5, "others are");
}

/// SECURITY 3.2 row 56, R58: a third party that peers name in their consents gets five datagrams of 64 bytes for one of them, and no more than twenty a minute for all.
/// Without a consent it gets nothing, whatever anybody sends.
#[test]
fn row_56_a_third_party_that_peers_name_hears_little_and_without_consent_nothing() {
    let mut mesh = Mesh::new("tibet", &identity(1), &secret(1), 1280);
    let victim = at(200);
    for peer in 2..42 {
        mesh.set_peer(identity(peer), secret(peer).public_key()).expect("a peer");
    }
    // Anything from its address but a handshake, whose answer is smaller than it.
    let kinds = (0..=255_u8).map(|kind| [b'T', b'P', 2, kind, 0, 0, 0, 56].into_iter().chain([kind; 56]));
    for datagram in kinds {
        mesh.handle_datagram(victim, datagram.collect::<Vec<u8>>()[..].into(), NOW);
    }
    assert!(within(&mut mesh, NOW, Duration::from_secs(10)).is_empty());

    agree(&mut mesh, 2, 1, &[victim], NOW);
    let first = within(&mut mesh, NOW, Duration::from_secs(30));
    assert_eq!(first.len(), 5);
    for peer in 3..42 {
        agree(&mut mesh, peer, 1, &[victim], NOW + Duration::from_secs(30));
    }
    let more = within(&mut mesh, NOW + Duration::from_secs(30), HOUR);
    let all: Vec<_> = first.into_iter().chain(more).collect();
    assert!(all.iter().all(|(_, transmit)| transmit.to == victim && transmit.datagram.len() <= 64));
    for (at, _) in &all {
        let minute = all.iter().filter(|(other, _)| (*at..*at + 60 * SECOND).contains(other)).count();
        assert!(minute <= 20, "{minute} in a minute from {at:?}");
    }
}

/// SECURITY 3.2 row 57: relays that a record names are used where we have a session with them, and only then. A thousand of them are four, and none is spoken to.
#[test]
fn row_57_relays_that_nobody_has_a_session_with_carry_nothing() {
    let mut mesh = mesh();
    mesh.set_relays(&identity(2), (0..1000).map(RelayId).collect(), NOW);
    mesh.handle_packet(packet(address(1), address(2), b"hello"), NOW).expect("a packet");
    assert!(within(&mut mesh, NOW, 10 * SECOND).is_empty());
    let status = mesh.status(&identity(2), NOW).expect("a peer");
    assert!(status.paths.len() <= MAX_RELAYS && status.chosen.is_none(), "{status:?}");
}

/// SECURITY 3.2 row 57: relays that name each other make no loop. What a relay delivers is nothing that a relay passes on.
#[test]
fn row_57_a_relay_passes_on_nothing_that_a_relay_has_delivered() {
    let relay_at = |last: u8| SocketAddr::from(([198, 51, 100, last], 7150));
    let mut relays = [7, 8].map(|number| RelayServer::new(RelayConfig::default(), [number; 32]));
    let mut clients = Vec::new();
    // Device 1 and the other relay have a session at each of them, as if a relay were a device.
    for (number, relay) in (0_u8..).zip(&mut relays) {
        for (owner, from) in [(1, at(1)), (10 + 1 - number, relay_at(1 - number))] {
            let (ours, theirs, request) = (secret(30 + owner), secret(40 + number), [number; 32]);
            let keys = RelayKeys::for_relay(&theirs, &ours.public_key(), &request).expect("keys");
            let (owner, address) = (identity(owner), address(owner));
            let session = relay
                .open(RelayOpening { owner, address, keys, from, accepts: true, lifetime: HOUR }, NOW)
                .expect("opened");
            if from == at(1) {
                let keys = RelayKeys::for_device(&ours, &theirs.public_key(), &request).expect("keys");
                clients.push(tibet_mesh::RelayClient::new(keys, session, relay_at(number), HOUR, NOW));
            }
        }
    }
    let mut message = vec![0; 64];
    message[0] = 4;
    let sealed = clients[0].seal(address(11), &message, NOW).expect("sealed");
    relays[0].handle_frame(sealed[3], &sealed[8..], at(1), NOW);
    let mut delivered = Vec::new();
    relays[0].handle_turn_end(|to, datagram| delivered.push((to, datagram)));
    let [(to, datagram)] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!((*to, datagram[3]), (relay_at(1), RELAY_DELIVERY));
    relays[1].handle_frame(datagram[3], &datagram[8..], relay_at(0), NOW);
    relays[1].handle_turn_end(|to, _| panic!("passed on to {to}"));
    assert_eq!(relays[1].counts().delivered, 0);
}

/// SECURITY 3.2 row 78, R55, T12d, in the machine: strangers who know the key send many handshakes, each from another address (`cargo xtask flood mesh` sends more). So many a second cost a
/// handshake, the others a cookie, shorter than they are; nothing is due afterwards, and a peer that shows its cookie is let in meanwhile.
#[test]
fn row_78_a_flood_of_handshakes_meets_cookies_and_a_peer_gets_in() {
    const PER_SECOND: u32 = HANDSHAKES_PER_SECOND + 1000;
    let (mut mesh, mut peer) = (mesh(), careless(2));
    // Enough of them that none uses up what is left to it alone.
    let strangers: Vec<BytesMut> = (0..10_000_u32)
        .map(|number| {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            let secret = TransportSecret::from_bytes(bytes.into()).expect("a secret");
            let mut stranger = Tunnels::new(&secret, 1280);
            assert!(stranger.set(identity(1), common::secret(1).public_key()));
            stranger.seal(&identity(1), b"flood"[..].into(), NOW).expect("a handshake")
        })
        .collect();
    let count = |mesh: &Mesh, refusal| mesh.counts().refused.get(&refusal).copied().unwrap_or(0);
    let mut from = 0_u32;
    let mut flood = |mesh: &mut Mesh, number: u32, now: Duration, time: Duration| {
        let mut bytes = 0;
        for nth in 0..number {
            from += 1;
            let now = now + time * nth / number;
            let to = SocketAddr::from((from.wrapping_mul(2_654_435_761).to_be_bytes(), 4000));
            let begun = strangers[from as usize % strangers.len()].clone();
            assert!(mesh.handle_datagram(to, begun, now));
            for answer in sent(mesh) {
                assert!(answer.to == to && answer.datagram.len() == COOKIE && answer.peer.is_none());
                bytes += answer.datagram.len();
            }
        }
        bytes
    };
    for second in 0..3 {
        let now = NOW + second * SECOND;
        let before = (count(&mesh, Refusal::NoPeer), count(&mesh, Refusal::Cookie));
        let bytes = flood(&mut mesh, PER_SECOND, now, SECOND);
        let taken_up = count(&mesh, Refusal::NoPeer) - before.0;
        let cookies = count(&mesh, Refusal::Cookie) - before.1;
        let most = HANDSHAKES_PER_SECOND + if second == 0 { HANDSHAKES_AT_ONCE } else { 0 };
        assert!(taken_up.abs_diff(most.into()) <= 1, "{taken_up} of {most}");
        assert_eq!(taken_up + cookies, u64::from(PER_SECOND));
        assert_eq!(u64::try_from(bytes).expect("few"), cookies * COOKIE as u64);
    }
    assert_eq!(mesh.poll_timeout(), None, "nothing is remembered that would be due");
    // In the midst of it a peer comes: first it gets a cookie, and with that a session.
    let now = NOW + 4 * SECOND;
    flood(&mut mesh, 2 * HANDSHAKES_AT_ONCE, now, Duration::ZERO);
    let begun = peer.seal(&identity(1), packet(address(2), address(1), b"hello"), now).expect("a handshake");
    mesh.handle_datagram(at(2), begun, now);
    let cookie = sent(&mut mesh).pop().expect("a cookie");
    assert_eq!((cookie.to, cookie.datagram.len()), (at(2), COOKIE));
    let (opened, _) = open(&mut peer, at(99), &cookie.datagram);
    assert!(matches!(opened, Opened::Asked), "{opened:?}");
    flood(&mut mesh, 100, now, Duration::ZERO);
    let again = peer.begin_again(&identity(1), now).expect("a handshake");
    mesh.handle_datagram(at(2), again, now);
    let answer = sent(&mut mesh).pop().expect("an answer");
    assert_eq!((answer.to, answer.datagram.len()), (at(2), RESPONSE));
    flood(&mut mesh, 100, now, Duration::ZERO);
    let (_, said) = open(&mut peer, at(99), &answer.datagram);
    for transmit in said {
        mesh.handle_datagram(at(2), transmit.datagram, now);
    }
    assert_eq!(mesh.poll_packet().map(|(peer, _)| peer), Some(identity(2)));
    assert_eq!(mesh.status(&identity(2), now).expect("a peer").chosen, Some(Path::Direct(at(2))));
}

/// SECURITY 3.2 row 78: what is sent again, is of no type, or is too short gets nothing and changes nothing.
#[test]
fn row_78_messages_that_come_again_or_are_none_are_dropped() {
    let (mut mesh, mut peer) = (mesh(), careless(2));
    let said = speaks(&mut mesh, &mut peer, at(2), NOW);
    let status = |mesh: &Mesh| {
        let status = mesh.status(&identity(2), NOW).expect("a peer");
        (status.chosen, status.paths, status.tunnel.sent, status.tunnel.received)
    };
    let before = status(&mesh);
    for (number, message) in said.iter().enumerate() {
        for from in [at(2), at(66)] {
            assert!(mesh.handle_datagram(from, message.clone(), NOW));
            assert!(sent(&mut mesh).is_empty() && mesh.poll_packet().is_none(), "message {number} again");
        }
    }
    let data = peer.seal(&identity(1), packet(address(2), address(1), b"more"), NOW).expect("sealed");
    let mut type_5 = data.clone();
    type_5[0] = 5;
    for none in [type_5, data[..31].into(), BytesMut::new(), BytesMut::zeroed(65_507)] {
        assert!(!mesh.handle_datagram(at(2), none, NOW), "it is none of the mesh's");
        assert!(sent(&mut mesh).is_empty() && mesh.poll_packet().is_none());
    }
    assert_eq!(status(&mesh), before);
    assert!(mesh.handle_datagram(at(2), data, NOW) && mesh.poll_packet().is_some(), "the session goes on");
}

/// SECURITY 3.2 row 78, R43, CVE-2021-46873: a handshake with a date in the far future, by a thief or a clock gone mad, shuts nobody out: not its next key, and not the
/// same key either.
#[test]
fn row_78_a_date_in_the_far_future_shuts_nobody_out() {
    let (mut ours, mut theirs) = (tunnels(1, 2), tunnels(2, 1));
    let ephemeral = secret(20);
    let far = [0xff; 12];
    let begun = noise::initiation(&secret(2), &secret(1).public_key(), &Ephemeral::Honest(&ephemeral), far);
    assert!(matches!(open(&mut ours, at(2), &begun).0, Opened::Heard(_)));
    // The clock is right again. Its handshake seems to be an old one; so we begin, with it and nowhere else.
    let begun = theirs.seal(&identity(1), b"hello"[..].into(), NOW).expect("a handshake");
    let (opened, mut sent) = open(&mut ours, at(66), &begun);
    assert!(matches!(opened, Opened::Refused(Refusal::Bad)), "{opened:?}");
    let [begun_by_us] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(begun_by_us.to, tibet_mesh::TunnelDestination::Peer(identity(2)));
    assert_eq!(begun_by_us.datagram.len(), INITIATION);
    let (again, nothing) = open(&mut ours, at(66), &begun);
    assert!(matches!(again, Opened::Refused(Refusal::Bad)) && nothing.is_empty(), "once for all that come");
    let begun_by_us = sent.pop().expect("a handshake").datagram;
    let (_, mut answer) = open(&mut theirs, at(1), &begun_by_us);
    let (opened, _) = open(&mut ours, at(2), &answer.pop().expect("an answer").datagram);
    assert!(matches!(opened, Opened::Heard(_)), "{opened:?}");
    assert!(ours.stats(&identity(2)).expect("a tunnel").since_handshake.is_some());
    let (_, nothing) = open(&mut ours, at(66), &begun);
    assert!(nothing.is_empty(), "nor soon again");

    // The owner takes another key, as after a theft: no date of the old one counts for it.
    assert!(ours.set(identity(2), secret(4).public_key()));
    let next = tunnels(4, 1).seal(&identity(1), b"hello"[..].into(), NOW).expect("a handshake");
    let (opened, sent) = open(&mut ours, at(2), &next);
    assert!(matches!(opened, Opened::Heard(_)) && sent[0].datagram.len() == RESPONSE, "{opened:?}");
}

/// SECURITY 3.2 row 79, R56: a peer whose program does not look sends what it likes through a tunnel that is good.
#[test]
fn row_79_what_a_peer_may_not_send_in_its_tunnel_reaches_nobody() {
    let (mut mesh, mut peer) = (mesh(), careless(2));
    mesh.set_peer(identity(3), secret(3).public_key()).expect("another peer");
    speaks(&mut mesh, &mut peer, at(2), NOW);
    let (own, ours) = (address(2), address(1));
    let ip = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
    let sources = [address(3), ours, address(9), ip("::ffff:10.0.0.1"), ip("::"), ip("::1"), ip("ff02::1")];
    let destinations = [address(3), own, ip("::ffff:127.0.0.1"), ip("::1"), ip("ff02::1")];
    let mut bad: Vec<BytesMut> = Vec::new();
    bad.extend(sources.map(|source| packet(source, ours, b"forged")));
    bad.extend(destinations.map(|destination| packet(own, destination, b"astray")));
    let good = packet(own, ours, b"sixteen bytes or");
    bad.extend((1..40).map(|length| good[..length].into()));
    let changed = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    // IPv4 and other versions; a length beyond its end and its padding; chains of extension headers.
    bad.extend([0x45, 0x00, 0x50, 0xf0].map(|version| changed(0, version)));
    bad.extend([changed(4, 1), changed(5, 25), changed(5, 255)]);
    bad.extend([0, 43, 60, 135, 139, 140].map(|next| changed(6, next)));
    let count = bad.len() as u64;
    for packet in bad {
        let sealed = peer.seal(&identity(1), packet.clone(), NOW).expect("sealed");
        assert!(mesh.handle_datagram(at(2), sealed, NOW));
        assert!(mesh.poll_packet().is_none(), "{packet:?}");
        assert!(sent(&mut mesh).is_empty(), "nothing goes back: {packet:?}");
    }
    assert_eq!(mesh.counts().inner_refused, count);
    let sealed = peer.seal(&identity(1), good.clone(), NOW).expect("sealed");
    mesh.handle_datagram(at(2), sealed, NOW);
    assert_eq!(mesh.poll_packet(), Some((identity(2), good)));
}

/// SECURITY 3.2 row 80: WireGuard's cookie counts where it was given to, address and port, and what is cut off or altered is none.
#[test]
fn row_80_a_cookie_from_another_port_or_cut_off_is_none() {
    let (mut ours, mut theirs) = (tunnels(1, 2), tunnels(2, 1));
    let flood = careless(50).seal(&identity(1), b"flood"[..].into(), NOW).expect("a handshake");
    for _ in 0..HANDSHAKES_PER_SECOND {
        open(&mut ours, at(50), &flood);
    }
    let begun = theirs.seal(&identity(1), b"hello"[..].into(), NOW).expect("a handshake");
    let cookie = open(&mut ours, at(2), &begun).1.pop().expect("a cookie").datagram;
    for length in 0..cookie.len() {
        assert!(matches!(open(&mut theirs, at(1), &cookie[..length]).0, Opened::Refused(_)), "{length}");
    }
    for byte in (0..cookie.len()).filter(|byte| !(1..4).contains(byte)) {
        let mut altered = cookie.clone();
        altered[byte] ^= 1;
        assert!(matches!(open(&mut theirs, at(1), &altered).0, Opened::Refused(_)), "byte {byte}");
    }
    assert!(matches!(open(&mut theirs, at(1), &cookie).0, Opened::Asked));
    let with_cookie = theirs.begin_again(&identity(1), NOW).expect("a handshake");
    let port = SocketAddr::new(at(2).ip(), at(2).port() + 1);
    for elsewhere in [port, at(3)] {
        let (opened, sent) = open(&mut ours, elsewhere, &with_cookie);
        assert!(matches!(opened, Opened::Refused(Refusal::Cookie)), "{opened:?}");
        assert!(sent.len() == 1 && sent[0].datagram.len() == COOKIE, "a new one, and less than was sent");
    }
    let (opened, sent) = open(&mut ours, at(2), &with_cookie);
    assert!(matches!(opened, Opened::Heard(_)) && sent[0].datagram.len() == RESPONSE, "{opened:?}");
}

/// SECURITY 3.2 row 96: after a `kill -9` the sessions are gone with their keys. What was overheard of them, sent again from anywhere, brings no packet in, makes no path,
/// and gets no more bytes back than it had; the peer itself is heard as soon as it begins anew.
#[test]
fn row_96_after_a_restart_nothing_counts_that_was_said_before() {
    let mut peer = careless(2);
    let said = speaks(&mut mesh(), &mut peer, at(2), NOW);
    let mut restarted = mesh();
    for _ in 0..3 {
        for message in &said {
            for from in [at(2), at(66)] {
                restarted.handle_datagram(from, message.clone(), NOW);
                let back: usize = sent(&mut restarted).iter().map(|transmit| transmit.datagram.len()).sum();
                assert!(back <= message.len(), "{back} bytes for {}", message.len());
                assert!(restarted.poll_packet().is_none());
            }
        }
    }
    assert_eq!(restarted.status(&identity(2), NOW).expect("a peer").chosen, None);
    // A peer that was started anew too, a moment later.
    speaks(&mut restarted, &mut careless(2), at(2), NOW + 10 * SECOND);
}

/// SECURITY 3.2 row 96: who was stopped for a minute, or asleep for eight hours, believes no path any more and asks at once; what was overheard before is worth nothing.
#[test]
fn row_96_after_a_sleep_paths_are_asked_and_nothing_old_is_taken() {
    for asleep in [60 * SECOND, 8 * HOUR] {
        let (mut mesh, mut peer) = (mesh(), careless(2));
        agree(&mut mesh, 2, 1, &[at(2)], NOW);
        sent(&mut mesh);
        let said = speaks(&mut mesh, &mut peer, at(2), NOW);
        sent(&mut mesh);
        let now = NOW + asleep;
        mesh.handle_timeout(now);
        sent(&mut mesh);
        mesh.handle_packet(packet(address(1), address(2), b"awake"), now).expect("a packet");
        let asked = within(&mut mesh, now, SECOND);
        assert!(
            asked
                .iter()
                .any(|(_, transmit)| transmit.to == at(2) && transmit.datagram[..4] == *b"TP\x02\x10"),
            "a probe after {asleep:?}: {asked:?}"
        );
        for message in &said {
            mesh.handle_datagram(at(66), message.clone(), now);
            assert!(mesh.poll_packet().is_none());
            assert!(sent(&mut mesh).iter().all(|transmit| transmit.to != at(66)), "nothing goes there");
        }
        assert_eq!(mesh.poll_timeout().filter(|due| *due <= now), None, "nothing stays due");
    }
}

/// Rows 39 and 40 begin with keys: those of small order are none, in records and in certificates (`jis`, `transport.rs`).
#[test]
fn row_39_no_peer_has_a_key_of_small_order() {
    for point in small_order() {
        assert!(jis::TransportKey::from_bytes(&point).is_err(), "{point:?}");
    }
    assert!(TransportSecret::from_bytes([0; 32].into()).is_err());
}
