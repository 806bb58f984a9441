//! The one construction everything of ours is signed over (SECURITY R1, R2).
//!
//! ```text
//! M = tag ‖ 0x00 ‖ u16be(n) ‖ n × ( u32be(length) ‖ field )
//! ```
//!
//! The tag says what kind of object is signed, so no signature made for one purpose is valid for another. Integers are
//! 8 bytes big-endian. A list is one field that holds `u32be(length) ‖ item` for each item. The order of the fields is fixed
//! per tag and all are always present: there is exactly one M for an object, and M is also how the object is stored and sent.

use std::str;

/// The domain tags. Every kind of signed or hashed object has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tag {
    /// A device's endpoint record.
    Record,
    /// Certificate of an X25519 transport key.
    TransportKey,
    /// Inception: the first key event, which claims a name.
    NameClaim,
    /// A parent's permission to claim a name below its own.
    NameGrant,
    /// A one-time enrolment token.
    Enrol,
    /// Rotation to the next identity key.
    Rotate,
    /// Revocation of a key or a name.
    Revoke,
    /// A ping request.
    Ping,
    /// The answer to a ping.
    Pong,
    /// A query to an overlay node.
    Query,
    /// An overlay node's answer.
    Answer,
    /// Proof of possession, second version.
    Challenge,
    /// One identity vouching for another.
    Vouch,
    /// A discovery beacon.
    Beacon,
    /// Consent to be probed while punching a hole.
    Punch,
    /// A relay's grant to a device.
    RelayGrant,
    /// A device's request to open a relay.
    RelayOpen,
    /// A signed HTTP request.
    Http,
    /// A provenance token.
    Token,
}

impl Tag {
    /// Every tag, for tests that compare them pairwise.
    pub const ALL: [Self; 19] = [
        Self::Record,
        Self::TransportKey,
        Self::NameClaim,
        Self::NameGrant,
        Self::Enrol,
        Self::Rotate,
        Self::Revoke,
        Self::Ping,
        Self::Pong,
        Self::Query,
        Self::Answer,
        Self::Challenge,
        Self::Vouch,
        Self::Beacon,
        Self::Punch,
        Self::RelayGrant,
        Self::RelayOpen,
        Self::Http,
        Self::Token,
    ];

    /// The tag as it stands at the start of M.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "jis-record:v1",
            Self::TransportKey => "jis-transport-key:v1",
            Self::NameClaim => "jis-name-claim:v1",
            Self::NameGrant => "jis-name-grant:v1",
            Self::Enrol => "jis-enrol:v1",
            Self::Rotate => "jis-rotate:v1",
            Self::Revoke => "jis-revoke:v1",
            Self::Ping => "jis-ping:v1",
            Self::Pong => "jis-pong:v1",
            Self::Query => "jis-query:v1",
            Self::Answer => "jis-answer:v1",
            Self::Challenge => "jis-challenge:v2",
            Self::Vouch => "jis-vouch:v1",
            Self::Beacon => "jis-beacon:v1",
            Self::Punch => "jis-punch:v1",
            Self::RelayGrant => "jis-relay-grant:v1",
            Self::RelayOpen => "jis-relay-open:v1",
            Self::Http => "jis-http:v1",
            Self::Token => "tibet-token:v1",
        }
    }
}

/// Largest M that is written or read, in bytes. The largest object, a record with every list full, stays below 6 KiB.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("message longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// The bytes end before a declared length.
    #[error("message ends early")]
    Truncated,
    /// Bytes are left over after the last field.
    #[error("bytes left over after the last field")]
    Trailing,
    /// Another tag than expected: an object of another kind.
    #[error("object of another kind: its tag is not {}", .0.as_str())]
    WrongTag(Tag),
    /// The number of fields is not the one this tag has.
    #[error("wrong number of fields")]
    FieldCount,
    /// The named field is out of its bounds or not in its one allowed form.
    #[error("field {0} is out of bounds or malformed")]
    Field(&'static str),
}

/// Builds M field by field.
///
/// ```
/// use jis::{MessageWriter, Tag};
/// let m = MessageWriter::new(Tag::Vouch).text("jis:a").integer(7).finish();
/// assert_eq!(&m[..13], b"jis-vouch:v1\0");
/// assert_eq!(m[13..15], [0, 2]); // two fields
/// ```
#[derive(Debug)]
pub struct MessageWriter {
    bytes: Vec<u8>,
    count_at: usize,
    count: u16,
}

