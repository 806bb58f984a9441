//! Hexadecimal text, through a constant-time codec because secret keys pass here too.

/// Lower-case hex of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Exactly `2 · N` hex digits of any case, else `None`.
#[must_use]
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    base16ct::mixed::decode(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Hex digits of any case and any even number, else `None`.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    base16ct::mixed::decode_vec(text).ok()
}
