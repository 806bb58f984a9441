//! Hashes that stand for identities, and the overlay address made from one.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::hex;
use crate::key::PublicKey;

/// Domain tag of the commitment to a next key (SECURITY R2, R38).
const NEXT_KEY: &[u8] = b"jis-next-key:v1\0";
/// Domain tag of the overlay address (SECURITY R2).
const ADDRESS: &[u8] = b"jis-addr6:v1\0";

/// The stable fingerprint of an identity: SHA-256 of the M of its inception event. Rotation changes the key and keeps this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of the identity that begins with this inception message.
    #[must_use]
    pub fn of_inception(message: &[u8]) -> Self {
        Self(Sha256::digest(message).into())
    }

    /// Takes 32 bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The overlay address of this identity in the named network: `fd`, 40 bits of SHA-256(network), 80 bits of
    /// SHA-256(`jis-addr6:v1` ‖ 0x00 ‖ fingerprint). A unique local address (RFC 4193), so it collides with no site's subnets and
    /// never with 100.64.0.0/10; 80 bits keep two identities of one network apart.
    #[must_use]
    pub fn overlay_address(&self, network: &str) -> Ipv6Addr {
        let network = Sha256::digest(network.as_bytes());
        let device = Sha256::new().chain_update(ADDRESS).chain_update(self.0).finalize();
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&network[..5]);
        octets[6..].copy_from_slice(&device[..10]);
        Ipv6Addr::from(octets)
    }
}

/// 64 lower-case hex digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = crate::KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode_array(text).map(Self).ok_or(crate::KeyError::Encoding)
    }
}

/// A promise to a key that is not shown yet: SHA-256(`jis-next-key:v1` ‖ 0x00 ‖ key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextKeyCommitment([u8; 32]);

impl NextKeyCommitment {
    /// Commits to `key`.
    #[must_use]
    pub fn to(key: &PublicKey) -> Self {
        Self(Sha256::new().chain_update(NEXT_KEY).chain_update(key.as_bytes()).finalize().into())
    }

    /// Takes 32 bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// SHA-256 of the M of an object, linking the next object to it.
#[must_use]
pub fn message_hash(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}
