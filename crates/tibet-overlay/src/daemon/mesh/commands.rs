//! What commands ask of the mesh while it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jis::{Capability, Name};
use tibet_net::ForwardError;
use tokio::time::timeout;

use super::book::Peer;
use super::peers::AdmitError;
use super::{ExposeAt, ForwardTo, MeshError, MeshNode};
use crate::daemon::control::{AddressReport, ExposeReport, ForwardReport};
use crate::daemon::shared::Core;
use crate::remote::{PingReport, RemoteError, RemoteErrorKind};

/// How long a peer's tunnel may take to be there before a ping goes without it, and how often it is looked at meanwhile.
const TUNNEL: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

impl Core {
    /// Its part in the mesh, which commands need.
    fn needed_mesh(&self) -> Result<&Arc<MeshNode>, RemoteError> {
        self.mesh().ok_or_else(|| {
            told(RemoteErrorKind::Refused, "this device takes no part in the mesh")
                .with_hint("tibet-overlay up without --no-mesh")
        })
    }

    /// Has the connections to a listener of this machine go to a peer, until the daemon ends or is told otherwise. That the peer cannot be one now is no
    /// error: it is asked for again with each connection.
    pub(in crate::daemon) async fn forward(
        self: &Arc<Self>,
        to: ForwardTo,
    ) -> Result<ForwardReport, RemoteError> {
        let mesh = self.needed_mesh()?;
        if let Some((listen, before)) = mesh.programs.forwarded(to.listen) {
            let before = format!("{listen} leads to {}:{} already", before.name, before.port);
            return Err(told(RemoteErrorKind::Refused, before)
                .with_hint(format!("tibet-overlay forward --remove {listen}, first")));
        }
        if to.name == self.device.identity().name {
            return Err(told(RemoteErrorKind::Usage, AdmitError::Own(to.name)));
        }
        let listen = mesh.programs.forward(self, mesh, to.clone()).await?;
        let admitted = self.admit(mesh, &to.name, true).await;
        let mut report = ForwardReport::new(listen, &to);
        match admitted {
            Ok(peer) => report.overlay_address = Some(peer.address.to_string()),
            Err(error) => report.problem = Some(error.to_string()),
        }
        Ok(report)
    }

    /// Ends a forward, and its connections.
    pub(in crate::daemon) fn end_forward(&self, listen: SocketAddr) -> Result<ForwardReport, RemoteError> {
        let Some((listen, to)) = self.needed_mesh()?.programs.end_forward(listen) else {
            return Err(nothing(format!("nothing is forwarded from {listen}")));
        };
        Ok(ForwardReport { removed: true, ..ForwardReport::new(listen, &to) })
    }

    /// Has the connections to a port of the overlay address go to a program of this machine, until the daemon ends or is told otherwise.
    pub(in crate::daemon) fn expose(&self, at: ExposeAt) -> Result<ExposeReport, RemoteError> {
        let mesh = self.needed_mesh()?;
        if let Some(before) = mesh.programs.exposed(at.port) {
            let before = format!("port {} leads to {} already", at.port, before.local);
            return Err(told(RemoteErrorKind::Refused, before)
                .with_hint(format!("tibet-overlay expose --remove {}, first", at.port)));
        }
        mesh.programs.expose(mesh, at)?;
        Ok(ExposeReport::new(mesh.address, at))
    }

    /// Ends what was exposed at a port, and its connections.
    pub(in crate::daemon) fn end_expose(&self, port: u16) -> Result<ExposeReport, RemoteError> {
        let mesh = self.needed_mesh()?;
        let Some(at) = mesh.programs.end_expose(port) else {
            return Err(nothing(format!("nothing is exposed at port {port}")));
        };
        Ok(ExposeReport { removed: true, ..ExposeReport::new(mesh.address, at) })
    }

