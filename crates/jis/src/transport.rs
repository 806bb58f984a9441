//! X25519 transport keys for WireGuard, and their certificates.
//!
//! A transport key is generated on its own, never converted from the identity key (SECURITY R3), and certified by it.
//! Wire format: `docs/spec/transport-key.md`.

use std::fmt;
use std::time::Duration;

use x25519_dalek::{PublicKey as X25519Public, StaticSecret};
use zeroize::Zeroizing;

use crate::field::{read_key, read_name, read_time};
use crate::key::{KeyError, PublicKey};
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::signed::SignedObject;
use crate::time::UnixTime;

/// An X25519 public key (RFC 7748): 32 bytes, canonical, not of small order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransportKey([u8; 32]);

/// The canonical u-coordinates of small order, on the curve and its twist: 0, 1, the two of order 8, and −1. A key agreement
/// with one of them gives zero whatever the other side's key.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let zero = [0; 32];
    let mut one = zero;
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    [
        zero,
        one,
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
        minus_one,
    ]
};

impl TransportKey {
    /// Checks 32 bytes and makes a key of them.
    ///
    /// # Errors
    /// [`KeyError::NotCanonical`] for u ≥ 2^255 − 19, [`KeyError::Weak`] for a point of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let at_least_p = bytes[31] == 0x7f && bytes[1..31].iter().all(|&b| b == 0xff) && bytes[0] >= 0xed;
        if bytes[31] & 0x80 != 0 || at_least_p {
            return Err(KeyError::NotCanonical);
        }
        if SMALL_ORDER.contains(bytes) { Err(KeyError::Weak) } else { Ok(Self(*bytes)) }
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as multibase base58btc text of `0xec01 ‖ key`, as in a DID document's `keyAgreement`.
    #[must_use]
    pub fn to_multibase(&self) -> String {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&[0xec, 0x01]);
        bytes[2..].copy_from_slice(&self.0);
        format!("z{}", bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for TransportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportKey({})", self.to_multibase())
    }
}

/// An X25519 secret key. Wiped when dropped, never printed.
pub struct TransportSecret(StaticSecret);

impl TransportSecret {
    /// Makes a key of 32 random bytes. The caller draws them from the operating system's generator.
    ///
    /// # Errors
    /// [`KeyError::DegenerateSecret`] for 32 equal bytes.
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        if bytes.iter().all(|&b| b == bytes[0]) {
            return Err(KeyError::DegenerateSecret);
        }
        Ok(Self(StaticSecret::from(*bytes)))
    }

    /// The 32 bytes, for writing a key file. The copy is wiped when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The secret that the holder of `other` finds with our public key (RFC 7748 §6.1). Never zero: keys of small order are none.
    #[must_use]
    pub fn agree(&self, other: &TransportKey) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.diffie_hellman(&X25519Public::from(other.0)).to_bytes())
    }

    /// The public key that belongs to this secret.
    #[must_use]
    pub fn public_key(&self) -> TransportKey {
        TransportKey(X25519Public::from(&self.0).to_bytes())
    }
}

impl fmt::Debug for TransportSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportSecret(of {:?})", self.public_key())
    }
}

/// An identity's word that a transport key is its own for a time. Signed by the identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportCertificate {
    /// The identity's name.
    pub name: Name,
    /// The identity's generation.
    pub generation: u64,
    /// The identity's key.
    pub key: PublicKey,
    /// The key certified.
    pub transport_key: TransportKey,
    /// First moment of validity.
    pub not_before: UnixTime,
    /// Last moment of validity, at most 30 days later.
    pub not_after: UnixTime,
}

impl TransportCertificate {
    /// Longest validity (SECURITY R10).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

    /// Whether `now` lies within the validity, both ends included.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

impl SignedObject for TransportCertificate {
    const TAG: Tag = Tag::TransportKey;
    const FIELDS: u16 = 6;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .text(self.name.as_str())
            .integer(self.generation)
            .bytes(self.key.as_bytes())
            .bytes(self.transport_key.as_bytes())
            .integer(self.not_before.as_millis())
            .integer(self.not_after.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let certificate = Self {
            name: read_name(message, "name")?,
            generation: message.integer("generation")?,
            key: read_key(message, "key")?,
            transport_key: TransportKey::from_bytes(&message.array("transport_key")?)
                .map_err(|_| DecodeError::Field("transport_key"))?,
            not_before: read_time(message, "not_before")?,
            not_after: read_time(message, "not_after")?,
        };
        let too_long = certificate.not_after > certificate.not_before.saturating_add(Self::MAX_LIFETIME);
        if too_long || certificate.not_after <= certificate.not_before {
            return Err(DecodeError::Field("not_after"));
        }
        Ok(certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY 3.2 row 39, transport side.
    #[test]
    fn row_39_transport_keys_of_small_order_are_refused() {
        for point in SMALL_ORDER {
            // Independent of our list: the agreement with such a point is zero for any secret.
            assert_eq!(x25519_dalek::x25519([0x42; 32], point), [0; 32]);
            assert_eq!(TransportKey::from_bytes(&point), Err(KeyError::Weak));
        }
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        assert_eq!(TransportKey::from_bytes(&p), Err(KeyError::NotCanonical));
        assert_eq!(TransportKey::from_bytes(&[0x80; 32]), Err(KeyError::NotCanonical));
        assert!(TransportKey::from_bytes(&[9; 32]).is_ok());
    }

    #[test]
    fn two_sides_agree_on_the_secret_that_pyca_cryptography_computes() {
        let secret = |from: u8| {
            let bytes = Zeroizing::new(std::array::from_fn(|i| from + i as u8));
            TransportSecret::from_bytes(bytes).expect("secret")
        };
        let (alice, bob) = (secret(0), secret(32));
        let agreed = "9663aa1da97e848a914a436d04163dfbb89178f107f1b5b77ed3854203382854";
        assert_eq!(crate::hex::encode(&*alice.agree(&bob.public_key())), agreed);
        assert_eq!(crate::hex::encode(&*bob.agree(&alice.public_key())), agreed);
    }

    #[test]
    fn the_public_key_is_the_one_pyca_cryptography_computes() {
        let secret = Zeroizing::new(std::array::from_fn(|i| i as u8));
        let secret = TransportSecret::from_bytes(secret).expect("secret");
        assert_eq!(
            crate::hex::encode(secret.public_key().as_bytes()),
            "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"
        );
    }
}
