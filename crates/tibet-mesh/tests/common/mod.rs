//! A small internet for tests: two devices, the NATs before them, and time that only moves when nothing is left to do.
#![allow(dead_code, unreachable_pub, reason = "shared by the test files beside; each uses its own part")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use jis::TransportSecret;

/// Whom a NAT gives the same port, and whom it lets in (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depends {
    /// On nothing: everybody.
    Nothing,
    /// On the other side's address.
    Address,
    /// On its address and port.
    AddressAndPort,
}

/// What stands between a device and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatKind {
    pub mapping: Depends,
    pub filtering: Depends,
}

/// What most home routers are.
pub const CONE: NatKind = NatKind { mapping: Depends::Nothing, filtering: Depends::AddressAndPort };
/// What many carriers' NATs are: a new port for everybody the device speaks to.
pub const SYMMETRIC: NatKind =
    NatKind { mapping: Depends::AddressAndPort, filtering: Depends::AddressAndPort };
/// What lets everybody in once somebody was spoken to.
pub const FULL_CONE: NatKind = NatKind { mapping: Depends::Nothing, filtering: Depends::Nothing };

/// How long an unused mapping lives: the shortest that RFC 4787 REQ-5 allows.
const MAPPING_LIFETIME: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Nat {
    kind: NatKind,
    public: Ipv4Addr,
    /// Inside address and what the mapping depends on, to the outside port.
    mappings: BTreeMap<(SocketAddr, Option<SocketAddr>), Mapping>,
    next_port: u16,
}

#[derive(Debug)]
struct Mapping {
    port: u16,
    /// Whom datagrams went to.
    spoken_to: Vec<SocketAddr>,
    used_at: Duration,
}

impl Nat {
    fn part(depends: Depends, other: SocketAddr) -> Option<SocketAddr> {
        match depends {
            Depends::Nothing => None,
            Depends::Address => Some(SocketAddr::new(other.ip(), 0)),
            Depends::AddressAndPort => Some(other),
        }
    }

    fn out(&mut self, from: SocketAddr, to: SocketAddr, now: Duration) -> SocketAddr {
        self.mappings.retain(|_, mapping| now.saturating_sub(mapping.used_at) < MAPPING_LIFETIME);
        let key = (from, Self::part(self.kind.mapping, to));
        let next_port = &mut self.next_port;
        let mapping = self.mappings.entry(key).or_insert_with(|| {
            *next_port += 1;
            Mapping { port: *next_port, spoken_to: Vec::new(), used_at: now }
        });
        mapping.used_at = now;
        if !mapping.spoken_to.contains(&to) {
            mapping.spoken_to.push(to);
        }
        SocketAddr::new(self.public.into(), mapping.port)
    }

    fn inside(&self, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        let filtering = self.kind.filtering;
        let let_in = |mapping: &Mapping| {
            let wanted = Self::part(filtering, from);
            mapping.spoken_to.iter().any(|to| Self::part(filtering, *to) == wanted)
        };
        let found = self.mappings.iter().find(|(_, mapping)| mapping.port == port && let_in(mapping));
        found.map(|((inside, _), _)| *inside)
    }
}

/// The transport secret with this number.
pub fn secret(number: u8) -> TransportSecret {
    let mut bytes = [number; 32];
    bytes[0] ^= 1;
    TransportSecret::from_bytes(bytes.into()).expect("secret")
}

/// A datagram on its way.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The device's number.
    pub device: usize,
    /// Where it seems to come from.
    pub from: SocketAddr,
    /// The device's own address that it came to.
    pub to: SocketAddr,
    pub datagram: Vec<u8>,
}

/// The internet.
#[derive(Debug, Default)]
pub struct World {
    pub now: Duration,
    /// Each device's own address, and the NAT it is behind.
    devices: Vec<(SocketAddr, Option<usize>)>,
    nats: Vec<Nat>,
    on_the_way: BTreeMap<(Duration, u64), Arrival>,
    count: u64,
    /// How long a datagram takes, by the two outside addresses it travels between; 10 ms otherwise.
    pub latency: BTreeMap<(IpAddr, IpAddr), Duration>,
    /// Ways that are cut, likewise.
    pub cut: Vec<(IpAddr, IpAddr)>,
    /// Bytes that went to each address.
    pub sent_to: BTreeMap<SocketAddr, usize>,
}

