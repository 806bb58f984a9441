//! A device that stays reachable: what `tibet-overlay up` runs.
//!
//! | file | holds |
//! |---|---|
//! | `daemon/link.rs` | a task for each node: register, stay registered, come back |
//! | `daemon/watcher.rs` | what changes on this machine: addresses, the device's files, the age of its record |
//! | `daemon/answers.rs` | what the device answers its nodes: challenges and pings |
//! | `daemon/held_device.rs` | the device and its files |
//! | `daemon/whereabouts.rs` | where it is seen |
//! | `daemon/end.rs` | why it ends by itself |
//! | `daemon/mesh.rs` | its part in the mesh |
//! | `daemon/shared.rs` | what these share |
//! | `daemon/control.rs` | the socket through which commands talk to it |

mod answers;
mod backoff;
mod control;
pub use control::{
    AddressReport, Control, ControlError, ControlServer, ExposeReport, ForwardReport, control_socket,
};
mod end;
pub use end::DaemonEnd;
mod shared;
use shared::Core;
mod held_device;
use held_device::HeldDevice;
mod link;
use link::Link;
mod mesh;
use mesh::MeshNode;
pub use mesh::{
    ExposeAt, ForwardStatus, ForwardTo, MESH_MTU, MeshConfig, MeshError, MeshStatus, PeerReport,
    PortMappingReport, RelayReport,
};
mod status;
pub use status::{DaemonStatus, LinkState, NodeStatus};
mod watcher;
mod whereabouts;
pub(crate) use whereabouts::source_towards;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jis::{Capability, Name};
use tibet_iot::{DiscoveryConfig, IotNode, NodeState, StartError, TransportConfig};
use tibet_ping::NodeConfig;
use tibet_registry::Permission;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::client::{Asker, NodeAddress, NodeClient, OverlayClient, Socket};
use crate::device::{DeviceError, LocalDevice};
use crate::remote::RemoteOverlay;
use crate::state_dir::{OpenError, StateDir};

/// How long a record holds, unless set otherwise: whoever has it in its cache learns within that time that the device has moved.
pub const DAEMON_TTL: Duration = Duration::from_secs(3600);
/// Nodes that a device registers with.
pub const MAX_NODES: usize = 8;

/// What a daemon does.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// The nodes, the preferred first; at most [`MAX_NODES`].
    pub nodes: Vec<NodeAddress>,
    /// Where its socket is bound.
    pub bind: SocketAddr,
    /// Where it looks for neighbours; `None` not to.
    pub discovery: Option<DiscoveryConfig>,
    /// What the device offers; `None` for what it offered before.
    pub capabilities: Option<BTreeSet<Capability>>,
    /// How long its records hold.
    pub ttl: Duration,
    /// What permits the first registration, where first come does not.
    pub permission: Option<Permission>,
    /// Whom the device trusts how far.
    pub trust: Vec<(Name, f64)>,
    /// How it takes part in the mesh; `None` not to.
    pub mesh: Option<MeshConfig>,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        let TransportConfig { bind, discovery, .. } = TransportConfig::default();
        Self {
            nodes: Vec::new(),
            bind,
            discovery,
            capabilities: None,
            ttl: DAEMON_TTL,
            permission: None,
            trust: Vec::new(),
            mesh: None,
        }
    }
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The device's files.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// What the daemon keeps between runs.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The socket, or the directory of its node.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its part in the mesh.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// More than [`MAX_NODES`] nodes, or none.
    #[error("a device registers with one to {MAX_NODES} nodes, not with {0}")]
    Nodes(usize),
}

/// A running device.
///
/// It answers pings as any [`IotNode`] does, keeps the device registered with its nodes wherever it moves, and proves it to whoever asks through
/// them. Nodes are trusted for nothing else. What is known stays usable while they are away.
pub struct Daemon {
    core: Arc<Core>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    reload: tokio::sync::mpsc::Sender<oneshot::Sender<Result<(), DeviceError>>>,
}

