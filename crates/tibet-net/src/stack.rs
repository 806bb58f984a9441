//! TCP without a TUN device: packets in, connections out, in one task.
//!
//! | to … | see |
//! |---|---|
//! | have a stack | [`Stack::start`] |
//! | give it the packets that came for us | [`Stack::receive`] |
//! | send those it makes | [`StackPackets::recv_many`] |
//! | connect to a port of a peer | [`Stack::connect`] |
//! | take connections on a port of ours | [`Stack::listen`] |
//!
//! The protocol is `smoltcp`'s. What a peer can make it hold is bounded:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | packets that wait to be looked at | [`QUEUE`] | dropped, counted |
//! | packets that wait to be sent | [`QUEUE`] | connections wait, answers are dropped |
//! | connections | [`MAX_CONNECTIONS`], per peer [`MAX_CONNECTIONS_PER_PEER`] | one that is over makes room, or one that is half open, or the new one is not answered |
//! | half open | [`MAX_HALF_OPEN`], per peer [`MAX_HALF_OPEN_PER_PEER`], 10 s | the oldest is forgotten, if there are too many of a peer the oldest of its own |
//! | open and not accepted | [`BACKLOG`] per port | the new one is not answered: the peer asks again |
//! | bytes per connection and direction | [`LARGE_BUFFER`], [`SMALL_BUFFER`] for those beyond [`LARGE_CONNECTIONS`] | the window is closed |
//! | silence of a peer | 120 s, asked every 30 s | the connection fails |
//! | what is left of a connection its program has let go of | 600 s | reset |
//!
//! So all buffers together are at most 480 MiB, and take memory only as far as data has come to be in them. An open connection is never given up for a new one.

mod connection;
mod core;
mod device;
mod listener;
mod packet;
mod stream;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use self::core::{Core, Next};
pub use self::listener::StackListener;
use self::packet::Flow;
pub use self::stream::StackStream;

/// Packets that may wait in each direction: about a window of a fast connection.
pub const QUEUE: usize = 1024;
/// Connections a stack can have, open or not.
pub const MAX_CONNECTIONS: usize = 4096;
/// Of these with one peer: no peer can take them all.
pub const MAX_CONNECTIONS_PER_PEER: usize = 1024;
/// Connections that peers have begun and not yet shown to mean.
pub const MAX_HALF_OPEN: usize = 1024;
/// Of these from one peer.
pub const MAX_HALF_OPEN_PER_PEER: usize = 128;
/// Connections to one port that wait to be accepted.
pub const BACKLOG: usize = 128;
/// Bytes each way that the first connections can hold.
pub const LARGE_BUFFER: usize = 256 * 1024;
/// How many these are.
pub const LARGE_CONNECTIONS: usize = 512;
/// Bytes each way that the others can hold.
pub const SMALL_BUFFER: usize = 32 * 1024;
/// How long [`Stack::connect`] waits for an answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Packets the task takes before it sends and looks at the time again.
const BATCH: usize = 64;

/// What a stack is told when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackConfig {
    /// The address it is: packets for another are ignored, packets from another are not made.
    pub address: Ipv6Addr,
    /// Largest packet it makes, in bytes with the IPv6 header; less than 1280 (RFC 8200 §5) counts as 1280.
    pub mtu: u16,
}

/// What a stack has done, and has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackCounts {
    /// Connections now, in whatever state.
    pub connections: usize,
    /// Of these the ones peers have begun and not finished opening.
    pub half_open: usize,
    /// Connections ever begun, by us or by peers.
    pub begun: u64,
    /// Packets that were nothing for the stack.
    pub ignored: u64,
    /// Packets dropped because too many waited.
    pub overrun: u64,
    /// Wishes for a connection that were not answered because there was no room.
    pub no_room: u64,
    /// Half-open connections given up before their time for others.
    pub half_open_forgotten: u64,
}

/// What the task, the streams and the listeners share.
struct Shared {
    core: Mutex<Core>,
    /// Wakes the task when a program has done something.
    wake: Notify,
}

impl fmt::Debug for Shared {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP/IP stack with one address. Its clones are the same stack; when the last is dropped, all connections are reset.
#[derive(Debug, Clone)]
pub struct Stack {
    shared: Arc<Shared>,
    packets: mpsc::Sender<BytesMut>,
    overrun: Arc<AtomicU64>,
    address: Ipv6Addr,
}

impl Stack {
    /// Starts a stack in a task of its own, and returns it with the packets it makes. It ends when either is dropped.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with time enabled.
    #[must_use]
    pub fn start(config: StackConfig) -> (Self, StackPackets) {
        let StackConfig { address, mtu } = config;
        let (packets, incoming) = mpsc::channel(QUEUE);
        let (outgoing, made) = mpsc::channel(QUEUE);
        let core = Core::new(address, mtu.max(1280), &outgoing);
        let shared = Arc::new(Shared { core: Mutex::new(core), wake: Notify::new() });
        tokio::spawn(run(shared.clone(), incoming, outgoing));
        let stack = Self { shared, packets, overrun: Arc::default(), address };
        (stack, StackPackets { packets: made })
    }

