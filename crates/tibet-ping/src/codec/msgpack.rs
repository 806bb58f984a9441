//! msgpack, strictly and in its one shortest form.
//!
//! A reader of our own, because the libraries at hand cannot be made strict: they take any width of an integer, extensions, binary
//! and integer keys, repeated keys and trailing bytes, and size vectors by the length a peer declares. Each of these lets one packet have many
//! encodings, or a few bytes ask for gigabytes. What TP needs of the format are eight kinds of values; that is this file.
//!
//! What is accepted is exactly what [`write`] writes, so `write ∘ read` is the identity on accepted bytes.

use std::borrow::Cow;

use tibet_core::json::{MemberValue, Members, NameFilter, Object, Outline, Value};

use crate::codec::{Budget, EncodeError};
use crate::reject::Reject;

/// Reads exactly one value.
///
/// # Errors
/// [`Reject::BadMsgpack`] for anything but the shortest form of the values of JSON: other widths, float32, bin, ext, keys that are no
/// text, repeated keys, floats that are not finite, bytes left over. [`Reject::BadUtf8`], [`Reject::TooComplex`].
pub(super) fn read(bytes: &[u8]) -> Result<Outline<'_>, Reject> {
    let mut reader = Reader { rest: bytes, budget: Budget::new() };
    let [marker] = reader.take()?;
    let outline = match reader.map_length(marker)? {
        Some(length) => Outline::Map(reader.outlined_members(length)?),
        None => Outline::Other(reader.value_after(marker, 0)?),
    };
    if reader.rest.is_empty() { Ok(outline) } else { Err(Reject::BadMsgpack) }
}

/// Reads exactly one map.
///
/// # Errors
/// As [`read`], and [`Reject::NotAMap`].
pub(super) fn read_map(bytes: &[u8]) -> Result<Object, Reject> {
    let mut reader = Reader { rest: bytes, budget: Budget::new() };
    let [marker] = reader.take()?;
    let length = reader.map_length(marker)?.ok_or(Reject::NotAMap)?;
    let map = reader.map(length, 0)?;
    if reader.rest.is_empty() { Ok(map) } else { Err(Reject::BadMsgpack) }
}

/// Members that the outline has room for from the start: those of a signed request.
const OUTLINED: usize = 24;

struct Reader<'a> {
    rest: &'a [u8],
    budget: Budget,
}

impl<'a> Reader<'a> {
    /// Reads a value that stands inside `depth` maps and lists.
    fn value(&mut self, depth: usize) -> Result<Value, Reject> {
        let [marker] = self.take()?;
        self.value_after(marker, depth)
    }

    /// The rest of a value, its marker being read.
    fn value_after(&mut self, marker: u8, depth: usize) -> Result<Value, Reject> {
        if let Some(text) = self.text_after(marker)? {
            return Ok(Value::Text(text.to_owned()));
        }
        if let Some(length) = self.map_length(marker)? {
            return self.map(length, depth).map(Value::Object);
        }
        Ok(match marker {
            0x00..=0x7f => Value::from(marker),
            0x90..=0x9f => self.array(usize::from(marker & 0x0f), depth)?,
            NULL => Value::Null,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xcb => self.float()?,
            0xcc => self.unsigned(u8::from_be_bytes, 0x80)?,
            0xcd => self.unsigned(u16::from_be_bytes, 1 << 8)?,
            0xce => self.unsigned(u32::from_be_bytes, 1 << 16)?,
            0xcf => self.unsigned(u64::from_be_bytes, 1 << 32)?,
            0xd0 => self.negative(i8::from_be_bytes, -0x20)?,
            0xd1 => self.negative(i16::from_be_bytes, i8::MIN.into())?,
            0xd2 => self.negative(i32::from_be_bytes, i16::MIN.into())?,
            0xd3 => self.negative(i64::from_be_bytes, i32::MIN.into())?,
            0xdc => {
                let length = self.length(u16::from_be_bytes, 0x10)?;
                self.array(length, depth)?
            }
            0xdd => {
                let length = self.length(u32::from_be_bytes, 1 << 16)?;
                self.array(length, depth)?
            }
            0xe0..=0xff => Value::Integer(i8::from_be_bytes([marker]).into()),
            // bin, ext, float32, fixext, and one that is never used; texts and maps are read above.
            _ => return Err(Reject::BadMsgpack),
        })
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Object, Reject> {
        self.budget.open_map(depth, length)?;
        // No capacity is taken from the declared length: a map grows with the bytes that are really there.
        let (mut object, mut filter) = (Object::new(), NameFilter::default());
        for _ in 0..length {
            let name = self.key()?;
            let value = self.value(depth + 1)?;
            object.push(&mut filter, name, value).map_err(|_| Reject::BadMsgpack)?;
        }
        Ok(object)
    }

    /// The members of the map that is the body.
    fn outlined_members(&mut self, length: usize) -> Result<Members<'a>, Reject> {
        self.budget.open_map(0, length)?;
        let (mut members, mut filter) = (Members::with_capacity(OUTLINED), NameFilter::default());
        for _ in 0..length {
            let name = self.key()?;
            let [marker] = self.take()?;
            let value = match self.text_after(marker)? {
                Some(text) => MemberValue::Text(Cow::Borrowed(text)),
                None => MemberValue::Other(self.value_after(marker, 1)?),
            };
            members.push(&mut filter, Cow::Borrowed(name), value).map_err(|_| Reject::BadMsgpack)?;
        }
        Ok(members)
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<Value, Reject> {
        self.budget.open_list(depth)?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn key(&mut self) -> Result<&'a str, Reject> {
        let [marker] = self.take()?;
        self.text_after(marker)?.ok_or(Reject::BadMsgpack)
    }

    /// The text that `marker` begins, if it begins one.
    #[inline]
    fn text_after(&mut self, marker: u8) -> Result<Option<&'a str>, Reject> {
        let length = match marker {
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 => self.length(u8::from_be_bytes, 0x20)?,
            0xda => self.length(u16::from_be_bytes, 1 << 8)?,
            0xdb => self.length(u32::from_be_bytes, 1 << 16)?,
            _ => return Ok(None),
        };
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Reject::BadMsgpack)?;
        self.rest = rest;
        str::from_utf8(text).map(Some).map_err(|_| Reject::BadUtf8)
    }

    /// The length of the map that `marker` begins, if it begins one.
    fn map_length(&mut self, marker: u8) -> Result<Option<usize>, Reject> {
        Ok(match marker {
            0x80..=0x8f => Some(usize::from(marker & 0x0f)),
            0xde => Some(self.length(u16::from_be_bytes, 0x10)?),
            0xdf => Some(self.length(u32::from_be_bytes, 1 << 16)?),
            _ => None,
        })
    }

    fn float(&mut self) -> Result<Value, Reject> {
        let number = f64::from_be_bytes(self.take()?);
        if number.is_finite() { Ok(Value::Float(number)) } else { Err(Reject::BadMsgpack) }
    }

    /// An integer that needs this width: `least` is the smallest that does.
    fn unsigned<const N: usize, T: Into<u64>>(
        &mut self,
        from_bytes: impl Fn([u8; N]) -> T,
        least: u64,
    ) -> Result<Value, Reject> {
        let number = from_bytes(self.take()?).into();
        if number < least { Err(Reject::BadMsgpack) } else { Ok(Value::from(number)) }
    }

    /// A negative integer that needs this width: all narrower ones are `from` and above.
    fn negative<const N: usize, T: Into<i64>>(
        &mut self,
        from_bytes: impl Fn([u8; N]) -> T,
        from: i64,
    ) -> Result<Value, Reject> {
        let number = from_bytes(self.take()?).into();
        if number >= from { Err(Reject::BadMsgpack) } else { Ok(Value::Integer(number)) }
    }

    fn length<const N: usize, T: Into<u64>>(
        &mut self,
        from_bytes: impl Fn([u8; N]) -> T,
        least: usize,
    ) -> Result<usize, Reject> {
        let length = usize::try_from(from_bytes(self.take()?).into()).map_err(|_| Reject::BadMsgpack)?;
        if length < least { Err(Reject::BadMsgpack) } else { Ok(length) }
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Reject> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Reject::BadMsgpack)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// The one byte that is null.
pub(super) const NULL: u8 = 0xc0;

