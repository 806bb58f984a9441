//! Sending many datagrams with few system calls.
//!
//! A row of equally long datagrams to one destination is a train: the kernel takes it as one piece and cuts it up as late as it can
//! (UDP_SEGMENT). All others go by sendmmsg, which takes different destinations. quinn-udp has no sendmmsg, and its trains need one piece of
//! memory and end for good at the first EINVAL, which one bad destination suffices for; so both calls are made here.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};
use tokio::io::Interest;
use tokio::time::{Instant, timeout, timeout_at};

use super::UdpPort;
use super::report::SendReport;

/// Datagrams per sendmmsg. The gain per datagram is all but complete here, and the arrays for it take 10 KiB.
const CHUNK: usize = 64;
/// Longest payload of a segment: 1500 bytes less the headers of IPv6 and UDP. Longer ones would need fragments, which trains cannot have.
const MAX_SEGMENT: usize = 1452;
/// Longest train, which travels as one IPv4 datagram within the kernel.
const MAX_TRAIN: usize = 65_507;
/// How long a full socket is waited for before the rest of a batch is dropped. Datagrams for a neighbour that does not answer fill the socket
/// for three seconds (the kernel keeps them while it asks for its link address); nobody else shall wait that long for them.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// A datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing<B = Vec<u8>> {
    /// Where to. IPv4 in either spelling; the scope of a link-local address is the interface's index.
    pub to: SocketAddr,
    /// Its payload, at most 65 507 bytes over IPv4 and 65 527 over IPv6.
    pub bytes: B,
}

impl UdpPort {
    /// Sends a batch and says what became of each kind of datagram. An error of one never keeps another from being sent.
    ///
    /// The order is kept. Waits while the socket is full, but no longer than 20 ms at a time; then the rest of the batch is dropped and counted as
    /// [`SendReport::no_room`]. Dropping the future loses what was not sent yet.
    pub async fn send<B: AsRef<[u8]>>(&self, batch: &[Outgoing<B>]) -> SendReport {
        let mut report = SendReport::default();
        let mut rest = batch;
        let mut patience = Instant::now() + PATIENCE;
        loop {
            let done = self.try_send(rest, &mut report);
            rest = &rest[done..];
            if rest.is_empty() {
                return report;
            }
            if done > 0 {
                patience = Instant::now() + PATIENCE;
            }
            // An error of waiting is one of the socket, which the next attempt meets too.
            if timeout_at(patience, self.inner.socket.writable()).await.is_err() {
                report.no_room += rest.len();
                return report;
            }
        }
    }

    /// Sends what the socket has room for without waiting, in order, and adds to `report` what became of it. How many datagrams at the front of the
    /// batch are done with: sent, or failed for good. The rest found the socket full.
    pub fn try_send<B: AsRef<[u8]>>(&self, batch: &[Outgoing<B>], report: &mut SendReport) -> usize {
        let mut done = 0;
        while let Some(rest) = batch.get(done..).filter(|rest| !rest.is_empty()) {
            let train = self.train_at(rest);
            let now = &rest[..if train > 1 { train } else { self.singles_at(rest) }];
            let sent = match if train > 1 { self.try_train(now) } else { Train::Refused } {
                Train::Sent => {
                    report.sent += now.len();
                    now.len()
                }
                Train::NoRoom => return done,
                Train::Refused => self.try_singles(now, report),
            };
            done += sent;
            if sent < now.len() {
                return done;
            }
        }
        done
    }

    /// How many datagrams at the front make a train; 1 if none does.
    fn train_at<B: AsRef<[u8]>>(&self, batch: &[Outgoing<B>]) -> usize {
        let Some(first) = batch.first() else { return 0 };
        let segment = first.bytes.as_ref().len();
        let most = self.max_segments();
        if most < 2 || segment == 0 || segment > MAX_SEGMENT || self.destination(first.to).is_err() {
            return 1;
        }
        let mut length = segment;
        let mut count = 1;
        for next in &batch[1..] {
            let size = next.bytes.as_ref().len();
            if count == most
                || next.to != first.to
                || size == 0
                || size > segment
                || length + size > MAX_TRAIN
            {
                break;
            }
            length += size;
            count += 1;
            // Only the last one may be shorter.
            if size < segment {
                break;
            }
        }
        count
    }

