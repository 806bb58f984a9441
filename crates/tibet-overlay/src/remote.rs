//! The overlay as it is seen from a device: through its socket and its nodes.

mod error;
pub use error::{RemoteError, RemoteErrorKind};
mod pinging;
mod reports;
pub use reports::{Attempt, FindReport, FoundDevice, PingReport, ResolveReport, VerifyReport};

use std::sync::Arc;

use jis::{Capability, Identity, Name};
use tibet_iot::IotNode;
use tibet_ping::Binding;
use tokio::task::JoinSet;

use crate::client::{OverlayClient, ReachError, ResolveError, Socket};
use crate::intents::ResolveAnswer;

/// Devices that are described at once.
const AT_ONCE: usize = 16;

/// Resolves, verifies, finds and pings devices anywhere, and reports in a form that can be handed on: to a program, or over the control socket
/// of a [`Daemon`](crate::daemon::Daemon).
#[derive(Debug, Clone)]
pub struct RemoteOverlay {
    client: Arc<OverlayClient>,
    socket: Socket,
}

impl RemoteOverlay {
    /// Through these nodes and this socket.
    #[must_use]
    pub fn new(client: OverlayClient, socket: Socket) -> Self {
        Self { client: Arc::new(client), socket }
    }

    /// The nodes.
    #[must_use]
    pub fn client(&self) -> &OverlayClient {
        &self.client
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Where a device is. That it is unknown or revoked is no error but a report that says so.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn resolve(&self, name: &Name) -> Result<ResolveReport, RemoteError> {
        let neighbour = self.socket.neighbour(name).await;
        let route = match self.client.resolve(name, || neighbour).await {
            Ok(route) => route,
            Err(error @ (ResolveError::Unknown { .. } | ResolveError::Revoked { .. })) => {
                return Ok(ResolveReport::unresolved(name, &error));
            }
            Err(error) => return Err(error.into()),
        };
        if route.identity.is_some() {
            self.compare_key(name, |_, _| ()).await?;
        }
        // Only where a node was asked anyway: what is known by itself needs none.
        let described = match &route.origin {
            crate::RouteOrigin::Node(_) => self.client.describe(name).await.ok(),
            _ => None,
        };
        Ok(ResolveReport::new(name, &route, described.as_ref().map(|(_, answer)| answer)))
    }

    /// Has a device prove who it is. That it does not is no error but a report that says so.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn verify(&self, name: &Name) -> Result<VerifyReport, RemoteError> {
        match self.client.verify(name).await {
            Ok(verification) => {
                let mut report = VerifyReport::new(&verification);
                if verification.verified
                    && let Err(error) = self.learn_key(name).await
                {
                    (report.verified, report.reason) = (false, Some(error.to_string()));
                }
                Ok(report)
            }
            Err(ReachError::Resolve(
                error @ (ResolveError::Unknown { .. } | ResolveError::Revoked { .. }),
            )) => Ok(VerifyReport::unknown(name, &error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Who offers a capability. The first `limit` are described.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn find(&self, capability: &Capability, limit: usize) -> Result<FindReport, RemoteError> {
        let (node, names) = self.client.find(capability, crate::MAX_FOUND).await?;
        let mut devices: Vec<Option<FoundDevice>> = vec![None; names.len().min(limit)];
        let mut asking = JoinSet::new();
        let mut next = 0;
        loop {
            while asking.len() < AT_ONCE && next < devices.len() {
                let (at, name, client) = (next, names[next].clone(), Arc::clone(&self.client));
                asking
                    .spawn(async move { (at, client.describe(&name).await.ok().map(|(_, answer)| answer)) });
                next += 1;
            }
            let Some(described) = asking.join_next().await else { break };
            if let Ok((at, answer)) = described {
                devices[at] = Some(FoundDevice::new(&names[at], answer.as_ref()));
            }
        }
        let total = names.len();
        let capability = capability.to_string();
        Ok(FindReport { capability, node, total, devices: devices.into_iter().flatten().collect() })
    }

    /// Has the socket's node know a name by the key that its key events lead to.
    ///
    /// # Errors
    /// As [`compare_key`](Self::compare_key); then nothing was learnt.
    pub(crate) async fn learn_key(&self, name: &Name) -> Result<(), RemoteError> {
        self.compare_key(name, |node, identity| {
            let Identity { name, key, generation, .. } = identity.clone();
            // A book that is full, and a key from the operator, leave everything as it was.
            let _ = node.learn_key(Binding { name, key, generation });
        })
        .await
    }

    /// Does `then` if the key events that nodes show of a name fit the key by which the socket's node knows it, from a first contact or from the
    /// operator: if they lead on from there. Otherwise they are those of another identity, and no node's word makes it this one
    /// (SECURITY R5, R39, R42).
    ///
    /// # Errors
    /// [`RemoteErrorKind::OtherKey`].
    async fn compare_key(&self, name: &Name, then: fn(&IotNode, &Identity)) -> Result<(), RemoteError> {
        let known = self.client.known(name).map_err(ResolveError::from)?;
        let Some(known) = known else { return Ok(()) };
        let key = known.identity.key;
        let compared = self.socket.with(move |node| {
            let bound = node.key_of(&known.identity.name);
            let other = bound.filter(|bound| !known.has_had(bound));
            if other.is_none() {
                then(node, &known.identity);
            }
            other
        });
        match compared.await.flatten() {
            None => Ok(()),
            Some(bound) => Err(RemoteError::other_key(name, &bound, &key)),
        }
    }

    async fn described(&self, name: &Name) -> Option<ResolveAnswer> {
        self.client.describe(name).await.ok().map(|(_, answer)| answer)
    }
}
