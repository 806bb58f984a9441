//! The relay and the devices at it, under virtual time: SECURITY R15, R20, R24, R50, R51, R53, rows 69 to 71.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use jis::{Fingerprint, TransportSecret, hex};
use proptest::prelude::*;
use tibet_mesh::{
    Health, MAX_RELAYED, RELAY_ALIVE, RELAY_CALL, RELAY_DELIVERY, RELAY_OVERHEAD, RELAY_SEND, RelayClient,
    RelayConfig, RelayDrop, RelayKeys, RelayOpening, RelayRefusal, RelayServer, RelayUsage, Wire, session_of,
};

const RELAY: &str = "198.51.100.1:7150";
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

fn relay_address() -> SocketAddr {
    RELAY.parse().expect("address")
}

fn secret(number: u8) -> TransportSecret {
    let mut bytes = [number; 32];
    bytes[0] ^= 1;
    TransportSecret::from_bytes(bytes.into()).expect("secret")
}

fn owner(number: u32) -> Fingerprint {
    Fingerprint::of_inception(&number.to_be_bytes())
}

fn address(number: u32) -> Ipv6Addr {
    owner(number).overlay_address("tibet")
}

/// Both ends' keys of the device with this number; each `request` gives others.
fn keys(request: u32) -> (RelayKeys, RelayKeys) {
    let (device, relay, request) = (secret(1), secret(2), jis::message_hash(&request.to_be_bytes()));
    (
        RelayKeys::for_device(&device, &relay.public_key(), &request).expect("keys"),
        RelayKeys::for_relay(&relay, &device.public_key(), &request).expect("keys"),
    )
}

/// A message of WireGuard, of this length and with this mark.
fn message(length: usize, mark: u8) -> Vec<u8> {
    let mut message = vec![mark; length];
    message[..4].copy_from_slice(&[4, 0, 0, 0]);
    message
}

struct Device {
    number: u32,
    from: SocketAddr,
    client: RelayClient,
}

impl Device {
    fn seal(&mut self, to: u32, message: &[u8], now: Duration) -> Vec<u8> {
        self.client.seal(address(to), message, now).expect("sealed")
    }

    /// What a datagram from the relay delivers: the source, and the message.
    fn open(&mut self, datagram: &[u8], now: Duration) -> Option<(Ipv6Addr, Vec<u8>)> {
        let Some(Wire::Frame { kind, body }) = Wire::read(datagram) else { return None };
        let delivered = self.client.handle_frame(kind, body, relay_address(), now)?;
        Some((delivered.source, delivered.message.to_vec()))
    }
}

struct Relay {
    server: RelayServer,
    now: Duration,
    requests: u32,
}

impl Relay {
    fn new(config: RelayConfig) -> Self {
        Self { server: RelayServer::new(config, [7; 32]), now: Duration::from_secs(1000), requests: 0 }
    }

    fn opening(&mut self, number: u32) -> (RelayKeys, RelayOpening) {
        self.requests += 1;
        let (device, relay) = keys(self.requests);
        let [.., a, b, c] = number.to_be_bytes();
        let from = SocketAddr::from(([10, a, b, c], 7000));
        let (owner, address) = (owner(number), address(number));
        (device, RelayOpening { owner, address, keys: relay, from, accepts: true, lifetime: HOUR })
    }

    fn device(&mut self, number: u32) -> Device {
        let (keys, opening) = self.opening(number);
        let from = opening.from;
        let session = self.server.open(opening, self.now).expect("opened");
        let client = RelayClient::new(keys, session, relay_address(), HOUR, self.now);
        Device { number, from, client }
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let Some(Wire::Frame { kind, body }) = Wire::read(datagram) else { panic!("no frame") };
        self.server.handle_frame(kind, body, from, self.now);
    }

    fn turn(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        self.server.handle_turn_end(|to, datagram| sent.push((to, datagram)));
        sent
    }

    /// What comes of one datagram.
    fn single(&mut self, datagram: &[u8], from: SocketAddr) -> Vec<(SocketAddr, Vec<u8>)> {
        self.take(datagram, from);
        self.turn()
    }

    /// What comes of one message from one to the other.
    fn pass(&mut self, from: &mut Device, to: u32, length: usize) -> usize {
        let datagram = from.seal(to, &message(length, 1), self.now);
        self.single(&datagram, from.from).len()
    }

    fn dropped(&self, reason: RelayDrop) -> u64 {
        self.server.counts().dropped.get(&reason).copied().unwrap_or_default()
    }

    /// The device calls, and what it sends for it and the relay for that takes no time. What the relay sent: how many.
    fn calls(&mut self, device: &mut Device) -> usize {
        device.client.handle_timeout(self.now);
        let mut answers = 0;
        while let Some(transmit) = device.client.poll_transmit() {
            assert_eq!(transmit.to, relay_address());
            for (to, answer) in self.single(&transmit.datagram, device.from) {
                assert_eq!(to, device.from);
                answers += 1;
                assert_eq!(device.open(&answer, self.now), None);
            }
        }
        answers
    }
}

