//! The frames of version 2: written and read again, and everything that is none of them.

use std::net::SocketAddr;

use proptest::prelude::*;
use tibet_ping::{Compact, Found, FoundStatus, Frame, HELLO, Reject, Welcome};

fn read(datagram: &[u8]) -> Result<Compact<'_>, Reject> {
    match Frame::read(datagram)? {
        Frame::Version2 { kind, body } => Compact::read(kind, body),
        Frame::Version1 { .. } => Err(Reject::BadVersion),
    }
}

/// The bytes, spelled out once: header `TP`, version 2, kind, length; then the members in their order.
#[test]
fn the_bytes_are_those_of_the_page() {
    let keepalive = Compact::Keepalive([0xab; 16]).write();
    assert_eq!(keepalive, [&b"TP\x02\x01\0\0\0\x10"[..], &[0xab; 16]].concat());
    assert_eq!(Compact::Alive([0xab; 16]).write()[..4], *b"TP\x02\x02");
    assert_eq!(Compact::Stale([7; 8]).write(), [&b"TP\x02\x08\0\0\0\x08"[..], &[7; 8]].concat());

    let observed: SocketAddr = "203.0.113.9:40000".parse().expect("address");
    let welcome = Welcome { id: [1; 8], key: [2; 32], cookie: [3; 16], observed };
    let expected = [
        &b"TP\x02\x04\0\0\0\x4a"[..],
        &[1; 8],
        &[2; 32],
        &[3; 16],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 9, 0x9c, 0x40],
    ];
    assert_eq!(Compact::Welcome(welcome).write(), expected.concat());

    let lookup = Compact::Lookup { id: [1; 8], cookie: [2; 16], events_from: None, name: "jis:a" };
    assert_eq!(lookup.write(), [&b"TP\x02\x06\0\0\0\x1e"[..], &[1; 8], &[2; 16], b"\xffjis:a"].concat());

    let history = [&[0, 3][..], b"abc", &[0, 1], b"d"].concat();
    let found = Found { status: FoundStatus::Active, record: b"rec", events: 2, history: &history };
    let bytes = Compact::Found { id: [1; 8], found }.write();
    assert_eq!(bytes[8..], [&[1; 8][..], &[1, 0, 3], b"rec", &[2], &history].concat());
    assert_eq!(found.history().collect::<Vec<_>>(), [&b"abc"[..], b"d"]);
}

/// SECURITY R15: whoever asks for a cookie sends more than it gets.
#[test]
fn the_answer_to_hello_is_shorter_than_hello() {
    let observed = "[2001:db8::1]:7150".parse().expect("address");
    let welcome = Compact::Welcome(Welcome { id: [1; 8], key: [2; 32], cookie: [3; 16], observed }).write();
    let hello = Compact::Hello([1; 8]).write();
    assert_eq!(hello.len(), HELLO);
    assert!(welcome.len() <= hello.len(), "{} > {}", welcome.len(), hello.len());
    let short = Frame::Version2 { kind: 3, body: &[0; HELLO - 8 - 1] }.write().expect("fits");
    assert_eq!(read(&short), Err(Reject::BadMember("padding")));
}

/// SECURITY R15: whoever has a node answer from both of its ports sends as much as it gets.
#[test]
fn both_answers_from_elsewhere_are_no_longer_than_the_question() {
    let ask = Compact::AskElsewhere { id: [1; 8], cookie: [2; 16] }.write();
    assert_eq!(ask, [&b"TP\x02\x0a\0\0\0\x20"[..], &[1; 8], &[2; 16], &[0; 8]].concat());
    let answer = Compact::Elsewhere { id: [1; 8], port: 0x9c40 }.write();
    assert_eq!(answer, [&b"TP\x02\x0b\0\0\0\x0a"[..], &[1; 8], &[0x9c, 0x40]].concat());
    assert!(2 * answer.len() <= ask.len());
    let mut ones = ask;
    ones[39] = 1;
    assert_eq!(read(&ones), Err(Reject::BadMember("padding")));
}

/// SECURITY 3.2 rows 2, 5, 6, 80: cut off anywhere, or longer than it is, none is read as another.
#[test]
fn what_is_cut_off_or_too_long_is_not_read() {
    let observed = "203.0.113.9:1".parse().expect("address");
    for exact in [
        Compact::Keepalive([1; 16]),
        Compact::Alive([1; 16]),
        Compact::Welcome(Welcome { id: [1; 8], key: [2; 32], cookie: [3; 16], observed }),
        Compact::Stale([1; 8]),
        Compact::AskElsewhere { id: [1; 8], cookie: [2; 16] },
        Compact::Elsewhere { id: [1; 8], port: 7151 },
    ] {
        let datagram = exact.write();
        let (kind, body) = (datagram[3], &datagram[8..]);
        assert_eq!(Compact::read(kind, body), Ok(exact.clone()));
        for length in 0..body.len() {
            assert!(Compact::read(kind, &body[..length]).is_err(), "{exact:?} cut to {length}");
        }
        assert!(Compact::read(kind, &[body, &[0]].concat()).is_err(), "{exact:?} with a byte more");
    }
    for (kind, least) in [(6, 25), (7, 12), (9, 8)] {
        for length in 0..least {
            assert!(Compact::read(kind, &vec![0; length]).is_err(), "kind {kind} of {length} bytes");
        }
        assert!(Compact::read(kind, &vec![0; least]).is_ok(), "kind {kind}");
    }
    for kind in (12..=255).chain([0]) {
        assert_eq!(Compact::read(kind, &[0; 64]), Err(Reject::BadVersion), "kind {kind}");
    }
    // A record said to be longer than what came.
    assert!(Compact::read(7, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0]).is_err());
    assert!(Compact::read(6, &[&[0; 25][..], &[0xff]].concat()).is_err(), "a name that is no text");
}

proptest! {
    /// Whatever the bytes, reading ends; and what was read writes itself again.
    #[test]
    fn what_is_read_is_written_the_same(kind: u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(frame) = Compact::read(kind, &body) {
            if let Compact::Found { found, .. } = &frame {
                prop_assert!(found.history().count() <= body.len());
            }
            // An address can be spelled in two ways and padding be longer; everything else comes back byte for byte.
            if !matches!(frame, Compact::Welcome(_) | Compact::Hello(_)) {
                prop_assert_eq!(&frame.write()[8..], &body[..]);
            }
        }
    }
}
