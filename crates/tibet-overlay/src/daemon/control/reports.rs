//! What the daemon answers about ports and addresses of the mesh.

use std::net::{Ipv6Addr, SocketAddr};

use jis::Name;
use serde::{Deserialize, Serialize};

use crate::daemon::{ExposeAt, ForwardTo};

/// A listener of this machine whose connections go to a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardReport {
    /// Where it listens, `ADDRESS:PORT`.
    pub listen: String,
    /// Whom its connections go to…
    pub name: String,
    /// … and to which port.
    pub port: u16,
    /// The overlay address of that peer, if it is one.
    pub overlay_address: Option<String>,
    /// Why it is no peer yet. It is asked for again with each connection.
    pub problem: Option<String>,
    /// Whether it has just ended.
    pub removed: bool,
}

/// A port of the overlay address whose connections go to a program of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExposeReport {
    /// The device's overlay address.
    pub overlay_address: String,
    /// The port there.
    pub port: u16,
    /// Where its connections go, `ADDRESS:PORT`.
    pub local: String,
    /// Whether it has just ended.
    pub removed: bool,
}

/// By what programs find a device in the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressReport {
    /// Its name.
    pub name: String,
    /// Its overlay address, which only its identity and the network's name decide.
    pub overlay_address: String,
    /// What it is called in DNS (`docs/spec/names-in-dns.md`).
    pub dns_name: String,
}

impl ForwardReport {
    pub(in crate::daemon) fn new(listen: SocketAddr, to: &ForwardTo) -> Self {
        Self { listen: listen.to_string(), name: to.name.to_string(), port: to.port, ..Self::default() }
    }
}

impl ExposeReport {
    pub(in crate::daemon) fn new(address: Ipv6Addr, at: ExposeAt) -> Self {
        let (overlay_address, local) = (address.to_string(), at.local.to_string());
        Self { overlay_address, port: at.port, local, removed: false }
    }
}

impl AddressReport {
    /// Of this name at this overlay address.
    #[must_use]
    pub fn new(name: &Name, address: Ipv6Addr) -> Self {
        let (overlay_address, dns_name) = (address.to_string(), tibet_net::dns_name(name));
        Self { name: name.to_string(), overlay_address, dns_name }
    }
}
