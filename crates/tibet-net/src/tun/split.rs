//! One packet from the kernel, cut into segments that fit a tunnel.
//!
//! The kernel leaves to its device what a network card would do: cutting a row of segments up and finishing checksums. What it hands over is taken
//! as hostile all the same, since a program with the right to raw sockets can have it say anything.

use bytes::{BufMut, BytesMut};

use super::{IPV6_HEADER, SPARE, checksum, vnet};

/// Most segments in one packet. The kernel's smallest payload for TCP is 8 bytes with all options, 65 535 / 8; beyond it nobody is served.
const MAX_SEGMENTS: usize = 8192;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// What the kernel handed over is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Adds the packet that stands in `frame` without a header before it.
pub(super) fn plain(packet: &[u8], batch: &mut Vec<BytesMut>) -> Result<(), Unreadable> {
    if packet.is_empty() {
        return Err(Unreadable);
    }
    batch.push(with_room(&[packet]));
    Ok(())
}

/// Adds the packets of `frame`, a [`vnet`] header and what it speaks of.
pub(super) fn split(frame: &mut [u8], batch: &mut Vec<BytesMut>) -> Result<(), Unreadable> {
    let (header, packet) = frame.split_first_chunk_mut::<{ vnet::LENGTH }>().ok_or(Unreadable)?;
    let header = vnet::VnetHeader::decode(header);
    match header.kind & !vnet::ECN {
        vnet::ONE => {
            if header.flags & vnet::CHECKSUM_BEGUN != 0 {
                finish(packet, header).ok_or(Unreadable)?;
            }
            plain(packet, batch)
        }
        vnet::TCP6 => segments(packet, header, TCP, batch).ok_or(Unreadable),
        vnet::UDP => segments(packet, header, UDP, batch).ok_or(Unreadable),
        _ => Err(Unreadable),
    }
}

/// Finishes a checksum whose field holds the sum over the pseudo-header.
fn finish(packet: &mut [u8], header: vnet::VnetHeader) -> Option<()> {
    let covered = packet.get_mut(usize::from(header.checksum_from)..)?;
    let at = usize::from(header.checksum_at);
    let checksum = checksum::complement(checksum::sum(covered), at == checksum_at(UDP));
    covered.get_mut(at..at + 2)?.copy_from_slice(&checksum);
    Some(())
}

/// Where the checksum stands in a transport header (RFC 9293 §3.1, RFC 768).
const fn checksum_at(protocol: u8) -> usize {
    if protocol == TCP { 16 } else { 6 }
}

