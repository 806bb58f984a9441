//! Keepalive tokens: which registered device speaks, with the key it registered with, from the address it registered from.
//! Checked with one keyed hash, across restarts.

use std::net::SocketAddr;

use jis::UnixTime;
use subtle::ConstantTimeEq as _;
use tibet_ping::{KeepaliveToken, TOKEN, address_bytes};
use zeroize::Zeroizing;

const CONTEXT: &[u8] = b"tibet-keepalive:v2\0";
/// Hours a token holds: as long as a record does at most.
const LIFETIME: u32 = 24;
/// Bytes of the number, the hour and the hash in a token.
const NUMBER: usize = 4;
const HOUR: usize = 3;
const MAC: usize = TOKEN - NUMBER - HOUR;

/// Makes keepalive tokens and knows them again.
pub(super) struct Tokens {
    secret: Zeroizing<[u8; 32]>,
}

impl Tokens {
    /// `secret` is kept on the node's disk.
    pub(super) fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        Self { secret }
    }

    /// The token of the identity with this number while it has this key, for keepalives from `to`.
    pub(super) fn issue(&self, number: u32, key: &[u8; 32], to: SocketAddr, now: UnixTime) -> KeepaliveToken {
        self.token(number, key, hour(now), to)
    }

    /// Whose token this is, and the key it was given to, if it was made here for `from` within a day. `key_of` gives the key that an identity
    /// has now: with another one its tokens are nothing.
    pub(super) fn identity_of(
        &self,
        token: &KeepaliveToken,
        from: SocketAddr,
        now: UnixTime,
        key_of: impl FnOnce(u32) -> Option<[u8; 32]>,
    ) -> Option<(u32, [u8; 32])> {
        let (number, rest) = token.split_first_chunk::<NUMBER>()?;
        let (issued, _) = rest.split_first_chunk::<HOUR>()?;
        let issued = u32::from_be_bytes([0, issued[0], issued[1], issued[2]]);
        // A clock set back makes no token invalid that was good before, and none good for longer than a day.
        if hour(now).abs_diff(issued) > LIFETIME {
            return None;
        }
        let number = u32::from_be_bytes(*number);
        let key = key_of(number)?;
        bool::from(self.token(number, &key, issued, from).ct_eq(token)).then_some((number, key))
    }

    fn token(&self, number: u32, key: &[u8; 32], hour: u32, address: SocketAddr) -> KeepaliveToken {
        let mut input = [0; CONTEXT.len() + NUMBER + HOUR + 18 + 32];
        let (context, rest) = input.split_at_mut(CONTEXT.len());
        context.copy_from_slice(CONTEXT);
        let (head, rest) = rest.split_at_mut(NUMBER + HOUR);
        head[..NUMBER].copy_from_slice(&number.to_be_bytes());
        head[NUMBER..].copy_from_slice(&hour.to_be_bytes()[1..]);
        rest[..18].copy_from_slice(&address_bytes(address));
        rest[18..].copy_from_slice(key);
        let mut token = [0; TOKEN];
        token[..NUMBER + HOUR].copy_from_slice(head);
        let hash = blake3::keyed_hash(&self.secret, &input);
        token[NUMBER + HOUR..].copy_from_slice(&hash.as_bytes()[..MAC]);
        token
    }
}

/// Hours since 1970, as far as three bytes carry them: 1 900 years.
fn hour(now: UnixTime) -> u32 {
    u32::try_from(now.as_secs() / 3600).unwrap_or(u32::MAX) & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    /// SECURITY R24: from elsewhere a token is nothing. R44: nor does a clock make one last. Nor is it of use to who has the key no more.
    #[test]
    fn a_token_holds_for_its_address_its_identity_its_key_and_a_day() {
        const KEY: [u8; 32] = [3; 32];
        let tokens = Tokens::new(Zeroizing::new([7; 32]));
        let address: SocketAddr = "203.0.113.9:40000".parse().expect("address");
        let token = tokens.issue(70_000, &KEY, address, NOW);
        let whose = |token: &KeepaliveToken, from, now| {
            let key_of = |number| (number == 70_000).then_some(KEY);
            tokens.identity_of(token, from, now, key_of).map(|(number, _)| number)
        };
        assert_eq!(whose(&token, address, NOW), Some(70_000));
        let later = |hours: u64| NOW.saturating_add(Duration::from_secs(3600 * hours));
        assert_eq!(whose(&token, address, later(24)), Some(70_000));
        assert_eq!(whose(&token, address, later(25)), None);
        assert_eq!(whose(&token, address, UnixTime::from_secs(0)), None);
        for other in ["203.0.113.9:40001", "203.0.113.8:40000"] {
            assert_eq!(whose(&token, other.parse().expect("address"), NOW), None, "{other}");
        }
        for at in 0..TOKEN {
            let mut altered = token;
            altered[at] ^= 1;
            assert_eq!(whose(&altered, address, NOW), None, "byte {at}");
        }
        // With another key, or none.
        assert_eq!(tokens.identity_of(&token, address, NOW, |_| Some([4; 32])), None);
        assert_eq!(tokens.identity_of(&token, address, NOW, |_| None), None);
        let others = Tokens::new(Zeroizing::new([8; 32]));
        assert_eq!(others.identity_of(&token, address, NOW, |_| Some(KEY)), None);
        // The same secret after a restart.
        let again = Tokens::new(Zeroizing::new([7; 32]));
        assert_eq!(again.identity_of(&token, address, NOW, |_| Some(KEY)), Some((70_000, KEY)));
    }
}
