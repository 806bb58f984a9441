//! F21: what travels inside a tunnel, as its receiver looks at it. SECURITY R56, 3.2 row 79, and the gate before whoever may only answer.
//!
//! The first byte says what the rest is:
//!
//! - A packet: what is one is what `docs/spec/mesh.md` says, which is written down a second time below; nothing outside it is handed on, and it is from and for
//!   whom its header says and nobody else.
//! - A story of packets that go to peers and come from them: what answers something is compared with a memory that forgets nothing.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use jis::Fingerprint;
use tibet_mesh::{InnerPacket, InnerReject};

use super::Verdict;
use super::mesh_parts::flows::Flows;
use super::script::Script;

const IPV6: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// The port of pings.
const PING: u16 = 7150;
/// How long an answer may come after what it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Fewer than the memory has room for: when it makes room is a matter of its own test.
const MAX_STEPS: usize = 1000;

/// Checks one packet, or one story. Accepted if the packet is one, or anything was an answer.
pub fn check(input: &[u8]) -> Verdict {
    let mut script = Script::new(input);
    match script.byte() {
        Some(0..=127) => packet(script.rest()),
        Some(_) => story(&mut script),
        None => Verdict::Refused,
    }
}

fn packet(bytes: &[u8]) -> Verdict {
    let read = InnerPacket::read(bytes);
    let length = expected(bytes);
    assert_eq!(read.is_ok(), length.is_some(), "{read:?}");
    let (Ok(packet), Some(length)) = (read, length) else { return Verdict::Refused };
    assert_eq!(packet.bytes, &bytes[..length]);
    assert_eq!(packet.source.octets(), bytes[8..24]);
    assert_eq!(packet.destination.octets(), bytes[24..40]);
    let other = Ipv6Addr::from_bits(!packet.source.to_bits());
    assert_eq!(packet.check(packet.source, packet.destination), Ok(()));
    assert_eq!(packet.check(other, packet.destination), Err(InnerReject::Source));
    let other = Ipv6Addr::from_bits(!packet.destination.to_bits());
    assert_eq!(packet.check(packet.source, other), Err(InnerReject::Destination));
    // Cut off anywhere it is none.
    assert!(InnerPacket::read(&bytes[..length - 1]).is_err());
    Verdict::Accepted
}

/// How long the packet is that these bytes begin with.
fn expected(bytes: &[u8]) -> Option<usize> {
    let length = IPV6 + usize::from(*bytes.get(4)?) * 256 + usize::from(*bytes.get(5)?);
    let next = match *bytes.get(6)? {
        44 => *bytes.get(..length)?.get(IPV6)?,
        next => next,
    };
    (bytes[0] >> 4 == 6 && bytes.len() >= length && ![0, 43, 60, 135, 139, 140].contains(&next))
        .then_some(length)
}

fn story(script: &mut Script<'_>) -> Verdict {
    let (mut flows, mut spoken) = (Flows::default(), BTreeMap::new());
    let (mut now, mut answered) = (Duration::from_secs(1000), false);
    for _ in 0..MAX_STEPS {
        let Some([how, later, protocol, first, from, to, cut]) = script.take() else { break };
        now += Duration::from_secs(later.into());
        let peer = Fingerprint::of_inception(&[how & 3]);
        let packet = made(protocol, first, [from, to], cut);
        if how & 4 == 0 {
            flows.note(&peer, &packet, now);
            // A ping opens its port to nothing but pings.
            let said = ports(&packet).filter(|said| *said != (UDP, PING, PING));
            if let Some((protocol, source, _)) = said {
                spoken.insert((peer, protocol, source), now);
            }
        } else {
            let answers = flows.answers(&peer, &packet, now);
            let expected = match (packet.get(6), packet.get(IPV6)) {
                (Some(&ICMPV6), Some(kind)) => matches!(kind, 1..=4 | 129),
                _ => ports(&packet).is_some_and(|(protocol, source, destination)| {
                    let begins = packet.get(53).is_none_or(|flags| flags & 0x12 == 2);
                    let pings = (protocol, source, destination) == (UDP, PING, PING);
                    let asked = spoken.get(&(peer, protocol, destination));
                    !(protocol == TCP && begins)
                        && (pings || asked.is_some_and(|at| now - *at < ANSWER_WITHIN))
                }),
            };
            assert_eq!(answers, expected, "{packet:?}");
            answered |= answers;
        }
    }
    Verdict::of(answered)
}

/// A packet with few ports, so that some meet.
fn made(protocol: u8, first: u8, ports: [u8; 2], cut: u8) -> Vec<u8> {
    let mut packet = vec![0; IPV6 + 20];
    packet[0] = 0x60;
    packet[6] = protocol;
    for (place, port) in [IPV6, IPV6 + 2].into_iter().zip(ports) {
        let port = if port == 0 { PING } else { u16::from(port % 4) };
        packet[place..place + 2].copy_from_slice(&port.to_be_bytes());
    }
    if protocol == ICMPV6 {
        packet[IPV6] = first;
    }
    packet[IPV6 + 13] = first;
    if cut & 0x80 != 0 {
        packet.truncate((cut & 0x7f).into());
    }
    packet
}

fn ports(packet: &[u8]) -> Option<(u8, u16, u16)> {
    let protocol = *packet.get(6)?;
    let number = |at: usize| Some(u16::from(*packet.get(at)?) << 8 | u16::from(*packet.get(at + 1)?));
    matches!(protocol, TCP | UDP).then_some(())?;
    Some((protocol, number(IPV6)?, number(IPV6 + 2)?))
}
