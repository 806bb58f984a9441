//! All identities in memory, for answering without a question to the store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jis::{IdentityStatus, Name};
use tibet_registry::{Registry, Route, Store, StoreError, Zone};

use super::glance::RecordGlance;
use crate::intents::PresenceState;

/// Most identities a directory holds. Numbers in keepalive tokens have four bytes; memory is reached long before.
pub const MAX_DIRECTORY: u32 = 100_000_000;

/// The entries of a registry by name and by number, as they were after the last commit that this node has seen.
#[derive(Debug, Default)]
pub struct Directory {
    numbers: HashMap<Name, u32>,
    /// By number, from 1; what is missing was given to a claim that did not come about.
    entries: Vec<Option<Arc<[u8]>>>,
    /// Devices that other nodes of the same registry have noted as there, each with the number of its node.
    elsewhere: HashMap<u32, u16>,
    /// Nodes that give no sign of life.
    silent_nodes: HashSet<u16>,
    /// Identities that are not to be answered: revoked, or in ROOD by the operator's word. Few, so that keepalives ask nothing more.
    silenced: HashSet<u32>,
    /// Who offers what. As many words as records have, at most 32 each.
    offers: HashMap<Box<str>, BTreeSet<u32>>,
}

impl Directory {
    /// Reads all of a registry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn load<S: Store>(registry: &Registry<S>) -> Result<Self, StoreError> {
        let mut directory = Self::default();
        registry.for_each(&mut |number, name, bytes| directory.insert(number, name, bytes.into()))?;
        Ok(directory)
    }

    /// Takes in what is known of a name now.
    pub(super) fn insert(&mut self, number: u64, name: &Name, entry: Arc<[u8]>) {
        let Some(number) = u32::try_from(number).ok().filter(|number| *number <= MAX_DIRECTORY) else {
            return;
        };
        let at = number as usize;
        if self.entries.len() <= at {
            self.entries.resize(at + 1, None);
        }
        let before = self.entries[at].replace(Arc::clone(&entry));
        if before.is_none() {
            self.numbers.insert(name.clone(), number);
        }
        let route = Route::decode(number.into(), entry).ok();
        let before = before.and_then(|before| Route::decode(number.into(), before).ok());
        self.set_offers(number, before.as_ref(), route.as_ref());
        let silenced = route.is_some_and(|route| {
            let rood = route.explicit_trust.is_some_and(|trust| Zone::of(trust) == Zone::Rood);
            rood || route.status != IdentityStatus::Active
        });
        if silenced {
            self.silenced.insert(number);
        } else {
            self.silenced.remove(&number);
        }
    }

    /// Has an identity found by what it offers now, and no more by what it offered before.
    fn set_offers(&mut self, number: u32, before: Option<&Route>, now: Option<&Route>) {
        let (before, now) = (offered(before), offered(now));
        for word in before.iter().filter(|word| !now.contains(word)) {
            if let Some(those) = self.offers.get_mut(*word) {
                those.remove(&number);
                if those.is_empty() {
                    self.offers.remove(*word);
                }
            }
        }
        for word in now.iter().filter(|word| !before.contains(word)) {
            if let Some(those) = self.offers.get_mut(*word) {
                those.insert(number);
            } else {
                self.offers.insert((*word).into(), [number].into());
            }
        }
    }

    /// Identities with numbers above `after` that offer a capability and are not revoked, in the order they registered.
    pub(super) fn offering(&self, capability: &str, after: u32) -> impl Iterator<Item = Route> + '_ {
        let those = self.offers.get(capability).into_iter();
        let later = those.flat_map(move |those| those.range(after.saturating_add(1)..));
        later.filter_map(|number| self.route_of(*number))
    }

    /// Whether the identity with a number is one to be silent to, however alive its device is (SECURITY R20).
    pub(super) fn is_silenced(&self, number: u32) -> bool {
        self.silenced.contains(&number)
    }

    /// The node that has noted a device as there, if another one has.
    pub(super) fn set_elsewhere(&mut self, number: u64, node: Option<u16>) {
        let Ok(number) = u32::try_from(number) else { return };
        if let Some(node) = node {
            self.elsewhere.insert(number, node);
        } else {
            self.elsewhere.remove(&number);
        }
    }

    /// What other nodes have noted of all devices.
    pub(super) fn replace_elsewhere(&mut self, elsewhere: HashMap<u32, u16>) {
        self.elsewhere = elsewhere;
    }

    /// The nodes that give no sign of life now.
    pub(super) fn set_silent_nodes(&mut self, nodes: HashSet<u16>) {
        self.silent_nodes = nodes;
    }

    /// What is known of a device by the word of another node of the same registry: that it is there, or that it is gone with its node.
    pub(super) fn elsewhere(&self, number: u32) -> Option<PresenceState> {
        let node = self.elsewhere.get(&number)?;
        let silent = self.silent_nodes.contains(node);
        Some(if silent { PresenceState::Gone } else { PresenceState::Online })
    }

    /// The number of a name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// What is known of a name.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<Route> {
        self.route_of(self.number(name)?)
    }

    /// What is known of the identity with a number.
    #[must_use]
    pub fn route_of(&self, number: u32) -> Option<Route> {
        let entry = self.entries.get(number as usize)?.as_ref()?;
        Route::decode(number.into(), Arc::clone(entry)).ok()
    }

    /// The key that an identity has, unless it is revoked.
    pub(super) fn key_of(&self, number: u32) -> Option<[u8; 32]> {
        let route = self.route_of(number)?;
        (route.status == IdentityStatus::Active).then_some(*route.key_bytes())
    }

    /// How many identities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Identities with a number above `after`, in the order they registered.
    pub fn after(&self, after: u32) -> impl Iterator<Item = Route> + '_ {
        let last = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        (after.saturating_add(1)..last).filter_map(|number| self.route_of(number))
    }
}

/// What an identity is found by.
fn offered(route: Option<&Route>) -> Vec<&str> {
    let active = route.filter(|route| route.status == IdentityStatus::Active);
    let record = active.and_then(|route| RecordGlance::of(route.record_bytes()));
    record.map_or_else(Vec::new, |record| record.capabilities)
}
