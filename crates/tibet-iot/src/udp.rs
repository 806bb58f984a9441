//! The main socket of a node.

mod batch_socket;
pub(crate) use batch_socket::BatchSocket;
mod buffers;
pub use buffers::ReceiveBuffers;
mod report;
pub use report::SendReport;
mod send;
pub use send::Outgoing;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

/// Asked for in both directions, in bytes. At 200 bytes a ping, with what the kernel counts for each, some 5000 pings: a third of a second of
/// what one core can verify. The kernel gives less if net.core.rmem_max says so.
const BUFFER: usize = 4 << 20;
/// How far IPv4 multicast may go: one router, as the Python packages have it.
pub(crate) const MULTICAST_TTL: u32 = 2;

/// A bound UDP socket that sends and receives many datagrams per system call.
///
/// What it receives is hostile until verified; what it cannot send is counted and does not stop it. Use from one task at a time in each direction.
#[derive(Debug)]
pub struct UdpPort {
    inner: BatchSocket,
    v6_only: bool,
    max_segments: AtomicUsize,
}

/// What a port has counted since it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UdpStats {
    /// Errors that came up while receiving and tell of datagrams sent earlier, such as ICMP messages.
    pub receive_errors: u64,
    /// Datagrams dropped because they had not all arrived in the buffer.
    pub cut_off: u64,
}

impl UdpPort {
    /// Binds a port; 0 lets the system choose. `[::]` also speaks IPv4 unless the system refuses that. Must be called within a tokio runtime.
    ///
    /// Nobody else can have the port at the same time: a second node on it fails here instead of taking half of the datagrams.
    ///
    /// # Errors
    /// What the system reports, with the address: [`io::ErrorKind::AddrInUse`], `AddrNotAvailable`, `PermissionDenied`, …
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        bind(address).map_err(|error| io::Error::new(error.kind(), format!("UDP {address}: {error}")))
    }

    /// The address it is bound to, with the port the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    /// Whether it can send to IPv4 addresses and receive from them.
    #[must_use]
    pub fn speaks_v4(&self) -> bool {
        self.local_addr().is_ipv4() || !self.v6_only
    }

    /// Whether it can send to IPv6 addresses and receive from them.
    #[must_use]
    pub fn speaks_v6(&self) -> bool {
        self.local_addr().is_ipv6()
    }

    /// Waits for datagrams and takes up to 32 of them, or rows of coalesced ones, with one system call. Returns how many there are, at least one.
    ///
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// Only what makes the socket useless. An ICMP message about something sent earlier is counted and not returned.
    pub async fn recv(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        self.inner.recv(buffers).await
    }

    /// Takes what is there without waiting, as [`UdpPort::recv`] does; 0 when nothing is.
    ///
    /// # Errors
    /// As [`UdpPort::recv`].
    pub fn try_recv(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        self.inner.try_recv(buffers)
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> UdpStats {
        let (receive_errors, cut_off) = self.inner.counts();
        UdpStats { receive_errors, cut_off }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn max_segments(&self) -> usize {
        self.max_segments.load(Ordering::Relaxed)
    }

    fn give_up_trains(&self) {
        self.max_segments.store(1, Ordering::Relaxed);
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpPort> {
    let address = match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let mut v6_only = false;
    if address.is_ipv6() {
        let dual = address.ip().is_unspecified() && socket.set_only_v6(false).is_ok();
        if !dual {
            socket.set_only_v6(true)?;
        }
        v6_only = !dual;
    }
    // More is better; less is no reason to fail.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    if !v6_only {
        socket.set_multicast_ttl_v4(MULTICAST_TTL)?;
    }
    socket.bind(&address.into())?;
    let inner = BatchSocket::new(socket)?;
    let max_segments = AtomicUsize::new(inner.state.max_gso_segments());
    Ok(UdpPort { inner, v6_only, max_segments })
}
