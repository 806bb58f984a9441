//! Cookies: whoever shows one receives what is sent to the address it was given to. Nothing is stored (SECURITY R14).

use std::net::SocketAddr;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tibet_ping::{COOKIE, Cookie, address_bytes};

/// How long an epoch lasts; cookies of the present and the last one count.
const EPOCH: Duration = Duration::from_secs(120);
const CONTEXT: &[u8] = b"jis-cookie:v1\0";

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
        self.of_epoch(to, now.as_secs() / EPOCH.as_secs())
    }

    pub(super) fn holds(&self, cookie: &Cookie, from: SocketAddr, now: Duration) -> bool {
        let epoch = now.as_secs() / EPOCH.as_secs();
        let present = self.of_epoch(from, epoch).ct_eq(cookie);
        if bool::from(present) {
            return true;
        }
        let last = epoch.checked_sub(1).map(|epoch| self.of_epoch(from, epoch));
        last.is_some_and(|last| last.ct_eq(cookie).into())
    }

    fn of_epoch(&self, address: SocketAddr, epoch: u64) -> Cookie {
        let mut input = [0; CONTEXT.len() + 32 + 18 + 8];
        let (context, rest) = input.split_at_mut(CONTEXT.len());
        context.copy_from_slice(CONTEXT);
        rest[..32].copy_from_slice(&self.own_key);
        rest[32..50].copy_from_slice(&address_bytes(address));
        rest[50..].copy_from_slice(&epoch.to_be_bytes());
        let hash = blake3::keyed_hash(&self.secret, &input);
        let mut cookie = [0; COOKIE];
        cookie.copy_from_slice(&hash.as_bytes()[..COOKIE]);
        cookie
    }
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
        assert!(cookies.holds(&cookie, address, start));
        assert!(cookies.holds(&cookie, address, start + EPOCH));
        assert!(!cookies.holds(&cookie, address, start + 2 * EPOCH));
        for other in ["203.0.113.9:40001", "203.0.113.8:40000", "[2001:db8::1]:40000"] {
            assert!(!cookies.holds(&cookie, other.parse().expect("address"), start), "{other}");
        }
        // One spelling of an IPv4 address is as good as the other.
        assert!(cookies.holds(&cookie, "[::ffff:203.0.113.9]:40000".parse().expect("address"), start));
        for at in 0..COOKIE {
            let mut altered = cookie;
            altered[at] ^= 1;
            assert!(!cookies.holds(&altered, address, start), "byte {at}");
        }
        assert!(!Cookies::new([7; 32], [9; 32]).holds(&cookie, address, start), "another node's");
        assert!(!Cookies::new([1; 32], [8; 32]).holds(&cookie, address, start), "after a restart");
        assert!(!cookies.holds(&[0; COOKIE], address, Duration::ZERO));
    }
}
