//! F12: stories of a whole node, and SECURITY 3.2 rows that need one.

use crate::put;

const TARGET: &str = "f12_node";

/// With a port and JSON; nothing on disk, no capabilities.
const USUAL: u8 = 0;
/// With a bound on disk, tokens, msgpack and 15 capabilities.
const ALL: u8 = 0xfe;

const GROEN: u8 = 0;
const GEEL: u8 = 1;
const ROOD: u8 = 2;
const UNKNOWN: u8 = 3;
const LEGACY: u8 = 4;
const LEGACY_UNKNOWN: u8 = 5;

/// Kinds of packets.
const INTENT: u8 = 1;
const LAZY_HEARTBEAT: u8 = 2;
const NORMAL: u8 = 32;
const MESH: u8 = 8;

/// A packet from somebody at an address: kinds, style, size.
fn packet(who: u8, from: u8, kinds: u8, style: u8, size: u8) -> Vec<u8> {
    vec![1, who, from, kinds, style, size, 0]
}

/// The packet before last, say, comes again from an address, with a byte changed.
fn again(which: u8, from: u8, at: u8, flip: u8) -> [u8; 5] {
    [6, which, from, at, flip]
}

fn search(who: u8, from: u8) -> [u8; 5] {
    [8, who, from, 0x80, 0]
}

/// The last packet the node sent is answered from where it went, or from elsewhere.
fn answer(which: u8, elsewhere: bool, style: u8) -> [u8; 5] {
    [9, which, if elsewhere { 0xc2 } else { 0 }, style, 0]
}

fn seconds(n: u8) -> [u8; 2] {
    [12, n]
}

fn operator(what: u8, who: u8, n: u8) -> [u8; 4] {
    [14, what, who, n]
}

const APPROVE: u8 = 3;
const ANSWER: u8 = 9;

pub(crate) fn write() {
    let story =
        |name: &str, style: u8, parts: &[&[u8]]| put(TARGET, name, &[&[style], &parts.concat()[..]].concat());
    let ask = packet(GROEN, 1, INTENT | NORMAL, 0, 21);
    let claimed = packet(GROEN, 1, INTENT | NORMAL, 0, 20);
    let sign_of_life = packet(GROEN, 1, LAZY_HEARTBEAT, 0, 1);
    story("asks_and_is_answered-accepted", USUAL, &[&ask]);
    story("asks_in_msgpack-accepted", ALL, &[&packet(GROEN, 1, INTENT | NORMAL, 4, 41)]);
    story(
        "the_application_answers-accepted",
        USUAL,
        &[&claimed, &operator(ANSWER, 0, 1), &claimed, &seconds(11), &operator(ANSWER, 0, 1)],
    );
    story(
        "waits_for_a_human-accepted",
        USUAL,
        &[&packet(GEEL, 2, INTENT | NORMAL, 0, 41), &operator(APPROVE, 0, 0)],
    );
    story(
        "waits_while_alive-accepted",
        ALL,
        &[
            &packet(GEEL, 2, INTENT | NORMAL, 0, 1),
            &sign_of_life,
            &seconds(20),
            &operator(APPROVE, 0, 0),
            &packet(GEEL, 2, LAZY_HEARTBEAT, 0, 1),
            &seconds(61),
        ],
    );
    story(
        "becomes_a_peer-accepted",
        USUAL,
        &[&sign_of_life, &sign_of_life, &answer(0, false, 0), &seconds(130)],
    );
    story(
        "answers_from_elsewhere-accepted",
        USUAL,
        &[&sign_of_life, &sign_of_life, &answer(0, true, 0), &seconds(130)],
    );
    story(
        "searches-accepted",
        USUAL,
        &[&search(GROEN, 1), &seconds(1), &answer(0, false, 0), &search(GROEN, 2), &seconds(100)],
    );
    story(
        "relays-refused",
        USUAL,
        &[
            &operator(5, GROEN, 1),
            &packet(GEEL, 2, MESH | NORMAL, 3, 41),
            &answer(0, false, 0),
            &answer(0, false, 0),
            &answer(0, true, 0),
        ],
    );
    story(
        "a_legacy_device_asks-accepted",
        USUAL,
        &[&packet(LEGACY, 4, INTENT | NORMAL, 0, 41), &packet(LEGACY_UNKNOWN, 4, INTENT | NORMAL, 0, 41)],
    );
    story(
        "row_64_twice_from_two_places-refused",
        USUAL,
        &[&claimed, &again(0, 1, 0, 0), &again(0, 2, 0, 0), &seconds(40), &again(0, 1, 0, 0)],
    );
    story(
        "clock_set_back-refused",
        ALL,
        &[&claimed, &[13, 4, 0xfc, 0, 6, 0, 1, 0, 0, 13, 0], &claimed, &seconds(70), &claimed],
    );
    story(
        "clock_at_its_end-refused",
        ALL,
        &[&claimed, &[13, 1], &claimed, &seconds(70), &claimed, &search(GROEN, 1)],
    );
    story(
        "rood_unknown_and_false-refused",
        USUAL,
        &[
            &packet(ROOD, 1, INTENT | NORMAL, 0, 41),
            &packet(UNKNOWN, 2, INTENT | NORMAL, 0, 41),
            &packet(LEGACY_UNKNOWN, 3, INTENT | NORMAL, 0, 41),
            &packet(0x84, 4, INTENT | NORMAL, 0, 41),
            &packet(GROEN, 4, INTENT | NORMAL, 0xc0, 41),
            &search(ROOD, 1),
            &search(UNKNOWN, 1),
        ],
    );
    story(
        "nowhere_to_answer_to-refused",
        USUAL,
        &[
            &packet(GROEN, 0, INTENT | NORMAL, 0, 41),
            &packet(GROEN, 6, INTENT | NORMAL, 0, 41),
            &packet(GROEN, 7, INTENT | NORMAL, 0, 41),
        ],
    );
    story(
        "garbage-refused",
        USUAL,
        &[&[0, 1, 0], &[0, 2, 4, 0x54, 0x50, 1, 0], &[0, 0x31, 9, 0x54, 0x50, 1, 0, 0, 0, 0, 1, 0x7b]],
    );
    let busy: Vec<u8> = (0..12).flat_map(|what| operator(what, what * 17, what)).collect();
    story("the_operator_is_busy-refused", ALL, &[&busy, &answer(0, false, 0), &busy, &seconds(200)]);
    story(
        "a_decision_is_waited_for-refused",
        USUAL,
        &[&operator(0, 0x60, 1), &answer(0, false, 8), &seconds(50), &answer(2, false, 0)],
    );
}