    /// The addresses by which programs find a name.
    pub(in crate::daemon) async fn address(&self, name: &Name) -> Result<AddressReport, RemoteError> {
        let address = self.overlay_address(self.needed_mesh()?, name).await?;
        Ok(AddressReport::new(name, address))
    }

    /// Pings a device: through the tunnel to it, else as without a mesh. Where it can be a peer it is one from then on.
    pub(in crate::daemon) async fn ping(
        &self,
        name: &Name,
        intent: &Capability,
        purpose: &str,
    ) -> Result<PingReport, RemoteError> {
        let Some((mesh, peer)) = self.peer_to_ping(name).await else {
            // Then it is pinged as any device is, which also says what is wrong.
            return self.remote.ping(name, intent, purpose).await;
        };
        let sealed = self.remote.ping_sealed(name, intent, purpose).await;
        // As it is now: the ping may have been what brought it there.
        let path = mesh.path_of(self, &peer);
        let mut report = match sealed {
            Some(report) if report.answered => {
                report.on_path(format!("sealed, {}", path.as_deref().unwrap_or("path unknown")))
            }
            sealed => {
                let mut report = self.remote.ping(name, intent, purpose).await?;
                report.tried.splice(0..0, sealed.into_iter().flat_map(|sealed| sealed.tried));
                report
            }
        };
        report.tunnel = path;
        Ok(report)
    }

    /// The peer to be pinged, with its tunnel open where that is quickly done.
    async fn peer_to_ping(&self, name: &Name) -> Option<(&Arc<MeshNode>, Peer)> {
        let mesh = self.mesh()?;
        let peer = self.admit(mesh, name, true).await.ok()?;
        mesh.open_tunnel(&peer).await;
        Some((mesh, peer))
    }
}

impl MeshNode {
    /// Has a tunnel to a peer, where that is quickly done. It is waited for only once: a peer that did not answer is not on the network, or has no mesh.
    async fn open_tunnel(&self, peer: &Peer) {
        if self.is_live(peer) {
            return;
        }
        let before = self.status_of(&peer.fingerprint).is_some_and(|status| status.tunnel.sent > 0);
        // A packet is what starts a tunnel. This one has nothing in it, and nobody answers it (RFC 8200 §4.7).
        self.engine.send_packets(&mut vec![empty_packet(self.address, peer.address)]);
        let mut paths = self.paths();
        let opened = async {
            while !self.is_live(peer) {
                // A path is told of, the end of a handshake is not.
                let _ = timeout(LOOK, paths.changed()).await;
            }
        };
        let wait = if before { Duration::ZERO } else { TUNNEL };
        let _ = timeout(wait, opened).await;
    }

    fn is_live(&self, peer: &Peer) -> bool {
        self.engine.with(|mesh, _| mesh.is_live(&peer.fingerprint))
    }
}

/// An IPv6 packet without anything in it (RFC 8200 §3): next header 59.
fn empty_packet(from: std::net::Ipv6Addr, to: std::net::Ipv6Addr) -> BytesMut {
    let mut packet = BytesMut::with_capacity(40 + tibet_net::SPARE);
    packet.extend_from_slice(&[0x60, 0, 0, 0, 0, 0, 59, 64]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet
}

fn told(kind: RemoteErrorKind, message: impl ToString) -> RemoteError {
    RemoteError::new(kind, message.to_string())
}

fn nothing(message: String) -> RemoteError {
    told(RemoteErrorKind::Refused, message).with_hint("tibet-overlay status --peers shows what leads where")
}

impl From<MeshError> for RemoteError {
    fn from(error: MeshError) -> Self {
        match &error {
            MeshError::Forward(ForwardError::InUse(_)) => told(RemoteErrorKind::Later, error),
            MeshError::ExposeWithTun { .. } => told(RemoteErrorKind::Usage, &error)
                .with_hint("have the program listen on that address, or on all addresses"),
            MeshError::Forward(_) | MeshError::Expose { .. } => told(RemoteErrorKind::Usage, error),
            _ => told(RemoteErrorKind::Local, error),
        }
    }
}
