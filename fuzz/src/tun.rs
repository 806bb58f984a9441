//! F24: what stands between tunnels and the kernel. SECURITY 3.2 row 79.
//!
//! The first byte says which way:
//!
//! - From the kernel: any frame is read or refused; what comes out of a row has the row's payload, in order, and lengths that are their own.
//! - To the kernel: packets come out of the rows as they went in, the order within each flow included, but for the checksums of TCP.

use bytes::BytesMut;
use tibet_net::{SPARE, halves};

use super::Verdict;
use super::script::Script;

const IPV6: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Packets of a batch: as many as a reader hands on at once.
const MAX_PACKETS: usize = 64;

/// Checks one frame, or one batch. Accepted if the frame is read, or packets were put in rows.
pub fn check(input: &[u8]) -> Verdict {
    let mut script = Script::new(input);
    match script.byte() {
        Some(way) if way % 2 == 0 => cut(script.rest()),
        Some(way) => join(&mut script, way & 2 != 0),
        None => Verdict::Refused,
    }
}

fn cut(frame: &[u8]) -> Verdict {
    let mut own = frame.to_vec();
    let Some(packets) = halves::cut(&mut own) else { return Verdict::Refused };
    assert!(!packets.is_empty() && packets.iter().all(|packet| packet.capacity() >= packet.len() + SPARE));
    let kind = frame[1] & 0x7f;
    if kind == 0 {
        assert!(packets.len() == 1 && packets[0].len() == frame.len() - 10);
        return Verdict::Accepted;
    }
    let from = usize::from(u16::from_ne_bytes([frame[6], frame[7]]));
    let transport = if kind == 5 { 8 } else { usize::from(frame[10 + from + 12] >> 4) * 4 };
    let headers = from + transport;
    let joined: Vec<u8> = packets.iter().flat_map(|packet| packet[headers..].to_vec()).collect();
    assert_eq!(joined, frame[10 + headers..], "the payload");
    let size = usize::from(u16::from_ne_bytes([frame[4], frame[5]]));
    for (number, packet) in packets.iter().enumerate() {
        let last = number + 1 == packets.len();
        assert!(packet.len() - headers == size || last && packet.len() - headers <= size);
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len() - IPV6);
        assert_eq!(packet[0] >> 4, 6);
    }
    Verdict::Accepted
}

fn join(script: &mut Script<'_>, datagrams: bool) -> Verdict {
    let mut packets: Vec<BytesMut> = Vec::new();
    while packets.len() < MAX_PACKETS {
        let Some(packet) = packet(script) else { break };
        // What is no whole packet is dropped before; an empty one is none.
        if !packet.is_empty() {
            packets.push(packet[..].into());
        }
    }
    let frames = halves::join(&packets, datagrams);
    let rows = frames.len() < packets.len();
    let mut got: Vec<Vec<u8>> = Vec::new();
    for mut frame in frames {
        let cut = halves::cut(&mut frame).expect("what is written can be read");
        got.extend(cut.iter().map(|packet| without_checksum(packet)));
    }
    let mut sent: Vec<Vec<u8>> = packets.iter().map(|packet| without_checksum(packet)).collect();
    for like in &sent {
        let of = |list: &[Vec<u8>]| -> Vec<Vec<u8>> {
            list.iter().filter(|packet| is_flow(packet) && flow(packet) == flow(like)).cloned().collect()
        };
        assert_eq!(of(&got), of(&sent), "the order within a flow");
    }
    got.sort();
    sent.sort();
    assert_eq!(got, sent);
    Verdict::of(rows)
}

/// A packet near a row, or any bytes.
fn packet(script: &mut Script<'_>) -> Option<Vec<u8>> {
    let [kind, which, length, flags] = script.take()?;
    if kind >= 0xf0 {
        return Some(script.up_to(length.into()).to_vec());
    }
    let protocol = if kind & 1 == 0 { TCP } else { UDP };
    let payload = vec![which; usize::from(length)];
    let mut own = vec![0x13, 0x88, 0, 80];
    if protocol == TCP {
        let sequence = u32::from(which) * u32::from(length);
        own.extend(sequence.to_be_bytes());
        own.extend([0, 0, 0, 9, 0x50, if flags & 0x80 == 0 { 0x10 } else { flags & 0x3f }, 1, 0, 0, 0, 0, 0]);
    } else {
        own.extend(u16::try_from(payload.len() + 8).unwrap_or(u16::MAX).to_be_bytes());
        own.extend([1, 1]);
    }
    own.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    packet[4..6].copy_from_slice(&u16::try_from(own.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend([0xfd; 15].into_iter().chain([kind >> 6]).chain([0xfd; 16]));
    packet.extend(own);
    if protocol == UDP {
        finish_udp(&mut packet);
    }
    // Bent, or cut off.
    if kind & 2 != 0 {
        let [at, value] = script.take()?;
        if let Some(byte) = packet.get_mut(usize::from(at)) {
            *byte = value;
        }
    }
    if kind & 4 != 0 {
        packet.truncate(script.byte()?.into());
    }
    Some(packet)
}

/// Datagrams are compared with their checksums, so they need a true one.
fn finish_udp(packet: &mut [u8]) {
    packet[46..48].fill(0);
    let length = u32::try_from(packet.len() - IPV6).unwrap_or(0);
    let words = packet[8..]
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte)));
    let mut sum = words.sum::<u32>() + length + u32::from(UDP);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap_or(0);
    packet[46..48].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
}

/// Segments come back with a checksum that is true, whatever they had; so do datagrams that were bent.
fn without_checksum(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let at = match packet.get(6) {
        Some(&TCP) if packet.len() >= 60 => 56,
        Some(&UDP) if packet.len() >= 48 => 46,
        _ => return packet,
    };
    packet[at..at + 2].fill(0);
    packet
}

fn is_flow(packet: &[u8]) -> bool {
    packet.len() >= 44 && packet[0] >> 4 == 6
}

fn flow(packet: &[u8]) -> Option<(u8, &[u8])> {
    Some((*packet.get(6)?, packet.get(8..44)?))
}
