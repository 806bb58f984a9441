//! Why a datagram is dropped.

use std::fmt;

/// Why a datagram is not a packet or response that is read here. Nothing is ever sent back for one (SECURITY R16, R20); the class
/// is for a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// Shorter than the header.
    TruncatedHeader,
    /// Does not begin with `TP`.
    BadMagic,
    /// Neither version 1 nor a kind of version 2.
    BadVersion,
    /// A flag bit that has no meaning is set. Python ignores these.
    BadFlags,
    /// Declares a body larger than [`MAX_BODY`](crate::frame::MAX_BODY).
    TooLarge,
    /// Shorter than it declares.
    TruncatedPayload,
    /// Longer than it declares. Python ignores what is left over.
    TrailingBytes,
    /// A text that is not UTF-8.
    BadUtf8,
    /// The body is not strict JSON.
    BadJson,
    /// The body is not strict msgpack.
    BadMsgpack,
    /// Nested too deep, or too many members. Python reads these.
    TooComplex,
    /// The body is not a map.
    NotAMap,
    /// The named required member is missing.
    MissingField(&'static str),
    /// The named member is none of the words or numbers it may be.
    BadEnum(&'static str),
    /// The named member has another type, or lies outside its bounds. Python does not look.
    BadMember(&'static str),
}

impl Reject {
    /// The class in words fit for a counter: one of a fixed few, whatever a peer sends.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TruncatedHeader => "truncated_header",
            Self::BadMagic => "bad_magic",
            Self::BadVersion => "bad_version",
            Self::BadFlags => "bad_flags",
            Self::TooLarge => "too_large",
            Self::TruncatedPayload => "truncated_payload",
            Self::TrailingBytes => "trailing_bytes",
            Self::BadUtf8 => "bad_utf8",
            Self::BadJson => "bad_json",
            Self::BadMsgpack => "bad_msgpack",
            Self::TooComplex => "too_complex",
            Self::NotAMap => "not_a_map",
            Self::MissingField(_) => "missing_field",
            Self::BadEnum(_) => "bad_enum",
            Self::BadMember(_) => "bad_member",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::MissingField(member) | Self::BadEnum(member) | Self::BadMember(member) => {
                write!(f, " ({member})")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Reject {}
