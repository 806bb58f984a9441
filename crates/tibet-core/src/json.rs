//! JSON as the Python packages spell it.
//!
//! Hashes and signatures are taken over this text, so its spelling is part of the format (`docs/spec/token.md`). `serde_json`
//! is not used because it cannot keep that promise: it reads `-0` as a float and integers beyond 64 bits as doubles, reads one
//! double in five off by one unit unless a feature is on that any crate of a build can forget, keeps the last of
//! two members with one name when reading into its own value type, and writes DEL and non-ASCII characters raw. Each of
//! these changes a hash.
//!
//! [`parse`] reads strictly, [`write()`] spells; `read ∘ write` is the identity on every value that has a spelling.

mod big;
pub use big::BigInteger;
mod distinct;
pub use distinct::{NameFilter, Repeated};
mod object;
pub use object::Object;
mod outline;
pub use outline::{MemberValue, Members, Outline};
mod read;
pub use read::{JsonError, JsonErrorKind, MAX_DEPTH, MAX_INTEGER_DIGITS, parse, parse_bytes, parse_outline};
mod scan;
mod write;
pub use write::{
    Order, Separators, write, write_integer_into, write_into, write_object_into, write_pretty,
    write_text_into,
};

/// A JSON value. Integers and floats are different things, as in Python: `1` and `1.0` have different hashes.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer of at most 64 bits.
    Integer(i64),
    /// An integer beyond 64 bits, kept as its exact decimal digits.
    BigInteger(BigInteger),
    /// A number written with a point or an exponent. Only finite numbers can be read back.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    Array(Vec<Value>),
    /// A map with text keys, in the order its members were added.
    Object(Object),
}

impl Value {
    /// The string, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, if this is an integer of at most 64 bits.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// The number, if this is a float. Integers are not converted.
    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        if let Self::Float(number) = self { Some(*number) } else { None }
    }

    /// The truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// The items, if this is a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The members, if this is a map.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// Whether the value can be written and read back: every float finite, and nothing nested deeper than `levels`.
    #[must_use]
    pub fn is_readable_within(&self, levels: usize) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::BigInteger(_) | Self::Text(_) => true,
            Self::Float(number) => number.is_finite(),
            Self::Array(items) => levels > 0 && items.iter().all(|item| item.is_readable_within(levels - 1)),
            Self::Object(object) => {
                levels > 0 && object.iter().all(|(_, value)| value.is_readable_within(levels - 1))
            }
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number)
            .map_or_else(|_| Self::BigInteger(BigInteger::from_checked(number.to_string())), Self::Integer)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        // Lossless: no target of Rust has pointers wider than 64 bits.
        Self::from(number as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}

/// `None` becomes `null`.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Makes a [`json::Object`](crate::json::Object): `object! { "user" => "alice", "n" => 3 }`.
#[macro_export]
macro_rules! object {
    () => { $crate::json::Object::new() };
    ($($key:expr => $value:expr),+ $(,)?) => {{
        let mut object = $crate::json::Object::new();
        $(object.insert($key, $value);)+
        object
    }};
}
