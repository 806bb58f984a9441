//! Two devices look for paths to each other through NATs, keep them, leave them and move: SECURITY R24, R58, row 78.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{CONE, FULL_CONE, NatKind, SYMMETRIC, World, secret};
use jis::Fingerprint;
use tibet_mesh::{Health, MAX_CANDIDATES, Path, Paths, ProbeBudget, ProbeKeys, RelayId, Role, Wire};

const RELAY: Path = Path::Relayed(RelayId(1));

/// Two devices with a relay between them.
struct Pair {
    world: World,
    paths: [Paths; 2],
    budgets: [ProbeBudget; 2],
    agreements: u8,
    /// Paths that each has chosen, with the time.
    chosen: [Vec<(Duration, Option<Path>)>; 2],
}

impl Pair {
    /// Each behind a NAT of its own, with the same inner address.
    fn behind(nats: [Option<NatKind>; 2]) -> Self {
        let world = World::of_two(nats);
        let mut pair = Self {
            world,
            paths: Default::default(),
            budgets: Default::default(),
            agreements: 0,
            chosen: Default::default(),
        };
        for paths in &mut pair.paths {
            paths.set_relays(&[(RelayId(1), Health::Proven, None)]);
        }
        pair
    }

    /// Both consent: the second as soon as the first's consent has come, 20 ms later; each names its own and its observed address.
    fn consent(&mut self) {
        self.agreements += 1;
        let (first, second) = ([self.agreements; 16], [self.agreements + 100; 16]);
        let named = [0, 1].map(|device| [self.world.address(device), self.world.observed(device)]);
        let secrets = [secret(1), secret(2)];
        for (device, other, role) in [(1, 0, Role::Answered), (0, 1, Role::Asked)] {
            let keys =
                ProbeKeys::agree(&secrets[device], &secrets[other].public_key(), &first, &second, role);
            self.run(Duration::from_millis(20));
            self.paths[device].begin(keys, named[other], self.world.now);
        }
    }

    /// Lets this much time pass.
    fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        loop {
            for device in 0..2_usize {
                let peer = Fingerprint::of_inception(&(1 - device).to_be_bytes());
                self.paths[device].handle_timeout(self.world.now, &peer, &mut self.budgets[device]);
                while let Some(transmit) = self.paths[device].poll_transmit() {
                    self.world.send(device, transmit.to, transmit.datagram);
                }
                let chosen = self.paths[device].chosen();
                if self.chosen[device].last().map(|(_, last)| *last) != Some(chosen) {
                    self.chosen[device].push((self.world.now, chosen));
                }
            }
            let timers = self.paths.iter().filter_map(Paths::poll_timeout);
            let Some(next) = timers.chain(self.world.next()).min().filter(|next| *next <= end) else { break };
            self.world.now = self.world.now.max(next);
            while let Some(arrival) = self.world.take() {
                let paths = &mut self.paths[arrival.device];
                match Wire::read(&arrival.datagram) {
                    Some(Wire::Frame { kind, body }) => {
                        paths.handle_frame(kind, body, arrival.from, self.world.now);
                    }
                    Some(Wire::WireGuard(message)) => {
                        paths.handle_data(Path::Direct(arrival.from), message.len(), self.world.now);
                    }
                    None => panic!("{arrival:?}"),
                }
            }
        }
        self.world.now = end;
    }

    /// A packet from each to the other every 20 ms, for this long.
    fn talk(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            for device in 0..2 {
                let now = self.world.now;
                self.paths[device].note_sent(now);
                match self.paths[device].chosen() {
                    Some(Path::Direct(to)) => {
                        let mut message = vec![0; 200];
                        message[0] = 4;
                        self.world.send(device, to, message);
                    }
                    Some(relayed) => self.paths[1 - device].handle_data(relayed, 200, now),
                    None => {}
                }
            }
            self.run(Duration::from_millis(20));
        }
    }

    fn direct(&self, device: usize) -> Option<SocketAddr> {
        match self.paths[device].chosen() {
            Some(Path::Direct(address)) => Some(address),
            _ => None,
        }
    }
}

