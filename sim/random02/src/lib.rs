//! Takes the place of `getrandom` 0.2, as its neighbour does of 0.3.

use std::fmt;
use std::num::NonZeroU32;

/// Fills a buffer.
///
/// # Errors
/// Never.
pub fn getrandom(buffer: &mut [u8]) -> Result<(), Error> {
    random03::fill(buffer).map_err(|_| Error(NonZeroU32::MIN))
}

/// Does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroU32);

impl Error {
    /// Its number.
    #[must_use]
    pub const fn code(self) -> NonZeroU32 {
        self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no randomness")
    }
}

impl From<NonZeroU32> for Error {
    fn from(code: NonZeroU32) -> Self {
        Self(code)
    }
}