impl Daemon {
    /// Starts. Must be used within a tokio runtime.
    ///
    /// # Errors
    /// [`DaemonError`]; then nothing is running. [`tibet_iot::StateError::InUse`] inside where another program runs as this device.
    pub async fn start(
        device: LocalDevice,
        state: &StateDir,
        config: DaemonConfig,
    ) -> Result<Self, DaemonError> {
        if config.nodes.is_empty() || config.nodes.len() > MAX_NODES {
            return Err(DaemonError::Nodes(config.nodes.len()));
        }
        let identity = device.node_identity()?;
        let asker = Asker::new(device.node_identity()?);
        let memory = state.name_memory()?;
        let socket = Socket::open(identity, make_node(state, &device, &config)).await?;
        let pins = Arc::new(state.node_pins());
        let node = |address: &NodeAddress| {
            NodeClient::new(socket.wire().clone(), address.clone(), asker.clone(), Arc::clone(&pins))
        };
        let nodes = config.nodes.iter().map(|address| Arc::new(node(address))).collect();
        let remote = RemoteOverlay::new(OverlayClient::new(nodes, memory), socket.clone());
        let (stop, stopping) = watch::channel(false);
        let (reload, reloads) = tokio::sync::mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let (mesh, transport) = (config.mesh.clone(), device.transport()?);
        let core = Arc::new(Core::new(config, HeldDevice::new(device, asker.clone()), remote, asker));
        if let Some(mesh) = mesh {
            MeshNode::start(&core, transport, state, &mesh, &stopping, &mut tasks).await?;
        }
        tasks.spawn(answers::run(Arc::clone(&core), socket.wire().questions()));
        tasks.spawn(watcher::run(Arc::clone(&core), reloads));
        for index in 0..core.links.len() {
            tasks.spawn(Link::new(Arc::clone(&core), index, stopping.clone()).run());
        }
        Ok(Self { core, tasks, stop, reload })
    }

    /// Resolves, verifies, finds and pings as this device.
    #[must_use]
    pub fn remote(&self) -> &RemoteOverlay {
        &self.core.remote
    }

    /// How it is doing.
    pub async fn status(&self) -> DaemonStatus {
        self.core.status().await
    }

    /// Waits until `wanted` holds of its status.
    pub async fn wait_until(&self, wanted: impl FnMut(&DaemonStatus) -> bool) -> DaemonStatus {
        self.look_until(async || self.status().await, wanted).await
    }

    /// Waits until `wanted` holds of how it stands with its nodes, which costs less to look at than the whole status.
    pub async fn wait_for_nodes(&self, mut wanted: impl FnMut(&[NodeStatus]) -> bool) -> Vec<NodeStatus> {
        self.look_until(async || self.core.nodes(), |nodes| wanted(nodes)).await
    }

    async fn look_until<T>(&self, look: impl AsyncFn() -> T, mut wanted: impl FnMut(&T) -> bool) -> T {
        let mut states = self.core.states();
        loop {
            let seen = look().await;
            if wanted(&seen) {
                return seen;
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), states.changed()).await;
        }
    }

    /// Reads the device's files again now; they are looked at every second anyway.
    ///
    /// # Errors
    /// [`DeviceError`]; then it goes on with what it had.
    pub async fn reload(&self) -> Result<(), DeviceError> {
        let (give, taken) = oneshot::channel();
        if self.reload.send(give).await.is_ok() {
            taken.await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Waits until it ends by itself; why. It says nothing more then, and is to be dropped.
    pub async fn failed(&self) -> DaemonEnd {
        tokio::select! {
            // Whoever leaves the network ends the socket too.
            biased;
            end = self.core.ended() => end,
            reason = self.core.remote.socket().ended() => {
                DaemonEnd::Socket(reason.unwrap_or_else(|| "nobody said why".to_owned()))
            }
        }
    }

    /// Says goodbye to its nodes and leaves the network, within some 2 s.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        // The links end by themselves; the others have no end.
        let links = self.core.links.len();
        for _ in 0..links {
            let _ = self.tasks.join_next().await;
        }
        if let Some(mesh) = self.core.mesh() {
            mesh.unmapped().await;
        }
        self.tasks.shutdown().await;
        self.core.leave_pings().await;
        self.core.remote.socket().stop().await;
    }

    /// For [`ControlServer`].
    fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("socket", self.core.remote.socket()).finish_non_exhaustive()
    }
}

/// How the device's node is made, at first and after its key has changed.
fn make_node(state: &StateDir, device: &LocalDevice, config: &DaemonConfig) -> crate::MakeNode {
    let directory = state.node(&device.identity().name);
    let DaemonConfig { bind, discovery, trust, capabilities, .. } = config.clone();
    Box::new(move |identity, again| {
        let node = NodeConfig {
            capabilities: capabilities.iter().flatten().cloned().collect(),
            ..NodeConfig::default()
        };
        let transport = TransportConfig { bind: again.unwrap_or(bind), discovery: discovery.clone(), node };
        let kept = NodeState::open(&directory)?;
        let node = IotNode::new(identity, transport, Some(kept), None)?;
        for (name, score) in &trust {
            // Scores were read as scores, and there is room for more than a command line holds.
            let _ = node.set_trust(name.clone(), *score, "by the operator");
        }
        Ok(node)
    })
}
