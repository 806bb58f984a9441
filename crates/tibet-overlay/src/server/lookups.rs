//! Counts look-ups for the audit log: one token a minute, with the names that were looked up most recently first seen (decision 6).

use std::collections::HashMap;

use jis::{Name, UnixTime};
use tibet_registry::NotedLookups;

/// Names counted one by one in a minute; look-ups of further ones are counted together.
const MAX_NAMES: usize = 64;

/// The look-ups of a minute.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// By number of the identity.
    names: HashMap<u32, u64>,
    others: u64,
    unknown: u64,
    found: u64,
    since: Option<UnixTime>,
}

impl Lookups {
    pub(super) fn resolved(&mut self, number: u32) {
        if let Some(count) = self.names.get_mut(&number) {
            *count += 1;
        } else if self.names.len() < MAX_NAMES {
            self.names.insert(number, 1);
        } else {
            self.others += 1;
        }
    }

    pub(super) fn unknown(&mut self) {
        self.unknown += 1;
    }

    pub(super) fn searched(&mut self) {
        self.found += 1;
    }

    /// Takes what was counted since the last time, if anything was.
    pub(super) fn take(
        &mut self,
        now: UnixTime,
        name_of: impl Fn(u32) -> Option<Name>,
    ) -> Option<NotedLookups> {
        let Self { names, others, unknown, found, since } = std::mem::take(self);
        self.since = Some(now);
        if names.is_empty() && unknown == 0 && found == 0 {
            return None;
        }
        let mut sum = NotedLookups { others, unknown, searches: found, since, names: Vec::new() };
        for (number, count) in names {
            match name_of(number) {
                Some(name) => sum.names.push((name, count)),
                None => sum.others += count,
            }
        }
        sum.names.sort();
        Some(sum)
    }
}