impl World {
    pub fn new() -> Self {
        Self { now: Duration::from_secs(1000), ..Self::default() }
    }

    /// Two devices, each behind a NAT of its own with the same inner address, or on the internet.
    pub fn of_two(nats: [Option<NatKind>; 2]) -> Self {
        let mut world = Self::new();
        for (number, nat) in nats.into_iter().enumerate() {
            let nat = nat.map(|kind| world.nat(kind));
            let public = format!("192.0.2.{}:7150", number + 1);
            world.device(if nat.is_some() { "192.168.1.10:7150" } else { &public }, nat);
        }
        world
    }

    /// A NAT; its public address is 203.0.113.(number + 1).
    pub fn nat(&mut self, kind: NatKind) -> usize {
        let number = self.nats.len();
        let last = u8::try_from(number + 1).expect("few NATs");
        let public = Ipv4Addr::new(203, 0, 113, last);
        self.nats.push(Nat { kind, public, mappings: BTreeMap::new(), next_port: 40_000 });
        number
    }

    pub fn device(&mut self, address: &str, nat: Option<usize>) -> usize {
        self.devices.push((address.parse().expect("address"), nat));
        self.devices.len() - 1
    }

    pub fn address(&self, device: usize) -> SocketAddr {
        self.devices[device].0
    }

    /// Gives a device another address, behind another NAT.
    pub fn move_device(&mut self, device: usize, address: &str, nat: Option<usize>) {
        self.devices[device] = (address.parse().expect("address"), nat);
    }

    /// Where a node on the internet sees the device.
    pub fn observed(&mut self, device: usize) -> SocketAddr {
        let node = "198.51.100.1:7150".parse().expect("address");
        let (address, nat) = self.devices[device];
        nat.map_or(address, |nat| self.nats[nat].out(address, node, self.now))
    }

    pub fn send(&mut self, device: usize, to: SocketAddr, datagram: Vec<u8>) {
        *self.sent_to.entry(to).or_default() += datagram.len();
        let (address, nat) = self.devices[device];
        // In the same home it goes straight there.
        let near = self
            .devices
            .iter()
            .position(|(other, other_nat)| *other == to && nat.is_some() && *other_nat == nat);
        if let Some(near) = near {
            return self.arrive(near, address, to, datagram, Duration::from_millis(1));
        }
        let from = nat.map_or(address, |nat| self.nats[nat].out(address, to, self.now));
        if self.cut.contains(&(from.ip(), to.ip())) || self.cut.contains(&(to.ip(), from.ip())) {
            return;
        }
        let latency = self.latency.get(&(from.ip(), to.ip())).copied();
        let latency = latency.unwrap_or(Duration::from_millis(10));
        let behind = self.nats.iter().position(|nat| IpAddr::from(nat.public) == to.ip());
        let inside = match behind {
            Some(nat) => self.nats[nat].inside(to.port(), from),
            None => Some(to),
        };
        let target = inside
            .and_then(|inside| self.devices.iter().position(|(own, nat)| *own == inside && *nat == behind));
        if let (Some(target), Some(inside)) = (target, inside) {
            self.arrive(target, from, inside, datagram, latency);
        }
    }

    fn arrive(
        &mut self,
        device: usize,
        from: SocketAddr,
        to: SocketAddr,
        datagram: Vec<u8>,
        after: Duration,
    ) {
        self.count += 1;
        let arrival = Arrival { device, from, to, datagram };
        self.on_the_way.insert((self.now + after, self.count), arrival);
    }

    /// When something arrives next.
    pub fn next(&self) -> Option<Duration> {
        self.on_the_way.keys().next().map(|(at, _)| *at)
    }

    /// What has arrived by now.
    pub fn take(&mut self) -> Option<Arrival> {
        let first = self.on_the_way.first_entry().filter(|first| first.key().0 <= self.now)?;
        Some(first.remove())
    }
}

/// A packet for a tunnel that carries nothing known.
pub fn packet(source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::from(&[0x60, 0, 0, 0, 0, 0, 59, 64][..]);
    bytes[5] = u8::try_from(payload.len()).expect("short");
    bytes.extend_from_slice(&source.octets());
    bytes.extend_from_slice(&destination.octets());
    bytes.extend_from_slice(payload);
    bytes
}
