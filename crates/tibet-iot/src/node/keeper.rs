//! What is written to disk: pins, the bound that outlives a restart, tokens.

use std::sync::Arc;

use jis::UnixTime;
use tibet_ping::Event;
use tokio::task::spawn_blocking;

use super::NodeError;
use super::audit::Audit;
use crate::state::{NodeState, StateError};
use crate::system;

/// The node's files. They block, so they are written on a thread of their own, and meanwhile lent to it.
#[derive(Debug)]
pub(super) struct Keeper {
    state: Option<NodeState>,
    audit: Option<Audit>,
}

impl Keeper {
    pub(super) fn new(state: Option<NodeState>, audit: Option<Audit>) -> Self {
        Self { state, audit }
    }

    /// Whether any of this is to be written.
    pub(super) fn wants(&self, events: &[Arc<Event>], bound: Option<UnixTime>) -> bool {
        let pinned = |event: &Arc<Event>| matches!(**event, Event::Pinned { .. });
        bound.is_some()
            || self.audit.is_some() && !events.is_empty()
            || self.state.is_some() && events.iter().any(pinned)
    }

    /// Writes what is to be kept of these events, and the bound. It is on disk when this returns. `None` if writing panicked: then the files are
    /// lost with it.
    pub(super) async fn keep(
        mut self,
        events: Vec<Arc<Event>>,
        bound: Option<UnixTime>,
    ) -> (Option<Self>, Result<(), NodeError>) {
        let written = spawn_blocking(move || {
            let written = self.write(&events, bound);
            (self, written)
        });
        match written.await {
            Ok((keeper, written)) => (Some(keeper), written),
            Err(error) => (None, Err(NodeError::Failed(error.to_string()))),
        }
    }

    fn write(&mut self, events: &[Arc<Event>], bound: Option<UnixTime>) -> Result<(), NodeError> {
        if let Some(bound) = bound {
            self.set_bound(bound)?;
        }
        for event in events {
            if let (Event::Pinned { binding, .. }, Some(state)) = (&**event, &mut self.state) {
                match state.remember(binding, system::now()) {
                    // Kept in memory like any other, and a first contact again after a restart.
                    Ok(()) | Err(StateError::Full { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        match &mut self.audit {
            Some(audit) => Ok(audit.record(events)?),
            None => Ok(()),
        }
    }

    fn set_bound(&self, bound: UnixTime) -> Result<(), StateError> {
        self.state.as_ref().map_or(Ok(()), |state| state.set_replay_bound(bound))
    }
}
