//! The overlay node: the registry on the network.
//!
//! [`OverlayNode`] answers the intents `overlay.*` (`docs/spec/overlay.md`) on a UDP socket, beside everything an [`IotNode`] does. What comes in goes one of
//! three ways:
//!
//! | what | who answers | after |
//! |---|---|---|
//! | hello, keepalive, lookup | `server/frames.rs`, in the socket's own task | one keyed hash and one look-up in memory |
//! | questions | `server/workers.rs` and `requests.rs`, on as many threads as there are cores | cookie, then signatures |
//! | changes | `server/writer.rs`, one thread | the registry's rules, then the disk: many changes in one transaction |
//!
//! | file | holds |
//! |---|---|
//! | `server/cookies.rs`, `tokens.rs` | what shows that an address is its sender's own, without memory |
//! | `server/directory.rs` | all entries in memory; `writer.rs` keeps it up to what any process writes |
//! | `server/sessions.rs`, `presence.rs` | which devices are there, and what is told of that |
//! | `server/neighbours.rs` | which other nodes of the same registry are alive |
//! | `server/forwards.rs` | questions passed on to devices |
//! | `server/queue.rs` | what waits for the workers: devices that are there before strangers |
//! | `server/relay.rs`, `relay_usage.rs` | what passes between devices that do not get through to each other, and what of it each has used today |
//! | `server/limits.rs` | how often a network or a key may have the node do something |
//! | `server/second_port.rs` | another port, by which devices see what their routers do |
//! | `server/glance.rs` | what a question or a record says in a few of its fields |

mod cookies;
mod directory;
pub use directory::{Directory, MAX_DIRECTORY};
mod forwards;
mod frames;
mod glance;
mod limits;
pub use limits::Rate;
mod lookups;
mod neighbours;
mod presence;
mod queue;
mod relay;
pub use relay::RelaySettings;
/// What a relay grants.
pub use tibet_mesh::RelayConfig;
mod relay_usage;
mod requests;
mod second_port;
mod sessions;
pub use sessions::Seen;
mod shared;
mod stats;
pub use stats::OverlayStats;
mod tokens;
mod workers;
mod writer;
pub use writer::{AnyRegistry, HandleError, RegistryHandle};

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use jis::{Name, PublicKey, SecretKey};
use tibet_iot::{IotNode, NodeError, StartError, TransportConfig};
use tibet_ping::{Compact, NodeConfig, NodeIdentity};
use tibet_registry::StoreError;
use tokio::task::JoinHandle as Task;
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use crate::intents::{Failure, FailureCode, PresenceState};
use crate::system::{self, NoRandomness};
use cookies::Cookies;
use frames::NodeFrames;
use neighbours::Neighbours;
use queue::WorkQueue;
use relay::Relay;
use second_port::SecondPort;
use sessions::Sessions;
use shared::{Parts, Shared};
use tokens::Tokens;
use writer::WriterThread;

/// How often devices send keepalives, unless set otherwise: mappings in NATs live for 30 s and more.
pub const KEEPALIVE: Duration = Duration::from_secs(25);
/// After how long a silent device is gone, unless set otherwise.
pub const GONE_AFTER: Duration = Duration::from_secs(120);
/// What one network, an IPv4 address or an IPv6 /64, may ask, unless set otherwise. A question weighs 1, and 2 more for each key event that
/// comes along. So 6 600 devices behind one address can register anew at once, 330 more in each second from then on, and questions of one network
/// take a twentieth of a core (SECURITY R18).
pub const QUERY_RATE: Rate = Rate { burst: 20_000, per_second: 1000 };
/// How often what waits is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two looks at who is gone.
const SWEEP: u64 = 10;
/// Ticks between two sums of what was looked up.
const SUM_UP: u64 = 600;
/// Ticks between two looks at what the relay has passed on, to be kept.
const SAVE_RELAY: u64 = 600;

/// How an overlay node runs.
#[derive(Debug, Clone)]
pub struct OverlayNodeConfig {
    /// Its UDP address.
    pub bind: SocketAddr,
    /// How often devices are to send keepalives.
    pub keepalive_every: Duration,
    /// After how long a silent device is gone.
    pub gone_after: Duration,
    /// Threads that check signatures; one per core unless set otherwise.
    pub workers: usize,
    /// What one network may ask before its questions are dropped unread; [`QUERY_RATE`] unless set otherwise.
    pub query_rate: Rate,
    /// Whether and how it relays between devices that do not get through to each other.
    pub relay: Option<RelaySettings>,
}

