//! Connections: how many, from where, and for how long.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::app::App;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Longest head of a request, request line and headers, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// How long a stop waits for requests that are being answered.
const STOPPING: Duration = Duration::from_secs(5);
/// After a failure to accept, for example for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) total: usize,
    pub(super) per_address: usize,
    pub(super) header_timeout: Duration,
    pub(super) write_timeout: Duration,
}

/// Where connections come from.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Takes connections until told to stop, then lets requests that have begun end.
pub(super) async fn run(
    listener: Listener,
    router: Router,
    app: Arc<App>,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let counts = Arc::new(Counts::default());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (io, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        // Closed without a word: an answer would cost what the bound is to save.
        let Some(place) = Counts::take(&counts, from, &bounds) else {
            app.counters.refused_connection();
            continue;
        };
        let (router, app, stop) = (router.clone(), Arc::clone(&app), stop.clone());
        connections.spawn(async move {
            app.counters.connections.fetch_add(1, Ordering::Relaxed);
            serve(Impatient::new(io, bounds.write_timeout), router, bounds, stop).await;
            app.counters.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    drop(listener);
    let _ = timeout(STOPPING, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn serve<I>(io: I, router: Router, bounds: Bounds, mut stop: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What a peer does wrong is no event of ours.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

async fn accept(listener: &Listener) -> io::Result<(Box<dyn Io>, Option<SocketAddr>)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            // Answers are short and awaited.
            let _ = stream.set_nodelay(true);
            Ok((Box::new(stream), Some(from)))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            // The socket's mode says so already; on systems and mounts where it means nothing, this does.
            let peer = stream.peer_cred()?.uid();
            if peer != 0 && peer != rustix::process::geteuid().as_raw() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's process"));
            }
            Ok((Box::new(stream), None))
        }
    }
}

/// How many connections there are, in all and from where. Never more entries than connections.
#[derive(Default)]
struct Counts(Mutex<HashMap<Option<IpAddr>, usize>>);

impl Counts {
    fn take(counts: &Arc<Self>, from: Option<SocketAddr>, bounds: &Bounds) -> Option<Place> {
        let from = from.map(|from| network(from.ip()));
        let mut held = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = held.get(&from).copied().unwrap_or(0);
        // Whoever may open the Unix socket may open all of it.
        if held.values().sum::<usize>() >= bounds.total || (from.is_some() && here >= bounds.per_address) {
            return None;
        }
        held.insert(from, here + 1);
        Some(Place { counts: Arc::clone(counts), from })
    }
}

/// One party on the network: an IPv4 address, or a /64 of IPv6 (SECURITY R13).
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// A connection's place among the others.
struct Place {
    counts: Arc<Counts>,
    from: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.from);
            }
        }
    }
}

/// A stream that fails when its peer does not read for too long: an answer nobody takes must not hold its memory for ever.
struct Impatient<I> {
    io: I,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<I> Impatient<I> {
    fn new(io: I, patience: Duration) -> Self {
        Self { io, patience, deadline: Box::pin(sleep(patience)), waiting: false }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.waiting = false;
            return progress;
        }
        if !std::mem::replace(&mut self.waiting, true) {
            self.deadline.as_mut().reset(Instant::now() + self.patience);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Impatient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Impatient<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.judge(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_shutdown(cx);
        self.judge(cx, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_84_one_network_takes_its_share_of_connections_and_gives_it_back() {
        let counts = Arc::new(Counts::default());
        let bounds = Bounds {
            total: 5,
            per_address: 2,
            header_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
        };
        let from = |ip: &str| Some(SocketAddr::new(ip.parse().expect("address"), 1));
        let take = |ip: &str| Counts::take(&counts, from(ip), &bounds);
        let held = [take("192.0.2.1"), take("::ffff:192.0.2.1")];
        assert!(held.iter().all(Option::is_some) && take("192.0.2.1").is_none());
        let v6 = [take("2001:db8::1"), take("2001:db8::2")];
        assert!(v6.iter().all(Option::is_some) && take("2001:db8::ffff:0:0:3").is_none());
        let last = take("192.0.2.2");
        assert!(last.is_some() && take("192.0.2.3").is_none(), "five in all");
        drop((held, v6, last));
        assert!(counts.0.lock().expect("lock").is_empty());
    }
}
