//! Ed25519 identity keys and signatures (RFC 8032).
//!
//! A [`PublicKey`] is checked when it is made, so every key that exists inside the program is canonical and not of small
//! order. Verification is always the strict variant: plain RFC 8032 verification accepts, for some degenerate keys, any
//! message at all.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::hex;

/// Multicodec prefix of an Ed25519 public key (`0xed` as an unsigned varint), as in `did:key` and `Multikey`.
const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];

/// Why bytes or text are not a usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key is not 32 bytes long, or the signature not 64.
    #[error("wrong length: a key has 32 bytes, a signature 64")]
    Length,
    /// The text is not in one of the encodings read here.
    #[error("not a key encoding: expected z6Mk… (multibase), f… (multibase hex) or 64 hex digits")]
    Encoding,
    /// The bytes are no point of the curve, or not the canonical encoding of one.
    #[error("not a canonical Ed25519 public key")]
    NotCanonical,
    /// The point has small order: signatures under such a key can be valid for any message.
    #[error("weak Ed25519 public key (small order)")]
    Weak,
    /// All 32 bytes of a secret are the same, which no working random generator produces.
    #[error("degenerate secret key (all bytes equal)")]
    DegenerateSecret,
}

/// A signature does not verify: wrong key, altered message, or not a strict Ed25519 signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify under the expected key")]
pub struct BadSignature;

/// An Ed25519 public key: 32 bytes, canonical, not of small order.
#[derive(Clone, Copy)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks 32 bytes and makes a key of them.
    ///
    /// # Errors
    /// [`KeyError::NotCanonical`] or [`KeyError::Weak`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        recent::get_or_check(bytes, Self::check)
    }

    fn check(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_canonical_y(bytes) {
            return Err(KeyError::NotCanonical);
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotCanonical)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// The 32 bytes of the key (RFC 8032 §5.1.5).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Verifies `signature` over `message`, strictly (no small-order points, no malleable S).
    ///
    /// # Errors
    /// [`BadSignature`], whatever the reason: a caller must not act on the difference.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).map_err(|_| BadSignature)
    }

    /// The key as multibase base58btc text of `0xed01 ‖ key`: `z6Mk…`, 48 characters.
    #[must_use]
    pub fn to_multibase(&self) -> String {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&MULTICODEC_ED25519);
        bytes[2..].copy_from_slice(self.as_bytes());
        format!("z{}", bs58::encode(bytes).into_string())
    }
}

/// `y < 2^255 − 19`, the sign bit left aside. Non-canonical `x` (zero with the sign bit set) only occurs for points of
/// small order, which are refused as weak.
fn is_canonical_y(bytes: &[u8; 32]) -> bool {
    !(bytes[31] & 0x7f == 0x7f && bytes[1..31].iter().all(|&b| b == 0xff) && bytes[0] >= 0xed)
}

/// Keys that passed their check a moment ago. One request names the same key in several signed objects, and taking the root that
/// makes a point of 32 bytes costs a tenth of a verification each time. Public keys only; what the check says does not change.
mod recent {
    use std::cell::RefCell;

    use super::{KeyError, PublicKey};

    /// Keys remembered by each thread, about 3 KiB.
    const SLOTS: usize = 16;

    thread_local! {
        static SEEN: RefCell<[Option<PublicKey>; SLOTS]> = const { RefCell::new([None; SLOTS]) };
    }

    pub(super) fn get_or_check(
        bytes: &[u8; 32],
        check: impl FnOnce(&[u8; 32]) -> Result<PublicKey, KeyError>,
    ) -> Result<PublicKey, KeyError> {
        let slot = usize::from(bytes[0]) % SLOTS;
        if let Some(known) = SEEN.with_borrow(|seen| seen[slot]).filter(|known| known.as_bytes() == bytes) {
            return Ok(known);
        }
        let key = check(bytes)?;
        SEEN.with_borrow_mut(|seen| seen[slot] = Some(key));
        Ok(key)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_multibase())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Reads `z6Mk…` (multibase base58btc of `0xed01 ‖ key`), and for compatibility with jis-core `f` + 64 hex digits (no
/// multicodec prefix) or 64 bare hex digits, upper or lower case. Only the first form is ever written.
impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if let Some(rest) = text.strip_prefix('z') {
            let mut bytes = [0; 34];
            let length = bs58::decode(rest).onto(&mut bytes[..]).map_err(|_| KeyError::Encoding)?;
            if length != bytes.len() || bytes[..2] != MULTICODEC_ED25519 {
                return Err(KeyError::Encoding);
            }
            let mut key = [0; 32];
            key.copy_from_slice(&bytes[2..]);
            return Self::from_bytes(&key);
        }
        let digits = if text.len() == 65 { text.strip_prefix('f') } else { Some(text) };
        let key: [u8; 32] = digits.and_then(hex::decode_array).ok_or(KeyError::Encoding)?;
        Self::from_bytes(&key)
    }
}

/// An Ed25519 signature: 64 bytes, R ‖ S. Holding one says nothing about its validity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Takes 64 bytes as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes R ‖ S.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

/// Reads 128 hex digits in any case, the form jis-core and the provenance tokens use.
impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        hex::decode_array(text).map(Self).ok_or(KeyError::Encoding)
    }
}

/// An Ed25519 secret key. Wiped when dropped, never printed.
pub struct SecretKey {
    key: SigningKey,
    #[cfg(feature = "aws-lc")]
    fast: aws_lc_rs::signature::Ed25519KeyPair,
}

impl SecretKey {
    /// Makes a key of a 32-byte RFC 8032 seed. The caller draws it from the operating system's generator.
    ///
    /// # Errors
    /// [`KeyError::DegenerateSecret`] for a seed of 32 equal bytes: a broken generator, or an erased key file.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        if seed.iter().all(|&b| b == seed[0]) {
            return Err(KeyError::DegenerateSecret);
        }
        Ok(Self::from_seed_unchecked(&seed))
    }

    fn from_seed_unchecked(seed: &[u8; 32]) -> Self {
        Self {
            key: SigningKey::from_bytes(seed),
            #[cfg(feature = "aws-lc")]
            fast: aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(seed)
                .expect("any 32 bytes are an Ed25519 seed"),
        }
    }

    /// The seed, for writing a key file. The copy is wiped when dropped.
    #[must_use]
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public key that belongs to this secret.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// Signs raw bytes. Everything of our own is signed through [`crate::SignedObject`], which adds the domain tag; this is for
    /// foreign formats.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        #[cfg(feature = "aws-lc")]
        {
            let mut bytes = [0; 64];
            bytes.copy_from_slice(self.fast.sign(message).as_ref());
            Signature(bytes)
        }
        #[cfg(not(feature = "aws-lc"))]
        {
            use ed25519_dalek::Signer;
            Signature(self.key.sign(message).to_bytes())
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

/// Reads the 64 hex digits jis-core takes (any case). Degenerate seeds are read too: jis-core's published test keys are
/// such, and a key file goes through [`SecretKey::from_seed`].
impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(hex::decode_array(text).ok_or(KeyError::Encoding)?);
        Ok(Self::from_seed_unchecked(&seed))
    }
}
