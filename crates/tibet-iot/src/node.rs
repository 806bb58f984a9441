//! A node on the network.

mod audit;
pub use audit::{Audit, AuditStore};
mod clock;
use clock::Clock;
mod driver;
use driver::Driver;
mod error;
pub use error::{NodeError, StartError};
mod frames;
pub use frames::{Frames, Outbox};
mod intent;
pub use intent::{IntentAnswer, IntentRequest};
mod keeper;
use keeper::Keeper;
mod question;
pub use question::{Events, Outcome, Question};
mod sealed;
pub use sealed::{SealedInbox, SealedSender};
mod shared;
use shared::{Shared, Waiting};

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jis::{Name, PublicKey, UnixTime};
use tibet_ping::{
    Answered, Ask, AskError, Binding, Discovered, Event, Glob, KeySource, NodeConfig, NodeIdentity,
    NodeStats, OperatorError, Packet, Peer, PingNode, RequestId, RestartBound, RoutingMode, Rule, Trust,
    VouchId,
};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::multicast::{Discovery, DiscoveryConfig};
use crate::state::NodeState;
use crate::system::random;
use crate::udp::{SendReport, UdpPort, UdpStats};

/// The UDP port of the TP protocol.
pub const MAIN_PORT: u16 = 7150;
/// Events kept for a subscriber who is slow; older ones are lost to it, not to the tokens.
const EVENTS: usize = 4096;
/// Intent patterns with a handler.
const MAX_HANDLERS: usize = tibet_ping::MAX_CLAIMS;

/// How a node is on the network.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// The address and port of its socket; `[::]:7150`, which speaks IPv4 too, unless set otherwise. Port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Where it announces itself and hears others; `None` to do neither.
    pub discovery: Option<DiscoveryConfig>,
    /// The protocol's settings: encoding, intervals, thresholds. Port, restart bound and tokens are filled in by [`IotNode::start`].
    pub node: NodeConfig,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), MAIN_PORT),
            discovery: Some(DiscoveryConfig::default()),
            node: NodeConfig::default(),
        }
    }
}

/// A node of the TP protocol on a UDP socket.
///
/// Its protocol is a [`PingNode`]; a task of its own passes datagrams, time and events between that, the socket, the discovery groups and the
/// disk. All methods can be called while it runs. Must be used within a tokio runtime.
pub struct IotNode {
    shared: Arc<Shared>,
    config: TransportConfig,
    /// The files, while the task does not have them. Behind a lock only so that a node can be shared between threads.
    keeper: Mutex<Option<Keeper>>,
    running: Option<Running>,
}

struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<(Option<Keeper>, Result<(), NodeError>)>,
    address: SocketAddr,
}

impl IotNode {
    /// A node that is not on the network yet.
    ///
    /// `state` is what it keeps between runs. Without it, names are first contacts again after a restart, and a packet that was accepted less
    /// than 30 s before it is accepted once more. `audit` is where its tokens go; without it there are none.
    ///
    /// # Errors
    /// [`StartError::State`], [`StartError::Randomness`].
    pub fn new(
        identity: NodeIdentity,
        config: TransportConfig,
        state: Option<NodeState>,
        audit: Option<Audit>,
    ) -> Result<Self, StartError> {
        let clock = Clock::start();
        let bound = state.as_ref().map(NodeState::replay_bound).transpose()?;
        let node_config = NodeConfig {
            restart: bound.map(RestartBound::new),
            tokens: audit.is_some(),
            ..config.node.clone()
        };
        let source = Box::new(|| random().ok());
        let mut node = PingNode::new(identity, node_config, source, random()?, clock.now());
        for known in state.iter().flat_map(|state| state.known_keys().values()) {
            // There is room for all that was kept: the file has the same bound.
            let _ = node.bind_key(known.binding.clone(), KeySource::Pin);
        }
        let shared = Shared {
            clock,
            node: Mutex::new(node),
            waiting: Mutex::default(),
            handlers: Mutex::default(),
            events: broadcast::channel(EVENTS).0,
            work: Notify::new(),
            udp: Mutex::default(),
            sent: Mutex::default(),
            frames: Mutex::default(),
            tunnels: Mutex::default(),
            inbox: Mutex::default(),
            outbox: Mutex::default(),
            port: Mutex::default(),
        };
        let keeper = Mutex::new(Some(Keeper::new(state, audit)));
        Ok(Self { shared: Arc::new(shared), config, keeper, running: None })
    }

