//! The keys that nodes are known by.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use jis::PublicKey;

use crate::secret_file::{self, SecretFileError};

/// Nodes that are remembered. They are written by hand, so this is many.
const MAX_NODES: usize = 256;

/// The keys that nodes were first seen with, by their place, as ssh keeps `known_hosts`: a line each, `PLACE KEY`.
///
/// A key is noted when something that it signed has verified. Another key for the same place is refused until the operator gives it
/// (`KEY@PLACE`) or takes the line away.
#[derive(Debug, Default)]
pub struct NodePins {
    file: Option<PathBuf>,
    /// Without a file.
    held: Mutex<BTreeMap<String, PublicKey>>,
}

impl NodePins {
    /// Pins that last as long as the program.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Pins in this file, which need not be there yet.
    #[must_use]
    pub fn in_file(path: PathBuf) -> Self {
        Self { file: Some(path), held: Mutex::default() }
    }

    /// The key of the node at `place`, if it was seen before.
    ///
    /// # Errors
    /// [`SecretFileError`] for a file that others could have changed.
    pub fn get(&self, place: &str) -> Result<Option<PublicKey>, SecretFileError> {
        Ok(self.read()?.get(place).copied())
    }

    /// Notes the key that a node was first seen with, and gives the one it is known by: another one, if that was noted before. Of too many nodes
    /// none more is noted.
    ///
    /// # Errors
    /// [`SecretFileError`]; then nothing was noted.
    pub fn note(&self, place: &str, key: PublicKey) -> Result<PublicKey, SecretFileError> {
        self.change(|pins| match pins.get(place) {
            Some(known) => *known,
            None => {
                insert(pins, place, key);
                key
            }
        })
    }

    /// Notes the key that a node has by the operator's word, in place of any before. Of too many nodes none more is noted.
    ///
    /// # Errors
    /// [`SecretFileError`]; then nothing was noted.
    pub fn set(&self, place: &str, key: PublicKey) -> Result<(), SecretFileError> {
        self.change(|pins| insert(pins, place, key))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, PublicKey>) -> T,
    ) -> Result<T, SecretFileError> {
        let Some(file) = &self.file else {
            return Ok(change(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner)));
        };
        let directory = file.parent().unwrap_or(std::path::Path::new("."));
        secret_file::create_directory(directory)?;
        // Two programs that learn of two nodes at once shall not forget one of them.
        let lock = secret_file::lock_directory(directory)?;
        let before = self.read()?;
        let mut pins = before.clone();
        let changed = change(&mut pins);
        if pins != before {
            let text: String = pins.iter().map(|(place, key)| format!("{place} {key}\n")).collect();
            secret_file::replace(file, &text)?;
        }
        drop(lock);
        Ok(changed)
    }

    fn read(&self) -> Result<BTreeMap<String, PublicKey>, SecretFileError> {
        let Some(file) = &self.file else {
            return Ok(self.held.lock().unwrap_or_else(PoisonError::into_inner).clone());
        };
        let text = match secret_file::read(file) {
            Err(error) if error.is_not_found() => return Ok(BTreeMap::new()),
            other => other?,
        };
        let mut pins = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let pin = line.split_once(' ').and_then(|(place, key)| Some((place, key.parse().ok()?)));
            // A pin that cannot be read must not become a first contact.
            let (place, key) = pin.ok_or_else(|| SecretFileError::Io {
                path: file.clone(),
                source: std::io::Error::other(format!("line {} is no node with its key", number + 1)),
            })?;
            pins.insert(place.to_owned(), key);
        }
        Ok(pins)
    }
}

fn insert(pins: &mut BTreeMap<String, PublicKey>, place: &str, key: PublicKey) {
    if pins.len() < MAX_NODES || pins.contains_key(place) {
        pins.insert(place.to_owned(), key);
    }
}
