//! The world of one run: hosts and nodes on a network, and time that moves from one event to the next.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jis::Endpoint;
use mock_instant::thread_local::MockClock;
use tibet_mesh::{MeshEvent, Path, ProbeKeys, RelayId, Role, Wire};

use crate::attack::{Attacker, Overheard};
use crate::host::{ASK_AGAIN, ASKS, Ask, HELLO, HELLO_AGAIN, Host, Opening};
use crate::net::{INTERNET, Meeting, Net, Place};
use crate::random::Random;
use crate::scenario::{At, Disturbance, Link, RECOVERY, SETTLED, Scenario};
use crate::services::{Consent, Control, Relay, Rendezvous, address, client, identity, secret};
use crate::watch::{Sent, Watch};

/// When a run begins: no machine may rely on time that begins with 0.
const START: Duration = Duration::from_secs(1000);
const PORT: u16 = 7150;
/// Within a home.
const NEAR: Duration = Duration::from_millis(1);
/// A direct path counts that was in use so long before the end: one that loses three answers in a row is left for a moment.
const OF_LATE: Duration = Duration::from_secs(60);

/// How often a machine may have something to do at one moment.
const ROUNDS: u32 = 4;

#[derive(Debug, Clone)]
enum Payload {
    Mesh(Bytes),
    Control(Control),
}

#[derive(Debug, Clone)]
struct Datagram {
    payload: Payload,
    /// The station that it seems to be from, the host whose words it carries, and the host that these are for.
    by: usize,
    origin: usize,
    meant: Option<usize>,
    forged: bool,
}

#[derive(Debug)]
enum Event {
    /// A datagram is on the network of its destination.
    Inward {
        net: usize,
        from: SocketAddr,
        to: SocketAddr,
        datagram: Datagram,
    },
    Deliver {
        station: usize,
        at: Place,
        from: SocketAddr,
        datagram: Datagram,
    },
    Say {
        pair: usize,
        side: usize,
    },
    Disturb(usize),
    Wakes {
        host: usize,
        stood: Duration,
    },
    Good(usize),
    RelayBack(usize),
    RendezvousBack,
    Strike,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// What went wrong.
    pub violations: Vec<String>,
    /// What happened, in short.
    pub digest: String,
    /// How long it was, by its own clock.
    pub time: Duration,
    /// Datagrams that travelled, and an attacker's among them.
    pub datagrams: u64,
    /// An attacker's.
    pub forged: u64,
    /// Packets that were sent, and that arrived.
    pub packets: (u64, u64),
    /// How long it took after the last disturbance, and after going elsewhere, until a packet sent then arrived.
    pub recovered: Vec<Duration>,
    /// After going elsewhere: whether it was the one who went that spoke, and how long there and back takes between them at least.
    pub roamed: Vec<(bool, Duration, Duration)>,
    /// Pairs at the end of those runs that settle: where they could meet, and whether they did directly.
    pub met: Vec<(Meeting, bool)>,
    /// Most probes to one silent address in a minute.
    pub most_probes: usize,
}

/// The world.
pub struct World<'a> {
    scenario: &'a Scenario,
    random: Random,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    net: Net,
    homes: Vec<(usize, usize)>,
    carriers: Vec<(usize, usize)>,
    links: Vec<Link>,
    /// The hosts' usual links, while theirs are bad.
    hosts: Vec<Host>,
    relays: Vec<Relay>,
    rendezvous: Rendezvous,
    attacker: Attacker,
    attack_until: Duration,
    attack_rate: u64,
    nonces: u64,
    watch: Watch,
    roams: Vec<(Duration, usize)>,
    /// Stations between which nothing arrives any more: a host and a relay.
    lost: Vec<[usize; 2]>,
    verbose: bool,
}

impl<'a> World<'a> {
    /// Plays a scenario. Says what happens if it is `verbose`.
    #[must_use]
    pub fn play(scenario: &'a Scenario, verbose: bool) -> Outcome {
        random03::seed(scenario.seed);
        MockClock::set_time(START);
        let mut world = Self::new(scenario, verbose);
        world.run();
        world.outcome()
    }

