//! Which packets the stack looks at, and what it reads of them before anything else does.
//!
//! | packet | what becomes of it |
//! |---|---|
//! | IPv6, whole, for our address, TCP right behind its header | [`Incoming::Segment`] |
//! | the same with an ICMPv6 echo request | [`Incoming::Echo`] |
//! | anything else: other protocols, extension headers, other destinations, impossible sources | ignored, not answered |

use std::net::Ipv6Addr;

/// Bytes of an IPv6 header (RFC 8200 §3).
const IP_HEADER: usize = 40;
/// Bytes of a TCP header without options (RFC 9293 §3.1).
const TCP_HEADER: usize = 20;
/// Bytes of an echo request without data (RFC 4443 §4.1).
const ECHO_HEADER: usize = 8;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 128;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The two ends of a connection; our address is the stack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    /// Address of the other side.
    pub(super) peer: Ipv6Addr,
    /// Port of the other side.
    pub(super) peer_port: u16,
    /// Port of ours.
    pub(super) port: u16,
}

/// A segment of TCP. Its lengths are sound; its checksum has not been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) flow: Flow,
    flags: u8,
    /// Its sequence number.
    pub(super) sequence: u32,
    /// Bytes of data.
    pub(super) length: u32,
}

impl Segment {
    /// Whether it asks for a new connection.
    pub(super) fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }
}

/// A packet the stack looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    Segment(Segment),
    Echo,
}

impl Incoming {
    /// Reads a packet that came for `address`; `None` if it is nothing for the stack.
    pub(super) fn read(packet: &[u8], address: Ipv6Addr) -> Option<Self> {
        let (header, body) = packet.split_first_chunk::<IP_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || length != body.len() {
            return None;
        }
        let address_at =
            |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|byte| header[at + byte]));
        let peer = address_at(8);
        if address_at(24) != address || peer == address || !can_send(peer) {
            return None;
        }
        match header[6] {
            TCP => Self::segment(peer, body),
            ICMPV6 => {
                let (echo, _) = body.split_first_chunk::<ECHO_HEADER>()?;
                (echo[0] == ECHO_REQUEST && echo[1] == 0).then_some(Self::Echo)
            }
            _ => None,
        }
    }

    fn segment(peer: Ipv6Addr, body: &[u8]) -> Option<Self> {
        let (header, _) = body.split_first_chunk::<TCP_HEADER>()?;
        let offset = usize::from(header[12] >> 4) * 4;
        if offset < TCP_HEADER {
            return None;
        }
        let length = u32::try_from(body.len().checked_sub(offset)?).ok()?;
        let flow = Flow {
            peer,
            peer_port: u16::from_be_bytes([header[0], header[1]]),
            port: u16::from_be_bytes([header[2], header[3]]),
        };
        let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let sound = flow.peer_port != 0 && flow.port != 0;
        sound.then_some(Self::Segment(Segment { flow, flags: header[13], sequence, length }))
    }
}

/// Whether a packet can have come from `address`, or go to it: an address of one machine, and not of this one.
pub(super) fn can_send(address: Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || address.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    fn packet(source: Ipv6Addr, destination: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("length").to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(body);
        packet
    }

    fn syn() -> Vec<u8> {
        vec![0, 7, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, SYN, 255, 255, 0, 0, 0, 0]
    }

    #[test]
    fn a_segment_for_us_is_read() {
        let flow = Flow { peer: PEER, peer_port: 7, port: 80 };
        let expected = Segment { flow, flags: SYN, sequence: 0x0102_0304, length: 0 };
        let read = Incoming::read(&packet(PEER, US, TCP, &syn()), US);
        assert_eq!(read, Some(Incoming::Segment(expected)));
        assert!(expected.opens());
        let echo = [128, 0, 0, 0, 0, 1, 0, 1];
        assert_eq!(Incoming::read(&packet(PEER, US, ICMPV6, &echo), US), Some(Incoming::Echo));
    }

    #[test]
    fn security_79_what_is_not_for_us_or_cannot_be_from_a_peer_is_ignored() {
        let mapped = "::ffff:10.0.0.1".parse().expect("address");
        let multicast = "ff02::1".parse().expect("address");
        for source in [US, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, mapped, multicast] {
            assert_eq!(Incoming::read(&packet(source, US, TCP, &syn()), US), None, "{source}");
        }
        for destination in [PEER, Ipv6Addr::LOCALHOST, multicast] {
            assert_eq!(Incoming::read(&packet(PEER, destination, TCP, &syn()), US), None, "{destination}");
        }
        // Extension headers, fragments, UDP, nothing at all behind the header.
        for next in [0, 17, 43, 44, 50, 51, 59, 60] {
            assert_eq!(Incoming::read(&packet(PEER, US, next, &syn()), US), None, "{next}");
        }
        let whole = packet(PEER, US, TCP, &syn());
        for length in 0..whole.len() {
            assert_eq!(Incoming::read(&whole[..length], US), None, "{length}");
        }
        assert_eq!(Incoming::read(&[&whole[..], b"x"].concat(), US), None, "longer than it says");
        let mut ipv4 = whole;
        ipv4[0] = 0x45;
        assert_eq!(Incoming::read(&ipv4, US), None);
        for (at, value) in [(12, 0x40), (12, 0xf0), (3, 0)] {
            let mut segment = syn();
            segment[at] = value;
            assert_eq!(Incoming::read(&packet(PEER, US, TCP, &segment), US), None, "{at}");
        }
        // An answer to no question of ours, and one with a code that means nothing.
        for echo in [[129, 0, 0, 0, 0, 0, 0, 0], [128, 1, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Incoming::read(&packet(PEER, US, ICMPV6, &echo), US), None);
        }
    }

    proptest! {
        #[test]
        fn reading_anything_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Incoming::read(&bytes, US);
        }
    }
}
