//! How often somebody may have the node do something, in a table of fixed size (SECURITY R13, R18).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Cells of a table. Two that share one share its limit; an attacker cannot tell which, since the hash is keyed.
const CELLS: usize = 65_536;

/// So much at once, and so much a second from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a long silence.
    pub burst: u32,
    /// A second; more than a million is no limit.
    pub per_second: u32,
}

/// A [`Rate`] for each of those that a table is asked about: networks or keys.
pub(super) struct Limiter {
    secret: [u8; 32],
    /// For each cell, the time at which it is full again, in microseconds.
    full_at: Box<[u64]>,
    /// Microseconds that one takes.
    one: u64,
    burst: u64,
}

impl Limiter {
    pub(super) fn new(secret: [u8; 32], rate: Rate) -> Self {
        let one = 1_000_000 / u64::from(rate.per_second.max(1));
        Self { secret, full_at: vec![0; CELLS].into(), one, burst: u64::from(rate.burst) * one }
    }

    /// Whether `who` has one left. Takes nothing.
    pub(super) fn has_room(&self, who: &[u8], now: Duration) -> bool {
        self.after(self.cell(who), 1, micros(now)).is_some()
    }

    /// Takes `weight`, if there is room for that. What weighs more than there ever is room for takes all.
    pub(super) fn take(&mut self, who: &[u8], weight: u32, now: Duration) -> bool {
        let cell = self.cell(who);
        let after = self.after(cell, weight, micros(now));
        self.full_at[cell] = after.unwrap_or(self.full_at[cell]);
        after.is_some()
    }

    /// When a cell is full again after `weight` was taken, if there is room.
    fn after(&self, cell: usize, weight: u32, now: u64) -> Option<u64> {
        let cost = (self.one * u64::from(weight)).min(self.burst);
        Some(self.full_at[cell].max(now) + cost).filter(|after| *after <= now + self.burst)
    }

    fn cell(&self, who: &[u8]) -> usize {
        let hash = blake3::keyed_hash(&self.secret, who);
        usize::from(u16::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]))
    }
}

/// One party on the network, for a [`Limiter`]: an IPv4 address, or a /64 of IPv6.
pub(super) fn network(source: SocketAddr) -> [u8; 9] {
    let mut prefix = [0; 9];
    match source.ip().to_canonical() {
        IpAddr::V4(ip) => prefix[1..5].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => {
            prefix[0] = 1;
            prefix[1..].copy_from_slice(&ip.octets()[..8]);
        }
    }
    prefix
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> [u8; 9] {
        network(text.parse().expect("address"))
    }

    #[test]
    fn a_network_has_a_burst_and_a_rate_of_its_own() {
        let mut limiter = Limiter::new([7; 32], Rate { burst: 3, per_second: 2 });
        let start = Duration::from_secs(100);
        let a = of("203.0.113.9:1");
        assert_eq!([0; 4].map(|_| limiter.take(&a, 1, start)), [true, true, true, false]);
        assert!(!limiter.take(&of("203.0.113.9:2"), 1, start), "another port is the same source");
        assert!(limiter.take(&of("203.0.113.10:1"), 1, start));
        assert!(limiter.take(&a, 1, start + Duration::from_millis(500)));
        assert!(!limiter.has_room(&a, start + Duration::from_millis(500)));
        // An IPv6 host has a whole /64.
        (0..3).for_each(|_| assert!(limiter.take(&of("[2001:db8::1]:1"), 1, start)));
        assert!(!limiter.take(&of("[2001:db8::ffff]:1"), 1, start));
        assert!(limiter.take(&of("[2001:db8:0:1::1]:1"), 1, start));
    }

    #[test]
    fn what_weighs_more_takes_more_and_what_outweighs_everything_takes_all() {
        let mut limiter = Limiter::new([7; 32], Rate { burst: 10, per_second: 1 });
        let start = Duration::from_secs(100);
        assert!(limiter.take(b"a", 7, start));
        assert!(!limiter.take(b"a", 7, start), "3 are left, and stay");
        assert!(limiter.take(b"a", 3, start));
        assert!(limiter.take(b"b", 1000, start));
        assert!(!limiter.take(b"b", 1, start));
        let mut boundless = Limiter::new([7; 32], Rate { burst: 1, per_second: u32::MAX });
        assert!((0..1000).all(|_| boundless.take(b"a", 3, start)));
    }
}
