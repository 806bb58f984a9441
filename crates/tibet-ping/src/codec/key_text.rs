//! Keys as members: `z6Mk…`, base58btc of `0xed01` and the 32 bytes.
//!
//! The same text as [`PublicKey::to_multibase`] makes, in a tenth of the time: a general base58 coder works digit by digit, and would
//! take longer than all the rest of a packet. Here the length is known, and ten digits are one multiplication. Keys are public, so none
//! of this need be constant in time.

use jis::PublicKey;

/// `z`, and as many digits as any number of 34 bytes takes that begins with `0xed01`.
const TEXT: usize = 48;
/// What stands above the 256 bits of the key.
const MULTICODEC: u64 = 0xed01;
const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Digits that are found together: 58⁵ fits 32 bits.
const GROUP: usize = 5;
const GROUP_VALUE: u64 = 58_u64.pow(GROUP as u32);
/// Groups that 47 digits make, the least first.
const GROUPS: usize = 10;
/// Words of 32 bits in a key.
const WORDS: usize = 8;
/// The powers of 2³² in base 58⁵.
const POWERS: [[u32; GROUPS]; WORDS + 1] = powers();
/// No digit.
const NONE: u8 = u8::MAX;
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < DIGITS.len() {
        values[DIGITS[at] as usize] = at as u8;
        at += 1;
    }
    values
}

/// Reads a key in its one spelling.
pub(crate) fn read(text: &str) -> Option<PublicKey> {
    let text: &[u8; TEXT] = text.as_bytes().try_into().ok()?;
    let [b'z', digits @ ..] = text else { return None };
    // The number in 64-bit words, the least first: 58⁴⁷ stays below 2²⁷⁶.
    let mut words = [0_u64; 5];
    for group in digits.rchunks(10).rev() {
        let (mut factor, mut value) = (1, 0);
        for digit in group {
            let digit = VALUES[usize::from(*digit)];
            if digit == NONE {
                return None;
            }
            (factor, value) = (factor * 58, value * 58 + u64::from(digit));
        }
        multiply_add(&mut words, factor, value);
    }
    let [rest @ .., MULTICODEC] = words else { return None };
    let mut key = [0; 32];
    for (bytes, word) in key.rchunks_exact_mut(8).zip(rest) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    PublicKey::from_bytes(&key).ok()
}

fn multiply_add(words: &mut [u64; 5], factor: u64, value: u64) {
    let mut carry = value;
    for word in words {
        let product = u128::from(*word) * u128::from(factor) + u128::from(carry);
        (*word, carry) = (product as u64, (product >> 64) as u64);
    }
}

/// The key's text.
pub(crate) struct KeyText([u8; TEXT]);

impl KeyText {
    pub(crate) fn of(key: &PublicKey) -> Self {
        // The number as a sum of powers of 2³², each a known number in base 58⁵: nothing has to be divided but the sums.
        let mut groups = POWERS[WORDS].map(|group| u64::from(group) * MULTICODEC);
        for (power, bytes) in POWERS.iter().zip(key.as_bytes().as_chunks::<4>().0.iter().rev()) {
            let word = u32::from_be_bytes(*bytes);
            for (group, part) in groups.iter_mut().zip(power) {
                // Below 2⁶⁴, as is asserted below; checked additions would be most of the work.
                *group = group.wrapping_add(u64::from(word) * u64::from(*part));
            }
        }
        let mut text = [b'z'; TEXT];
        let mut carry = 0;
        for (digits, group) in text[1..].rchunks_mut(GROUP).zip(groups) {
            let sum = group + carry;
            carry = sum / GROUP_VALUE;
            let mut value = (sum % GROUP_VALUE) as u32;
            for digit in digits.iter_mut().rev() {
                *digit = DIGITS[(value % 58) as usize];
                value /= 58;
            }
        }
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Base58 digits are ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

const fn powers() -> [[u32; GROUPS]; WORDS + 1] {
    let mut powers = [[0; GROUPS]; WORDS + 1];
    powers[0][0] = 1;
    let mut word = 1;
    while word <= WORDS {
        let (mut group, mut carry) = (0, 0);
        while group < GROUPS {
            let value = ((powers[word - 1][group] as u64) << 32) + carry;
            powers[word][group] = (value % GROUP_VALUE) as u32;
            carry = value / GROUP_VALUE;
            group += 1;
        }
        word += 1;
    }
    powers
}

/// The sums and what is carried from one to the next fit 64 bits for the greatest key.
const _: () = {
    let mut group = 0;
    while group < GROUPS {
        let mut sum = POWERS[WORDS][group] as u128 * MULTICODEC as u128 + (1 << 40);
        let mut word = 0;
        while word < WORDS {
            sum += POWERS[word][group] as u128 * u32::MAX as u128;
            word += 1;
        }
        assert!(sum < 1 << 64);
        group += 1;
    }
};

#[cfg(test)]
mod tests {
    use jis::SecretKey;

    use super::*;

    fn keys() -> impl Iterator<Item = PublicKey> {
        (1..200_u64).map(|n| {
            let mut seed = [0x77; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            SecretKey::from_seed(seed.into()).expect("seed").public_key()
        })
    }

    #[test]
    fn the_text_is_that_of_the_general_coder() {
        for key in keys() {
            let text = KeyText::of(&key);
            assert_eq!(text.as_str(), key.to_multibase());
            assert_eq!(read(text.as_str()), Some(key));
        }
    }

    /// SECURITY 3.2 row 26: one key, one text.
    #[test]
    fn nothing_else_is_a_key() {
        for key in keys().take(20) {
            let text = key.to_multibase();
            for at in 0..text.len() {
                for byte in ["1", "0", "I", "O", "l", "z", "2", " ", "é", ""] {
                    let changed = format!("{}{byte}{}", &text[..at], &text[at + 1..]);
                    let general = changed.parse::<PublicKey>().ok();
                    let general = general.filter(|key| key.to_multibase() == changed);
                    assert_eq!(read(&changed), general, "{changed}");
                }
            }
            for other in ["", "z", &text[1..], &format!("{text}1"), &format!("z1{}", &text[1..])] {
                assert_eq!(read(other), None, "{other}");
            }
            // Hex, which a key may be written in elsewhere.
            assert_eq!(read(&jis::hex::encode(key.as_bytes())), None);
        }
        // The largest number of 47 digits, far above 34 bytes.
        assert_eq!(read(&"z".repeat(TEXT)), None);
    }
}
