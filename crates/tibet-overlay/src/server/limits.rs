//! How often somebody may have the node do something, in a table of fixed size (SECURITY R13).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Cells of a table. Two sources that share one share its limit; an attacker cannot tell which, since the hash is keyed.
const CELLS: usize = 65_536;

/// So many at once and so many a second for each source: an IPv4 address, or an IPv6 /64.
pub(super) struct Limiter {
    secret: [u8; 32],
    /// For each cell, the time at which it is full again, in microseconds.
    full_at: Box<[u64]>,
    /// Microseconds that one takes.
    one: u64,
    burst: u64,
}

impl Limiter {
    pub(super) fn new(secret: [u8; 32], burst: u32, per_second: u32) -> Self {
        let one = 1_000_000 / u64::from(per_second.max(1));
        Self { secret, full_at: vec![0; CELLS].into(), one, burst: u64::from(burst) * one }
    }

    /// Whether `source` has one left. Takes nothing.
    pub(super) fn has_room(&self, source: SocketAddr, now: Duration) -> bool {
        let now = micros(now);
        self.full_at[self.cell(source)].max(now) + self.one <= now + self.burst
    }

    /// Takes one, if there is room.
    pub(super) fn take(&mut self, source: SocketAddr, now: Duration) -> bool {
        let room = self.has_room(source, now);
        let cell = self.cell(source);
        if room {
            self.full_at[cell] = self.full_at[cell].max(micros(now)) + self.one;
        }
        room
    }

    fn cell(&self, source: SocketAddr) -> usize {
        let mut prefix = [0; 9];
        match source.ip().to_canonical() {
            IpAddr::V4(ip) => prefix[1..5].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => {
                prefix[0] = 1;
                prefix[1..].copy_from_slice(&ip.octets()[..8]);
            }
        }
        let hash = blake3::keyed_hash(&self.secret, &prefix);
        usize::from(u16::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_burst_and_a_rate_of_its_own() {
        let mut limiter = Limiter::new([7; 32], 3, 2);
        let start = Duration::from_secs(100);
        let a: SocketAddr = "203.0.113.9:1".parse().expect("address");
        assert_eq!([0; 4].map(|_| limiter.take(a, start)), [true, true, true, false]);
        let same: SocketAddr = "203.0.113.9:2".parse().expect("address");
        assert!(!limiter.take(same, start), "another port is the same source");
        assert!(limiter.take("203.0.113.10:1".parse().expect("address"), start));
        assert!(limiter.take(a, start + Duration::from_millis(500)));
        assert!(!limiter.has_room(a, start + Duration::from_millis(500)));
        // An IPv6 host has a whole /64.
        let v6 = |text: &str| text.parse::<SocketAddr>().expect("address");
        (0..3).for_each(|_| assert!(limiter.take(v6("[2001:db8::1]:1"), start)));
        assert!(!limiter.take(v6("[2001:db8::ffff]:1"), start));
        assert!(limiter.take(v6("[2001:db8:0:1::1]:1"), start));
    }
}
