//! Taking the members of a body out one by one, each with its type and bounds.

use std::borrow::Cow;

use jis::PublicKey;
use tibet_core::json::{self, MemberValue, Object, Value};

use crate::codec::{MAX_TEXT, key_text};
use crate::reject::Reject;

/// The members of a body. Each is taken once; what is left over at the end are unknown members, which are ignored.
pub(crate) struct Members<'a> {
    members: json::Members<'a>,
    /// Where the next one is looked for first: behind the last one found, where the next asked for stands if they were written in order.
    next: usize,
}

impl<'a> Members<'a> {
    pub(crate) fn of(members: json::Members<'a>) -> Self {
        Self { members, next: 0 }
    }

    /// Takes the member out; `None` when there is none.
    pub(crate) fn take(&mut self, name: &str) -> Option<MemberValue<'a>> {
        let at = self.find(name)?;
        self.members.take(at)
    }

    /// Whether all the named members are there.
    pub(crate) fn require(&mut self, names: &[&'static str]) -> Result<(), Reject> {
        for &name in names {
            self.find(name).ok_or(Reject::MissingField(name))?;
        }
        Ok(())
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        let (before, from) = self.members.names().split_at(self.next);
        let at = match from.iter().position(|member| member == name) {
            Some(at) => self.next + at,
            None => before.iter().position(|member| member == name)?,
        };
        self.next = at + 1;
        Some(at)
    }

    /// A short text; empty when it is missing.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<String, Reject> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(value) => short_text(value, name),
        }
    }

    /// A short text, or null, or missing.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, Reject> {
        match self.take(name) {
            None | Some(MemberValue::Other(Value::Null)) => Ok(None),
            Some(value) => short_text(value, name).map(Some),
        }
    }

    /// One of some words.
    pub(crate) fn word<T>(
        &mut self,
        name: &'static str,
        from_word: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Reject> {
        match self.take(name) {
            Some(MemberValue::Text(word)) => from_word(&word).ok_or(Reject::BadEnum(name)),
            _ => Err(Reject::BadEnum(name)),
        }
    }

    /// A map; empty when it is missing.
    pub(crate) fn map(&mut self, name: &'static str) -> Result<Object, Reject> {
        match self.take(name) {
            None => Ok(Object::new()),
            Some(MemberValue::Other(Value::Object(object))) => Ok(object),
            Some(_) => Err(Reject::BadMember(name)),
        }
    }

    /// An integer from 0 to 255.
    pub(crate) fn byte(&mut self, name: &'static str, missing: u8) -> Result<u8, Reject> {
        match self.take(name) {
            None => Ok(missing),
            Some(value) => integer(&value).and_then(|n| u8::try_from(n).ok()).ok_or(Reject::BadMember(name)),
        }
    }

    /// A list of at most `most` short texts; empty when it is missing.
    pub(crate) fn texts(&mut self, name: &'static str, most: usize) -> Result<Vec<String>, Reject> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(MemberValue::Other(Value::Array(items))) if items.len() <= most => items
                .into_iter()
                .map(|item| match item {
                    Value::Text(text) => short_text(MemberValue::Text(Cow::Owned(text)), name),
                    _ => Err(Reject::BadMember(name)),
                })
                .collect(),
            Some(_) => Err(Reject::BadMember(name)),
        }
    }

    /// A float, or null, or missing.
    pub(crate) fn float(&mut self, name: &'static str) -> Result<Option<f64>, Reject> {
        match self.take(name) {
            None | Some(MemberValue::Other(Value::Null)) => Ok(None),
            Some(MemberValue::Other(Value::Float(number))) => Ok(Some(number)),
            Some(_) => Err(Reject::BadMember(name)),
        }
    }

    /// An integer from 0 to 2⁵³ − 1, which must be there.
    pub(crate) fn number(&mut self, name: &'static str) -> Result<u64, Reject> {
        let value = self.take(name).ok_or(Reject::MissingField(name))?;
        let number = integer(&value).and_then(|n| u64::try_from(n).ok());
        number.filter(|n| *n < 1 << 53).ok_or(Reject::BadMember(name))
    }

    /// Whether the body says it is signed, by `sig_scheme`. A scheme that is not the one given is refused: were it taken for none,
    /// renaming it would strip a signature.
    pub(crate) fn scheme(&mut self, scheme: &str) -> Result<bool, Reject> {
        match self.take("sig_scheme") {
            None => Ok(false),
            Some(MemberValue::Text(text)) if text == scheme => Ok(true),
            Some(_) => Err(Reject::BadEnum("sig_scheme")),
        }
    }

    /// A key in its one spelling, `z6Mk…`; null and missing are no key.
    pub(crate) fn key(&mut self, name: &'static str) -> Result<Option<PublicKey>, Reject> {
        match self.take(name) {
            None | Some(MemberValue::Other(Value::Null)) => Ok(None),
            Some(MemberValue::Text(text)) => key_text::read(&text).map(Some).ok_or(Reject::BadMember(name)),
            Some(MemberValue::Other(_)) => Err(Reject::BadMember(name)),
        }
    }
}

/// The number, if the value is an integer of at most 64 bits.
pub(crate) fn integer(value: &MemberValue<'_>) -> Option<i64> {
    if let MemberValue::Other(Value::Integer(number)) = value { Some(*number) } else { None }
}

fn short_text(value: MemberValue<'_>, name: &'static str) -> Result<String, Reject> {
    match value {
        MemberValue::Text(text) if is_short_text(&text) => Ok(text.into_owned()),
        _ => Err(Reject::BadMember(name)),
    }
}

/// At most [`MAX_TEXT`] bytes and no control characters, which could forge a line of a log (SECURITY R46, R49).
pub(crate) fn is_short_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && (is_printable_ascii(text.as_bytes()) || !text.contains(char::is_control))
}

/// What nearly all texts are, seen eight bytes at a time.
fn is_printable_ascii(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The high bit is set by bytes from 0x80, by those below a blank, and by DEL. A byte may borrow from or carry to its neighbour only if
    // it sets its own, so that none goes unseen.
    let special = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        word | word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)
    };
    let marks = match text.last_chunk::<8>() {
        // The last word overlaps the one before.
        Some(last) => text.as_chunks::<8>().0.iter().fold(special(last), |marks, word| marks | special(word)),
        None => {
            let mut word = [b' '; 8];
            word[..text.len()].copy_from_slice(text);
            special(&word)
        }
    };
    marks & (ONES * 0x80) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY R46, R49.
    #[test]
    fn a_control_character_is_seen_wherever_it_stands() {
        for byte in 0..=0x7f_u8 {
            for length in 1..20 {
                for place in 0..length {
                    let mut text = [b'~'; 20];
                    text[place] = byte;
                    let text = str::from_utf8(&text[..length]).expect("ASCII");
                    assert_eq!(
                        is_short_text(text),
                        !byte.is_ascii_control(),
                        "{byte} at {place} of {length}"
                    );
                }
            }
        }
        for (text, fine) in
            [("", true), ("é温💡", true), ("abcdefgh\u{80}", false), ("\u{9f}", false), ("é\n", false)]
        {
            assert_eq!(is_short_text(text), fine, "{text:?}");
        }
        assert!(is_short_text(&"x".repeat(MAX_TEXT)));
        assert!(!is_short_text(&"x".repeat(MAX_TEXT + 1)));
    }
}
