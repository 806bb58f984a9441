//! A port of this machine that leads to a port of a peer.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pass::pass;
use super::{Counters, MAX_PROXIED, ProxyCounts, REACH_TIMEOUT, Task};

/// After the machine could not give a connection (no file descriptors, mostly), how long until it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a forward cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// Another program has the port.
    #[error(
        "{0} is in use by another program: stop it, or choose another port (port 0 lets the system choose)"
    )]
    InUse(SocketAddr),
    /// The address is none of this machine's.
    #[error("{0} is not an address of this machine: listen on 127.0.0.1 or ::1")]
    NotHere(SocketAddr),
    /// The system does not let us.
    #[error("not allowed to listen on {0}: choose a port from 1024 on")]
    NotAllowed(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// What was to be listened on.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl ForwardError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotHere(address),
            io::ErrorKind::PermissionDenied => Self::NotAllowed(address),
            _ => Self::Other { address, source },
        }
    }
}

/// Listens on a port of this machine; each connection is passed on to one a dialer makes. Dropping it ends the listening and every connection.
///
/// At most [`MAX_PROXIED`] connections are passed on at a time; those beyond wait in the system's queue.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    counters: Arc<Counters>,
    _task: Task,
}

impl Forward {
    /// Listens on `listen`; port 0 lets the system choose. `dial` makes the other side of each connection, within [`REACH_TIMEOUT`].
    ///
    /// Whoever reaches `listen` reaches the peer **as this device**: an address that is not of the loopback interface opens it to the network, which
    /// is for the caller to allow only when it was asked for.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn start<D, F, S>(listen: SocketAddr, dial: D) -> Result<Self, ForwardError>
    where
        D: Fn() -> F + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |source| ForwardError::new(listen, source);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let counters = Arc::<Counters>::default();
        let task = Task(tokio::spawn(run(listener, dial, counters.clone())));
        Ok(Self { address, counters, _task: task })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What it has done, and does. Bytes in are those from programs of this machine.
    #[must_use]
    pub fn counts(&self) -> ProxyCounts {
        self.counters.read()
    }
}

async fn run<D, F, S>(listener: TcpListener, dial: D, counters: Arc<Counters>)
where
    D: Fn() -> F,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_PROXIED));
    // Ends its tasks when it is dropped, as this one is.
    let mut connections = JoinSet::new();
    while let Ok(permit) = room.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => {
                let open = counters.open();
                let dialed = dial();
                connections.spawn(async move {
                    if let Err(error) = serve(client, dialed, &open.0).await {
                        tracing::debug!(%error, "a forwarded connection failed");
                        open.0.failed(error.to_string());
                    }
                    drop((open, permit));
                });
            }
            Err(error) => {
                counters.failed(format!("cannot accept a connection: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve<F, S>(mut client: TcpStream, dialed: F, counters: &Counters) -> io::Result<()>
where
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the peer was not reached in time");
    let result = async {
        client.set_nodelay(true)?;
        let mut server = timeout(REACH_TIMEOUT, dialed).await.map_err(late)??;
        pass(&mut client, &mut server, counters).await
    };
    let result = result.await;
    if result.is_err() {
        // A reset: the program must not take this for an end.
        let _ = client.set_zero_linger();
    }
    result
}