#[test]
fn a_message_goes_through_the_relay_and_an_answer_back() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, mut b) = (relay.device(1), relay.device(2));
    assert_eq!(relay.server.sessions(), 2);
    for (length, from, to) in [(32, true, 2), (148, false, 1), (1452, true, 2), (MAX_RELAYED, false, 1)] {
        let mut text = message(length, 9);
        text[0] = if length == 148 { 1 } else { 4 };
        let (sender, receiver) = if from { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let datagram = sender.seal(to, &text, relay.now);
        assert_eq!(datagram.len(), length + RELAY_OVERHEAD);
        let sent = relay.single(&datagram, sender.from);
        let [(place, delivery)] = &sent[..] else { panic!("{} sent", sent.len()) };
        assert_eq!((*place, delivery.len()), (receiver.from, datagram.len()), "R15: no byte more");
        assert_eq!(session_of(&delivery[8..]), Some(receiver.client.session()));
        assert_eq!(receiver.open(delivery, relay.now), Some((address(sender.number), text)));
        relay.now += SECOND;
    }
    let too_long = message(MAX_RELAYED + 1, 1);
    assert_eq!(a.client.seal(address(2), &too_long, relay.now), None);
    assert_eq!(a.client.seal(address(2), b"no message", relay.now), None);
}

/// SECURITY 3.2 row 69, R20c: the sender sees nothing, and nothing different, whatever is the matter with the target.
#[test]
fn row_69_a_target_that_never_named_the_relay_is_as_absent() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, _b) = (relay.device(1), relay.device(2));
    assert!(relay.server.set_accepts(&owner(2), false));
    assert!(!relay.server.set_accepts(&owner(3), true), "no session");
    let mut used = Vec::new();
    for target in [2, 3, 2, 3] {
        let before = relay.server.usage(relay.now).map(|usage| usage.bytes).sum::<u64>();
        assert_eq!(relay.pass(&mut a, target, 100), 0);
        used.push(relay.server.usage(relay.now).map(|usage| usage.bytes).sum::<u64>() - before);
    }
    assert_eq!(used, [156; 4]);
    assert_eq!((relay.dropped(RelayDrop::NotAccepting), relay.dropped(RelayDrop::Absent)), (2, 2));
    assert!(relay.server.set_accepts(&owner(2), true));
    assert_eq!(relay.pass(&mut a, 2, 100), 1);
}

/// SECURITY 3.2 row 70, R51.
#[test]
fn row_70_a_flood_to_one_target_leaves_the_others_as_they_were() {
    let mut relay = Relay::new(RelayConfig::default());
    let mut flooder = relay.device(1);
    let (mut a, mut b, victim) = (relay.device(2), relay.device(3), relay.device(4));
    let (began, mut flood, mut others) = (relay.now, 0_u64, 0);
    for turn in 0..200_u32 {
        for _ in 0..100 {
            let datagram = flooder.seal(4, &message(1400, 1), relay.now);
            relay.take(&datagram, flooder.from);
        }
        let between = a.seal(3, &message(1000, 2), relay.now);
        relay.take(&between, a.from);
        let to_victim = b.seal(4, &message(1000, 3), relay.now);
        relay.take(&to_victim, b.from);
        let sent = relay.turn();
        let to = |place| sent.iter().filter(|(to, _)| *to == place).collect::<Vec<_>>();
        assert_eq!(to(b.from).len(), 1, "turn {turn}");
        others += usize::from(b.open(&to(b.from)[0].1, relay.now).is_some());
        let at_victim = to(victim.from);
        assert!(at_victim.len() <= 64);
        flood += at_victim.iter().filter(|(_, datagram)| datagram.len() > 1400).count() as u64;
        assert_eq!(at_victim.last().map(|(_, datagram)| datagram.len()), Some(1056), "the newest stays");
        relay.now += Duration::from_millis(10);
    }
    assert_eq!(others, 200);
    // 100 datagrams in 10 ms are 14.6 MB/s; what came through is 1 Mbit/s and the burst.
    let most = 125_000 + 125 * (relay.now - began).as_millis() as u64;
    assert!(flood * 1456 <= most && flood * 1456 > most * 3 / 4, "{flood}");
}

/// SECURITY 3.2 row 70, R51: memory is bounded, and another sender is not hindered.
#[test]
fn row_70_a_million_targets_are_a_thousand() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut prober, mut a, b) = (relay.device(1), relay.device(2), relay.device(3));
    let text = message(32, 1);
    for number in 0..1_000_000_u32 {
        // None of them exists; the last four bytes differ.
        let target = Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(number));
        let datagram = prober.client.seal(target, &text, relay.now).expect("sealed");
        relay.take(&datagram, prober.from);
        if number % 100_000 == 0 {
            assert!(relay.turn().is_empty());
            let datagram = a.seal(3, &text, relay.now);
            let sent = relay.single(&datagram, a.from);
            assert!(matches!(&sent[..], [(to, _)] if *to == b.from));
        }
        relay.now += Duration::from_millis(1);
        if number % 60_000 == 0 {
            // Lest it be taken for silent.
            relay.device(3);
        }
    }
    assert_eq!(relay.dropped(RelayDrop::Absent), 1000);
    assert_eq!(relay.dropped(RelayDrop::Targets), 999_000);
    let state = format!("{:?}", relay.server).len();
    assert!(state < 40_000, "{state} characters tell all that the relay knows");
    // A target of this hour may still be sent to, and an hour later there are others.
    let known = Ipv6Addr::from(0xfd00_u128 << 112 | 999);
    let datagram = prober.client.seal(known, &text, relay.now).expect("sealed");
    relay.take(&datagram, prober.from);
    assert_eq!(relay.dropped(RelayDrop::Absent), 1001);
}

