//! Keys for the tests in this crate.

use jis::TransportSecret;

/// The transport secret with this number.
pub(crate) fn secret(number: u8) -> TransportSecret {
    let mut bytes = [number; 32];
    bytes[0] ^= 1;
    TransportSecret::from_bytes(bytes.into()).expect("secret")
}
