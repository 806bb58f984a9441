//! The file of known keys.
//!
//! ```text
//! tibet-known-keys v1
//! jis:home:hub z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH 0 1800000000000
//! ```
//!
//! A line per name: the name, its key, the key's generation, and when it was first seen, in milliseconds since 1970, one space between them. A
//! line is there once its line feed is: what follows the last one was being written when the machine stopped, and is cut off.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jis::{Name, UnixTime};
use tibet_ping::{Binding, MAX_PINS};

use super::durable;
use super::error::StateError;

const HEADER: &str = "tibet-known-keys v1";
/// Longest line: a name of 200 bytes, a key of 48, two numbers of 20 digits at most, separators.
const MAX_LINE: u64 = 300;
/// Longest file.
const MAX_FILE: u64 = (MAX_PINS as u64 + 1) * MAX_LINE;

/// A name's key as it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Name, key and generation.
    pub binding: Binding,
    /// When it was noted, by our clock.
    pub first_seen: UnixTime,
}

#[derive(Debug)]
pub(super) struct KnownKeys {
    path: PathBuf,
    file: File,
    keys: BTreeMap<Name, KnownKey>,
    cut_off: Option<usize>,
    failed: bool,
}

impl KnownKeys {
    pub(super) fn open(path: PathBuf) -> Result<Self, StateError> {
        let mut file = open_or_create(&path)?;
        let bytes = durable::read_open(&mut file, &path, MAX_FILE)?;
        let whole = whole_lines(&bytes);
        let keys = parse(&path, &bytes[..whole])?;
        let cut_off = (whole < bytes.len()).then_some(bytes.len() - whole);
        if cut_off.is_some() {
            let cut = file.set_len(whole as u64).and_then(|()| file.sync_all());
            cut.map_err(StateError::io(&path))?;
        }
        Ok(Self { path, file, keys, cut_off, failed: false })
    }

    pub(super) fn all(&self) -> &BTreeMap<Name, KnownKey> {
        &self.keys
    }

    pub(super) fn cut_off(&self) -> Option<usize> {
        self.cut_off
    }

    pub(super) fn remember(&mut self, binding: &Binding, first_seen: UnixTime) -> Result<(), StateError> {
        self.check_usable()?;
        let name = &binding.name;
        match self.keys.get(name) {
            Some(known) if known.binding == *binding => return Ok(()),
            Some(_) => return Err(StateError::OtherKey { name: name.clone() }),
            None if self.keys.len() >= MAX_PINS => {
                return Err(StateError::Full { path: self.path.clone(), most: MAX_PINS });
            }
            None => {}
        }
        let known = KnownKey { binding: binding.clone(), first_seen };
        // A self-certifying name could never be read back with a key it does not spell.
        if name.certified_key().is_some_and(|key| key != binding.key) {
            return Err(StateError::OtherKey { name: name.clone() });
        }
        // One write, so that a crash leaves at most one line half there.
        let written = self.file.write_all(line(&known).as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            self.failed = true;
            return Err(StateError::Io { path: self.path.clone(), source });
        }
        self.keys.insert(name.clone(), known);
        Ok(())
    }

    pub(super) fn forget(&mut self, name: &Name) -> Result<bool, StateError> {
        self.check_usable()?;
        let Some(known) = self.keys.remove(name) else { return Ok(false) };
        let mut contents = format!("{HEADER}\n");
        contents.extend(self.keys.values().map(line));
        // The file just written is another than the one that was open.
        let rewritten =
            durable::replace(&self.path, contents.as_bytes()).and_then(|()| open_or_create(&self.path));
        match rewritten {
            Ok(file) => {
                self.file = file;
                Ok(true)
            }
            Err(error) => {
                self.failed = true;
                self.keys.insert(name.clone(), known);
                Err(error)
            }
        }
    }

    fn check_usable(&self) -> Result<(), StateError> {
        if self.failed { Err(StateError::Failed { path: self.path.clone() }) } else { Ok(()) }
    }
}

/// Reads what is there and touches nothing; a file that is not there has no keys.
pub(super) fn read(path: &Path) -> Result<BTreeMap<Name, KnownKey>, StateError> {
    let Some(bytes) = durable::read(path, MAX_FILE)? else { return Ok(BTreeMap::new()) };
    parse(path, &bytes[..whole_lines(&bytes)])
}

fn open_or_create(path: &Path) -> Result<File, StateError> {
    if let Some(file) = durable::open_to_append(path)? {
        return Ok(file);
    }
    durable::replace(path, format!("{HEADER}\n").as_bytes())?;
    let file = durable::open_to_append(path)?;
    file.ok_or_else(|| StateError::io(path)(std::io::ErrorKind::NotFound.into()))
}

