//! Keeping the device registered with one node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jis::RecordVersion;
use tibet_ping::KeepaliveToken;
use tibet_registry::Registration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::shared::{Core, chance};
use super::status::LinkState;
use crate::client::{NodeClient, QueryError, Session};
use crate::device::DeviceError;
use crate::intents::{FailureCode, RegisterAnswer, RegisterRequest};
use crate::system;

/// Keepalives without an answer after which the node is greeted anew.
const UNANSWERED: u32 = 3;
/// How often a node is asked whether a human has decided.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How long after a refusal it is asked again: somebody may have put right what was wrong.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// How often it is looked whether an address still leads to the same node as another.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The task for one node.
pub(super) struct Link {
    core: Arc<Core>,
    index: usize,
    node: Arc<NodeClient>,
    /// Whether the node has our key events.
    knows_us: bool,
    stop: watch::Receiver<bool>,
}

/// What is registered.
struct Registered {
    version: RecordVersion,
    at: SocketAddr,
    token: KeepaliveToken,
    every: Duration,
}

/// Why it is not registered.
enum NotYet {
    Query(QueryError),
    Device(DeviceError),
    /// It is the node of the link with this index.
    Same(usize),
}

/// What to do next.
enum Next {
    Again,
    Stop,
}

impl Link {
    pub(super) fn new(core: Arc<Core>, index: usize, stop: watch::Receiver<bool>) -> Self {
        let node = Arc::clone(&core.remote.client().nodes()[index]);
        Self { core, index, node, knows_us: false, stop }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let mut stop = self.stop.clone();
            // From before the greeting on: what changes after it must not be missed.
            let mut moved = self.core.moved();
            let connected = tokio::select! {
                connected = self.connect() => connected,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let (wait, same) = match connected {
                Ok(registered) => {
                    backoff.reset();
                    match self.stay(registered, &mut moved).await {
                        Next::Again => continue,
                        Next::Stop => return self.say_goodbye().await,
                    }
                }
                Err(NotYet::Device(error)) => {
                    self.tell(LinkState::Refused, Some(error.to_string()));
                    (backoff.next(chance()), None)
                }
                Err(NotYet::Query(error)) => {
                    // A node that says no is there.
                    if error.failure().is_none() {
                        self.core.release(self.index);
                    }
                    (self.failed(&error, &mut backoff), None)
                }
                Err(NotYet::Same(other)) => {
                    let place = self.core.remote.client().nodes()[other].address().place();
                    self.tell(
                        LinkState::Same,
                        Some(format!("this is the node {place}, under another address")),
                    );
                    (LOOK_AGAIN, Some(other))
                }
            };
            let released = async {
                match same {
                    Some(other) => self.core.released(other).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                // The node may be reached here, and no longer there.
                () = released => {}
                // There may be a way now.
                _ = moved.changed() => backoff.reset(),
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Greets the node and registers.
    async fn connect(&mut self) -> Result<Registered, NotYet> {
        let session = self.node.hello().await.map_err(NotYet::Query)?;
        if let Some(other) = self.core.claim(self.index, session.key) {
            return Err(NotYet::Same(other));
        }
        self.core.met(self.index, session, session.observed);
        self.register().await
    }

    async fn register(&mut self) -> Result<Registered, NotYet> {
        let current = self.core.current().await.map_err(NotYet::Device)?;
        let mut answer = self.ask(&current.registration).await;
        if matches!(&answer, Err(error) if error.code() == Some(FailureCode::HistoryNeeded)) && self.knows_us
        {
            // It has forgotten us, or our key is new to it.
            self.knows_us = false;
            answer = self.ask(&current.registration).await;
        }
        let (answer, session) = answer.map_err(NotYet::Query)?;
        self.knows_us = true;
        // What it sees of us now has the last word, and where it answered is where it knows us.
        self.core.met(self.index, session, answer.observed);
        self.note(&answer, session);
        self.core.confirm(self.index, current.version);
        Ok(Registered {
            version: current.version,
            at: session.address,
            token: answer.keepalive,
            every: answer.keepalive_every,
        })
    }

    async fn ask(&self, registration: &Registration) -> Result<(RegisterAnswer, Session), QueryError> {
        let events = if self.knows_us { Vec::new() } else { registration.events.clone() };
        let request = RegisterRequest {
            record: registration.record.clone(),
            events,
            transport: registration.transport.clone(),
            permission: self.core.permission().cloned(),
        };
        self.node.register_with_session(request).await
    }

    /// Stays registered until the node is lost, the way there changes, or the end.
    async fn stay(&mut self, mut registered: Registered, moved: &mut watch::Receiver<u64>) -> Next {
        let mut published = self.core.published();
        let mut stop = self.stop.clone();
        let mut next = Instant::now() + early(registered.every);
        let mut unanswered = 0;
        loop {
            // A record that came while we were busy.
            let newer = published.borrow_and_update().is_some_and(|version| version != registered.version);
            if newer {
                match self.register().await {
                    Ok(again) => registered = again,
                    Err(_) => return Next::Again,
                }
                next = Instant::now() + early(registered.every);
                continue;
            }
            tokio::select! {
                () = sleep_until(next) => {}
                _ = published.changed() => continue,
                _ = moved.changed() => return Next::Again,
                _ = stop.wait_for(|stop| *stop) => return Next::Stop,
            }
            let alive = tokio::select! {
                alive = self.node.keepalive(registered.at, registered.token) => alive,
                _ = moved.changed() => return Next::Again,
                _ = stop.wait_for(|stop| *stop) => return Next::Stop,
            };
            match alive {
                Ok(true) => {
                    unanswered = 0;
                    self.core.heard(self.index);
                    next = Instant::now() + early(registered.every);
                    let mut link = self.core.link(self.index);
                    link.keepalives += 1;
                    link.last_heard = Some(system::now().to_string());
                }
                Ok(false) if unanswered + 1 < UNANSWERED => unanswered += 1,
                // It is gone, or does not know us at this address any more.
                Ok(false) | Err(_) => {
                    self.tell(LinkState::Connecting, Some("three keepalives were not answered".to_owned()));
                    return Next::Again;
                }
            }
        }
    }

    async fn say_goodbye(&mut self) {
        let Ok(current) = self.core.goodbye().await else { return };
        // Nobody waits longer for a node that is not there.
        let _ = tokio::time::timeout(GOODBYE, self.ask(&current.registration)).await;
    }

    /// Tells of a failure, and for how long to wait.
    fn failed(&self, error: &QueryError, backoff: &mut Backoff) -> Duration {
        let retry_after = error.failure().and_then(|failure| failure.retry_after);
        let (state, wait) = match (error, error.code()) {
            (QueryError::Waiting { .. }, _) | (_, Some(FailureCode::Waiting)) => {
                (LinkState::Waiting, ASK_AGAIN)
            }
            (_, Some(FailureCode::Busy | FailureCode::Storage)) => (LinkState::Away, backoff.next(chance())),
            (QueryError::Refused { .. } | QueryError::OtherKey { .. }, _) => {
                (LinkState::Refused, retry_after.unwrap_or(AFTER_REFUSAL))
            }
            _ => (LinkState::Away, backoff.next(chance())),
        };
        self.tell(state, Some(error.to_string()));
        wait
    }

    fn note(&self, answer: &RegisterAnswer, session: Session) {
        let mut link = self.core.link(self.index);
        link.key = Some(session.key.to_multibase());
        link.address = Some(session.address.to_string());
        link.observed = Some(answer.observed.to_string());
        link.bound_since = Some(answer.registered_at.to_string());
        link.expires_at = Some(answer.expires_at.to_string());
        link.last_heard = Some(system::now().to_string());
        link.registrations += 1;
        drop(link);
        self.tell(LinkState::Registered, None);
    }

    fn tell(&self, state: LinkState, problem: Option<String>) {
        let node = self.node.address().place();
        let mut link = self.core.link(self.index);
        let changed = link.state != state || link.problem != problem;
        (link.state, link.problem) = (state, problem.clone());
        drop(link);
        if changed {
            match problem {
                Some(problem) => tracing::warn!(node, state = state.as_str(), problem, "node"),
                None => tracing::info!(node, state = state.as_str(), "node"),
            }
            self.core.tell_state();
        }
    }
}

/// A little before it is due, each time by another bit.
fn early(every: Duration) -> Duration {
    let tenth = u64::try_from(every.as_millis() / 10).unwrap_or(u64::MAX).max(1);
    every - Duration::from_millis(chance() % tenth)
}
