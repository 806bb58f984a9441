//! Names for programs: an overlay address for each, by DNS on an address of this machine (`docs/spec/names-in-dns.md`).

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use jis::Name;
use tibet_net::DnsServer;
use tokio::task::JoinSet;

use super::{MeshError, MeshNode};
use crate::client::ResolveError;
use crate::daemon::shared::Core;

impl Core {
    /// The overlay address of a name. From then on packets to it find their way.
    pub(in crate::daemon) async fn overlay_address(
        &self,
        mesh: &MeshNode,
        name: &Name,
    ) -> Result<Ipv6Addr, ResolveError> {
        let own = self.device.identity();
        if own.name == *name {
            return Ok(mesh.note_name(&own.fingerprint, name));
        }
        let known = self.remote.client().remembered(name)?;
        let route = match known {
            Some(route) => route,
            None => self.remote.client().resolve(name, || None).await?,
        };
        match &route.identity {
            Some(identity) => Ok(mesh.note_name(&identity.fingerprint, name)),
            None => Err(ResolveError::Unknown { name: name.clone(), nodes: Vec::new() }),
        }
    }
}

/// Answers at `address`. Where it listens.
pub(super) async fn start(
    core: &Arc<Core>,
    address: Option<SocketAddr>,
    tasks: &mut JoinSet<()>,
) -> Result<Option<SocketAddr>, MeshError> {
    let Some(address) = address else { return Ok(None) };
    let server = DnsServer::bind(address).await?;
    let listens = server.local_addr();
    let (asked, known) = (Arc::downgrade(core), Arc::downgrade(core));
    let lookup = move |name: Name| {
        let core = asked.clone();
        async move {
            let core = core.upgrade()?;
            core.overlay_address(core.mesh()?, &name).await.ok()
        }
    };
    let reverse = move |address: Ipv6Addr| known.upgrade()?.mesh()?.name_at(address);
    tasks.spawn(async move {
        if let Err(error) = server.run(lookup, reverse).await {
            tracing::error!(%error, "DNS");
        }
    });
    Ok(Some(listens))
}
