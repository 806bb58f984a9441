//! Whether devices are there, as nodes see them.
//!
//! A node that loses its network loses all its devices at once: of one call the first changes get tokens of their own, and all others one
//! that counts them, as look-ups do.

use std::time::Duration;

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

/// How much older than what was noted a change may be and still be a late one. One of the same node that is older yet was made with a clock that
/// was ahead before and is right now: it counts, or that clock would have the last word for ever.
const MAX_PRESENCE_DELAY: Duration = Duration::from_secs(600);

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
    /// older than what the same node has noted, by ten minutes at most, and names that are not registered change nothing. The times of
    /// different nodes are not compared: a device is where it came to last, and only the node where it is says that it went. It never changes
    /// trust.
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
        let news = held.is_none_or(|held| {
            if held.node != *node {
                return *online;
            }
            let late = held.since.saturating_since(*at);
            held.online != *online && (late == Duration::ZERO || late > MAX_PRESENCE_DELAY)
        });
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jis::{
        Identity, Inception, KeyEvent, NextKeyCommitment, Record, RecordStatus, RecordVersion, SecretKey,
        Signed,
    };

    use super::*;
    use crate::{MemoryStore, Opening, Policy, Registration, Source};

    const START: UnixTime = UnixTime::from_secs(1_780_272_000);

    /// With `jis:a` in it.
    fn registry() -> Registry<MemoryStore> {
        let key = |seed: u8| {
            SecretKey::from_seed(std::array::from_fn::<u8, 32, _>(|i| seed + i as u8).into()).expect("key")
        };
        let opening =
            Opening { log_key: Arc::new(key(7)), origin: None, policy: Policy::default(), secret: [8; 32] };
        let mut registry = Registry::open(MemoryStore::new(), opening).expect("opened");
        let (name, next): (Name, _) =
            ("jis:a".parse().expect("name"), NextKeyCommitment::from_bytes([9; 32]));
        let inception = Inception { name, key: key(1).public_key(), next, created_at: START };
        let inception = Signed::seal(inception, &key(1)).expect("signed");
        let identity = Identity::incept(&inception).expect("identity");
        let record = Record {
            name: identity.name,
            fingerprint: identity.fingerprint,
            version: RecordVersion { generation: 0, seq: 0 },
            key: identity.key,
            transport_key: None,
            issued_at: START,
            ttl: Record::MAX_TTL,
            endpoints: Vec::new(),
            relays: Vec::new(),
            capabilities: [].into(),
            status: RecordStatus::Active,
            previous: [0; 32],
            next,
            behind_nat: true,
        };
        let record = Signed::seal(record, &key(1)).expect("signed");
        let events = vec![KeyEvent::Inception(inception)];
        let registration = Registration { events, record, transport: None, permission: None };
        registry.register(registration, Source::Local, START).expect("registered");
        registry
    }

    fn note(registry: &mut Registry<MemoryStore>, node: &str, online: bool, at: UnixTime) -> bool {
        let [name, node] = ["jis:a", node].map(|name| name.parse().expect("name"));
        registry.note_presence(&[PresenceChange { name, node, online, at }]) == Ok(1)
    }

    /// SECURITY R43: a clock that was ahead has not the last word.
    #[test]
    fn a_node_whose_clock_was_ahead_stands_in_nobodys_way() {
        let mut registry = registry();
        let year = Duration::from_secs(365 * 24 * 3600);
        assert!(note(&mut registry, "jis:ahead", true, START.saturating_add(year)));
        assert!(note(&mut registry, "jis:right", true, START), "it came to another node");
        assert!(note(&mut registry, "jis:right", false, START));
        assert!(note(&mut registry, "jis:ahead", true, START.saturating_add(year)));
        // Its clock was set right.
        assert!(note(&mut registry, "jis:ahead", false, START));
        // What is only late is no news.
        let later = START.saturating_add(MAX_PRESENCE_DELAY);
        assert!(note(&mut registry, "jis:ahead", true, later));
        assert!(!note(&mut registry, "jis:ahead", false, START));
    }

    #[test]
    fn only_the_node_where_a_device_is_says_that_it_went() {
        let mut registry = registry();
        assert!(note(&mut registry, "jis:old", true, START));
        assert!(note(&mut registry, "jis:new", true, START));
        let later = START.saturating_add(Duration::from_secs(120));
        assert!(!note(&mut registry, "jis:old", false, later), "it is at the new one");
        assert!(note(&mut registry, "jis:new", false, later));
    }
}
