//! The time until which an earlier run may have accepted packets (SECURITY R22).
//!
//! One line: milliseconds since 1970 in decimal digits, a line feed.

use std::path::Path;

use jis::UnixTime;

use super::durable;
use super::error::StateError;

/// More than any time has.
const MAX_FILE: u64 = 32;

pub(super) fn read(path: &Path) -> Result<Option<UnixTime>, StateError> {
    let Some(bytes) = durable::read(path, MAX_FILE)? else { return Ok(None) };
    // Exactly as it is written: anything else was not written by us, or not wholly.
    let bound = str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.strip_suffix('\n')?.parse().ok())
        .and_then(UnixTime::from_millis);
    match bound {
        Some(bound) if text(bound).as_bytes() == bytes => Ok(Some(bound)),
        _ => Err(StateError::Bound { path: path.to_owned() }),
    }
}

pub(super) fn write(path: &Path, bound: UnixTime) -> Result<(), StateError> {
    durable::replace(path, text(bound).as_bytes())
}

fn text(bound: UnixTime) -> String {
    format!("{}\n", bound.as_millis())
}
