//! The socket that hears one group.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use super::{Change, Family, Membership};
use crate::interfaces::Interface;
use crate::udp::{BatchSocket, ReceiveBuffers};

/// A group and the interfaces it was joined on.
#[derive(Debug)]
pub(super) struct Listener {
    socket: BatchSocket,
    group: IpAddr,
    joined: BTreeMap<u32, Membership>,
    /// Where joining failed and that was said.
    failed: BTreeSet<u32>,
}

impl Listener {
    /// Opens the socket for a group. Nothing is joined yet.
    pub(super) fn open(group: IpAddr, port: u16) -> io::Result<Self> {
        // An IPv4 socket bound to the group hears nothing but the group. Bound to a link-local group of IPv6 a socket would hear one
        // interface, so it is bound to all addresses, and what was sent to another than the group is left out later.
        let (domain, address): (_, IpAddr) = match group {
            IpAddr::V4(_) => (Domain::IPV4, group),
            IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        // Both, as the Python packages have it: all nodes of a machine hear, whoever runs them.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Only what this socket has joined, not what any program of the machine has.
        match group {
            IpAddr::V4(_) => socket.set_multicast_all_v4(false)?,
            IpAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.set_multicast_all_v6(false)?;
            }
        }
        socket.bind(&SocketAddr::new(address, port).into())?;
        let socket = BatchSocket::new(socket)?;
        Ok(Self { socket, group, joined: BTreeMap::new(), failed: BTreeSet::new() })
    }

    /// Brings the memberships in line with the interfaces that are to be used.
    pub(super) fn follow<'a>(
        &mut self,
        interfaces: impl Iterator<Item = &'a Interface>,
        changes: &mut Vec<Change>,
    ) {
        let family = self.family();
        let here: BTreeMap<u32, Membership> = interfaces
            .filter(|interface| family.is_used_on(interface))
            .map(|interface| (interface.index, Membership::new(interface, family)))
            .collect();
        self.failed.retain(|index| here.contains_key(index));
        let gone: Vec<u32> = self.joined.keys().filter(|index| !here.contains_key(index)).copied().collect();
        for index in gone {
            // An interface that no longer exists counts against the number of memberships a socket can have until it is left.
            let _ = self.leave(index);
            changes.extend(self.joined.remove(&index).map(Change::Left));
        }
        for (index, membership) in here {
            // Joined again each time: the kernel knows whether we still are a member, also of an interface that came anew under an old index.
            match self.join(index) {
                Ok(()) => {
                    self.failed.remove(&index);
                    self.joined.insert(index, membership.clone());
                    changes.push(Change::Joined(membership));
                }
                Err(error) if error.raw_os_error() == Some(Errno::EADDRINUSE as i32) => {}
                Err(error) => {
                    self.joined.remove(&index);
                    if self.failed.insert(index) {
                        changes.push(Change::Failed(membership, error));
                    }
                }
            }
        }
    }

    pub(super) fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut ReceiveBuffers,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_readable(context))?;
            if self.socket.try_recv(buffers)? > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn family(&self) -> Family {
        if self.group.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn join(&self, index: u32) -> io::Result<()> {
        let descriptor = self.socket.descriptor();
        let socket = SockRef::from(&descriptor);
        match self.group {
            IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)),
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
        }
    }

    fn leave(&self, index: u32) -> io::Result<()> {
        let descriptor = self.socket.descriptor();
        let socket = SockRef::from(&descriptor);
        match self.group {
            IpAddr::V4(group) => socket.leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)),
            IpAddr::V6(group) => socket.leave_multicast_v6(&group, index),
        }
    }
}
