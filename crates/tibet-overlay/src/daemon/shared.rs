//! What the tasks of the daemon share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use jis::{Name, PublicKey, Record, RecordVersion};
use tibet_registry::Permission;
use tokio::sync::watch;

use super::held_device::{Current, HeldDevice, away};
use super::mesh::MeshNode;
use super::status::{DaemonStatus, LinkState, NodeStatus};
use super::whereabouts::{Whereabouts, source_towards};
use super::{DaemonConfig, DaemonEnd};
use crate::client::{Asker, Session};
use crate::device::{DeviceError, Presence};
use crate::remote::RemoteOverlay;
use crate::system;

/// What the tasks share. No lock is held across an `await`.
pub(super) struct Core {
    pub(super) config: DaemonConfig,
    pub(super) device: HeldDevice,
    pub(super) remote: RemoteOverlay,
    pub(super) asker: Asker,
    pub(super) links: Vec<Mutex<NodeStatus>>,
    /// Where each link has its node, from its own greeting and registration. Not what questions go by: those may have found the node elsewhere
    /// meanwhile, and it does not know the device there.
    sessions: Mutex<Vec<Option<Session>>>,
    whereabouts: Mutex<Whereabouts>,
    /// The record that all nodes are to have.
    published: watch::Sender<Option<RecordVersion>>,
    /// Counts how often the way to a node has changed.
    moved: watch::Sender<u64>,
    /// Counts how often something changed with a node.
    states: watch::Sender<u64>,
    /// Which key each link has taken for its own: a node that is reached under two addresses is registered with once.
    claims: Mutex<Vec<Option<PublicKey>>>,
    problem: Mutex<Option<String>>,
    /// Its part in the mesh, if it takes part.
    mesh: OnceLock<Arc<MeshNode>>,
    /// The version of the record that each node has confirmed.
    confirmed: watch::Sender<Vec<Option<RecordVersion>>>,
    /// Why it has ended by itself, unless the socket says so.
    ended: watch::Sender<Option<DaemonEnd>>,
    started: Instant,
}

impl Core {
    pub(super) fn new(config: DaemonConfig, device: HeldDevice, remote: RemoteOverlay, asker: Asker) -> Self {
        let nodes = remote.client().nodes();
        let status = |node: String| Mutex::new(NodeStatus { node, ..NodeStatus::default() });
        Self {
            links: nodes.iter().map(|node| status(node.address().place())).collect(),
            sessions: Mutex::new(vec![None; nodes.len()]),
            whereabouts: Mutex::new(Whereabouts::new(nodes.len())),
            published: watch::channel(None).0,
            moved: watch::channel(0).0,
            states: watch::channel(0).0,
            claims: Mutex::new(vec![None; nodes.len()]),
            problem: Mutex::default(),
            mesh: OnceLock::new(),
            confirmed: watch::channel(vec![None; nodes.len()]).0,
            ended: watch::channel(None).0,
            started: Instant::now(),
            config,
            device,
            remote,
            asker,
        }
    }

    /// The registration as it is to be now; a new record is signed if that is due. All nodes are then to have it.
    pub(super) async fn current(&self) -> Result<Current, DeviceError> {
        self.publish(self.presence()).await
    }

    /// The same, to say goodbye.
    pub(super) async fn goodbye(&self) -> Result<Current, DeviceError> {
        self.publish(away(self.presence())).await
    }

    async fn publish(&self, presence: Presence) -> Result<Current, DeviceError> {
        let (device, permission) = (self.device.clone(), self.config.permission.clone());
        // It waits for the disk.
        let current = blocking(move || device.current(&presence, permission)).await;
        match &current {
            Ok(current) => {
                let version = Some(current.version);
                self.published.send_if_modified(|before| std::mem::replace(before, version) != version);
                self.note_problem(None);
            }
            Err(error) => self.note_problem(Some(error.to_string())),
        }
        current
    }

    /// What the next record says.
    pub(super) fn presence(&self) -> Presence {
        let whereabouts = self.whereabouts();
        let before = self.device.presence();
        Presence {
            endpoints: whereabouts.endpoints(self.mesh().and_then(|mesh| mesh.mapped())),
            behind_nat: whereabouts.behind_nat(),
            relays: self.relays(),
            capabilities: self.config.capabilities.clone().unwrap_or(before.capabilities),
            ttl: self.config.ttl,
            ..Presence::default()
        }
    }

