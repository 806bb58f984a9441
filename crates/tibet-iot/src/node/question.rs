//! What the application asked, and what happens, as it hears of it.

use std::fmt;
use std::sync::Arc;

use tibet_ping::{Answered, Event, Ignored, RequestId};
use tokio::sync::{broadcast, mpsc};

use super::shared::Shared;

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Answer(Box<Answered>),
    /// It was not, within its time; or the node was stopped.
    NoAnswer(Ignored),
}

/// A question that was asked. Dropping it ends the waiting.
pub struct Question {
    pub(super) id: RequestId,
    pub(super) outcomes: mpsc::UnboundedReceiver<Outcome>,
    pub(super) shared: Arc<Shared>,
}

impl Question {
    /// The next answer; after the last one, or when there is none in time, or when the node is stopped, [`Outcome::NoAnswer`].
    pub async fn next(&mut self) -> Outcome {
        self.outcomes.recv().await.unwrap_or(Outcome::NoAnswer(Ignored::default()))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let waited = self.shared.waiting().as_mut().is_some_and(|waiting| waiting.remove(&self.id).is_some());
        if waited {
            self.shared.node().cancel(self.id);
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What happens at a node, as it happens.
#[derive(Debug)]
pub struct Events {
    pub(super) receiver: broadcast::Receiver<Arc<Event>>,
    pub(super) missed: u64,
}

impl Events {
    /// The next event; `None` when the node is gone.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many were lost because they were not fetched in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