impl Default for OverlayNodeConfig {
    fn default() -> Self {
        Self {
            bind: TransportConfig::default().bind,
            keepalive_every: KEEPALIVE,
            gone_after: GONE_AFTER,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            query_rate: QUERY_RATE,
            relay: Some(RelaySettings::default()),
        }
    }
}

/// What a node is made of.
#[derive(Debug)]
pub struct NodeKeys {
    /// Its identity key: signs answers, and is its name.
    pub identity: SecretKey,
    /// Makes keepalive tokens; kept on its disk, so that they hold across restarts.
    pub keepalive: Zeroizing<[u8; 32]>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The registry cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket, or what the node keeps.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system gives no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The system gives no threads.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
}

/// A running overlay node.
pub struct OverlayNode {
    iot: IotNode,
    handle: NodeHandle,
    address: SocketAddr,
    ticker: Task<()>,
    /// Answers at the second port; `None` where the system gave none.
    second_port: Option<Task<()>>,
    work: WorkQueue,
    workers: Vec<JoinHandle<()>>,
    writer: WriterThread,
}

/// Looks into a running node and changes its registry, from anywhere in the program.
#[derive(Clone)]
pub struct NodeHandle {
    shared: Arc<Shared>,
}

impl OverlayNode {
    /// Starts a node over a registry. Must be used within a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`]; then nothing is running, and the registry is closed in a thread of its own.
    pub async fn start(
        registry: AnyRegistry,
        keys: NodeKeys,
        config: OverlayNodeConfig,
    ) -> Result<Self, ServeError> {
        let directory = Arc::new(RwLock::new(Directory::default()));
        let sessions = Arc::new(Mutex::new(Sessions::new(config.gone_after)));
        let own_name = Name::of_key(&keys.identity.public_key());
        let first = u64::from_be_bytes(system::random()?);
        let relay = config.relay.map(|settings| Relay::start(settings, own_name.clone())).transpose()?;
        let relay = relay.map(Arc::new);
        let neighbours = Neighbours::new(own_name, config.gone_after, first);
        let running =
            writer::spawn(registry, Arc::clone(&directory), Arc::clone(&sessions), relay.clone(), neighbours);
        let running = running.map_err(ServeError::Thread)?;
        let writer::Running { handle: registry, thread: writer, ready } = running;
        ready.await.map_err(|_| StoreError::Failed("the registry's thread has ended".into()))??;
        let public_key = keys.identity.public_key();
        let copy = SecretKey::from_seed(keys.identity.to_seed()).expect("a key that was good before");
        let shared = Arc::new(Shared::new(Parts {
            key: copy,
            cookies: Cookies::new(system::random()?, *public_key.as_bytes()),
            tokens: Tokens::new(keys.keepalive),
            keepalive_every: config.keepalive_every,
            query_rate: config.query_rate,
            sessions,
            directory,
            registry,
            relay,
            secret: system::random()?,
        }));
        let (work, workers) = workers::spawn(&shared, config.workers).map_err(ServeError::Thread)?;
        let name = Name::of_key(&public_key);
        let fingerprint = jis::Fingerprint::of_inception(public_key.as_bytes());
        let identity = NodeIdentity { name, key: keys.identity, generation: 0, fingerprint };
        // Devices come to the node; it neither announces itself nor sends heartbeats.
        let node = NodeConfig { heartbeat: None, discovery: None, ..NodeConfig::default() };
        let transport = TransportConfig { bind: config.bind, discovery: None, node };
        let mut iot = IotNode::new(identity, transport, None, None)?;
        iot.set_frames(Box::new(NodeFrames {
            shared: Arc::clone(&shared),
            work: work.clone(),
            relayed: false,
        }));
        let _ = shared.outbox.set(iot.outbox());
        let address = iot.start().await?;
        let ticker = tokio::spawn(tick(Arc::clone(&shared)));
        let second_port = match SecondPort::open(address, Arc::clone(&shared)) {
            Ok((second, task)) => {
                let _ = shared.second_port.set(second);
                Some(task)
            }
            Err(error) => {
                tracing::warn!(%error, "no second port: devices cannot tell what their routers let in");
                None
            }
        };
        let handle = NodeHandle { shared };
        Ok(Self { iot, handle, address, ticker, second_port, work, workers, writer })
    }

