//! Packets from tunnels, put in rows that the kernel takes in one call.
//!
//! A row is what one program sent another in one go: TCP segments that follow upon each other, or UDP datagrams of one length, alike in every field
//! but those that count. Only the last may be shorter or say that it is pushed. The kernel cuts a row up again where it has to, and gets back exactly
//! the packets that went in; a test holds that.
//!
//! Peers choose these bytes (SECURITY row 79). A packet that is not plainly IPv6 with TCP or UDP behind the fixed header goes by itself, as it came:
//! one with extension headers, with a length that is not its own, with a header cut off. Nothing is copied but a row's first header.

use std::io::{self, IoSlice};

use bytes::BytesMut;

use super::{IPV6_HEADER, checksum, vnet};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Flags of TCP (RFC 9293 §3.1). With any other set a segment goes by itself.
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// Most packets in a row: Linux takes 64 datagrams, and at 1280 bytes 51 segments fill a packet.
const MAX_ROW: usize = 64;
/// Most bytes of a row: what an IPv4 packet could be, since nobody relies on 40 more.
const MAX_BYTES: usize = 65_535;
/// Flows that are looked through for a row to continue. A batch seldom has more, and a peer with many costs no more time.
const MAX_OPEN: usize = 8;
/// Longest header of a row: IPv6 and TCP with all options.
const MAX_HEADERS: usize = IPV6_HEADER + 60;

/// How a batch of packets is to be written. Kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// For each packet the one that follows it in its row.
    next: Vec<Option<usize>>,
    /// Rows that may go on, of different flows, the oldest first.
    open: Vec<usize>,
}

/// Packets for one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    first: usize,
    last: usize,
    /// What its packets are; `None` for one that goes by itself.
    segment: Option<Segment>,
    /// Whether nothing may follow.
    ended: bool,
    /// How many packets it has.
    pub(super) packets: usize,
    /// Bytes of all of them.
    pub(super) bytes: usize,
}

/// What matters of a TCP segment or a UDP datagram with a payload.
#[derive(Debug, Clone, Copy)]
struct Segment {
    protocol: u8,
    headers: usize,
    payload: usize,
    /// The number of the first byte behind it; of no use for UDP.
    next: u32,
    pushed: bool,
}

impl Segment {
    /// Reads a packet; `None` if it cannot be part of a row.
    fn read(packet: &[u8], datagrams: bool) -> Option<Self> {
        let (fixed, rest) = packet.split_first_chunk::<IPV6_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        if fixed[0] >> 4 != 6 || length != rest.len() {
            return None;
        }
        let segment = match fixed[6] {
            TCP => {
                let header = rest.first_chunk::<20>()?;
                let own = usize::from(header[12] >> 4) * 4;
                let alone = header[13] & !PSH != ACK || own < header.len();
                let payload = rest.len().checked_sub(own).filter(|_| !alone)?;
                let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let next = sequence.wrapping_add(u32::try_from(payload).ok()?);
                Self {
                    protocol: TCP,
                    headers: IPV6_HEADER + own,
                    payload,
                    next,
                    pushed: header[13] & PSH != 0,
                }
            }
            UDP if datagrams => {
                let (header, payload) = rest.split_first_chunk::<8>()?;
                let sound = usize::from(u16::from_be_bytes([header[4], header[5]])) == length
                    && header[6..] != [0; 2];
                let payload = Some(payload.len()).filter(|_| sound)?;
                Self { protocol: UDP, headers: IPV6_HEADER + 8, payload, next: 0, pushed: false }
            }
            _ => return None,
        };
        (segment.payload > 0).then_some(segment)
    }
}

/// Whether both are of one flow: protocol, addresses and ports. Packets too short for ports are of none.
fn same_flow(a: &[u8], b: &[u8]) -> bool {
    a.get(6) == b.get(6) && a.get(8..44).is_some_and(|flow| Some(flow) == b.get(8..44))
}

/// Whether two packets of a flow with headers of one length differ in nothing but what counts: lengths, numbers, checksums and the push flag.
fn alike(a: &[u8], b: &[u8], segment: &Segment) -> bool {
    let same = |from: usize, to: usize| a.get(from..to).is_some_and(|bytes| Some(bytes) == b.get(from..to));
    // Version, traffic class, flow label; the hop limit.
    let ip = same(0, 4) && same(7, 8);
    // Acknowledgement, header length; window; urgent pointer, options. That the flags are alike is known: ACK, and PSH or not.
    ip && (segment.protocol == UDP || same(48, 53) && same(54, 56) && same(58, segment.headers))
}