/// How many bytes are whole lines. A last line with zero bytes is not one: that is how some file systems leave room they had given but not
/// filled.
fn whole_lines(bytes: &[u8]) -> usize {
    let end_before = |end: usize| bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = end_before(bytes.len());
    let begin = end_before(end.saturating_sub(1));
    if bytes[begin..end].contains(&0) { begin } else { end }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<Name, KnownKey>, StateError> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    if lines.next() != Some(format!("{HEADER}\n").as_bytes()) {
        return Err(StateError::Header { path: path.to_owned(), expected: HEADER });
    }
    let mut keys = BTreeMap::new();
    for (at, bytes) in lines.enumerate() {
        let damaged = |reason| StateError::Line { path: path.to_owned(), line: at + 2, reason };
        let known = parse_line(bytes).map_err(damaged)?;
        if at >= MAX_PINS {
            return Err(StateError::Full { path: path.to_owned(), most: MAX_PINS });
        }
        if keys.insert(known.binding.name.clone(), known).is_some() {
            return Err(damaged("the name stands on an earlier line too"));
        }
    }
    Ok(keys)
}

fn parse_line(bytes: &[u8]) -> Result<KnownKey, &'static str> {
    const FIELDS: &str = "expected NAME KEY GENERATION FIRST-SEEN, one space between them";
    let text = str::from_utf8(bytes).map_err(|_| FIELDS)?;
    let mut fields = text.strip_suffix('\n').ok_or(FIELDS)?.split(' ');
    let mut field = || fields.next().ok_or(FIELDS);
    let (name, key, generation, first_seen) = (field()?, field()?, field()?, field()?);
    let binding = Binding {
        name: name.parse().map_err(|_| "not a name")?,
        key: key.parse().map_err(|_| "not a key")?,
        generation: generation.parse().map_err(|_| "the generation is no number")?,
    };
    let first_seen = first_seen.parse().ok().and_then(UnixTime::from_millis).ok_or("no time")?;
    if binding.name.certified_key().is_some_and(|key| key != binding.key) {
        return Err("the name spells another key");
    }
    let known = KnownKey { binding, first_seen };
    // One spelling each: also no field too many, no sign, no leading zero, no other form of the key.
    if line(&known) == text { Ok(known) } else { Err(FIELDS) }
}

fn line(known: &KnownKey) -> String {
    let Binding { name, key, generation } = &known.binding;
    format!("{name} {key} {generation} {}\n", known.first_seen.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, seed: u8) -> KnownKey {
        let seed: [u8; 32] = std::array::from_fn(|at| seed.wrapping_add(at as u8));
        let key = jis::SecretKey::from_seed(seed.into()).expect("key").public_key();
        let name = name.parse().expect("name");
        KnownKey { binding: Binding { name, key, generation: 0 }, first_seen: UnixTime::from_secs(1) }
    }

    #[test]
    fn the_longest_line_is_within_the_bound() {
        let label = "a".repeat(63);
        let mut longest = known(&format!("jis:{label}:{label}:{label}:abcd"), 1);
        longest.binding.generation = u64::MAX;
        longest.first_seen = UnixTime::MAX;
        assert_eq!(longest.binding.name.as_str().len(), 200);
        assert!(line(&longest).len() as u64 <= MAX_LINE);
    }

    #[test]
    fn after_a_failed_write_nothing_more_is_written_r70() {
        let directory = tempfile::tempdir().expect("dir");
        let path = directory.path().join("known-keys");
        let mut keys = KnownKeys::open(path.clone()).expect("opened");
        // A descriptor that cannot be written stands for a disk that refuses.
        keys.file = File::open(&path).expect("read only");
        let (hub, lamp) = (known("jis:hub", 1), known("jis:lamp", 2));
        let failed = keys.remember(&hub.binding, hub.first_seen).expect_err("not written");
        assert!(matches!(failed, StateError::Io { .. }), "{failed}");
        assert!(keys.all().is_empty(), "what is not on disk is not known");
        keys.file = durable::open_to_append(&path).expect("opened").expect("there");
        for refused in
            [keys.remember(&lamp.binding, lamp.first_seen), keys.forget(&lamp.binding.name).map(|_| ())]
        {
            assert!(matches!(refused, Err(StateError::Failed { .. })), "{refused:?}");
        }
        let mut anew = KnownKeys::open(path).expect("opened anew");
        anew.remember(&lamp.binding, lamp.first_seen).expect("written");
    }
}
