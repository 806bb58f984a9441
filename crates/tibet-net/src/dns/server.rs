//! The sockets of the DNS server, and its bounds.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jis::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::message::{DnsFound, DnsQuery, DnsRead, DnsWanted};

/// Time for a look-up. Resolvers ask again after five seconds.
const DEADLINE: Duration = Duration::from_secs(2);
/// Look-ups for UDP at once; each TCP connection has one more. What is beyond is answered with "failed" at once.
const LOOKUPS: usize = 256;
/// TCP connections at once, how long one may say nothing, and how much it may ask.
const CONNECTIONS: usize = 32;
const IDLE: Duration = Duration::from_secs(5);
const QUESTIONS: usize = 100;
/// Longest query that is read.
const LONGEST: usize = 4096;
/// How often a free port is looked for that both protocols have.
const TRIES: usize = 16;
/// Pause after a connection could not be taken, for want of descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the server cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// It answers nobody but this machine (SECURITY R73).
    #[error("names are served to this machine only: use a loopback address like 127.0.0.53 or ::1, not {0}")]
    NotLoopback(SocketAddr),
    /// The address cannot be used.
    #[error("cannot serve names on {address}: {source}; choose another port, or stop what uses this one")]
    Bind {
        /// Where it was to be.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A server for `tibet.internal`, over UDP and TCP, on one loopback address.
#[derive(Debug)]
pub struct DnsServer {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl DnsServer {
    /// Takes the address for both protocols. Port 0 takes one that is free.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, DnsError> {
        if !address.ip().is_loopback() {
            return Err(DnsError::NotLoopback(address));
        }
        let mut tries = if address.port() == 0 { TRIES } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_both(address).await {
                // The port that one protocol was given is another's in the other.
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
                other => return other.map_err(|source| DnsError::Bind { address, source }),
            }
        }
    }

    async fn bind_both(address: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(address).await?;
        let address = udp.local_addr()?;
        Ok(Self { udp, tcp: TcpListener::bind(address).await?, address })
    }

    /// Where it is, with the port that was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers, until the future is dropped. `lookup` finds a name's address and has two seconds; `reverse` knows names of addresses or does not.
    ///
    /// # Errors
    /// The UDP socket fails.
    pub async fn run<L, F, R>(self, lookup: L, reverse: R) -> io::Result<()>
    where
        L: Fn(Name) -> F + Send + Sync + 'static,
        F: Future<Output = Option<Ipv6Addr>> + Send + 'static,
        R: Fn(Ipv6Addr) -> Option<Name> + Send + Sync + 'static,
    {
        let names = Arc::new(Names { lookup, reverse });
        tokio::select! {
            ended = datagrams(Arc::new(self.udp), &names) => ended,
            ended = connections(&self.tcp, &names) => ended,
        }
    }
}

/// Answers what comes over UDP, each query in its own time.
async fn datagrams<L, F, R>(udp: Arc<UdpSocket>, names: &Arc<Names<L, R>>) -> io::Result<()>
where
    L: Fn(Name) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Ipv6Addr>> + Send + 'static,
    R: Fn(Ipv6Addr) -> Option<Name> + Send + Sync + 'static,
{
    let mut lookups = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, from) = match udp.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error),
        };
        if !from.ip().is_loopback() {
            continue;
        }
        while lookups.try_join_next().is_some() {}
        // An answer that does not get away is asked for again.
        let answer = |answer: Vec<u8>| drop(udp.try_send_to(&answer, from));
        match DnsQuery::read(buffer.get(..length).unwrap_or_default()) {
            DnsRead::Silence => {}
            DnsRead::Answer(ready) => answer(ready),
            DnsRead::Ask(query) if lookups.len() >= LOOKUPS => answer(query.answer(&DnsFound::Failed)),
            DnsRead::Ask(query) => {
                let (names, udp) = (names.clone(), udp.clone());
                lookups.spawn(async move {
                    let answer = query.answer(&names.find(query.wanted()).await);
                    let _ = udp.send_to(&answer, from).await;
                });
            }
        }
    }
}

/// Takes connections, as many at once as may be.
async fn connections<L, F, R>(tcp: &TcpListener, names: &Arc<Names<L, R>>) -> io::Result<()>
where
    L: Fn(Name) -> F + Send + Sync + 'static,
    F: Future<Output = Option<Ipv6Addr>> + Send + 'static,
    R: Fn(Ipv6Addr) -> Option<Name> + Send + Sync + 'static,
{
    let mut served = JoinSet::new();
    loop {
        while served.len() >= CONNECTIONS {
            served.join_next().await;
        }
        while served.try_join_next().is_some() {}
        match tcp.accept().await {
            Ok((stream, from)) if from.ip().is_loopback() => {
                let names = names.clone();
                served.spawn(async move {
                    if let Err(error) = serve(stream, &names).await {
                        tracing::debug!(%error, "a DNS connection ended");
                    }
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "no DNS connection taken");
                sleep(PAUSE).await;
            }
        }
    }
}

/// What of a socket's errors is about one datagram.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
    )
}

/// Who is asked.
struct Names<L, R> {
    lookup: L,
    reverse: R,
}

impl<L, F, R> Names<L, R>
where
    L: Fn(Name) -> F,
    F: Future<Output = Option<Ipv6Addr>>,
    R: Fn(Ipv6Addr) -> Option<Name>,
{
    async fn find(&self, wanted: &DnsWanted) -> DnsFound {
        match wanted {
            DnsWanted::Name(address) => (self.reverse)(*address).map_or(DnsFound::Nothing, DnsFound::Name),
            DnsWanted::Address(name) => match timeout(DEADLINE, (self.lookup)(name.clone())).await {
                Ok(found) => found.map_or(DnsFound::Nothing, DnsFound::Address),
                Err(_) => DnsFound::Failed,
            },
        }
    }
}

/// Answers what comes on one connection, one after the other (RFC 7766).
async fn serve<L, F, R>(mut stream: TcpStream, names: &Names<L, R>) -> io::Result<()>
where
    L: Fn(Name) -> F,
    F: Future<Output = Option<Ipv6Addr>>,
    R: Fn(Ipv6Addr) -> Option<Name>,
{
    let mut buffer = vec![0; LONGEST];
    for _ in 0..QUESTIONS {
        let message = timeout(IDLE, async {
            let length = usize::from(stream.read_u16().await?);
            let message = buffer.get_mut(..length).ok_or(ErrorKind::InvalidData)?;
            stream.read_exact(message).await?;
            Ok::<_, io::Error>(message)
        })
        .await??;
        let answer = match DnsQuery::read(message) {
            DnsRead::Silence => return Ok(()),
            DnsRead::Answer(answer) => answer,
            DnsRead::Ask(query) => query.answer(&names.find(query.wanted()).await),
        };
        // At most 512 bytes.
        let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
        framed.extend(answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
    Ok(())
}
