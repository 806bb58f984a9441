//! What a peer may send that is not trusted all the way: answers to what was said to it, and nothing else.
//!
//! Somebody in GEEL may be spoken to, and answer. It may not begin: its TCP connections, its datagrams to ports that nobody here has spoken from, its echo requests
//! are dropped, as a firewall before this machine would. Only the beginning of each packet is looked at, and packets with extension headers count as a beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use jis::Fingerprint;

/// Ports that are remembered; when there are more, those that were spoken from longest ago make room.
const MOST: usize = 4096;
/// How long after the last packet an answer may come (RFC 4787 REQ-5, and as long for other protocols).
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
const IPV6: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// From this port to this port pings travel (`docs/spec/sealed-ping.md`), which are judged one by one where they are answered.
const PING: u16 = 7150;
/// TCP flags: a segment that begins a connection has SYN and not ACK.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// ICMPv6: errors are 1 to 4, an echo reply is 129 (RFC 4443).
const ICMP_ANSWERS: [u8; 5] = [1, 2, 3, 4, 129];

/// What was said to peers that may only answer.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    spoken: BTreeMap<(Fingerprint, u8, u16), Duration>,
}

impl Flows {
    /// A packet goes to a peer.
    pub(crate) fn note(&mut self, peer: &Fingerprint, packet: &[u8], now: Duration) {
        let Some((protocol @ (TCP | UDP), source, destination)) = ports(packet) else { return };
        // A ping is answered from port to port; its own port is not open to everything else because of it.
        if (protocol, source, destination) == (UDP, PING, PING) {
            return;
        }
        if self.spoken.len() >= MOST && !self.spoken.contains_key(&(*peer, protocol, source)) {
            self.make_room(now);
        }
        self.spoken.insert((*peer, protocol, source), now);
    }

    /// Whether a packet of a peer's answers something that was said to it.
    #[must_use]
    pub(crate) fn answers(&self, peer: &Fingerprint, packet: &[u8], now: Duration) -> bool {
        match (packet.get(6), packet.get(IPV6..)) {
            (Some(&ICMPV6), Some([kind, ..])) => ICMP_ANSWERS.contains(kind),
            (Some(&protocol), Some(transport)) => {
                let begins = protocol == TCP
                    && transport.get(13).is_none_or(|flags| flags & SYN != 0 && flags & ACK == 0);
                let Some((protocol, source, destination)) = ports(packet).filter(|_| !begins) else {
                    return false;
                };
                if (protocol, source, destination) == (UDP, PING, PING) {
                    return true;
                }
                let spoken = self.spoken.get(&(*peer, protocol, destination));
                spoken.is_some_and(|at| now.saturating_sub(*at) < ANSWER_WITHIN)
            }
            _ => false,
        }
    }

    fn make_room(&mut self, now: Duration) {
        self.spoken.retain(|_, at| now.saturating_sub(*at) < ANSWER_WITHIN);
        if self.spoken.len() >= MOST {
            let mut times: Vec<Duration> = self.spoken.values().copied().collect();
            times.sort_unstable();
            let oldest = times.get(MOST / 4).copied().unwrap_or_default();
            self.spoken.retain(|_, at| *at > oldest);
        }
    }
}

/// The protocol of a packet and its ports, source and destination, where it has any.
fn ports(packet: &[u8]) -> Option<(u8, u16, u16)> {
    let protocol = *packet.get(6).filter(|protocol| matches!(**protocol, TCP | UDP))?;
    let [a, b, c, d] = *packet.get(IPV6..)?.first_chunk::<4>()?;
    Some((protocol, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn peer(number: u8) -> Fingerprint {
        Fingerprint::of_inception(&[number])
    }

    fn packet(protocol: u8, from: u16, to: u16, flags: u8) -> Vec<u8> {
        let mut packet = vec![0; IPV6 + 20];
        packet[6] = protocol;
        packet[IPV6..IPV6 + 2].copy_from_slice(&from.to_be_bytes());
        packet[IPV6 + 2..IPV6 + 4].copy_from_slice(&to.to_be_bytes());
        packet[IPV6 + 13] = flags;
        packet
    }

    #[test]
    fn answers_come_in_and_beginnings_do_not() {
        let mut flows = Flows::default();
        assert!(!flows.answers(&peer(1), &packet(UDP, 53, 4000, 0), NOW), "nobody has asked");
        flows.note(&peer(1), &packet(UDP, 4000, 53, 0), NOW);
        flows.note(&peer(1), &packet(TCP, 4001, 80, SYN), NOW);
        assert!(flows.answers(&peer(1), &packet(UDP, 53, 4000, 0), NOW));
        assert!(flows.answers(&peer(1), &packet(TCP, 80, 4001, SYN | ACK), NOW));
        assert!(flows.answers(&peer(1), &packet(TCP, 80, 4001, ACK), NOW));
        assert!(!flows.answers(&peer(1), &packet(TCP, 80, 4001, SYN), NOW), "a connection of its own");
        assert!(!flows.answers(&peer(1), &packet(TCP, 80, 22, ACK), NOW), "another port");
        assert!(!flows.answers(&peer(2), &packet(UDP, 53, 4000, 0), NOW), "another peer");
        assert!(!flows.answers(&peer(1), &packet(TCP, 53, 4000, ACK), NOW), "another protocol");
        assert!(!flows.answers(&peer(1), &packet(UDP, 53, 4000, 0), NOW + ANSWER_WITHIN), "too late");
        let mut echo = packet(ICMPV6, 0, 0, 0);
        for (kind, comes_in) in [(1, true), (128, false), (129, true), (133, false), (135, false)] {
            echo[IPV6] = kind;
            assert_eq!(flows.answers(&peer(1), &echo, NOW), comes_in, "ICMPv6 {kind}");
        }
        assert!(flows.answers(&peer(1), &packet(UDP, PING, PING, 0), NOW), "a ping is judged elsewhere");
        flows.note(&peer(1), &packet(UDP, PING, PING, 0), NOW);
        assert!(!flows.answers(&peer(1), &packet(UDP, 1, PING, 0), NOW), "no ping, though one was sent");
        assert!(!flows.answers(&peer(1), &packet(0, 53, 4000, 0), NOW), "hop-by-hop options");
    }

    /// SECURITY 3.2 row 79: what is cut off is no answer, and nothing panics.
    #[test]
    fn row_79_what_is_cut_off_is_no_answer() {
        let mut flows = Flows::default();
        let sent = packet(TCP, 4001, 80, SYN);
        (0..sent.len()).for_each(|end| flows.note(&peer(1), &sent[..end], NOW));
        flows.note(&peer(1), &sent, NOW);
        let answer = packet(TCP, 80, 4001, ACK);
        for end in 0..IPV6 + 14 {
            assert!(!flows.answers(&peer(1), &answer[..end], NOW), "{end} bytes");
        }
    }

    #[test]
    fn memory_has_an_end_and_what_was_said_last_stays() {
        let mut flows = Flows::default();
        for number in 0..3 * u16::try_from(MOST).expect("few") {
            flows.note(&peer(1), &packet(UDP, number, 53, 0), NOW + Duration::from_millis(number.into()));
        }
        assert!(flows.spoken.len() <= MOST);
        let last = 3 * u16::try_from(MOST).expect("few") - 1;
        let later = NOW + Duration::from_millis(last.into());
        assert!(flows.answers(&peer(1), &packet(UDP, 53, last, 0), later));
    }
}
