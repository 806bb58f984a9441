//! msgpack, strictly and in its one shortest form.
//!
//! A reader of our own, because the libraries at hand cannot be made strict: they take any width of an integer, extensions, binary
//! and integer keys, repeated keys and trailing bytes, and size vectors by the length a peer declares. Each of these lets one packet have many
//! encodings, or a few bytes ask for gigabytes. What TP needs of the format are eight kinds of values; that is this file.
//!
//! What is accepted is exactly what [`write`] writes, so `write ∘ read` is the identity on accepted bytes.

use tibet_core::json::{Object, Value};

use crate::codec::{Budget, EncodeError};
use crate::reject::Reject;

/// Reads exactly one value.
///
/// # Errors
/// [`Reject::BadMsgpack`] for anything but the shortest form of the values of JSON: other widths, float32, bin, ext, keys that are no
/// text, repeated keys, floats that are not finite, bytes left over. [`Reject::BadUtf8`], [`Reject::TooComplex`].
pub(super) fn read(bytes: &[u8]) -> Result<Value, Reject> {
    let mut reader = Reader { rest: bytes, budget: Budget::new() };
    let value = reader.value(0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(Reject::BadMsgpack) }
}

struct Reader<'a> {
    rest: &'a [u8],
    budget: Budget,
}

impl<'a> Reader<'a> {
    /// Reads a value that stands inside `depth` maps and lists.
    fn value(&mut self, depth: usize) -> Result<Value, Reject> {
        let [marker] = self.take()?;
        Ok(match marker {
            0x00..=0x7f => Value::from(marker),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f), depth)?,
            0x90..=0x9f => self.array(usize::from(marker & 0x0f), depth)?,
            0xa0..=0xbf => Value::Text(self.text(usize::from(marker & 0x1f))?),
            0xc0 => Value::Null,
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
            0xd9..=0xdb => Value::Text(self.long_text(marker)?),
            0xdc => {
                let length = self.length(u16::from_be_bytes, 0x10)?;
                self.array(length, depth)?
            }
            0xdd => {
                let length = self.length(u32::from_be_bytes, 1 << 16)?;
                self.array(length, depth)?
            }
            0xde => {
                let length = self.length(u16::from_be_bytes, 0x10)?;
                self.map(length, depth)?
            }
            0xdf => {
                let length = self.length(u32::from_be_bytes, 1 << 16)?;
                self.map(length, depth)?
            }
            0xe0..=0xff => Value::Integer(i8::from_be_bytes([marker]).into()),
            // Never used, bin, ext, float32, fixext.
            0xc1 | 0xc4..=0xca | 0xd4..=0xd8 => return Err(Reject::BadMsgpack),
        })
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, Reject> {
        self.budget.open_map(depth, length)?;
        // No capacity is taken from the declared length: a map grows with the bytes that are really there.
        let mut object = Object::new();
        for members in 0..length {
            let name = self.key()?;
            let value = self.value(depth + 1)?;
            object.insert(name, value);
            if object.len() != members + 1 {
                return Err(Reject::BadMsgpack);
            }
        }
        Ok(Value::Object(object))
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<Value, Reject> {
        self.budget.open_list(depth)?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn key(&mut self) -> Result<String, Reject> {
        let [marker] = self.take()?;
        match marker {
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f)),
            0xd9..=0xdb => self.long_text(marker),
            _ => Err(Reject::BadMsgpack),
        }
    }

    fn long_text(&mut self, marker: u8) -> Result<String, Reject> {
        let length = match marker {
            0xd9 => self.length(u8::from_be_bytes, 0x20)?,
            0xda => self.length(u16::from_be_bytes, 1 << 8)?,
            _ => self.length(u32::from_be_bytes, 1 << 16)?,
        };
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<String, Reject> {
        // The bytes are there before they are copied.
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Reject::BadMsgpack)?;
        self.rest = rest;
        str::from_utf8(text).map(str::to_owned).map_err(|_| Reject::BadUtf8)
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

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Reject> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Reject::BadMsgpack)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// Appends `value` in its shortest form, as Python's `msgpack` writes it: unsigned forms for what is not negative, every float as
/// float64.
///
/// # Errors
/// [`EncodeError::Integer`] for integers outside −2⁶³ … 2⁶⁴−1. The rest is checked before, by [`Budget`].
pub(super) fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::Null => out.push(0xc0),
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
            write_head(out, items.len(), (0x90, 0x10), None, (0xdc, 0xdd));
            for item in items {
                write(out, item)?;
            }
        }
        Value::Object(object) => write_object(out, object)?,
    }
    Ok(())
}

pub(super) fn write_object(out: &mut Vec<u8>, object: &Object) -> Result<(), EncodeError> {
    write_head(out, object.len(), (0x80, 0x10), None, (0xde, 0xdf));
    for (name, value) in object {
        write_text(out, name);
        write(out, value)?;
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, text.len(), (0xa0, 0x20), Some(0xd9), (0xda, 0xdb));
    out.extend_from_slice(text.as_bytes());
}

/// Writes a length: in the marker itself below `fix.1`, else in one byte if the type has that form, else in two or four.
fn write_head(out: &mut Vec<u8>, length: usize, fix: (u8, u8), byte: Option<u8>, wide: (u8, u8)) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < fix.1 => out.push(fix.0 | length),
        (Ok(length), _) if let Some(marker) = byte => out.extend_from_slice(&[marker, length]),
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

fn write_integer(out: &mut Vec<u8>, number: i64) {
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
