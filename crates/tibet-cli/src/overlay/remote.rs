//! The way to the overlay: given nodes, else a running daemon, else none.

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use jis::{Capability, Name};
use tibet_iot::{IotNode, TransportConfig};
use tibet_overlay::daemon::{Control, ControlError, control_socket};
use tibet_overlay::{
    Asker, FindReport, MakeNode, NodeAddress, NodeClient, OverlayClient, PingReport, QueryError, RemoteError,
    RemoteErrorKind, RemoteOverlay, ResolveReport, Socket, VerifyReport,
};
use tibet_ping::NodeIdentity;

use super::Context;
use crate::error::CliError;
use crate::output::Exit;
use crate::process::runtime;

/// Where questions go.
pub(super) enum Way {
    /// To nodes, from a socket of our own.
    Nodes(RemoteOverlay),
    /// To the daemon of this device.
    Daemon(Control),
}

/// Who asks, where no daemon does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// The identity that was chosen, else whoever has the state directory: nodes answer that one even if no device is registered.
    Anybody,
    /// The identity that was chosen, or the only one, if there is one: whom the other device may trust.
    Device,
}

impl Way {
    pub(super) async fn resolve(&self, name: &Name) -> Result<ResolveReport, CliError> {
        match self {
            Self::Nodes(remote) => Ok(remote.resolve(name).await?),
            Self::Daemon(control) => Ok(control.resolve(name).await?),
        }
    }

    pub(super) async fn verify(&self, name: &Name) -> Result<VerifyReport, CliError> {
        match self {
            Self::Nodes(remote) => Ok(remote.verify(name).await?),
            Self::Daemon(control) => Ok(control.verify(name).await?),
        }
    }

    pub(super) async fn find(&self, capability: &Capability, limit: usize) -> Result<FindReport, CliError> {
        match self {
            Self::Nodes(remote) => Ok(remote.find(capability, limit).await?),
            Self::Daemon(control) => Ok(control.find(capability, limit).await?),
        }
    }

    pub(super) async fn ping(
        &self,
        name: &Name,
        intent: &Capability,
        purpose: &str,
    ) -> Result<PingReport, CliError> {
        match self {
            Self::Nodes(remote) => Ok(remote.ping(name, intent, purpose).await?),
            Self::Daemon(control) => Ok(control.ping(name, intent, purpose).await?),
        }
    }
}

impl Context {
    /// Runs `task` with the way to the overlay, if there is one.
    pub(super) fn remotely<T, F: Future<Output = Result<T, CliError>>>(
        &self,
        as_whom: As,
        task: impl FnOnce(Way) -> F,
    ) -> Result<Option<T>, CliError> {
        if self.settings.registry_wanted {
            return Ok(None);
        }
        if self.settings.nodes.is_empty() {
            let Some(control) = self.daemon()? else { return Ok(None) };
            return runtime(1)?.block_on(task(Way::Daemon(control))).map(Some);
        }
        let identity = self.asker(as_whom)?;
        runtime(1)?.block_on(async {
            let remote = self.nodes_as(identity, &self.settings.nodes).await?;
            task(Way::Nodes(remote)).await.map(Some)
        })
    }

    /// These nodes, asked as `identity` over a socket of our own.
    pub(super) async fn nodes_as(
        &self,
        identity: NodeIdentity,
        nodes: &[NodeAddress],
    ) -> Result<RemoteOverlay, CliError> {
        let memory = self.settings.state.name_memory()?;
        let pins = Arc::new(self.settings.state.node_pins());
        let asker = Asker::new(copy(&identity)?);
        let make: MakeNode = Box::new(|identity, again| {
            let any = std::net::Ipv6Addr::UNSPECIFIED;
            let bind = again.unwrap_or_else(|| (any, 0).into());
            IotNode::new(
                identity,
                TransportConfig { bind, discovery: None, ..Default::default() },
                None,
                None,
            )
        });
        let socket = Socket::open(identity, make).await?;
        let node = |address: &NodeAddress| {
            let (wire, pins) = (socket.wire().clone(), Arc::clone(&pins));
            Arc::new(NodeClient::new(wire, address.clone(), asker.clone(), pins))
        };
        let nodes = nodes.iter().map(node).collect();
        Ok(RemoteOverlay::new(OverlayClient::new(nodes, memory), socket))
    }

    /// The daemon that runs here as the identity that was chosen, or the only one that runs.
    pub(super) fn daemon(&self) -> Result<Option<Control>, CliError> {
        let names = match &self.settings.identity {
            Some(given) => vec![crate::identities::parse_name(given)?],
            None => self.settings.identities()?,
        };
        let running = names.into_iter().filter_map(|name| Some((self.daemon_of(&name)?, name)));
        let mut running: Vec<(Control, Name)> = running.collect();
        if running.len() > 1 {
            let names: Vec<&str> = running.iter().map(|(_, name)| name.as_str()).collect();
            return Err(CliError::new(Exit::Usage, "several daemons run here")
                .hint(format!("--identity {}", names.join(" or "))));
        }
        Ok(running.pop().map(|(control, _)| control))
    }

    /// The same, for what only a daemon can do; `start` is how to start one.
    pub(super) fn needed_daemon(&self, start: &str) -> Result<Control, CliError> {
        self.daemon()?.ok_or_else(|| {
            CliError::new(Exit::No, "no daemon runs here: connections pass through it").hint(start)
        })
    }

    /// The daemon of this identity, if it runs here.
    pub(super) fn daemon_of(&self, name: &Name) -> Option<Control> {
        let path = control_socket(&self.settings.state, name);
        UnixStream::connect(&path).is_ok().then(|| Control::at(path))
    }

    fn asker(&self, as_whom: As) -> Result<NodeIdentity, CliError> {
        let alone = self.settings.identities()?.len() == 1;
        if self.settings.identity.is_some() || (as_whom == As::Device && alone) {
            return Ok(self.own_device()?.node_identity()?);
        }
        Ok(self.settings.state.client_identity()?)
    }
}

pub(super) fn copy(identity: &NodeIdentity) -> Result<NodeIdentity, CliError> {
    let NodeIdentity { name, key, generation, fingerprint } = identity;
    let key = jis::SecretKey::from_seed(key.to_seed()).map_err(tibet_overlay::DeviceError::from)?;
    Ok(NodeIdentity { name: name.clone(), key, generation: *generation, fingerprint: *fingerprint })
}

impl From<RemoteError> for CliError {
    fn from(error: RemoteError) -> Self {
        let exit = match error.kind {
            RemoteErrorKind::Refused | RemoteErrorKind::OtherKey => Exit::No,
            RemoteErrorKind::Later => Exit::Temporary,
            RemoteErrorKind::Usage => Exit::Usage,
            RemoteErrorKind::Local => Exit::Configuration,
            _ => Exit::Unavailable,
        };
        let told = Self::new(exit, &error.message);
        match error.hint {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

impl From<QueryError> for CliError {
    fn from(error: QueryError) -> Self {
        RemoteError::from(error).into()
    }
}

impl From<ControlError> for CliError {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::Remote(error) => error.into(),
            ControlError::PathTooLong(_) => {
                Self::new(Exit::Configuration, message).hint("--state-dir with a shorter path")
            }
            ControlError::NotRunning(_) => Self::new(Exit::No, message).hint("tibet-overlay up --node ADDR"),
            _ => Self::new(Exit::Unavailable, message),
        }
    }
}
