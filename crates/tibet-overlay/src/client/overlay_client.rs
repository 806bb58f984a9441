//! Several nodes, and what was learnt from any of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jis::{Identity, IdentityStatus, KeyEvent, Name, ProofError, Record, Signed, UnixTime};
use tibet_ping::FoundStatus;
use tibet_registry::{MAX_EVENTS, StoreError};

use super::staggered::first;
use super::{NodeClient, QueryError};
use crate::name_memory::{KnownName, LearnError, NameMemory};
use crate::system;

/// Finds devices through overlay nodes, and believes none of them more than its key signs for.
///
/// The nodes are asked in their order, the next one when the one before has failed or takes long; where a question may be asked but once, when it has failed.
/// What one hands on is verified before it counts, and what was seen before is never taken back
/// ([`NameMemory`]). When no node is there, what is known still serves: see [`Route::origin`].
#[derive(Debug)]
pub struct OverlayClient {
    nodes: Vec<Arc<NodeClient>>,
    memory: Mutex<NameMemory>,
}

/// Where a name leads.
#[derive(Debug, Clone)]
pub struct Route {
    /// The device's own record, verified; `None` where only a neighbour on the network knows it.
    pub record: Option<Signed<Record>>,
    /// Who it is, by its key events.
    pub identity: Option<Identity>,
    /// Where it can be reached, best first.
    pub endpoints: Vec<SocketAddr>,
    /// Who says so.
    pub origin: RouteOrigin,
    /// What went wrong on the way here: nodes that were found to be away, or that told what is not so.
    pub notes: Vec<RouteNote>,
}

/// Who knew a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteOrigin {
    /// Ourselves, from a record that still holds.
    Cache,
    /// A node, as it was written.
    Node(String),
    /// A neighbour on the network that has shown its key.
    Neighbour,
    /// Ourselves, from a record whose time has run out: where the device was, not where it is.
    LastKnown,
}

/// Why a node did not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteNote {
    /// It could not be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// What it handed out does not verify, or is older than what was seen (SECURITY 3.2 row 82, R42).
    #[error("what the node {node} says of the name was not believed: {reason}")]
    Disbelieved {
        /// As it was written.
        node: String,
        /// Why.
        reason: LearnError,
    },
    /// It does not know the name.
    #[error("the node {node} does not know the name")]
    Unknown {
        /// As it was written.
        node: String,
    },
    /// The newest record that it has of the name has expired.
    #[error("the record that the node {node} has of the name has expired")]
    Expired {
        /// As it was written.
        node: String,
    },
    /// The proof that came through it is not one of the device for us, now.
    #[error("what the node {node} handed on does not convince: {reason}")]
    BadProof {
        /// As it was written.
        node: String,
        /// Why.
        reason: ProofError,
    },
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// A node that was asked does not know it, and nobody else does.
    #[error("{name} is not registered with {}", list(nodes))]
    Unknown {
        /// The name.
        name: Name,
        /// The nodes that said so.
        nodes: Vec<String>,
    },
    /// Its key or its name has ended.
    #[error("{name} is revoked")]
    Revoked {
        /// The name.
        name: Name,
    },
    /// No node helped, and nothing is known.
    #[error("{name} cannot be resolved: {}", notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Failed {
        /// The name.
        name: Name,
        /// What was tried.
        notes: Vec<RouteNote>,
    },
    /// What was seen before cannot be read, so nothing can be believed.
    #[error("the memory of names: {0}")]
    Memory(#[from] StoreError),
}

fn list(nodes: &[String]) -> String {
    nodes.join(", ")
}

/// What a node knew.
pub(super) enum Fetched {
    Known(Box<KnownName>),
    Unknown,
    Revoked,
}

/// What ends a search.
struct Answer {
    /// `None` when it is revoked.
    known: Option<Box<KnownName>>,
    /// Who said so, as it was written.
    node: String,
}

