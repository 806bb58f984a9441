//! How a node is set up.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jis::{Capability, Fingerprint, Name, SecretKey};

use crate::airlock::Thresholds;
use crate::beacon::BeaconRule;
use crate::frame::Encoding;
use crate::keys::FirstContact;
use crate::peers::PEER_TIMEOUT;
use crate::relay::RelayConfig;
use crate::replay::{ReplayConfig, RestartBound};

/// How often peers hear that a node is alive, unless set otherwise.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
/// How often a node announces itself on its networks, unless set otherwise.
pub const DISCOVERY_INTERVAL: Duration = Duration::from_secs(60);

/// Who a node is.
pub struct NodeIdentity {
    /// Its name.
    pub name: Name,
    /// Its current identity key.
    pub key: SecretKey,
    /// The generation of that key.
    pub generation: u64,
    /// SHA-256 of its inception event: stays when the key is rotated.
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("name", &self.name)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// Random bytes for what must be unique: 32 for each packet and response. `None` when there are none to be had; then nothing is sent
/// (SECURITY R27).
pub type RandomSource = Box<dyn FnMut() -> Option<[u8; 32]> + Send>;

/// The settings of a node. The default is what a device at home wants.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// What it offers; stands in its beacons and answers. At most [`MAX_CAPABILITIES`](crate::MAX_CAPABILITIES), more are left out.
    pub capabilities: BTreeSet<Capability>,
    /// What it says it is, for example `sensor`; `generic` unless set otherwise.
    pub device_type: Option<Capability>,
    /// The UDP port it answers on, for its beacons. Without one it sends none.
    pub port: Option<u16>,
    /// How its packets are written. Answers are written as the question was.
    pub encoding: Encoding,
    /// Which trust leads to which zone.
    pub thresholds: Thresholds,
    /// What becomes of names that nobody has spoken under yet.
    pub first_contact: FirstContact,
    /// How fresh packets must be, and how many one sender may send.
    pub replay: ReplayConfig,
    /// What is relayed.
    pub relay: RelayConfig,
    /// [`HEARTBEAT_INTERVAL`]; `None` to send no heartbeats.
    pub heartbeat: Option<Duration>,
    /// [`DISCOVERY_INTERVAL`]; `None` to announce nothing.
    pub discovery: Option<Duration>,
    /// How long a peer that is not heard stays a peer.
    pub peer_timeout: Duration,
    /// What is known of earlier runs. `None` for a node that keeps nothing: it may accept a packet that it accepted before a restart.
    pub restart: Option<RestartBound>,
    /// Whether tokens are kept: then packets and answers name them.
    pub tokens: bool,
    /// Which devices are vouched for as soon as they are seen.
    pub beacon_rules: Vec<BeaconRule>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            capabilities: BTreeSet::new(),
            device_type: None,
            port: None,
            encoding: Encoding::Json,
            thresholds: Thresholds::default(),
            first_contact: FirstContact::default(),
            replay: ReplayConfig::default(),
            relay: RelayConfig::default(),
            heartbeat: Some(HEARTBEAT_INTERVAL),
            discovery: Some(DISCOVERY_INTERVAL),
            peer_timeout: PEER_TIMEOUT,
            restart: None,
            tokens: false,
            beacon_rules: Vec::new(),
        }
    }
}
