//! How many handshakes are taken up without a cookie: from everybody together, and in the name of each key (SECURITY R55). And how many cookies are given.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jis::TransportSecret;

/// Handshakes in a second that are taken up without a cookie, from everybody together: some 80 µs each (SECURITY R55).
pub const HANDSHAKES_PER_SECOND: u32 = 2000;
/// How many of them at once: what comes through tunnels waits for them, 16 ms at most (SECURITY T12).
pub const HANDSHAKES_AT_ONCE: u32 = 200;

/// Cookies in a second that are asked for, from everybody together: each costs a call of the system. Beyond these a handshake without one is dropped as soon as
/// its MAC1 is checked, so that a flood leaves time for what comes through tunnels (SECURITY T12).
pub const COOKIES_PER_SECOND: u32 = 10_000;
/// How many of them at once.
pub const COOKIES_AT_ONCE: u32 = 1000;

/// Handshakes from everybody.
pub(super) type Admission =
    Bucket<{ 1_000_000 / HANDSHAKES_PER_SECOND as u64 }, { HANDSHAKES_AT_ONCE as u64 }>;
/// Handshakes that are begun in the name of a key: five at once, one more every second. An honest one begins one in five seconds.
pub(super) type PerKey = Allowances<1_000_000, 5>;
/// Cookies for an IPv4 address or an IPv6 /64 out of the half that is kept for all: twenty a second, a hundred at once. Behind it may be many, who need one each in
/// five seconds.
type PerNetwork = Allowances<50_000, 100>;
/// Allowances for all that there are. To use up one after the other takes more in a second than are taken from everybody.
const ALLOWANCES: u16 = 8192;

/// One every so many microseconds, and so many at once.
#[derive(Debug, Default)]
pub(super) struct Bucket<const MICROS: u64, const MOST: u64> {
    /// When all of them are there again.
    full_at: Duration,
}

impl<const MICROS: u64, const MOST: u64> Bucket<MICROS, MOST> {
    const EVERY: Duration = Duration::from_micros(MICROS);

    fn has_room(&self, now: Duration) -> bool {
        self.has_more_than(0, now)
    }

    /// Whether, with this one taken, so many are left.
    fn has_more_than(&self, left: u64, now: Duration) -> bool {
        self.full_at.saturating_sub(now) + Self::EVERY <= Duration::from_micros(MICROS * (MOST - left))
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let room = self.has_room(now);
        if room {
            self.full_at = self.full_at.max(now) + Self::EVERY;
        }
        room
    }
}

/// What is left to each, of whatever kind. A few share an allowance; which ones, nobody else can tell.
pub(super) struct Allowances<const MICROS: u64, const MOST: u64> {
    secret: [u8; 32],
    of: Box<[Bucket<MICROS, MOST>]>,
}

impl<const MICROS: u64, const MOST: u64> Allowances<MICROS, MOST> {
    pub(super) fn new(secret: &TransportSecret) -> Self {
        Self {
            secret: blake3::derive_key("jis-handshake-allowance:v1", &*secret.to_bytes()),
            of: (0..ALLOWANCES).map(|_| Bucket::default()).collect(),
        }
    }

    /// Takes one of what is left to `whom`, if there is one.
    pub(super) fn take(&mut self, whom: &[u8], now: Duration) -> bool {
        let [high, low, ..] = *blake3::keyed_hash(&self.secret, whom).as_bytes();
        let at = u16::from_be_bytes([high, low]) % ALLOWANCES;
        self.of.get_mut(usize::from(at)).is_some_and(|allowance| allowance.take(now))
    }
}

/// Cookies that may still be asked for.
pub(super) struct Cookies {
    of: PerNetwork,
    all: Bucket<{ 1_000_000 / COOKIES_PER_SECOND as u64 }, { COOKIES_AT_ONCE as u64 }>,
}

impl Cookies {
    pub(super) fn new(secret: &TransportSecret) -> Self {
        Self { of: Allowances::new(secret), all: Bucket::default() }
    }

