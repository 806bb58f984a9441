//! A connection as a program has it.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::core::Id;
use super::packet::Flow;

/// One TCP connection with a peer.
///
/// Shutting it down says that nothing more will be written: what was written arrives, then its end, and reading goes on until the peer ends as well. **Dropping
/// it before it was shut down resets the connection**, so that what was cut off never looks complete to the peer.
///
/// Reading and writing fail with `ConnectionReset` when the peer gave up, `TimedOut` after two minutes in which nothing came from it (it is asked every 30 s),
/// and `ConnectionAborted` when the stack has ended.
#[derive(Debug)]
pub struct StackStream {
    shared: Arc<Shared>,
    id: Id,
    address: Ipv6Addr,
    flow: Flow,
    finished: bool,
}

impl StackStream {
    pub(super) fn new(shared: Arc<Shared>, id: Id, address: Ipv6Addr, flow: Flow) -> Self {
        Self { shared, id, address, flow, finished: false }
    }

    /// Our end.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddrV6 {
        SocketAddrV6::new(self.address, self.flow.port, 0, 0)
    }

    /// The peer's end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddrV6 {
        SocketAddrV6::new(self.flow.peer, self.flow.peer_port, 0, 0)
    }

    pub(super) fn poll_connected(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.shared.core().poll_connected(self.id, context)
    }
}

impl AsyncRead for StackStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = self.shared.core().poll_read(self.id, context, to);
        if result.is_ready() {
            self.shared.wake.notify_one();
        }
        result
    }
}

impl AsyncWrite for StackStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.shared.core().poll_write(self.id, context, data);
        if result.is_ready() {
            self.shared.wake.notify_one();
        }
        result
    }

    /// What was written is on its way: there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        self.shared.core().finish(self.id);
        self.shared.wake.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Drop for StackStream {
    fn drop(&mut self) {
        self.shared.core().release(self.id, self.finished);
        self.shared.wake.notify_one();
    }
}
