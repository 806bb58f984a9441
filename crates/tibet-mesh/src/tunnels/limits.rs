//! How many handshakes are taken up without a cookie: from everybody together, and in the name of each key (SECURITY R55).

use std::time::Duration;

use jis::TransportSecret;

/// Handshakes in a second that are taken up without a cookie, from everybody together: some 80 µs each (SECURITY R55).
pub const HANDSHAKES_PER_SECOND: u32 = 2000;
/// How many of them at once: what comes through tunnels waits for them, 16 ms at most (SECURITY T12).
pub const HANDSHAKES_AT_ONCE: u32 = 200;

/// Handshakes from everybody.
pub(super) type Admission =
    Bucket<{ 1_000_000 / HANDSHAKES_PER_SECOND as u64 }, { HANDSHAKES_AT_ONCE as u64 }>;
/// Handshakes that are begun in the name of a key: five at once, one more every second. An honest one begins one in five seconds.
type Allowance = Bucket<1_000_000, 5>;
/// Allowances for all keys there are. To use up one after the other takes more in a second than are taken from everybody.
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
        self.full_at.saturating_sub(now) + Self::EVERY <= Duration::from_micros(MICROS * MOST)
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

/// What is left in the name of each key, a peer's or not. A few share an allowance; which ones, nobody else can tell.
pub(super) struct Allowances {
    secret: [u8; 32],
    of: Box<[Allowance]>,
}

impl Allowances {
    pub(super) fn new(secret: &TransportSecret) -> Self {
        Self {
            secret: blake3::derive_key("jis-handshake-allowance:v1", &*secret.to_bytes()),
            of: (0..ALLOWANCES).map(|_| Allowance::default()).collect(),
        }
    }

    /// Takes a handshake in the name of `key`, if there is one left.
    pub(super) fn take(&mut self, key: &[u8; 32], now: Duration) -> bool {
        let [high, low, ..] = *blake3::keyed_hash(&self.secret, key).as_bytes();
        let at = u16::from_be_bytes([high, low]) % ALLOWANCES;
        self.of.get_mut(usize::from(at)).is_some_and(|allowance| allowance.take(now))
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
        assert!(admission.has_room(next(1200)) && !Allowance { full_at: next(5000) }.has_room(next(999)));
    }
}
