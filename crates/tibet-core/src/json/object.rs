//! Maps that remember the order of their members.

use std::slice;

use super::{NameFilter, Repeated, Value};

/// A JSON object: members in insertion order, each name once.
///
/// Lookup is linear. The objects of tokens have a dozen members; the reader checks names of long objects by sorting, so that a
/// hostile object costs n log n and not n².
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// An object without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes members whose names the reader found to be different.
    pub(super) fn from_distinct(members: Vec<(String, Value)>) -> Self {
        Self(members)
    }

    /// Sets a member. A member that exists already keeps its place and gets the new value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(existing, _)| *existing == name) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name, value)),
        }
    }

    /// Adds a member whose name `filter`, used for nothing else, has not seen yet. At worst it looks at all members, so the caller bounds
    /// their number.
    ///
    /// # Errors
    /// [`Repeated`]; then nothing was added.
    pub fn push(
        &mut self,
        filter: &mut NameFilter,
        name: impl Into<String>,
        value: Value,
    ) -> Result<(), Repeated> {
        let name = name.into();
        filter.add(&name, || self.get(&name).is_some())?;
        self.0.push((name, value));
        Ok(())
    }

    /// The member called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(existing, _)| existing == name).map(|(_, value)| value)
    }

    /// The number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in order.
    pub fn iter(&self) -> slice::Iter<'_, (String, Value)> {
        self.0.iter()
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Object {
    type Item = &'a (String, Value);
    type IntoIter = slice::Iter<'a, (String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Later members replace earlier ones of the same name, as [`Object::insert`] does.
impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let mut object = Self::new();
        for (name, value) in members {
            object.insert(name, value);
        }
        object
    }
}
