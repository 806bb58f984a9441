//! What happens in one run: made from a seed, and told in words.

use std::fmt;
use std::time::Duration;

use crate::net::{Depends, NatKind};
use crate::random::Random;

/// Before anything is disturbed.
pub const CALM: Duration = Duration::from_secs(20);
/// After the last disturbance: so long until traffic must flow.
pub const RECOVERY: Duration = Duration::from_secs(30);
/// After the last disturbance: so long until a direct path must be there, where there can be one. The mesh asks for one every five minutes at the least.
pub const SETTLED: Duration = Duration::from_secs(345);

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// On the internet.
    Public,
    /// In this home.
    Home(usize),
    /// In this carrier's network.
    Carrier(usize),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("on the internet"),
            Self::Home(number) => write!(f, "in home {number}"),
            Self::Carrier(number) => write!(f, "in the network of carrier {number}"),
        }
    }
}

/// How good a host's connection is.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// There or back.
    pub latency: Duration,
    /// Up to so much more.
    pub jitter: Duration,
    /// Lost, of 1000.
    pub loss: u64,
    /// Sent twice, of 1000.
    pub twice: u64,
    /// Delayed by up to 300 ms, of 1000.
    pub late: u64,
}

/// A host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where it is at first.
    pub at: At,
    /// How it is connected.
    pub link: Link,
}

/// A home: a NAT, and behind which carrier it is.
#[derive(Debug, Clone)]
pub struct Home {
    /// Its NAT.
    pub nat: NatKind,
    /// The carrier whose NAT is before it.
    pub behind: Option<usize>,
}

/// Two hosts that speak.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Both.
    pub hosts: [usize; 2],
    /// How long each waits between packets; `None` where it says nothing.
    pub every: [Option<Duration>; 2],
    /// Whether they pause for some minutes.
    pub pause: Option<(Duration, Duration)>,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Disturbance {
    /// A home's NAT loses its mappings.
    HomeRestarts(usize),
    /// A carrier's does.
    CarrierRestarts(usize),
    /// A relay is away, and has forgotten all sessions when it is back.
    RelayDown(usize, Duration),
    /// The rendezvous is, and has forgotten who was where.
    RendezvousDown(Duration),
    /// A host goes elsewhere.
    Roams(usize, At),
    /// A host sleeps; its monotonic clock stands meanwhile, or goes on.
    Sleeps {
        /// Which.
        host: usize,
        /// How long.
        time: Duration,
        /// Whether the clock stands.
        stands: bool,
    },
    /// A host's monotonic clock goes forward at once.
    ClockJumps(usize, Duration),
    /// A host's connection is bad: so much of 1000 is lost.
    Bad(usize, Duration, u64),
    /// A host alone loses a relay, for good.
    Loses {
        /// Which host.
        host: usize,
        /// Which relay.
        relay: usize,
    },
    /// The first may not speak to the second any more.
    Removes(usize, usize),
    /// Somebody sends what he has overheard, and worse, so many times in a second.
    Attack(Duration, u64),
}