/// Which pairs of NATs let a direct path through: theory (RFC 5128, RFC 4787), one pair a line.
#[test]
fn a_direct_path_is_found_wherever_there_is_one_and_the_relay_serves_otherwise() {
    let none = None;
    let (cone, full, symmetric) = (Some(CONE), Some(FULL_CONE), Some(SYMMETRIC));
    let cases = [
        (none, none, true),
        (none, cone, true),
        (none, symmetric, true),
        (cone, cone, true),
        (cone, full, true),
        (full, symmetric, true),
        (cone, symmetric, false),
        (symmetric, symmetric, false),
    ];
    for (a, b, expected) in cases {
        for nats in [[a, b], [b, a]] {
            let mut pair = Pair::behind(nats);
            pair.consent();
            assert_eq!(pair.paths[0].chosen(), Some(RELAY), "{nats:?}: at once over the relay");
            let begun = pair.world.now;
            pair.talk(Duration::from_secs(2));
            for device in 0..2 {
                assert_eq!(pair.direct(device).is_some(), expected, "{nats:?}: {:?}", pair.paths[device]);
                if expected {
                    let (at, _) = pair.chosen[device].last().expect("a choice");
                    // One round trip of a probe is 20 ms.
                    let took = at.saturating_sub(begun);
                    assert!(took <= Duration::from_millis(80), "{nats:?}: direct after {took:?}");
                    let rtt = pair.paths[device].rtt(pair.world.now);
                    assert_eq!(rtt, Some(Duration::from_millis(20)), "{nats:?}");
                } else {
                    assert_eq!(pair.paths[device].chosen(), Some(RELAY), "{nats:?}");
                }
            }
        }
    }
}

/// SECURITY R58: at most five probes of 64 bytes to what does not answer, for each consent.
#[test]
fn r58_an_address_that_does_not_answer_is_asked_five_times_for_each_consent() {
    let mut pair = Pair::behind([Some(CONE), None]);
    let victim: SocketAddr = "198.51.100.77:5000".parse().expect("address");
    for round in 1..=2 {
        let secrets = [secret(1), secret(2)];
        let keys =
            ProbeKeys::agree(&secrets[0], &secrets[1].public_key(), &[round; 16], &[99; 16], Role::Asked);
        pair.paths[0].begin(keys, [victim], pair.world.now);
        pair.talk(Duration::from_secs(10));
        assert_eq!(pair.world.sent_to[&victim], usize::from(round) * 5 * 64);
    }
    // Ten a minute for one peer: the third round finds nothing left.
    let secrets = [secret(1), secret(2)];
    let keys = ProbeKeys::agree(&secrets[0], &secrets[1].public_key(), &[9; 16], &[99; 16], Role::Asked);
    pair.paths[0].begin(keys, [victim], pair.world.now);
    pair.talk(Duration::from_secs(5));
    assert_eq!(pair.world.sent_to[&victim], 2 * 5 * 64);
}

#[test]
fn a_path_that_dies_is_left_within_two_seconds_and_taken_again_when_it_is_back() {
    let mut pair = Pair::behind([Some(CONE), Some(CONE)]);
    pair.consent();
    pair.talk(Duration::from_secs(5));
    assert!(pair.direct(0).is_some() && pair.direct(1).is_some());
    let (a, b) = (pair.direct(1).expect("direct").ip(), pair.direct(0).expect("direct").ip());
    pair.world.cut.push((a, b));
    let cut_at = pair.world.now;
    pair.talk(Duration::from_secs(3));
    for device in 0..2 {
        let (left_at, path) = pair.chosen[device].last().copied().expect("a choice");
        assert_eq!(path, Some(RELAY));
        assert!(left_at - cut_at < Duration::from_secs(2), "left after {:?}", left_at - cut_at);
    }
    pair.world.cut.clear();
    pair.consent();
    pair.talk(Duration::from_secs(1));
    assert!(pair.direct(0).is_some() && pair.direct(1).is_some());
}

#[test]
fn a_path_in_use_stays_for_an_hour_and_an_idle_one_costs_nothing() {
    let mut pair = Pair::behind([Some(CONE), Some(CONE)]);
    pair.consent();
    for _ in 0..60 {
        pair.talk(Duration::from_millis(200));
        pair.run(Duration::from_secs(59));
    }
    assert!(pair.direct(0).is_some() && pair.direct(1).is_some());
    assert_eq!(pair.chosen[0].len(), 2, "the relay, then one direct path: {:?}", pair.chosen[0]);
    pair.run(Duration::from_secs(180));
    let before = pair.world.sent_to.clone();
    pair.run(Duration::from_secs(3600));
    assert_eq!(pair.world.sent_to, before, "nothing is sent for peers that do not speak");
    assert!(pair.paths.iter().all(|paths| paths.poll_timeout().is_none()));
    // After such a pause the mappings are gone: the relay serves at once, and a new consent finds the path again.
    pair.talk(Duration::from_millis(20));
    assert_eq!(pair.paths[0].chosen(), Some(RELAY));
    pair.consent();
    pair.talk(Duration::from_secs(1));
    assert!(pair.direct(0).is_some() && pair.direct(1).is_some());
}

