//! Nodes on loopback.

#![allow(dead_code, unreachable_pub, reason = "shared by the test files beside; each uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use jis::{Fingerprint, Name, PublicKey, SecretKey};
use tibet_iot::{Audit, IotNode, NodeState, TransportConfig};
use tibet_ping::{Binding, NodeConfig, NodeIdentity};
use zeroize::Zeroizing;

/// For what is to happen. Far longer than it takes; only a failing test waits so long.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// For what is to be awaited in vain.
pub const SILENCE: Duration = Duration::from_millis(300);

pub fn name(text: &str) -> Name {
    text.parse().expect(text)
}

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(Zeroizing::new(std::array::from_fn(|at| n ^ at as u8))).expect("key")
}

pub fn public(n: u8) -> PublicKey {
    key(n).public_key()
}

/// `text` with key `n`.
pub fn identity(text: &str, n: u8) -> NodeIdentity {
    NodeIdentity {
        name: name(text),
        key: key(n),
        generation: 0,
        fingerprint: Fingerprint::from_bytes([n; 32]),
    }
}

pub fn binding(text: &str, n: u8) -> Binding {
    Binding { name: name(text), key: public(n), generation: 0 }
}

/// On loopback, at any port, alone.
pub fn quiet() -> TransportConfig {
    TransportConfig {
        bind: "127.0.0.1:0".parse().expect("address"),
        discovery: None,
        node: NodeConfig::default(),
    }
}

pub async fn start_with(
    text: &str,
    n: u8,
    config: TransportConfig,
    state: Option<NodeState>,
    audit: Option<Audit>,
) -> (IotNode, SocketAddr) {
    let mut node = IotNode::new(identity(text, n), config, state, audit).expect("made");
    let address = node.start().await.expect("started");
    (node, address)
}

pub async fn start(text: &str, n: u8) -> (IotNode, SocketAddr) {
    start_with(text, n, quiet(), None, None).await
}