impl OverlayClient {
    /// Asks these nodes, in this order, and remembers in `memory`.
    #[must_use]
    pub fn new(nodes: Vec<Arc<NodeClient>>, memory: NameMemory) -> Self {
        Self { nodes, memory: Mutex::new(memory) }
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<NodeClient>] {
        &self.nodes
    }

    /// Resolves a name: the nodes in their order, since a device may have moved; where none of them helps, a record that still holds, else what
    /// `neighbour` knows, else the last that was known (decision 14).
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(
        &self,
        name: &Name,
        neighbour: impl FnOnce() -> Option<SocketAddr>,
    ) -> Result<Route, ResolveError> {
        let asked: Vec<_> = self.nodes.iter().map(|node| self.answer_of(node, name)).collect();
        let (answer, notes) = first(asked).await;
        if let Some(Answer { known, node }) = answer {
            let known = known.ok_or_else(|| ResolveError::Revoked { name: name.clone() })?;
            return Ok(Route::of(*known, RouteOrigin::Node(node), notes));
        }
        let known = self.memory().known(name)?;
        if known.as_ref().is_some_and(|known| !is_active(known)) {
            return Err(ResolveError::Revoked { name: name.clone() });
        }
        if let Some(known) = known.clone().filter(|known| holds(known, system::now())) {
            return Ok(Route::of(known, RouteOrigin::Cache, notes));
        }
        if let Some(address) = neighbour() {
            let origin = RouteOrigin::Neighbour;
            return Ok(Route { record: None, identity: None, endpoints: vec![address], origin, notes });
        }
        match known {
            Some(known) => Ok(Route::of(known, RouteOrigin::LastKnown, notes)),
            None => Err(nowhere(name, notes)),
        }
    }

    /// What a node has to say of a name, if that ends the search; else what is to be told of it.
    async fn answer_of(&self, node: &NodeClient, name: &Name) -> Result<Answer, RouteNote> {
        let place = node.address().place();
        match self.fetch(node, name).await {
            // An expired record says where it was: perhaps another node knows more.
            Ok(Fetched::Known(known)) if !holds(&known, system::now()) => {
                Err(RouteNote::Expired { node: place })
            }
            Ok(Fetched::Known(known)) => Ok(Answer { known: Some(known), node: place }),
            Ok(Fetched::Revoked) => Ok(Answer { known: None, node: place }),
            Ok(Fetched::Unknown) => Err(RouteNote::Unknown { node: place }),
            Err(note) => Err(note),
        }
    }

    /// What is known of a name without asking anybody, if its record still holds.
    ///
    /// # Errors
    /// [`StoreError`] of the memory.
    pub(crate) fn remembered(&self, name: &Name) -> Result<Option<Route>, StoreError> {
        let known =
            self.memory().known(name)?.filter(|known| is_active(known) && holds(known, system::now()));
        Ok(known.map(|known| Route::of(known, RouteOrigin::Cache, Vec::new())))
    }

    /// What was seen of a name, without asking anybody: revoked or not, expired or not.
    ///
    /// # Errors
    /// [`StoreError`] of the memory.
    pub(crate) fn known(&self, name: &Name) -> Result<Option<KnownName>, StoreError> {
        self.memory().known(name)
    }