/// SECURITY 3.2 row 71, R53.
#[test]
fn row_71_what_is_replayed_or_redirected_is_dropped() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, mut b, mut c) = (relay.device(1), relay.device(2), relay.device(3));
    let datagram = a.seal(2, &message(64, 1), relay.now);
    let [(_, delivery)] = &relay.single(&datagram, a.from)[..] else { panic!("not delivered") };
    for from in [a.from, b.from] {
        assert!(relay.single(&datagram, from).is_empty());
    }
    assert_eq!(relay.dropped(RelayDrop::Replayed), 2);
    // Any byte of it altered: session, counter, target, mac; and the length of the message.
    let fresh = a.seal(2, &message(64, 1), relay.now);
    for at in 8..RELAY_OVERHEAD {
        let mut altered = fresh.clone();
        altered[at] ^= 1;
        assert!(relay.single(&altered, a.from).is_empty(), "byte {at}");
    }
    let mut redirected = fresh.clone();
    redirected[24..40].copy_from_slice(&address(3).octets());
    assert!(relay.single(&redirected, a.from).is_empty());
    let mut of_another = fresh.clone();
    of_another[8..16].copy_from_slice(&c.client.session());
    assert!(relay.single(&of_another, a.from).is_empty());
    let (kind, body) = (RELAY_SEND, &fresh[8..fresh.len() - 1]);
    relay.server.handle_frame(kind, body, a.from, relay.now);
    assert!(relay.turn().is_empty(), "a byte short");
    relay.server.handle_frame(RELAY_DELIVERY, &fresh[8..], a.from, relay.now);
    relay.server.handle_frame(RELAY_SEND, &delivery[8..], a.from, relay.now);
    assert!(relay.turn().is_empty(), "another kind, another direction");
    assert_eq!(relay.single(&fresh, a.from).len(), 1, "none of these has used it up");

    // A delivery is for one session, once, and from the relay.
    assert_eq!(c.open(delivery, relay.now), None);
    assert_eq!(a.open(delivery, relay.now), None);
    for at in 8..RELAY_OVERHEAD {
        let mut altered = delivery.clone();
        altered[at] ^= 1;
        assert_eq!(b.open(&altered, relay.now), None, "byte {at}");
    }
    assert_eq!(
        b.client.handle_frame(RELAY_DELIVERY, &delivery[8..], a.from, relay.now),
        None,
        "from elsewhere"
    );
    assert_eq!(b.open(&datagram, relay.now), None, "a send");
    assert!(b.open(delivery, relay.now).is_some());
    assert_eq!(b.open(delivery, relay.now), None, "twice");
}

/// SECURITY R53: what overtakes on the way is taken, once; what is older than the window is not.
#[test]
fn r53_the_window_takes_what_is_out_of_order_and_nothing_twice() {
    let quotas = RelayConfig { burst: 1 << 30, ..RelayConfig::default() };
    let mut relay = Relay::new(quotas);
    let (mut a, _b) = (relay.device(1), relay.device(2));
    let datagrams: Vec<_> = (0..3000).map(|_| a.seal(2, &message(32, 1), relay.now)).collect();
    let order = (0..3000).map(|at| at ^ 7).chain([3000 - 1024, 3000 - 1025, 0]);
    let mut taken = BTreeMap::new();
    for at in order {
        *taken.entry(at).or_insert(0) += relay.single(&datagrams[at], a.from).len();
    }
    assert!(taken.values().all(|times| *times == 1) && taken.len() == 3000);
    assert_eq!(relay.dropped(RelayDrop::Replayed), 3);
    // Far ahead, and then what was left behind.
    let ahead: Vec<_> = (0..2000).map(|_| a.seal(2, &message(32, 1), relay.now)).collect();
    assert_eq!(relay.single(&ahead[1999], a.from).len(), 1);
    assert_eq!(relay.single(&ahead[1999 - 1023], a.from).len(), 1, "the oldest of the window");
    assert_eq!(relay.single(&ahead[1999 - 1024], a.from).len(), 0, "too old");
}