    /// How many datagrams at the front go one by one: up to where a train begins.
    fn singles_at<B: AsRef<[u8]>>(&self, batch: &[Outgoing<B>]) -> usize {
        let most = batch.len().min(CHUNK);
        (1..most).find(|at| self.train_at(&batch[*at..batch.len().min(at + 2)]) > 1).unwrap_or(most)
    }

    /// Sends a train as one. If it is refused, none of it left.
    fn try_train<B: AsRef<[u8]>>(&self, train: &[Outgoing<B>]) -> Train {
        let sent = self.try_io(|| {
            let slices: Vec<IoSlice<'_>> = train.iter().map(|one| IoSlice::new(one.bytes.as_ref())).collect();
            let segment = slices.first().map_or(0, |first| first.len());
            let segment = u16::try_from(segment).map_err(|_| ErrorKind::InvalidInput)?;
            let to = SockaddrStorage::from(self.destination(train[0].to)?);
            let descriptor = self.inner.socket.as_raw_fd();
            let control = [ControlMessage::UdpGsoSegments(&segment)];
            Ok(sendmsg(descriptor, &slices, &control, MsgFlags::empty(), Some(&to))?)
        });
        match sent {
            Ok(_) => Train::Sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Train::NoRoom,
            Err(error) => {
                // The network adapter cannot do it and will not learn.
                if error.raw_os_error() == Some(Errno::EIO as i32) {
                    self.give_up_trains();
                }
                Train::Refused
            }
        }
    }

    /// Sends datagrams one by one; how many are done with before the socket was full.
    fn try_singles<B: AsRef<[u8]>>(&self, batch: &[Outgoing<B>], report: &mut SendReport) -> usize {
        let mut done = 0;
        let mut again = true;
        while let Some((first, rest)) = batch.get(done..).and_then(|rest| Some((rest.first()?, rest))) {
            let sent = match self.destination(first.to) {
                Ok(_) => self.try_io(|| self.send_some(rest)),
                Err(error) => Err(error),
            };
            match sent {
                Ok(sent) => {
                    report.sent += sent;
                    done += sent;
                    again = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Perhaps the error of an earlier datagram, which the socket reports at the next call.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && again => again = false,
                Err(error) => {
                    report.count_failure(&error);
                    done += 1;
                    again = true;
                }
            }
        }
        done
    }

    /// Sends as many as the kernel takes at once, at least the first, or fails with the first one's error.
    fn send_some<B: AsRef<[u8]>>(&self, batch: &[Outgoing<B>]) -> io::Result<usize> {
        if let [only] = batch {
            let to = self.destination(only.to)?;
            sendto(&self.inner.socket, only.bytes.as_ref(), SendFlags::empty(), &to)?;
            return Ok(1);
        }
        let sendable = batch.iter().take(CHUNK).map_while(|one| Some((one, self.destination(one.to).ok()?)));
        let (slices, addresses): (Vec<_>, Vec<_>) =
            sendable.map(|(one, to)| ([IoSlice::new(one.bytes.as_ref())], SocketAddrAny::from(to))).unzip();
        let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let messages = addresses.iter().zip(&slices).zip(&mut controls);
        let mut messages: Vec<_> =
            messages.map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control)).collect();
        Ok(sendmmsg(&self.inner.socket, &mut messages, SendFlags::empty())?)
    }

    /// Calls `send` as soon as the socket has room, within [`PATIENCE`].
    pub(crate) async fn when_writable<T>(&self, send: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match self.try_io(&send) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    timeout(PATIENCE, self.inner.socket.writable())
                        .await
                        .map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
                }
                other => return other,
            }
        }
    }

    /// Calls `send` if the socket has room, as far as is known, and again when a signal came between.
    fn try_io<T>(&self, send: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match self.inner.socket.try_io(Interest::WRITABLE, &send) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// The address as this socket wants it.
    pub(crate) fn destination(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        if to.port() == 0 {
            return Err(Errno::EINVAL.into());
        }
        let v6_socket = self.inner.local_addr().is_ipv6();
        match (to.ip().to_canonical(), to) {
            (IpAddr::V4(ip), _) if !v6_socket => Ok(SocketAddr::new(ip.into(), to.port())),
            (IpAddr::V4(ip), _) if self.speaks_v4() => {
                Ok(SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()))
            }
            (IpAddr::V6(ip), SocketAddr::V6(v6)) if v6_socket => {
                Ok(SocketAddrV6::new(ip, to.port(), 0, v6.scope_id()).into())
            }
            _ => Err(Errno::EAFNOSUPPORT.into()),
        }
    }
}