    /// Whether any node sees another address than this machine has; `None` before one has said what it sees.
    pub(super) fn is_behind_nat(&self) -> Option<bool> {
        let whereabouts = self.whereabouts();
        (!whereabouts.is_empty()).then(|| whereabouts.behind_nat())
    }

    pub(super) fn set_mesh(&self, mesh: &Arc<MeshNode>) {
        let _ = self.mesh.set(Arc::clone(mesh));
    }

    pub(super) fn mesh(&self) -> Option<&Arc<MeshNode>> {
        self.mesh.get()
    }

    /// The nodes that pass packets on to the device: those that it is registered with and that have not said that they do not.
    fn relays(&self) -> Vec<Name> {
        let Some(mesh) = self.mesh() else { return Vec::new() };
        let registered = |index: &usize| self.link(*index).state == LinkState::Registered;
        let relays = (0..self.links.len()).filter(registered).filter(|index| mesh.may_relay(*index));
        let keys = relays.filter_map(|index| self.session(index).map(|session| session.key));
        let mut names: Vec<Name> = keys.map(|key| Name::of_key(&key)).collect();
        names.dedup();
        names.truncate(Record::MAX_RELAYS);
        names
    }

    /// Whether the device's record names a relay that it is not registered with now, while another node is there to be told.
    pub(super) fn names_lost_relay(&self) -> bool {
        let named = self.device.presence().relays;
        let relays = self.relays();
        named.iter().any(|relay| !relays.contains(relay)) && self.is_registered()
    }

    /// Where a link has its node.
    pub(super) fn session(&self, node: usize) -> Option<Session> {
        self.sessions().get(node).copied().flatten()
    }

    /// Notes that a node has this record.
    pub(super) fn confirm(&self, node: usize, version: RecordVersion) {
        self.confirmed.send_if_modified(|confirmed| {
            confirmed.get_mut(node).is_some_and(|held| held.replace(version) != Some(version))
        });
    }

    /// Waits until a node has the newest record.
    pub(super) async fn has_newest(&self, node: usize) {
        let mut confirmed = self.confirmed.subscribe();
        let newest = *self.published.borrow();
        let _ = confirmed.wait_for(|confirmed| confirmed.get(node).is_some_and(|held| *held >= newest)).await;
    }

    /// Notes where a node is, from where it may ask us now, and how it sees us.
    pub(super) fn met(&self, node: usize, session: Session, observed: SocketAddr) {
        let local = source_towards(session.address, self.remote.socket().address()).unwrap_or(observed);
        self.whereabouts().set(node, local, observed, Instant::now());
        let mut sessions = self.sessions();
        sessions[node] = Some(session);
        let askers = sessions.iter().flatten().map(|session| session.address).collect();
        self.remote.socket().wire().set_askers(askers);
    }

    /// Notes that a node has said something.
    pub(super) fn heard(&self, node: usize) {
        self.whereabouts().heard(node, Instant::now());
    }

    /// Forgets where nodes saw us that have been silent for longer than a record lives. Whether the record now says too much, and somebody is there to
    /// be told.
    pub(super) fn forget_unheard(&self) -> bool {
        let mut whereabouts = self.whereabouts();
        whereabouts.forget_unheard(Instant::now(), self.config.ttl) && !whereabouts.is_empty()
    }

    /// After a long sleep nothing is as it was: all nodes are greeted anew, and where they saw us counts again when they have said so again.
    pub(super) fn wake(&self) {
        self.whereabouts().forget();
        self.tell_moved();
    }

    /// Takes a node's key for a link. The link that has it already, if that is another: then both lead to one node.
    pub(super) fn claim(&self, link: usize, key: PublicKey) -> Option<usize> {
        let mut claims = self.claims();
        let other = claims.iter().position(|held| *held == Some(key)).filter(|other| *other != link);
        claims[link] = other.is_none().then_some(key);
        other
    }

    /// Gives a link's claim up: its node is away, and may be reached through another.
    pub(super) fn release(&self, link: usize) {
        self.claims()[link] = None;
        self.tell_state();
    }