impl Rows {
    /// Puts `packets` in rows: of segments if `segments`, of datagrams too if `datagrams`. The order within a flow stays.
    pub(super) fn plan(&mut self, packets: &[BytesMut], segments: bool, datagrams: bool) {
        self.rows.clear();
        self.open.clear();
        self.next.clear();
        self.next.resize(packets.len(), None);
        for (number, packet) in packets.iter().enumerate() {
            let segment = if segments { Segment::read(packet, datagrams) } else { None };
            let flow = |row: &usize| {
                let first = self.rows.get(*row).and_then(|row| packets.get(row.first));
                first.is_some_and(|first| same_flow(first, packet))
            };
            let open = if segments { self.open.iter().position(flow) } else { None };
            if let (Some(open), Some(segment)) = (open, &segment)
                && self.join(open, number, packet, segment, packets)
            {
                continue;
            }
            // A packet of the flow that cannot join ends its row, or those behind would overtake it.
            if let Some(open) = open {
                self.open.remove(open);
            }
            if segment.is_some() {
                if self.open.len() == MAX_OPEN {
                    self.open.remove(0);
                }
                self.open.push(self.rows.len());
            }
            let ended = segment.is_none_or(|segment| segment.pushed);
            self.rows.push(Row {
                first: number,
                last: number,
                segment,
                ended,
                packets: 1,
                bytes: packet.len(),
            });
        }
    }

    fn join(
        &mut self,
        open: usize,
        number: usize,
        packet: &[u8],
        segment: &Segment,
        packets: &[BytesMut],
    ) -> bool {
        let Some(row) = self.open.get(open).and_then(|row| self.rows.get_mut(*row)) else { return false };
        let (Some(begun), Some(first)) = (row.segment, packets.get(row.first)) else { return false };
        let follows = segment.protocol == UDP
            || segment.next.wrapping_sub(u32::try_from(segment.payload).unwrap_or_default()) == begun.next;
        let bytes = row.headers_once() + segment.payload;
        let fits = !row.ended
            && begun.headers == segment.headers
            && segment.payload <= begun.payload
            && row.packets < MAX_ROW
            && bytes <= MAX_BYTES;
        if !(fits && follows && alike(first, packet, segment)) {
            return false;
        }
        if let Some(next) = self.next.get_mut(row.last) {
            *next = Some(number);
        }
        row.last = number;
        row.ended = segment.pushed || segment.payload < begun.payload;
        row.segment = Some(Segment { next: segment.next, pushed: segment.pushed, ..begun });
        row.packets += 1;
        row.bytes += packet.len();
        true
    }

