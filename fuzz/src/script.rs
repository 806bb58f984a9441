//! Bytes read as a list of choices, for targets whose input is a story rather than a message.

/// Takes choices off the front of some bytes. Ends when they do.
#[derive(Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// Begins with the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` bytes; `None` when fewer are left.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// One of `choices`.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let at = usize::from(self.byte()?) % choices.len();
        Some(choices[at])
    }

    /// A number from −2¹⁵ to 2¹⁵ − 1.
    pub fn signed(&mut self) -> Option<i64> {
        self.take().map(|bytes| i16::from_be_bytes(bytes).into())
    }

    /// The next `length` bytes, or as many as are left.
    pub fn up_to(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Everything that is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }
}
