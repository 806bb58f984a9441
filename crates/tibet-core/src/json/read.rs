//! The strict reader.

use std::borrow::Cow;
use std::str;

use super::distinct::check_distinct;
use super::scan::plain_run;
use super::{BigInteger, MemberValue, Members, Object, Outline, Value};

/// Deepest nesting that is read; a list or map counts one level. Python stops at about 990, where its stack ends. Events
/// of this network nest five levels; 64 leaves room and keeps the recursion below within a few kilobytes of stack.
pub const MAX_DEPTH: usize = 64;

/// Members that an outline has room for from the start, so that a packet's list of them does not grow in steps.
const OUTLINED: usize = 24;

/// Longest integer that is read, in digits: the limit CPython sets to keep conversion from taking quadratic time.
pub const MAX_INTEGER_DIGITS: usize = 4300;

/// Why text is not JSON that is read here, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct JsonError {
    /// Where reading stopped, in bytes from the start of the text.
    pub offset: usize,
    /// What was wrong there.
    pub kind: JsonErrorKind,
}

/// What can be wrong with JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// The text ends inside a value. Everything up to here could still become valid: a torn write looks like this.
    #[error("text ends inside a value")]
    UnexpectedEnd,
    /// A byte that cannot stand here.
    #[error("unexpected character")]
    UnexpectedByte,
    /// Bytes after the value.
    #[error("text after the value")]
    Trailing,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Two members of one object have the same name. The offset is that of the object.
    #[error("two members with the same name in the object")]
    DuplicateMember,
    /// A float too large for a double.
    #[error("number is too large for a double")]
    NotFinite,
    /// An integer of more than [`MAX_INTEGER_DIGITS`] digits.
    #[error("integer has more than {MAX_INTEGER_DIGITS} digits")]
    IntegerTooLong,
    /// Half a surrogate pair: no Unicode text.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
}

/// Reads exactly one value; white space around it is allowed. The caller bounds the size of `text`: memory use stays within
/// a constant factor of it.
///
/// # Errors
/// [`JsonError`] for anything but strict JSON (RFC 8259), and for repeated member names, numbers without a finite value, lone
/// surrogates, and values beyond [`MAX_DEPTH`] or [`MAX_INTEGER_DIGITS`].
pub fn parse(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(MAX_DEPTH)?;
    reader.finish()?;
    Ok(value)
}

/// As [`parse`], for bytes that may not be UTF-8.
///
/// # Errors
/// As [`parse`]; [`JsonErrorKind::NotUtf8`] at the first byte that is not UTF-8.
pub fn parse_bytes(bytes: &[u8]) -> Result<Value, JsonError> {
    parse(utf8(bytes)?)
}

/// As [`parse_bytes`], for a map whose members are wanted one by one.
///
/// # Errors
/// As [`parse_bytes`].
pub fn parse_outline(bytes: &[u8]) -> Result<Outline<'_>, JsonError> {
    let mut reader = Reader { text: utf8(bytes)?, at: 0 };
    reader.skip_space();
    let outline = match reader.peek()? {
        b'{' => Outline::Map(reader.outlined_members(MAX_DEPTH)?),
        _ => Outline::Other(reader.value(MAX_DEPTH)?),
    };
    reader.finish()?;
    Ok(outline)
}

fn utf8(bytes: &[u8]) -> Result<&str, JsonError> {
    str::from_utf8(bytes)
        .map_err(|error| JsonError { offset: error.valid_up_to(), kind: JsonErrorKind::NotUtf8 })
}

