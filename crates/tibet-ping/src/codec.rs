//! Bodies in JSON and msgpack.
//!
//! Both readers accept the same values, so a packet means the same in either encoding, and both are bounded the same way. Writing checks
//! the same bounds: nothing is sent that this reader would refuse.
//!
//! A body is read as a list of members whose texts still lie in the datagram, so that only what is kept is copied. It is written straight
//! into the buffer that is sent.

mod frame_writer;
pub(crate) use frame_writer::FrameWriter;
mod key_text;
pub(crate) use key_text::KeyText;
mod members;
pub(crate) use members::{Members, integer, is_short_text};
mod msgpack;
mod signature_text;
pub(crate) use signature_text::{SignatureText, is_signature, read_signature};

use tibet_core::json::{self, JsonErrorKind, MemberValue, Object, Outline, Value};

use crate::frame::{BodyTooLarge, Encoding, MAX_BODY};
use crate::reject::Reject;

/// Deepest nesting of a body; the map that is the packet counts one, its payload two. Six levels are left for what a payload holds
/// (SECURITY 3.2 row 19).
pub const MAX_DEPTH: usize = 8;
/// Most members in one map. Looking a name up in a map takes time in proportion to its members, so a map of n costs n².
pub const MAX_MAP_MEMBERS: usize = 256;
/// Most members in all maps of a body together: together with [`MAX_MAP_MEMBERS`] half a million comparisons at most, the time that
/// reading 64 KiB takes anyway.
pub const MAX_MEMBERS: usize = 4096;
/// Longest text of a member that is not payload, in bytes (SECURITY R46). Such a text holds no control characters either.
pub const MAX_TEXT: usize = 1024;

/// Why something cannot be written: each a value that a peer would refuse to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More than [`MAX_BODY`] bytes.
    #[error(transparent)]
    TooLarge(#[from] BodyTooLarge),
    /// Nested deeper than [`MAX_DEPTH`], or more members than [`MAX_MAP_MEMBERS`] or [`MAX_MEMBERS`].
    #[error("nested deeper than {MAX_DEPTH} levels, or too many members")]
    TooComplex,
    /// A float that is not finite.
    #[error("numbers must be finite")]
    NotFinite,
    /// An integer that msgpack cannot hold. It is refused in JSON too, so that a relay can write any packet in its own encoding.
    #[error("integers must be between -2^63 and 2^64 - 1")]
    Integer,
    /// The named member is longer than a reader takes, has more items, or holds control characters.
    #[error("member {0} is out of bounds")]
    Member(&'static str),
}

/// Counts what a body may have.
pub(crate) struct Budget {
    members_left: usize,
}

impl Budget {
    fn new() -> Self {
        Self { members_left: MAX_MEMBERS }
    }

    /// A list that stands inside `depth` others.
    fn open_list(&self, depth: usize) -> Result<(), Reject> {
        if depth < MAX_DEPTH { Ok(()) } else { Err(Reject::TooComplex) }
    }

    /// A map of `members` that stands inside `depth` others.
    fn open_map(&mut self, depth: usize, members: usize) -> Result<(), Reject> {
        self.open_list(depth)?;
        self.members_left = self.members_left.checked_sub(members).ok_or(Reject::TooComplex)?;
        if members <= MAX_MAP_MEMBERS { Ok(()) } else { Err(Reject::TooComplex) }
    }

    fn check(&mut self, value: &Value, depth: usize) -> Result<(), EncodeError> {
        match value {
            Value::Float(number) if !number.is_finite() => Err(EncodeError::NotFinite),
            Value::BigInteger(number) if number.as_str().parse::<u64>().is_err() => Err(EncodeError::Integer),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Text(_) => Ok(()),
            Value::BigInteger(_) | Value::Float(_) => Ok(()),
            Value::Array(items) => {
                self.open_list(depth).map_err(|_| EncodeError::TooComplex)?;
                items.iter().try_for_each(|item| self.check(item, depth + 1))
            }
            Value::Object(object) => self.check_object(object, depth),
        }
    }

    fn check_outline(&mut self, outline: &Outline<'_>) -> Result<(), EncodeError> {
        let members = match outline {
            Outline::Map(members) => members,
            Outline::Other(value) => return self.check(value, 0),
        };
        self.open_map(0, members.values().len()).map_err(|_| EncodeError::TooComplex)?;
        members.values().iter().try_for_each(|value| match value {
            MemberValue::Text(_) => Ok(()),
            MemberValue::Other(value) => self.check(value, 1),
        })
    }

    fn check_object(&mut self, object: &Object, depth: usize) -> Result<(), EncodeError> {
        self.open_map(depth, object.len()).map_err(|_| EncodeError::TooComplex)?;
        object.iter().try_for_each(|(_, value)| self.check(value, depth + 1))
    }
}

/// Reads a body as a map.
///
/// # Errors
/// [`Reject`], see its variants.
pub(crate) fn read_body(encoding: Encoding, body: &[u8]) -> Result<Members<'_>, Reject> {
    if body.len() > MAX_BODY {
        return Err(Reject::TooLarge);
    }
    let outline = match encoding {
        Encoding::Json => read_json(body)?,
        Encoding::Msgpack => msgpack::read(body)?,
    };
    match outline {
        Outline::Map(members) => Ok(Members::of(members)),
        Outline::Other(_) => Err(Reject::NotAMap),
    }
}

/// Reads a map that stands alone, in msgpack.
///
/// # Errors
/// [`Reject`], see its variants.
pub(crate) fn read_map(bytes: &[u8]) -> Result<Object, Reject> {
    msgpack::read_map(bytes)
}

/// Appends a map that stands alone, in msgpack.
///
/// # Errors
/// [`EncodeError`] for a map that [`read_map`] would refuse.
pub(crate) fn write_map(out: &mut Vec<u8>, map: &Object) -> Result<(), EncodeError> {
    Budget::new().check_object(map, 0)?;
    msgpack::write_object(out, map)
}

fn read_json(body: &[u8]) -> Result<Outline<'_>, Reject> {
    let outline = json::parse_outline(body).map_err(|error| match error.kind {
        JsonErrorKind::NotUtf8 => Reject::BadUtf8,
        JsonErrorKind::TooDeep => Reject::TooComplex,
        _ => Reject::BadJson,
    })?;
    match Budget::new().check_outline(&outline) {
        Ok(()) => Ok(outline),
        Err(EncodeError::TooComplex) => Err(Reject::TooComplex),
        Err(_) => Err(Reject::BadJson),
    }
}
