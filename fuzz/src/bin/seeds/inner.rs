//! F21: packets inside tunnels whole, cut, bent and chained, and stories of answers.

use crate::put;

const TARGET: &str = "f21_inner";

fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let addresses = [&[0xfd; 15][..], &[1], &[0xfd; 15], &[2]].concat();
    [&[0, 0x60, 0, 0, 0, length[0], length[1], next, 64][..], &addresses, payload].concat()
}

pub(crate) fn write() {
    let whole = packet(17, b"sixteen bytes or");
    put(TARGET, "whole-accepted", &whole);
    put(TARGET, "with_padding-accepted", &[&whole[..], &[0; 15]].concat());
    put(TARGET, "without_payload-accepted", &packet(59, b""));
    put(TARGET, "nothing-refused", &[]);
    put(TARGET, "row_79_cut_off-refused", &whole[..whole.len() - 1]);
    put(TARGET, "row_79_cut_off_header-refused", &whole[..40]);
    let bent = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at + 1] = value;
        bytes
    };
    put(TARGET, "row_79_ipv4-refused", &bent(0, 0x45));
    put(TARGET, "row_79_longer_than_it_is-refused", &bent(4, 0xff));
    for next in [0, 43, 60, 135] {
        put(TARGET, &format!("row_79_chain_{next}-refused"), &bent(6, next));
    }
    put(TARGET, "fragment-accepted", &packet(44, &[17; 16]));
    put(TARGET, "row_79_fragment_of_a_chain-refused", &packet(44, &[43; 16]));
    put(TARGET, "row_79_fragment_of_nothing-refused", &packet(44, b""));
    // Peer and way, seconds, protocol, flags or ICMP type, ports, where it is cut off.
    let story = |name: &str, steps: &[[u8; 7]]| put(TARGET, name, &[&[0x80], &steps.concat()[..]].concat());
    let (to, from) = (0, 4);
    story("answered-accepted", &[[to, 0, 17, 0, 2, 3, 0], [from, 9, 17, 0, 3, 2, 0]]);
    story(
        "too_late-refused",
        &[[to, 0, 17, 0, 2, 3, 0], [to | 1, 200, 17, 0, 2, 3, 0], [from, 100, 17, 0, 3, 2, 0]],
    );
    story("begun_by_them-refused", &[[from, 0, 6, 2, 3, 2, 0], [from, 0, 17, 0, 3, 2, 0]]);
    story("syn_to_an_open_port-refused", &[[to, 0, 6, 2, 2, 3, 0], [from, 0, 6, 2, 3, 2, 0]]);
    story("syn_and_ack-accepted", &[[to, 0, 6, 2, 2, 3, 0], [from, 0, 6, 0x12, 3, 2, 0]]);
    story("ping-accepted", &[[from, 0, 17, 0, 0, 0, 0]]);
    story("echo_reply-accepted", &[[from, 0, 58, 129, 0, 0, 0]]);
    story("echo_request-refused", &[[from, 0, 58, 128, 0, 0, 0]]);
    story("row_79_answer_cut_off-refused", &[[to, 0, 6, 2, 2, 3, 0], [from, 0, 6, 0x10, 3, 2, 0x80 | 53]]);
}
