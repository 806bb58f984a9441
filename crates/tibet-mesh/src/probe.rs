//! Probes: does a datagram to this address reach the peer, and the peer's answer us?
//!
//! | frame | bytes | says |
//! |---|---|---|
//! | probe | 64 | are you there? |
//! | answer | 48 | yes; and are you where this came from? |
//! | confirmation | 40 | yes |
//!
//! Each is shorter than what it answers, so nobody is sent more than he sent (SECURITY R15). An answer proves to its receiver that the path works in both
//! directions, since it repeats a number that only the probe has carried; a confirmation proves the same to the other side (R24). Whoever answers stores nothing:
//! the number it wants confirmed is computed from the address (R13).
//!
//! Both sides have the keys from their transport keys and the two nonces of their consents ([`jis::Punch`]), so nobody else can make one, a node that passed the
//! consents on included (R58). Wire format: `docs/spec/mesh.md`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jis::{TransportKey, TransportSecret};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::wire::{HEADER, PROBE, PROBE_ANSWER, PROBE_CONFIRM, header};

/// Bytes of a probe, all in all.
pub const PROBE_LENGTH: usize = 64;
/// Bytes of an answer, all in all.
pub const ANSWER_LENGTH: usize = 48;
/// Bytes of a confirmation, all in all.
pub const CONFIRM_LENGTH: usize = 40;

const CONTEXT: &str = "jis-probe:v1";
/// Of numbers to be confirmed, from a key that nobody else has.
const OWN_CONTEXT: &str = "jis-probe-challenge:v1";
const MAC: usize = 16;
/// How long a number to be confirmed lasts: the present and the last such time count.
const EPOCH: Duration = Duration::from_secs(8);

/// Names one agreement between two peers, in one direction.
pub type Session = [u8; 8];
/// Names one probe, or one address to be confirmed: nobody can tell it who has not received it.
pub type ProbeId = [u8; 8];

/// The keys of the probes between two peers.
pub struct ProbeKeys {
    ours: Side,
    theirs: Side,
    /// Makes the numbers to be confirmed. The peer cannot: else it could confirm an address where it receives nothing, and have us send there (SECURITY R24).
    own: [u8; 32],
}

/// What goes in one direction.
struct Side {
    key: [u8; 32],
    session: Session,
}

/// Which of the two consents was ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first.
    Asked,
    /// The answer.
    Answered,
}

/// What a peer has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// A probe: to be answered with its number, to where it came from.
    Probe(ProbeId),
    /// An answer to a probe of ours.
    Answer {
        /// Which.
        id: ProbeId,
        /// To be confirmed, to where it came from.
        challenge: ProbeId,
    },
    /// A confirmation, and it is good: the peer is where it came from.
    Confirmed,
}

