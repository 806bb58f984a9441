//! F13: stories of the mesh, and rows 55, 56, 69 to 71, 78 and 79.

use crate::put;

const TARGET: &str = "f13_mesh";

/// What is on its way arrives, and what comes of it.
const ARRIVE: &[u8] = &[3];
const LOSE: &[u8] = &[6];

/// Device 0 or 1 says so many bytes to the other, or to the third.
fn say(from: u8, to_third: bool, length: u8) -> [u8; 3] {
    [0, from | u8::from(to_third) << 1, length]
}

/// The datagram with this number comes again: from a place, to one of the two, with a byte changed.
fn again(which: u8, from: Option<u8>, to: Option<u8>, at: u8, flip: u8) -> [u8; 6] {
    let chosen = |place: Option<u8>| place.map_or(0, |place| place << 1 | 1);
    [7, which, chosen(from), chosen(to), at, flip]
}

/// Bytes of any kind from a place to device 0, 1 or the relay.
fn throw(from: u8, to: u8, kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[9, from, to, kind, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

fn seconds(tenths: u8) -> [u8; 2] {
    [10, tenths.saturating_mul(2)]
}

/// 0 and the other (1, or the third) consent; each names two places.
fn consent(third: bool, first: u8, second: u8) -> [u8; 4] {
    [12, u8::from(third), first, second]
}

/// The third says something in its tunnel to a device: honest, bent at a place of its header, or any bytes.
fn third(how: u8, bytes: &[u8]) -> Vec<u8> {
    [&[13, how, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

fn operator(what: u8, who: u8) -> [u8; 3] {
    [15, what, who]
}

pub(crate) fn write() {
    let story = |name: &str, parts: &[&[u8]]| put(TARGET, name, &parts.concat());
    let hello = say(0, false, 20);
    let minutes = [11, 1];
    story("nothing_happens-refused", &[]);
    story("over_the_relay-accepted", &[&hello, ARRIVE, ARRIVE, &say(1, false, 200), ARRIVE]);
    story(
        "and_then_directly-accepted",
        &[
            &hello,
            ARRIVE,
            &consent(false, 0x11, 0x00),
            ARRIVE,
            &seconds(5),
            ARRIVE,
            &say(1, false, 9),
            ARRIVE,
        ],
    );
    story("all_is_lost-refused", &[&hello, LOSE, &seconds(20), LOSE]);
    story("row_55_consents_name_each_other-refused", &[&consent(false, 0x01, 0x10), LOSE, &seconds(100)]);
    let named = consent(false, 0x54, 0x46);
    story(
        "row_56_third_parties_are_named-accepted",
        &[&hello, ARRIVE, &named, &minutes, &named, ARRIVE, &minutes, ARRIVE],
    );
    let from_nowhere: Vec<[u8; 6]> = (0..12).map(|which| again(which, Some(4), None, 0, 0)).collect();
    story(
        "row_71_everything_comes_again-accepted",
        &[&hello, ARRIVE, ARRIVE, &from_nowhere.concat(), ARRIVE],
    );
    let to_the_other: Vec<[u8; 6]> =
        (0..12).map(|which| again(which, None, Some(which & 1), 30, 1)).collect();
    story(
        "row_71_redirected_and_altered-accepted",
        &[&hello, ARRIVE, ARRIVE, &to_the_other.concat(), ARRIVE],
    );
    let frames: Vec<u8> = (16..24).flat_map(|kind| throw(5, kind % 3, kind, &[kind; 56])).collect();
    story("row_69_frames_of_nobody-refused", &[&frames]);
    let wireguard: Vec<u8> = (8..16).flat_map(|kind| throw(4, 0, kind, &[kind; 144])).collect();
    story("row_78_messages_of_nobody-refused", &[&wireguard]);
    let speaks = third(0, b"hello");
    story("the_third_speaks-accepted", &[&speaks, ARRIVE, ARRIVE]);
    let bent: Vec<u8> = [0, 4, 6, 8, 24].iter().flat_map(|at| third(4 | at << 3, b"\xffbent")).collect();
    story("row_79_the_third_bends_its_packets-accepted", &[&speaks, ARRIVE, &bent, ARRIVE]);
    story(
        "row_79_the_third_says_anything-accepted",
        &[&speaks, ARRIVE, &third(2, &[0x60; 60]), &third(2, b""), ARRIVE],
    );
    let relayed = [14, 1, 4, 1, 2, 3, 4];
    story("row_70_the_third_has_much_relayed-refused", &[&relayed.repeat(30), ARRIVE, ARRIVE]);
    story(
        "a_peer_is_removed_on_the_way-refused",
        &[&hello, &operator(0, 1), ARRIVE, ARRIVE, &operator(1, 1), &seconds(60)],
    );
    story(
        "it_may_only_answer-accepted",
        &[&operator(3, 5), &hello, ARRIVE, &operator(3, 1), ARRIVE, &hello, ARRIVE],
    );
    story(
        "the_relay_goes_and_comes-accepted",
        &[&operator(4, 0), &hello, ARRIVE, &operator(5, 0), ARRIVE, &hello, ARRIVE, ARRIVE],
    );
    story(
        "a_device_moves-accepted",
        &[&hello, ARRIVE, &consent(false, 0x11, 0x00), ARRIVE, &operator(6, 0), ARRIVE, &hello, ARRIVE],
    );
}
