//! How the device is doing in the mesh.

use serde::{Deserialize, Serialize};
use tibet_mesh::{Health, Path};

use super::MeshNode;
use super::book::Peer;
use super::port_mapping::PortMappingReport;
use crate::daemon::shared::Core;

/// How the device is doing in the mesh.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeshStatus {
    /// The network its addresses are derived for.
    pub network: String,
    /// Its overlay address.
    pub address: String,
    /// The TUN device; `None` where programs go by forwards.
    pub interface: Option<String>,
    /// Where names are answered by DNS.
    pub dns: Option<String>,
    /// Whether the router lets peers in.
    pub port_mapping: PortMappingReport,
    /// Its relays.
    pub relays: Vec<RelayReport>,
    /// Listeners whose connections go to peers.
    pub forwards: Vec<ForwardStatus>,
    /// Ports whose connections go to programs here.
    pub exposes: Vec<ForwardStatus>,
    /// Its peers, by name.
    pub peers: Vec<PeerReport>,
}

/// A relay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayReport {
    /// The node, as it was written.
    pub node: String,
    /// `proven`, `suspect` or `none`.
    pub health: String,
    /// There and back, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Bytes a second it passes on for us.
    pub bytes_per_second: Option<u64>,
}

/// A listener or port, and what went through it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardStatus {
    /// Where connections come in.
    pub listen: String,
    /// Where they go.
    pub to: String,
    /// Connections now.
    pub connections: u64,
    /// Connections so far.
    pub total: u64,
}

/// A peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerReport {
    /// Who.
    pub name: String,
    /// Its overlay address.
    pub address: String,
    /// Where it stands here.
    pub zone: String,
    /// `direct ADDRESS`, `relay NODE`, or nothing where there is no path.
    pub path: Option<String>,
    /// Whether that path is direct.
    pub direct: bool,
    /// There and back, in milliseconds: to the peer on a direct path, to the relay on one over it.
    pub rtt_ms: Option<f64>,
    /// Bytes sent through the tunnel, with all that it adds.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Seconds since the last handshake.
    pub last_handshake_s: Option<u64>,
}

impl MeshNode {
    pub(in crate::daemon) fn status(&self, core: &Core) -> MeshStatus {
        let nodes = nodes_of(core);
        let standings = self.engine.with(|mesh, now| mesh.relays(now));
        let rates: Vec<Option<u64>> = self.relay_links().iter().map(|link| link.rate).collect();
        let relays = standings.into_iter().filter_map(|(id, health, rtt)| {
            let index = usize::try_from(id.0).ok()?;
            Some(RelayReport {
                node: nodes.get(index)?.clone(),
                health: match health {
                    Health::Proven => "proven",
                    Health::Suspect => "suspect",
                    Health::Unproven => "none",
                }
                .to_owned(),
                rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                bytes_per_second: rates.get(index).copied().flatten(),
            })
        });
        let forwards = self.programs.forwards();
        let exposes = self.programs.exposes();
        MeshStatus {
            network: self.network.clone(),
            address: self.address.to_string(),
            interface: self.programs.interface().map(str::to_owned),
            dns: self.dns.map(|dns| dns.to_string()),
            port_mapping: self.port_mapping.report(),
            relays: relays.collect(),
            forwards: forwards
                .iter()
                .map(|(to, forward)| {
                    let counts = forward.counts();
                    ForwardStatus {
                        listen: forward.local_addr().to_string(),
                        to: format!("{}:{}", to.name, to.port),
                        connections: counts.open as u64,
                        total: counts.total,
                    }
                })
                .collect(),
            exposes: exposes
                .iter()
                .map(|(at, expose)| {
                    let counts = expose.counts();
                    ForwardStatus {
                        listen: format!("[{}]:{}", self.address, at.port),
                        to: at.local.to_string(),
                        connections: counts.open as u64,
                        total: counts.total,
                    }
                })
                .collect(),
            peers: self.peers().iter().map(|peer| self.report_of(&nodes, peer)).collect(),
        }
    }

    /// The path of a peer's tunnel, in words: `direct ADDRESS` or `relay NODE`.
    pub(super) fn path_of(&self, core: &Core, peer: &Peer) -> Option<String> {
        let chosen = self.status_of(&peer.fingerprint)?.chosen?;
        Some(path_text(&nodes_of(core), chosen))
    }

    fn report_of(&self, nodes: &[String], peer: &Peer) -> PeerReport {
        let status = self.status_of(&peer.fingerprint);
        let chosen = status.as_ref().and_then(|status| status.chosen);
        let rtt = status.as_ref().and_then(|status| {
            status
                .paths
                .iter()
                .find(|measured| Some(measured.path) == chosen)
                .and_then(|measured| measured.rtt)
        });
        let path = chosen.map(|path| path_text(nodes, path));
        let tunnel = status.as_ref().map(|status| status.tunnel);
        PeerReport {
            name: peer.name.to_string(),
            address: peer.address.to_string(),
            zone: peer.zone.as_str().to_owned(),
            path,
            direct: matches!(chosen, Some(Path::Direct(_))),
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            sent: tunnel.map_or(0, |tunnel| tunnel.sent),
            received: tunnel.map_or(0, |tunnel| tunnel.received),
            last_handshake_s: tunnel.and_then(|tunnel| tunnel.since_handshake).map(|since| since.as_secs()),
        }
    }
}

/// The nodes, as they were written.
fn nodes_of(core: &Core) -> Vec<String> {
    core.remote.client().nodes().iter().map(|node| node.address().place()).collect()
}

fn path_text(nodes: &[String], path: Path) -> String {
    match path {
        Path::Direct(address) => format!("direct {address}"),
        Path::Relayed(id) => {
            let node = usize::try_from(id.0).ok().and_then(|index| nodes.get(index));
            format!("relay {}", node.map_or("?", String::as_str))
        }
    }
}
