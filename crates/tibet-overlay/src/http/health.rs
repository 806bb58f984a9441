//! Whether the node does its work: the registry, and the socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tibet_ping::{Compact, Frame};
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::app::App;
use crate::system;

/// How long a finding is good for: however often it is asked for, the registry is asked once.
const FRESH: Duration = Duration::from_secs(1);
/// How long the registry, and the socket, have for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// Tokens in the audit log, and the hash of the last.
    pub(super) log: Option<(u64, Option<String>)>,
    /// Names that wait for a human.
    pub(super) waiting: usize,
    /// The registry's own name and log key.
    pub(super) origin: Option<(String, String)>,
    /// Why the node is not ready.
    pub(super) reasons: Vec<&'static str>,
}

/// Looks after the node.
pub(super) struct Health {
    overlay: Option<SocketAddr>,
    last: Mutex<Option<(Instant, Finding)>>,
}

impl Health {
    /// `overlay` is the UDP socket to look after.
    pub(super) fn new(overlay: Option<SocketAddr>) -> Self {
        Self { overlay, last: Mutex::default() }
    }
}

/// How the node is, at most a second ago.
pub(super) async fn look(app: &Arc<App>) -> Finding {
    // Whoever comes while somebody looks waits for what is found.
    let mut last = app.health.last.lock().await;
    if let Some((at, finding)) = &*last
        && at.elapsed() < FRESH
    {
        return finding.clone();
    }
    let (mut finding, reached) = tokio::join!(registry(app), reached(app.health.overlay));
    if !reached {
        finding.reasons.push("the overlay's UDP socket does not answer");
    }
    *last = Some((Instant::now(), finding.clone()));
    finding
}

/// A question that is asked within a transaction: where the storage takes no writer, it fails.
async fn registry(app: &Arc<App>) -> Finding {
    let ask = app.node.registry().call(|registry, _| {
        let waiting = registry.requests(None, tibet_registry::MAX_PAGE).map(|requests| {
            let waits = |request: &&tibet_registry::NameRequest| {
                request.state == tibet_registry::RequestState::Waiting
            };
            requests.iter().filter(waits).count()
        });
        let origin = (registry.origin().to_string(), registry.log_key().to_multibase());
        ((registry.head(), waiting, origin), Vec::new())
    });
    let reason = match timeout(PATIENCE, ask).await {
        Ok(Ok((Ok(head), Ok(waiting), origin))) => {
            let log = head.map_or((0, None), |head| (head.count, Some(head.content_hash)));
            return Finding { log: Some(log), waiting, origin: Some(origin), reasons: Vec::new() };
        }
        Err(_) => "the registry did not answer in time",
        Ok(_) => "the registry cannot write",
    };
    Finding { log: None, waiting: 0, origin: None, reasons: vec![reason] }
}

/// Whether the node answers a hello, as a device would send it.
async fn reached(overlay: Option<SocketAddr>) -> bool {
    let Some(overlay) = overlay else { return true };
    let hello = async {
        let to = SocketAddr::new(reachable(overlay.ip()), overlay.port());
        let socket = UdpSocket::bind((
            if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() },
            0,
        ))
        .await
        .ok()?;
        socket.connect(to).await.ok()?;
        let id = system::random().ok()?;
        let mut buffer = [0; 256];
        // Two tries: a datagram may be lost even here.
        for _ in 0..2 {
            socket.send(&Compact::Hello(id).write()).await.ok()?;
            let Ok(received) = timeout(PATIENCE / 2, socket.recv(&mut buffer)).await else { continue };
            let Ok(Frame::Version2 { kind, body }) = Frame::read(&buffer[..received.ok()?]) else { continue };
            if matches!(Compact::read(kind, body), Ok(Compact::Welcome(welcome)) if welcome.id == id) {
                return Some(());
            }
        }
        None
    };
    hello.await.is_some()
}

fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
