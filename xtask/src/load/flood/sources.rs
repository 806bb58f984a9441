//! Where a flood comes from: addresses of this machine that no honest device has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tibet_ping::Compact;

use crate::Outcome;
use crate::load::socket::Greeting;

/// How often a greeting is tried.
const TRIES: usize = 30;

/// An address with what is sent from there.
pub(super) struct Source {
    pub(super) socket: UdpSocket,
    pub(super) datagrams: Vec<Vec<u8>>,
}

impl Source {
    /// Number `n`, at an address of its own in 127.0.2.0/24. Bound alone it receives nothing that it reads.
    pub(super) fn new(n: u8, datagrams: Vec<Vec<u8>>) -> Outcome<Self> {
        Ok(Self { socket: bind(n)?, datagrams })
    }

    /// As [`Source::new`], after the node has greeted it.
    pub(super) fn greeted(
        n: u8,
        node: SocketAddr,
        make: impl FnOnce(&Greeting) -> Vec<Vec<u8>>,
    ) -> Outcome<Self> {
        let socket = bind(n)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let id = tibet_iot::system::random()?;
        let mut answer = [0; 1500];
        for _ in 0..TRIES {
            socket.send_to(&Compact::Hello(id).write(), node)?;
            let Ok(length) = socket.recv(&mut answer) else { continue };
            if let Some(greeting) = Greeting::read(&answer[..length], id) {
                return Ok(Self { socket, datagrams: make(&greeting) });
            }
        }
        Err("the node does not greet".into())
    }
}

fn bind(n: u8) -> Outcome<UdpSocket> {
    Ok(UdpSocket::bind((IpAddr::from(Ipv4Addr::new(127, 0, 2, n)), 0))?)
}
