//! Content hashes.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A shared secret that turns content hashes into HMAC-SHA256. At least one byte; wiped when dropped, never printed.
///
/// Whoever can check such a hash can also make one, so a key proves membership in a group and a signature proves who it was.
#[derive(Clone)]
pub struct HmacKey(Zeroizing<Vec<u8>>);

/// An HMAC key of no bytes, which the Python package takes to mean "no key".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an HMAC key has at least one byte")]
pub struct EmptyKey;

impl HmacKey {
    /// Takes the bytes of the key, of any length but zero.
    ///
    /// # Errors
    /// [`EmptyKey`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, EmptyKey> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.is_empty() { Err(EmptyKey) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(…)")
    }
}

/// Lower-case hex of SHA-256, or of HMAC-SHA256 when there is a key: 64 characters.
pub(crate) fn content_hash(input: &str, key: Option<&HmacKey>) -> String {
    match key {
        None => jis::hex::encode(&Sha256::digest(input)),
        Some(key) => {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes keys of any length");
            mac.update(input.as_bytes());
            jis::hex::encode(&mac.finalize().into_bytes())
        }
    }
}

/// Whether `text` is `digits` lower-case hex digits.
pub(crate) fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_nothing_and_is_not_empty() {
        assert_eq!(format!("{:?}", HmacKey::new(*b"secret").unwrap()), "HmacKey(…)");
        assert_eq!(HmacKey::new([]).unwrap_err(), EmptyKey);
    }
}
