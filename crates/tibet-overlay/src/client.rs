//! Asking overlay nodes.

mod address;
pub(crate) use address::canonical;
pub use address::{NodeAddress, NodeAddressError};
mod asker;
pub use asker::Asker;
mod error;
pub use error::QueryError;
mod exchanges;
pub(crate) use exchanges::MeshTraffic;
pub use exchanges::{FoundName, IncomingQuestion, Wire};
use exchanges::{Full, Named, Reply, Wanted};
mod intents;
pub use intents::{Asked, MAX_FOUND, RelayOpened};
mod overlay_client;
pub use overlay_client::{OverlayClient, ResolveError, Route, RouteNote, RouteOrigin};
mod pins;
pub use pins::NodePins;
mod socket;
pub use socket::{MakeNode, Socket};
mod staggered;
mod verification;
pub use verification::{Connected, NodePath, Pong, ReachError, Verification};

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jis::{AnswerOutcome, Name, PublicKey, Query, Signed};
use tibet_ping::{Compact, Cookie, KeepaliveToken};

use crate::intents::{Failure, Malformed, OverlayRequest, parse_intent};
use crate::secret_file::SecretFileError;
use crate::system::random;

/// When what was lost is sent again, and how long the last is waited for: a node may take 5 s to ask a device.
const WAITS: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
];
/// For a hello, which is answered at once.
const HELLO_WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// For a keepalive, which is sent again by whoever counts those without an answer.
const ALIVE_WAIT: [Duration; 1] = [Duration::from_secs(2)];
/// Cookies that may turn out stale on one question: one that was kept, and one that a node's restart made so meanwhile.
const STALE_COOKIES: usize = 2;

/// An overlay node to be asked, over the socket of an [`IotNode`](tibet_iot::IotNode).
///
/// What it says is believed as far as its key signs for it: that is the key given with its address, or else the first that signed an answer,
/// which is kept ([`NodePins`]). Records, key events and proofs it hands on are for the caller to verify.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use tibet_iot::{IotNode, TransportConfig};
/// # use tibet_overlay::{Asker, NodeClient, NodePins, StateDir, Wire};
/// # async fn example(state: StateDir) -> Result<(), Box<dyn std::error::Error>> {
/// let config = TransportConfig { bind: "[::]:0".parse()?, discovery: None, ..TransportConfig::default() };
/// let mut socket = IotNode::new(state.client_identity()?, config, None, None)?;
/// let wire = Wire::attach(&mut socket);
/// socket.start().await?;
/// let asker = Asker::new(state.client_identity()?);
/// let node = NodeClient::new(wire, "node.example".parse()?, asker, Arc::new(NodePins::in_memory()));
/// let found = node.lookup(&"jis:home:hub".parse()?, Some(0)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NodeClient {
    wire: Wire,
    address: NodeAddress,
    asker: Asker,
    pins: Arc<NodePins>,
    /// What questions go by. It changes with every greeting, whoever greeted: what must stay as it is, as with a registration, is to be kept by
    /// whom it concerns.
    session: Mutex<Option<Session>>,
    /// How and when the last greeting ended. Held while greeting: whoever wants the same meanwhile waits for its end and has its result.
    greeting: tokio::sync::Mutex<Option<(Instant, Result<Session, QueryError>)>>,
}

/// What a node's welcome said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Where the node is.
    pub address: SocketAddr,
    /// Its key. Proven by what it signs, and only then noted.
    pub key: PublicKey,
    /// Where it sees us.
    pub observed: SocketAddr,
    cookie: Cookie,
}

impl NodeClient {
    /// The node at `address`, asked over `wire` as `asker`.
    #[must_use]
    pub fn new(wire: Wire, address: NodeAddress, asker: Asker, pins: Arc<NodePins>) -> Self {
        Self {
            wire,
            address,
            asker,
            pins,
            session: Mutex::default(),
            greeting: tokio::sync::Mutex::default(),
        }
    }

