//! How the daemon is doing.

use serde::{Deserialize, Serialize};

use super::mesh::MeshStatus;

/// How the daemon is doing. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DaemonStatus {
    /// Who it speaks for.
    pub name: String,
    /// The fingerprint.
    pub fingerprint: String,
    /// The key now.
    pub public_key: String,
    /// Its generation.
    pub generation: u64,
    /// Where its socket is bound.
    pub address: String,
    /// What its record says.
    pub endpoints: Vec<String>,
    /// What it offers.
    pub capabilities: Vec<String>,
    /// Whether a node sees another address than this machine has.
    pub behind_nat: bool,
    /// The number of its last record.
    pub seq: Option<u64>,
    /// Seconds since it began.
    pub uptime_s: u64,
    /// Neighbours that have shown their keys.
    pub peers: usize,
    /// Each of its nodes, in their order.
    pub nodes: Vec<NodeStatus>,
    /// Its part in the mesh, if it takes part.
    pub mesh: Option<MeshStatus>,
    /// What went wrong with the device's files last, if anything is wrong.
    pub problem: Option<String>,
}

/// How it stands with one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// As it was written.
    pub node: String,
    /// Its key.
    pub key: Option<String>,
    /// Where it is.
    pub address: Option<String>,
    /// How it stands.
    pub state: LinkState,
    /// Where it sees us.
    pub observed: Option<String>,
    /// Since when our name is bound there.
    pub bound_since: Option<String>,
    /// Until when our record holds there.
    pub expires_at: Option<String>,
    /// When it answered last.
    pub last_heard: Option<String>,
    /// How often we have registered there since we began.
    pub registrations: u64,
    /// Keepalives it has answered.
    pub keepalives: u64,
    /// What it said, or what went wrong, last.
    pub problem: Option<String>,
}

/// How a device stands with a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkState {
    /// On the way there.
    #[default]
    Connecting,
    /// Registered, and kept so.
    Registered,
    /// A human has to approve first.
    Waiting,
    /// The node refuses.
    Refused,
    /// The node does not answer.
    Away,
    /// Another of the addresses that were given leads to the same node; the device is registered there through that one.
    Same,
}

impl LinkState {
    /// One word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Registered => "registered",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Away => "away",
            Self::Same => "same",
        }
    }
}

impl DaemonStatus {
    /// Whether at least one node knows the device.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.nodes.iter().any(|node| node.state == LinkState::Registered)
    }
}
