//! Pings inside a tunnel: sign once, then seal.
//!
//! A tunnel between two identities proves who speaks in it: its keys come from their verified records. So what travels inside needs no signature, no
//! names, no nonce and no time of its own, and costs a hundredth of a signed ping.
//!
//! Wire format: `docs/spec/sealed-ping.md`. Two frames of version 2, each with one encoding only:
//!
//! | kind | | bytes besides the frame's header |
//! |---|---|---|
//! | 32 | [`SealedPing`] | id 8, flags 1, intent, purpose, payload |
//! | 33 | [`SealedAnswer`] | id 8, verdict 1, trust 2, payload |
//!
//! Amplification (SECURITY R15) is not a question here, since the tunnel has proven the address; and yet an answer without payload is always
//! shorter than its ping.

mod answer;
pub use answer::SealedAnswer;
mod ping;
pub use ping::{Expects, MAX_INTENT, MAX_PURPOSE, SealedPing};

use std::borrow::Cow;

use tibet_core::json::Object;

use crate::codec::{self, EncodeError};
use crate::frame::{Frame, HEADER};
use crate::reject::Reject;

/// Longest frame of either kind, header included. With 48 bytes of UDP and IPv6 it fits the least MTU that IPv6 knows, which a tunnel has at any rate.
pub const MAX_SEALED: usize = 1200;

const PING: u8 = 32;
const ANSWER: u8 = 33;

/// What came through a tunnel. Its texts and its payload still lie in the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed<'a> {
    /// Somebody asks.
    Ping(SealedPing<'a>),
    /// Somebody answers.
    Answer(SealedAnswer<'a>),
}

impl<'a> Sealed<'a> {
    /// Reads a whole datagram. The payload is looked at only by [`SealedPing::payload`] and [`SealedAnswer::payload`].
    ///
    /// # Errors
    /// [`Reject`] for anything but the one encoding of a sealed ping or answer.
    pub fn read(datagram: &'a [u8]) -> Result<Self, Reject> {
        if datagram.len() > MAX_SEALED {
            return Err(Reject::TooLarge);
        }
        match Frame::read(datagram)? {
            Frame::Version2 { kind: PING, body } => SealedPing::read(body).map(Self::Ping),
            Frame::Version2 { kind: ANSWER, body } => SealedAnswer::read(body).map(Self::Answer),
            Frame::Version1 { .. } | Frame::Version2 { .. } => Err(Reject::BadVersion),
        }
    }
}

/// Writes a payload as [`SealedPing::payload_bytes`] and [`SealedAnswer::payload_bytes`] carry it: msgpack, and nothing for an empty map.
///
/// # Errors
/// [`EncodeError`] for a map that no reader takes.
pub(crate) fn write_payload(payload: &Object) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    if !payload.is_empty() {
        codec::write_map(&mut bytes, payload)?;
    }
    Ok(bytes)
}

fn read_payload(bytes: &[u8]) -> Result<Object, Reject> {
    if bytes.is_empty() {
        return Ok(Object::new());
    }
    let payload = codec::read_map(bytes)?;
    // An empty map has an encoding already: none.
    if payload.is_empty() { Err(Reject::BadMember("payload")) } else { Ok(payload) }
}

/// Joins the fixed part and the payload to a frame. Without a payload that is one allocation.
fn frame(kind: u8, fixed: &[u8], payload: &[u8]) -> Result<Vec<u8>, EncodeError> {
    if HEADER + fixed.len() + payload.len() > MAX_SEALED {
        return Err(EncodeError::Member("payload"));
    }
    let body = if payload.is_empty() { Cow::Borrowed(fixed) } else { Cow::Owned([fixed, payload].concat()) };
    Ok(Frame::Version2 { kind, body: &body }.write()?)
}

fn take<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Reject> {
    bytes.split_first_chunk().ok_or(Reject::BadMember("length"))
}