impl MessageWriter {
    /// Starts M with `tag`.
    #[must_use]
    pub fn new(tag: Tag) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(tag.as_str().as_bytes());
        bytes.push(0);
        let count_at = bytes.len();
        bytes.extend_from_slice(&[0, 0]);
        Self { bytes, count_at, count: 0 }
    }

    /// Adds a field of raw bytes.
    #[must_use]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        self.count += 1;
        push_item(&mut self.bytes, field);
        self
    }

    /// Adds a field of UTF-8 text.
    #[must_use]
    pub fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Adds an integer: 8 bytes big-endian.
    #[must_use]
    pub fn integer(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    /// Adds a list of items as one field.
    #[must_use]
    pub fn list<I: AsRef<[u8]>>(self, items: impl IntoIterator<Item = I>) -> Self {
        let mut field = Vec::new();
        for item in items {
            push_item(&mut field, item.as_ref());
        }
        self.bytes(&field)
    }

    /// The finished M.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_be_bytes());
        self.bytes
    }
}

fn push_item(out: &mut Vec<u8>, item: &[u8]) {
    let length = u32::try_from(item.len()).expect("fields are far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(item);
}

/// Takes M apart again, strictly: what is read here is exactly what [`MessageWriter`] writes.
#[derive(Debug)]
pub struct MessageReader<'a> {
    rest: &'a [u8],
    fields_left: u16,
}

impl<'a> MessageReader<'a> {
    /// Checks tag and field count. `fields` is the number of fields this tag has.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are too long, of another kind, or announce another number of fields.
    pub fn open(message: &'a [u8], tag: Tag, fields: u16) -> Result<Self, DecodeError> {
        if message.len() > MAX_MESSAGE {
            return Err(DecodeError::TooLong);
        }
        let rest = message
            .strip_prefix(tag.as_str().as_bytes())
            .and_then(|rest| rest.strip_prefix(&[0]))
            .ok_or(DecodeError::WrongTag(tag))?;
        let (count, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Truncated)?;
        if u16::from_be_bytes(*count) != fields {
            return Err(DecodeError::FieldCount);
        }
        Ok(Self { rest, fields_left: fields })
    }

    /// The next field as it is.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], or [`DecodeError::FieldCount`] when all announced fields were read.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.fields_left = self.fields_left.checked_sub(1).ok_or(DecodeError::FieldCount)?;
        take_item(&mut self.rest)
    }

    /// The next field, exactly `N` bytes long.
    ///
    /// # Errors
    /// As [`MessageReader::bytes`]; [`DecodeError::Field`] naming `field` for another length.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.bytes()?.try_into().map_err(|_| DecodeError::Field(field))
    }

    /// The next field as an integer of exactly 8 bytes, big-endian.
    ///
    /// # Errors
    /// As [`MessageReader::array`].
    pub fn integer(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// The next field as UTF-8 text of at most `max` bytes.
    ///
    /// # Errors
    /// As [`MessageReader::bytes`]; [`DecodeError::Field`] naming `field` when it is too long or not UTF-8.
    pub fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes()?;
        let text = str::from_utf8(bytes).map_err(|_| DecodeError::Field(field))?;
        if text.len() > max { Err(DecodeError::Field(field)) } else { Ok(text) }
    }

    /// The next field as a list of at most `max` items. The bound is checked before anything is stored.
    ///
    /// # Errors
    /// As [`MessageReader::bytes`]; [`DecodeError::Field`] naming `field` for too many items.
    pub fn list(&mut self, field: &'static str, max: usize) -> Result<Vec<&'a [u8]>, DecodeError> {
        let mut rest = self.bytes()?;
        let mut items = Vec::new();
        while !rest.is_empty() {
            if items.len() == max {
                return Err(DecodeError::Field(field));
            }
            items.push(take_item(&mut rest)?);
        }
        Ok(items)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::FieldCount`] when fields are unread, [`DecodeError::Trailing`] when bytes are left over.
    pub fn finish(self) -> Result<(), DecodeError> {
        match (self.fields_left, self.rest) {
            (0, []) => Ok(()),
            (0, _) => Err(DecodeError::Trailing),
            _ => Err(DecodeError::FieldCount),
        }
    }
}

fn take_item<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let (length, tail) = rest.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| DecodeError::Truncated)?;
    let (item, tail) = tail.split_at_checked(length).ok_or(DecodeError::Truncated)?;
    *rest = tail;
    Ok(item)
}
