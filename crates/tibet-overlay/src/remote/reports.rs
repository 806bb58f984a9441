//! What was found out, in a form that can be handed on. Times are RFC 3339, times of travel milliseconds.

use std::net::SocketAddr;
use std::time::Duration;

use jis::{Capability, Fingerprint, Name, Signed, UnixTime};
use serde::{Deserialize, Serialize};

use crate::client::{NodePath, ResolveError, Route, RouteOrigin, Verification};
use crate::intents::{PresenceState, ResolveAnswer};

/// Where a device is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolveReport {
    /// The name.
    pub name: String,
    /// Whether it leads anywhere.
    pub resolved: bool,
    /// The first endpoint, or empty.
    pub endpoint: String,
    /// All of them, best first.
    pub endpoints: Vec<String>,
    /// Whether the device sits behind a NAT, by its own word.
    pub behind_nat: Option<bool>,
    /// What it offers.
    pub capabilities: Vec<String>,
    /// Its fingerprint.
    pub fingerprint: Option<String>,
    /// Its key.
    pub public_key: Option<String>,
    /// The generation of the key.
    pub generation: Option<u64>,
    /// The number of the record.
    pub seq: Option<u64>,
    /// Until when the record holds.
    pub expires_at: Option<String>,
    /// Whether it says where the device was, not where it is.
    pub stale: bool,
    /// Who knew: `registry`, `cache`, `node`, `neighbour`, `last_known`.
    pub source: String,
    /// The node, where one was asked.
    pub node: Option<String>,
    /// Why it leads nowhere.
    pub reason: Option<String>,
    /// What went wrong on the way.
    pub notes: Vec<String>,
    /// The record, M and signature, as hex.
    pub record: Option<String>,
    /// `online`, `gone` or `unknown`, by the node's word.
    pub presence: Option<String>,
    /// When the node heard it last.
    pub last_seen: Option<String>,
    /// Where the node sees it.
    pub observed: Option<String>,
    /// Since when the name is bound, by the node's word.
    pub bound_since: Option<String>,
    /// The node's trust in it.
    pub trust_score: Option<f64>,
    /// The zone that leads to.
    pub zone: Option<String>,
}

/// What a verification showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyReport {
    /// The name.
    pub name: String,
    /// Whether it holds the key of its name, now.
    pub verified: bool,
    /// Whether it could be asked.
    pub asked: bool,
    /// Why it is not verified.
    pub reason: Option<String>,
    /// The node's trust in it.
    pub trust_score: Option<f64>,
    /// The zone that leads to.
    pub zone: Option<String>,
    /// Its fingerprint.
    pub fingerprint: Option<String>,
    /// The key it was judged by.
    pub public_key: Option<String>,
    /// The generation of that key.
    pub generation: Option<u64>,
    /// Since when the name is bound, by the node's word.
    pub bound_since: Option<String>,
    /// `online`, `gone` or `unknown`, by the node's word.
    pub presence: Option<String>,
    /// The way the question took, in words.
    pub path: String,
    /// The node it went through.
    pub node: Option<String>,
    /// That node's key.
    pub node_key: Option<String>,
    /// Where the node asked the device.
    pub device: Option<String>,
    /// To the device and back.
    pub rtt_ms: Option<f64>,
    /// From the node to the device and back, by the node's word.
    pub device_rtt_ms: Option<f64>,
    /// The proof, M and signature, as hex.
    pub proof: Option<String>,
    /// What went wrong on the way: nodes that could not ask the device, or handed on a proof that does not convince.
    pub notes: Vec<String>,
}

/// Who offers a capability.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FindReport {
    /// What was asked for.
    pub capability: String,
    /// The node that knew.
    pub node: String,
    /// How many there are.
    pub total: usize,
    /// The first of them.
    pub devices: Vec<FoundDevice>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FoundDevice {
    /// Its name.
    pub name: String,
    /// Where it says that it is.
    pub endpoint: Option<String>,
    /// `online`, `gone` or `unknown`.
    pub presence: Option<String>,
    /// The node's trust in it.
    pub trust_score: Option<f64>,
    /// The zone that leads to.
    pub zone: Option<String>,
}

/// What came of a ping.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PingReport {
    /// Who was pinged.
    pub name: String,
    /// Whether it answered.
    pub answered: bool,
    /// `accept`, `pending` or `reject`.
    pub decision: Option<String>,
    /// The zone in which whoever asked stands with the device, by the device's signed word.
    pub zone: Option<String>,
    /// How far the device trusts whoever asked, where it says so.
    pub trust_score: Option<f64>,
    /// The way the answer came, in words: `direct to ADDR`, `via node ADDR`; through a tunnel
    /// `sealed, direct ADDR` or `sealed, relay NODE`.
    pub path: Option<String>,
    /// The node, where it went through one.
    pub node: Option<String>,
    /// Where the device was asked.
    pub device: Option<String>,
    /// To the device and back.
    pub rtt_ms: Option<f64>,
    /// From the node to the device and back, by the node's word.
    pub device_rtt_ms: Option<f64>,
    /// The path of packets to the device in the mesh right after, in words: `direct ADDR`, `relay NODE`. Only a daemon that takes part has one, to a device that does.
    pub tunnel: Option<String>,
    /// What was tried, in order.
    pub tried: Vec<Attempt>,
}

