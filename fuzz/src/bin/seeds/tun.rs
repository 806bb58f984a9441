//! F24: what the kernel says with offload, and batches of packets for it.

use crate::put;

const TARGET: &str = "f24_tun";
const FROM_KERNEL: u8 = 0;
const TO_KERNEL: u8 = 3;

/// Flags, kind, length of headers, of a segment, where the checksum begins and stands; then the packet.
fn frame(kind: u8, segment: u16, from: u16, at: u16, packet: &[u8]) -> Vec<u8> {
    let numbers: Vec<u8> = [60, segment, from, at].into_iter().flat_map(u16::to_ne_bytes).collect();
    [&[FROM_KERNEL, u8::from(kind != 0), kind], &numbers[..], packet].concat()
}

fn packet(protocol: u8, own: &[u8]) -> Vec<u8> {
    let length = u16::try_from(own.len()).expect("short").to_be_bytes();
    [&[0x60, 0, 0, 0, length[0], length[1], protocol, 64][..], &[0xfd; 32], own].concat()
}

pub(crate) fn write() {
    let tcp = packet(
        6,
        &[&[0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 9, 0x50, 0x18, 1, 0, 0, 0, 0, 0][..], &[7; 200]].concat(),
    );
    let udp = packet(17, &[&[0x13, 0x88, 0, 53, 0, 208, 0, 0][..], &[7; 200]].concat());
    put(TARGET, "one-accepted", &frame(0, 0, 0, 0, &tcp));
    put(TARGET, "segments-accepted", &frame(4, 64, 40, 16, &tcp));
    put(TARGET, "segments_with_ecn-accepted", &frame(0x84, 64, 40, 16, &tcp));
    put(TARGET, "datagrams-accepted", &frame(5, 100, 40, 6, &udp));
    put(TARGET, "row_79_segments_of_nothing-refused", &frame(4, 0, 40, 16, &tcp));
    put(TARGET, "row_79_header_within_the_address-refused", &frame(4, 64, 20, 16, &tcp));
    put(TARGET, "row_79_header_behind_the_end-refused", &frame(4, 64, 250, 16, &tcp));
    put(TARGET, "row_79_without_payload-refused", &frame(4, 64, 40, 16, &tcp[..60]));
    put(TARGET, "row_79_over_ipv4-refused", &frame(1, 64, 40, 16, &tcp));
    put(
        TARGET,
        "row_79_checksum_behind_the_end-refused",
        &[&[FROM_KERNEL, 1, 0, 0, 0, 0, 0, 0xff, 0, 0xff, 0][..], &tcp].concat(),
    );
    put(TARGET, "nothing-refused", &[]);
    // Protocol and bends, number, payload, flags.
    let batch =
        |name: &str, packets: &[&[u8]]| put(TARGET, name, &[&[TO_KERNEL], &packets.concat()[..]].concat());
    let segment = |number: u8| [0, number, 50, 0];
    batch("a_row-accepted", &[&segment(1), &segment(2), &segment(3)]);
    batch("out_of_order-refused", &[&segment(3), &segment(1)]);
    batch("two_flows-accepted", &[&segment(1), &[0x40, 1, 50, 0], &segment(2), &[0x40, 2, 50, 0]]);
    batch("datagrams_for_the_kernel-accepted", &[&[1, 1, 60, 0], &[1, 2, 60, 0], &[1, 3, 10, 0]]);
    batch("pushed-accepted", &[&segment(1), &[0, 2, 50, 0x98], &segment(3)]);
    batch("row_79_chain-refused", &[&[2, 1, 50, 0, 6, 0], &[2, 2, 50, 0, 6, 0]]);
    batch("row_79_cut_off-refused", &[&[4, 1, 50, 0, 59], &[4, 2, 50, 0, 10], &[0xff, 0, 3, 0, 1, 2, 3]]);
    batch("row_79_length_of_another-refused", &[&[2, 1, 50, 0, 5, 99], &[2, 2, 50, 0, 4, 1]]);
}