impl Disturbance {
    /// How long it lasts.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self {
            Self::RelayDown(_, time)
            | Self::RendezvousDown(time)
            | Self::Sleeps { time, .. }
            | Self::Bad(_, time, _)
            | Self::Attack(time, _) => *time,
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HomeRestarts(home) => write!(f, "the NAT of home {home} restarts"),
            Self::CarrierRestarts(carrier) => write!(f, "the NAT of carrier {carrier} restarts"),
            Self::RelayDown(relay, time) => {
                write!(f, "relay {relay} restarts and is away for {} s", time.as_secs_f32())
            }
            Self::RendezvousDown(time) => {
                write!(f, "the rendezvous restarts and is away for {} s", time.as_secs_f32())
            }
            Self::Roams(host, at) => write!(f, "host {host} goes elsewhere: {at}"),
            Self::Sleeps { host, time, stands } => {
                let clock = if *stands { "stands" } else { "goes on" };
                write!(f, "host {host} sleeps for {} s, and its clock {clock}", time.as_secs_f32())
            }
            Self::ClockJumps(host, by) => write!(f, "the clock of host {host} jumps by {} s", by.as_secs()),
            Self::Bad(host, time, loss) => {
                write!(f, "host {host} loses {loss} of 1000 for {} s", time.as_secs_f32())
            }
            Self::Loses { host, relay } => write!(f, "host {host} alone loses relay {relay}"),
            Self::Removes(host, peer) => write!(f, "host {host} removes host {peer}"),
            Self::Attack(time, rate) => {
                write!(f, "an attack of {} s, {rate} datagrams a second", time.as_secs())
            }
        }
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it was made from.
    pub seed: u64,
    /// Carriers, each with a NAT.
    pub carriers: Vec<NatKind>,
    /// Homes.
    pub homes: Vec<Home>,
    /// Hosts.
    pub hosts: Vec<Host>,
    /// How many relays there are.
    pub relays: usize,
    /// Who speaks to whom.
    pub pairs: Vec<Pair>,
    /// What happens when, in order, from the beginning on.
    pub disturbances: Vec<(Duration, Disturbance)>,
    /// When the last one is over.
    pub calm_from: Duration,
    /// When the run ends.
    pub end: Duration,
}

impl Scenario {
    /// Makes one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let carriers: Vec<NatKind> = (0..random.below(3)).map(|_| nat(&mut random)).collect();
        let homes: Vec<Home> = (0..random.range(1, 4)).map(|_| home(&mut random, carriers.len())).collect();
        let hosts: Vec<Host> = (0..random.range(2, 5))
            .map(|_| Host { at: place(&mut random, homes.len(), carriers.len()), link: link(&mut random) })
            .collect();
        let pairs = pairs(&mut random, hosts.len());
        let relays = random.range(1, 2) as usize;
        let mut scenario = Self {
            seed,
            carriers,
            homes,
            hosts,
            relays,
            pairs,
            disturbances: Vec::new(),
            calm_from: CALM,
            end: CALM,
        };
        let mut at = CALM;
        for _ in 0..random.below(9) {
            at += random.millis(0, 60_000);
            let disturbance = scenario.disturbance(&mut random);
            scenario.calm_from = scenario.calm_from.max(at + disturbance.lasts());
            scenario.disturbances.push((at, disturbance));
        }
        let pauses = scenario.pairs.iter().filter_map(|pair| pair.pause).map(|(at, time)| at + time);
        scenario.calm_from = pauses.fold(scenario.calm_from, Duration::max);
        let settles = random.permille(250);
        // The other relay is what is left: traffic has to find it.
        if scenario.relays == 2 && random.permille(200) {
            let (host, relay) = (random.index(scenario.hosts.len()), random.index(scenario.relays));
            scenario.disturbances.push((scenario.calm_from, Disturbance::Loses { host, relay }));
        }
        scenario.end = scenario.calm_from + if settles { SETTLED } else { RECOVERY + RECOVERY / 2 };
        scenario
    }

    fn disturbance(&self, random: &mut Random) -> Disturbance {
        let host = random.index(self.hosts.len());
        let longest_sleep = if random.permille(500) { 20_000 } else { 400_000 };
        match random.below(20) {
            0 | 1 => Disturbance::HomeRestarts(random.index(self.homes.len())),
            2 if !self.carriers.is_empty() => Disturbance::CarrierRestarts(random.index(self.carriers.len())),
            2 | 3 => Disturbance::RelayDown(random.index(self.relays), random.millis(0, 20_000)),
            4 => Disturbance::RendezvousDown(random.millis(0, 20_000)),
            5..=10 => Disturbance::Roams(host, place(random, self.homes.len(), self.carriers.len())),
            11 | 12 => Disturbance::Sleeps {
                host,
                time: random.millis(1000, longest_sleep),
                stands: random.permille(500),
            },
            13 => {
                let most = if random.permille(500) { 60 } else { 8000 };
                Disturbance::ClockJumps(host, Duration::from_secs(random.range(1, most)))
            }
            14 | 15 => Disturbance::Bad(host, random.millis(1000, 20_000), random.range(100, 1000)),
            16 => {
                let pair = &self.pairs[random.index(self.pairs.len())];
                let [a, b] = pair.hosts;
                if random.permille(500) { Disturbance::Removes(a, b) } else { Disturbance::Removes(b, a) }
            }
            _ => Disturbance::Attack(random.millis(2000, 40_000), random.range(2, 60)),
        }
    }
}

