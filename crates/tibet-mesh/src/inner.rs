//! What travels inside a tunnel: IPv6 packets from one overlay address to another.
//!
//! A tunnel carries exactly what its two ends may say to each other: from the address of the one to the address of the other, in both directions
//! (SECURITY R56). This is checked here and not left to the tunnel, since every one of the field's programs has had this wrong once.

use std::net::Ipv6Addr;

/// Bytes of an IPv6 header (RFC 8200 §3).
const HEADER: usize = 40;
/// Extension headers that no packet of the mesh needs and that could say where else it is from or goes: hop-by-hop options, routing, destination options, mobility,
/// HIP, Shim6 (IANA's list of extension headers). Fragments are what is left of a long datagram, and IPsec is its ends' own affair.
const CHAINS: [u8; 6] = [0, 43, 60, 135, 139, 140];
const FRAGMENT: u8 = 44;

/// An IPv6 packet whose lengths are sound and whose header is not followed by others (but for that of a fragment). What it carries has not been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerPacket<'a> {
    /// Whom it says it is from.
    pub source: Ipv6Addr,
    /// Whom it is for.
    pub destination: Ipv6Addr,
    /// The packet alone, without the padding that WireGuard adds.
    pub bytes: &'a [u8],
}

/// Why bytes are no packet for a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InnerReject {
    /// Fewer than 40 bytes.
    #[error("shorter than an IPv6 header")]
    Short,
    /// Not IPv6: the mesh has no other addresses.
    #[error("not an IPv6 packet")]
    Version,
    /// Its length field promises more than is there.
    #[error("cut off")]
    CutOff,
    /// Extension headers follow its header.
    #[error("with extension headers")]
    Chain,
    /// It is not from the one end of the tunnel.
    #[error("from an address that is not its sender's")]
    Source,
    /// It is not for the other.
    #[error("for an address that is not its receiver's")]
    Destination,
}

impl<'a> InnerPacket<'a> {
    /// Reads a packet; what is behind its end is cut off.
    ///
    /// # Errors
    /// [`InnerReject`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, InnerReject> {
        let header = bytes.first_chunk::<HEADER>().ok_or(InnerReject::Short)?;
        if header[0] >> 4 != 6 {
            return Err(InnerReject::Version);
        }
        let length = HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let bytes = bytes.get(..length).ok_or(InnerReject::CutOff)?;
        // A fragment says first what it is a fragment of.
        let next = if header[6] == FRAGMENT { bytes.get(HEADER) } else { Some(&header[6]) };
        if next.is_none_or(|next| CHAINS.contains(next)) {
            return Err(InnerReject::Chain);
        }
        let address = |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|byte| header[at + byte]));
        Ok(Self { source: address(8), destination: address(24), bytes })
    }

    /// Whether it is from `source` and for `destination`.
    ///
    /// # Errors
    /// [`InnerReject::Source`], [`InnerReject::Destination`].
    pub fn check(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Result<(), InnerReject> {
        match (self.source == source, self.destination == destination) {
            (false, _) => Err(InnerReject::Source),
            (_, false) => Err(InnerReject::Destination),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
        bytes[4..6].copy_from_slice(&u16::try_from(payload.len()).expect("length").to_be_bytes());
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(payload);
        bytes
    }

    fn addresses() -> (Ipv6Addr, Ipv6Addr) {
        ("fd00::1".parse().expect("address"), "fd00::2".parse().expect("address"))
    }

    #[test]
    fn a_packet_is_read_without_its_padding() {
        let (a, b) = addresses();
        let mut bytes = packet(a, b, b"hello");
        bytes.extend([0; 11]);
        let read = InnerPacket::read(&bytes).expect("a packet");
        assert_eq!((read.source, read.destination, &read.bytes[HEADER..]), (a, b, &b"hello"[..]));
    }

    /// SECURITY R56.
    #[test]
    fn r56_only_the_two_ends_speak_in_a_tunnel() {
        let (a, b) = addresses();
        let other: Ipv6Addr = "fd00::3".parse().expect("address");
        let bytes = packet(a, b, b"");
        let read = InnerPacket::read(&bytes).expect("a packet");
        assert_eq!(read.check(a, b), Ok(()));
        assert_eq!(read.check(other, b), Err(InnerReject::Source));
        assert_eq!(read.check(a, other), Err(InnerReject::Destination));
        assert_eq!(read.check(b, a), Err(InnerReject::Source));
    }

    #[test]
    fn what_is_no_ipv6_packet_is_refused() {
        let (a, b) = addresses();
        let whole = packet(a, b, b"hello");
        for length in 0..HEADER {
            assert_eq!(InnerPacket::read(&whole[..length]), Err(InnerReject::Short));
        }
        for length in HEADER..whole.len() {
            assert_eq!(InnerPacket::read(&whole[..length]), Err(InnerReject::CutOff));
        }
        for version in (0..16).filter(|version| *version != 6) {
            let mut other = whole.clone();
            other[0] = version << 4;
            assert_eq!(InnerPacket::read(&other), Err(InnerReject::Version));
        }
    }

    /// SECURITY 3.2 row 79: what could lead a packet elsewhere, or hide what it is, stands in no packet of the mesh.
    #[test]
    fn row_79_a_chain_of_extension_headers_is_refused() {
        let (a, b) = addresses();
        let read = |next: u8, payload: &[u8]| {
            let mut bytes = packet(a, b, payload);
            bytes[6] = next;
            InnerPacket::read(&bytes).map(|packet| packet.bytes.len())
        };
        for next in CHAINS {
            assert_eq!(read(next, &[17; 8]), Err(InnerReject::Chain), "{next}");
            assert_eq!(read(FRAGMENT, &[next; 8]), Err(InnerReject::Chain), "a fragment of {next}");
        }
        assert_eq!(read(FRAGMENT, &[]), Err(InnerReject::Chain), "a fragment of nothing");
        // TCP, UDP, ICMPv6, IPsec, nothing at all; and a piece of a long datagram.
        for next in [6, 17, 50, 51, 58, 59] {
            assert_eq!(read(next, &[0; 8]), Ok(48), "{next}");
        }
        assert_eq!(read(FRAGMENT, &[17; 8]), Ok(48));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = InnerPacket::read(&bytes) {
                prop_assert!(bytes.starts_with(packet.bytes) && packet.bytes.len() >= HEADER);
            }
        }
    }
}
