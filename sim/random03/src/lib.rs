//! Takes the place of `getrandom` 0.3: what the simulation's libraries draw from the system comes from a seed, so that a run can be replayed to the byte.

use std::cell::Cell;
use std::fmt;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Begins anew on this thread: from now on the same bytes come for the same seed.
pub fn seed(seed: u64) {
    STATE.set(seed);
}

/// The next number after `state`: SplitMix64.
pub fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Fills a buffer.
///
/// # Errors
/// Never.
pub fn fill(buffer: &mut [u8]) -> Result<(), Error> {
    for chunk in buffer.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}

/// A number of 32 bits.
///
/// # Errors
/// Never.
pub fn u32() -> Result<u32, Error> {
    u64().map(|number| (number >> 32) as u32)
}

/// A number of 64 bits.
///
/// # Errors
/// Never.
pub fn u64() -> Result<u64, Error> {
    Ok(next())
}

fn next() -> u64 {
    let mut state = STATE.get();
    let number = step(&mut state);
    STATE.set(state);
    number
}

/// Does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error;

impl Error {
    /// None.
    #[must_use]
    pub fn raw_os_error(self) -> Option<i32> {
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no randomness")
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
