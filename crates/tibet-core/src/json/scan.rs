//! Telling plain text from special characters, eight bytes at a time.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// How many bytes at the start of `bytes` stand in a JSON string as they are: everything but `"`, `\` and U+0000 to U+001F.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let whole = words.len() * 8;
    whole + bytes[whole..].iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count()
}

/// Whether text can be written as it is: printable ASCII without `"` and `\`.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    // What a word says is exact as soon as it is asked about the word as a whole only.
    let beyond_ascii = |word: u64| (word | word.wrapping_add(ONES)) & HIGHS;
    let is = |word: u64| special(word) | beyond_ascii(word) == 0;
    match bytes.last_chunk::<8>() {
        // The last word overlaps the one before.
        Some(last) => {
            let (words, _) = bytes.as_chunks::<8>();
            words.iter().fold(is(u64::from_le_bytes(*last)), |all, word| all & is(u64::from_le_bytes(*word)))
        }
        None => {
            let mut word = [b' '; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            is(u64::from_le_bytes(word))
        }
    }
}

/// The high bit of each byte that is special. Bytes above the first such may be marked wrongly: subtracting borrows from them.
fn special(word: u64) -> u64 {
    let is = |byte: u8| {
        let zero_where_equal = word ^ (ONES * u64::from(byte));
        zero_where_equal.wrapping_sub(ONES) & !zero_where_equal
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (is(b'"') | is(b'\\') | control) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::{is_plain, plain_run};

    #[test]
    fn every_byte_at_every_place_ends_the_run_or_does_not() {
        for byte in 0..=255 {
            for place in 0..20 {
                for filler in [b' ', b'a', b'!', b'#', 0x80, 0xff] {
                    let mut text = [filler; 20];
                    text[place] = byte;
                    let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                    assert_eq!(plain_run(&text), if special { place } else { 20 }, "{byte} at {place}");
                }
            }
        }
    }

    #[test]
    fn every_byte_at_every_place_is_plain_or_not() {
        for byte in 0..=255 {
            for length in 1..20 {
                for place in 0..length {
                    let mut text = [b'~'; 20];
                    text[place] = byte;
                    let plain = (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&text[..length]), plain, "{byte} at {place} of {length}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn of_two_the_first_counts() {
        assert_eq!(plain_run(b"abc\"\"\\\n#"), 3);
        assert_eq!(plain_run(b"01234567 !\"#\""), 10);
        assert_eq!(plain_run(b""), 0);
    }
}
