//! Questions that wait for an answer, and how answers find them.
//!
//! An answer counts only from an address that was asked, with the id of the question, and only if it is what was asked for; everything else is
//! counted, dropped, and changes nothing (SECURITY R11).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jis::{Answer, PublicKey, Query, Record, Signed};
use tibet_iot::{Frames, IotNode, Outbox, Outgoing};
use tibet_ping::{Compact, ExchangeId, Found, FoundStatus, KeepaliveToken, Welcome};
use tokio::sync::{mpsc, oneshot};

use super::address::canonical;

/// Questions that wait at once.
const MAX_WAITING: usize = 1024;
/// Questions from nodes that wait to be answered; more are dropped, and the node asks again.
const MAX_QUESTIONS: usize = 64;

/// The socket of an [`IotNode`], as far as questions to overlay nodes need it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wire {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    outbox: Mutex<Outbox>,
    mesh: OnceLock<Arc<dyn MeshTraffic>>,
}

/// What takes the datagrams of the mesh off the same socket. Called in the socket's task.
pub(crate) trait MeshTraffic: std::fmt::Debug + Send + Sync {
    /// A frame of version 2, of the mesh's kinds.
    fn handle_frame(&self, from: SocketAddr, kind: u8, body: &[u8]);
    /// Any other datagram; whether it was the mesh's.
    fn handle_datagram(&self, from: SocketAddr, datagram: &[u8]) -> bool;
    /// All that had come in was handed over.
    fn end_of_batch(&self, out: &mut Vec<Outgoing>);
}

#[derive(Debug, Default)]
struct Waiting {
    exchanges: BTreeMap<Handle, Exchange>,
    /// Who takes questions from nodes, and from where they may come.
    questions: Option<mpsc::Sender<IncomingQuestion>>,
    askers: Vec<SocketAddr>,
    dropped: u64,
}

/// A question from a node.
#[derive(Debug)]
pub struct IncomingQuestion {
    /// Where it came from.
    pub from: SocketAddr,
    /// The question, signed, as it came. Nothing of it is checked.
    pub query: Vec<u8>,
}

/// What names an exchange on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Handle {
    Id(ExchangeId),
    Token(KeepaliveToken),
}

#[derive(Debug)]
struct Exchange {
    asked: Vec<SocketAddr>,
    wanted: Wanted,
    reply: oneshot::Sender<Reply>,
}

/// What counts as an answer.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A welcome by this key, or by any; the last other key that answered is noted.
    Welcome { expected: Option<PublicKey>, other: Arc<Mutex<Option<PublicKey>>> },
    /// What is signed in answer to this.
    Answer(Arc<Signed<Query>>),
    /// What a node knows of a name.
    Found(jis::Name),
    /// A sign that the node has heard.
    Alive,
}

/// What came.
#[derive(Debug)]
pub(super) enum Reply {
    Welcome { welcome: Welcome, key: PublicKey, from: SocketAddr },
    Answer(Signed<Answer>),
    Found(Box<FoundName>),
    Stale,
    Alive,
}

/// What a node says of a name. Nothing in it is verified.
#[derive(Debug, Clone)]
pub struct FoundName {
    /// How the name stands, by the node's word.
    pub status: FoundStatus,
    /// The record.
    pub record: Option<Signed<Record>>,
    /// How many key events there are.
    pub events: u8,
    /// Those that came, encoded.
    pub history: Vec<Vec<u8>>,
}

impl Wire {
    /// Takes the frames of version 2 that come to `node`. To be called before it starts.
    #[must_use]
    pub fn attach(node: &mut IotNode) -> Self {
        let waiting = Mutex::default();
        let (outbox, mesh) = (Mutex::new(node.outbox()), OnceLock::new());
        let wire = Self { shared: Arc::new(Shared { waiting, outbox, mesh }) };
        node.set_frames(Box::new(Incoming(wire.clone())));
        wire
    }

    /// Goes on with another node's socket: that of a device which has changed its key.
    pub fn move_to(&self, node: &mut IotNode) {
        *self.shared.outbox.lock().unwrap_or_else(PoisonError::into_inner) = node.outbox();
        node.set_frames(Box::new(Incoming(self.clone())));
    }

    /// Questions that come from nodes, which [`Wire::set_askers`] names. Whoever called this before gets no more.
    #[must_use]
    pub fn questions(&self) -> mpsc::Receiver<IncomingQuestion> {
        let (sender, receiver) = mpsc::channel(MAX_QUESTIONS);
        self.waiting().questions = Some(sender);
        receiver
    }

    /// From where questions may come.
    pub fn set_askers(&self, askers: Vec<SocketAddr>) {
        self.waiting().askers = askers;
    }

