//! Field types that are valid by construction, and their readers.

use std::fmt;
use std::str::FromStr;

use crate::key::PublicKey;
use crate::message::{DecodeError, MessageReader};
use crate::name::{MAX_NAME, Name, NamePattern};
use crate::time::UnixTime;

/// A few words for people: at most 200 bytes, without the control and direction characters that could forge a line of a log
/// or a terminal (SECURITY R46, R49).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remark(Box<str>);

impl Remark {
    /// Longest remark, in bytes.
    pub const MAX: usize = 200;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is too long for its field or holds characters that may not stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// More than 200 bytes in a remark, or more than 64 in a capability.
    #[error("text is too long: a remark has at most {} bytes, a capability {}", Remark::MAX, Capability::MAX)]
    TooLong,
    /// A control or direction character in a remark.
    #[error("control and text-direction characters are not allowed")]
    Control,
    /// A capability outside its grammar.
    #[error(
        "a capability is 1 to {} characters of a-z, 0-9, '.', '_', '-', '/' and begins with a letter or digit",
        Capability::MAX
    )]
    Capability,
}

impl FromStr for Remark {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.len() > Self::MAX {
            return Err(TextError::TooLong);
        }
        if text.contains(is_deceptive) { Err(TextError::Control) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Controls, and the invisible characters that reorder or hide text.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Something a device offers, such as `mqtt` or `temperature.read`: `[a-z0-9][a-z0-9._/-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(Box<str>);

impl Capability {
    /// Longest capability, in bytes.
    pub const MAX: usize = 64;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Capability {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let allowed = |b: u8| plain(b) || matches!(b, b'.' | b'_' | b'-' | b'/');
        if text.len() > Self::MAX {
            return Err(TextError::TooLong);
        }
        match text.as_bytes() {
            [first, rest @ ..] if plain(*first) && rest.iter().all(|&b| allowed(b)) => Ok(Self(text.into())),
            _ => Err(TextError::Capability),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

pub(crate) fn read_name(message: &mut MessageReader<'_>, field: &'static str) -> Result<Name, DecodeError> {
    read_parsed(message, field, MAX_NAME)
}

/// A pattern is at most a name and `:**`.
pub(crate) fn read_pattern(
    message: &mut MessageReader<'_>,
    field: &'static str,
) -> Result<NamePattern, DecodeError> {
    read_parsed(message, field, MAX_NAME + 3)
}

pub(crate) fn read_remark(
    message: &mut MessageReader<'_>,
    field: &'static str,
) -> Result<Remark, DecodeError> {
    read_parsed(message, field, Remark::MAX)
}

fn read_parsed<T: FromStr>(
    message: &mut MessageReader<'_>,
    field: &'static str,
    max: usize,
) -> Result<T, DecodeError> {
    message.text(field, max)?.parse().map_err(|_| DecodeError::Field(field))
}

/// Items of a list field, each read by `T`'s own rules.
pub(crate) fn read_list<T: FromStr>(
    message: &mut MessageReader<'_>,
    field: &'static str,
    max: usize,
) -> Result<Vec<T>, DecodeError> {
    let parse = |item: &[u8]| std::str::from_utf8(item).ok().and_then(|text| text.parse().ok());
    message.list(field, max)?.into_iter().map(|item| parse(item).ok_or(DecodeError::Field(field))).collect()
}

pub(crate) fn read_key(
    message: &mut MessageReader<'_>,
    field: &'static str,
) -> Result<PublicKey, DecodeError> {
    PublicKey::from_bytes(&message.array(field)?).map_err(|_| DecodeError::Field(field))
}

/// Stands for a 32-byte value that is not there; as a key it would be of small order and is never valid.
pub(crate) const ABSENT: [u8; 32] = [0; 32];

/// A key that may be [`ABSENT`].
pub(crate) fn read_optional_key(
    message: &mut MessageReader<'_>,
    field: &'static str,
) -> Result<Option<PublicKey>, DecodeError> {
    match message.array(field)? {
        ABSENT => Ok(None),
        bytes => PublicKey::from_bytes(&bytes).map(Some).map_err(|_| DecodeError::Field(field)),
    }
}

pub(crate) fn read_time(
    message: &mut MessageReader<'_>,
    field: &'static str,
) -> Result<UnixTime, DecodeError> {
    UnixTime::from_millis(message.integer(field)?).ok_or(DecodeError::Field(field))
}

pub(crate) fn read_flag(message: &mut MessageReader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    match message.integer(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Field(field)),
    }
}
