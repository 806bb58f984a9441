//! Cookies: whoever shows one receives what is sent to the address it was given to. Nothing is stored (SECURITY R14).

use std::net::SocketAddr;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tibet_ping::{COOKIE, Cookie, address_bytes};

/// How long a cookie holds.
const LIFETIME: Duration = Duration::from_secs(240);
const CONTEXT: &[u8] = b"jis-cookie:v2\0";
/// Bytes of a cookie that say when it was issued: the last ones of the milliseconds. They repeat after four and a half hours, and all of the
/// milliseconds are under the hash.
const TIME: usize = 3;
const PERIOD: u64 = 1 << (8 * TIME);

/// Makes cookies and knows them again.
pub(super) struct Cookies {
    secret: [u8; 32],
    own_key: [u8; 32],
}

impl Cookies {
    /// `secret` is drawn at the node's start and leaves it never.
    pub(super) fn new(secret: [u8; 32], own_key: [u8; 32]) -> Self {
        Self { secret, own_key }
    }

    /// The cookie for an address. `now` is the node's monotonic time: no clock that somebody sets makes an old cookie count again.
    pub(super) fn issue(&self, to: SocketAddr, now: Duration) -> Cookie {
        self.issued_at(to, millis(now))
    }

    /// When a cookie was issued, in whole milliseconds of the node's monotonic time, if it was to this address and holds still.
    pub(super) fn issue_time(&self, cookie: &Cookie, from: SocketAddr, now: Duration) -> Option<Duration> {
        let now = millis(now);
        let low = cookie[..TIME].iter().fold(0, |low, byte| low << 8 | u64::from(*byte));
        let age = now.wrapping_sub(low) % PERIOD;
        let issued = now.checked_sub(age).filter(|_| age < millis(LIFETIME))?;
        let holds = bool::from(self.issued_at(from, issued).ct_eq(cookie));
        holds.then(|| Duration::from_millis(issued))
    }

    fn issued_at(&self, address: SocketAddr, millis: u64) -> Cookie {
        let mut input = [0; CONTEXT.len() + 32 + 18 + 8];
        let (context, rest) = input.split_at_mut(CONTEXT.len());
        context.copy_from_slice(CONTEXT);
        rest[..32].copy_from_slice(&self.own_key);
        rest[32..50].copy_from_slice(&address_bytes(address));
        let time = millis.to_be_bytes();
        rest[50..].copy_from_slice(&time);
        let hash = blake3::keyed_hash(&self.secret, &input);
        let mut cookie = [0; COOKIE];
        cookie[..TIME].copy_from_slice(&time[8 - TIME..]);
        cookie[TIME..].copy_from_slice(&hash.as_bytes()[..COOKIE - TIME]);
        cookie
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY 3.2 row 80: from another port, of an old epoch, altered.
    #[test]
    fn row_80_a_cookie_holds_for_its_address_and_its_time() {
        let cookies = Cookies::new([7; 32], [8; 32]);
        let address: SocketAddr = "203.0.113.9:40000".parse().expect("address");
        let start = Duration::from_secs(1000);
        let cookie = cookies.issue(address, start);
        let holds =
            |cookies: &Cookies, cookie: &Cookie, from, now| cookies.issue_time(cookie, from, now).is_some();
        let millisecond = Duration::from_millis(1);
        // SECURITY R24: it says when it was issued.
        assert_eq!(cookies.issue_time(&cookie, address, start), Some(start));
        assert_eq!(cookies.issue_time(&cookie, address, start + LIFETIME - millisecond), Some(start));
        assert!(!holds(&cookies, &cookie, address, start + LIFETIME));
        assert!(!holds(&cookies, &cookie, address, start - millisecond), "from the future");
        // Its three bytes of time come again, the hash does not.
        assert!(!holds(&cookies, &cookie, address, start + Duration::from_millis(PERIOD)));
        for other in ["203.0.113.9:40001", "203.0.113.8:40000", "[2001:db8::1]:40000"] {
            assert!(!holds(&cookies, &cookie, other.parse().expect("address"), start), "{other}");
        }
        // One spelling of an IPv4 address is as good as the other.
        assert!(holds(&cookies, &cookie, "[::ffff:203.0.113.9]:40000".parse().expect("address"), start));
        for at in 0..COOKIE {
            let mut altered = cookie;
            altered[at] ^= 1;
            assert!(!holds(&cookies, &altered, address, start), "byte {at}");
        }
        assert!(!holds(&Cookies::new([7; 32], [9; 32]), &cookie, address, start), "another node's");
        assert!(!holds(&Cookies::new([1; 32], [8; 32]), &cookie, address, start), "after a restart");
        assert!(!holds(&cookies, &[0; COOKIE], address, Duration::ZERO));
    }
}
