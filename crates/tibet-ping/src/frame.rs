//! The frame: eight bytes that say what the rest of a datagram is.
//!
//! Wire format: `docs/spec/frame.md`. One datagram is one frame. Everything here is decided from the header and the length of the
//! datagram, before a byte of the body is looked at and without an allocation (SECURITY R12, R13).

use crate::reject::Reject;

/// First two bytes of every frame: `TP`.
pub const MAGIC: [u8; 2] = *b"TP";
/// Bytes before the body.
pub const HEADER: usize = 8;
/// Largest body, in bytes, read or written: what the Python packages write at most. UDP over IPv4 carries 65 499 of them.
pub const MAX_BODY: usize = 65_536;

const VERSION_1: u8 = 1;
const VERSION_2: u8 = 2;
const FLAG_RESPONSE: u8 = 0b01;
const FLAG_MSGPACK: u8 = 0b10;

/// How a version 1 body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON, in ASCII when written here.
    Json,
    /// msgpack.
    Msgpack,
}

/// What a version 1 body is. The flag decides before anything is parsed, so that an answer can never elicit an answer (SECURITY R16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request packet.
    Packet,
    /// A response.
    Response,
}

/// A datagram whose header is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Version 1: a packet or a response, wire-compatible with the Python packages.
    Version1 {
        /// What the body is.
        kind: Kind,
        /// How it is written.
        encoding: Encoding,
        /// The body, at most [`MAX_BODY`] bytes.
        body: &'a [u8],
    },
    /// Version 2: our own compact binary kinds, which version 1 peers drop. Handed out as they are.
    Version2 {
        /// What the body is, 1 to 255. Kind 0 does not exist.
        kind: u8,
        /// The body, at most [`MAX_BODY`] bytes.
        body: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Reject`], for the first of: shorter than the header, magic, version, flags, declared length too large, datagram shorter
    /// or longer than declared. Checked in this order (SECURITY R12).
    pub fn read(datagram: &'a [u8]) -> Result<Self, Reject> {
        let (header, body) = datagram.split_first_chunk::<HEADER>().ok_or(Reject::TruncatedHeader)?;
        let [magic_0, magic_1, version, flags, length @ ..] = *header;
        if [magic_0, magic_1] != MAGIC {
            return Err(Reject::BadMagic);
        }
        match (version, flags) {
            (VERSION_1, f) if f & !(FLAG_RESPONSE | FLAG_MSGPACK) != 0 => return Err(Reject::BadFlags),
            (VERSION_1, _) | (VERSION_2, 1..) => {}
            _ => return Err(Reject::BadVersion),
        }
        let declared = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Reject::TooLarge)?;
        if declared > MAX_BODY {
            return Err(Reject::TooLarge);
        }
        if body.len() < declared {
            return Err(Reject::TruncatedPayload);
        }
        if body.len() > declared {
            return Err(Reject::TrailingBytes);
        }
        if version == VERSION_2 {
            return Ok(Self::Version2 { kind: flags, body });
        }
        let kind = if flags & FLAG_RESPONSE == 0 { Kind::Packet } else { Kind::Response };
        let encoding = if flags & FLAG_MSGPACK == 0 { Encoding::Json } else { Encoding::Msgpack };
        Ok(Self::Version1 { kind, encoding, body })
    }

    /// Writes the frame.
    ///
    /// # Errors
    /// [`BodyTooLarge`] for a body of more than [`MAX_BODY`] bytes.
    pub fn write(&self) -> Result<Vec<u8>, BodyTooLarge> {
        let (version, flags, body) = match *self {
            Self::Version1 { kind, encoding, body } => {
                let response = if kind == Kind::Response { FLAG_RESPONSE } else { 0 };
                let msgpack = if encoding == Encoding::Msgpack { FLAG_MSGPACK } else { 0 };
                (VERSION_1, response | msgpack, body)
            }
            Self::Version2 { kind, body } => (VERSION_2, kind, body),
        };
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BODY);
        let length = length.ok_or(BodyTooLarge(body.len()))?;
        let mut datagram = Vec::with_capacity(HEADER + body.len());
        datagram.extend_from_slice(&MAGIC);
        datagram.extend_from_slice(&[version, flags]);
        datagram.extend_from_slice(&length.to_be_bytes());
        datagram.extend_from_slice(body);
        Ok(datagram)
    }
}

/// A body of this many bytes does not fit a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("body of {0} bytes; a frame carries at most {MAX_BODY}")]
pub struct BodyTooLarge(pub usize);
