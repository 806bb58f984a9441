//! Who plays in the demo.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jis::Name;
use tibet_iot::{Audit, IotNode, TransportConfig, system};
use tibet_overlay::LocalDevice;
use tibet_ping::{Ask, NodeIdentity};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

use super::unavailable;
use crate::error::CliError;

/// Far longer than anything on the loopback interface takes.
const DEADLINE: Duration = Duration::from_secs(2);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A new identity of this name, with keys of its own.
pub(super) fn identity(name: &str) -> Result<NodeIdentity, CliError> {
    Ok(LocalDevice::create(super::name(name), system::now())?.node_identity()?)
}

/// A node on the loopback interface that nobody can find.
pub(super) async fn actor(identity: NodeIdentity, audit: Option<Audit>) -> Result<IotNode, CliError> {
    let config = TransportConfig { bind: LOOPBACK, discovery: None, ..TransportConfig::default() };
    let mut node = IotNode::new(identity, config, None, audit)?;
    node.start().await?;
    Ok(node)
}

/// A plain socket that catches packets and sends them wherever it likes.
pub(super) struct Eavesdropper {
    socket: UdpSocket,
    hub: SocketAddr,
}

impl Eavesdropper {
    pub(super) async fn new(hub: SocketAddr) -> Result<Self, CliError> {
        let socket = UdpSocket::bind(LOOPBACK).await.map_err(|error| unavailable("no socket", error))?;
        Ok(Self { socket, hub })
    }

    /// Has `node` ask `target`, but here, and gives the packet.
    pub(super) async fn overhear(&self, node: &IotNode, target: Name) -> Result<Vec<u8>, CliError> {
        let here = self.socket.local_addr().map_err(|error| unavailable("no socket", error))?;
        let _question = node.ask(Ask::new(target, Some(here), "temperature.read"))?;
        self.receive(DEADLINE).await?.ok_or_else(|| unavailable("a ping", "was not sent"))
    }

    pub(super) async fn send(&self, packet: &[u8]) -> Result<(), CliError> {
        let sent = self.socket.send_to(packet, self.hub).await;
        sent.map(drop).map_err(|error| unavailable("cannot send", error))
    }

    /// Sends a packet to the hub, if there is one, and gives the number of bytes that come back within `wait`.
    pub(super) async fn exchange(&self, packet: &[u8], wait: Duration) -> Result<usize, CliError> {
        if !packet.is_empty() {
            self.send(packet).await?;
        }
        Ok(self.receive(wait).await?.map_or(0, |bytes| bytes.len()))
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Vec<u8>>, CliError> {
        let mut bytes = vec![0; 65_536];
        match timeout(wait, self.socket.recv_from(&mut bytes)).await {
            Ok(Ok((length, _))) => {
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Ok(Err(error)) => Err(unavailable("cannot receive", error)),
            Err(_) => Ok(None),
        }
    }
}

/// Waits until `is_so`, but not for ever.
pub(super) async fn wait_until(is_so: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() && Instant::now() < until {
        sleep(Duration::from_millis(2)).await;
    }
}