impl ProbeKeys {
    /// The keys after two consents. `first` is the nonce of the first, `second` that of its answer.
    #[must_use]
    pub fn agree(
        secret: &TransportSecret,
        peer: &TransportKey,
        first: &[u8; 16],
        second: &[u8; 16],
        role: Role,
    ) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&*secret.agree(peer));
        hasher.update(first);
        hasher.update(second);
        let mut reader = hasher.finalize_xof();
        let mut side = || {
            let (mut key, mut session) = ([0; 32], [0; 8]);
            reader.fill(&mut key);
            reader.fill(&mut session);
            Side { key, session }
        };
        // From whoever asked first, then from whoever answered.
        let (asked, answered) = (side(), side());
        let mut own = blake3::Hasher::new_derive_key(OWN_CONTEXT);
        own.update(&*secret.to_bytes());
        own.update(first);
        own.update(second);
        let own = *own.finalize().as_bytes();
        match role {
            Role::Asked => Self { ours: asked, theirs: answered, own },
            Role::Answered => Self { ours: answered, theirs: asked, own },
        }
    }

    /// What the peer's frames begin with: by this they are known.
    #[must_use]
    pub fn receives(&self) -> Session {
        self.theirs.session
    }

    /// The number of our probe with this count. No two probes may have one count.
    #[must_use]
    pub fn id(&self, count: u64) -> ProbeId {
        self.ours.number(b"probe", &count.to_be_bytes())
    }

    /// A probe: a whole datagram.
    #[must_use]
    pub fn probe(&self, id: ProbeId) -> [u8; PROBE_LENGTH] {
        self.ours.write(PROBE, &[id])
    }

    /// The answer to a probe that came from `from`: a whole datagram.
    #[must_use]
    pub fn answer(&self, id: ProbeId, from: SocketAddr, now: Duration) -> [u8; ANSWER_LENGTH] {
        self.ours.write(PROBE_ANSWER, &[id, self.challenge(from, epoch(now))])
    }

    /// Confirms that an answer has arrived: a whole datagram.
    #[must_use]
    pub fn confirm(&self, challenge: ProbeId) -> [u8; CONFIRM_LENGTH] {
        self.ours.write(PROBE_CONFIRM, &[challenge])
    }

    /// Checks the body of a frame that came from `from`; `None` if the peer has not made it, or not there.
    #[must_use]
    pub fn check(&self, kind: u8, body: &[u8], from: SocketAddr, now: Duration) -> Option<Checked> {
        let length = match kind {
            PROBE => PROBE_LENGTH,
            PROBE_ANSWER => ANSWER_LENGTH,
            PROBE_CONFIRM => CONFIRM_LENGTH,
            _ => return None,
        };
        if body.len() != length - HEADER {
            return None;
        }
        let (claimed, mac) = body.split_last_chunk::<MAC>()?;
        let (session, rest) = claimed.split_first_chunk::<8>()?;
        let genuine = *session == self.theirs.session && self.theirs.mac(kind, claimed).ct_eq(mac).into();
        let (id, rest) = rest.split_first_chunk::<8>().filter(|_| genuine)?;
        match kind {
            PROBE => Some(Checked::Probe(*id)),
            PROBE_ANSWER => Some(Checked::Answer { id: *id, challenge: *rest.first_chunk()? }),
            _ => {
                let epoch = epoch(now);
                let asked = [Some(epoch), epoch.checked_sub(1)];
                let good = |epoch| bool::from(self.challenge(from, epoch).ct_eq(id));
                asked.into_iter().flatten().any(good).then_some(Checked::Confirmed)
            }
        }
    }

    fn challenge(&self, address: SocketAddr, epoch: u64) -> ProbeId {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut input = [0; 26];
        input[..16].copy_from_slice(&ip.octets());
        input[16..18].copy_from_slice(&address.port().to_be_bytes());
        input[18..].copy_from_slice(&epoch.to_be_bytes());
        number(&self.own, b"challenge", &input)
    }
}

/// The session that a body of one of these frames names.
#[must_use]
pub fn session_of(body: &[u8]) -> Option<Session> {
    body.first_chunk().copied()
}

fn epoch(now: Duration) -> u64 {
    now.as_secs() / EPOCH.as_secs()
}

impl Side {
    fn write<const N: usize>(&self, kind: u8, ids: &[ProbeId]) -> [u8; N] {
        let mut datagram = [0; N];
        let length = u32::try_from(N - HEADER).unwrap_or_default();
        datagram[..HEADER].copy_from_slice(&header(kind, length));
        for (place, id) in datagram[HEADER..].chunks_exact_mut(8).zip([&self.session].into_iter().chain(ids))
        {
            place.copy_from_slice(id);
        }
        let mac = self.mac(kind, &datagram[HEADER..N - MAC]);
        datagram[N - MAC..].copy_from_slice(&mac);
        datagram
    }

    fn mac(&self, kind: u8, claimed: &[u8]) -> [u8; MAC] {
        self.number(&[kind], claimed)
    }

    fn number<const N: usize>(&self, what_for: &[u8], input: &[u8]) -> [u8; N] {
        number(&self.key, what_for, input)
    }
}

/// Says what nobody else can say. What for comes first, and none of them is the beginning of another.
fn number<const N: usize>(key: &[u8; 32], what_for: &[u8], input: &[u8]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(what_for);
    hasher.update(input);
    let mut number = [0; N];
    hasher.finalize_xof().fill(&mut number);
    number
}