    /// Takes one for whoever is at `from`, if there is one left. Of the last half each network gets its own only: a flood from one uses up nobody else's, and it
    /// takes a flood to keep somebody from his by sending from his address.
    pub(super) fn take(&mut self, from: SocketAddr, now: Duration) -> bool {
        let may_have_one = self.all.has_more_than(u64::from(COOKIES_AT_ONCE / 2), now)
            || self.all.has_room(now)
                && match from.ip().to_canonical() {
                    IpAddr::V4(ip) => self.of.take(&ip.octets(), now),
                    // As overlay addresses are, which messages over a relay bear: each is another identity's.
                    IpAddr::V6(ip) if ip.is_unique_local() => self.of.take(&ip.octets(), now),
                    IpAddr::V6(ip) => self.of.take(&ip.octets()[..8], now),
                };
        may_have_one && self.all.take(now)
    }
}

/// Tells each second once.
#[derive(Debug, Default)]
pub(super) struct Seconds(u64);

impl Seconds {
    /// Whether another second has begun since this was asked last.
    pub(super) fn begins(&mut self, now: Duration) -> bool {
        std::mem::replace(&mut self.0, now.as_secs()) != now.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY R55: whatever comes, no second takes more than the rate and what may come at once, and no moment more than the latter.
    #[test]
    fn r55_so_many_at_once_and_so_many_a_second() {
        let mut admission = Admission::default();
        let start = Duration::from_secs(1000);
        let at_once = (0..1000).filter(|_| admission.take(start)).count();
        assert_eq!(at_once, usize::try_from(HANDSHAKES_AT_ONCE).expect("few"));
        let next = |millis: u64| start + Duration::from_millis(millis);
        let tenth: usize = (1..=100).map(|at| (0..50).filter(|_| admission.take(next(at))).count()).sum();
        assert_eq!(tenth, 200, "two every millisecond");
        let more = (0..100_000_u64).filter(|number| admission.take(next(100 + number / 100))).count();
        assert_eq!(more, 2000 - 2);
        let used_up = Bucket::<1_000_000, 5> { full_at: next(5000) };
        assert!(admission.has_room(next(1200)) && !used_up.has_room(next(999)));
    }

    /// SECURITY R55, T12d: whoever sends from one network leaves the others theirs, and whoever sends from many gets no more than all may have.
    #[test]
    fn r55_a_network_leaves_the_others_their_cookies_and_all_together_have_an_end() {
        let mut cookies = Cookies::new(&crate::sample::secret(1));
        let start = Duration::from_secs(1000);
        let at = |text: &str, port| SocketAddr::new(text.parse().expect("address"), port);
        let mut from = |text, now| (1..=2000).filter(|port| cookies.take(at(text, *port), now)).count();
        assert_eq!(from("203.0.113.1", start), 500 + 100, "half of all, and its own");
        assert_eq!(from("::ffff:203.0.113.1", start), 0, "one address, whatever its spelling");
        assert_eq!(from("203.0.113.2", start), 100);
        assert_eq!(from("2001:db8::1", start), 100);
        assert_eq!(from("2001:db8::2:1", start), 0, "the same /64");
        assert_eq!(from("fd00::1", start), 100);
        assert_eq!(from("fd00::2", start), 100, "another identity");
        let later = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!(from("203.0.113.1", later(60)), 100 + 1, "up to the half, and the next of its own");
        assert_eq!(from("203.0.113.2", later(60)), 1);
        let many = |number: u32| SocketAddr::from((number.to_be_bytes(), 9));
        let mut from_many = |now| (0..5000).filter(|number| cookies.take(many(*number), now)).count();
        assert_eq!(from_many(later(10_000)), usize::try_from(COOKIES_AT_ONCE).expect("few"));
        assert_eq!(from_many(later(10_010)), 100, "ten thousand a second");
    }
}
