//! A socket that receives many datagrams per call.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::UdpSocketState;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::buffers::ReceiveBuffers;

/// A bound socket, ready for batches.
#[derive(Debug)]
pub(crate) struct BatchSocket {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
    local: SocketAddr,
    errors: AtomicU64,
    cut_off: AtomicU64,
}

impl BatchSocket {
    /// Takes a socket that is bound. Must be called within a tokio runtime.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        let socket = StdSocket::from(socket);
        let local = socket.local_addr()?;
        let state = UdpSocketState::new((&socket).into())?;
        allow_fragments(&socket, local)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
            local,
            errors: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Says when [`try_recv`](Self::try_recv) is worth calling.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(context)
    }

    /// Errors that were taken off the socket, and slots that were cut off.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.errors.load(Ordering::Relaxed), self.cut_off.load(Ordering::Relaxed))
    }

    /// Waits for datagrams; how many there are.
    pub(crate) async fn recv(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        loop {
            self.socket.readable().await?;
            match self.try_recv(buffers)? {
                0 => {}
                datagrams => return Ok(datagrams),
            }
        }
    }

    /// Takes what is there; 0 when nothing is.
    pub(crate) fn try_recv(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        buffers.clear();
        loop {
            let mut received = Err(ErrorKind::WouldBlock.into());
            // A call that leaves slots empty has emptied the socket: the runtime is told so, which spares the call that would find nothing. What comes
            // after it wakes the task anew.
            let _ = self.socket.try_io(Interest::READABLE, || {
                received = self.receive(buffers);
                let emptied = received.is_ok() && !buffers.is_full();
                if emptied || is_nothing(&received) { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            if is_nothing(&received) {
                return Ok(0);
            }
            match self.judge(received)? {
                0 => {}
                datagrams => return Ok(datagrams),
            }
        }
    }

    /// An error that tells of a datagram sent earlier is not about receiving: it was taken off the socket by being read, and is counted.
    fn judge(&self, received: io::Result<usize>) -> io::Result<usize> {
        match received {
            Err(error) if is_of_one_datagram(&error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                Ok(0)
            }
            other => other,
        }
    }

    fn receive(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        let received = buffers.fill(|slices, meta| self.state.recv((&self.socket).into(), slices, meta));
        let (datagrams, cut_off) = received?;
        self.cut_off.fetch_add(cut_off as u64, Ordering::Relaxed);
        Ok(datagrams)
    }
}

fn is_nothing(received: &io::Result<usize>) -> bool {
    received.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The library forbids fragments, as QUIC wants it. A version-1 body may have 64 KiB, and has to arrive on a link of 1500 bytes too; a packet in a
/// tunnel has 1280, to which the tunnel adds, and has to arrive on one of 1280. Over IPv4 any router may take them apart, as with WireGuard: a path
/// that loses ICMP messages is no black hole then.
fn allow_fragments(socket: &StdSocket, local: SocketAddr) -> io::Result<()> {
    set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?;
    if local.is_ipv6() {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT)?;
        setsockopt(socket, sockopt::Ipv6DontFrag, &false)?;
    }
    Ok(())
}

/// The errors that ICMP messages become (ip(7)), and want of memory, which passes.
fn is_of_one_datagram(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let of_one = [
        Errno::ECONNREFUSED,
        Errno::ECONNRESET,
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::EHOSTDOWN,
        Errno::ENONET,
        Errno::ENETDOWN,
        Errno::EMSGSIZE,
        Errno::ENOPROTOOPT,
        Errno::EOPNOTSUPP,
        Errno::EPROTO,
        Errno::EACCES,
        Errno::EPERM,
        Errno::ENOMEM,
        Errno::ENOBUFS,
        Errno::EINTR,
    ];
    error.raw_os_error().is_some_and(|code| of_one.contains(&Errno::from_raw(code)))
}