fn segments(packet: &[u8], header: vnet::VnetHeader, protocol: u8, batch: &mut Vec<BytesMut>) -> Option<()> {
    let fixed: &[u8; IPV6_HEADER] = packet.first_chunk().filter(|fixed| fixed[0] >> 4 == 6)?;
    let from = usize::from(header.checksum_from);
    // The length of all headers in `header` is that of the first fragment when a packet was forwarded: it is counted anew.
    let transport = match protocol {
        TCP => usize::from(*packet.get(from + 12)? >> 4) * 4,
        _ => UDP_HEADER,
    };
    let (headers, payload) = packet.split_at_checked(from + transport)?;
    let size = usize::from(header.segment);
    let sound = from >= IPV6_HEADER
        && (protocol == UDP || transport >= 20)
        && size > 0
        && (1..=size.saturating_mul(MAX_SEGMENTS)).contains(&payload.len());
    if !sound {
        return None;
    }
    let last = (payload.len() - 1) / size;
    let addresses = checksum::pseudo_header(fixed, protocol, 0);
    for (number, piece) in payload.chunks(size).enumerate() {
        let mut segment = with_room(&[headers, piece]);
        let length = u16::try_from(segment.len() - IPV6_HEADER).ok()?;
        segment[4..6].copy_from_slice(&length.to_be_bytes());
        let own = &mut segment[from..];
        let length = u16::try_from(own.len()).ok()?;
        if protocol == TCP {
            let first = u32::from_be_bytes([own[4], own[5], own[6], own[7]]);
            let sequence = first.wrapping_add(u32::try_from(number * size).ok()?);
            own[4..8].copy_from_slice(&sequence.to_be_bytes());
            // The end is announced by the last only, and that the sender slows down by the first.
            own[13] &= !(if number < last { FIN_PSH } else { 0 } | if number > 0 { CWR } else { 0 });
        } else {
            own[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let at = checksum_at(protocol);
        own[at..at + 2].fill(0);
        let total = addresses + u64::from(length.to_be()) + checksum::sum(own);
        own[at..at + 2].copy_from_slice(&checksum::complement(total, protocol == UDP));
        batch.push(segment);
    }
    Some(())
}

/// The parts one behind the other, and [`SPARE`] bytes of room.
fn with_room(parts: &[&[u8]]) -> BytesMut {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut packet = BytesMut::with_capacity(length + SPARE);
    for part in parts {
        packet.put_slice(part);
    }
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::join::sample;
    use super::*;

    fn row(kind: u8, packet: &[u8], segment: u16, from: u16) -> Vec<u8> {
        let header = vnet::VnetHeader {
            flags: vnet::CHECKSUM_BEGUN,
            kind,
            headers: 0,
            segment,
            checksum_from: from,
            checksum_at: if kind == vnet::TCP6 { 16 } else { 6 },
        };
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(packet);
        frame
    }

    #[test]
    fn a_row_of_64_kib_becomes_segments_with_their_own_numbers_flags_and_checksums() {
        let payload: Vec<u8> = (0..64_000_u32).map(|n| (n % 251) as u8).collect();
        // Flags: CWR, ACK, PSH, FIN.
        let packet = sample::tcp(7, u32::MAX - 2000, 0x99, &payload);
        let mut batch = Vec::new();
        split(&mut row(vnet::TCP6 | vnet::ECN, &packet, 1220, 40), &mut batch).expect("read");
        assert_eq!(batch.len(), 53);
        let joined: Vec<u8> = batch.iter().flat_map(|segment| segment[60..].to_vec()).collect();
        assert_eq!(joined, payload);
        for (number, segment) in batch.iter().enumerate() {
            assert!(segment.len() <= 1280 && segment.capacity() >= segment.len() + SPARE);
            let sequence = (u32::MAX - 2000).wrapping_add(u32::try_from(number * 1220).expect("small"));
            assert_eq!(segment[44..48], sequence.to_be_bytes());
            let flags = 0x10 | if number == 0 { 0x80 } else { 0 } | if number == 52 { 0x09 } else { 0 };
            assert_eq!(segment[53], flags, "segment {number}");
            assert!(sample::is_sound(segment), "segment {number}");
        }
    }

    #[test]
    fn a_row_of_datagrams_becomes_datagrams() {
        let packet = sample::udp(7, &[5; 2500]);
        let mut batch = Vec::new();
        split(&mut row(vnet::UDP, &packet, 1000, 40), &mut batch).expect("read");
        assert_eq!(batch.iter().map(BytesMut::len).collect::<Vec<_>>(), [1048, 1048, 548]);
        assert!(batch.iter().all(|datagram| sample::is_sound(datagram)));
    }

    #[test]
    fn a_begun_checksum_is_finished_and_a_whole_packet_left_as_it_is() {
        let whole = sample::udp(7, b"hello");
        let mut begun = whole.clone();
        let fixed = begun.first_chunk().expect("header");
        let sum = checksum::fold(checksum::pseudo_header(fixed, UDP, 13));
        begun[46..48].copy_from_slice(&sum.to_ne_bytes());
        let mut batch = Vec::new();
        split(&mut row(vnet::ONE, &begun, 0, 40), &mut batch).expect("read");
        let mut frame = vec![0; vnet::LENGTH];
        frame.extend_from_slice(&whole);
        split(&mut frame, &mut batch).expect("read");
        plain(&whole, &mut batch).expect("read");
        assert_eq!(batch, vec![whole.clone(); 3]);
    }

    /// SECURITY row 79: what a program with raw sockets can have the kernel say.
    #[test]
    fn row_79_frames_that_contradict_themselves_are_dropped() {
        let packet = sample::tcp(7, 1, 0x10, &[1; 3000]);
        let refused = |mut frame: Vec<u8>| split(&mut frame, &mut Vec::new()) == Err(Unreadable);
        assert!(refused(Vec::new()) && refused(vec![0; vnet::LENGTH]));
        assert!(refused(row(vnet::TCP6, &packet, 0, 40)), "segments of nothing");
        assert!(refused(row(vnet::TCP6, &packet[..60], 1220, 40)), "no payload");
        assert!(refused(row(vnet::TCP6, &packet, 1220, 39)), "a transport header within the address");
        assert!(refused(row(vnet::TCP6, &packet, 1220, 2990)), "a transport header at the end");
        assert!(refused(row(vnet::TCP6, &packet, 1220, u16::MAX)));
        assert!(refused(row(1, &packet, 1220, 40)), "a row over IPv4");
        assert!(refused(row(vnet::ONE, &packet, 0, 3053)), "a checksum behind the end");
        let many = sample::udp(7, &[1; 20_000]);
        assert!(refused(row(vnet::UDP, &many, 1, 40)), "more segments than anybody needs");
        let mut short = packet;
        short[52] = 0x40;
        assert!(refused(row(vnet::TCP6, &short, 1220, 40)), "a TCP header of 16 bytes");
    }

    proptest! {
        #[test]
        fn any_frame_is_read_or_refused(header in prop::array::uniform10(any::<u8>()), body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut frame = [&header[..], &body].concat();
            let _ = split(&mut frame, &mut Vec::new());
        }

        #[test]
        fn a_row_with_any_header_is_read_or_refused(kind in 0_u8..6, segment in 0_u16..400, from in 0_u16..200, at in 0_u16..200, place in 40_usize..60, byte: u8) {
            let mut packet = sample::tcp(7, 1, 0x10, &[1; 200]);
            packet[place] = byte;
            let mut frame = row(kind, &packet, segment, from);
            frame[8..10].copy_from_slice(&at.to_ne_bytes());
            let mut batch = Vec::new();
            let _ = split(&mut frame, &mut batch);
            prop_assert!(batch.len() <= 300);
        }
    }
}