/// One way that was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// Which, in words.
    pub path: String,
    /// What came of it, in words.
    pub result: String,
}

impl ResolveReport {
    pub(super) fn unresolved(name: &Name, error: &ResolveError) -> Self {
        Self { name: name.to_string(), reason: Some(error.to_string()), ..Self::default() }
    }

    pub(super) fn new(name: &Name, route: &Route, described: Option<&ResolveAnswer>) -> Self {
        let endpoints: Vec<String> = route.endpoints.iter().map(SocketAddr::to_string).collect();
        let record = route.record.as_ref().map(Signed::claims);
        let capabilities =
            record.map(|record| record.capabilities.iter().map(Capability::to_string).collect());
        let fingerprint = route.identity.as_ref().map(|identity| identity.fingerprint);
        Self {
            name: name.to_string(),
            resolved: true,
            endpoint: endpoints.first().cloned().unwrap_or_default(),
            endpoints,
            behind_nat: record.map(|record| record.behind_nat),
            capabilities: capabilities.unwrap_or_default(),
            fingerprint: fingerprint.map(|fingerprint: Fingerprint| fingerprint.to_string()),
            public_key: record.map(|record| record.key.to_multibase()),
            generation: record.map(|record| record.version.generation),
            seq: record.map(|record| record.version.seq),
            expires_at: record.map(|record| record.expires_at().to_string()),
            stale: route.is_stale(),
            source: route.origin.as_str().to_owned(),
            node: match &route.origin {
                RouteOrigin::Node(node) => Some(node.clone()),
                _ => None,
            },
            reason: None,
            notes: route.notes.iter().map(ToString::to_string).collect(),
            record: route.record.as_ref().map(|record| jis::hex::encode(&record.encode())),
            presence: described.map(presence),
            last_seen: described.and_then(|described| described.last_seen).map(|seen| seen.to_string()),
            observed: described.and_then(|described| described.observed).map(|at| at.to_string()),
            bound_since: described.map(|described| described.registered_at.to_string()),
            trust_score: described.map(|described| described.trust),
            zone: described.map(|described| described.zone().as_str().to_owned()),
        }
    }
}

impl VerifyReport {
    pub(super) fn unknown(name: &Name, error: &ResolveError) -> Self {
        let reason = Some(error.to_string());
        Self { name: name.to_string(), asked: true, reason, ..Self::default() }
    }

    pub(super) fn new(verification: &Verification) -> Self {
        let (identity, described) = (&verification.identity, verification.described.as_ref());
        let path = verification.path.as_ref();
        Self {
            name: verification.name.to_string(),
            verified: verification.verified,
            asked: verification.asked,
            reason: verification.reason.clone(),
            trust_score: described.map(|described| described.trust),
            zone: described.map(|described| described.zone().as_str().to_owned()),
            fingerprint: Some(identity.fingerprint.to_string()),
            public_key: Some(identity.key.to_multibase()),
            generation: Some(identity.generation),
            bound_since: verification.registered_at().map(|since: UnixTime| since.to_string()),
            presence: described.map(presence),
            path: path.map(via).unwrap_or_default(),
            node: path.map(|path| path.node.clone()),
            node_key: path.and_then(|path| path.key).map(|key| key.to_multibase()),
            device: path.and_then(|path| path.device).map(|device| device.to_string()),
            rtt_ms: path.map(|path| millis(path.round_trip)),
            device_rtt_ms: path.map(|path| millis(path.device_round_trip)),
            proof: verification.proof.as_ref().map(|proof| jis::hex::encode(&proof.encode())),
            notes: verification.notes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl FoundDevice {
    pub(super) fn new(name: &Name, described: Option<&ResolveAnswer>) -> Self {
        // What a node says of another device is not shown as this one's. It is not verified either: a list is no route.
        let endpoint = described.and_then(|described| described.record.claims().endpoints.first());
        Self {
            name: name.to_string(),
            endpoint: endpoint.map(ToString::to_string),
            presence: described.map(presence),
            trust_score: described.map(|described| described.trust),
            zone: described.map(|described| described.zone().as_str().to_owned()),
        }
    }
}

pub(super) fn via(path: &NodePath) -> String {
    format!("via node {}", path.node)
}

pub(super) fn millis(duration: Duration) -> f64 {
    // Microseconds are all that a network shows.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn presence(described: &ResolveAnswer) -> String {
    match described.presence {
        PresenceState::Online => "online",
        PresenceState::Gone => "gone",
        PresenceState::Unknown => "unknown",
    }
    .to_owned()
}
