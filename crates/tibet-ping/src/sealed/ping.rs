//! The ping inside a tunnel.

use tibet_core::json::Object;

use super::{PING, frame, read_payload, take};
use crate::codec::{EncodeError, is_short_text};
use crate::compact::ExchangeId;
use crate::reject::Reject;
use crate::words::Priority;

/// Longest intent, in bytes: as long as a capability.
pub const MAX_INTENT: usize = 64;
/// Longest purpose, in bytes: what its length byte can say.
pub const MAX_PURPOSE: usize = 255;

/// What the flags mean, from bit 0 on: priority 2 bits, what is waited for 2 bits. The others are zero.
const PRIORITY: u8 = 0b0000_0011;
const EXPECTS: u8 = 0b0000_1100;

/// What whoever asks waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expects {
    /// 0: nothing, so nothing is sent back.
    Nothing,
    /// 1: an answer now, though it be that a human decides later.
    Answer,
    /// 2: an answer now, and if that is `pending` the decision when it is made.
    Decision,
}

impl Expects {
    /// Whether anything is to be sent back at all.
    #[must_use]
    pub const fn an_answer(self) -> bool {
        matches!(self, Self::Answer | Self::Decision)
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Nothing),
            1 => Some(Self::Answer),
            2 => Some(Self::Decision),
            _ => None,
        }
    }
}

/// A ping as it travels inside a tunnel: kind 32. Who sends it and whom it is for, the tunnel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedPing<'a> {
    /// 8 random bytes, repeated in the answer.
    pub id: ExchangeId,
    /// How urgent it is.
    pub priority: Priority,
    /// What is waited for.
    pub expects: Expects,
    /// What is wanted: 1 to [`MAX_INTENT`] bytes in the grammar of capabilities, that is lower-case letters and digits, and after the first also `.`,
    /// `_`, `-` and `/`.
    pub intent: &'a str,
    /// Why, in words: at most [`MAX_PURPOSE`] bytes of UTF-8 without control characters.
    pub purpose: &'a str,
    /// What comes with it: a msgpack map that is not empty, or no bytes.
    pub payload_bytes: &'a [u8],
}

impl<'a> SealedPing<'a> {
    /// Reads the body of the frame.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Reject> {
        let (id, rest) = take(body)?;
        let ([flags], rest) = take(rest)?;
        let (intent, rest) = take_text(rest)?;
        let (purpose, payload_bytes) = take_text(rest)?;
        if flags & !(PRIORITY | EXPECTS) != 0 {
            return Err(Reject::BadFlags);
        }
        let priority = Priority::from_number((flags & PRIORITY).into()).ok_or(Reject::BadEnum("priority"))?;
        let expects =
            Expects::from_number(flags >> EXPECTS.trailing_zeros()).ok_or(Reject::BadEnum("expects"))?;
        if !is_intent(intent) {
            return Err(Reject::BadMember("intent"));
        }
        if !is_short_text(purpose) {
            return Err(Reject::BadMember("purpose"));
        }
        Ok(Self { id: *id, priority, expects, intent, purpose, payload_bytes })
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Reject`] for bytes that are not a msgpack map in its shortest form, and for an empty map.
    pub fn payload(&self) -> Result<Object, Reject> {
        read_payload(self.payload_bytes)
    }

    /// Writes the whole datagram.
    ///
    /// # Errors
    /// [`EncodeError::Member`] for an intent outside its grammar, a purpose that is too long or holds control characters, and a payload with which
    /// the frame would have more than [`MAX_SEALED`](crate::MAX_SEALED) bytes.
    pub fn write(&self) -> Result<Vec<u8>, EncodeError> {
        let Self { id, priority, expects, intent, purpose, payload_bytes } = *self;
        let purpose_len = u8::try_from(purpose.len()).ok().filter(|_| is_short_text(purpose));
        let purpose_len = purpose_len.ok_or(EncodeError::Member("purpose"))?;
        let intent_len = u8::try_from(intent.len()).ok().filter(|_| is_intent(intent));
        let intent_len = intent_len.ok_or(EncodeError::Member("intent"))?;
        let flags = priority.as_number() | (expects as u8) << EXPECTS.trailing_zeros();
        let mut fixed = Vec::with_capacity(id.len() + 3 + intent.len() + purpose.len());
        fixed.extend(id);
        fixed.push(flags);
        fixed.push(intent_len);
        fixed.extend(intent.as_bytes());
        fixed.push(purpose_len);
        fixed.extend(purpose.as_bytes());
        frame(PING, &fixed, payload_bytes)
    }
}

fn is_intent(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let allowed = |b: &u8| plain(*b) || matches!(b, b'.' | b'_' | b'-' | b'/');
    match text.as_bytes() {
        [first, rest @ ..] => plain(*first) && rest.len() < MAX_INTENT && rest.iter().all(allowed),
        [] => false,
    }
}

/// A length in one byte, and so much text.
fn take_text(bytes: &[u8]) -> Result<(&str, &[u8]), Reject> {
    let ([length], rest) = take(bytes)?;
    let (text, rest) = rest.split_at_checked((*length).into()).ok_or(Reject::BadMember("length"))?;
    Ok((std::str::from_utf8(text).map_err(|_| Reject::BadUtf8)?, rest))
}
