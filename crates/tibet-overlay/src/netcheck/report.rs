//! What was found out.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::judge::{Filtering, Mapping};

/// How the network between this machine and its nodes behaves. Members are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetcheckReport {
    /// One for each address of each node, in the order the nodes were given.
    pub nodes: Vec<NodeFinding>,
    /// IPv4, then IPv6, as far as nodes have such addresses.
    pub families: Vec<FamilyFinding>,
    /// What the router offers.
    pub port_mapping: PortMapping,
    /// What it comes to, in one line.
    pub advice: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

impl NetcheckReport {
    /// Whether any node answered.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.nodes.iter().any(|node| node.reachable)
    }
}

/// On the way to one address of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeFinding {
    /// The node, as it was written.
    pub node: String,
    /// Which of its addresses this is; `None` where it has none.
    pub address: Option<SocketAddr>,
    /// Whether it answered.
    pub reachable: bool,
    /// The key it says it has. Nothing is signed here.
    pub key: Option<String>,
    /// The best round trip of three, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Where datagrams left this machine from.
    pub local: Option<SocketAddr>,
    /// Where they came from for the node.
    pub observed: Option<SocketAddr>,
    /// The node's second port.
    pub second_port: Option<u16>,
    /// Where datagrams came from at that port.
    pub observed_at_second_port: Option<SocketAddr>,
    /// Whether the second port got through before it was spoken to. `None` where that is not known.
    pub second_port_got_in: Option<bool>,
    /// Longest IP packet, in bytes, that got to the node whole: a multiple of 4 from 1280 to 1500. `None` where it is
    /// not known, or not even the shortest did.
    pub path_mtu: Option<u16>,
    /// What went wrong.
    pub problem: Option<String>,
}

/// What all nodes' addresses of one family say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FamilyFinding {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Whether any node answered.
    pub reachable: bool,
    /// Where the best node sees us.
    pub observed: Option<SocketAddr>,
    /// How addresses are translated.
    pub mapping: Mapping,
    /// What is let in.
    pub filtering: Filtering,
    /// Whether the router leads back what this machine sends to its own address outside. `None` without a NAT.
    pub hairpin: Option<bool>,
    /// Why there seems to be a carrier's NAT, if there does.
    pub carrier_nat: Option<String>,
}

/// What the router says of port mapping. Its word, and nobody else's.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PortMapping {
    /// Who was asked: the router that IPv4 leaves by.
    pub gateway: Option<IpAddr>,
    /// Port Control Protocol (RFC 6887).
    pub pcp: bool,
    /// NAT Port Mapping Protocol (RFC 6886).
    pub nat_pmp: bool,
    /// Universal Plug and Play, Internet Gateway Device.
    pub upnp: bool,
    /// The router's own address outside.
    pub external: Option<IpAddr>,
}

impl PortMapping {
    /// Whether it offers any.
    #[must_use]
    pub fn found(&self) -> bool {
        self.pcp || self.nat_pmp || self.upnp
    }
}
