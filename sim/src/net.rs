//! The network: who is where, and what the NATs between them do (RFC 4787).
//!
//! A network is the internet (number 0) or what lies behind a NAT; a NAT's outside is a network again, so that a home can lie behind a carrier's NAT. A datagram climbs
//! from network to network until it is on the one that its destination is on ([`Net::outward`]), travels, and then falls through the NATs to whom it is for
//! ([`Net::inward`]), if these let it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The internet's number.
pub const INTERNET: usize = 0;

/// Whom a NAT gives the same port, and whom it lets in (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depends {
    /// On nothing: everybody.
    Nothing,
    /// On the other side's address.
    Address,
    /// On its address and port.
    AddressAndPort,
}

impl Depends {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Address, Self::AddressAndPort];

    fn part(self, other: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Nothing => None,
            Self::Address => Some(SocketAddr::new(other.ip(), 0)),
            Self::AddressAndPort => Some(other),
        }
    }
}

impl fmt::Display for Depends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "EI",
            Self::Address => "AD",
            Self::AddressAndPort => "APD",
        })
    }
}

/// How a NAT behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatKind {
    /// Who sees the same port.
    pub mapping: Depends,
    /// Who is let in.
    pub filtering: Depends,
    /// Whether the outside port is the inside port when that is free.
    pub keeps_port: bool,
    /// Whether two inside may speak to each other by their outside addresses.
    pub hairpin: bool,
    /// How long what is not used lasts.
    pub lifetime: Duration,
    /// Whether what comes in counts as use (RFC 4787 REQ-6 leaves that open).
    pub inbound_refreshes: bool,
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mapping, {} filtering, {} s", self.mapping, self.filtering, self.lifetime.as_secs())?;
        let traits = [
            (self.keeps_port, ", keeps ports"),
            (self.hairpin, ", hairpin"),
            (self.inbound_refreshes, ", refreshed from outside"),
        ];
        traits.iter().filter(|(has, _)| *has).try_for_each(|(_, name)| f.write_str(name))
    }
}

/// A NAT.
#[derive(Debug)]
struct Nat {
    kind: NatKind,
    address: Ipv4Addr,
    outside: usize,
    inside: usize,
    /// By the inside address and what the mapping depends on.
    mappings: BTreeMap<(SocketAddr, Option<SocketAddr>), Mapping>,
    next_port: u16,
}

#[derive(Debug)]
struct Mapping {
    port: u16,
    used_at: Duration,
    /// Whom datagrams went to, and when.
    spoken_to: BTreeMap<SocketAddr, Duration>,
}

impl Nat {
    fn forget(&mut self, now: Duration) {
        let lives = |at: &Duration| now.saturating_sub(*at) < self.kind.lifetime;
        self.mappings.retain(|_, mapping| lives(&mapping.used_at));
        for mapping in self.mappings.values_mut() {
            mapping.spoken_to.retain(|_, at| lives(at));
        }
    }

    fn out(&mut self, from: SocketAddr, to: SocketAddr, now: Duration) -> SocketAddr {
        self.forget(now);
        let key = (from, self.kind.mapping.part(to));
        if !self.mappings.contains_key(&key) {
            let taken = |port: u16| self.mappings.values().any(|mapping| mapping.port == port);
            let mut port = from.port();
            if !self.kind.keeps_port || taken(port) {
                loop {
                    self.next_port = if self.next_port >= 60_000 { 20_000 } else { self.next_port + 1 };
                    port = self.next_port;
                    if !taken(port) {
                        break;
                    }
                }
            }
            self.mappings.insert(key, Mapping { port, used_at: now, spoken_to: BTreeMap::new() });
        }
        let port = self.mappings.get_mut(&key).map_or(0, |mapping| {
            mapping.used_at = now;
            mapping.spoken_to.insert(to, now);
            mapping.port
        });
        SocketAddr::new(self.address.into(), port)
    }

    fn inward(&mut self, port: u16, from: SocketAddr, now: Duration) -> Option<SocketAddr> {
        self.forget(now);
        let NatKind { filtering, inbound_refreshes, .. } = self.kind;
        let ((inside, _), mapping) = self.mappings.iter_mut().find(|(_, mapping)| mapping.port == port)?;
        let wanted = filtering.part(from);
        let let_in = mapping.spoken_to.keys().any(|to| filtering.part(*to) == wanted);
        if !let_in && filtering != Depends::Nothing {
            return None;
        }
        if inbound_refreshes {
            mapping.used_at = now;
            mapping.spoken_to.entry(from).and_modify(|at| *at = now);
        }
        Some(*inside)
    }
}

/// Where somebody is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// On which network.
    pub net: usize,
    /// With which address.
    pub address: SocketAddr,
}

/// All networks, NATs, and those attached to them, who are numbered.
#[derive(Debug)]
pub struct Net {
    /// The NAT that leads out of each.
    gateways: Vec<Option<usize>>,
    nats: Vec<Nat>,
    stations: Vec<Place>,
}

/// Where two can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// One is on the network that both can reach, and so its own address is good.
    Near,
    /// Both are behind NATs, which behave together as these.
    Across([(Depends, Depends); 2]),
    /// Both are behind one NAT that does not turn datagrams around.
    NoHairpin,
}

