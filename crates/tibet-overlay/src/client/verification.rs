//! Having a device prove who it is, from anywhere.

use std::net::SocketAddr;
use std::time::Duration;

use jis::{Capability, Identity, Name, Proof, ProofError, PublicKey, Punch, Signed, UnixTime};

use super::overlay_client::{Fetched, OverlayClient, ResolveError, RouteNote};
use super::staggered::first;
use super::{NodeClient, QueryError};
use crate::intents::{FailureCode, PongZone, ResolveAnswer};
use crate::system;

/// The way through a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePath {
    /// The node, as it was written.
    pub node: String,
    /// Its key.
    pub key: Option<PublicKey>,
    /// Where the node asked the device.
    pub device: Option<SocketAddr>,
    /// From us to the device and back.
    pub round_trip: Duration,
    /// From the node to the device and back, by the node's word.
    pub device_round_trip: Duration,
}

/// What a verification showed.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Who was asked.
    pub name: Name,
    /// Who that is, by its key events: what the proof was judged by.
    pub identity: Identity,
    /// Whether it holds the key of its name, now.
    pub verified: bool,
    /// Whether it was asked at all.
    pub asked: bool,
    /// Why it is not verified.
    pub reason: Option<String>,
    /// Its proof: the one that convinces, else the first that does not.
    pub proof: Option<Signed<Proof>>,
    /// The way the question took.
    pub path: Option<NodePath>,
    /// What the node knows of it besides, by the node's word.
    pub described: Option<ResolveAnswer>,
    /// The nodes that did not help: that could not ask the device, or handed on a proof that does not convince.
    pub notes: Vec<RouteNote>,
}

impl Verification {
    /// Since when its name is bound, by the node's word.
    #[must_use]
    pub fn registered_at(&self) -> Option<UnixTime> {
        self.described.as_ref().map(|described| described.registered_at)
    }
}

/// A ping's answer through a node.
#[derive(Debug, Clone)]
pub struct Pong {
    /// The zone we stand in with the device.
    pub zone: PongZone,
    /// The way the question took.
    pub path: NodePath,
}

/// Two devices have consented to a direct path.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The other's consent, in answer to ours: by the key that its key events lead to, and valid now.
    pub punch: Signed<Punch>,
    /// Through which of the client's nodes it came, counted from 0.
    pub node: usize,
    /// The way the question took.
    pub path: NodePath,
}

/// Why nobody could be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// It is not known who that is.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No node could ask it; the words of each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Nodes(Vec<QueryError>),
    /// A consent was given to a key that is not, or no longer, the device's.
    #[error("{name} has another key than the consent is given to")]
    OtherKey {
        /// The device.
        name: Name,
    },
    /// There is no node to ask.
    #[error("there is no node to ask")]
    NoNode,
}

impl ReachError {
    fn of(failed: Vec<QueryError>) -> Self {
        if failed.is_empty() { Self::NoNode } else { Self::Nodes(failed) }
    }
}

impl OverlayClient {
    /// Has a device prove who it is, through the first node that gets a proof of it that convinces. The challenge is ours and in our name, the
    /// proof is judged here, by the key events: a node can neither make a proof nor use ours elsewhere, nor keep another node from bringing
    /// the true one.
    ///
    /// # Errors
    /// [`ReachError`] when nobody could be asked; that a device does not prove itself is no error.
    pub async fn verify(&self, name: &Name) -> Result<Verification, ReachError> {
        let identity = self.identity(name).await?;
        let mut verification = Verification {
            name: name.clone(),
            identity,
            verified: false,
            asked: false,
            reason: None,
            proof: None,
            path: None,
            described: None,
            notes: Vec::new(),
        };
        let mut failed = Vec::new();
        for node in self.nodes() {
            let (challenge, asked) = match node.challenge(name).await {
                Ok(asked) => asked,
                Err(error) => {
                    verification.notes.push(error.clone().into());
                    failed.push(error);
                    continue;
                }
            };
            let mut judged = challenge.check(&asked.answer, &verification.identity, system::now());
            if judged == Err(ProofError::WrongKey)
                && let Some(identity) = self.newer_identity(node, name).await?
            {
                verification.identity = identity;
                judged = challenge.check(&asked.answer, &verification.identity, system::now());
            }
            let path = NodePath::of(node, asked.device, asked.round_trip, asked.device_round_trip);
            verification.asked = true;
            match judged {
                Ok(()) => {
                    verification.verified = true;
                    (verification.proof, verification.path) = (Some(asked.answer), Some(path));
                    // By the node's word only, and without it the proof is no less a proof.
                    verification.described = node.describe(name).await.ok();
                    return Ok(verification);
                }
                Err(reason) => {
                    verification.notes.push(RouteNote::BadProof { node: path.node.clone(), reason });
                    verification.proof.get_or_insert(asked.answer);
                    verification.path.get_or_insert(path);
                }
            }
        }
        let heard = failed.iter().any(|error| error.failure().is_some());
        if !verification.asked && !heard {
            return Err(ReachError::of(failed));
        }
        verification.asked |= failed.iter().any(|error| error.code() == Some(FailureCode::NoAnswer));
        let notes: Vec<String> = verification.notes.iter().map(ToString::to_string).collect();
        verification.reason = Some(notes.join("; "));
        verification.described = self.describe(name).await.ok().map(|(_, described)| described);
        Ok(verification)
    }