/// SECURITY R24: the peer is followed to where it has answered from, not before.
#[test]
fn r24_a_peer_that_moves_is_followed_once_it_has_answered_from_there() {
    let mut pair = Pair::behind([None, Some(CONE)]);
    pair.consent();
    pair.talk(Duration::from_secs(1));
    let before = pair.direct(0).expect("direct");
    // The second device comes by another carrier, and goes on sending as it did.
    let nat = pair.world.nat(CONE);
    pair.world.move_device(1, "10.0.0.9:7150", Some(nat));
    pair.paths[1].handle_moved(pair.world.now);
    let moved = pair.world.now;
    pair.talk(Duration::from_secs(2));
    let after = pair.direct(0).expect("direct");
    assert_ne!(before.ip(), after.ip());
    let (at, _) = pair.chosen[0].last().expect("a choice");
    assert!(*at - moved < Duration::from_secs(2), "followed after {:?}", *at - moved);
    assert_eq!(pair.direct(1), Some(pair.world.address(0)));
}

/// SECURITY R24, row 69: genuine messages that somebody has sent on from his own address lead to one probe there and to nothing else.
#[test]
fn r24_messages_sent_on_from_elsewhere_move_nothing() {
    let mut pair = Pair::behind([None, None]);
    pair.consent();
    pair.talk(Duration::from_secs(1));
    let before = pair.paths[0].chosen();
    let mallory: SocketAddr = "198.51.100.66:666".parse().expect("address");
    for _ in 0..100 {
        pair.paths[0].handle_data(Path::Direct(mallory), 200, pair.world.now);
        pair.talk(Duration::from_millis(20));
    }
    assert_eq!(pair.paths[0].chosen(), before);
    assert!(pair.world.sent_to[&mallory] <= 20 * 64, "{}", pair.world.sent_to[&mallory]);
    // A short one, and nobody is sent more than he sent.
    let victim: SocketAddr = "198.51.100.67:666".parse().expect("address");
    pair.paths[0].handle_data(Path::Direct(victim), 32, pair.world.now);
    pair.talk(Duration::from_secs(1));
    assert_eq!(pair.world.sent_to.get(&victim), None);
}

/// The nearer of two paths is taken: both in one home, and the relay and the NAT far away.
#[test]
fn two_devices_in_one_home_speak_within_it() {
    let mut world = World::new();
    let nat = world.nat(CONE);
    world.device("192.168.1.10:7150", Some(nat));
    world.device("192.168.1.11:7150", Some(nat));
    let mut pair = Pair { world, ..Pair::behind([None, None]) };
    pair.consent();
    pair.talk(Duration::from_secs(1));
    assert_eq!(pair.direct(0), Some(pair.world.address(1)));
    assert_eq!(pair.direct(1), Some(pair.world.address(0)));
}

/// Our nodes are eight, a peer's record names four of them: when it names others, these are taken.
#[test]
fn relays_that_a_record_names_no_more_make_room_for_those_it_names_now() {
    let mut paths = Paths::default();
    let (now, ms) = (Duration::from_secs(1000), |ms| Some(Duration::from_millis(ms)));
    let proven = |relay| (RelayId(relay), Health::Proven, ms(10));
    let mut chosen = |named: &[u32]| {
        paths.set_relays(&named.iter().map(|relay| proven(*relay)).collect::<Vec<_>>());
        (paths.take_change(now).flatten(), paths.measured(now).len())
    };
    assert_eq!(chosen(&[1, 2, 3, 4]), (Some(RELAY), 4));
    assert_eq!(chosen(&[5]), (Some(Path::Relayed(RelayId(5))), 1));
    assert_eq!(chosen(&[8, 7, 6, 4, 3]), (Some(Path::Relayed(RelayId(8))), 4));
}

/// A relay passes on to a peer only what its record lets it (SECURITY R50): that the peer speaks over it shows no more than that it has a session there.
#[test]
fn a_relay_that_the_record_does_not_name_serves_where_no_named_one_does() {
    let mut paths = Paths::default();
    let (now, ms) = (Duration::from_secs(1000), |ms| Some(Duration::from_millis(ms)));
    paths.set_relays(&[(RelayId(1), Health::Proven, ms(90))]);
    (2..9).for_each(|relay| paths.note_relay((RelayId(relay), Health::Proven, ms(1))));
    assert_eq!(paths.take_change(now), Some(Some(RELAY)));
    assert_eq!(paths.measured(now).len(), 4);
    assert!(paths.update_relay((RelayId(1), Health::Suspect, ms(90))));
    assert_eq!(paths.take_change(now), Some(Some(Path::Relayed(RelayId(2)))));
    // Those that were only heard take no place that the record has a use for.
    let named: Vec<_> = [1, 6, 7, 8].map(|relay| (RelayId(relay), Health::Proven, ms(5))).into();
    paths.set_relays(&named);
    assert_eq!(paths.measured(now).iter().filter(|way| !way.noted).count(), 4);
    assert!(!paths.update_relay((RelayId(2), Health::Proven, None)));
}

