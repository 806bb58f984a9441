//! F18: a frame of each kind, whole, cut and with more.

use tibet_fuzz::question::{honest_answer, honest_question};
use tibet_ping::{Compact, Found, FoundStatus, HEADER, HELLO, Welcome};

use crate::put;

const TARGET: &str = "f18_compact";

pub(crate) fn write() {
    let (id, cookie) = ([1; 8], [2; 16]);
    let (question, answer) = (honest_question().encode(), honest_answer().encode());
    let v4 = "203.0.113.1:44321".parse().expect("an address");
    let v6 = "[2001:db8::1]:7150".parse().expect("an address");
    let welcome = |observed| Compact::Welcome(Welcome { id, key: [3; 32], cookie, observed });
    let events = [&[0, 2, 7, 7][..], &[0, 0], &[0, 1, 9]].concat();
    let found =
        |status, record, history| Compact::Found { id, found: Found { status, record, events: 3, history } };
    for (name, frame) in [
        ("keepalive", Compact::Keepalive([7; 16])),
        ("alive", Compact::Alive([7; 16])),
        ("hello", Compact::Hello(id)),
        ("welcome", welcome(v4)),
        ("welcome_v6", welcome(v6)),
        ("question", Compact::Query(&question)),
        ("answer", Compact::Answer { id, answer: &answer }),
        ("lookup", Compact::Lookup { id, cookie, events_from: None, name: "jis:home:gate" }),
        ("lookup_with_events", Compact::Lookup { id, cookie, events_from: Some(0), name: "jis:a" }),
        ("found", found(FoundStatus::Active, &question, &[])),
        ("found_with_events", found(FoundStatus::KeyRevoked, b"record", &events)),
        ("found_events_cut_off", found(FoundStatus::NameRevoked, b"record", &events[..9])),
        ("found_nothing", found(FoundStatus::Unknown, &[], &[])),
        ("stale", Compact::Stale(id)),
        ("ask_elsewhere", Compact::AskElsewhere { id, cookie }),
        ("elsewhere", Compact::Elsewhere { id, port: 40_000 }),
    ] {
        let datagram = frame.write();
        let kind = datagram[3];
        let input = [&[kind], &datagram[HEADER..]].concat();
        put(TARGET, &format!("{name}-accepted"), &input);
        // A byte less or more. Where a text, padding or bytes without a form of their own end the frame, it is as good.
        put(TARGET, &format!("{name}_cut"), &input[..input.len() - 1]);
        put(TARGET, &format!("{name}_and_more"), &[&input[..], &[0]].concat());
    }
    let kind_and = |kind: u8, body: &[u8]| [&[kind], body].concat();
    put(TARGET, "hello_too_short-refused", &kind_and(3, &[0; HELLO - HEADER - 1]));
    put(TARGET, "hello_padded_with_ones-refused", &kind_and(3, &[1; HELLO - HEADER]));
    put(TARGET, "ask_elsewhere_padded_with_ones-refused", &kind_and(10, &[1; 32]));
    put(TARGET, "lookup_not_utf8-refused", &kind_and(6, &[&[0; 25][..], &[0xff]].concat()));
    put(TARGET, "found_status_4-refused", &kind_and(7, &[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]));
    put(
        TARGET,
        "row_05_found_record_too_long-refused",
        &kind_and(7, &[[0; 9].as_slice(), &[0xff; 9]].concat()),
    );
    for kind in [0, 12, 255] {
        put(TARGET, &format!("row_03_kind_{kind}-refused"), &kind_and(kind, &[0; 16]));
    }
    put(TARGET, "row_01_nothing-refused", &[]);
}
