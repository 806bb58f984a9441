//! F10: rows 63 to 66, and the stories that once ended badly.

use crate::put;

const TARGET: &str = "f10_replay";

/// Window 30 s, skew 5 s, 64 of one sender, 1000 altogether, both clocks at noon and 1000 s.
const USUAL: [u8; 8] = [0, 0, 0, 0, 4, 0, 0, 0];
const LAST_OF_9999: u8 = 2;

/// A bound is written to disk and said to be there; it is not written; the machine stops after it was written.
const PERSIST: [u8; 2] = [5, 0];
const LOST: [u8; 2] = [5, 1];
const STOPPED: [u8; 2] = [5, 2];
const RESTART: [u8; 2] = [6, 0];
const FOLLOW: [u8; 1] = [7];

/// A new packet: sender, nonce, tenths of seconds from the machine's present.
fn packet(who: u8, nonce: u8, tenths: i16) -> Vec<u8> {
    // In steps of ten ms; no expiry, no microseconds.
    let [high, low] = (tenths * 10).to_be_bytes();
    vec![9, who, nonce, high, low, 1, 255, 0]
}

/// The packet with this number comes again.
fn again(packet: u8) -> [u8; 2] {
    [8, packet]
}

/// Quarters of seconds go by.
fn wait(quarters: u8) -> [u8; 2] {
    [1, quarters]
}

/// Somebody sets the wall clock to noon and some tenths of seconds.
fn set(tenths: i16) -> [u8; 4] {
    let [high, low] = tenths.to_be_bytes();
    [3, 4, high, low]
}

fn restart_at(tenths: i16) -> [u8; 5] {
    let [high, low] = tenths.to_be_bytes();
    [6, 1, 4, high, low]
}

pub(crate) fn write() {
    let story = |name: &str, parts: &[&[u8]]| put(TARGET, name, &[&USUAL[..], &parts.concat()].concat());
    story("one_packet-accepted", &[&PERSIST, &packet(0, 1, 0)]);
    story(
        "no_bound_on_disk-refused",
        &[&packet(0, 1, 0), &LOST, &packet(0, 2, 0), &STOPPED, &packet(0, 3, 0)],
    );
    story(
        "row_63_edges-accepted",
        &[&PERSIST, &packet(0, 1, -300), &packet(0, 2, -301), &packet(0, 3, 50), &packet(0, 4, 51)],
    );
    story("row_63_too_old-refused", &[&PERSIST, &packet(0, 1, -301)]);
    story(
        "row_64_twice-accepted",
        &[
            &PERSIST,
            &packet(0, 1, 50),
            &again(0),
            &wait(116),
            &again(0),
            &wait(20),
            &again(0),
            &wait(8),
            &again(0),
        ],
    );
    story(
        "row_64_other_time_same_nonce-accepted",
        &[&PERSIST, &packet(0, 1, 0), &packet(0, 1, 1), &wait(200), &PERSIST, &packet(0, 1, 0)],
    );
    story(
        "row_64_after_a_restart-accepted",
        &[&PERSIST, &packet(0, 1, 0), &RESTART, &PERSIST, &again(0), &wait(80), &packet(0, 2, 0)],
    );
    story(
        "row_64_clock_set_back-accepted",
        &[&PERSIST, &packet(0, 1, 0), &wait(255), &set(0), &again(0), &FOLLOW, &again(0)],
    );
    story(
        "row_64_clock_set_forward-accepted",
        &[&PERSIST, &packet(0, 1, 0), &set(600), &FOLLOW, &again(0), &wait(48), &PERSIST, &packet(0, 2, 0)],
    );
    let many: Vec<u8> = (0..70).flat_map(|n| packet(0, n, 0)).collect();
    story(
        "row_65_one_sender-accepted",
        &[&PERSIST, &many, &packet(1, 0, 0), &packet(4, 0, 0), &wait(200), &PERSIST, &packet(0, 99, 0)],
    );
    let few = [0, 0, 1, 1, 4, 0, 0, 0];
    let senders: Vec<u8> = (0..6).flat_map(|who| packet(who, 7, 0)).collect();
    let parts: [&[u8]; 6] = [&few, &PERSIST, &senders, &wait(200), &PERSIST, &senders];
    put(TARGET, "row_65_full_memory-accepted", &parts.concat());
    story("row_66_refused_then_honest-accepted", &[&packet(0, 1, 0), &PERSIST, &again(0), &again(0)]);

    // Failures found, see docs/assurance.md.
    story(
        "found_bound_lowered_by_a_clock_set_back-accepted",
        &[&PERSIST, &packet(0, 1, 0), &restart_at(-600), &PERSIST, &restart_at(0), &PERSIST, &again(0)],
    );
    let beyond = [0, 0, 0, 0, LAST_OF_9999, 0];
    let parts: [&[u8]; 7] =
        [&beyond, &PERSIST, &packet(0, 1, 0), &wait(160), &PERSIST, &packet(1, 1, 0), &again(0)];
    put(TARGET, "found_clock_beyond_the_year_9999-accepted", &parts.concat());
}
