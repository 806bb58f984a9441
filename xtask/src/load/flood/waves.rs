//! The kinds of floods, each from where it costs the node something else.

use std::net::SocketAddr;
use std::time::Duration;

use jis::{Challenge, ChallengePurpose, Name};
use tibet_overlay::intents::OverlayRequest;
use tibet_ping::Compact;

use super::sources::Source;
use crate::Outcome;
use crate::load::fleet::{Fleet, now, question};
use crate::load::socket::Greeting;

/// Addresses that a flood with cookies comes from.
const SOURCES: u8 = 250;
/// Different datagrams of each.
const EACH: u32 = 32;
/// Different datagrams where no cookie is needed, all from one address.
const PLAIN: u32 = 4096;
/// Longest noise, in bytes.
const NOISE: usize = 512;

#[derive(Clone, Copy)]
pub(super) enum Wave {
    /// T12 a.
    Noise,
    /// T12 b.
    NoCookie,
    /// T12 c.
    BadSignature,
    /// Stands for T12 d: what is right in every way and of no use.
    Useless,
}

impl Wave {
    pub(super) const ALL: [Self; 4] = [Self::Noise, Self::NoCookie, Self::BadSignature, Self::Useless];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::NoCookie => "hellos, and look-ups and questions with wrong cookies",
            Self::BadSignature => "questions with a good cookie and a wrong signature, from 250 addresses",
            Self::Useless => "well-signed registrations and questions by strangers, from 250 addresses",
        }
    }

    /// What is sent to `node`, which knows the fleet.
    pub(super) fn sources(self, node: SocketAddr, fleet: &Fleet) -> Outcome<Vec<Source>> {
        match self {
            Self::Noise => noise(),
            Self::NoCookie => no_cookie(fleet),
            Self::BadSignature => (1..=SOURCES)
                .map(|n| Source::greeted(n, node, |greeting| bad_signatures(n, fleet, greeting)))
                .collect(),
            Self::Useless => {
                let strangers = Fleet::unconnected("jis:flood", 0)?;
                (1..=SOURCES)
                    .map(|n| Source::greeted(n, node, |greeting| useless(n, fleet, &strangers, greeting)))
                    .collect()
            }
        }
    }
}

/// xorshift64: bytes without any sense.
pub(super) fn noise() -> Outcome<Vec<Source>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut one = || {
        let length = next() as usize % NOISE;
        (0..length).map(|_| next() as u8).collect()
    };
    Ok(vec![Source::new(1, (0..PLAIN).map(|_| one()).collect())?])
}

fn no_cookie(fleet: &Fleet) -> Outcome<Vec<Source>> {
    let greeting = Greeting { cookie: [0x5a; 16], node_key: fleet.key(0).public_key() };
    let datagrams = (0..PLAIN).map(|n| {
        let (id, device) = (u64::from(n).to_be_bytes(), n % fleet.devices);
        match n % 3 {
            0 => Compact::Hello(id).write(),
            1 => {
                let (name, cookie) = (fleet.name(device), [n as u8; 16]);
                Compact::Lookup { id, cookie, events_from: None, name: name.as_str() }.write()
            }
            _ => {
                let name = fleet.name(device);
                let request = OverlayRequest::Resolve { name, events_from: None };
                Compact::Query(&fleet.ask(device, &request, &greeting, id).encode()).write()
            }
        }
    });
    Ok(vec![Source::new(1, datagrams.collect())?])
}

/// In the names of honest devices, under their keys.
fn bad_signatures(n: u8, fleet: &Fleet, greeting: &Greeting) -> Vec<Vec<u8>> {
    let one = |number: u32| {
        let device = (u32::from(n) * EACH + number) % fleet.devices;
        let request = OverlayRequest::Resolve { name: fleet.name(device), events_from: None };
        let mut query = fleet.ask(device, &request, greeting, u64::from(number).to_be_bytes()).encode();
        // A bit in the first half of the signature.
        let at = query.len() - 64 + number as usize % 32;
        query[at] ^= 1;
        Compact::Query(&query).write()
    };
    (0..EACH).map(one).collect()
}

/// First registrations, challenges to nobody, and questions for a record, each by another fresh key.
fn useless(n: u8, fleet: &Fleet, strangers: &Fleet, greeting: &Greeting) -> Vec<Vec<u8>> {
    let one = |number: u32| {
        let stranger = u32::from(n) * EACH + number;
        let id = u64::from(number).to_be_bytes();
        let key = strangers.key(stranger);
        let source = Name::of_key(&key.public_key());
        let query = match number % 3 {
            0 => strangers.registration(stranger, 0, greeting, id),
            1 => {
                let challenge = Challenge {
                    purpose: ChallengePurpose::Verify,
                    prover: strangers.name(stranger),
                    verifier: source.clone(),
                    verifier_key: key.public_key(),
                    verifier_nonce: [7; 32],
                    issued_at: now(),
                    expires_at: now().saturating_add(Duration::from_secs(30)),
                    channel_binding: [0; 32],
                };
                question(source, &key, &OverlayRequest::Challenge(Box::new(challenge)), greeting, id)
            }
            _ => {
                let name = fleet.name(stranger % fleet.devices);
                question(source, &key, &OverlayRequest::Resolve { name, events_from: None }, greeting, id)
            }
        };
        Compact::Query(&query.encode()).write()
    };
    (0..EACH).map(one).collect()
}
