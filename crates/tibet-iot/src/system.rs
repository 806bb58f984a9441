//! The two things the crates below must be given: the time, and randomness.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use jis::UnixTime;

/// The wall clock. A clock before 1970 reads as 1970, which everything refuses that has to judge by it.
#[must_use]
pub fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    UnixTime::from_millis(millis).unwrap_or(UnixTime::MAX)
}

/// The operating system gave no randomness, or none worth the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no good randomness from the operating system: {0}")]
pub struct NoRandomness(String);

/// The last draw's first bytes, to notice a generator that repeats itself.
static LAST: Mutex<[u8; 8]> = Mutex::new([0; 8]);

/// `N` bytes from the operating system's generator, `N` ≥ 8.
///
/// # Errors
/// [`NoRandomness`] when the system fails, or hands out equal bytes or the same bytes twice (SECURITY R27). Nothing may go on then.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    const { assert!(N >= 8, "fewer bytes cannot be told from a repetition") }
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
    if bytes.iter().all(|&byte| byte == bytes[0]) {
        return Err(NoRandomness("all bytes are equal".into()));
    }
    let start = *bytes.first_chunk().expect("N is at least 8");
    let last = std::mem::replace(&mut *LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner), start);
    if last == start { Err(NoRandomness("the same bytes came twice".into())) } else { Ok(bytes) }
}