/// What became of a train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Train {
    Sent,
    /// The socket is full.
    NoRoom,
    /// It may do better in pieces.
    Refused,
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::udp::ReceiveBuffers;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn loopback() -> UdpPort {
        UdpPort::bind("127.0.0.1:0".parse().expect("address")).expect("bound")
    }

    /// A port that hears of ICMP messages at its next call, as a connected socket would, and has just been told that one of its datagrams was
    /// refused.
    async fn refused() -> UdpPort {
        let port = loopback();
        port.inner.state.enable_transport_errors((&port.inner.socket).into()).expect("enabled");
        let nobody = UdpSocket::bind("127.0.0.1:0").and_then(|closed| closed.local_addr()).expect("closed");
        assert_eq!(port.send(&[Outgoing { to: nobody, bytes: "knock" }]).await.sent, 1);
        let told = timeout(DEADLINE, port.inner.socket.ready(Interest::ERROR)).await;
        assert!(told.expect("in time").expect("told").is_error());
        port
    }

    #[tokio::test]
    async fn a_refusal_by_one_peer_does_not_end_receiving() {
        let (port, friend) = (refused().await, loopback());
        friend.send(&[Outgoing { to: port.local_addr(), bytes: "hello" }]).await;
        let mut buffers = ReceiveBuffers::new();
        let received = timeout(DEADLINE, port.recv(&mut buffers)).await.expect("in time");
        assert_eq!(received.expect("received"), 1);
        assert_eq!(buffers.datagrams().next(), Some((friend.local_addr(), b"hello".as_slice())));
        assert_eq!(port.stats().receive_errors, 1);
    }

    #[tokio::test]
    async fn a_refusal_by_one_peer_costs_no_other_its_datagram() {
        let friend = loopback();
        for batch in [1, 2, 3] {
            let port = refused().await;
            // Of different lengths: no train.
            let hello: Vec<_> = (1..=batch)
                .map(|length| Outgoing { to: friend.local_addr(), bytes: vec![0; length] })
                .collect();
            let report = port.send(&hello).await;
            assert_eq!((report.sent, report.failed()), (batch, 0), "{report:?}");
        }
    }

    #[tokio::test]
    async fn trains_are_rows_of_equal_datagrams_to_one_destination() {
        let port = loopback();
        assert!(port.max_segments() > 1, "this kernel has segmentation offload");
        let (one, two) = ("127.0.0.1:9", "127.0.0.1:10");
        let train = |datagrams: &[(&str, usize)]| {
            let batch: Vec<_> = datagrams
                .iter()
                .map(|(to, length)| Outgoing { to: to.parse().expect("address"), bytes: vec![0; *length] })
                .collect();
            port.train_at(&batch)
        };
        assert_eq!(train(&[]), 0);
        assert_eq!(train(&[(one, 5)]), 1);
        assert_eq!(train(&[(one, 5), (one, 5), (one, 5)]), 3);
        assert_eq!(train(&[(one, 5), (one, 5), (two, 5)]), 2);
        assert_eq!(train(&[(one, 5), (one, 4), (one, 4)]), 2, "the shorter one is the last");
        assert_eq!(train(&[(one, 5), (one, 6)]), 1);
        assert_eq!(train(&[(one, 0), (one, 0)]), 1, "empty ones cannot be told apart");
        assert_eq!(train(&[(one, 5), (one, 0)]), 1);
        assert_eq!(train(&[(one, MAX_SEGMENT + 1), (one, 1)]), 1);
        assert_eq!(train(&[(one, 5); 100]), 64);
        assert_eq!(train(&[(one, 1452); 100]), MAX_TRAIN / 1452);
        assert_eq!(train(&[("127.0.0.1:0", 5), ("127.0.0.1:0", 5)]), 1);
        port.give_up_trains();
        assert_eq!(train(&[(one, 5), (one, 5)]), 1);
    }
}