fn nat(random: &mut Random) -> NatKind {
    // Half of them as most are; the others any.
    let (mapping, filtering) = if random.permille(500) {
        (Depends::Nothing, Depends::AddressAndPort)
    } else {
        (Depends::ALL[random.index(3)], Depends::ALL[random.index(3)])
    };
    NatKind {
        mapping,
        filtering,
        keeps_port: random.permille(500),
        hairpin: random.permille(500),
        lifetime: Duration::from_secs(random.range(30, 300)),
        inbound_refreshes: random.permille(500),
    }
}

fn home(random: &mut Random, carriers: usize) -> Home {
    let behind = (carriers > 0 && random.permille(500)).then(|| random.index(carriers));
    Home { nat: nat(random), behind }
}

fn place(random: &mut Random, homes: usize, carriers: usize) -> At {
    match random.below(10) {
        0 => At::Public,
        1..=3 if carriers > 0 => At::Carrier(random.index(carriers)),
        _ => At::Home(random.index(homes)),
    }
}

fn link(random: &mut Random) -> Link {
    let good = random.permille(400);
    let longest = if random.permille(100) { 300 } else { 60 };
    Link {
        latency: random.millis(1, longest),
        jitter: if good { Duration::ZERO } else { random.millis(0, 30) },
        loss: if good { 0 } else { random.range(0, 30) },
        twice: if good { 0 } else { random.range(0, 20) },
        late: if good { 0 } else { random.range(0, 20) },
    }
}

fn pairs(random: &mut Random, hosts: usize) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for a in 0..hosts {
        for b in a + 1..hosts {
            if pairs.len() == 4 || (!pairs.is_empty() && random.permille(400)) {
                continue;
            }
            let mut every = || Some(Duration::from_millis([100, 250, 1000, 2000, 5000][random.index(5)]));
            let mut every = [every(), every()];
            if random.permille(100) {
                every[random.index(2)] = None;
            }
            let pause =
                random.permille(100).then(|| (random.millis(20_000, 60_000), random.millis(60_000, 240_000)));
            pairs.push(Pair { hosts: [a, b], every, pause });
        }
    }
    pairs
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} relays; {:.1} s", self.seed, self.relays, self.end.as_secs_f32())?;
        for (number, kind) in self.carriers.iter().enumerate() {
            writeln!(f, "  carrier {number}: {kind}")?;
        }
        for (number, home) in self.homes.iter().enumerate() {
            let behind = home.behind.map_or(String::new(), |carrier| format!(", behind carrier {carrier}"));
            writeln!(f, "  home {number}: {}{behind}", home.nat)?;
        }
        for (number, Host { at, link }) in self.hosts.iter().enumerate() {
            let Link { latency, jitter, loss, twice, late } = link;
            writeln!(
                f,
                "  host {number}: {at}; {latency:?} + {jitter:?}, of 1000 {loss} lost, {twice} twice, {late} late"
            )?;
        }
        for Pair { hosts: [a, b], every, pause } in &self.pairs {
            write!(f, "  hosts {a} and {b} speak: every {:?}", every)?;
            match pause {
                Some((at, time)) => writeln!(f, ", with a pause of {time:?} at {at:?}")?,
                None => writeln!(f)?,
            }
        }
        for (at, what) in &self.disturbances {
            writeln!(f, "  at {:.3} s {what}", at.as_secs_f32())?;
        }
        write!(f, "  calm from {:.3} s on", self.calm_from.as_secs_f32())
    }
}