    fn new(scenario: &'a Scenario, verbose: bool) -> Self {
        let mut net = Net::default();
        let carriers: Vec<_> = (1..)
            .zip(&scenario.carriers)
            .map(|(number, kind)| net.nat(*kind, INTERNET, Ipv4Addr::new(198, 18, 0, number)))
            .collect();
        let homes: Vec<_> = (1..)
            .zip(&scenario.homes)
            .map(|(number, home)| match home.behind {
                Some(carrier) => net.nat(home.nat, carriers[carrier].0, Ipv4Addr::new(100, 64, 1, number)),
                None => net.nat(home.nat, INTERNET, Ipv4Addr::new(203, 0, 113, number)),
            })
            .collect();
        let hosts = (0..scenario.hosts.len())
            .map(|number| {
                let with = scenario.pairs.iter().filter(|pair| pair.hosts.contains(&number));
                let peers: Vec<usize> =
                    with.map(|pair| pair.hosts[usize::from(pair.hosts[0] == number)]).collect();
                Host::new(number, &peers, scenario.relays, START)
            })
            .collect();
        let mut world = Self {
            scenario,
            random: Random::new(scenario.seed, 2),
            now: START,
            events: BTreeMap::new(),
            count: 0,
            net,
            homes,
            carriers,
            links: scenario.hosts.iter().map(|host| host.link).collect(),
            hosts,
            relays: (0..scenario.relays).map(Relay::new).collect(),
            rendezvous: Rendezvous { up: true, seen: BTreeMap::new() },
            attacker: Attacker::new(scenario.seed),
            attack_until: Duration::ZERO,
            attack_rate: 1,
            nonces: 0,
            watch: Watch::default(),
            roams: Vec::new(),
            lost: Vec::new(),
            verbose,
        };
        for host in &scenario.hosts {
            let place = world.free_place(host.at);
            world.net.attach(place);
        }
        for number in 0..=scenario.relays {
            let address = SocketAddr::from(([198, 51, 100, 1 + number as u8], PORT));
            world.net.attach(Place { net: INTERNET, address });
            world.links.push(Link {
                latency: Duration::from_millis(2),
                jitter: Duration::ZERO,
                loss: 0,
                twice: 0,
                late: 0,
            });
        }
        for (number, (at, _)) in scenario.disturbances.iter().enumerate() {
            world.schedule(START + *at, Event::Disturb(number));
        }
        for (number, pair) in scenario.pairs.iter().enumerate() {
            for side in 0..2 {
                if let Some(every) = pair.every[side] {
                    let first = world.random.millis(0, every.as_millis() as u64);
                    world.schedule(START + first, Event::Say { pair: number, side });
                }
            }
        }
        world
    }

    fn rendezvous_station(&self) -> usize {
        self.hosts.len()
    }

    fn relay_station(&self, relay: usize) -> usize {
        self.hosts.len() + 1 + relay
    }

