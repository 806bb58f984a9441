//! Looking things up.

use jis::{Capability, IdentityStatus, Name, UnixTime};

use super::Registry;
use crate::entry::Route;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};
use crate::tally::Counted;
use crate::trust::Standing;

/// Most names in one page of a search.
pub const MAX_PAGE: usize = 1000;

/// What is known of a name: its own signed record, and how the device stands.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The record and what belongs to it.
    pub route: Route,
    /// The device's standing.
    pub standing: Standing,
}

impl Resolution {
    /// Whether the record's time has not run out.
    #[must_use]
    pub fn is_fresh(&self, now: UnixTime) -> bool {
        now <= self.route.expires_at
    }
}

/// Part of the names that offer a capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The names, in the order they were registered.
    pub names: Vec<Name>,
    /// Where the next page begins; none after the last.
    pub next: Option<u64>,
}

impl<S: Store> Registry<S> {
    /// Looks a name up. Counted in the audit log, not written one by one; it never changes trust.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Revoked`], [`Refusal::Store`].
    pub fn resolve(&mut self, name: &Name, now: UnixTime) -> Result<Resolution, Refusal> {
        let Some(route) = self.route(name)? else {
            self.count_quietly(Counted::Refused, "unknown name", now);
            return Err(Refusal::Unknown(name.clone()));
        };
        if route.status != IdentityStatus::Active {
            self.count_quietly(Counted::Refused, "revoked name", now);
            return Err(Refusal::Revoked { name: name.clone(), status: route.status });
        }
        self.count_quietly(Counted::Resolve, name.as_str(), now);
        let standing = self.standing_of_route(&route, now)?;
        Ok(Resolution { route, standing })
    }

    /// Looks a name up without leaving a trace, revoked or not: for the registry's own operator, and for hot paths that count for
    /// themselves.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn peek(&self, name: &Name, now: UnixTime) -> Result<Option<Resolution>, StoreError> {
        let Some(route) = self.route(name)? else { return Ok(None) };
        let standing = self.standing_of_route(&route, now)?;
        Ok(Some(Resolution { route, standing }))
    }

    /// Names that offer a capability, from an index. `after` is the `next` of the page before, 0 for the first; a page holds at most
    /// [`MAX_PAGE`] names.
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub fn find(
        &mut self,
        capability: &Capability,
        after: u64,
        limit: usize,
        now: UnixTime,
    ) -> Result<Page, Refusal> {
        let limit = limit.clamp(1, MAX_PAGE);
        let found = self.store.with_capability(capability, after, limit)?;
        // What nobody offers is a stranger's word, which the log does not repeat.
        let subject = if found.is_empty() { "nothing found" } else { capability.as_str() };
        self.count_quietly(Counted::Discovery, subject, now);
        let next = if found.len() == limit { found.last().map(|(id, _)| *id) } else { None };
        Ok(Page { names: found.into_iter().map(|(_, name)| name).collect(), next })
    }

    /// Counts a look-up. A look-up changes nothing, so it is answered even where its token cannot be written: on a full disk, or from a
    /// file opened for reading. It is still in the tally then and written with the next sum that succeeds.
    fn count_quietly(&mut self, what: Counted, subject: &str, now: UnixTime) {
        if self.count(what, subject, now).is_err() {
            self.tally.give_back(what, subject, now);
        }
    }
}
