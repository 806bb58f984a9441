//! Whether devices are there, as nodes see them.
//!
//! A node that loses its network loses all its devices at once: of one call the first changes get tokens of their own, and all others one
//! that counts them, as look-ups do.

use jis::{Name, UnixTime};
use tibet_core::json::{Object, Value};
use tibet_core::object;

use super::Registry;
use super::tokens::number;
use crate::refusal::Refusal;
use crate::store::{Presence, Store, StoreError};
use crate::tally::MAX_SUBJECTS;

/// Changes of one call of [`Registry::note_presence`] that get tokens of their own.
pub const MAX_PRESENCE_TOKENS: usize = 100;

/// A device came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    /// The device.
    pub name: Name,
    /// The node that saw it.
    pub node: Name,
    /// Whether it is there now.
    pub online: bool,
    /// Since when.
    pub at: UnixTime,
}

impl<S: Store> Registry<S> {
    /// Notes devices that came or went, in one transaction, and gives how many of these changes there were: what was noted before, what is
    /// older than what was noted, and names that are not registered change nothing. It never changes trust.
    ///
    /// The first [`MAX_PRESENCE_TOKENS`] changes get a token each, all others of the call one together.
    ///
    /// # Errors
    /// [`Refusal::ClockUnset`] for a time before this program was made; nothing is noted then. [`Refusal::Store`].
    pub fn note_presence(&mut self, changes: &[PresenceChange]) -> Result<u64, Refusal> {
        for change in changes {
            self.check_clock(change.at)?;
        }
        self.transact(|registry| {
            let mut noted = 0u64;
            let mut rest = Vec::new();
            for change in changes {
                if !registry.note_change(change)? {
                    continue;
                }
                noted += 1;
                if noted > MAX_PRESENCE_TOKENS as u64 {
                    rest.push(change);
                } else {
                    registry.append_presence(change)?;
                }
            }
            registry.append_presence_sum(&rest)?;
            Ok(noted)
        })
    }

    /// What was last noted of a device; none for one that nobody ever saw.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn presence(&self, name: &Name) -> Result<Option<Presence>, StoreError> {
        self.route(name)?.map_or(Ok(None), |route| self.store.presence(route.id))
    }

    /// Visits what was last noted of every device, by the number of its entry ([`Route::id`](crate::Route::id)).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn for_each_presence(&self, visit: &mut dyn FnMut(u64, Presence)) -> Result<(), StoreError> {
        self.store.for_each_presence(visit)
    }

    /// Writes a change down, if it is one.
    fn note_change(&mut self, change: &PresenceChange) -> Result<bool, StoreError> {
        let PresenceChange { name, node, online, at } = change;
        let Some(route) = self.route(name)? else { return Ok(false) };
        let held = self.store.presence(route.id)?;
        let news =
            held.is_none_or(|held| held.since <= *at && (held.online != *online || held.node != *node));
        if news {
            let presence = Presence { node: node.clone(), online: *online, since: *at };
            self.store.set_presence(route.id, &presence)?;
        }
        Ok(news)
    }

    fn append_presence(&mut self, change: &PresenceChange) -> Result<(), StoreError> {
        let PresenceChange { name, node, online, at } = change;
        let details = object! { "node" => node.as_str(), "online" => *online, "since" => at.to_string() };
        let erin = object! { "action" => "presence", "did" => name.as_str(), "details" => details };
        let why = format!("Overlay presence of {name}");
        self.append("presence", erin, vec![name.as_str().to_owned()], why, *at)?;
        Ok(())
    }

    fn append_presence_sum(&mut self, rest: &[&PresenceChange]) -> Result<(), StoreError> {
        let Some(last) = rest.iter().map(|change| change.at).max() else { return Ok(()) };
        // The last word on a name that changed more than once.
        let subjects: Object = rest
            .iter()
            .take(MAX_SUBJECTS)
            .map(|change| (change.name.to_string(), Value::Bool(change.online)))
            .collect();
        let online = rest.iter().filter(|change| change.online).count() as u64;
        let details = object! {
            "count" => number(rest.len() as u64),
            "online" => number(online),
            "subjects" => subjects,
            "others" => number(rest.len().saturating_sub(MAX_SUBJECTS) as u64),
        };
        let erin = object! { "action" => "presence", "subject" => "several", "details" => details };
        self.append("presence", erin, Vec::new(), "Overlay presence of several".to_owned(), last)?;
        Ok(())
    }
}
