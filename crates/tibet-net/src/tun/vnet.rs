//! The header before each packet of a device with offload: `struct virtio_net_hdr` of Linux, 10 bytes in the machine's own byte order.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | flags: 1 = the checksum is only begun |
//! | 1 | 1 | kind: 0 one packet, 4 row of TCP segments over IPv6, 5 row of UDP datagrams; 128 is added for TCP with ECN |
//! | 2 | 2 | length of all headers, not relied on when reading |
//! | 4 | 2 | bytes of payload in each segment |
//! | 6 | 2 | where the checksum begins: the start of the transport header |
//! | 8 | 2 | where it is to be written, from there |

/// Bytes of the header.
pub(super) const LENGTH: usize = 10;
/// Flag: the checksum field holds the sum over the pseudo-header, the rest is to be added.
pub(super) const CHECKSUM_BEGUN: u8 = 1;
/// Kind: one packet.
pub(super) const ONE: u8 = 0;
/// Kind: a row of TCP segments over IPv6.
pub(super) const TCP6: u8 = 4;
/// Kind: a row of UDP datagrams.
pub(super) const UDP: u8 = 5;
/// Added to a kind: TCP with explicit congestion notification.
pub(super) const ECN: u8 = 0x80;

/// The header's fields, in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VnetHeader {
    pub(super) flags: u8,
    pub(super) kind: u8,
    pub(super) headers: u16,
    pub(super) segment: u16,
    pub(super) checksum_from: u16,
    pub(super) checksum_at: u16,
}

impl VnetHeader {
    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Self {
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            kind: bytes[1],
            headers: number(2),
            segment: number(4),
            checksum_from: number(6),
            checksum_at: number(8),
        }
    }

    pub(super) fn encode(self) -> [u8; LENGTH] {
        let mut bytes = [self.flags, self.kind, 0, 0, 0, 0, 0, 0, 0, 0];
        let numbers = [self.headers, self.segment, self.checksum_from, self.checksum_at];
        for (place, number) in bytes[2..].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_tun_rs_and_the_kernel_say_it_is() {
        assert_eq!(LENGTH, tun_rs::VIRTIO_NET_HDR_LEN);
        let ours = VnetHeader {
            flags: 1,
            kind: TCP6,
            headers: 60,
            segment: 1220,
            checksum_from: 40,
            checksum_at: 16,
        };
        let bytes = ours.encode();
        assert_eq!(VnetHeader::decode(&bytes), ours);
        let theirs = tun_rs::VirtioNetHdr::decode(&bytes).expect("decoded");
        assert_eq!(
            (
                theirs.flags,
                theirs.gso_type,
                theirs.hdr_len,
                theirs.gso_size,
                theirs.csum_start,
                theirs.csum_offset
            ),
            (1, tun_rs::VIRTIO_NET_HDR_GSO_TCPV6, 60, 1220, 40, 16)
        );
    }
}