    /// Waits until a link has given its claim up.
    pub(super) async fn released(&self, link: usize) {
        let mut states = self.states();
        while self.claims()[link].is_some() && states.changed().await.is_ok() {}
    }

    /// The key of the node at this address, if we are registered there: it has signed for that.
    pub(super) fn registered_node(&self, at: SocketAddr) -> Option<PublicKey> {
        let sessions = self.sessions().clone();
        let mut here = sessions.iter().enumerate().filter_map(|(index, session)| {
            session.filter(|session| session.address == at).map(|session| (index, session.key))
        });
        let registered = |index: usize| self.link(index).state == LinkState::Registered;
        here.find(|(index, _)| registered(*index)).map(|(_, key)| key)
    }

    /// Whether datagrams to any node would leave from elsewhere than when it was last spoken to, and this is news.
    pub(super) fn has_moved(&self) -> bool {
        let bound = self.remote.socket().address();
        let mut moved = false;
        for (index, session) in self.sessions().clone().iter().enumerate() {
            // Without any way there now, there is nothing to be done about it yet.
            if let Some(now) = session.and_then(|session| source_towards(session.address, bound)) {
                moved |= self.whereabouts().is_news(index, now);
            }
        }
        moved
    }

    pub(super) fn tell_moved(&self) {
        if let Some(mesh) = self.mesh() {
            mesh.moved();
        }
        self.moved.send_modify(|count| *count += 1);
    }

    pub(super) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    pub(super) fn published(&self) -> watch::Receiver<Option<RecordVersion>> {
        self.published.subscribe()
    }

    /// Whether it is time for a new record. Before the first there is none to renew, and without any node in sight nothing to say in it.
    pub(super) fn is_due(&self) -> bool {
        self.published.borrow().is_some() && !self.whereabouts().is_empty() && self.device.is_record_due()
    }

    pub(super) fn tell_state(&self) {
        self.states.send_modify(|count| *count += 1);
    }

    pub(super) fn states(&self) -> watch::Receiver<u64> {
        self.states.subscribe()
    }

    /// Leaves the network for good: the device is revoked, or of no use to anybody here.
    pub(super) async fn end(&self, end: DaemonEnd) {
        tracing::error!(%end, "leaving the network");
        self.ended.send_replace(Some(end));
        self.remote.socket().stop().await;
    }

    /// Waits until it has left the network by itself.
    pub(super) async fn ended(&self) -> DaemonEnd {
        let mut ended = self.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        match end {
            Some(end) => end,
            // The sender is ours, so it is not gone.
            None => std::future::pending().await,
        }
    }

    pub(super) fn note_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    pub(super) fn link(&self, node: usize) -> MutexGuard<'_, NodeStatus> {
        self.links[node].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next permission is: only a first registration needs one, and it is no secret from the node.
    pub(super) fn permission(&self) -> Option<&Permission> {
        self.config.permission.as_ref()
    }

    /// How it stands with each node.
    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        (0..self.links.len()).map(|node| self.link(node).clone()).collect()
    }

    pub(super) async fn status(&self) -> DaemonStatus {
        let identity = self.device.identity();
        let presence = self.presence();
        let peers = self.remote.socket().with(|node| node.peers().len()).await;
        DaemonStatus {
            name: identity.name.to_string(),
            fingerprint: identity.fingerprint.to_string(),
            public_key: identity.key.to_multibase(),
            generation: identity.generation,
            address: self.remote.socket().address().to_string(),
            endpoints: presence.endpoints.iter().map(ToString::to_string).collect(),
            capabilities: presence.capabilities.iter().map(ToString::to_string).collect(),
            behind_nat: presence.behind_nat,
            seq: self.published.borrow().map(|version| version.seq),
            uptime_s: self.started.elapsed().as_secs(),
            peers: peers.unwrap_or(0),
            nodes: self.nodes(),
            mesh: self.mesh().map(|mesh| mesh.status(self)),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Option<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, Vec<Option<PublicKey>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On a thread that may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Any number, to spread what would else happen at once.
pub(super) fn chance() -> u64 {
    system::random().map_or(0, u64::from_be_bytes)
}
