//! The node's second UDP port: whoever wants to know what its router does asks here too (`docs/spec/netcheck.md`).
//!
//! A router that gives a socket another port outside for each that it speaks to shows that here, where the address is the same and the port is not; and one that
//! lets in only what was spoken to holds back what this port sends first. It answers a hello, sends the second half of an `elsewhere`, and nothing else:
//! everything a device needs goes through the first port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tibet_ping::{Compact, ExchangeId, Frame};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::shared::Shared;

/// Answers that wait to be sent; more are dropped, and whoever asked asks again.
const MAX_WAITING: usize = 256;

/// The way to it from the first port.
pub(super) struct SecondPort {
    port: u16,
    answers: mpsc::Sender<(SocketAddr, ExchangeId)>,
}

impl SecondPort {
    /// Binds any free port beside `first`, and answers there until the task is ended.
    ///
    /// # Errors
    /// What the system says. A node gets on without.
    pub(super) fn open(first: SocketAddr, shared: Arc<Shared>) -> io::Result<(Self, JoinHandle<()>)> {
        let socket = UdpPort::bind(SocketAddr::new(first.ip(), 0))?;
        let port = socket.local_addr().port();
        let (answers, asked) = mpsc::channel(MAX_WAITING);
        Ok((Self { port, answers }, tokio::spawn(run(socket, asked, shared))))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Sends the answer to this question from here. The address has shown that it is the asker's own (SECURITY R15).
    pub(super) fn answer(&self, to: SocketAddr, id: ExchangeId) {
        let _ = self.answers.try_send((to, id));
    }
}

async fn run(socket: UdpPort, mut asked: mpsc::Receiver<(SocketAddr, ExchangeId)>, shared: Arc<Shared>) {
    let mut buffers = ReceiveBuffers::new();
    let port = socket.local_addr().port();
    loop {
        let out: Vec<Outgoing> = tokio::select! {
            received = socket.recv(&mut buffers) => match received {
                Ok(_) => buffers.datagrams().filter_map(|(from, bytes)| greet(&shared, from, bytes)).collect(),
                Err(error) => return tracing::warn!(%error, "the second port has closed"),
            },
            Some((to, id)) = asked.recv() => {
                vec![Outgoing { to, bytes: Compact::Elsewhere { id, port }.write() }]
            }
        };
        socket.send(&out).await;
    }
}

/// The welcome for a hello; nothing for anything else.
fn greet(shared: &Shared, from: SocketAddr, datagram: &[u8]) -> Option<Outgoing> {
    let hello = match Frame::read(datagram) {
        // Port 0 cannot be answered (SECURITY 3.2 row 11).
        Ok(Frame::Version2 { kind, body }) if from.port() != 0 => Compact::read(kind, body).ok(),
        _ => None,
    };
    let Some(Compact::Hello(id)) = hello else {
        shared.counters.malformed.add();
        return None;
    };
    Some(Outgoing { to: from, bytes: shared.welcome(from, id) })
}
