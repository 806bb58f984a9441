//! One copy out of every interface, from the node's main port.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

use super::{Discovery, Family, Membership};
use crate::interfaces::Interface;
use crate::udp::UdpPort;

/// Where an announcement went.
#[derive(Debug, Default)]
pub struct Announced {
    /// Copies sent.
    pub sent: usize,
    /// Where it could not be sent, and why.
    pub failed: Vec<(Membership, io::Error)>,
}

impl Discovery {
    /// Sends `bytes` to the groups, one copy out of every interface and for each family, from the node's main port: so an answer comes to where
    /// the node listens.
    ///
    /// The interface and its address are given with each datagram; that needs no route and changes nothing of the socket. Only families
    /// that `port` speaks are used, and if it is bound to one address, only the interface that has it: elsewhere no answer would find back. A
    /// neighbour with two interfaces on our links hears two copies, and so do the nodes of this machine.
    pub async fn send(&self, port: &UdpPort, bytes: &[u8]) -> Announced {
        let mut announced = Announced::default();
        for interface in self.interfaces().iter().filter(|one| self.config.uses(one)) {
            if let Some(source) = v4_source(port, interface) {
                let group = SocketAddr::new(self.config.group_v4.into(), self.config.port);
                let sent = send(port, group, packet_info(interface.index, source), bytes).await;
                announced.count(interface, Family::V4, sent);
            }
            if sends_v6(port, interface) {
                let group = SocketAddrV6::new(self.config.group_v6, self.config.port, 0, interface.index);
                let sent = send(port, group.into(), None, bytes).await;
                announced.count(interface, Family::V6, sent);
            }
        }
        announced
    }
}

impl Announced {
    fn count(&mut self, interface: &Interface, family: Family, sent: io::Result<()>) {
        match sent {
            Ok(()) => self.sent += 1,
            Err(error) => self.failed.push((Membership::new(interface, family), error)),
        }
    }
}

fn v4_source(port: &UdpPort, interface: &Interface) -> Option<Ipv4Addr> {
    match port.local_addr().ip() {
        ip if ip.is_unspecified() && port.speaks_v4() => interface.v4(),
        IpAddr::V4(bound) => interface.prefixes.iter().any(|one| one.address == bound).then_some(bound),
        IpAddr::V6(_) => None,
    }
}

fn sends_v6(port: &UdpPort, interface: &Interface) -> bool {
    let bound = port.local_addr().ip();
    let from_here = bound.is_unspecified() || interface.prefixes.iter().any(|one| one.address == bound);
    port.speaks_v6() && Family::V6.is_used_on(interface) && from_here
}

/// Says which interface an IPv4 datagram leaves by and from which address (IP_PKTINFO, ip(7)).
fn packet_info(index: u32, source: Ipv4Addr) -> Option<libc::in_pktinfo> {
    Some(libc::in_pktinfo {
        ipi_ifindex: i32::try_from(index).ok()?,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    })
}

async fn send(
    port: &UdpPort,
    group: SocketAddr,
    information: Option<libc::in_pktinfo>,
    bytes: &[u8],
) -> io::Result<()> {
    let to = port.destination(group)?;
    port.when_writable(|| {
        let control = information.as_ref().map(ControlMessage::Ipv4PacketInfo);
        let (slices, to) = ([IoSlice::new(bytes)], SockaddrStorage::from(to));
        sendmsg(port.descriptor().as_raw_fd(), &slices, control.as_slice(), MsgFlags::empty(), Some(&to))?;
        Ok(())
    })
    .await
}
