//! `frames.json`: what the Python packages write and refuse.

mod common;

use std::collections::BTreeSet;

use common::{Case, bytes, table, vectors};
use sha2::{Digest as _, Sha256};
use tibet_core::json::{self, Order, Separators};
use tibet_core::object;
use tibet_ping::{EncodeError, Encoding, Frame, Kind, Packet, Reject, Response};

enum Message {
    Packet(Box<Packet>),
    Response(Box<Response>),
}

fn read(datagram: &[u8]) -> Result<(Encoding, Message), Reject> {
    match Frame::read(datagram)? {
        Frame::Version1 { kind: Kind::Packet, encoding, body } => {
            Ok((encoding, Message::Packet(Packet::decode(encoding, body)?.into())))
        }
        Frame::Version1 { kind: Kind::Response, encoding, body } => {
            Ok((encoding, Message::Response(Response::decode(encoding, body)?.into())))
        }
        Frame::Version2 { .. } => panic!("no vector is of version 2"),
    }
}

fn write(message: &Message, encoding: Encoding) -> Vec<u8> {
    match message {
        Message::Packet(packet) => packet.encode(encoding),
        Message::Response(response) => response.encode(encoding),
    }
    .expect("what was read can be written")
}

/// Frames that Python reads and we refuse, by their name in the vectors, with the class we count them under. The page must say the same.
fn refused() -> Vec<(String, String)> {
    table("frame.md", "### Vectors refused").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

#[test]
fn valid_frames_are_read_and_written_byte_for_byte() {
    let cases = vectors("frames.json").map("cases").cases("valid");
    assert_eq!(cases.len(), 32);
    let refused = refused();
    let mut seen = BTreeSet::new();
    for case in &cases {
        let (name, datagram) = (case.text("name"), bytes(case.text("frame_hex")));
        if let Some((_, class)) = refused.iter().find(|(refused, _)| refused == name) {
            assert_eq!(read(&datagram).err().map(Reject::as_str), Some(class.trim_matches('`')), "{name}");
            seen.insert(name);
            continue;
        }
        let (encoding, message) = read(&datagram).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(encoding == Encoding::Msgpack, case.text("encoding") == "msgpack", "{name}");
        assert_eq!(matches!(message, Message::Packet(_)), case.text("type") == "packet", "{name}");
        // The decoded members, as Python's JSON of them.
        let json = write(&message, Encoding::Json);
        assert_eq!(String::from_utf8_lossy(&json[8..]), case.text("object_json"), "{name}");
        let again = write(&message, encoding);
        match case.text("reencode_hex") {
            "same" => assert_eq!(again, datagram, "{name}"),
            other => assert_eq!(again, bytes(other), "{name}"),
        }
    }
    assert_eq!(seen.len(), refused.len(), "the page names vectors that do not exist");
    assert_eq!(seen.len(), 2);
}

#[test]
fn malformed_frames_are_refused_for_the_same_reason() {
    let cases = vectors("frames.json").map("cases").cases("malformed");
    assert_eq!(cases.len(), 36);
    let sooner = table("frame.md", "### Vectors refused sooner");
    let mut seen = 0;
    for case in cases {
        let name = case.text("name");
        let row = sooner.iter().find(|row| row[0] == name);
        seen += usize::from(row.is_some());
        let class = row.map_or(case.text("reject"), |row| row[1].trim_matches('`'));
        assert_eq!(read(&bytes(case.text("frame_hex"))).err().map(Reject::as_str), Some(class), "{name}");
    }
    assert_eq!((seen, sooner.len()), (1, 1));
}

#[test]
fn the_largest_body_is_the_same() {
    let file = vectors("frames.json");
    let base = json::write(file.get("base_packet"), Separators::Compact, Order::Inserted);
    let base = Packet::decode(Encoding::Json, base.as_bytes()).expect("base packet");
    let cases = file.map("cases").cases("encode_limits");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let pad = "x".repeat(usize::try_from(case.integer("pad_len")).expect("length"));
        let packet = Packet { payload: object! { "pad" => pad }, ..base.clone() };
        let encoding = if case.text("encoding") == "json" { Encoding::Json } else { Encoding::Msgpack };
        let name = case.text("name").to_owned();
        if !case.truth("ok") {
            assert!(matches!(packet.encode(encoding), Err(EncodeError::TooLarge(_))), "{name}");
            continue;
        }
        let frame = packet.encode(encoding).expect(&name);
        assert_eq!(Some(frame.len()), usize::try_from(case.integer("frame_len")).ok(), "{name}");
        assert_eq!(jis::hex::encode(&Sha256::digest(&frame)), case.text("frame_sha256"), "{name}");
        let Ok((_, Message::Packet(read))) = read(&frame) else { panic!("{name} is not read back") };
        assert_eq!(*read, packet, "{name}");
    }
}

/// The heartbeat and discover packets made here are those of the vectors.
#[test]
fn ready_made_shapes() {
    let cases = vectors("frames.json").map("cases").cases("valid");
    let shape = |name: &str| {
        let case: &Case = cases.iter().find(|case| case.text("name") == name).expect(name);
        let Ok((_, Message::Packet(packet))) = read(&bytes(case.text("frame_hex"))) else { panic!("{name}") };
        *packet
    };
    let fresh = common::fresh(7, common::NOON);
    let source = common::name("jis:home:sensor");
    let unique = |packet: Packet, like: &Packet| Packet {
        packet_id: like.packet_id.clone(),
        nonce: like.nonce.clone(),
        timestamp: like.timestamp.clone(),
        max_hops: like.max_hops,
        ..packet
    };
    let heartbeat = shape("heartbeat shape");
    assert_eq!(unique(Packet::heartbeat(&source, fresh), &heartbeat), heartbeat);
    let discover = shape("discover shape");
    let payload = discover.payload.clone();
    assert_eq!(unique(Packet::discover(&source, payload, fresh), &discover), discover);
    // What is ours in them: ids as long as Python's, and our own hop limit.
    let made = Packet::heartbeat(&source, fresh);
    assert_eq!((made.packet_id.len(), made.nonce.len(), made.max_hops), (21, 32, 10));
    assert_eq!(made.timestamp, "2026-01-02T03:04:05+00:00");
}
