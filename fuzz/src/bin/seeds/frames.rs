//! F1: all vectors, and rows 1 to 8.

use crate::{cases, map, put, slug, text, vectors};

const TARGET: &str = "f01_frame";

pub(crate) fn write() {
    let file = vectors("reference/frames.json");
    for kind in ["valid", "malformed"] {
        for case in cases(map(&file, "cases"), kind) {
            put(TARGET, &slug(text(case, "name")), &jis::hex::decode(text(case, "frame_hex")).expect("hex"));
        }
    }

    let good = frame(1, 0, 2, b"{}");
    put(TARGET, "smallest_frame-accepted", &good);
    put(TARGET, "version_2_keepalive-accepted", &frame(2, 1, 16, &[7; 16]));
    put(TARGET, "row_01_empty_datagram-refused", b"");
    for length in 1..8 {
        put(TARGET, &format!("row_02_{length}_bytes-refused"), &good[..length]);
    }
    put(TARGET, "row_03_wrong_magic-refused", b"QP\x01\x00\x00\x00\x00\x02{}");
    for version in [0, 2, 3, 255] {
        put(TARGET, &format!("row_03_version_{version}-refused"), &frame(version, 0, 2, b"{}"));
    }
    for bit in 2..8 {
        put(TARGET, &format!("row_04_flag_bit_{bit}-refused"), &frame(1, 1 << bit, 2, b"{}"));
    }
    for (name, declared) in
        [("0", 0), ("one_less", 1), ("one_more", 3), ("65536", 65_536), ("65537", 65_537), ("all", u32::MAX)]
    {
        put(TARGET, &format!("row_05_declared_{name}-refused"), &frame(1, 0, declared, b"{}"));
    }
    put(TARGET, "row_06_trailing_byte-refused", &[&good[..], b"x"].concat());
    put(TARGET, "row_07_two_frames-refused", &[&good[..], &good[..]].concat());
    put(TARGET, "row_08_largest_udp_datagram-accepted", &frame(1, 0, 65_499, &[b' '; 65_499]));
}

/// A datagram that declares what it likes.
pub(crate) fn frame(version: u8, flags: u8, declared: u32, body: &[u8]) -> Vec<u8> {
    [b"TP".as_slice(), &[version, flags], &declared.to_be_bytes(), body].concat()
}