    /// How many frames were no answer to anything.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.waiting().dropped
    }

    /// Has `mesh` take the datagrams of the mesh from now on. Once: a socket belongs to one mesh.
    pub(crate) fn set_mesh(&self, mesh: Arc<dyn MeshTraffic>) {
        let _ = self.shared.mesh.set(mesh);
    }

    pub(crate) fn send(&self, to: SocketAddr, bytes: Vec<u8>) {
        self.send_all(vec![Outgoing { to, bytes }]);
    }

    /// Sends at once, in the caller's task. None of it has a token that would have to be on disk first.
    pub(crate) fn send_all(&self, datagrams: Vec<Outgoing>) {
        let outbox = self.shared.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        // Should the socket be that full, it is asked again like everything that is lost.
        let _ = outbox.send_now(datagrams);
    }

    /// Sends `datagram` to all of `asked`, again after each of `waits`, until an answer comes or the last wait has passed. `None` when nothing
    /// came; an error when too much waits already.
    pub(super) async fn exchange(
        &self,
        named: Named,
        asked: &[SocketAddr],
        wanted: Wanted,
        datagram: &[u8],
        waits: &[Duration],
    ) -> Result<Option<Reply>, Full> {
        let handle = match named {
            Named::Id(id) => Handle::Id(id),
            Named::Token(token) => Handle::Token(token),
        };
        let (reply, mut replied) = oneshot::channel();
        let _forget = self.wait_for(handle, Exchange { asked: asked.to_vec(), wanted, reply })?;
        for wait in waits {
            for to in asked {
                self.send(*to, datagram.to_vec());
            }
            if let Ok(reply) = tokio::time::timeout(*wait, &mut replied).await {
                return Ok(reply.ok());
            }
        }
        Ok(None)
    }

    fn wait_for(&self, handle: Handle, exchange: Exchange) -> Result<Forget<'_>, Full> {
        let mut waiting = self.waiting();
        if waiting.exchanges.len() >= MAX_WAITING || waiting.exchanges.contains_key(&handle) {
            return Err(Full);
        }
        waiting.exchanges.insert(handle, exchange);
        Ok(Forget { wire: self, handle })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an exchange goes by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    Id(ExchangeId),
    Token(KeepaliveToken),
}

/// Too many exchanges wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// An exchange that nobody waits for any more is forgotten, also when whoever waited was dropped.
struct Forget<'a> {
    wire: &'a Wire,
    handle: Handle,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.wire.waiting().exchanges.remove(&self.handle);
    }
}

/// Called in the node's task.
struct Incoming(Wire);

/// From this kind on frames are the mesh's (`docs/spec/mesh.md`).
const FIRST_OF_MESH: u8 = 16;

impl Frames for Incoming {
    fn handle(&mut self, from: SocketAddr, kind: u8, body: &[u8], _: &mut Vec<Outgoing>) {
        let from = canonical(from);
        if let Some(mesh) = self.0.shared.mesh.get().filter(|_| kind >= FIRST_OF_MESH) {
            return mesh.handle_frame(from, kind, body);
        }
        let mut waiting = self.0.waiting();
        let taken = Compact::read(kind, body).ok().and_then(|frame| waiting.take(from, frame));
        if taken.is_none() {
            waiting.dropped = waiting.dropped.saturating_add(1);
        }
    }

    fn handle_foreign(&mut self, from: SocketAddr, datagram: &[u8], _: &mut Vec<Outgoing>) -> bool {
        let mesh = self.0.shared.mesh.get();
        mesh.is_some_and(|mesh| mesh.handle_datagram(canonical(from), datagram))
    }

    fn end_of_batch(&mut self, out: &mut Vec<Outgoing>) {
        if let Some(mesh) = self.0.shared.mesh.get() {
            mesh.end_of_batch(out);
        }
    }
}

impl Waiting {
    /// Gives a frame to whom it is for; `None` when it is for nobody.
    fn take(&mut self, from: SocketAddr, frame: Compact<'_>) -> Option<()> {
        let handle = match &frame {
            Compact::Query(query) => return self.question(from, query),
            Compact::Welcome(welcome) => Handle::Id(welcome.id),
            Compact::Answer { id, .. } | Compact::Found { id, .. } | Compact::Stale(id) => Handle::Id(*id),
            Compact::Alive(token) => Handle::Token(*token),
            // What nodes answer; nothing here does.
            Compact::Keepalive(_)
            | Compact::Hello(_)
            | Compact::Lookup { .. }
            | Compact::AskElsewhere { .. }
            | Compact::Elsewhere { .. } => return None,
        };
        let exchange = self.exchanges.get(&handle).filter(|exchange| exchange.asked.contains(&from))?;
        let reply = exchange.wanted.read(from, frame)?;
        // Whoever asked may just have given up.
        let _ = self.exchanges.remove(&handle)?.reply.send(reply);
        Some(())
    }

    fn question(&self, from: SocketAddr, query: &[u8]) -> Option<()> {
        let questions = self.questions.as_ref().filter(|_| self.askers.contains(&from))?;
        questions.try_send(IncomingQuestion { from, query: query.to_vec() }).ok()
    }
}

impl Wanted {
    /// What the frame says, if it is an answer to this.
    fn read(&self, from: SocketAddr, frame: Compact<'_>) -> Option<Reply> {
        match (self, frame) {
            (Self::Welcome { expected, other }, Compact::Welcome(welcome)) => {
                let key = PublicKey::from_bytes(&welcome.key).ok()?;
                if expected.is_some_and(|expected| expected != key) {
                    *other.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
                    return None;
                }
                Some(Reply::Welcome { welcome, key, from })
            }
            (Self::Answer(query), Compact::Answer { answer, .. }) => {
                let answer = Signed::decode(answer).ok()?;
                Answer::check(&answer, query).ok()?;
                Some(Reply::Answer(answer))
            }
            (Self::Found(name), Compact::Found { found, .. }) => {
                FoundName::read(&found, name).map(Box::new).map(Reply::Found)
            }
            (Self::Answer(_) | Self::Found(_), Compact::Stale(_)) => Some(Reply::Stale),
            (Self::Alive, Compact::Alive(_)) => Some(Reply::Alive),
            _ => None,
        }
    }
}

impl FoundName {
    fn read(found: &Found<'_>, name: &jis::Name) -> Option<Self> {
        let record = match found.record {
            [] => None,
            bytes => {
                Some(Signed::<Record>::decode(bytes).ok().filter(|record| record.claims().name == *name)?)
            }
        };
        let history = found.history().map(<[u8]>::to_vec).collect();
        Some(Self { status: found.status, record, events: found.events, history })
    }
}
