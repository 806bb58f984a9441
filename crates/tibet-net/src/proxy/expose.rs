//! A port of our overlay address that leads to a program of this machine.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pass::pass;
use super::{Counters, MAX_PROXIED, MAX_PROXIED_PER_PEER, ProxyCounts, REACH_TIMEOUT, Task};
use crate::stack::{StackListener, StackStream};

/// Takes connections from a listener of the stack and passes each on to a program. Dropping it ends the listening and every connection.
///
/// At most [`MAX_PROXIED`] connections are passed on at a time, of one peer at most [`MAX_PROXIED_PER_PEER`].
#[derive(Debug)]
pub struct Expose {
    counters: Arc<Counters>,
    _task: Task,
}

impl Expose {
    /// Starts to pass on connections of `listener` to `local`. `allow` is asked for the address of each peer that connects; who is not allowed is reset, before
    /// anything is asked of the program.
    ///
    /// To the program a peer is a connection from this machine: what it lets only local programs do, it lets peers do.
    #[must_use]
    pub fn start<A>(listener: StackListener, local: SocketAddr, allow: A) -> Self
    where
        A: Fn(Ipv6Addr) -> bool + Send + 'static,
    {
        let counters = Arc::<Counters>::default();
        let task = Task(tokio::spawn(run(listener, local, allow, counters.clone())));
        Self { counters, _task: task }
    }

    /// What it has done, and does. Bytes in are those from peers.
    #[must_use]
    pub fn counts(&self) -> ProxyCounts {
        self.counters.read()
    }
}

/// How many connections each peer has.
type PerPeer = Arc<Mutex<HashMap<Ipv6Addr, usize>>>;

/// One connection of a peer, counted until this is dropped.
struct Counted(PerPeer, Ipv6Addr);

impl Counted {
    /// `None` if the peer has too many.
    fn new(peers: &PerPeer, peer: Ipv6Addr) -> Option<Self> {
        let mut numbers = peers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.get(&peer).copied().unwrap_or_default();
        (number < MAX_PROXIED_PER_PEER).then(|| {
            numbers.insert(peer, number + 1);
            Self(peers.clone(), peer)
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get_mut(&self.1) {
            *number = number.saturating_sub(1);
            if *number == 0 {
                numbers.remove(&self.1);
            }
        }
    }
}

async fn run<A>(mut listener: StackListener, local: SocketAddr, allow: A, counters: Arc<Counters>)
where
    A: Fn(Ipv6Addr) -> bool,
{
    let room = Arc::new(Semaphore::new(MAX_PROXIED));
    let peers = PerPeer::default();
    // Ends its tasks when it is dropped, as this one is.
    let mut connections = JoinSet::new();
    while let Ok(permit) = room.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            // The stack has ended.
            Err(error) => return counters.failed(error.to_string()),
        };
        let peer = *client.peer_addr().ip();
        let counted = if allow(peer) { Counted::new(&peers, peer) } else { None };
        let Some(counted) = counted else {
            counters.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            continue;
        };
        let open = counters.open();
        connections.spawn(async move {
            if let Err(error) = serve(client, local, &open.0).await {
                tracing::debug!(%error, "an exposed connection failed");
                open.0.failed(error.to_string());
            }
            drop((open, counted, permit));
        });
    }
}

async fn serve(mut client: StackStream, local: SocketAddr, counters: &Counters) -> io::Result<()> {
    let unreached = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("no program answers on {local} ({error}): start it, or expose another port"),
        )
    };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connected = timeout(REACH_TIMEOUT, TcpStream::connect(local)).await.map_err(late);
    let mut server = connected.and_then(|connected| connected).map_err(unreached)?;
    server.set_nodelay(true)?;
    let result = pass(&mut client, &mut server, counters).await;
    if result.is_err() {
        // A reset: the program must not take this for an end. The peer gets one when its stream is dropped.
        let _ = server.set_zero_linger();
    }
    result
}
