//! What programs do through a tunnel, measured.
//!
//! Each of these runs on a thread of its own that has moved into the machine's namespace; its sockets stay there.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Lab, LabError};

/// Port of what answers and of what takes in.
pub const PORT: u16 = 7007;
/// How long a socket waits before it looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);
/// Longer than any transfer here takes that does not break.
const LONG: Duration = Duration::from_secs(60);

/// Answers each datagram and counts what TCP connections bring, until dropped.
#[derive(Debug)]
pub struct Server {
    ended: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves at an address of a machine.
    ///
    /// # Errors
    ///
    /// There is no such machine or address.
    pub fn start(lab: &Lab, machine: &str, address: impl Into<IpAddr>) -> Result<Self, LabError> {
        let at = SocketAddr::new(address.into(), PORT);
        let (udp, tcp) = lab.within(machine, move || Ok((UdpSocket::bind(at)?, TcpListener::bind(at)?)))?;
        udp.set_read_timeout(Some(TICK))?;
        tcp.set_nonblocking(true)?;
        let (ended, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let echo = {
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || echo(&udp, &ended))
        };
        let take = {
            let (ended, taken) = (Arc::clone(&ended), Arc::clone(&taken));
            std::thread::spawn(move || take(&tcp, &ended, &taken))
        };
        Ok(Self { ended, taken, threads: vec![echo, take] })
    }

    /// Bytes that have come by TCP so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn echo(socket: &UdpSocket, ended: &AtomicBool) {
    let mut datagram = [0; 2048];
    while !ended.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    }
}

/// One connection after the other, whose end is answered with one byte.
fn take(listener: &TcpListener, ended: &AtomicBool, taken: &AtomicU64) {
    while !ended.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(TICK);
            continue;
        };
        if stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(TICK))).is_err() {
            continue;
        }
        let mut bytes = vec![0; 65_536];
        while !ended.load(Ordering::Relaxed) {
            match stream.read(&mut bytes) {
                Ok(0) => {
                    let _ = stream.write_all(&[1]);
                    break;
                }
                Ok(length) => {
                    taken.fetch_add(length as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    }
}

/// Datagrams to a peer's server and back.
#[derive(Debug)]
pub struct Echo {
    socket: UdpSocket,
    sent: u64,
}

impl Echo {
    /// To the server of a peer.
    ///
    /// # Errors
    ///
    /// The machine has no way to the address.
    pub fn start(lab: &Lab, machine: &str, peer: impl Into<IpAddr>) -> Result<Self, LabError> {
        let peer = peer.into();
        let socket = lab.within(machine, move || {
            let any: IpAddr = match peer {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((peer, PORT))?;
            Ok(socket)
        })?;
        Ok(Self { socket, sent: 0 })
    }

    /// Sends one datagram and waits for it to come back: how long that took, or `None` if it did not.
    pub fn once(&mut self, wait: Duration) -> Option<Duration> {
        self.sent += 1;
        let (number, begun) = (self.sent.to_be_bytes(), Instant::now());
        // What the system refuses is as good as lost.
        let _ = self.socket.send(&number);
        loop {
            let left = wait.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).ok()?;
            let mut back = [0; 64];
            match self.socket.recv(&mut back) {
                Ok(length) if back[..length] == number => return Some(begun.elapsed()),
                // An earlier one that was late.
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                // The system says what it heard of an earlier one.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// How a TCP transfer went.
#[derive(Debug, Clone, Copy)]
pub struct Transferred {
    /// From its begin to the answer to its end.
    pub took: Duration,
    /// The longest time in which nothing more was taken in.
    pub longest_gap: Duration,
}

/// A TCP transfer to a server, on its way.
#[derive(Debug)]
pub struct Transfer {
    sending: JoinHandle<Result<Duration, std::io::Error>>,
}

impl Transfer {
    /// Begins to send so many copies of `block`, `pause` between two.
    ///
    /// # Errors
    ///
    /// There is no such machine.
    pub fn start(
        lab: &Lab,
        machine: &str,
        to: SocketAddr,
        block: Vec<u8>,
        blocks: u32,
        pause: Duration,
    ) -> Result<Self, LabError> {
        let namespace = lab.namespace(machine)?;
        let sending = std::thread::spawn(move || {
            namespace.enter()?;
            let begun = Instant::now();
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
            stream.set_write_timeout(Some(Duration::from_secs(20)))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            for _ in 0..blocks {
                stream.write_all(&block)?;
                std::thread::sleep(pause);
            }
            stream.shutdown(std::net::Shutdown::Write)?;
            stream.read_exact(&mut [0])?;
            Ok(begun.elapsed())
        });
        Ok(Self { sending })
    }

    /// Waits for its end, and watches meanwhile what `server` takes in.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub fn watch(self, lab: &Lab, server: &Server) -> Result<Transferred, LabError> {
        let (mut seen, mut since, mut longest_gap) = (server.taken(), Instant::now(), Duration::ZERO);
        lab.wait("the end of a transfer", LONG, || {
            let taken = server.taken();
            if taken != seen {
                longest_gap = longest_gap.max(since.elapsed());
                (seen, since) = (taken, Instant::now());
            }
            self.sending.is_finished().then_some(())
        })?;
        let took = self.sending.join().map_err(|_| LabError::new("the sender panicked"))?;
        let took = took.map_err(|error| LabError::new(format!("the transfer broke: {error}")))?;
        Ok(Transferred { took, longest_gap })
    }
}