    /// The address it has.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// Gives it a packet: a whole IPv6 packet and nothing behind it. Never waits: if too many wait already, this one is dropped and counted.
    ///
    /// Whether the packet's source is its sender's has to have been checked (SECURITY R56): the stack believes it.
    pub fn receive(&self, packet: BytesMut) {
        if self.packets.try_send(packet).is_err() {
            self.overrun.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connects to `port` of `peer`. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// `ConnectionRefused` (nobody listens there), `TimedOut` (no answer within [`CONNECT_TIMEOUT`]), `InvalidInput` (no address of a peer, or port 0),
    /// `QuotaExceeded` (too many connections), `AddrInUse` (more than 16 384 to the same port), `ConnectionAborted` (the stack has ended).
    pub async fn connect(&self, peer: Ipv6Addr, port: u16) -> io::Result<StackStream> {
        let (id, local) = self.shared.core().connect(peer, port)?;
        // From here on dropping the stream gives the attempt up.
        let flow = Flow { peer, peer_port: port, port: local };
        let stream = StackStream::new(self.shared.clone(), id, self.address, flow);
        self.shared.wake.notify_one();
        let opened = timeout(CONNECT_TIMEOUT, poll_fn(|context| stream.poll_connected(context))).await;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("[{peer}]:{port} did not answer"));
        opened.map_err(late)??;
        Ok(stream)
    }

    /// Listens on `port`.
    ///
    /// # Errors
    /// `AddrInUse` (someone does already), `InvalidInput` (port 0), `ConnectionAborted` (the stack has ended).
    pub fn listen(&self, port: u16) -> io::Result<StackListener> {
        self.shared.core().listen(port)?;
        Ok(StackListener { shared: self.shared.clone(), address: self.address, port })
    }

    /// What it has done, and has.
    #[must_use]
    pub fn counts(&self) -> StackCounts {
        StackCounts { overrun: self.overrun.load(Ordering::Relaxed), ..self.shared.core().counts() }
    }
}

/// The packets a stack makes. Dropping it ends the stack.
#[derive(Debug)]
pub struct StackPackets {
    packets: mpsc::Receiver<BytesMut>,
}

impl StackPackets {
    /// Waits for packets and appends those there are to `to`, 64 at most; returns how many, 0 when the stack has ended and all of its packets were taken.
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn recv_many(&mut self, to: &mut Vec<BytesMut>) -> usize {
        self.packets.recv_many(to, BATCH).await
    }
}

/// Ends the stack when its task does, whatever the reason: nobody may wait for what is no more.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.core().end();
    }
}

async fn run(shared: Arc<Shared>, mut incoming: mpsc::Receiver<BytesMut>, outgoing: mpsc::Sender<BytesMut>) {
    let ending = Ending(shared);
    let shared = &ending.0;
    let start = Instant::now();
    let now = || moment(start.elapsed());
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let next = shared.core().turn(now(), &mut batch, &outgoing);
        match next {
            Next::Room => {
                if outgoing.reserve().await.is_err() {
                    return;
                }
            }
            Next::Until(at) => {
                let timer = async {
                    match at {
                        Some(at) => sleep_until(start + since_start(at)).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    taken = incoming.recv_many(&mut batch, BATCH) => if taken == 0 { break },
                    () = shared.wake.notified() => {}
                    () = timer => {}
                    () = outgoing.closed() => return,
                }
            }
        }
    }
    // The last to hold the stack has let go of it: peers are told, as far as there is room for it.
    let mut core = shared.core();
    core.end();
    core.turn(now(), &mut batch, &outgoing);
}

/// The time as `smoltcp` has it. It begins one second in, since zero means "at once" there.
fn moment(since_start: Duration) -> smoltcp::time::Instant {
    let micros = i64::try_from(since_start.as_micros()).unwrap_or(i64::MAX / 2);
    smoltcp::time::Instant::from_micros(micros.saturating_add(1_000_000))
}

/// The inverse of [`moment`].
fn since_start(moment: smoltcp::time::Instant) -> Duration {
    Duration::from_micros(u64::try_from(moment.total_micros().saturating_sub(1_000_000)).unwrap_or_default())
}
