//! Finding a session among many.

use super::secret::Secret;
use crate::probe::Session;

/// Finds a slot by its name, in one or two steps into memory: every datagram is looked up twice. Which names share a place depends on a secret, so that nobody can choose
/// many that do.
pub(super) struct Index {
    mix: [u64; 2],
    /// As many as there are names, or up to twice as many: a power of two.
    places: Vec<Vec<(u128, usize)>>,
    names: usize,
}

/// A session's name in an index.
pub(super) fn name_of(session: &Session) -> u128 {
    u64::from_be_bytes(*session).into()
}

impl Index {
    pub(super) fn new(secret: &Secret, which: u8) -> Self {
        let part = |half| u64::from_be_bytes(secret.number(b"index", &[which, half]));
        Self { mix: [part(1), part(2)], places: vec![Vec::new()], names: 0 }
    }

    fn place(&self, name: u128) -> usize {
        let (high, low) = ((name >> 64) as u64, name as u64);
        let product = u128::from(high ^ self.mix[0]) * u128::from(low ^ self.mix[1]);
        // Both halves of the product: each bit of the name reaches them.
        ((product >> 64) as u64 ^ product as u64) as usize & (self.places.len() - 1)
    }

    pub(super) fn get(&self, name: u128) -> Option<usize> {
        let entries = self.places.get(self.place(name))?;
        entries.iter().find(|(known, _)| *known == name).map(|(_, slot)| *slot)
    }

    /// Adds a name that is not there.
    pub(super) fn insert(&mut self, name: u128, slot: usize) {
        if self.names >= self.places.len() {
            let wider = vec![Vec::new(); 2 * self.places.len()];
            let entries = std::mem::replace(&mut self.places, wider);
            entries.into_iter().flatten().for_each(|(name, slot)| self.put(name, slot));
        }
        self.put(name, slot);
        self.names += 1;
    }

    fn put(&mut self, name: u128, slot: usize) {
        let place = self.place(name);
        self.places[place].push((name, slot));
    }

    pub(super) fn remove(&mut self, name: u128) {
        let place = self.place(name);
        let before = self.places[place].len();
        self.places[place].retain(|(known, _)| *known != name);
        self.names -= before - self.places[place].len();
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_index_finds_what_was_put_in_and_nothing_that_was_taken_out() {
        let mut index = Index::new(&Secret::new([3; 32]), 1);
        let mut expected = BTreeMap::new();
        for step in 0..5000_u64 {
            let name = u128::from(step * 7919 % 1009) << 64 | u128::from(step * 31 % 3);
            match expected.remove(&name) {
                Some(_) => index.remove(name),
                None => {
                    index.insert(name, step as usize);
                    expected.insert(name, step as usize);
                }
            }
            index.remove(u128::MAX);
            assert_eq!(index.get(name), expected.get(&name).copied());
            assert_eq!(index.names, expected.len());
        }
        assert!(expected.len() > 100);
        assert!(expected.iter().all(|(name, slot)| index.get(*name) == Some(*slot)));
        assert!(index.places.len() <= 4096 && index.places.iter().all(|place| place.len() < 12));
    }
}
