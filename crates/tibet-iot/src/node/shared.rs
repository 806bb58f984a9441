//! What a node's task and its methods share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tibet_ping::{Event, Glob, PingNode, RequestId};
use tokio::sync::{Notify, broadcast, mpsc};

use super::clock::Clock;
use super::frames::Frames;
use super::intent::Handler;
use super::question::Outcome;
use super::sealed::{Opened, SealedSender};
use crate::udp::{Outgoing, SendReport, UdpPort, UdpStats};

pub(super) type Waiting = BTreeMap<RequestId, mpsc::UnboundedSender<Outcome>>;

/// What the task and the methods share. The locks are held for no longer than a call into the protocol takes, and never across an `await`.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) node: Mutex<PingNode>,
    /// Whoever waits for what becomes of a request; `None` while the node is not on the network.
    pub(super) waiting: Mutex<Option<Waiting>>,
    pub(super) handlers: Mutex<Vec<(Glob, Handler)>>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    /// There is something to send or to tell.
    pub(super) work: Notify,
    pub(super) udp: Mutex<UdpStats>,
    /// What became of the datagrams that were sent.
    pub(super) sent: Mutex<SendReport>,
    /// What takes frames of version 2; the task has it while it runs.
    pub(super) frames: Mutex<Option<Box<dyn Frames>>>,
    /// Whoever has the tunnels. Locked alone: it may lock what it likes, but not the node.
    pub(super) tunnels: Mutex<Option<Box<dyn SealedSender>>>,
    /// What came through tunnels and was not looked at yet.
    pub(super) inbox: Mutex<Vec<Opened>>,
    /// Datagrams that others than the protocol want sent.
    pub(super) outbox: Mutex<Vec<Outgoing>>,
    /// The socket, while the task runs. Locked for as long as one batch is sent, so that it is closed when the task has ended.
    pub(super) port: Mutex<Option<Arc<UdpPort>>>,
}

impl Shared {
    pub(super) fn node(&self) -> MutexGuard<'_, PingNode> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever waits for an answer is told that there will be none, and nobody else begins to wait.
    pub(super) fn give_up_waiting(&self) {
        let waiting = self.waiting().take();
        for id in waiting.into_iter().flat_map(BTreeMap::into_keys) {
            self.node().cancel(id);
        }
    }

    pub(super) fn handlers(&self) -> MutexGuard<'_, Vec<(Glob, Handler)>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tunnels(&self) -> MutexGuard<'_, Option<Box<dyn SealedSender>>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Vec<Outgoing>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn port(&self) -> MutexGuard<'_, Option<Arc<UdpPort>>> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self) -> MutexGuard<'_, SendReport> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