/// SECURITY R50: sender and target both have a live session, and it ends when it ends.
#[test]
fn r50_nothing_without_a_session_or_after_it() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, b) = (relay.device(1), relay.device(2));
    // Sessions of another relay: the id of one is known here, that of the other is not.
    let mut elsewhere = Relay::new(RelayConfig::default());
    elsewhere.requests = 100;
    let strangers = [elsewhere.device(1), elsewhere.device(2), elsewhere.device(3)];
    for mut stranger in strangers {
        let datagram = stranger.seal(2, &message(32, 1), relay.now);
        assert!(relay.single(&datagram, a.from).is_empty());
    }
    assert_eq!((relay.dropped(RelayDrop::Forged), relay.dropped(RelayDrop::NoSession)), (2, 1));
    assert_eq!(relay.pass(&mut a, 2, 32), 1);

    // What waits when its target leaves is not delivered.
    let waiting = a.seal(2, &message(32, 1), relay.now);
    relay.take(&waiting, a.from);
    assert!(relay.server.close(&owner(2), relay.now) && !relay.server.close(&owner(2), relay.now));
    assert!(relay.turn().is_empty());
    assert_eq!(relay.pass(&mut a, 2, 32), 0);

    // A new session takes the place of the old at once.
    let mut b_again = relay.device(2);
    let mut old_a = a;
    let mut a = relay.device(1);
    assert_eq!(relay.pass(&mut old_a, 2, 32), 0);
    assert_eq!(relay.dropped(RelayDrop::NoSession), 1 + 1);
    let datagram = a.seal(2, &message(32, 1), relay.now);
    let sent = relay.single(&datagram, a.from);
    assert!(b_again.open(&sent[0].1, relay.now).is_some());
    let mut b = b;
    assert_eq!(b.open(&sent[0].1, relay.now), None);

    // An hour later both are over, whether the relay has cleaned up or not.
    let late = a.seal(2, &message(32, 1), relay.now);
    assert_eq!(relay.server.poll_timeout(), Some(relay.now + HOUR));
    relay.now += HOUR;
    assert!(relay.single(&late, a.from).is_empty());
    assert_eq!(a.client.seal(address(2), &message(32, 1), relay.now), None);
    assert_eq!(a.client.health(relay.now), Health::Unproven);
    relay.server.handle_timeout(relay.now);
    assert_eq!((relay.server.sessions(), relay.server.poll_timeout()), (0, None));
}

#[test]
fn r50_no_session_lasts_longer_than_a_day() {
    let mut relay = Relay::new(RelayConfig::default());
    let (_, opening) = relay.opening(1);
    relay.server.open(RelayOpening { lifetime: 30 * DAY, ..opening }, relay.now).expect("opened");
    assert_eq!(relay.server.poll_timeout(), Some(relay.now + DAY));
}

/// SECURITY R51, R19, R28.
#[test]
fn r51_there_is_an_end_to_sessions_and_one_for_each_address() {
    let mut relay = Relay::new(RelayConfig { sessions: 2, ..RelayConfig::default() });
    relay.device(1);
    relay.device(2);
    let (_, third) = relay.opening(3);
    assert_eq!(relay.server.open(third, relay.now), Err(RelayRefusal::Full));
    relay.device(1);
    let (_, same_address) = relay.opening(1);
    let same_address = RelayOpening { owner: owner(9), ..same_address };
    let refused = relay.server.open(same_address, relay.now);
    assert_eq!(refused, Err(RelayRefusal::AddressTaken(address(1))));
    assert_eq!(relay.server.sessions(), 2);
    relay.now += HOUR;
    relay.device(3);
    assert_eq!(relay.server.sessions(), 1, "those that are over make room");
}

/// SECURITY R51: the second, and a pause.
#[test]
fn r51_a_second_has_its_bytes_and_a_pause_fills_up_again() {
    let quotas = RelayConfig { bytes_per_second: 1000, burst: 2000, ..RelayConfig::default() };
    let mut relay = Relay::new(quotas);
    let (mut a, mut b) = (relay.device(1), relay.device(2));
    let hundred = 100 - RELAY_OVERHEAD;
    let mut passed =
        |relay: &mut Relay, times| (0..times).map(|_| relay.pass(&mut a, 2, hundred)).sum::<usize>();
    assert_eq!(passed(&mut relay, 30), 20);
    assert_eq!(relay.dropped(RelayDrop::Rate), 10);
    relay.now += Duration::from_millis(500);
    assert_eq!(passed(&mut relay, 30), 5);
    relay.now += 60 * SECOND;
    assert_eq!(passed(&mut relay, 30), 20, "no more is saved up than the burst");
    assert_eq!(relay.pass(&mut b, 1, hundred), 1, "another has its own");
}

