//! Integers beyond 64 bits.

use std::fmt;

/// An integer that does not fit 64 bits, as its decimal digits. Nothing here computes with such numbers; they only have to
/// come out as they went in, as they do in Python.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BigInteger(String);

impl BigInteger {
    /// Takes digits that are canonical and outside the range of `i64`: otherwise one number would have two values.
    pub(super) fn from_checked(digits: String) -> Self {
        Self(digits)
    }

    /// The decimal digits, with `-` in front of a negative number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BigInteger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
