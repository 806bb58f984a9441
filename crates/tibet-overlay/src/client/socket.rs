//! The socket that everything goes through: pings, and questions to nodes.

use std::net::SocketAddr;
use std::time::Duration;

use jis::Name;
use tibet_iot::{IotNode, NodeError, Outcome, StartError};
use tibet_ping::{Answered, Ask, AskError, NodeIdentity};
use tokio::sync::{mpsc, oneshot, watch};

use super::Wire;

/// Calls that wait for the socket's task.
const MAX_CALLS: usize = 64;

/// An [`IotNode`] in a task of its own, to be used from everywhere. Dropping the last clone closes it.
#[derive(Debug, Clone)]
pub struct Socket {
    calls: mpsc::Sender<Call>,
    ended: watch::Receiver<Option<String>>,
    wire: Wire,
    address: SocketAddr,
}

/// How a node is made: at first, and again when its key has changed. Given its identity and where to bind.
pub type MakeNode = Box<dyn Fn(NodeIdentity, Option<SocketAddr>) -> Result<IotNode, StartError> + Send>;

type With = Box<dyn FnOnce(&IotNode) + Send>;

enum Call {
    With(With),
    Replace(Box<NodeIdentity>, oneshot::Sender<Result<(), StartError>>),
    Stop(oneshot::Sender<()>),
}

impl Socket {
    /// Makes a node and goes on the network.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(identity: NodeIdentity, make: MakeNode) -> Result<Self, StartError> {
        let mut node = make(identity, None)?;
        let wire = Wire::attach(&mut node);
        let address = node.start().await?;
        let (calls, called) = mpsc::channel(MAX_CALLS);
        let (end, ended) = watch::channel(None);
        let own_wire = wire.clone();
        tokio::spawn(async move {
            let driven = Driver { node, make, wire: own_wire, address }.run(called).await;
            let _ = end.send(Some(driven.err().map_or_else(String::new, |error| error.to_string())));
        });
        Ok(Self { calls, ended, wire, address })
    }

    /// Where it is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Questions to nodes go through here.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Calls into the node; `None` when it has stopped.
    pub async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&IotNode) -> T + Send + 'static,
    ) -> Option<T> {
        let (give, taken) = oneshot::channel();
        let with: With = Box::new(move |node| {
            // Whoever asked may have gone.
            let _ = give.send(call(node));
        });
        self.calls.send(Call::With(with)).await.ok()?;
        taken.await.ok()
    }

    /// Pings a device at an address; `None` when there is no answer in time.
    ///
    /// # Errors
    /// [`AskError`]; then nothing was sent.
    pub async fn ping(&self, ask: Ask) -> Result<Option<Answered>, AskError> {
        let mut question = self.with(move |node| node.ask(ask)).await.ok_or(AskError::Stopped)??;
        match question.next().await {
            Outcome::Answer(answer) => Ok(Some(*answer)),
            Outcome::NoAnswer(_) => Ok(None),
        }
    }

    /// Pings a device through the tunnel to it and in no other way; `None` when there is no answer in time.
    ///
    /// # Errors
    /// [`AskError`]; then nothing was sent. [`AskError::NoTunnel`] where there is none.
    pub async fn ping_sealed(&self, ask: Ask) -> Result<Option<Answered>, AskError> {
        let mut question = self.with(move |node| node.ask_sealed(ask)).await.ok_or(AskError::Stopped)??;
        match question.next().await {
            Outcome::Answer(answer) => Ok(Some(*answer)),
            Outcome::NoAnswer(_) => Ok(None),
        }
    }

    /// Where a neighbour is that has answered us or pinged us, as who it says.
    pub async fn neighbour(&self, name: &Name) -> Option<SocketAddr> {
        let name = name.clone();
        let found = self.with(move |node| {
            node.peers().into_iter().find(|(peer, _)| *peer == name).map(|(_, peer)| peer.endpoint)
        });
        found.await.flatten()
    }

    /// Goes on under another key, at the same port.
    ///
    /// # Errors
    /// [`StartError`]; then the node has stopped.
    pub async fn replace(&self, identity: NodeIdentity) -> Result<(), StartError> {
        let (give, taken) = oneshot::channel();
        let sent = self.calls.send(Call::Replace(Box::new(identity), give)).await;
        sent.map_err(|_| StartError::Lost)?;
        taken.await.map_err(|_| StartError::Lost)?
    }

    /// Leaves the network. What was handed over before is sent first.
    pub async fn stop(&self) {
        let (give, taken) = oneshot::channel();
        if self.calls.send(Call::Stop(give)).await.is_ok() {
            let _ = taken.await;
        }
    }

    /// Waits until the node has stopped; why, where it could not go on.
    pub async fn ended(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().filter(|reason| !reason.is_empty()),
            Err(_) => Some("the socket's task is gone".to_owned()),
        }
    }
}

struct Driver {
    node: IotNode,
    make: MakeNode,
    wire: Wire,
    address: SocketAddr,
}

/// How long what was handed over last may take to leave.
const LAST_DATAGRAMS: Duration = Duration::from_millis(50);

impl Driver {
    async fn run(mut self, mut calls: mpsc::Receiver<Call>) -> Result<(), NodeError> {
        loop {
            let call = tokio::select! {
                failed = self.node.failed() => return failed,
                call = calls.recv() => call,
            };
            match call {
                Some(Call::With(call)) => call(&self.node),
                Some(Call::Replace(identity, done)) => {
                    let replaced = self.replace(*identity).await;
                    let failed = replaced.as_ref().err().map(ToString::to_string);
                    let _ = done.send(replaced);
                    if let Some(reason) = failed {
                        return Err(NodeError::Failed(reason));
                    }
                }
                Some(Call::Stop(done)) => {
                    tokio::time::sleep(LAST_DATAGRAMS).await;
                    let stopped = self.node.stop().await;
                    let _ = done.send(());
                    return stopped;
                }
                None => return self.node.stop().await,
            }
        }
    }

    async fn replace(&mut self, identity: NodeIdentity) -> Result<(), StartError> {
        if let Err(error) = self.node.stop().await {
            tracing::warn!(%error, "the socket's node did not stop in order");
        }
        // Its directory is free only when it is gone.
        let nobody = passing(&identity)?;
        drop(std::mem::replace(&mut self.node, nobody));
        self.node = (self.make)(identity, Some(self.address))?;
        self.wire.move_to(&mut self.node);
        self.node.start().await.map(|_| ())
    }
}

/// A node that is never started, to stand where one was.
fn passing(identity: &NodeIdentity) -> Result<IotNode, StartError> {
    let key = jis::SecretKey::from_seed(identity.key.to_seed()).map_err(|_| StartError::Lost)?;
    let copy = NodeIdentity {
        name: identity.name.clone(),
        key,
        generation: identity.generation,
        fingerprint: identity.fingerprint,
    };
    IotNode::new(copy, tibet_iot::TransportConfig::default(), None, None)
}