    /// Has `frames` take what is no ping, from the next start on. Without it that is dropped.
    pub fn set_frames(&mut self, frames: Box<dyn Frames>) {
        *self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner) = Some(frames);
    }

    /// Takes back what takes the frames, when the node is stopped: it may hold an [`Outbox`] and by that the node itself.
    #[must_use]
    pub fn take_frames(&mut self) -> Option<Box<dyn Frames>> {
        self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends datagrams through this node's socket.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox { shared: Arc::clone(&self.shared) }
    }

    /// Says who has the tunnels, or that nobody has any more. It may hold a [`SealedInbox`] and by that the node itself: take it back when the node is done with.
    pub fn set_tunnels(&self, tunnels: Option<Box<dyn SealedSender>>) {
        *self.shared.tunnels() = tunnels;
    }

    /// Takes what came through tunnels.
    #[must_use]
    pub fn sealed_inbox(&self) -> SealedInbox {
        SealedInbox { shared: Arc::clone(&self.shared) }
    }

    /// Goes on the network, and returns the address of its socket.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is running.
    pub async fn start(&mut self) -> Result<SocketAddr, StartError> {
        if self.running.is_some() {
            return Err(StartError::Running);
        }
        let port = bind(self.config.bind).map_err(StartError::Bind)?;
        let address = port.local_addr();
        let discovery = self.config.discovery.clone().map(Discovery::open).transpose();
        let discovery = discovery.map_err(StartError::Discovery)?.map(|(discovery, _)| discovery);
        let now = self.shared.clock.now();
        let bound = {
            let mut node = self.shared.node();
            node.set_port(discovery.is_some().then(|| address.port()), now);
            node.poll_persist(now)
        };
        // Without its files it would keep nothing, and say that it does (SECURITY R30).
        let mut keeper = self.keeper().take().ok_or(StartError::Lost)?;
        if let Some(bound) = bound {
            let (kept, written) = keeper.keep(Vec::new(), Some(bound)).await;
            *self.keeper() = kept;
            written.map_err(StartError::Keep)?;
            keeper = self.keeper().take().ok_or(StartError::Lost)?;
            self.shared.node().handle_persisted(bound);
        }
        *self.shared.waiting() = Some(Waiting::new());
        let (stop, stopped) = oneshot::channel();
        let driver = Driver::new(Arc::clone(&self.shared), port, discovery, keeper);
        let task = tokio::spawn(driver.run(stopped));
        self.running = Some(Running { stop: Some(stop), task, address });
        Ok(address)
    }

    /// Leaves the network: what waits for an answer gets [`Outcome::NoAnswer`], and the port is free when this returns. The node can be
    /// started again.
    ///
    /// # Errors
    /// What made the node stop by itself before, if anything did.
    pub async fn stop(&mut self) -> Result<(), NodeError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if let Some(stop) = running.stop.take() {
            // It may have stopped by itself.
            let _ = stop.send(());
        }
        self.failed().await
    }

    /// Waits until the node stops by itself, which it only does when it cannot go on.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn failed(&mut self) -> Result<(), NodeError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let ended = (&mut running.task).await;
        self.running = None;
        // A task that panicked has said nothing to anybody.
        self.shared.give_up_waiting();
        let (keeper, result) = ended.map_err(|error| NodeError::Failed(error.to_string()))?;
        *self.keeper() = keeper;
        result
    }

    fn keeper(&mut self) -> &mut Option<Keeper> {
        self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of its socket, while it runs.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.running.as_ref().map(|running| running.address)
    }

    /// Asks a device as [`ask`](Self::ask) does, and waits for the answer; `None` when there is none in time. A `pending` answer is returned if the decision does not
    /// follow within [`Ask::decision_timeout`].
    ///
    /// # Errors
    /// [`AskError`]; then nothing was sent.
    pub async fn send_ping(&self, ask: Ask) -> Result<Option<Answered>, AskError> {
        let mut question = self.ask(ask)?;
        let mut answer = None;
        while let Outcome::Answer(next) = question.next().await {
            let last = next.last;
            answer = Some(*next);
            if last {
                break;
            }
        }
        Ok(answer)
    }

    /// Asks a device; what comes of it is told one by one. Where there is a live tunnel to it, the question goes through that, without a signature of its
    /// own; unless [`Ask::to`] names another way, it is for the mesh, or a sealed ping cannot carry it.
    ///
    /// # Errors
    /// [`AskError`]; then nothing was sent.
    pub fn ask(&self, ask: Ask) -> Result<Question, AskError> {
        let straight = ask.to.is_none() && ask.routing == RoutingMode::Direct;
        if straight && self.has_tunnel(&ask.target) {
            match self.begin(ask.clone(), PingNode::sealed_ping) {
                Err(AskError::Encode(_)) => {}
                other => return other,
            }
        }
        self.begin(ask, PingNode::ping)
    }

    /// Asks a device through the tunnel to it and in no other way; what comes of it is told one by one.
    ///
    /// # Errors
    /// [`AskError`]; then nothing was sent. [`AskError::NoTunnel`] where there is none.
    pub fn ask_sealed(&self, ask: Ask) -> Result<Question, AskError> {
        if !self.has_tunnel(&ask.target) {
            return Err(AskError::NoTunnel(ask.target));
        }
        self.begin(ask, PingNode::sealed_ping)
    }

    fn has_tunnel(&self, peer: &Name) -> bool {
        self.shared.tunnels().as_ref().is_some_and(|tunnels| tunnels.is_live(peer))
    }

    fn begin(
        &self,
        ask: Ask,
        asked: fn(&mut PingNode, Ask, tibet_ping::Now) -> Result<RequestId, AskError>,
    ) -> Result<Question, AskError> {
        let (sender, outcomes) = mpsc::unbounded_channel();
        // Before the node is let go, so that no answer comes first.
        let mut node = self.shared.node();
        let mut waiting = self.shared.waiting();
        let waiting = waiting.as_mut().ok_or(AskError::Stopped)?;
        let id = asked(&mut node, ask, self.shared.clock.now())?;
        waiting.insert(id, sender);
        drop(node);
        self.shared.work.notify_one();
        Ok(Question { id, outcomes, shared: Arc::clone(&self.shared) })
    }

    /// Sends a heartbeat to every peer now. How many there are.
    #[must_use]
    pub fn send_heartbeat(&self) -> usize {
        self.act(PingNode::send_heartbeat)
    }

    /// Announces the node and asks who else is there; returns who was found within `wait`, each once, the last word of each.
    ///
    /// # Errors
    /// [`AskError`]; then nothing was sent.
    pub async fn discover(&self, wait: Duration) -> Result<Vec<Discovered>, AskError> {
        let mut events = self.events();
        self.act(|node, now| node.search(now))?;
        let mut found: BTreeMap<(Name, SocketAddr), Discovered> = BTreeMap::new();
        let until = tokio::time::Instant::now() + wait;
        while let Ok(event) = tokio::time::timeout_at(until, events.next()).await {
            let Some(event) = event else { break };
            let Event::Discovered(device) = &*event else { continue };
            let key = (device.name.clone(), device.address);
            // Who answered does answer; an announcement says less.
            if device.answered || !found.contains_key(&key) {
                found.insert(key, Discovered::clone(device));
            }
        }
        Ok(found.into_values().collect())
    }

    /// Has `handler` answer the intents that match `pattern`. Only pings that are let in reach it. The first pattern that matches is asked; it has
    /// ten seconds. Whether there was room: at most 256.
    pub fn on_intent<F, R>(&self, pattern: Glob, handler: F) -> bool
    where
        F: Fn(IntentRequest) -> R + Send + Sync + 'static,
        R: Future<Output = IntentAnswer> + Send + 'static,
    {
        let mut handlers = self.shared.handlers();
        if handlers.len() >= MAX_HANDLERS || !self.shared.node().claim_intents(pattern.clone()) {
            return false;
        }
        handlers.push((pattern, Arc::new(move |request| Box::pin(handler(request)))));
        true
    }

    /// Sets how far a name is trusted, 0 to 1.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn set_trust(&self, name: Name, score: f64, reason: &str) -> Result<Trust, OperatorError> {
        self.act(|node, now| node.set_trust(name, score, reason, now))
    }

    /// Binds a name to a key by the operator's word.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn bind_key(&self, binding: Binding) -> Result<bool, OperatorError> {
        self.act(|node, _| node.bind_key(binding, KeySource::Operator))
    }

    /// Binds a name to the key of its verified record: what was pinned before gives way, the operator's word does not. Whether it is bound so now.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn learn_key(&self, binding: Binding) -> Result<bool, OperatorError> {
        self.act(|node, _| node.bind_key(binding, KeySource::Record))
    }

    /// The key a name is bound to.
    #[must_use]
    pub fn key_of(&self, name: &Name) -> Option<PublicKey> {
        self.shared.node().key_of(name)
    }

    /// How far a name is trusted.
    #[must_use]
    pub fn trust_in(&self, name: &Name) -> Trust {
        let now = self.now();
        self.shared.node().trust_in(name, now)
    }

    /// Lets a name speak without a signature, for as long as it has no key (SECURITY R72).
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn allow_unsigned(&self, name: Name) -> Result<(), OperatorError> {
        self.act(|node, _| node.allow_unsigned(name))
    }

    /// Enters a peer: packets over the mesh go through it.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn add_peer(&self, name: Name, address: SocketAddr) -> Result<(), OperatorError> {
        self.act(|node, now| node.add_peer(name, address, now))
    }

    /// Adds a rule to the airlock.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn add_rule(&self, rule: Rule) -> Result<(), OperatorError> {
        self.act(|node, _| node.add_rule(rule))
    }

    /// Vouches for a device that was discovered and verified.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn vouch(&self, subject: &Name, reason: &str) -> Result<VouchId, OperatorError> {
        self.act(|node, now| node.vouch(subject, reason, now))
    }

    /// Lets a ping that waits in. Whether there was one.
    #[must_use]
    pub fn approve(&self, source: &str, packet_id: &str) -> bool {
        self.act(|node, now| node.approve(source, packet_id, now))
    }

    /// Refuses a ping that waits. Whether there was one.
    #[must_use]
    pub fn deny(&self, source: &str, packet_id: &str) -> bool {
        self.act(|node, now| node.deny(source, packet_id, now))
    }

    /// The pings that wait for a human: source, packet id, intent, and why they wait.
    #[must_use]
    pub fn pending(&self) -> Vec<(String, String, String, String)> {
        let texts = |ping: &tibet_ping::PendingPing| {
            let Packet { source_did, packet_id, intent, .. } = &ping.packet;
            (source_did.clone(), packet_id.clone(), intent.clone(), ping.reason.clone())
        };
        self.shared.node().pending().iter().map(texts).collect()
    }

    /// The peers that are alive.
    #[must_use]
    pub fn peers(&self) -> Vec<(Name, Peer)> {
        let now = self.shared.clock.now();
        self.shared.node().peers().alive(now).map(|(name, peer)| (name.clone(), *peer)).collect()
    }

    /// What it has done so far, and what its socket has counted.
    #[must_use]
    pub fn stats(&self) -> (NodeStats, UdpStats) {
        let udp = *self.shared.udp.lock().unwrap_or_else(PoisonError::into_inner);
        (self.shared.node().stats(), udp)
    }

    /// What became of the datagrams it has sent so far: what could not leave this machine, and why.
    #[must_use]
    pub fn sent(&self) -> SendReport {
        *self.shared.sent()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: self.shared.events.subscribe(), missed: 0 }
    }

    /// Who it is.
    #[must_use]
    pub fn name(&self) -> Name {
        self.shared.node().name().clone()
    }

    /// The time by its clock.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.shared.clock.now().wall
    }

    /// Calls into the protocol, and has the task see to what follows from it.
    fn act<T>(&self, call: impl FnOnce(&mut PingNode, tibet_ping::Now) -> T) -> T {
        let result = call(&mut self.shared.node(), self.shared.clock.now());
        self.shared.work.notify_one();
        result
    }
}

impl fmt::Debug for IotNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.local_addr();
        f.debug_struct("IotNode")
            .field("name", &self.name())
            .field("address", &address)
            .finish_non_exhaustive()
    }
}

/// A machine without IPv6 has IPv4 alone.
fn bind(address: SocketAddr) -> std::io::Result<UdpPort> {
    match UdpPort::bind(address) {
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != std::io::ErrorKind::AddrInUse =>
        {
            UdpPort::bind(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        other => other,
    }
}