impl Meeting {
    /// Whether theory lets them speak directly with what the mesh does: probes to the addresses that both have named, which are their own and the one that a node
    /// sees; and who has made a probe is taken to be where a confirmation comes from.
    ///
    /// | first, second: mapping | works when |
    /// |---|---|
    /// | EI, EI | always |
    /// | EI, dependent | the first does not filter by port: the second comes from a port that nobody could name |
    /// | dependent, dependent | never: neither can name the port it comes from |
    #[must_use]
    pub fn is_direct(self) -> bool {
        match self {
            Self::Near => true,
            Self::NoHairpin => false,
            Self::Across([(a, filters_a), (b, filters_b)]) => match (a, b) {
                (Depends::Nothing, Depends::Nothing) => true,
                (Depends::Nothing, _) => filters_a != Depends::AddressAndPort,
                (_, Depends::Nothing) => filters_b != Depends::AddressAndPort,
                _ => false,
            },
        }
    }
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Near => f.write_str("one on a network that both reach"),
            Self::NoHairpin => f.write_str("behind one carrier's NAT without hairpin"),
            Self::Across(both) => {
                let [(a, filters_a), (b, filters_b)] = [both[0].min(both[1]), both[0].max(both[1])];
                write!(f, "{a}/{filters_a} and {b}/{filters_b}")
            }
        }
    }
}

impl Default for Net {
    fn default() -> Self {
        Self { gateways: vec![None], nats: Vec::new(), stations: Vec::new() }
    }
}

impl Net {
    /// Another NAT, with this address on the network outside. The network inside, and its number.
    pub fn nat(&mut self, kind: NatKind, outside: usize, address: Ipv4Addr) -> (usize, usize) {
        let (inside, number) = (self.gateways.len(), self.nats.len());
        self.gateways.push(Some(number));
        let next_port = 20_000 + 1000 * (number as u16 % 30);
        self.nats.push(Nat { kind, address, outside, inside, mappings: BTreeMap::new(), next_port });
        (inside, number)
    }

    /// Attaches somebody: its number.
    pub fn attach(&mut self, place: Place) -> usize {
        self.stations.push(place);
        self.stations.len() - 1
    }

    /// Attaches it elsewhere.
    pub fn reattach(&mut self, station: usize, place: Place) {
        self.stations[station] = place;
    }

    /// Where somebody is.
    #[must_use]
    pub fn place(&self, station: usize) -> Place {
        self.stations[station]
    }

    /// The same for a number that nobody may have yet.
    #[must_use]
    pub fn place_of(&self, station: usize) -> Option<Place> {
        self.stations.get(station).copied()
    }

    /// A NAT loses all it knows.
    pub fn restart(&mut self, nat: usize) {
        self.nats[nat].mappings.clear();
        self.nats[nat].next_port += 977;
    }

    fn is_on(&self, net: usize, ip: IpAddr) -> bool {
        self.stations.iter().any(|place| place.net == net && place.address.ip() == ip)
            || self.nats.iter().any(|nat| nat.outside == net && IpAddr::from(nat.address) == ip)
    }

    /// The network on which a datagram reaches its destination, and the address it has there; `None` where no way leads.
    pub fn outward(&mut self, station: usize, to: SocketAddr, now: Duration) -> Option<(usize, SocketAddr)> {
        let Place { mut net, address: mut from } = self.stations[station];
        while !self.is_on(net, to.ip()) {
            let Some(gateway) = self.gateways[net] else { return Some((net, from)) };
            let nat = &mut self.nats[gateway];
            let turns = IpAddr::from(nat.address) == to.ip();
            if turns && !nat.kind.hairpin {
                return None;
            }
            from = nat.out(from, to, now);
            net = nat.outside;
        }
        Some((net, from))
    }

    /// Whom a datagram on this network reaches.
    pub fn inward(&mut self, net: usize, from: SocketAddr, to: SocketAddr, now: Duration) -> Option<usize> {
        let here = Place { net, address: to };
        if let Some(station) = self.stations.iter().position(|place| *place == here) {
            return Some(station);
        }
        let at = |nat: &&mut Nat| nat.outside == net && IpAddr::from(nat.address) == to.ip();
        let nat = self.nats.iter_mut().find(at)?;
        let inside = nat.inward(to.port(), from, now)?;
        let net = nat.inside;
        self.inward(net, from, inside, now)
    }

    /// The networks from where somebody is to the internet.
    fn chain(&self, station: usize) -> Vec<usize> {
        let mut chain = vec![self.stations[station].net];
        while let Some(gateway) = chain.last().and_then(|net| self.gateways[*net]) {
            chain.push(self.nats[gateway].outside);
        }
        chain
    }

    /// All NATs between a station and the internet, as one: each depends on no less than any of them.
    fn behaviour(&self, chain: &[usize]) -> (Depends, Depends) {
        let gateways = chain.iter().filter_map(|net| self.gateways[*net]);
        let kinds = gateways.map(|gateway| self.nats[gateway].kind);
        kinds.fold((Depends::Nothing, Depends::Nothing), |(mapping, filtering), kind| {
            (mapping.max(kind.mapping), filtering.max(kind.filtering))
        })
    }

    /// Where two can meet.
    #[must_use]
    pub fn meeting(&self, a: usize, b: usize) -> Meeting {
        let (first, second) = (self.chain(a), self.chain(b));
        let common = first.iter().find(|net| second.contains(net)).copied().unwrap_or(INTERNET);
        if first.first() == Some(&common) || second.first() == Some(&common) {
            return Meeting::Near;
        }
        let turns = |gateway: usize| self.nats[gateway].kind.hairpin;
        if self.gateways[common].is_some_and(|gateway| !turns(gateway)) {
            return Meeting::NoHairpin;
        }
        Meeting::Across([self.behaviour(&first), self.behaviour(&second)])
    }
}