    /// An address that nobody has there now; somebody may have had it.
    fn free_place(&mut self, at: At) -> Place {
        let (net, range) = match at {
            At::Public => (INTERNET, [192, 0, 2]),
            At::Home(home) => (self.homes[home].0, [192, 168, 1 + home as u8 % 2]),
            At::Carrier(carrier) => (self.carriers[carrier].0, [100, 64, 0]),
        };
        let [a, b, c] = range;
        let mut last = self.random.range(10, 14) as u8;
        loop {
            let place = Place { net, address: SocketAddr::from(([a, b, c, last], PORT)) };
            let attached = self.links.len().max(self.hosts.len());
            let taken = (0..attached).any(|station| self.net.place_of(station) == Some(place));
            if !taken {
                return place;
            }
            last += 1;
        }
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:10.3} {}", (self.now - START).as_secs_f64(), what());
        }
    }

    fn wrong(&mut self, what: String) {
        self.say(|| format!("WRONG: {what}"));
        self.watch.wrong(self.now - START, what);
    }

    fn run(&mut self) {
        for host in 0..self.hosts.len() {
            self.tick(host);
        }
        let end = START + self.scenario.end;
        loop {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let due =
                self.hosts.iter().enumerate().filter_map(|(host, known)| Some((known.due?, host))).min();
            let host_first = due.is_some_and(|(at, _)| event.is_none_or(|event| at < event));
            let Some(next) = (if host_first { due.map(|(at, _)| at) } else { event }) else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if let (true, Some((_, host))) = (host_first, due) {
                self.tick(host);
            } else if let Some((_, event)) = self.events.pop_first() {
                self.handle(event);
            }
        }
        self.now = end;
    }

    /// Sets the clock of a host, and says what it is.
    fn enter(&self, host: usize) -> Duration {
        let (monotonic, running) = self.hosts[host].clocks(self.now);
        MockClock::set_time(running);
        monotonic
    }

    fn tick(&mut self, host: usize) {
        if self.hosts[host].asleep {
            self.hosts[host].due = None;
            return;
        }
        let clock = self.enter(host);
        let is_due = |known: &Host| known.mesh.poll_timeout().is_some_and(|due| due <= clock);
        // A path that is taken because another has failed may have to be asked at once; but that has an end.
        for times in 0.. {
            self.hosts[host].mesh.handle_timeout(clock);
            self.drain(host);
            if !is_due(&self.hosts[host]) {
                break;
            }
            if times == ROUNDS {
                self.wrong(format!("host {host} has something to do for ever"));
                // Once is enough.
                self.hosts[host].due = None;
                self.hosts[host].asleep = true;
                return;
            }
        }
        self.tend(host);
        self.settle(host);
    }

    /// Fetches what a mesh has to say, after every call of it.
    fn drain(&mut self, host: usize) {
        let clock = self.hosts[host].clocks(self.now).0;
        while let Some(transmit) = self.hosts[host].mesh.poll_transmit() {
            let meant = transmit.peer.and_then(|peer| self.host_of(&peer));
            self.check_transmit(host, meant, transmit.to, &transmit.datagram, clock);
            let payload = Payload::Mesh(transmit.datagram.freeze());
            self.send(transmit.to, Datagram { payload, by: host, origin: host, meant, forged: false });
        }
        while let Some((peer, packet)) = self.hosts[host].mesh.poll_packet() {
            match self.host_of(&peer) {
                Some(peer) => self.arrived(peer, host, &packet),
                None => self.wrong(format!("host {host} has a packet of nobody")),
            }
        }
        while let Some(event) = self.hosts[host].mesh.poll_event() {
            self.note(host, event);
        }
    }

    /// When the host is to be looked at again.
    fn settle(&mut self, host: usize) {
        let known = &self.hosts[host];
        let (clock, _) = known.clocks(self.now);
        let mesh = known.mesh.poll_timeout().map(|due| self.now + due.saturating_sub(clock));
        self.hosts[host].due = mesh.into_iter().chain([known.owner_due()]).min();
    }

    fn host_of(&self, peer: &jis::Fingerprint) -> Option<usize> {
        (0..self.hosts.len()).find(|host| identity(*host) == *peer)
    }

    fn check_transmit(
        &mut self,
        host: usize,
        meant: Option<usize>,
        to: SocketAddr,
        bytes: &[u8],
        clock: Duration,
    ) {
        let removed = meant.filter(|peer| self.hosts[host].removed.contains(peer));
        if let Some(peer) = removed {
            self.wrong(format!("host {host} sends to host {peer}, which it has removed"));
        }
        match (Wire::read(bytes), meant) {
            (Some(Wire::WireGuard([1 | 4, ..])), Some(peer)) if !self.watch.was_heard(host, to, peer) => {
                self.wrong(format!("host {host} sends messages for host {peer} to {to}, where it never was"));
            }
            (Some(Wire::Frame { kind: tibet_mesh::PROBE, .. }), Some(peer)) => {
                let attacked = self
                    .scenario
                    .disturbances
                    .iter()
                    .any(|(_, what)| matches!(what, Disturbance::Attack(..)));
                self.watch.probe(self.now - START, clock, host, peer, to, !attacked);
            }
            (None, _) => self.wrong(format!("host {host} sends what is no datagram of the mesh")),
            _ => {}
        }
        self.say(|| format!("host {host} sends {} to {to} for {meant:?}", kind_of(bytes)));
    }

    fn note(&mut self, host: usize, event: MeshEvent) {
        self.say(|| format!("host {host}: {event:?}"));
        match event {
            MeshEvent::PathWanted(peer) => {
                let Some(peer) = self.host_of(&peer) else { return };
                self.nonces += 1;
                let next = self.now + Duration::from_millis(300);
                let ask = Ask { nonce: nonce(self.nonces), times: 0, next };
                self.hosts[host].asks.insert(peer, ask);
                // Where it is seen may have changed.
                self.hosts[host].hello_at = self.now;
            }
            MeshEvent::PathChosen(peer, path) => {
                let Some(peer) = self.host_of(&peer) else { return };
                let now = self.now;
                self.hosts[host].chose(peer, path, now);
                let part = path.map_or(0, |path| if matches!(path, Path::Direct(_)) { 1 } else { 2 });
                self.watch.trace(&[9, now.as_nanos() as u64, host as u64, peer as u64, part]);
                if let Some(Path::Direct(to)) = path
                    && !self.watch.was_heard(host, to, peer)
                {
                    self.wrong(format!(
                        "host {host} takes the path {to} to host {peer}, which never was there"
                    ));
                }
            }
            MeshEvent::RelayDue(RelayId(relay)) => {
                self.hosts[host].requests += 1;
                let request = self.hosts[host].requests;
                let now = self.now;
                self.hosts[host].opening.insert(relay as usize, Opening { request, next: now });
            }
            _ => {}
        }
    }

    /// What the owner does by itself.
    fn tend(&mut self, host: usize) {
        let now = self.now;
        let rendezvous = self.net.place(self.rendezvous_station()).address;
        if self.hosts[host].hello_at <= now {
            self.hosts[host].hello_at = now + HELLO_AGAIN;
            self.control(host, rendezvous, Control::Hello(host));
        }
        let due = |next: Duration| next <= now;
        let opening: Vec<usize> = self.hosts[host]
            .opening
            .iter()
            .filter(|(_, opening)| due(opening.next))
            .map(|(relay, _)| *relay)
            .collect();
        for relay in opening {
            let Some(opening) = self.hosts[host].opening.get_mut(&relay) else { continue };
            opening.next = now + Duration::from_secs(1);
            let request = opening.request;
            let to = self.net.place(self.relay_station(relay)).address;
            self.control(host, to, Control::Open { host, request });
        }
        let asks: Vec<usize> =
            self.hosts[host].asks.iter().filter(|(_, ask)| due(ask.next)).map(|(peer, _)| *peer).collect();
        for peer in asks {
            let Some(ask) = self.hosts[host].asks.get_mut(&peer) else { continue };
            ask.next = now + ASK_AGAIN * 2_u32.pow(ask.times);
            ask.times += 1;
            let (nonce, over) = (ask.nonce, ask.times > ASKS);
            if over {
                self.hosts[host].asks.remove(&peer);
                continue;
            }
            let candidates = self.candidates(host);
            let consent = Consent { from: host, to: peer, nonce, answers: None, candidates };
            self.control(host, rendezvous, Control::Consent(consent));
        }
    }

    fn candidates(&self, host: usize) -> Vec<SocketAddr> {
        let mut candidates = vec![self.net.place(host).address];
        candidates.extend(self.hosts[host].observed);
        candidates.dedup();
        candidates
    }

    fn control(&mut self, by: usize, to: SocketAddr, control: Control) {
        self.say(|| format!("station {by} to {to}: {control:?}"));
        let payload = Payload::Control(control);
        self.send(to, Datagram { payload, by, origin: by, meant: None, forged: false });
    }

    /// Puts a datagram on its way.
    fn send(&mut self, to: SocketAddr, datagram: Datagram) {
        let by = datagram.by;
        let link = self.links[by];
        let home = self.net.place(by).net;
        let Some((net, from)) = self.net.outward(by, to, self.now) else { return };
        self.watch.datagrams += 1;
        if net == INTERNET && Attacker::owns(to) {
            let length = length_of(&datagram);
            return self.watch.reflects(self.now - START, by, to, 0, length);
        }
        // Within one network it goes straight there.
        let near = net == home && net != INTERNET;
        if !near && self.random.permille(link.loss) {
            return;
        }
        let copies = if !near && self.random.permille(link.twice) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if near { NEAR } else { self.delay(link) };
            let datagram = datagram.clone();
            self.schedule(self.now + delay, Event::Inward { net, from, to, datagram });
        }
    }

    fn delay(&mut self, link: Link) -> Duration {
        let jitter = self.random.below(link.jitter.as_micros() as u64 + 1);
        let late = if self.random.permille(link.late) { self.random.millis(20, 300) } else { Duration::ZERO };
        link.latency + Duration::from_micros(jitter) + late
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Inward { net, from, to, datagram } => self.inward(net, from, to, datagram),
            // Who has gone elsewhere meanwhile is there no more.
            Event::Deliver { station, at, from, datagram } if self.net.place(station) == at => {
                self.deliver(station, from, datagram);
            }
            Event::Deliver { .. } => {}
            Event::Say { pair, side } => self.speak(pair, side),
            Event::Disturb(number) => {
                let what = &self.scenario.disturbances[number].1;
                self.say(|| format!("--- {what}"));
                self.disturb(what);
            }
            Event::Wakes { host, stood } => {
                self.hosts[host].asleep = false;
                self.hosts[host].behind += stood;
                self.hosts[host].hello_at = self.now;
                self.tick(host);
            }
            Event::Good(host) => self.links[host].loss = self.scenario.hosts[host].link.loss,
            Event::RelayBack(relay) => self.relays[relay].up = true,
            Event::RendezvousBack => self.rendezvous.up = true,
            Event::Strike => self.strike(),
        }
    }

    fn inward(&mut self, net: usize, from: SocketAddr, to: SocketAddr, datagram: Datagram) {
        let Some(station) = self.net.inward(net, from, to, self.now) else { return };
        if !datagram.forged {
            // Even if it is lost from here on, or overtaken by a copy: there is where its sender is.
            self.watch.heard(station, from, datagram.by);
        }
        let near = self.net.place(station).net == net && net != INTERNET;
        let link = self.links[station];
        if let (INTERNET, false, Payload::Mesh(bytes)) = (net, datagram.forged, &datagram.payload)
            && self.now < self.attack_until
            && (datagram.meant == Some(station) || station >= self.hosts.len())
        {
            let overheard = Overheard { from, to, bytes: bytes.clone() };
            if let Some(first) = self.attacker.overhear(overheard) {
                self.forge(&datagram, first, Duration::ZERO);
            }
        }
        if datagram.forged && Attacker::owns(from) {
            let length = length_of(&datagram);
            self.watch.reflects(self.now - START, station, from, length, 0);
        }
        if !near && self.random.permille(link.loss) {
            return;
        }
        let delay = if near || datagram.forged { Duration::ZERO } else { self.delay(link) };
        let at = self.net.place(station);
        self.schedule(self.now + delay, Event::Deliver { station, at, from, datagram });
    }

    /// The attacker sends something in a copy's place.
    fn forge(&mut self, like: &Datagram, what: Overheard, after: Duration) {
        self.watch.forged += 1;
        let Overheard { from, to, bytes } = what;
        let datagram = Datagram { payload: Payload::Mesh(bytes), forged: true, ..like.clone() };
        self.schedule(self.now + after, Event::Inward { net: INTERNET, from, to, datagram });
    }

    fn strike(&mut self) {
        if self.now >= self.attack_until {
            return;
        }
        if let Some(what) = self.attacker.make() {
            let like = Datagram {
                payload: Payload::Mesh(Bytes::new()),
                by: 0,
                origin: 0,
                meant: None,
                forged: true,
            };
            self.forge(&like, what, Duration::ZERO);
        }
        let next = self.now + Duration::from_micros(1_000_000 / self.attack_rate);
        self.schedule(next, Event::Strike);
    }

    fn deliver(&mut self, station: usize, from: SocketAddr, datagram: Datagram) {
        let nanos = self.now.as_nanos() as u64;
        self.watch.trace(&[1, nanos, station as u64, u64::from(from.port()), length_of(&datagram) as u64]);
        let by = datagram.by;
        if self.lost.iter().any(|lost| lost.contains(&station) && lost.contains(&by)) {
            return;
        }
        if station >= self.hosts.len() {
            return self.serve(station, from, datagram);
        }
        if self.hosts[station].asleep {
            return;
        }
        match datagram.payload {
            Payload::Mesh(bytes) => {
                if !datagram.forged
                    && datagram.meant.is_none()
                    && datagram.origin < self.hosts.len()
                    && self.hosts[datagram.origin].removed.contains(&station)
                {
                    self.wrong(format!(
                        "host {} sends to host {station}, which it has removed",
                        datagram.origin
                    ));
                }
                let clock = self.enter(station);
                self.hosts[station].mesh.handle_datagram(from, BytesMut::from(&bytes[..]), clock);
                self.drain(station);
            }
            Payload::Control(control) => self.control_came(station, control),
        }
        self.settle(station);
    }

    fn control_came(&mut self, host: usize, control: Control) {
        let now = self.now;
        match control {
            Control::Seen(observed) => {
                let known = &mut self.hosts[host];
                known.observed = Some(observed);
                known.hello_at = now + HELLO;
                known.asks.values_mut().filter(|ask| ask.times == 0).for_each(|ask| ask.next = now);
            }
            Control::Consent(consent) => self.consent_came(host, consent),
            Control::Opened { relay, request, session } => {
                if self.hosts[host].opening.get(&relay).is_none_or(|opening| opening.request != request) {
                    return;
                }
                self.hosts[host].opening.remove(&relay);
                let address = self.net.place(self.relay_station(relay)).address;
                let clock = self.enter(host);
                let client = client(host, relay, request, session, address, clock);
                self.hosts[host].mesh.open_relay(RelayId(relay as u32), client, clock);
                self.drain(host);
            }
            Control::Hello(_) | Control::Open { .. } => {}
        }
    }

    fn consent_came(&mut self, host: usize, consent: Consent) {
        let Consent { from: peer, nonce: theirs, answers, candidates, .. } = consent;
        let is_peer = self.hosts[host].mesh.status(&identity(peer), self.now).is_some();
        if !is_peer {
            return;
        }
        let (first, second, role) = match answers {
            Some(ours) => {
                if self.hosts[host].asks.get(&peer).is_none_or(|ask| ask.nonce != ours) {
                    return;
                }
                self.hosts[host].asks.remove(&peer);
                (ours, theirs, Role::Asked)
            }
            None => {
                let known = self.hosts[host].answered.get(&(peer, theirs)).copied();
                let ours = known.unwrap_or_else(|| {
                    self.nonces += 1;
                    nonce(self.nonces)
                });
                self.hosts[host].answered.insert((peer, theirs), ours);
                let own = self.candidates(host);
                let answer =
                    Consent { from: host, to: peer, nonce: ours, answers: Some(theirs), candidates: own };
                let rendezvous = self.net.place(self.rendezvous_station()).address;
                self.control(host, rendezvous, Control::Consent(answer));
                if known.is_some() {
                    return;
                }
                (theirs, ours, Role::Answered)
            }
        };
        let keys = ProbeKeys::agree(&secret(host), &secret(peer).public_key(), &first, &second, role);
        let named: Vec<Endpoint> =
            candidates.iter().filter_map(|address| Endpoint::new(*address).ok()).collect();
        self.watch.consented(host, peer);
        let clock = self.enter(host);
        self.hosts[host].mesh.begin(&identity(peer), keys, &named, clock);
        self.drain(host);
    }

    /// A node's part.
    fn serve(&mut self, station: usize, from: SocketAddr, datagram: Datagram) {
        let now = self.now;
        if station == self.rendezvous_station() {
            if !self.rendezvous.up {
                return;
            }
            match datagram.payload {
                Payload::Control(Control::Hello(host)) => {
                    self.rendezvous.seen.insert(host, from);
                    self.control(station, from, Control::Seen(from));
                }
                Payload::Control(Control::Consent(consent)) => {
                    if let Some(to) = self.rendezvous.seen.get(&consent.to).copied() {
                        self.control(station, to, Control::Consent(consent));
                    }
                }
                _ => {}
            }
            return;
        }
        let relay = station - self.hosts.len() - 1;
        if !self.relays[relay].up {
            return;
        }
        match &datagram.payload {
            Payload::Control(Control::Open { host, request }) => {
                if let Some(answer) = self.relays[relay].open(*host, *request, from, now) {
                    self.control(station, from, answer);
                }
            }
            Payload::Mesh(bytes) => {
                let Some(Wire::Frame { kind, body }) = Wire::read(bytes) else { return };
                let server = &mut self.relays[relay].server;
                server.handle_frame(kind, body, from, now);
                let mut out = Vec::new();
                server.handle_turn_end(|to, bytes| out.push((to, bytes)));
                for (to, bytes) in out {
                    let delivery = matches!(
                        Wire::read(&bytes),
                        Some(Wire::Frame { kind: tibet_mesh::RELAY_DELIVERY, .. })
                    );
                    let meant = if delivery { datagram.meant } else { Some(datagram.origin) };
                    if let (true, Some(peer)) = (delivery, meant)
                        && !self.watch.was_heard(station, to, peer)
                    {
                        self.wrong(format!(
                            "relay {relay} delivers for host {peer} to {to}, where it never was"
                        ));
                    }
                    self.say(|| format!("relay {relay} sends {} to {to}", kind_of(&bytes)));
                    let payload = Payload::Mesh(bytes.into());
                    self.send(to, Datagram { payload, by: station, origin: station, meant, forged: false });
                }
            }
            Payload::Control(_) => {}
        }
    }

    /// An application sends a packet.
    fn speak(&mut self, pair: usize, side: usize) {
        let plan = &self.scenario.pairs[pair];
        let (from, to) = (plan.hosts[side], plan.hosts[1 - side]);
        let Some(every) = plan.every[side] else { return };
        // In the quiet at the end less often, so that it costs less.
        let late = self.now >= START + self.scenario.calm_from + 2 * RECOVERY;
        let every = if late { every.max(Duration::from_secs(5)) } else { every };
        self.schedule(self.now + every, Event::Say { pair, side });
        let pauses = plan.pause.is_some_and(|(at, time)| {
            let now = self.now - START;
            now >= at && now < at + time
        });
        if pauses || self.hosts[from].asleep {
            return;
        }
        let sent = self.watch.packets.entry((from, to)).or_default();
        let packet = packet(from, to, sent.len() as u64);
        if !self.hosts[from].removed.contains(&to) {
            sent.push(Sent { at: self.now, arrived: None });
        }
        let clock = self.enter(from);
        let done = self.hosts[from].mesh.handle_packet(packet, clock);
        if done.is_ok() == self.hosts[from].removed.contains(&to) {
            self.wrong(format!("host {from} has a packet for host {to}: {done:?}"));
        }
        self.drain(from);
        self.settle(from);
    }

    fn arrived(&mut self, from: usize, host: usize, bytes: &[u8]) {
        let now = self.now;
        if self.hosts[host].removed.contains(&from) {
            self.wrong(format!("host {host} has a packet of host {from}, which it has removed"));
        }
        let count = bytes.get(42..50).and_then(|count| count.try_into().ok()).map(u64::from_be_bytes);
        let genuine = count.is_some_and(|count| bytes == &packet(from, host, count)[..]);
        let sent = self.watch.packets.get_mut(&(from, host));
        let sent = sent.zip(count).and_then(|(sent, count)| sent.get_mut(usize::try_from(count).ok()?));
        match sent {
            Some(sent) if genuine && sent.arrived.is_none() => sent.arrived = Some(now),
            Some(_) if genuine => {
                self.wrong(format!("packet {count:?} of host {from} came twice to host {host}"))
            }
            _ => self.wrong(format!("host {host} has a packet that host {from} never sent")),
        }
    }

    fn disturb(&mut self, what: &Disturbance) {
        let now = self.now;
        match *what {
            Disturbance::HomeRestarts(home) => self.net.restart(self.homes[home].1),
            Disturbance::CarrierRestarts(carrier) => self.net.restart(self.carriers[carrier].1),
            Disturbance::RelayDown(relay, time) => {
                self.relays[relay].stop();
                self.schedule(now + time, Event::RelayBack(relay));
            }
            Disturbance::RendezvousDown(time) => {
                self.rendezvous.up = false;
                self.rendezvous.seen.clear();
                self.schedule(now + time, Event::RendezvousBack);
            }
            Disturbance::Roams(host, at) => {
                let place = self.free_place(at);
                self.net.reattach(host, place);
                self.roams.push((now, host));
                self.hosts[host].observed = None;
                self.hosts[host].hello_at = now;
                if !self.hosts[host].asleep {
                    let clock = self.enter(host);
                    self.hosts[host].mesh.handle_moved(clock);
                    self.drain(host);
                    self.tick(host);
                }
            }
            Disturbance::Sleeps { host, time, stands } => {
                if self.hosts[host].asleep {
                    return;
                }
                self.hosts[host].asleep = true;
                self.hosts[host].due = None;
                let stood = if stands { time } else { Duration::ZERO };
                self.schedule(now + time, Event::Wakes { host, stood });
            }
            Disturbance::ClockJumps(host, by) => {
                self.hosts[host].ahead += by;
                self.tick(host);
            }
            Disturbance::Bad(host, time, loss) => {
                self.links[host].loss = loss;
                self.schedule(now + time, Event::Good(host));
            }
            Disturbance::Loses { host, relay } => self.lost.push([host, self.relay_station(relay)]),
            Disturbance::Removes(host, peer) => {
                self.hosts[host].mesh.remove_peer(&identity(peer));
                self.hosts[host].removed.insert(peer);
                self.hosts[host].asks.remove(&peer);
                self.drain(host);
            }
            Disturbance::Attack(time, rate) => {
                let silent = now >= self.attack_until;
                self.attack_until = self.attack_until.max(now + time);
                self.attack_rate = rate;
                if silent {
                    self.schedule(now, Event::Strike);
                }
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let recovered = self.check_recovery();
        let met = self.check_paths();
        for host in 0..self.hosts.len() {
            let counts = self.hosts[host].mesh.counts().overflow;
            self.watch.trace(&[3, counts]);
            for peer in 0..self.hosts.len() {
                let now = self.hosts[host].clocks(self.now).0;
                let status = self.hosts[host].mesh.status(&identity(peer), now);
                let paths = status.map_or(0, |status| status.paths.len());
                if paths > tibet_mesh::MAX_CANDIDATES + tibet_mesh::MAX_RELAYS {
                    self.wrong(format!("host {host} knows {paths} paths to host {peer}"));
                }
            }
        }
        for relay in 0..self.relays.len() {
            if self.relays[relay].server.sessions() > self.hosts.len() {
                self.wrong(format!("relay {relay} has more sessions than there are hosts"));
            }
        }
        let all = || self.watch.packets.values().flatten();
        let packets = (all().count() as u64, all().filter(|sent| sent.arrived.is_some()).count() as u64);
        Outcome {
            digest: self.watch.digest(),
            time: self.scenario.end,
            datagrams: self.watch.datagrams,
            forged: self.watch.forged,
            packets,
            recovered,
            roamed: self.roamed(),
            met,
            most_probes: self.watch.most_probes,
            violations: self.watch.violations,
        }
    }

    /// Those who speak to each other at the end.
    fn speaking(&self) -> Vec<[usize; 2]> {
        let removed = |a: usize, b: usize| self.hosts[a].removed.contains(&b);
        let pairs = self.scenario.pairs.iter().map(|pair| pair.hosts);
        pairs.filter(|[a, b]| !removed(*a, *b) && !removed(*b, *a)).collect()
    }

    fn check_recovery(&mut self) -> Vec<Duration> {
        let calm = START + self.scenario.calm_from;
        let mut times = Vec::new();
        for [a, b] in self.speaking() {
            for (from, to) in [(a, b), (b, a)] {
                let Some(sent) = self.watch.packets.get(&(from, to)) else { continue };
                let after = sent.iter().filter(|sent| sent.at >= calm);
                let Some(first_sent) = after.clone().map(|sent| sent.at).min() else { continue };
                match after.filter_map(|sent| sent.arrived).min().map(|arrived| arrived - first_sent) {
                    Some(time) if time <= RECOVERY => times.push(time),
                    time => self
                        .wrong(format!("host {from} reaches host {to} {time:?} after the last disturbance")),
                }
                let sent = self.watch.packets.get(&(from, to)).map_or(&[][..], |sent| sent);
                let late: Vec<&Sent> = sent
                    .iter()
                    .filter(|sent| sent.at >= calm + RECOVERY && sent.at + Duration::from_secs(5) <= self.now)
                    .collect();
                let arrived = late.iter().filter(|sent| sent.arrived.is_some()).count();
                // By chance some few are lost. Whoever's clock has stood believes in a session with a relay for longer than the relay does.
                let stood = self.hosts.iter().any(|known| known.behind > Duration::ZERO);
                if !stood && late.len() >= 10 && arrived * 2 < late.len() {
                    let all = late.len();
                    self.wrong(format!(
                        "of {all} packets of host {from} to host {to} in the calm {arrived} arrive"
                    ));
                }
            }
        }
        times
    }

    fn check_paths(&mut self) -> Vec<(Meeting, bool)> {
        if self.scenario.end < self.scenario.calm_from + SETTLED {
            return Vec::new();
        }
        let mut met = Vec::new();
        for [a, b] in self.speaking() {
            let of_late = |host: usize, peer: usize| {
                let direct = self.hosts[host].direct.get(&peer);
                direct.is_some_and(|(_, until)| until.is_none_or(|until| self.now - until <= OF_LATE))
            };
            let direct = of_late(a, b) && of_late(b, a);
            let meeting = self.net.meeting(a, b);
            if meeting.is_direct() && !direct {
                self.wrong(format!("hosts {a} and {b} do not speak directly: {meeting}"));
            }
            met.push((meeting, direct));
        }
        met
    }

    /// How long it took after a host went elsewhere and nothing else happened, until a packet that was sent then arrived.
    fn roamed(&self) -> Vec<(bool, Duration, Duration)> {
        let mut times = Vec::new();
        for (at, host) in &self.roams {
            let elapsed = *at - START;
            let others = self.scenario.disturbances.iter().filter(|(when, what)| {
                *when != elapsed
                    && *when < elapsed + Duration::from_secs(10)
                    && *when + what.lasts() + Duration::from_secs(35) > elapsed
            });
            if others.count() > 0 {
                continue;
            }
            for pair in self.scenario.pairs.iter().filter(|pair| pair.hosts.contains(host)) {
                let brisk =
                    pair.every.iter().all(|every| every.is_some_and(|every| every.as_millis() <= 250));
                let [a, b] = pair.hosts;
                let apart = self.hosts[a].removed.contains(&b) || self.hosts[b].removed.contains(&a);
                let pauses = pair.pause.is_some();
                if !brisk || apart || pauses {
                    continue;
                }
                for (from, to) in [(a, b), (b, a)] {
                    let sent = self.watch.packets.get(&(from, to)).into_iter().flatten();
                    let arrived = sent.filter(|sent| sent.at >= *at).filter_map(|sent| sent.arrived).min();
                    let time = arrived.map_or(Duration::MAX, |arrived| arrived - *at);
                    let there_and_back = 2 * (self.links[a].latency + self.links[b].latency);
                    times.push((from == *host, there_and_back, time));
                }
            }
        }
        times
    }
}

fn nonce(count: u64) -> [u8; 16] {
    let mut nonce = [1; 16];
    nonce[8..].copy_from_slice(&count.to_be_bytes());
    nonce
}

fn length_of(datagram: &Datagram) -> usize {
    match &datagram.payload {
        Payload::Mesh(bytes) => bytes.len(),
        Payload::Control(_) => 0,
    }
}

fn kind_of(bytes: &[u8]) -> String {
    match Wire::read(bytes) {
        Some(Wire::WireGuard(message)) => format!("WireGuard {} ({})", message[0], message.len()),
        Some(Wire::Frame { kind, .. }) => format!("frame {kind} ({})", bytes.len()),
        None => format!("{} bytes", bytes.len()),
    }
}

/// The packet with this number: who has it knows all of it.
fn packet(from: usize, to: usize, count: u64) -> BytesMut {
    let filler = (count * 37 % 100) as usize;
    let mut bytes = BytesMut::with_capacity(192);
    bytes.extend_from_slice(&[0x60, 0, 0, 0, 0, 10 + filler as u8, 59, 64]);
    bytes.extend_from_slice(&address(from).octets());
    bytes.extend_from_slice(&address(to).octets());
    bytes.extend_from_slice(&[from as u8, to as u8]);
    bytes.extend_from_slice(&count.to_be_bytes());
    let at = bytes.len();
    bytes.resize(at + filler, count as u8 ^ 0x5a);
    bytes
}
