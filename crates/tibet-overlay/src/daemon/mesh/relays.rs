//! Sessions with the nodes that relay for us.
//!
//! Every node that the device is registered with is asked once for a session, and again before that ends. A node that has one stands in the device's record as its
//! relay; one that says that it does not relay is asked again after ten minutes (`docs/spec/relay.md`).

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use jis::{Name, RelayOpen, Signed, TransportSecret, message_hash};
use tibet_mesh::{RelayClient, RelayId, RelayKeys};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::MeshNode;
use crate::client::QueryError;
use crate::daemon::shared::{Core, chance};
use crate::daemon::status::LinkState;
use crate::system;

/// How long the record that names a relay may take to be there before a session is asked for.
const RECORD: Duration = Duration::from_secs(2);
/// How long after a failure, and after a node's word that it does not relay, it is asked again.
const AGAIN: Duration = Duration::from_secs(5);
const AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// How long a session may be used that was asked for.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// How it stands with one node.
#[derive(Debug, Default)]
pub(super) struct RelayLink {
    /// It has said that it does not relay.
    refused: bool,
    /// Bytes a second it passes on for us.
    pub(super) rate: Option<u64>,
}

impl MeshNode {
    pub(super) fn relay_links(&self) -> MutexGuard<'_, Vec<RelayLink>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node with this index is to stand in the device's record.
    pub(in crate::daemon) fn may_relay(&self, index: usize) -> bool {
        self.relay_links().get(index).is_some_and(|link| !link.refused)
    }

    fn set_refused(&self, index: usize, refused: bool) -> bool {
        let mut links = self.relay_links();
        let Some(link) = links.get_mut(index) else { return false };
        std::mem::replace(&mut link.refused, refused) != refused
    }
}

/// Keeps a session with the node of this index, without end.
pub(super) async fn run(core: Arc<Core>, mesh: Arc<MeshNode>, index: usize) {
    let Some(due) = mesh.engine.relay_due(index) else { return };
    let id = RelayId(u32::try_from(index).unwrap_or(u32::MAX));
    loop {
        core.registered_with(index).await;
        // The node passes on what is for us only once our record names it.
        if core.current().await.is_ok() {
            let _ = timeout(RECORD, core.has_newest(index)).await;
        }
        let wait = match open(&core, &mesh, index).await {
            Ok((client, rate, lifetime)) => {
                if let Some(link) = mesh.relay_links().get_mut(index) {
                    link.rate = Some(rate);
                }
                mesh.engine.with(|machine, now| machine.open_relay(id, client, now));
                tracing::info!(node = core.link(index).node, rate, "relay");
                // It is over by then, whether anybody says so or not.
                let _ = timeout(lifetime, due.notified()).await;
                Duration::from_millis(chance() % 500)
            }
            Err(error) => {
                tracing::info!(node = core.link(index).node, %error, "no relay");
                let refused = error.failure().is_some();
                if mesh.set_refused(index, refused) {
                    let _ = core.current().await;
                }
                if refused { AFTER_REFUSAL } else { AGAIN }
            }
        };
        sleep(wait).await;
    }
}

/// A session, the bytes a second that go through it, and how long it holds.
async fn open(
    core: &Core,
    mesh: &MeshNode,
    index: usize,
) -> Result<(RelayClient, u64, Duration), QueryError> {
    let node = Arc::clone(&core.remote.client().nodes()[index]);
    let unsignable = QueryError::Unsignable;
    let session = match core.session(index) {
        Some(session) => session,
        None => node.hello().await?,
    };
    let identity = core.asker.identity();
    let secret = TransportSecret::from_bytes(Zeroizing::new(system::random()?));
    let Ok(secret) = secret else { return Err(QueryError::NoAnswer { node: node.address().place() }) };
    let issued_at = system::now();
    let open = RelayOpen {
        name: identity.name.clone(),
        key: identity.key.public_key(),
        generation: identity.generation,
        relay: session.key,
        exchange: secret.public_key(),
        issued_at,
        expires_at: issued_at.saturating_add(LIFETIME),
    };
    let open = Signed::seal(open, &identity.key).map_err(unsignable)?;
    let opened = node.open_relay(&open).await?;
    let keys = RelayKeys::for_device(&secret, &opened.exchange, &message_hash(open.message()));
    let Some(keys) = keys else { return Err(QueryError::NoAnswer { node: node.address().place() }) };
    let now = mesh.engine.now();
    let client = RelayClient::new(keys, opened.session, opened.with.address, opened.lifetime, now);
    Ok((client, opened.bytes_per_second, opened.lifetime))
}

impl Core {
    /// The names of the nodes, as far as their keys are known.
    pub(super) fn node_names(&self) -> Vec<Option<Name>> {
        let keys = (0..self.links.len()).map(|index| self.session(index).map(|session| session.key));
        keys.map(|key| key.map(|key| Name::of_key(&key))).collect()
    }

    /// Whether any node has the device.
    pub(in crate::daemon) fn is_registered(&self) -> bool {
        (0..self.links.len()).any(|index| self.link(index).state == LinkState::Registered)
    }

    /// Waits until the node of this index has the device.
    async fn registered_with(&self, index: usize) {
        let mut states = self.states();
        while self.link(index).state != LinkState::Registered && states.changed().await.is_ok() {}
    }
}
