//! Writing a frame, member by member, into the buffer that is sent.

use tibet_core::json::{self, Object, Order, Separators, Value};

use crate::codec::{Budget, EncodeError, msgpack};
use crate::frame::{BodyTooLarge, Encoding, Frame, HEADER, Kind, MAX_BODY};

/// Room for a frame of ordinary size, so that the buffer never grows.
const ORDINARY: usize = 1024;

/// Where the header says how long the body is.
const LENGTH: std::ops::Range<usize> = 4..HEADER;

/// A frame under construction. The members are written in the order of the calls; their names are plain ASCII and differ.
pub(crate) struct FrameWriter {
    out: Out,
    budget: Budget,
}

/// The frame so far, with a header that says there is no body until the length is known.
enum Out {
    /// Text throughout: the header of an empty body is ASCII.
    Json(String),
    Msgpack(Vec<u8>),
}

impl FrameWriter {
    /// Begins a body of so many members, which are far fewer than there may be.
    ///
    /// # Errors
    /// None in practice: those of a frame without a body.
    pub(crate) fn new(kind: Kind, encoding: Encoding, members: usize) -> Result<Self, EncodeError> {
        let mut budget = Budget::new();
        budget.open_map(0, members).map_err(|_| EncodeError::TooComplex)?;
        let mut frame = Vec::with_capacity(ORDINARY);
        frame.extend_from_slice(&Frame::Version1 { kind, encoding, body: &[] }.write()?);
        let out = match encoding {
            Encoding::Json => Out::Json(String::from_utf8(frame).unwrap_or_default()),
            Encoding::Msgpack => {
                msgpack::write_map_head(&mut frame, members);
                Out::Msgpack(frame)
            }
        };
        Ok(Self { out, budget })
    }

    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        match &mut self.out {
            Out::Json(out) => json::write_text_into(out, text),
            Out::Msgpack(out) => msgpack::write_text(out, text),
        }
    }

    pub(crate) fn optional_text(&mut self, name: &'static str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    /// A number below 2⁵³.
    pub(crate) fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        let number = number.cast_signed();
        match &mut self.out {
            Out::Json(out) => json::write_integer_into(out, number),
            Out::Msgpack(out) => msgpack::write_integer(out, number),
        }
    }

    /// # Errors
    /// [`EncodeError::NotFinite`].
    pub(crate) fn float(&mut self, name: &'static str, number: f64) -> Result<(), EncodeError> {
        self.value(name, &Value::Float(number))
    }

    /// # Errors
    /// [`EncodeError`] for a map that is nested too deep, has too many members, or holds a number that cannot be written.
    pub(crate) fn map(&mut self, name: &'static str, map: &Object) -> Result<(), EncodeError> {
        self.budget.check_object(map, 1)?;
        self.name(name);
        match &mut self.out {
            Out::Json(out) => json::write_object_into(out, map, Separators::Compact, Order::Inserted),
            Out::Msgpack(out) => msgpack::write_object(out, map)?,
        }
        Ok(())
    }

    pub(crate) fn texts(&mut self, name: &'static str, texts: &[String]) {
        self.name(name);
        match &mut self.out {
            Out::Json(out) => {
                out.push('[');
                for (n, text) in texts.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    json::write_text_into(out, text);
                }
                out.push(']');
            }
            Out::Msgpack(out) => {
                msgpack::write_array_head(out, texts.len());
                texts.iter().for_each(|text| msgpack::write_text(out, text));
            }
        }
    }

    pub(crate) fn null(&mut self, name: &'static str) {
        self.name(name);
        match &mut self.out {
            Out::Json(out) => out.push_str("null"),
            Out::Msgpack(out) => out.push(msgpack::NULL),
        }
    }

    /// # Errors
    /// [`EncodeError::TooLarge`].
    pub(crate) fn finish(self) -> Result<Vec<u8>, EncodeError> {
        let mut frame = match self.out {
            // No message is without members.
            Out::Json(mut text) => {
                text.push('}');
                let mut frame = text.into_bytes();
                frame[HEADER] = b'{';
                frame
            }
            Out::Msgpack(bytes) => bytes,
        };
        let body = frame.len() - HEADER;
        let length = u32::try_from(body).ok().filter(|_| body <= MAX_BODY).ok_or(BodyTooLarge(body))?;
        frame[LENGTH].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    fn value(&mut self, name: &'static str, value: &Value) -> Result<(), EncodeError> {
        self.budget.check(value, 1)?;
        self.name(name);
        match &mut self.out {
            Out::Json(out) => json::write_into(out, value, Separators::Compact, Order::Inserted),
            Out::Msgpack(out) => msgpack::write(out, value)?,
        }
        Ok(())
    }

    #[inline]
    fn name(&mut self, name: &'static str) {
        match &mut self.out {
            Out::Json(out) => {
                // The first of these commas becomes the opening brace.
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
            }
            Out::Msgpack(out) => msgpack::write_text(out, name),
        }
    }
}