impl Drop for ProbeKeys {
    fn drop(&mut self) {
        self.own.zeroize();
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for ProbeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeKeys").field("receives", &self.receives()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::secret;
    use crate::wire::Wire;

    const NOW: Duration = Duration::from_secs(1000);

    fn keys(first: u8, second: u8) -> (ProbeKeys, ProbeKeys) {
        let (a, b) = (secret(1), secret(2));
        let nonces = ([first; 16], [second; 16]);
        (
            ProbeKeys::agree(&a, &b.public_key(), &nonces.0, &nonces.1, Role::Asked),
            ProbeKeys::agree(&b, &a.public_key(), &nonces.0, &nonces.1, Role::Answered),
        )
    }

    fn here() -> SocketAddr {
        "203.0.113.7:40000".parse().expect("address")
    }

    fn open_at(keys: &ProbeKeys, datagram: &[u8], from: SocketAddr, now: Duration) -> Option<Checked> {
        let Some(Wire::Frame { kind, body }) = Wire::read(datagram) else { return None };
        keys.check(kind, body, from, now)
    }

    fn open(keys: &ProbeKeys, datagram: &[u8]) -> Option<Checked> {
        open_at(keys, datagram, here(), NOW)
    }

    #[test]
    fn a_probe_its_answer_and_its_confirmation_are_known_again() {
        let (a, b) = keys(7, 8);
        let id = a.id(1);
        let probe = a.probe(id);
        assert_eq!(open(&b, &probe), Some(Checked::Probe(id)));
        let answer = b.answer(id, here(), NOW);
        let Some(Checked::Answer { id: answered, challenge }) = open(&a, &answer) else {
            panic!("no answer")
        };
        assert_eq!(answered, id);
        let confirm = a.confirm(challenge);
        assert_eq!(open(&b, &confirm), Some(Checked::Confirmed));
        assert!(probe.len() <= 64 && answer.len() < probe.len() && confirm.len() < answer.len(), "R15, R58");
        assert_eq!(session_of(&probe[HEADER..]), Some(b.receives()));
        assert_eq!(session_of(&answer[HEADER..]), Some(a.receives()));
        assert!((0..100).all(|count| count == 1 || a.id(count) != id));
    }

    /// SECURITY R24: a confirmation holds for the address its answer went to, and for seconds.
    #[test]
    fn r24_an_address_is_confirmed_from_there_and_soon() {
        let (a, b) = keys(7, 8);
        let answer = b.answer(a.id(1), here(), NOW);
        let Some(Checked::Answer { challenge, .. }) = open(&a, &answer) else { panic!("no answer") };
        let confirm = a.confirm(challenge);
        for other in ["203.0.113.7:40001", "203.0.113.8:40000", "[::ffff:203.0.113.8]:40000"] {
            assert_eq!(open_at(&b, &confirm, other.parse().expect("address"), NOW), None, "{other}");
        }
        let mapped = "[::ffff:203.0.113.7]:40000".parse().expect("address");
        assert_eq!(open_at(&b, &confirm, mapped, NOW), Some(Checked::Confirmed), "the same place");
        assert_eq!(open_at(&b, &confirm, here(), NOW + EPOCH), Some(Checked::Confirmed));
        assert_eq!(open_at(&b, &confirm, here(), NOW + 2 * EPOCH), None);
        assert_eq!(open(&b, &a.confirm([0; 8])), None, "a number nobody has asked for");
        assert_eq!(open(&b, &a.confirm(a.id(1))), None);
    }

    /// SECURITY R58: neither a reflection nor a probe of another agreement, nor one with any byte altered.
    #[test]
    fn r58_nobody_but_the_peer_makes_a_probe_and_none_outlives_its_consents() {
        let (a, b) = keys(7, 8);
        let id = a.id(1);
        let probe = a.probe(id);
        assert_eq!(open(&a, &probe), None, "reflected");
        for (first, second) in [(7, 9), (6, 8), (8, 7)] {
            let (other_a, other_b) = keys(first, second);
            assert_eq!(open(&other_b, &probe), None);
            assert_eq!(open(&b, &other_a.probe(id)), None);
        }
        let eve = ProbeKeys::agree(&secret(3), &secret(2).public_key(), &[7; 16], &[8; 16], Role::Asked);
        assert_eq!(open(&b, &eve.probe(id)), None, "who knows both nonces and no transport secret");
        for at in 0..probe.len() {
            let mut altered = probe;
            altered[at] ^= 1;
            assert_eq!(open(&b, &altered), None, "byte {at}");
        }
        // One kind's body under another's name.
        let answer = b.answer(id, here(), NOW);
        for kind in [PROBE, PROBE_CONFIRM, 99] {
            assert_eq!(a.check(kind, &answer[HEADER..], here(), NOW), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(kind in 15..20_u8, body in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(keys(1, 2).0.check(kind, &body, here(), NOW), None);
        }
    }
}
