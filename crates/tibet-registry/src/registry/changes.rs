//! What was written since: the audit log as the feed of changes.
//!
//! Whoever keeps entries in memory, as a node does for answering, learns from here what another process wrote.

use std::collections::BTreeSet;

use jis::Name;
use tibet_core::Token;
use tibet_core::json::Value;

use super::Registry;
use crate::entry::Route;
use crate::store::{Store, StoreError, StoredEntry};

/// Most tokens read by one call of [`Registry::changes_since`].
pub const MAX_CHANGES: u64 = 4096;

/// What a stretch of the audit log tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names whose entries were written.
    pub names: BTreeSet<Name>,
    /// Names whose devices came or went.
    pub presence: BTreeSet<Name>,
    /// Whether so many came or went at once that the log does not name them all: [`Registry::for_each_presence`] does.
    pub all_presence: bool,
    /// Tokens known now: what to ask from the next time.
    pub read_to: u64,
    /// Whether there are tokens behind these already.
    pub more: bool,
}

impl Changes {
    fn take(&mut self, token: &Token) {
        let Value::Object(erin) = &token.erin else { return };
        let name = erin.get("did").and_then(Value::as_str).and_then(|did| did.parse().ok());
        if token.action == "presence" {
            self.all_presence |= name.is_none();
            self.presence.extend(name);
        } else {
            self.names.extend(name);
        }
    }
}

impl<S: Store> Registry<S> {
    /// The names told of by the tokens from number `tokens` on, counted from 0: with the `count` of a head known before, what was
    /// written since. Reads at most [`MAX_CHANGES`] tokens, and says how far it came.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Unreadable`] with the index of a damaged token: go on from the one after it, and read all entries
    /// anew, since nobody can say what it told.
    pub fn changes_since(&self, tokens: u64) -> Result<Changes, StoreError> {
        let mut changes = Changes { read_to: tokens, ..Changes::default() };
        let head = self.store.head()?.map_or(0, |head| head.count);
        if head > tokens {
            self.store.tokens_from(tokens, MAX_CHANGES, &mut |index, token| {
                changes.take(&token);
                changes.read_to = index.saturating_add(1);
            })?;
        }
        changes.more = changes.read_to < head;
        Ok(changes)
    }

    /// Visits every entry with its number, in the order of registration; [`Route::decode`] reads it. With
    /// [`Registry::changes_since`] of a head taken before, a copy in memory misses nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn for_each(&self, visit: &mut dyn FnMut(u64, &Name, &[u8])) -> Result<(), StoreError> {
        self.store.for_each_entry(visit)
    }

    /// The entry of a name, revoked or not, without counting a look-up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn route(&self, name: &Name) -> Result<Option<Route>, StoreError> {
        let Some(StoredEntry { id, bytes }) = self.store.entry(name)? else { return Ok(None) };
        Ok(Some(Route::decode(id, bytes)?))
    }
}