    /// Hands each row to `write`, in pieces as they lie in `packets`, with a [`vnet`] header before it if the device has one.
    ///
    /// `packets` must be those that were planned.
    pub(super) fn write(
        &self,
        packets: &[BytesMut],
        header: bool,
        mut write: impl FnMut(&[IoSlice<'_>], &Row) -> io::Result<()>,
    ) -> io::Result<()> {
        let one = vnet::VnetHeader::default().encode();
        for row in &self.rows {
            let Some(first) = packets.get(row.first) else { continue };
            if !header {
                write(&[IoSlice::new(first)], row)?;
                continue;
            }
            let Some(segment) = row.segment.filter(|_| row.packets > 1) else {
                write(&[IoSlice::new(&one), IoSlice::new(first)], row)?;
                continue;
            };
            let mut begin = [0; vnet::LENGTH + MAX_HEADERS];
            let Some(begin) = row.begin(first, &segment, &mut begin) else { continue };
            let mut frame = [IoSlice::new(&[]); 1 + MAX_ROW];
            frame[0] = IoSlice::new(begin);
            let mut packet = Some(row.first);
            for piece in &mut frame[1..] {
                let Some(number) = packet else { break };
                *piece = IoSlice::new(
                    packets.get(number).and_then(|packet| packet.get(segment.headers..)).unwrap_or_default(),
                );
                packet = self.next.get(number).copied().flatten();
            }
            write(&frame[..=row.packets], row)?;
        }
        Ok(())
    }
}

impl Row {
    /// Bytes of the packet that the row is for the kernel.
    fn headers_once(&self) -> usize {
        let headers = self.segment.map_or(0, |segment| segment.headers);
        self.bytes - headers * (self.packets - 1)
    }

    /// The headers of the packet that the row is for the kernel, made from those of its first.
    fn begin<'a>(
        &self,
        first: &[u8],
        segment: &Segment,
        place: &'a mut [u8; vnet::LENGTH + MAX_HEADERS],
    ) -> Option<&'a [u8]> {
        let place = place.get_mut(..vnet::LENGTH + segment.headers)?;
        let (vnet, headers) = place.split_first_chunk_mut::<{ vnet::LENGTH }>()?;
        headers.copy_from_slice(first.get(..segment.headers)?);
        let (fixed, own) = headers.split_first_chunk_mut::<IPV6_HEADER>()?;
        let length = u16::try_from(self.headers_once() - IPV6_HEADER).ok()?;
        fixed[4..6].copy_from_slice(&length.to_be_bytes());
        let at = if segment.protocol == TCP {
            own[13] |= if segment.pushed { PSH } else { 0 };
            16
        } else {
            own[4..6].copy_from_slice(&length.to_be_bytes());
            6
        };
        let begun = checksum::fold(checksum::pseudo_header(fixed, segment.protocol, length));
        own[at..at + 2].copy_from_slice(&begun.to_ne_bytes());
        *vnet = vnet::VnetHeader {
            flags: vnet::CHECKSUM_BEGUN,
            kind: if segment.protocol == TCP { vnet::TCP6 } else { vnet::UDP },
            headers: u16::try_from(segment.headers).ok()?,
            segment: u16::try_from(segment.payload).ok()?,
            checksum_from: 40,
            checksum_at: u16::try_from(at).ok()?,
        }
        .encode();
        Some(place)
    }
}

/// Packets for the tests of both directions.
#[cfg(test)]
pub(super) mod sample {
    use super::*;

