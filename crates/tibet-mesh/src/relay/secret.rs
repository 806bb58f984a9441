//! What nobody but the relay can compute: the ids of sessions, challenges, and which places names have in an [index](super::index::Index).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::frames::Challenge;
use crate::probe::Session;

/// How long a challenge lasts: the present and the last such time count.
const EPOCH: Duration = Duration::from_secs(60);

/// Of one start of the relay. Wiped when dropped, never printed.
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// What a device is to show next that receives something at this address: computed and not stored (SECURITY R13).
    pub(super) fn challenge(&self, session: &Session, address: SocketAddr, now: Duration) -> Challenge {
        self.challenge_of(session, address, now.as_secs() / EPOCH.as_secs())
    }

    /// Whether a device has received at this address what it shows, in this time or the last.
    pub(super) fn has_challenged(
        &self,
        session: &Session,
        address: SocketAddr,
        shown: &Challenge,
        now: Duration,
    ) -> bool {
        let epoch = now.as_secs() / EPOCH.as_secs();
        let mut asked = [Some(epoch), epoch.checked_sub(1)].into_iter().flatten();
        asked.any(|epoch| self.challenge_of(session, address, epoch).ct_eq(shown).into())
    }

    fn challenge_of(&self, session: &Session, address: SocketAddr, epoch: u64) -> Challenge {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut input = [0; 34];
        input[..8].copy_from_slice(session);
        input[8..24].copy_from_slice(&ip.octets());
        input[24..26].copy_from_slice(&address.port().to_be_bytes());
        input[26..].copy_from_slice(&epoch.to_be_bytes());
        self.number(b"challenge", &input)
    }

    /// What for comes first, and none of the three is the beginning of another.
    pub(super) fn number(&self, what_for: &[u8], input: &[u8]) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(what_for);
        hasher.update(input);
        let mut number = [0; 8];
        hasher.finalize_xof().fill(&mut number);
        number
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