    /// Asks one node, verifies, and remembers.
    pub(super) async fn fetch(&self, node: &NodeClient, name: &Name) -> Result<Fetched, RouteNote> {
        let disbelieved = |reason| RouteNote::Disbelieved { node: node.address().place(), reason };
        let known = self.memory().known(name).map_err(|error| disbelieved(LearnError::Memory(error)))?;
        // Key events are only ever added: what is known of them is the beginning.
        let mut events = known.map_or_else(Vec::new, |known| known.events);
        loop {
            let from = u8::try_from(events.len()).unwrap_or(u8::MAX - 1);
            let found = node.lookup(name, Some(from)).await?;
            if found.status == FoundStatus::Unknown {
                return Ok(Fetched::Unknown);
            }
            let read = found.history.iter().map(|event| KeyEvent::decode(event));
            let more: Vec<KeyEvent> =
                read.collect::<Result<_, _>>().map_err(|_| disbelieved(LearnError::Unreadable))?;
            let progress = !more.is_empty();
            events.extend(more);
            if events.len() > MAX_EVENTS {
                return Err(disbelieved(LearnError::Unreadable));
            }
            if progress && events.len() < usize::from(found.events) {
                continue;
            }
            let Some(record) = found.record else {
                // That it is revoked would show in its key events; a bare word of a node ends no search.
                return Ok(Fetched::Unknown);
            };
            let mut memory = self.memory();
            return match memory.learn(&events, record, system::now()) {
                Ok(_) => {
                    let known = memory.known(name).map_err(|error| disbelieved(LearnError::Memory(error)))?;
                    Ok(known.map_or(Fetched::Unknown, |known| Fetched::Known(Box::new(known))))
                }
                Err(LearnError::Revoked) => Ok(Fetched::Revoked),
                Err(reason) => Err(disbelieved(reason)),
            };
        }
    }

    fn memory(&self) -> MutexGuard<'_, NameMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    fn of(known: KnownName, origin: RouteOrigin, notes: Vec<RouteNote>) -> Self {
        let endpoints = known.record.claims().endpoints.iter().map(jis::Endpoint::address).collect();
        Self { record: Some(known.record), identity: Some(known.identity), endpoints, origin, notes }
    }

    /// Whether it says where the device was, not where it is.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.origin == RouteOrigin::LastKnown
    }

    /// The nodes, if every one that was asked says that it does not know the name: then what is known of it is from before.
    pub(crate) fn disowned_by(&self) -> Option<Vec<String>> {
        if matches!(self.origin, RouteOrigin::Node(_)) { None } else { disowned_by(&self.notes) }
    }

    /// Whether any node could be asked for something newer.
    pub(crate) fn is_answered(&self) -> bool {
        let answered =
            |note: &RouteNote| matches!(note, RouteNote::Unknown { .. } | RouteNote::Expired { .. });
        matches!(self.origin, RouteOrigin::Node(_)) || self.notes.iter().any(answered)
    }
}

impl RouteOrigin {
    /// One word for programs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Node(_) => "node",
            Self::Neighbour => "neighbour",
            Self::LastKnown => "last_known",
        }
    }
}

fn is_active(known: &KnownName) -> bool {
    known.identity.status == IdentityStatus::Active
}

fn holds(known: &KnownName, now: UnixTime) -> bool {
    now <= known.record.claims().expires_at()
}

fn nowhere(name: &Name, notes: Vec<RouteNote>) -> ResolveError {
    match disowned_by(&notes) {
        Some(nodes) => ResolveError::Unknown { name: name.clone(), nodes },
        None => ResolveError::Failed { name: name.clone(), notes },
    }
}

/// That a name is unknown is said only if every node that was asked said so, once each.
fn disowned_by(notes: &[RouteNote]) -> Option<Vec<String>> {
    let unknown = |note: &RouteNote| match note {
        RouteNote::Unknown { node } => Some(node.clone()),
        _ => None,
    };
    let nodes: Option<BTreeSet<String>> = notes.iter().map(unknown).collect();
    nodes.filter(|nodes| !nodes.is_empty()).map(|nodes| nodes.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{LocalDevice, Presence};

    #[test]
    fn a_record_holds_until_it_expires_to_the_millisecond() {
        let now = UnixTime::from_secs(1_800_000_000);
        let mut device = LocalDevice::create("jis:sensor".parse().expect("a name"), now).expect("keys");
        let record = device.publish(Presence::default(), now).expect("signed");
        let (identity, events) = (device.identity().clone(), device.events().to_vec());
        let known = KnownName { identity, record, events };
        let end = known.record.claims().expires_at();
        let after = UnixTime::from_millis(end.as_millis() + 1).expect("in range");
        assert!(holds(&known, now) && holds(&known, end) && !holds(&known, after));
    }
}