/// SECURITY R51: the day, over another session and over a restart.
#[test]
fn r51_a_day_has_its_bytes_whatever_the_session_and_the_restart() {
    let quotas = RelayConfig { bytes_per_day: 1000, ..RelayConfig::default() };
    let mut relay = Relay::new(quotas);
    let (mut a, _b) = (relay.device(1), relay.device(2));
    let hundred = 100 - RELAY_OVERHEAD;
    let passed = |relay: &mut Relay, a: &mut Device, times| {
        (0..times).map(|_| relay.pass(a, 2, hundred)).sum::<usize>()
    };
    assert_eq!(passed(&mut relay, &mut a, 6), 6);
    relay.server.close(&owner(1), relay.now);
    let mut a = relay.device(1);
    assert_eq!(passed(&mut relay, &mut a, 3), 3);
    relay.now += HOUR / 2;
    let usage: Vec<_> = relay.server.usage(relay.now).collect();
    let expected = RelayUsage { owner: owner(1), bytes: 900, ends_in: DAY - HOUR / 2 };
    assert_eq!(usage, [expected], "and nobody who has used nothing");

    let mut relay = Relay::new(quotas);
    relay.server.restore(usage, HOUR, relay.now);
    let (mut a, _b) = (relay.device(1), relay.device(2));
    assert_eq!(passed(&mut relay, &mut a, 5), 1);
    assert_eq!(relay.dropped(RelayDrop::Day), 4);
    relay.now += DAY - HOUR - HOUR / 2 - SECOND;
    let (mut a, _b) = (relay.device(1), relay.device(2));
    assert_eq!(passed(&mut relay, &mut a, 5), 0);
    relay.now += SECOND;
    assert_eq!(passed(&mut relay, &mut a, 12), 10, "the next day");

    let mut relay = Relay::new(quotas);
    let old = RelayUsage { owner: owner(1), bytes: 1000, ends_in: HOUR };
    relay.server.restore([old], HOUR, relay.now);
    let (mut a, _b) = (relay.device(1), relay.device(2));
    assert_eq!(passed(&mut relay, &mut a, 1), 1, "that day is over");
}

/// SECURITY R51: the targets of an hour, over another session.
#[test]
fn r51_an_hour_has_its_targets_whatever_the_session() {
    let mut relay = Relay::new(RelayConfig { targets_per_hour: 2, ..RelayConfig::default() });
    let mut a = relay.device(1);
    for number in [2, 3, 4, 5] {
        relay.device(number);
    }
    let counts: Vec<_> = [2, 3, 4, 2, 5].iter().map(|to| relay.pass(&mut a, *to, 32)).collect();
    assert_eq!(counts, [1, 1, 0, 1, 0]);
    let mut a = relay.device(1);
    assert_eq!((relay.pass(&mut a, 4, 32), relay.pass(&mut a, 3, 32)), (0, 1));
    assert_eq!(relay.dropped(RelayDrop::Targets), 3);
    relay.now += HOUR;
    let mut a = relay.device(1);
    relay.device(4);
    assert_eq!(relay.pass(&mut a, 4, 32), 1);
}

/// SECURITY R51: what one target gets in a turn. The oldest make room.
#[test]
fn r51_a_turn_has_64_for_a_target_and_they_are_the_newest() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, mut b) = (relay.device(1), relay.device(2));
    for round in 0..3 {
        for mark in 0..100 {
            let datagram = a.seal(2, &message(32, mark), relay.now);
            relay.take(&datagram, a.from);
        }
        let sent = relay.turn();
        let marks: Vec<_> = sent
            .iter()
            .filter_map(|(_, datagram)| b.open(datagram, relay.now))
            .map(|(_, text)| text[31])
            .collect();
        assert_eq!(marks, (36..100).collect::<Vec<u8>>(), "round {round}");
    }
    assert_eq!(relay.dropped(RelayDrop::Overflow), 3 * 36);
    assert_eq!(relay.server.counts().delivered, 3 * 64);
    assert_eq!(relay.server.counts().delivered_bytes, 3 * 64 * 88);
}

/// SECURITY R51, R19: all together, and an owner that never ends its turn.
#[test]
fn r51_the_relay_has_its_total_and_a_turn_an_end() {
    let mut relay =
        Relay::new(RelayConfig { total_bytes_per_second: 1000, total_burst: 1000, ..RelayConfig::default() });
    let mut devices: Vec<_> = (1..=20).map(|number| relay.device(number)).collect();
    let hundred = 100 - RELAY_OVERHEAD;
    let passed: usize = devices.iter_mut().map(|device| relay.pass(device, 1, hundred)).sum();
    assert_eq!((passed, relay.dropped(RelayDrop::Total)), (10, 10));

    let much = 1 << 40;
    let mut relay = Relay::new(RelayConfig {
        bytes_per_second: much,
        burst: much,
        queue: usize::MAX,
        total_bytes_per_second: much,
        total_burst: much,
        ..RelayConfig::default()
    });
    let (mut a, _b) = (relay.device(1), relay.device(2));
    for _ in 0..200 {
        let datagram = a.seal(2, &message(MAX_RELAYED, 1), relay.now);
        relay.take(&datagram, a.from);
    }
    assert!(relay.dropped(RelayDrop::Turn) > 0);
    assert!(relay.turn().iter().map(|(_, datagram)| datagram.len()).sum::<usize>() <= 8 << 20);
    assert_eq!(relay.pass(&mut a, 2, 32), 1, "and then goes on");
}