    /// The address of its socket.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// For looking into it.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Waits until the node stops by itself, which it only does when it cannot go on: its socket is gone, or nothing can be written until the
    /// registry is opened again (SECURITY R70). A disk that is full or a database that is away is no such thing.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn failed(&mut self) -> Result<(), NodeError> {
        tokio::select! {
            stopped = self.iot.failed() => stopped,
            reason = self.writer.failed() => Err(NodeError::Failed(reason)),
        }
    }

    /// Leaves the network, and finishes what was begun: changes that were taken are written. Gives the registry back, unless its thread has
    /// failed.
    ///
    /// # Errors
    /// What made the node stop by itself before, if anything did.
    pub async fn stop(self) -> Result<Option<AnyRegistry>, NodeError> {
        let Self { mut iot, handle, ticker, second_port, work, workers, writer, .. } = self;
        for task in second_port.into_iter().chain([ticker]) {
            task.abort();
            let _ = task.await;
        }
        let stopped = iot.stop().await;
        // The workers end with the last sender, which is in the socket's part.
        drop((iot.take_frames(), iot, work));
        let joined = tokio::task::spawn_blocking(move || {
            workers.into_iter().for_each(|worker| drop(worker.join()));
            if let Some(relay) = &handle.shared.relay {
                relay.save();
            }
            handle.shared.registry.stop();
            let registry = writer.join();
            // Not given back, it is closed here: a database's client may not be dropped where the runtime runs.
            stopped.map(|()| registry)
        });
        joined.await.map_err(|error| NodeError::Failed(error.to_string()))?
    }
}

impl NodeHandle {
    /// The node's identity key.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.shared.public_key
    }

    /// The entries in memory. Not to be held for long: the writer waits for it.
    pub fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.shared.directory()
    }

    /// The registry, for changes.
    #[must_use]
    pub fn registry(&self) -> &RegistryHandle {
        &self.shared.registry
    }

    /// Where the device with this number was last heard, if it was since the node began.
    #[must_use]
    pub fn seen(&self, number: u32) -> Option<Seen> {
        self.shared.sessions().seen(number)
    }

    /// Whether the device with this number is there: here, or at another node of the same registry.
    #[must_use]
    pub fn presence(&self, number: u32) -> PresenceState {
        presence::of(&self.shared, number)
    }

    /// A time of [`Seen`] as wall-clock time.
    #[must_use]
    pub fn wall_time(&self, at: Duration) -> jis::UnixTime {
        presence::wall_time(&self.shared, at)
    }

    /// Devices that are there.
    #[must_use]
    pub fn online(&self) -> usize {
        self.shared.sessions().online()
    }

    /// Sessions with its relay, if it has one.
    #[must_use]
    pub fn relay_sessions(&self) -> Option<usize> {
        self.shared.relay.as_ref().map(|relay| relay.sessions())
    }

    /// How long the node has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.shared.mono()
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> OverlayStats {
        let mut stats = self.shared.counters.read();
        if let Some(relay) = &self.shared.relay {
            relay.count(&mut stats);
        }
        stats
    }
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle").field("key", &self.shared.public_key).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OverlayNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OverlayNode").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What time brings.
async fn tick(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    // After the machine slept, one tick is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 0_u64.. {
        ticks.tick().await;
        let (again, over) = shared.forwards().handle_timeout(shared.mono());
        for (to, query) in again {
            shared.send(to, Compact::Query(&query).write());
        }
        for forward in over {
            let detail = "the device did not answer within five seconds";
            shared.fail(&forward.asker, &Failure::new(FailureCode::NoAnswer, detail));
        }
        if count % SWEEP == 0 {
            presence::sweep(&shared);
            presence::flush(&shared);
            if let Some(relay) = &shared.relay {
                relay.handle_timeout();
            }
        }
        if count % SAVE_RELAY == SAVE_RELAY - 1
            && let Some(relay) = shared.relay.clone()
        {
            // A disk may be slow.
            tokio::task::spawn_blocking(move || relay.save());
        }
        if count % SUM_UP == SUM_UP - 1 {
            sum_up(&shared);
        }
    }
}

/// Has the look-ups of the last minute written down.
fn sum_up(shared: &Shared) {
    let name_of = |number| presence::name_of(&shared.directory().route_of(number)?);
    let Some(sum) = shared.lookups().take(system::now(), name_of) else { return };
    let _ =
        shared.registry.submit(move |registry, now| (registry.note_lookups(sum, now), Vec::new()), |_| {});
}