/// Two relays, as one of two peers sees them: this one speaks over the first, which is faster.
struct OverRelays {
    paths: Paths,
    now: Duration,
}

impl OverRelays {
    fn new(mut paths: Paths) -> Self {
        let proven = |relay, ms| (RelayId(relay), Health::Proven, Some(Duration::from_millis(ms)));
        paths.set_relays(&[proven(1, 10), proven(2, 90)]);
        let mut both = Self { paths, now: Duration::from_secs(1000) };
        assert_eq!(both.chosen(), 1);
        both
    }

    fn chosen(&mut self) -> u32 {
        self.paths.take_change(self.now);
        match self.paths.chosen() {
            Some(Path::Relayed(RelayId(relay))) => relay,
            other => panic!("{other:?}"),
        }
    }

    /// For so long a packet goes to the peer every 100 ms, and one comes from it over this relay. When another path was chosen first.
    fn talk(&mut self, time: Duration, over: Option<u32>) -> Option<Duration> {
        let (begun, before) = (self.now, self.chosen());
        let mut left = None;
        while self.now < begun + time {
            self.paths.note_sent(self.now);
            self.paths.note_datagram(self.now);
            self.now += Duration::from_millis(100);
            if let Some(relay) = over {
                self.paths.handle_data(Path::Relayed(RelayId(relay)), 100, self.now);
            }
            if self.chosen() != before {
                left.get_or_insert(self.now - begun);
            }
        }
        left
    }
}

/// Our session with a relay may be well while the peer's is dead: what the relay answers shows nothing of the peer.
#[test]
fn a_relay_that_the_peer_alone_has_lost_is_left_for_the_one_it_speaks_over() {
    let minute = Duration::from_secs(60);
    for (paths, within) in [(Paths::default(), 500), (Paths::patient(), 1500)] {
        let mut both = OverRelays::new(paths);
        assert_eq!(both.talk(minute, Some(1)), None);
        let left = both.talk(minute, Some(2)).expect("left");
        assert!(left <= Duration::from_millis(within + 100), "{left:?}");
        // That the relay still answers us brings it not back; that the peer speaks over it does.
        both.paths.update_relay((RelayId(1), Health::Proven, Some(Duration::from_millis(9))));
        assert_eq!((both.talk(minute, Some(2)), both.chosen()), (None, 2));
        both.talk(minute, Some(1));
        assert_eq!(both.chosen(), 1);
    }
}

/// A relay that the record does not name may drop what is for the peer: that the peer speaks over it is no reason to leave one that is named.
#[test]
fn a_relay_is_not_left_for_one_that_the_record_does_not_name() {
    let mut both = OverRelays::new(Paths::default());
    both.paths.set_relays(&[(RelayId(1), Health::Proven, None)]);
    both.paths.note_relay((RelayId(2), Health::Proven, None));
    assert_eq!(both.talk(Duration::from_secs(60), Some(2)), None);
}

/// Whoever only listens says that it is there every ten seconds; where even that is missing, the other relay is tried, and then the first again.
#[test]
fn a_relay_that_brings_nothing_back_at_all_is_left_for_another() {
    let mut both = OverRelays::new(Paths::default());
    let left = both.talk(Duration::from_secs(16), None).expect("left");
    assert!(left >= Duration::from_secs(15), "{left:?}");
    assert_eq!(both.chosen(), 2);
    assert!(both.talk(Duration::from_secs(16), None).is_some());
    assert_eq!(both.chosen(), 1);
    // After a pause the silence from before says nothing.
    both.talk(Duration::from_secs(10), None);
    both.now += Duration::from_secs(600);
    assert_eq!(both.talk(Duration::from_secs(14), None), None);
}

/// Any implementation of WireGuard: it knows no probes, so that nothing shows that an address it has left is dead but that another one is proven.
#[test]
fn a_peer_without_probes_is_followed_to_more_addresses_than_are_remembered() {
    let (mut paths, mut now) = (Paths::default(), Duration::from_secs(1000));
    for number in 0..3 * u16::try_from(MAX_CANDIDATES).expect("few") {
        let address = SocketAddr::from(([192, 0, 2, 7], 10_000 + number));
        paths.handle_data(Path::Direct(address), 200, now);
        paths.proven_by_handshake(address, now);
        now += Duration::from_secs(40);
        paths.note_sent(now);
        paths.handle_data(Path::Direct(address), 200, now);
        paths.take_change(now);
        assert_eq!(paths.chosen(), Some(Path::Direct(address)), "address {number}");
        assert!(paths.measured(now).len() <= MAX_CANDIDATES);
        now += Duration::from_secs(40);
    }
}
