//! Signatures as members: 128 hex digits.
//!
//! A signature is public, so unlike [`jis::hex`], which secret keys pass too, this need not take the same time for all digits. There are no
//! look-ups and no branches in here all the same: that is what compilers make vector code of.

use jis::Signature;

const DIGITS: usize = 128;
/// No digit: more than any digit's value.
const NONE: u8 = 16;

/// Whether the text is a signature, in digits of any case.
pub(crate) fn is_signature(text: &str) -> bool {
    text.as_bytes().try_into().is_ok_and(|digits: &[u8; DIGITS]| are_digits(&digits.map(value)))
}

/// Reads a signature in digits of any case.
pub(crate) fn read_signature(text: &str) -> Option<Signature> {
    let digits: &[u8; DIGITS] = text.as_bytes().try_into().ok()?;
    let values = digits.map(value);
    if !are_digits(&values) {
        return None;
    }
    let mut bytes = [0; 64];
    for (byte, [high, low]) in bytes.iter_mut().zip(values.as_chunks().0) {
        *byte = high << 4 | low;
    }
    Some(Signature::from_bytes(bytes))
}

fn are_digits(values: &[u8; DIGITS]) -> bool {
    values.iter().fold(0, |all, value| all | value) < NONE
}

fn value(digit: u8) -> u8 {
    let decimal = digit.wrapping_sub(b'0');
    let letter = (digit | 0x20).wrapping_sub(b'a');
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        NONE
    }
}

/// A signature's text, in lower case.
pub(crate) struct SignatureText([u8; DIGITS]);

impl SignatureText {
    pub(crate) fn of(signature: &Signature) -> Self {
        let mut text = [0; DIGITS];
        for ([high, low], byte) in text.as_chunks_mut().0.iter_mut().zip(signature.as_bytes()) {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0x0f));
        }
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Hex digits are ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' - 10 + value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_general_coder() {
        for first in 0..=255_u8 {
            let mut bytes = [0; 64];
            bytes.iter_mut().zip(0_u8..).for_each(|(byte, n)| *byte = first.wrapping_add(n.wrapping_mul(37)));
            let signature = Signature::from_bytes(bytes);
            let text = SignatureText::of(&signature);
            assert_eq!(text.as_str(), signature.to_string());
            assert_eq!(read_signature(text.as_str()), Some(signature));
            assert_eq!(read_signature(&text.as_str().to_uppercase()), Some(signature));
        }
    }

    #[test]
    fn only_digits_are_read() {
        for byte in 0..0x80_u8 {
            for place in [0, 1, 77, 127] {
                let mut text = [b'0'; DIGITS];
                text[place] = byte;
                let text = str::from_utf8(&text).expect("ASCII");
                assert_eq!(is_signature(text), byte.is_ascii_hexdigit(), "{byte} at {place}");
                assert_eq!(read_signature(text), text.parse().ok(), "{byte} at {place}");
            }
        }
        for length in [0, 126, 127, 129, 130] {
            assert!(!is_signature(&"0".repeat(length)));
            assert_eq!(read_signature(&"0".repeat(length)), None);
        }
        assert!(!is_signature(&"é".repeat(64)));
    }
}