    /// Who it is by the key events of this node: the device may have moved to its next key since we looked, and the node through which its
    /// proof came then knows by now.
    async fn newer_identity(&self, node: &NodeClient, name: &Name) -> Result<Option<Identity>, ReachError> {
        match self.fetch(node, name).await {
            Ok(Fetched::Known(known)) => Ok(Some(known.identity)),
            Ok(Fetched::Revoked) => Err(ResolveError::Revoked { name: name.clone() }.into()),
            // What it says besides is not believed, or no news.
            Ok(Fetched::Unknown) | Err(_) => Ok(None),
        }
    }

    /// Pings a device through the first node that gets an answer from it.
    ///
    /// # Errors
    /// [`ReachError`].
    pub async fn ping(&self, name: &Name, intent: &Capability, purpose: &str) -> Result<Pong, ReachError> {
        let identity = self.identity(name).await?;
        let mut failed = Vec::new();
        for node in self.nodes() {
            match node.ping(name, &identity.key, intent, purpose).await {
                Ok(asked) => {
                    let path = NodePath::of(node, asked.device, asked.round_trip, asked.device_round_trip);
                    return Ok(Pong { zone: asked.answer, path });
                }
                Err(error) => failed.push(error),
            }
        }
        Err(ReachError::of(failed))
    }

    /// Tells a device that we want a direct path to it, through the first node that gets its consent. `first` is our own consent, given to `name` and
    /// the key it is known by. While the nodes are asked for the one they are asked for the other: who that is by its key events. A
    /// consent counts only by the key that those lead to. A device that is asked again by another node gives the same answer.
    ///
    /// # Errors
    /// [`ReachError`]; [`ReachError::OtherKey`] also where `first` is given to another name.
    pub async fn connect(&self, name: &Name, first: &Signed<Punch>) -> Result<Connected, ReachError> {
        let other_key = || ReachError::OtherKey { name: name.clone() };
        let given_to = first.claims();
        if given_to.to != *name {
            return Err(other_key());
        }
        let (identity, consent) = tokio::join!(self.identity(name), self.consent(first));
        let identity = identity?;
        if identity.key != given_to.to_key {
            return Err(other_key());
        }
        let connected = consent?;
        if connected.punch.claims().generation != identity.generation {
            return Err(other_key());
        }
        Ok(connected)
    }

    /// The consent that the first node gets which gets any: by the key that ours is given to.
    async fn consent(&self, own: &Signed<Punch>) -> Result<Connected, ReachError> {
        let ask = async |(index, node): (usize, &NodeClient)| {
            let asked = node.connect(own).await?;
            let path = NodePath::of(node, asked.device, asked.round_trip, asked.device_round_trip);
            Ok(Connected { punch: asked.answer, node: index, path })
        };
        let nodes = self.nodes().iter().map(|node| &**node).enumerate();
        let (connected, failed) = first(nodes.map(ask).collect::<Vec<_>>()).await;
        connected.ok_or_else(|| ReachError::of(failed))
    }

    /// What the first node that answers knows of a device besides its record.
    ///
    /// # Errors
    /// [`ReachError`].
    pub async fn describe(&self, name: &Name) -> Result<(String, ResolveAnswer), ReachError> {
        let ask = async |node: &NodeClient| Ok((node.address().place(), node.describe(name).await?));
        let asked: Vec<_> = self.nodes().iter().map(|node| ask(node)).collect();
        let (described, failed) = first(asked).await;
        described.ok_or_else(|| ReachError::of(failed))
    }

    /// The names that offer a capability, by the first node that answers: the node, and at most `limit` names.
    ///
    /// # Errors
    /// [`ReachError`].
    pub async fn find(
        &self,
        capability: &Capability,
        limit: usize,
    ) -> Result<(String, Vec<Name>), ReachError> {
        let mut failed = Vec::new();
        for node in self.nodes() {
            match node.find(capability, limit).await {
                Ok(names) => return Ok((node.address().place(), names)),
                Err(error) => failed.push(error),
            }
        }
        Err(ReachError::of(failed))
    }

    /// The identity behind a name, as new as the nodes have it.
    async fn identity(&self, name: &Name) -> Result<Identity, ReachError> {
        let route = self.resolve(name, || None).await?;
        // Without neighbours every route comes with its key events.
        let unknown = || ResolveError::Failed { name: name.clone(), notes: Vec::new() };
        Ok(route.identity.ok_or_else(unknown)?)
    }
}

impl NodePath {
    fn of(
        node: &NodeClient,
        device: Option<SocketAddr>,
        round_trip: Duration,
        device_round_trip: Duration,
    ) -> Self {
        let key = node.session().map(|session| session.key);
        Self { node: node.address().place(), key, device, round_trip, device_round_trip }
    }
}