/// SECURITY R24.
#[test]
fn r24_deliveries_move_to_an_address_that_was_shown_and_to_no_other() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, mut b) = (relay.device(1), relay.device(2));
    let (old, new, other) =
        (b.from, "203.0.113.9:1".parse().expect("new"), "203.0.113.9:2".parse().expect("other"));
    let goes_to = |relay: &mut Relay, a: &mut Device| {
        let datagram = a.seal(2, &message(32, 1), relay.now);
        relay.single(&datagram, a.from)[0].0
    };
    // Sends and calls from a new address alone move nothing.
    let datagram = b.seal(1, &message(32, 1), relay.now);
    assert_eq!(relay.single(&datagram, new).len(), 1);
    b.client.handle_timeout(relay.now);
    let call = b.client.poll_transmit().expect("a call").datagram;
    let sent = relay.single(&call, new);
    let [(to, alive)] = &sent[..] else { panic!("no answer") };
    assert_eq!((*to, goes_to(&mut relay, &mut a)), (new, old));
    // The answer brings the challenge, and the call that shows it comes at once.
    b.open(alive, relay.now);
    let shown = b.client.poll_transmit().expect("another call").datagram;
    for elsewhere in [other, old] {
        let mut copy = Relay::new(RelayConfig::default());
        let (mut copy_a, mut copy_b) = (copy.device(1), copy.device(2));
        copy_b.client.handle_timeout(copy.now);
        let call = copy_b.client.poll_transmit().expect("a call").datagram;
        let alive = copy.single(&call, new).remove(0).1;
        copy_b.open(&alive, copy.now);
        let shown = copy_b.client.poll_transmit().expect("another call").datagram;
        copy.single(&shown, elsewhere);
        assert_eq!(goes_to(&mut copy, &mut copy_a), old, "shown from {elsewhere}");
        assert_eq!(copy.server.counts().moved, 0);
    }
    assert_eq!(relay.single(&shown, new).len(), 1);
    assert_eq!((goes_to(&mut relay, &mut a), relay.server.counts().moved), (new, 1));
    assert!(relay.single(&shown, old).is_empty() && relay.single(&call, old).is_empty(), "seen before");
    assert_eq!(goes_to(&mut relay, &mut a), new);

    // And back, by itself, as a device does that has moved.
    b.client.handle_moved(relay.now);
    assert_eq!(b.client.health(relay.now), Health::Suspect);
    assert_eq!(relay.calls(&mut b), 2);
    assert_eq!(goes_to(&mut relay, &mut a), old);
    assert_eq!(b.client.health(relay.now), Health::Proven);
}

/// SECURITY R24: a challenge lasts two minutes at most, and a call that was overtaken moves nothing.
#[test]
fn r24_a_challenge_does_not_last_and_the_newest_call_decides() {
    for (later, moves) in [(59, true), (121, false)] {
        let mut relay = Relay::new(RelayConfig::default());
        let (_a, mut b) = (relay.device(1), relay.device(2));
        let new = "203.0.113.9:1".parse().expect("new");
        b.client.handle_timeout(relay.now);
        let call = b.client.poll_transmit().expect("a call").datagram;
        let alive = relay.single(&call, new).remove(0).1;
        b.open(&alive, relay.now);
        let shown = b.client.poll_transmit().expect("another call").datagram;
        relay.now += later * SECOND;
        relay.single(&shown, new);
        assert_eq!(relay.server.counts().moved, u64::from(moves), "{later}");
    }
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, mut b) = (relay.device(1), relay.device(2));
    relay.calls(&mut b);
    let (old, new) = (b.from, "203.0.113.9:1".parse().expect("new"));
    // A call from the old address stays on the way while the device moves on.
    b.client.handle_moved(relay.now);
    b.client.handle_timeout(relay.now);
    let delayed = b.client.poll_transmit().expect("a call").datagram;
    b.from = new;
    b.client.handle_moved(relay.now);
    relay.calls(&mut b);
    assert_eq!(relay.single(&delayed, old).len(), 1);
    let datagram = a.seal(2, &message(32, 1), relay.now);
    assert_eq!(relay.single(&datagram, a.from)[0].0, new);
}

/// SECURITY R15, R20: who cannot show a key is told nothing, who can gets no more than it gave.
#[test]
fn r20_the_relay_is_silent_to_whom_it_does_not_know() {
    let mut relay = Relay::new(RelayConfig::default());
    let mut a = relay.device(1);
    a.client.handle_timeout(relay.now);
    let call = a.client.poll_transmit().expect("a call").datagram;
    for at in 8..call.len() {
        let mut altered = call.clone();
        altered[at] ^= 0x80;
        assert!(relay.single(&altered, a.from).is_empty(), "byte {at}");
    }
    for kind in 0..=u8::MAX {
        for length in [0, 7, 8, 39, 40, 41, 47, 48, 200] {
            relay.server.handle_frame(kind, &vec![0; length], a.from, relay.now);
        }
    }
    assert!(relay.turn().is_empty());
    let sent = relay.single(&call, a.from);
    assert!(matches!(&sent[..], [(to, alive)] if *to == a.from && alive.len() == call.len()));
    assert_eq!(call.len(), 48);
    assert_eq!(relay.server.counts().calls, 1);
    assert_eq!(
        relay.dropped(RelayDrop::NoSession)
            + relay.dropped(RelayDrop::Forged)
            + relay.dropped(RelayDrop::Malformed),
        40 + 256 * 9
    );
    // A genuine send that carries something else than a tunnel's message.
    let mut datagram = a.seal(1, &message(32, 1), relay.now);
    datagram[RELAY_OVERHEAD] = 9;
    assert!(relay.single(&datagram, a.from).is_empty());
    assert_eq!(relay.dropped(RelayDrop::Foreign), 1);
}

