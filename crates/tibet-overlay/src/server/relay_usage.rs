//! What identities have used of the relay today, in a file, so that a restart is no second day (SECURITY R51).
//!
//! ```text
//! { "version": 1, "at": 1795347600000, "used": [ [ "64 hex digits of a fingerprint", BYTES, SECONDS ], … ] }
//! ```
//!
//! `at` is when it was written, in milliseconds since 1970; an identity's day lasts so many seconds from then on. What cannot be read is told, set aside and
//! not missed: at worst somebody has a day's bytes once more.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jis::{Fingerprint, UnixTime};
use serde::{Deserialize, Serialize};
use tibet_mesh::RelayUsage;

use crate::secret_file;

/// Longest file that is read: as many identities as a relay remembers, and room to spare.
const MAX_FILE: u64 = 64 << 20;
const VERSION: u32 = 1;

/// What was used, and when that was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) at: UnixTime,
    pub(super) usage: Vec<RelayUsage>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    at: u64,
    used: Vec<(String, u64, u64)>,
}

pub(super) struct UsageFile {
    path: PathBuf,
    /// What was written last, but for what passes with time.
    last: Vec<(Fingerprint, u64)>,
}

impl UsageFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: Vec::new() }
    }

    /// What the file says, if there is one and it can be read.
    pub(super) fn read(&self) -> Option<Kept> {
        let path = self.path.display();
        let reason = match read(&self.path) {
            Ok(text) => match Kept::read(&text) {
                Ok(kept) => return Some(kept),
                Err(reason) => reason,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        let aside = self.path.with_extension("damaged");
        let moved = fs::rename(&self.path, &aside).is_ok();
        tracing::warn!(%path, %reason, moved, "what the relay has passed on today cannot be read; it begins at nothing");
        None
    }

    /// Writes what was used until now, unless the file says so already.
    pub(super) fn write(&mut self, mut usage: Vec<RelayUsage>, now: UnixTime) {
        usage.sort_unstable_by_key(|usage| usage.owner);
        let told: Vec<_> = usage.iter().map(|usage| (usage.owner, usage.bytes)).collect();
        if told == self.last {
            return;
        }
        match secret_file::replace(&self.path, &Kept { at: now, usage }.write()) {
            Ok(()) => self.last = told,
            // It is tried again in a minute.
            Err(error) => tracing::warn!(%error, "what the relay has passed on today cannot be written"),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

impl Kept {
    fn write(&self) -> String {
        let used = |usage: &RelayUsage| (usage.owner.to_string(), usage.bytes, usage.ends_in.as_secs());
        let written = Written {
            version: VERSION,
            at: self.at.as_millis(),
            used: self.usage.iter().map(used).collect(),
        };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// # Errors
    /// What is wrong with it.
    fn read(text: &str) -> Result<Self, String> {
        let Written { version, at, used } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("it is of version {version}"));
        }
        let at = UnixTime::from_millis(at).ok_or("its time is none")?;
        let usage = used.into_iter().map(|(owner, bytes, seconds)| {
            let owner = owner.parse().map_err(|_| format!("{owner} is no fingerprint"))?;
            Ok(RelayUsage { owner, bytes, ends_in: Duration::from_secs(seconds) })
        });
        Ok(Self { at, usage: usage.collect::<Result<_, String>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(byte: u8, bytes: u64) -> RelayUsage {
        let ends_in = Duration::from_secs(3600);
        RelayUsage { owner: Fingerprint::from_bytes([byte; 32]), bytes, ends_in }
    }

    /// SECURITY R51.
    #[test]
    fn what_was_used_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("relay.json");
        let mut file = UsageFile::new(path.clone());
        assert_eq!(file.read(), None, "nothing yet, and nothing wrong with that");
        let (one, later) = (UnixTime::from_secs(1_800_000_000), UnixTime::from_secs(1_800_000_060));
        file.write(vec![used(2, 7), used(1, u64::MAX)], one);
        let kept = Kept { at: one, usage: vec![used(1, u64::MAX), used(2, 7)] };
        assert_eq!(file.read().as_ref(), Some(&kept));
        // As long as nobody uses more, the disk is left alone.
        file.write(vec![used(1, u64::MAX), used(2, 7)], later);
        assert_eq!(UsageFile::new(path.clone()).read(), Some(kept));
        file.write(vec![used(1, u64::MAX), used(2, 8)], later);
        assert_eq!(UsageFile::new(path).read().map(|kept| kept.at), Some(later));
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_ends_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("relay.json");
        let good = Kept { at: UnixTime::from_secs(1_800_000_000), usage: vec![used(1, 7)] }.write();
        for damaged in [
            "",
            "\u{0}",
            &good[..good.len() - 1],
            &good.replace("\"version\":1", "\"version\":2"),
            &good.replace("0101", "zz01"),
            &good.replace(",7,", ",-7,"),
            &good.replace("1800000000000", "18446744073709551615"),
        ] {
            fs::write(&path, damaged).expect("written");
            assert_eq!(UsageFile::new(path.clone()).read(), None, "{damaged}");
            assert!(!path.exists(), "{damaged}");
            let aside = fs::read_to_string(directory.path().join("relay.damaged")).expect("set aside");
            assert_eq!(aside, damaged);
        }
        fs::write(&path, b"\xff\xfe").expect("written");
        assert_eq!(UsageFile::new(path.clone()).read(), None, "no text");
        assert!(!path.exists());
    }
}
