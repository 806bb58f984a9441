//! Nodes, daemons and clients on the loopback interface.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod hostile;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jis::{Name, PublicKey, SecretKey};
use tibet_iot::{IotNode, TransportConfig};
use tibet_overlay::daemon::{Daemon, DaemonConfig, DaemonStatus, MeshConfig};
use tibet_overlay::server::{AnyRegistry, NodeKeys, OverlayNode, OverlayNodeConfig};
use tibet_overlay::{
    Asker, MakeNode, NameMemory, NodeAddress, NodeClient, NodePins, OverlayClient, RemoteOverlay, Socket,
    StateDir, system,
};
use tibet_ping::NodeIdentity;
use tibet_registry::{MemoryStore, Opening, Policy, Registry, Store};
use zeroize::Zeroizing;

/// Far longer than anything here takes; only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub fn key() -> SecretKey {
    SecretKey::from_seed(system::random().expect("random").into()).expect("key")
}

pub fn name(text: &str) -> Name {
    text.parse().expect("name")
}

pub fn registry() -> AnyRegistry {
    let opening = Opening {
        log_key: Arc::new(key()),
        origin: None,
        policy: Policy::default(),
        secret: system::random().expect("random"),
    };
    let store: Box<dyn Store + Send> = Box::new(MemoryStore::new());
    Registry::open(store, opening).expect("opened")
}

/// An overlay node that can be stopped, and started again with what it had.
pub struct Node {
    running: Option<OverlayNode>,
    kept: Option<AnyRegistry>,
    seed: Zeroizing<[u8; 32]>,
    pub at: SocketAddr,
    pub key: PublicKey,
}

impl Node {
    pub async fn start() -> Self {
        let key = key();
        let mut node = Self {
            running: None,
            kept: Some(registry()),
            seed: key.to_seed(),
            at: LOOPBACK,
            key: key.public_key(),
        };
        node.start_again().await;
        node
    }

    pub async fn start_again(&mut self) {
        let identity = SecretKey::from_seed(self.seed.clone()).expect("key");
        let keys = NodeKeys { identity, keepalive: Zeroizing::new([7; 32]) };
        let config = OverlayNodeConfig {
            bind: self.at,
            keepalive_every: Duration::from_secs(5),
            workers: 1,
            ..OverlayNodeConfig::default()
        };
        let registry = self.kept.take().expect("a registry");
        let node = OverlayNode::start(registry, keys, config).await.expect("started");
        self.at = node.local_addr();
        self.running = Some(node);
    }

    pub async fn stop(&mut self) {
        let node = self.running.take().expect("running");
        self.kept = node.stop().await.expect("stopped");
    }

    pub fn address(&self) -> NodeAddress {
        NodeAddress::at(self.at)
    }
}

/// A device with files of its own.
pub struct Home {
    pub directory: tempfile::TempDir,
    pub state: StateDir,
    pub name: Name,
}

impl Home {
    pub fn of(device: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(directory.path());
        let name = name(device);
        state.identity(&name, None).create(name.clone(), system::now()).expect("keys");
        Self { directory, state, name }
    }

    pub fn device(&self) -> tibet_overlay::LocalDevice {
        self.state.identity(&self.name, None).open().expect("opened")
    }

    pub async fn up(&self, nodes: &[NodeAddress], trust: &[(&str, f64)]) -> Daemon {
        self.up_in_mesh(nodes, trust, None).await
    }

    pub async fn up_in_mesh(
        &self,
        nodes: &[NodeAddress],
        trust: &[(&str, f64)],
        mesh: Option<MeshConfig>,
    ) -> Daemon {
        let config = DaemonConfig {
            mesh,
            nodes: nodes.to_vec(),
            bind: LOOPBACK,
            discovery: None,
            capabilities: Some(["mqtt".parse().expect("word")].into()),
            trust: trust.iter().map(|(who, score)| (name(who), *score)).collect(),
            ..DaemonConfig::default()
        };
        Daemon::start(self.device(), &self.state, config).await.expect("started")
    }
}

/// Waits for what must come.
pub async fn until(daemon: &Daemon, wanted: impl FnMut(&DaemonStatus) -> bool) -> DaemonStatus {
    match tokio::time::timeout(PATIENCE, daemon.wait_until(wanted)).await {
        Ok(status) => status,
        Err(_) => panic!("it did not come to this: {:#?}", daemon.status().await),
    }
}

/// Somebody whose name is its key.
pub fn nobody() -> NodeIdentity {
    let key = key();
    let fingerprint = jis::Fingerprint::of_inception(key.public_key().as_bytes());
    NodeIdentity { name: Name::of_key(&key.public_key()), key, generation: 0, fingerprint }
}

fn copy(identity: &NodeIdentity) -> NodeIdentity {
    NodeIdentity {
        name: identity.name.clone(),
        key: SecretKey::from_seed(identity.key.to_seed()).expect("key"),
        generation: identity.generation,
        fingerprint: identity.fingerprint,
    }
}

/// A client without a daemon.
pub async fn client(identity: NodeIdentity, nodes: &[NodeAddress], memory: NameMemory) -> RemoteOverlay {
    client_with(identity, nodes, memory, NodePins::in_memory()).await
}

pub async fn client_with(
    identity: NodeIdentity,
    nodes: &[NodeAddress],
    memory: NameMemory,
    pins: NodePins,
) -> RemoteOverlay {
    let make: MakeNode = Box::new(|identity, again| {
        let bind = again.unwrap_or(LOOPBACK);
        IotNode::new(identity, TransportConfig { bind, discovery: None, ..Default::default() }, None, None)
    });
    let asker = Asker::new(copy(&identity));
    let socket = Socket::open(identity, make).await.expect("opened");
    let pins = Arc::new(pins);
    let node = |address: &NodeAddress| {
        let (wire, pins) = (socket.wire().clone(), Arc::clone(&pins));
        Arc::new(NodeClient::new(wire, address.clone(), asker.clone(), pins))
    };
    RemoteOverlay::new(OverlayClient::new(nodes.iter().map(node).collect(), memory), socket)
}