/// SECURITY R15: an address at which nobody has shown itself for two minutes gets nothing.
#[test]
fn r15_a_device_that_does_not_call_is_not_delivered_to() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, mut b) = (relay.device(1), relay.device(2));
    relay.now += 119 * SECOND;
    assert_eq!(relay.pass(&mut a, 2, 32), 1);
    relay.now += SECOND;
    assert_eq!(relay.pass(&mut a, 2, 32), 0);
    assert_eq!(relay.dropped(RelayDrop::Silent), 1);
    // Sending is no proof of where it is; calling is.
    assert_eq!(relay.pass(&mut b, 1, 32), 0);
    assert_eq!(relay.pass(&mut a, 2, 32), 0);
    assert_eq!(relay.calls(&mut b), 2);
    assert_eq!(relay.pass(&mut a, 2, 32), 1);
}

#[test]
fn a_device_that_calls_as_it_should_is_delivered_to_for_as_long_as_its_session_lasts() {
    let mut relay = Relay::new(RelayConfig::default());
    let (mut a, mut b) = (relay.device(1), relay.device(2));
    let end = relay.now + HOUR;
    let (mut calls, mut answers) = (0, 0);
    while let Some(due) = b.client.poll_timeout().filter(|due| *due < end) {
        relay.now = due;
        calls += 1;
        answers += relay.calls(&mut b);
        assert_eq!(b.client.health(relay.now), Health::Proven);
        assert_eq!(
            relay
                .single(&a.client.seal(address(2), &message(32, 1), relay.now).expect("sealed"), a.from)
                .len(),
            1
        );
    }
    // Every 10 s in the two minutes after it was opened, then every 25 s; and once more in a minute, when the challenge is another.
    assert_eq!(calls, 12 + (3600 - 120) / 25 + 1);
    assert!(answers > calls && answers <= calls + 62, "{answers}");
}

#[test]
fn a_device_calls_more_often_while_there_is_traffic() {
    let mut relay = Relay::new(RelayConfig::default());
    let mut a = relay.device(1);
    relay.calls(&mut a);
    relay.now += 300 * SECOND;
    a.client.handle_timeout(relay.now);
    a.client.poll_transmit();
    relay.calls(&mut a);
    let gap = |relay: &mut Relay, a: &mut Device| {
        while a.client.poll_timeout().expect("calls") <= relay.now {
            relay.calls(a);
        }
        a.client.poll_timeout().expect("calls") - relay.now
    };
    a.client.handle_moved(relay.now);
    assert_eq!(gap(&mut relay, &mut a), 25 * SECOND);
    // The relay may know the session no more: when nothing comes after what was said, it is asked.
    a.seal(2, &message(32, 1), relay.now);
    assert_eq!(gap(&mut relay, &mut a), Duration::from_millis(500));
    relay.now += Duration::from_millis(500);
    assert_eq!(gap(&mut relay, &mut a), 10 * SECOND);
}

#[test]
fn a_relay_that_does_not_answer_is_suspect_and_then_dead() {
    let mut relay = Relay::new(RelayConfig::default());
    let mut a = relay.device(1);
    assert_eq!((a.client.health(relay.now), a.client.rtt()), (Health::Proven, None));
    let began = relay.now;
    let mut seen = Vec::new();
    let mut last = Vec::new();
    while let Some(due) = a.client.poll_timeout() {
        relay.now = due;
        a.client.handle_timeout(due);
        last.extend(a.client.poll_transmit().map(|transmit| transmit.datagram));
        seen.push((a.client.health(due), a.client.is_due(due)));
    }
    let proven = (Health::Proven, false);
    let suspect = (Health::Suspect, false);
    assert_eq!(seen, [vec![proven; 3], vec![suspect; 5], vec![(Health::Unproven, true)]].concat());
    assert_eq!(relay.now - began, Duration::from_secs(4));
    assert_eq!(last.len(), 8);
    // An answer at last; before it a made-up one, and one from elsewhere.
    let alive = relay.single(&last[7], a.from).remove(0).1;
    let mut forged = alive.clone();
    forged[30] ^= 1;
    a.open(&forged, relay.now);
    a.client.handle_frame(RELAY_ALIVE, &alive[8..], a.from, relay.now);
    assert_eq!(a.client.health(relay.now), Health::Unproven);
    a.open(&alive, relay.now);
    assert_eq!(a.client.health(relay.now), Health::Proven);
    assert_eq!(a.client.rtt(), Some(Duration::from_millis(500)));
    // The same answer again says nothing new.
    while a.client.poll_transmit().is_some() {}
    a.open(&alive, relay.now + HOUR / 4);
    assert_eq!(a.client.rtt(), Some(Duration::from_millis(500)));
    assert_eq!(a.client.poll_transmit(), None);
}