    fn ip(protocol: u8, flow: u8, own: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        packet[4..6].copy_from_slice(&u16::try_from(own.len()).unwrap_or(u16::MAX).to_be_bytes());
        packet.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, flow]);
        packet.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(own);
        let at = if protocol == TCP { 56 } else { 46 };
        let sum = sum(&packet);
        packet[at..at + 2].copy_from_slice(&checksum::complement(sum, protocol == UDP));
        packet
    }

    fn sum(packet: &[u8]) -> u64 {
        let fixed = packet.first_chunk().expect("header");
        let length = u16::try_from(packet.len() - IPV6_HEADER).unwrap_or(u16::MAX);
        checksum::pseudo_header(fixed, packet[6], length) + checksum::sum(&packet[IPV6_HEADER..])
    }

    /// A TCP segment without options.
    pub(in super::super) fn tcp(flow: u8, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut own = vec![0x13, 0x88, 0, 80];
        own.extend(sequence.to_be_bytes());
        own.extend([0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        own.extend(payload);
        ip(TCP, flow, &own)
    }

    /// A UDP datagram.
    pub(in super::super) fn udp(flow: u8, payload: &[u8]) -> Vec<u8> {
        let mut own = vec![0x13, 0x88, 0, 53];
        own.extend(u16::try_from(payload.len() + 8).expect("length").to_be_bytes());
        own.extend([0, 0]);
        own.extend(payload);
        ip(UDP, flow, &own)
    }

    /// Whether length and checksum are right.
    pub(in super::super) fn is_sound(packet: &[u8]) -> bool {
        let length = u16::from_be_bytes([packet[4], packet[5]]);
        usize::from(length) == packet.len() - IPV6_HEADER && checksum::fold(sum(packet)) == 0xFFFF
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::split;
    use super::*;

    /// What is written for `packets`: the bytes of each call.
    fn frames(packets: &[Vec<u8>], segments: bool, datagrams: bool) -> Vec<Vec<u8>> {
        let packets: Vec<BytesMut> = packets.iter().map(|packet| packet.as_slice().into()).collect();
        let (mut rows, mut frames) = (Rows::default(), Vec::new());
        rows.plan(&packets, segments, datagrams);
        let collect = |frame: &[IoSlice<'_>], _: &Row| {
            frames.push(frame.iter().flat_map(|piece| piece.to_vec()).collect());
            Ok(())
        };
        rows.write(&packets, segments, collect).expect("written");
        frames
    }

    /// What the kernel makes of it: the packets of all calls.
    fn received(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut batch = Vec::new();
        for mut frame in frames {
            split::split(&mut frame, &mut batch).expect("what is written can be read");
        }
        batch.iter().map(|packet| packet.to_vec()).collect()
    }

    fn stream(flow: u8, from: u32, number: u32, size: usize) -> Vec<Vec<u8>> {
        let size32 = u32::try_from(size).expect("small");
        let payload = |n: u32| vec![(n % 256) as u8; size];
        (0..number).map(|n| sample::tcp(flow, from.wrapping_add(n * size32), 0x10, &payload(n))).collect()
    }

    #[test]
    fn segments_that_follow_upon_each_other_are_one_call_and_come_out_as_they_went_in() {
        let mut packets = stream(1, u32::MAX - 5000, 47, 1220);
        packets.push(sample::tcp(1, (u32::MAX - 5000).wrapping_add(47 * 1220), 0x18, b"the end, pushed"));
        let frames = frames(&packets, true, false);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].len(), vnet::LENGTH + 60 + 47 * 1220 + 15);
        assert_eq!(received(frames), packets);
    }

    #[test]
    fn flows_are_told_apart_and_keep_their_order() {
        let (one, two) = (stream(1, 100, 5, 500), stream(2, 900, 5, 700));
        let datagrams: Vec<_> = (0..5).map(|n| sample::udp(3, &[n; 300])).collect();
        let mixed: Vec<_> =
            (0..5).flat_map(|n| [one[n].clone(), two[n].clone(), datagrams[n].clone()]).collect();
        assert_eq!(received(frames(&mixed, true, true)), [one, two, datagrams].concat());
        assert_eq!(frames(&mixed, true, true).len(), 3);
        assert_eq!(frames(&mixed, true, false).len(), 7, "no rows of datagrams");
        assert_eq!(frames(&mixed, false, false), mixed, "no rows, no header");
    }

    #[test]
    fn what_ends_a_row_ends_it() {
        let one = |sequence, flags, payload: &[u8]| sample::tcp(1, sequence, flags, payload);
        let first = one(0, 0x10, &[1; 100]);
        let with = |at: usize, byte: u8| {
            let mut packet = one(100, 0x10, &[2; 100]);
            packet[at] = byte;
            packet
        };
        let number = |second: Vec<u8>| frames(&[first.clone(), second], true, true).len();
        assert_eq!(number(one(100, 0x10, &[2; 100])), 1);
        assert_eq!(number(one(100, 0x18, &[2; 40])), 1);
        let cases = [
            ("a gap", one(101, 0x10, &[2; 100])),
            ("the same again", first.clone()),
            ("a longer one", one(100, 0x10, &[2; 101])),
            ("FIN", one(100, 0x11, &[2; 100])),
            ("SYN", one(100, 0x02, &[2; 100])),
            ("CWR", one(100, 0x90, &[2; 100])),
            ("no payload", one(100, 0x10, &[])),
            ("another class", with(1, 0x30)),
            ("another hop limit", with(7, 63)),
            ("another acknowledgement", with(51, 10)),
            ("another window", with(54, 2)),
            ("another port", with(41, 2)),
            ("other options", with(52, 0x60)),
        ];
        for (what, second) in cases {
            assert_eq!(number(second), 2, "{what}");
        }
        // What is behind a pushed or a short segment does not overtake it, and does not join it either.
        let rest = [
            one(0, 0x18, &[1; 100]),
            one(100, 0x10, &[2; 100]),
            one(200, 0x10, &[3; 50]),
            one(250, 0x10, &[4; 50]),
        ];
        assert_eq!(frames(&rest, true, true).len(), 3);
        assert_eq!(received(frames(&rest, true, true)), rest);
        let between = [one(0, 0x10, &[1; 100]), one(100, 0x11, b"end"), one(100, 0x10, &[2; 100])];
        assert_eq!(received(frames(&between, true, true)), between);
    }

    #[test]
    fn a_row_has_64_packets_and_64_kib_at_most() {
        assert_eq!(frames(&stream(1, 0, 65, 100), true, true).len(), 2);
        let frames = frames(&stream(1, 0, 60, 1220), true, true);
        assert!(frames.len() == 2 && frames.iter().all(|frame| frame.len() <= vnet::LENGTH + MAX_BYTES));
        // Twenty flows in turn: more than are looked through. Each packet still goes, in its order.
        let many: Vec<_> =
            (0..3).flat_map(|n| (0..20).map(move |flow| stream(flow, n * 10, 1, 10).remove(0))).collect();
        assert_eq!(received(self::frames(&many, true, true)), many);
    }

    /// SECURITY row 79.
    #[test]
    fn row_79_cut_off_headers_and_extension_chains_go_by_themselves() {
        let whole = sample::tcp(1, 0, 0x10, &[1; 100]);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            assert!(Segment::read(&cut, true).is_none(), "{length}");
            if let Some(field) = cut.get_mut(4..6) {
                field
                    .copy_from_slice(&u16::try_from(length.saturating_sub(40)).expect("small").to_be_bytes());
            }
            assert_eq!(Segment::read(&cut, true).is_some(), length > 60, "{length}");
        }
        for next in (0..=255).filter(|next| ![TCP, UDP].contains(next)) {
            let mut chain = whole.clone();
            chain[6] = next;
            assert!(Segment::read(&chain, true).is_none());
        }
        let mut long = whole;
        long[52] = 0xF0;
        assert!(Segment::read(&long, true).is_some_and(|segment| segment.headers == MAX_HEADERS));
        long.truncate(99);
        long[5] = 59;
        assert!(Segment::read(&long, true).is_none(), "options beyond the end");
        let mut zero = sample::udp(1, b"x");
        zero[46..48].fill(0);
        assert!(Segment::read(&zero, true).is_none(), "a datagram without checksum");
    }

    /// A packet near a row: mostly right, sometimes not.
    fn packet() -> impl Strategy<Value = Vec<u8>> {
        let tcp =
            (0_u8..3, 0_u32..4, prop::sample::select(vec![0x10_u8, 0x10, 0x10, 0x18, 0x11]), 0_usize..3)
                .prop_map(|(flow, n, flags, size)| sample::tcp(flow, n * 50, flags, &vec![1; size * 50]));
        let udp = (0_u8..3, 0_usize..60).prop_map(|(flow, size)| sample::udp(flow, &vec![1; size]));
        let broken = (0_u32..4, 0_usize..110, any::<u8>(), 0_usize..130).prop_map(|(n, at, byte, length)| {
            let mut packet = sample::tcp(1, n * 50, 0x10, &[1; 50]);
            packet[at.min(109)] = byte;
            packet.truncate(length);
            packet
        });
        prop_oneof![4 => tcp, 2 => udp, 2 => broken, 1 => prop::collection::vec(any::<u8>(), 0..120)]
    }

    proptest! {
        /// SECURITY row 79: whatever peers send, nothing panics, and the kernel is given each packet as it came, but for the checksums of those in rows.
        #[test]
        fn row_79_any_packets_reach_the_kernel_as_they_were(packets in prop::collection::vec(packet(), 0..40), datagrams: bool) {
            let frames = frames(&packets, true, datagrams);
            let whole = |packet: &Vec<u8>| packet.len() >= 60 && packet[0] >> 4 == 6 && packet[6] == TCP;
            let strip = |mut packet: Vec<u8>| {
                if whole(&packet) { packet[56..58].fill(0); }
                packet
            };
            let mut got: Vec<_> = Vec::new();
            for mut frame in frames {
                let mut batch = Vec::new();
                // An empty packet is not read back; it never gets here, since what is no whole packet is dropped before.
                let _ = split::split(&mut frame, &mut batch);
                got.extend(batch.iter().map(|packet| strip(packet.to_vec())));
            }
            let mut sent: Vec<_> = packets.iter().filter(|packet| !packet.is_empty()).cloned().map(strip).collect();
            let of = |list: &[Vec<u8>], like: &[u8]| -> Vec<Vec<u8>> {
                list.iter().filter(|packet| whole(packet) && same_flow(packet, like)).cloned().collect()
            };
            for like in &packets {
                prop_assert_eq!(of(&got, like), of(&sent, like), "the order within a flow");
            }
            got.sort();
            sent.sort();
            prop_assert_eq!(got, sent);
        }
    }
}