struct Reader<'a> {
    text: &'a str,
    /// Always on a character boundary: only whole ASCII characters and whole runs up to one are stepped over.
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads one value that may still open `levels` levels.
    fn value(&mut self, levels: usize) -> Result<Value, JsonError> {
        self.skip_space();
        match self.peek()? {
            b'{' => self.object(levels).map(Value::Object),
            b'[' => self.array(levels),
            b'"' => self.string().map(|text| Value::Text(text.into_owned())),
            b't' => self.literal("true", Value::Bool(true)),
            b'f' => self.literal("false", Value::Bool(false)),
            b'n' => self.literal("null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.error(JsonErrorKind::UnexpectedByte)),
        }
    }

    fn object(&mut self, levels: usize) -> Result<Object, JsonError> {
        let start = self.at;
        let mut members = Vec::new();
        self.each_member(levels, |reader, name, levels| {
            members.push((name.into_owned(), reader.value(levels)?));
            Ok(())
        })?;
        check_distinct(members.iter().map(|(name, _)| name.as_str()))
            .map_err(|_| JsonError { offset: start, kind: JsonErrorKind::DuplicateMember })?;
        Ok(Object::from_distinct(members))
    }

    fn outlined_members(&mut self, levels: usize) -> Result<Members<'a>, JsonError> {
        let start = self.at;
        let mut members = Members::with_capacity(OUTLINED);
        self.each_member(levels, |reader, name, levels| {
            reader.skip_space();
            let value = match reader.peek()? {
                b'"' => MemberValue::Text(reader.string()?),
                _ => MemberValue::Other(reader.value(levels)?),
            };
            members.push_unchecked(name, value);
            Ok(())
        })?;
        check_distinct(members.names().iter().map(|name| &**name))
            .map_err(|_| JsonError { offset: start, kind: JsonErrorKind::DuplicateMember })?;
        Ok(members)
    }

    /// Steps through a map. `read` gets each name and reads the value behind it.
    fn each_member(
        &mut self,
        levels: usize,
        mut read: impl FnMut(&mut Self, Cow<'a, str>, usize) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let levels = self.open(levels)?;
        if self.close(b'}')? {
            return Ok(());
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            read(self, name, levels)?;
            if self.close(b'}')? {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, levels: usize) -> Result<Value, JsonError> {
        let levels = self.open(levels)?;
        let mut items = Vec::new();
        if self.close(b']')? {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(levels)?);
            if self.close(b']')? {
                return Ok(Value::Array(items));
            }
            self.expect(b',')?;
        }
    }

    /// A string; borrowed if nothing in it is escaped.
    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.expect(b'"')?;
        let run = self.run();
        if self.peek()? == b'"' {
            self.at += 1;
            return Ok(Cow::Borrowed(run));
        }
        let mut text = run.to_owned();
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                b'\\' => text.push(self.escape()?),
                _ => return Err(self.error(JsonErrorKind::UnexpectedByte)),
            }
            text.push_str(self.run());
        }
    }

    /// Steps over text that stands for itself.
    #[inline]
    fn run(&mut self) -> &'a str {
        let start = self.at;
        self.at += plain_run(&self.text.as_bytes()[start..]);
        &self.text[start..self.at]
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let simple = match self.peek()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode_escape(start);
            }
            _ => return Err(self.error(JsonErrorKind::UnexpectedByte)),
        };
        self.at += 1;
        Ok(simple)
    }

    /// The digits after `\u`, and the second half of the pair after a high surrogate.
    fn unicode_escape(&mut self, start: usize) -> Result<char, JsonError> {
        let lone = JsonError { offset: start, kind: JsonErrorKind::LoneSurrogate };
        let first = self.four_hex_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(lone);
        }
        for expected in [b'\\', b'u'] {
            if self.peek()? != expected {
                return Err(lone);
            }
            self.at += 1;
        }
        let second = self.four_hex_digits()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(lone);
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(lone)
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.peek()?).to_digit(16);
            code = code * 16 + digit.ok_or_else(|| self.error(JsonErrorKind::UnexpectedByte))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take_if(|b| b == b'-');
        let digits = self.at;
        if !self.take_if(|b| b == b'0') {
            self.digits()?;
        }
        let integer_end = self.at;
        if self.take_if(|b| b == b'.') {
            self.digits()?;
        }
        if self.take_if(|b| matches!(b, b'e' | b'E')) {
            self.take_if(|b| matches!(b, b'+' | b'-'));
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if self.at == integer_end {
            if self.at - digits > MAX_INTEGER_DIGITS {
                return Err(JsonError { offset: start, kind: JsonErrorKind::IntegerTooLong });
            }
            // `-0` parses as 0 here, as in Python.
            return Ok(text.parse().map_or_else(
                |_| Value::BigInteger(BigInteger::from_checked(text.to_owned())),
                Value::Integer,
            ));
        }
        // The standard library rounds correctly, which the hashes depend on.
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(JsonError { offset: start, kind: JsonErrorKind::NotFinite }),
        }
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.error(JsonErrorKind::UnexpectedByte));
        }
        while self.take_if(|b| b.is_ascii_digit()) {}
        Ok(())
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        // Somewhere in here is the byte that does not fit.
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        Ok(value)
    }

    /// Steps into a list or map; gives the levels left inside it.
    fn open(&mut self, levels: usize) -> Result<usize, JsonError> {
        let left = levels.checked_sub(1).ok_or_else(|| self.error(JsonErrorKind::TooDeep))?;
        self.at += 1;
        Ok(left)
    }

    /// Steps over `bracket` if it comes next.
    #[inline]
    fn close(&mut self, bracket: u8) -> Result<bool, JsonError> {
        self.skip_space();
        let closes = self.peek()? == bracket;
        self.at += usize::from(closes);
        Ok(closes)
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek()? != byte {
            return Err(self.error(JsonErrorKind::UnexpectedByte));
        }
        self.at += 1;
        Ok(())
    }

    fn take_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let takes = self.text.as_bytes().get(self.at).is_some_and(|&byte| wanted(byte));
        self.at += usize::from(takes);
        takes
    }

    #[inline]
    fn skip_space(&mut self) {
        while self.take_if(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {}
    }

    /// Nothing but white space may follow.
    fn finish(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error(JsonErrorKind::Trailing)) }
    }

    #[inline]
    fn peek(&self) -> Result<u8, JsonError> {
        self.text.as_bytes().get(self.at).copied().ok_or_else(|| self.error(JsonErrorKind::UnexpectedEnd))
    }

    fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError { offset: self.at, kind }
    }
}