#[test]
fn a_session_is_renewed_before_it_ends() {
    let mut relay = Relay::new(RelayConfig::default());
    let a = relay.device(1);
    assert!(!a.client.is_due(relay.now + HOUR * 9 / 10 - SECOND));
    assert!(a.client.is_due(relay.now + HOUR * 9 / 10));
    let day = RelayClient::new(keys(1).0, [1; 8], relay_address(), DAY, relay.now);
    assert!(!day.is_due(relay.now + DAY - HOUR - SECOND) && day.is_due(relay.now + DAY - HOUR));
}

/// The example of `docs/spec/relay.md`, made with other code.
#[test]
fn the_page_and_the_crate_agree_byte_for_byte() {
    let page = std::fs::read_to_string(format!("{}/../../docs/spec/relay.md", env!("CARGO_MANIFEST_DIR")));
    let page = page.expect("page");
    let block = page.split("```session\n").nth(1).and_then(|rest| rest.split("```").next()).expect("block");
    let block = block.replace("\n    ", "");
    let fields: BTreeMap<&str, &str> = block.lines().filter_map(|line| line.split_once(" = ")).collect();
    let bytes = |field: &str| hex::decode(fields[field]).expect("hex");
    let array = |field: &str| <[u8; 32]>::try_from(bytes(field)).expect("32 bytes");
    let secret = |field: &str| TransportSecret::from_bytes(array(field).into()).expect("secret");
    let (device, node) = (secret("device exchange secret"), secret("relay exchange secret"));
    assert_eq!(node.public_key().as_bytes()[..], bytes("relay exchange key"));
    assert_eq!(device.agree(&node.public_key())[..], bytes("shared secret"));
    let session = bytes("session").try_into().expect("8 bytes");
    let keys = RelayKeys::for_device(&device, &node.public_key(), &array("request")).expect("keys");
    let now = Duration::from_secs(1000);
    let mut client = RelayClient::new(keys, session, relay_address(), HOUR, now);
    client.handle_timeout(now);
    assert_eq!(client.poll_transmit().expect("a call").datagram, bytes("call"));
    assert_eq!(client.handle_frame(RELAY_ALIVE, &bytes("alive")[8..], relay_address(), now + SECOND), None);
    assert_eq!(client.rtt(), Some(SECOND));
    let again = client.poll_transmit().expect("another call").datagram;
    assert_eq!((again[3], &again[24..32]), (RELAY_CALL, &[0xc1; 8][..]), "shows what the answer brought");
    let target = fields["target"].parse().expect("address");
    assert_eq!(client.seal(target, &bytes("message"), now), Some(bytes("send")));
    let delivery = bytes("delivery");
    let delivered =
        client.handle_frame(RELAY_DELIVERY, &delivery[8..], relay_address(), now).expect("delivered");
    assert_eq!(delivered.source.to_string(), fields["source"]);
    assert_eq!(delivered.message, bytes("message"));
}

proptest! {
    /// SECURITY R12, R45: nothing that anybody sends makes either end panic, and nothing comes of it.
    #[test]
    fn no_bytes_panic(
        kind in 15..25_u8,
        body in prop::collection::vec(any::<u8>(), 0..120),
        names_session in any::<bool>(),
    ) {
        let mut relay = Relay::new(RelayConfig::default());
        let mut a = relay.device(1);
        let mut body = body;
        if names_session && body.len() >= 8 {
            body[..8].copy_from_slice(&a.client.session());
        }
        relay.server.handle_frame(kind, &body, a.from, relay.now);
        prop_assert!(relay.turn().is_empty());
        prop_assert_eq!(a.client.handle_frame(kind, &body, relay_address(), relay.now), None);
    }

    /// The same for frames that a device with a session makes, with quotas and times of any size.
    #[test]
    fn no_device_makes_the_relay_panic(
        quotas in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(u64::MAX), 0..100_000_u64], 8),
        steps in prop::collection::vec((0..4_u32, 0..4_u32, 32..2000_usize, 0..200_000_u64), 1..60),
    ) {
        let small = |at: usize| usize::try_from(quotas[at]).unwrap_or(usize::MAX);
        let mut relay = Relay::new(RelayConfig {
            bytes_per_second: quotas[0],
            burst: quotas[1],
            queue: small(2),
            targets_per_hour: small(3),
            bytes_per_day: quotas[4],
            total_bytes_per_second: quotas[5],
            total_burst: quotas[6],
            sessions: 4,
        });
        let mut devices: Vec<_> = (0..4).map(|number| relay.device(number)).collect();
        for (from, to, length, later) in steps {
            relay.now = relay.now.saturating_add(Duration::from_millis(later));
            let device = &mut devices[from as usize];
            if let Some(datagram) = device.client.seal(address(to), &message(length, 1), relay.now) {
                prop_assert!(relay.single(&datagram, device.from).len() <= 1);
            }
            relay.calls(device);
        }
        let usage: Vec<_> = relay.server.usage(relay.now).collect();
        relay.server.restore(usage, Duration::MAX, Duration::MAX);
    }
}
