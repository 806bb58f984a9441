//! What a node has seen by itself, for the log: look-ups it answered from memory, and keys that two devices share.

use jis::{Name, UnixTime};
use tibet_core::object;

use super::Registry;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::tally::{Counted, MAX_SUBJECTS, Sum};
use crate::trust::Standing;

/// Look-ups that were answered without the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotedLookups {
    /// Names and how often; at most [`TALLY_SUBJECTS`](MAX_SUBJECTS), more are counted with the others.
    pub names: Vec<(Name, u64)>,
    /// Look-ups of further names.
    pub others: u64,
    /// Look-ups of names that are not registered.
    pub unknown: u64,
    /// Searches by capability.
    pub searches: u64,
    /// Since when it was counted.
    pub since: Option<UnixTime>,
}

impl<S: Store> Registry<S> {
    /// Writes what a node has counted: one token for each kind of look-up. Look-ups never change trust (SECURITY R37).
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub fn note_lookups(&mut self, noted: NotedLookups, now: UnixTime) -> Result<(), Refusal> {
        let NotedLookups { names, others, unknown, searches, since } = noted;
        let since = since.unwrap_or(now);
        let beyond: u64 = names.iter().skip(MAX_SUBJECTS).map(|(_, count)| count).sum();
        let subjects =
            names.into_iter().take(MAX_SUBJECTS).map(|(name, count)| (name.as_str().into(), count)).collect();
        let resolved = Sum { what: Counted::Resolve, since, subjects, others: others.saturating_add(beyond) };
        let one = |what, others| Sum { what, since, subjects: Vec::new(), others };
        let sums = [resolved, one(Counted::Refused, unknown), one(Counted::Discovery, searches)];
        self.write_sums(sums.into_iter().filter(|sum| sum.total() > 0).collect(), now)
    }

    /// Two devices share the key of this identity (SECURITY R41): it is disputed until the operator has settled it, so at most GEEL. Noted
    /// once; what it was noticed by stands in the token.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Store`].
    pub fn note_clone(&mut self, name: &Name, what: &str, now: UnixTime) -> Result<Standing, Refusal> {
        if self.route(name)?.is_some_and(|route| route.disputed) {
            return Ok(self.standing(name, now)?);
        }
        self.change(name, now, |entry| {
            entry.disputed = true;
            ("equivocation", object! { "contradicting" => "devices", "what" => what })
        })
    }
}
