//! Files that users name.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Longest text that is read, in bytes: a configuration, a grant or a token is far shorter, and a device such as `/dev/zero` has no end.
const MAX_TEXT: u64 = 1 << 20;

/// Reads a short text file.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT {
        return Err(io::Error::new(ErrorKind::InvalidData, "too long for what it should hold"));
    }
    Ok(text)
}
