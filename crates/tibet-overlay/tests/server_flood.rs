//! SECURITY R15, R12, R29: what a running node answers to whoever cannot be seen to be there, and to garbage.

#![allow(clippy::print_stdout, reason = "figures to publish")]

mod common;

use common::device::{Device, at, name};
use common::raw::{Asker, Raw, read};
use common::world::with_world;
use jis::{Challenge, ChallengePurpose, Punch, RelayOpen, Signed, TransportKey};
use tibet_overlay::intents::{OverlayRequest, PingRequest};
use tibet_ping::{Compact, Encoding, Frame, Fresh, Packet};

/// xorshift64*: the same seed, the same datagrams.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    Frame::Version2 { kind, body }.write().expect("short")
}

/// One datagram of everything a node is ever sent, as `raw` would send it.
fn one_of_each(raw: &Raw, device: &Device, token: [u8; 16]) -> Vec<Vec<u8>> {
    let who = Asker::certified();
    let challenge = Challenge {
        purpose: ChallengePurpose::Verify,
        prover: device.name().clone(),
        verifier: who.name.clone(),
        verifier_key: who.key.public_key(),
        verifier_nonce: [5; 32],
        issued_at: at(0),
        expires_at: at(30),
        channel_binding: [0; 32],
    };
    let ping =
        PingRequest { issued_at: at(0), intent: "ping".parse().expect("word"), purpose: String::new() };
    let ping = ping.query([1; 8], who.name.clone(), who.key.public_key(), 0, device.identity.key);
    let ping = Box::new(Signed::seal(ping, &who.key).expect("signed"));
    let punch = Punch {
        from: device.name().clone(),
        key: device.identity.key,
        generation: 0,
        to: device.name().clone(),
        to_key: device.identity.key,
        nonce: [6; 16],
        answers: Punch::FIRST,
        issued_at: at(0),
        expires_at: at(30),
        candidates: Vec::new(),
    };
    let punch = Box::new(Signed::seal(punch, &device.key).expect("signed"));
    let relay = RelayOpen {
        name: device.name().clone(),
        key: device.identity.key,
        generation: 0,
        relay: raw.key,
        exchange: TransportKey::from_bytes(&[9; 32]).expect("a key"),
        issued_at: at(0),
        expires_at: at(30),
    };
    let relay = Box::new(Signed::seal(relay, &device.key).expect("signed"));
    let mut rotated = device.stolen();
    let requests = [
        (device.asker(), device.registration(None)),
        (device.asker(), device.update()),
        (Asker { key: common::device::copy(&device.next), ..device.asker() }, rotated.rotate()),
        (device.asker(), device.revoke_own_key()),
        (device.asker(), OverlayRequest::Resolve { name: device.name().clone(), events_from: Some(0) }),
        (who, OverlayRequest::Find { capability: "mqtt".parse().expect("word"), after: 0 }),
        (device.asker(), OverlayRequest::Challenge(Box::new(challenge))),
        (device.asker(), OverlayRequest::Ping { name: device.name().clone(), ping }),
        (device.asker(), OverlayRequest::Connect { name: device.name().clone(), punch: punch.clone() }),
        (device.asker(), OverlayRequest::Punch(punch)),
        (device.asker(), OverlayRequest::Relay(relay)),
    ];
    let queries =
        requests.iter().map(|(who, request)| Compact::Query(&raw.query(who, request).encode()).write());
    let lookup =
        |events_from, name| Compact::Lookup { id: [2; 8], cookie: raw.cookie, events_from, name }.write();
    let packet = Packet::intent(
        &name("jis:x"),
        &name("jis:y"),
        "ping",
        "",
        Fresh { id: [1; 8], nonce: [2; 16], now: at(0) },
    );
    let packet = packet.encode(Encoding::Json).expect("encoded");
    queries
        .chain([
            Compact::Hello([1; 8]).write(),
            Compact::Keepalive(token).write(),
            Compact::Alive(token).write(),
            lookup(Some(0), "jis:a"),
            lookup(None, "jis:nobody"),
            Compact::Stale([3; 8]).write(),
            Compact::Answer { id: [4; 8], answer: &[7; 200] }.write(),
            frame(4, &[1; 74]),
            frame(7, &[1; 100]),
            frame(tibet_mesh::RELAY_SEND, &[1; 120]),
            frame(tibet_mesh::RELAY_CALL, &[1; 40]),
            Frame::Version1 { kind: tibet_ping::Kind::Packet, encoding: Encoding::Json, body: &packet }
                .write()
                .expect("short"),
        ])
        .collect()
}

fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => bytes.extend(std::iter::repeat_n(random.next() as u8, random.below(64))),
            4 => {
                let other = &seeds[random.below(seeds.len())];
                bytes.truncate(at);
                bytes.extend(&other[random.below(other.len())..]);
            }
            5 if bytes.len() > 8 => bytes[3] = random.below(24) as u8,
            6 if at + 4 <= bytes.len() => {
                bytes[at..at + 4].copy_from_slice(&[[0; 4], [255; 4], [0, 0, 1, 0]][random.below(3)])
            }
            _ => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
        }
    }
    // Half of them with a length that is right again, so that they come further than the header.
    if bytes.len() >= 8 && random.below(2) == 0 {
        let length = u32::try_from(bytes.len() - 8).expect("short");
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

/// Everything that comes until what was asked last is answered; that is not among it.
fn until_answered(raw: &Raw, random: &mut Random) -> Vec<Vec<u8>> {
    let id = random.next().to_be_bytes();
    raw.send(&Compact::Hello(id).write());
    let mut came = Vec::new();
    loop {
        let datagram = raw.recv();
        if matches!(read(&datagram), Compact::Welcome(welcome) if welcome.id == id) {
            return came;
        }
        came.push(datagram);
    }
}

/// Rule R15: over everything there is to send, in all lengths, from an address that has not shown that it is its sender's own.
#[test]
fn who_cannot_be_seen_to_be_there_gets_no_more_bytes_than_it_sends() {
    with_world(|world| {
        let at_device = world.raw();
        let device = Device::new("jis:a");
        let token = at_device.registered(&device.asker(), &device.registration(None)).keepalive;
        let mut random = Random(0x5eed_0015);
        // It has a cookie, but another address's.
        let raw = Raw { cookie: at_device.cookie, ..world.raw() };
        let seeds = one_of_each(&raw, &device, token);
        let mut datagrams = seeds.clone();
        for kind in 0..=255 {
            for length in [0, 7, 8, 15, 16, 24, 40, 88, 120, 500, 1400] {
                datagrams.push(frame(kind, &vec![0; length]));
                datagrams.push(frame(kind, &vec![random.next() as u8; length]));
            }
        }
        datagrams.extend((0..5000).map(|_| mutated(&mut random, &seeds)));
        let (mut greatest, mut of) = (0.0_f64, 0);
        let mut answered = 0;
        for datagram in &datagrams {
            raw.send(datagram);
            let came = until_answered(&raw, &mut random);
            assert!(came.len() <= 1, "one datagram for one: {datagram:02x?}");
            let bytes: usize = came.iter().map(Vec::len).sum();
            assert!(bytes <= datagram.len(), "{bytes} for {datagram:02x?}");
            answered += came.len();
            if bytes > 0 && bytes as f64 / datagram.len() as f64 > greatest {
                (greatest, of) = (bytes as f64 / datagram.len() as f64, datagram[3]);
            }
        }
        println!(
            "amplification without a cookie: at most {greatest:.3} (kind {of}), {} datagrams, {answered} answered",
            datagrams.len()
        );
        assert!(greatest <= 1.0);
    });
}

/// Twenty thousand damaged datagrams from an address with a good cookie: the node lives, every one of them is counted once, and what was registered
/// stays as it was.
#[test]
fn a_node_takes_no_harm_from_garbage_and_counts_it() {
    const DATAGRAMS: u64 = 20_000;
    with_world(|world| {
        let raw = world.raw();
        let at_device = world.raw();
        let device = Device::new("jis:a");
        let token = at_device.registered(&device.asker(), &device.registration(None)).keepalive;
        let held = world.route("jis:a").expect("held").record_bytes().to_vec();
        assert!(raw.is_quiet());
        let mut random = Random(0x5eed_0029);
        let seeds = one_of_each(&raw, &device, token);
        let before = world.handle().stats();
        let (mut framed, mut hellos, mut bytes_in, mut bytes_out) = (0, 0, 0, 0);
        for count in 0..DATAGRAMS {
            let datagram = loop {
                let datagram = mutated(&mut random, &seeds);
                if !seeds.contains(&datagram) {
                    break datagram;
                }
            };
            framed += u64::from(matches!(Frame::read(&datagram), Ok(Frame::Version2 { .. })));
            bytes_in += datagram.len();
            raw.send(&datagram);
            if count % 16 == 15 {
                bytes_out += until_answered(&raw, &mut random).iter().map(Vec::len).sum::<usize>();
                hellos += 1;
            }
        }
        // The worker is done when a question after all others is answered, from an address that has not sent so much that does not verify.
        let quiet = Raw::connect_from("127.0.0.3".parse().expect("address"), world.node().local_addr());
        assert!(quiet.is_quiet());
        let after = world.handle().stats();
        let sum = |stats: tibet_overlay::server::OverlayStats| {
            stats.welcomed
                + stats.keepalives
                + stats.keepalives_refused
                + stats.lookups
                + stats.lookups_unknown
                + stats.stale_cookies
                + stats.malformed
                + stats.queries
                + stats.queries_overflow
                + stats.queries_limited
                + stats.answers_unasked
                + stats.relay_refused
        };
        // With the greetings of this test, and the question at its end.
        assert_eq!(sum(after) - sum(before), framed + hellos + 2, "{before:?} {after:?}");
        let judged = |stats: tibet_overlay::server::OverlayStats| {
            stats.queries_misdirected
                + stats.queries_unknown_sender
                + stats.queries_rood
                + stats.queries_bad_signature
        };
        assert_eq!(
            judged(after) - judged(before),
            after.queries - before.queries - 1,
            "no altered question was heard"
        );
        println!(
            "{DATAGRAMS} damaged datagrams, {framed} of them frames: {bytes_in} bytes in, {bytes_out} out; {after:?}"
        );
        assert_eq!(world.route("jis:a").expect("held").record_bytes(), held);
        assert_eq!(after.registrations, 1);
        at_device.send(&Compact::Keepalive(token).write());
        assert_eq!(read(&at_device.recv()), Compact::Alive(token));
    });
}
