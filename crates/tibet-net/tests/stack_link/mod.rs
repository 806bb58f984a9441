//! What lies between two stacks in these tests, and packets made by hand.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::Ipv6Addr;
use std::time::Duration;

use bytes::BytesMut;
use tibet_net::{Stack, StackConfig, StackPackets};
use tokio::task::JoinHandle;

pub(crate) const A: Ipv6Addr = Ipv6Addr::new(0xfd54, 0, 0, 0, 0, 0, 0, 0xa);
pub(crate) const B: Ipv6Addr = Ipv6Addr::new(0xfd54, 0, 0, 0, 0, 0, 0, 0xb);
/// A third, who means no good.
pub(crate) const C: Ipv6Addr = Ipv6Addr::new(0xfd54, 0, 0, 0, 0, 0, 0, 0xc);

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// Xorshift: the same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// How a link treats packets.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    /// Of a hundred packets, how many are lost, and how many come twice.
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// Each takes between this many milliseconds…
    pub(crate) least: u64,
    /// … and this many: packets overtake each other if they differ.
    pub(crate) most: u64,
    pub(crate) seed: u64,
}

impl Link {
    pub(crate) const PERFECT: Self = Self { lost: 0, twice: 0, least: 0, most: 0, seed: 1 };

    /// Carries packets one way until either end is gone.
    pub(crate) fn carry(self, mut from: StackPackets, to: Stack) -> JoinHandle<()> {
        let mut random = Random(self.seed);
        tokio::spawn(async move {
            let mut packets = Vec::new();
            while from.recv_many(&mut packets).await > 0 {
                for packet in packets.drain(..) {
                    check(&packet);
                    // Answers to packets made by hand go nowhere.
                    if packet[24..40] != to.address().octets() {
                        continue;
                    }
                    if random.below(100) < self.lost {
                        continue;
                    }
                    for _ in 0..1 + u64::from(random.below(100) < self.twice) {
                        let packet = packet.clone();
                        if self.most == 0 {
                            to.receive(packet);
                            continue;
                        }
                        let delay = self.least + random.below(self.most - self.least + 1);
                        let to = to.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(delay)).await;
                            to.receive(packet);
                        });
                    }
                }
                tokio::task::yield_now().await;
            }
        })
    }
}

/// Every packet of a stack is whole, has the hop limit of 64 and no extension header.
fn check(packet: &[u8]) {
    assert_eq!(packet[0] >> 4, 6);
    assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40, packet.len());
    assert!(packet.len() <= 1280, "{}", packet.len());
    assert!(packet[6] == 6 || packet[6] == 58, "next header {}", packet[6]);
    assert_eq!(packet[7], 64, "hop limit");
}

pub(crate) fn stack(address: Ipv6Addr) -> (Stack, StackPackets) {
    Stack::start(StackConfig { address, mtu: 1280 })
}

/// Two stacks, each the other's peer.
pub(crate) fn pair(link: Link) -> (Stack, Stack) {
    let (a, from_a) = stack(A);
    let (b, from_b) = stack(B);
    link.carry(from_a, b.clone());
    Link { seed: link.seed ^ 0x5555, ..link }.carry(from_b, a.clone());
    (a, b)
}

/// A packet with `body` behind its header.
pub(crate) fn packet(source: Ipv6Addr, destination: Ipv6Addr, next: u8, body: &[u8]) -> BytesMut {
    let length = u16::try_from(body.len()).expect("length").to_be_bytes();
    let mut packet = BytesMut::from(&[0x60, 0, 0, 0, length[0], length[1], next, 64][..]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    packet.extend_from_slice(body);
    packet
}

/// The Internet checksum of a body with its pseudo-header (RFC 8200 §8.1), written at `at`.
pub(crate) fn seal(packet: &mut [u8], at: usize) {
    packet[at..at + 2].fill(0);
    let mut sum = u32::try_from(packet.len() - 40).expect("length") + u32::from(packet[6]);
    for pair in packet[8..].chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("folded");
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A segment made by hand.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Segment {
    /// A wish of `source`'s for a connection; its window is scaled.
    pub(crate) fn syn(source: Ipv6Addr, from: u16, destination: Ipv6Addr, to: u16) -> Self {
        let options = vec![2, 4, 4, 176, 1, 3, 3, 7];
        let (sequence, window) = (1000, 65_535);
        Self {
            source,
            destination,
            from,
            to,
            sequence,
            acknowledged: 0,
            flags: SYN,
            window,
            options,
            data: vec![],
        }
    }

    pub(crate) fn packet(&self) -> BytesMut {
        let words = u8::try_from(5 + self.options.len() / 4).expect("options");
        let mut body = Vec::new();
        body.extend(self.from.to_be_bytes());
        body.extend(self.to.to_be_bytes());
        body.extend(self.sequence.to_be_bytes());
        body.extend(self.acknowledged.to_be_bytes());
        body.extend([words << 4, self.flags]);
        body.extend(self.window.to_be_bytes());
        body.extend([0; 4]);
        body.extend(&self.options);
        body.extend(&self.data);
        let mut packet = packet(self.source, self.destination, 6, &body);
        seal(&mut packet, 56);
        packet
    }

    /// Reads a segment a stack made.
    pub(crate) fn read(packet: &[u8]) -> Self {
        let address =
            |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("address"));
        let short = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let long = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("bytes"));
        assert_eq!(packet[6], 6, "TCP");
        let data = 40 + usize::from(packet[52] >> 4) * 4;
        Self {
            source: address(8),
            destination: address(24),
            from: short(40),
            to: short(42),
            sequence: long(44),
            acknowledged: long(48),
            flags: packet[53],
            window: short(54),
            options: packet[60..data].to_vec(),
            data: packet[data..].to_vec(),
        }
    }
}