    /// The node's address as it was written.
    #[must_use]
    pub fn address(&self) -> &NodeAddress {
        &self.address
    }

    /// Who asks.
    #[must_use]
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// What its last welcome said, while that holds.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        *self.held()
    }

    /// Greets the node, for a cookie and for where it sees us.
    ///
    /// # Errors
    /// [`QueryError::NoAnswer`], [`QueryError::OtherKey`], [`QueryError::NoAddress`], …
    pub async fn hello(&self) -> Result<Session, QueryError> {
        let wanted_at = Instant::now();
        let mut last = self.greeting.lock().await;
        if let Some((ended, result)) = &*last
            && *ended >= wanted_at
        {
            return result.clone();
        }
        let before = self.session();
        let result = self.greet().await;
        match (&result, before) {
            (Ok(session), _) => *self.held() = Some(*session),
            (Err(_), Some(before)) => self.forget(&before),
            (Err(_), None) => {}
        }
        *last = Some((Instant::now(), result.clone()));
        result
    }

    async fn greet(&self) -> Result<Session, QueryError> {
        let asked = self.address.look_up().await?;
        let expected = self.known_key()?;
        let id = random()?;
        let other = Arc::new(Mutex::new(None));
        let wanted = Wanted::Welcome { expected, other: Arc::clone(&other) };
        let hello = Compact::Hello(id).write();
        let replied = self.wire.exchange(Named::Id(id), &asked, wanted, &hello, &HELLO_WAITS).await;
        let Some(Reply::Welcome { welcome, key, from }) = replied.map_err(|Full| QueryError::Full)? else {
            let found = *other.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(match (expected, found) {
                (Some(expected), Some(found)) => self.other_key(expected, found),
                _ => self.no_answer(),
            });
        };
        let observed = address::canonical(welcome.observed);
        Ok(Session { address: from, key, observed, cookie: welcome.cookie })
    }

    /// Asks, and gives the values of the answer.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::Refused`] and [`QueryError::Waiting`] are the node's own signed words.
    pub async fn query(&self, request: &OverlayRequest) -> Result<Vec<Vec<u8>>, QueryError> {
        self.query_with_session(request).await.map(|(values, _)| values)
    }

    /// The same, with the session in which it was answered.
    async fn query_with_session(
        &self,
        request: &OverlayRequest,
    ) -> Result<(Vec<Vec<u8>>, Session), QueryError> {
        for _ in 0..=STALE_COOKIES {
            let session = self.current().await?;
            let id = random()?;
            let query = Arc::new(self.signed(request, id, &session)?);
            let datagram = Compact::Query(&query.encode()).write();
            let wanted = Wanted::Answer(query);
            match self.ask(id, &session, wanted, &datagram).await? {
                Reply::Stale => self.forget(&session),
                Reply::Answer(answer) => {
                    self.note_key(&session)?;
                    let claims = answer.claims();
                    let failure = || Failure::read(&claims.values);
                    return match claims.outcome {
                        AnswerOutcome::Yes => Ok((claims.values.clone(), session)),
                        AnswerOutcome::No => {
                            Err(QueryError::Refused { node: self.place(), failure: failure() })
                        }
                        AnswerOutcome::Pending => {
                            Err(QueryError::Waiting { node: self.place(), failure: failure() })
                        }
                    };
                }
                _ => break,
            }
        }
        Err(self.no_answer())
    }

    /// Looks a name up: its record, and its key events from `events_from` on as far as they fit one datagram. Nothing of it is verified.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn lookup(&self, name: &Name, events_from: Option<u8>) -> Result<FoundName, QueryError> {
        for _ in 0..=STALE_COOKIES {
            let session = self.current().await?;
            let id = random()?;
            let lookup = Compact::Lookup { id, cookie: session.cookie, events_from, name: name.as_str() };
            let wanted = Wanted::Found(name.clone());
            match self.ask(id, &session, wanted, &lookup.write()).await? {
                Reply::Stale => self.forget(&session),
                Reply::Found(found) => return Ok(*found),
                _ => break,
            }
        }
        Err(self.no_answer())
    }

    /// Shows the node that we are still there, once, at the address where it gave the token. Whether it said that it knows, within 2 s.
    ///
    /// # Errors
    /// [`QueryError::Full`].
    pub async fn keepalive(&self, at: SocketAddr, token: KeepaliveToken) -> Result<bool, QueryError> {
        let datagram = Compact::Keepalive(token).write();
        let asked = [at];
        let replied = self.wire.exchange(Named::Token(token), &asked, Wanted::Alive, &datagram, &ALIVE_WAIT);
        Ok(replied.await.map_err(|Full| QueryError::Full)?.is_some())
    }

    /// An answer that is signed but makes no sense.
    pub(crate) fn malformed(&self, reason: Malformed) -> QueryError {
        QueryError::Malformed { node: self.place(), reason }
    }

    async fn ask(
        &self,
        id: [u8; 8],
        session: &Session,
        wanted: Wanted,
        datagram: &[u8],
    ) -> Result<Reply, QueryError> {
        let replied = self.wire.exchange(Named::Id(id), &[session.address], wanted, datagram, &WAITS).await;
        replied.map_err(|Full| QueryError::Full)?.ok_or_else(|| {
            // The node may have come back elsewhere, or with another key.
            self.forget(session);
            self.no_answer()
        })
    }

    async fn current(&self) -> Result<Session, QueryError> {
        match self.session() {
            Some(session) => Ok(session),
            None => self.hello().await,
        }
    }

    fn signed(
        &self,
        request: &OverlayRequest,
        id: [u8; 8],
        to: &Session,
    ) -> Result<Signed<Query>, QueryError> {
        let identity = self.asker.identity();
        let query = Query {
            id,
            cookie: to.cookie,
            source: identity.name.clone(),
            key: identity.key.public_key(),
            generation: identity.generation,
            responder: to.key,
            method: parse_intent(request.intent()),
            arguments: request.arguments(),
        };
        Signed::seal(query, &identity.key).map_err(QueryError::Unsignable)
    }

    /// The key the node must have: the operator's word, else the one it was first seen with.
    fn known_key(&self) -> Result<Option<PublicKey>, QueryError> {
        match self.address.key() {
            Some(key) => Ok(Some(key)),
            None => self.pins.get(&self.place()).map_err(|error| self.unkept(&error)),
        }
    }

    /// Notes the key of a node that has signed with it. Only the operator's word replaces one that was noted before, even one that somebody else has noted
    /// since we greeted.
    fn note_key(&self, session: &Session) -> Result<(), QueryError> {
        let (place, key) = (self.place(), session.key);
        let known = self.pins.get(&place).map_err(|error| self.unkept(&error))?;
        if known == Some(key) {
            return Ok(());
        }
        if self.address.key() == Some(key) {
            return self.pins.set(&place, key).map_err(|error| self.unkept(&error));
        }
        let known = self.pins.note(&place, key).map_err(|error| self.unkept(&error))?;
        if known == key {
            return Ok(());
        }
        self.forget(session);
        Err(self.other_key(known, key))
    }

    /// Questions no longer go by this session. One that has taken its place stays.
    fn forget(&self, session: &Session) {
        let mut held = self.held();
        if *held == Some(*session) {
            *held = None;
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> String {
        self.address.place()
    }

    fn other_key(&self, expected: PublicKey, found: PublicKey) -> QueryError {
        let (expected, found) = (expected.to_multibase(), found.to_multibase());
        QueryError::OtherKey { node: self.place(), expected, found }
    }

    fn no_answer(&self) -> QueryError {
        QueryError::NoAnswer { node: self.place() }
    }

    fn unkept(&self, error: &SecretFileError) -> QueryError {
        QueryError::unkept(&self.place(), error)
    }
}
