//! A socket to ask nodes with, beside everything else that runs on this machine.
//!
//! Unlike [`Wire`](crate::Wire) it also takes what comes from where nothing was sent to: whether that gets in is what is to be found out.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use tibet_ping::{Compact, Cookie, ExchangeId, Frame, HEADER, Welcome};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::client::canonical;
use crate::system::random;

/// Longest datagram that means anything here.
const LONGEST: usize = 2048;
/// Frames of one exchange that wait to be looked at; whoever sends more to an id that was seen is not believed more.
const MAX_HEARD: usize = 16;

/// A socket of its own, of one family.
pub(super) struct Probe {
    shared: Arc<Shared>,
    port: u16,
    /// Reads; ends with the probe.
    _reader: JoinSet<()>,
}

struct Shared {
    socket: UdpSocket,
    waiting: Mutex<BTreeMap<ExchangeId, mpsc::Sender<Heard>>>,
}

/// A frame with an id that is waited for.
pub(super) struct Heard {
    pub(super) from: SocketAddr,
    pub(super) what: What,
    at: Instant,
}

pub(super) enum What {
    Welcome(Welcome),
    Elsewhere(u16),
    /// Our own, on a way back to us.
    Hello,
}

/// What an exchange brings, until it is dropped.
pub(super) struct Exchange<'a> {
    shared: &'a Shared,
    pub(super) id: ExchangeId,
    heard: mpsc::Receiver<Heard>,
}

/// How a node welcomed us.
#[derive(Clone, Copy)]
pub(super) struct Greeting {
    pub(super) welcome: Welcome,
    pub(super) rtt: Duration,
}

/// What came of a question for an answer from elsewhere.
pub(super) struct Elsewhere {
    /// The node's second port.
    pub(super) port: Option<u16>,
    /// Whether its answer came from there too.
    pub(super) got_in: bool,
}

impl Probe {
    /// A socket at any free port. With `whole`, what does not fit the path is lost instead of being taken apart.
    pub(super) fn open(v6: bool, whole: bool) -> io::Result<Self> {
        let any: SocketAddr = match v6 {
            true => (Ipv6Addr::UNSPECIFIED, 0).into(),
            false => (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        let socket = StdSocket::bind(any)?;
        if whole && v6 {
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
        } else if whole {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
        }
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        let shared = Arc::new(Shared { socket: UdpSocket::from_std(socket)?, waiting: Mutex::default() });
        let mut reader = JoinSet::new();
        reader.spawn(read(Arc::clone(&shared)));
        Ok(Self { shared, port, _reader: reader })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Sends; what cannot be sent is lost like anything else on the way.
    pub(super) async fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.shared.socket.send_to(datagram, to).await.map(|_| ())
    }

    /// Waits for what comes with a new id. `None` where the system gives no random bytes.
    pub(super) fn exchange(&self) -> Option<Exchange<'_>> {
        let id = random().ok()?;
        let (sender, heard) = mpsc::channel(MAX_HEARD);
        self.shared.waiting().insert(id, sender);
        Some(Exchange { shared: &self.shared, id, heard })
    }

    /// Greets a node once, with a datagram of `length` bytes or as many as a hello has. `None` when no welcome came from there in time, and at once when the
    /// datagram is too long for the link.
    pub(super) async fn greet(&self, to: SocketAddr, length: usize, wait: Duration) -> Option<Greeting> {
        let mut exchange = self.exchange()?;
        let sent = Instant::now();
        self.send(to, &hello(exchange.id, length)).await.ok()?;
        loop {
            let heard = exchange.next(sent + wait).await?;
            if let (What::Welcome(welcome), true) = (heard.what, heard.from == to) {
                return Some(Greeting { welcome, rtt: heard.at.duration_since(sent) });
            }
        }
    }

    /// Has a node answer from its second port, which nothing was sent to yet; up to three times.
    pub(super) async fn ask_elsewhere(&self, to: SocketAddr, cookie: Cookie, wait: Duration) -> Elsewhere {
        let mut came = Elsewhere { port: None, got_in: false };
        let Some(mut exchange) = self.exchange() else { return came };
        let question = Compact::AskElsewhere { id: exchange.id, cookie }.write();
        // What comes from the second port may be here before the answer says which that is.
        let mut others: Vec<SocketAddr> = Vec::new();
        for _ in 0..3 {
            if self.send(to, &question).await.is_err() {
                break;
            }
            let until = Instant::now() + wait;
            while let Some(Heard { from, what, .. }) = exchange.next(until).await {
                match what {
                    What::Elsewhere(0) if from == to => return came,
                    What::Elsewhere(port) if from == to => came.port = Some(port),
                    What::Elsewhere(_) if others.len() < MAX_HEARD => others.push(from),
                    _ => {}
                }
                let second = came.port.map(|port| SocketAddr::new(to.ip(), port));
                came.got_in = second.is_some_and(|second| others.contains(&second));
                if came.got_in {
                    return came;
                }
            }
        }
        came
    }
}

impl Exchange<'_> {
    /// The next frame; `None` at `until`.
    pub(super) async fn next(&mut self, until: Instant) -> Option<Heard> {
        timeout_at(until, self.heard.recv()).await.ok().flatten()
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.id);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<ExchangeId, mpsc::Sender<Heard>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = [0; LONGEST];
    while let Ok((length, from)) = shared.socket.recv_from(&mut buffer).await {
        let at = Instant::now();
        let Some((id, what)) = buffer.get(..length).and_then(understand) else { continue };
        if let Some(waiting) = shared.waiting().get(&id) {
            let _ = waiting.try_send(Heard { from: canonical(from), what, at });
        }
    }
}

fn understand(datagram: &[u8]) -> Option<(ExchangeId, What)> {
    let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { return None };
    match Compact::read(kind, body).ok()? {
        Compact::Welcome(welcome) => Some((welcome.id, What::Welcome(welcome))),
        Compact::Elsewhere { id, port } => Some((id, What::Elsewhere(port))),
        Compact::Hello(id) => Some((id, What::Hello)),
        _ => None,
    }
}

/// A hello, with more padding than it needs where `length` is longer.
pub(super) fn hello(id: ExchangeId, length: usize) -> Vec<u8> {
    let short = Compact::Hello(id).write();
    let (Some(kind), Some(body)) = (short.get(3), short.get(HEADER..)) else { return short };
    let mut body = body.to_vec();
    body.resize(length.saturating_sub(HEADER).max(body.len()), 0);
    Frame::Version2 { kind: *kind, body: &body }.write().unwrap_or(short)
}
