//! A port of ours that peers can connect to.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{Shared, StackStream};

/// Takes the connections peers make to one port. Dropping it frees the port and resets those that have not been accepted.
#[derive(Debug)]
pub struct StackListener {
    pub(super) shared: Arc<Shared>,
    pub(super) address: Ipv6Addr,
    pub(super) port: u16,
}

impl StackListener {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a connection; returns it with the address and port it came from. The address is the one the packets named: whether it is the sender's is for
    /// whoever hands packets to [`Stack::receive`](super::Stack::receive) to have checked.
    ///
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// `ConnectionAborted` when the stack has ended.
    pub async fn accept(&mut self) -> io::Result<(StackStream, SocketAddr)> {
        let (id, flow) = poll_fn(|context| self.shared.core().poll_accept(self.port, context)).await?;
        let stream = StackStream::new(self.shared.clone(), id, self.address, flow);
        let peer = stream.peer_addr().into();
        Ok((stream, peer))
    }
}

impl Drop for StackListener {
    fn drop(&mut self) {
        self.shared.core().unlisten(self.port);
        self.shared.wake.notify_one();
    }
}