/// Appends `value` in its shortest form, as Python's `msgpack` writes it: unsigned forms for what is not negative, every float as
/// float64.
///
/// # Errors
/// [`EncodeError::Integer`] for integers outside −2⁶³ … 2⁶⁴−1. The rest is checked before, by [`Budget`].
pub(super) fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(0xc2),
        Value::Bool(true) => out.push(0xc3),
        Value::Integer(number) => write_integer(out, *number),
        Value::BigInteger(number) => {
            let number: u64 = number.as_str().parse().map_err(|_| EncodeError::Integer)?;
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Float(number) => {
            out.push(0xcb);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Text(text) => write_text(out, text),
        Value::Array(items) => {
            write_array_head(out, items.len());
            for item in items {
                write(out, item)?;
            }
        }
        Value::Object(object) => write_object(out, object)?,
    }
    Ok(())
}

pub(super) fn write_object(out: &mut Vec<u8>, object: &Object) -> Result<(), EncodeError> {
    write_map_head(out, object.len());
    for (name, value) in object {
        write_text(out, name);
        write(out, value)?;
    }
    Ok(())
}

pub(super) fn write_map_head(out: &mut Vec<u8>, members: usize) {
    write_head(out, members, (0x80, 0x10), (0xde, 0xdf));
}

pub(super) fn write_array_head(out: &mut Vec<u8>, items: usize) {
    write_head(out, items, (0x90, 0x10), (0xdc, 0xdd));
}

#[inline]
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ ..0x20 => out.push(0xa0 | length as u8),
        length => write_long_text_head(out, length),
    }
    out.extend_from_slice(text.as_bytes());
}

fn write_long_text_head(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(length) => out.extend_from_slice(&[0xd9, length]),
        Err(_) => write_head(out, length, (0xa0, 0x20), (0xda, 0xdb)),
    }
}

/// Writes a length: in the marker itself below `fix.1`, else in two bytes or four.
fn write_head(out: &mut Vec<u8>, length: usize, fix: (u8, u8), wide: (u8, u8)) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < fix.1 => out.push(fix.0 | length),
        (_, Ok(length)) => {
            out.push(wide.0);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(wide.1);
            // Nothing near 4 GiB is written: a frame has 64 KiB.
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

pub(super) fn write_integer(out: &mut Vec<u8>, number: i64) {
    match number {
        0.. => write_unsigned(out, number.unsigned_abs()),
        -0x20.. => out.extend_from_slice(&(number as i8).to_be_bytes()),
        -0x80.. => {
            out.push(0xd0);
            out.extend_from_slice(&(number as i8).to_be_bytes());
        }
        -0x8000.. => {
            out.push(0xd1);
            out.extend_from_slice(&(number as i16).to_be_bytes());
        }
        -0x8000_0000.. => {
            out.push(0xd2);
            out.extend_from_slice(&(number as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
