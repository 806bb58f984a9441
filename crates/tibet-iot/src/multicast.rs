//! Announcing and hearing announcements on every interface.

mod announce;
mod listener;
pub use announce::Announced;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;

use self::listener::Listener;
use crate::interfaces::{Interface, Interfaces};
use crate::udp::ReceiveBuffers;

/// The UDP port of announcements.
pub const PORT: u16 = 7151;
/// The IPv4 group, as the Python packages have it.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 71, 50);
/// The IPv6 group.
///
/// `ff12::/16`: of link-local scope, so that no router passes it on, and not permanently assigned (flag T, RFC 4291 section 2.7), since IANA has
/// assigned us none. The group id is that of [`GROUP_V4`] as a number, which lies in the range for ids that nobody assigns, 0x80000000 and
/// up (RFC 3307 section 4.3).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0xe000, 0x4732);

/// Where announcements go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// The UDP port. [`PORT`] unless set otherwise.
    pub port: u16,
    /// The IPv4 group. [`GROUP_V4`] unless set otherwise.
    pub group_v4: Ipv4Addr,
    /// The IPv6 group, of link-local scope. [`GROUP_V6`] unless set otherwise.
    pub group_v6: Ipv6Addr,
    /// The names of the interfaces to use. `None` unless set otherwise: all of them.
    pub only: Option<Vec<String>>,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self { port: PORT, group_v4: GROUP_V4, group_v6: GROUP_V6, only: None }
    }
}

impl DiscoveryConfig {
    fn uses(&self, interface: &Interface) -> bool {
        // The loopback interface does not claim to do multicast, but does.
        let able = interface.multicast || interface.loopback;
        able && self.only.as_ref().is_none_or(|names| names.contains(&interface.name))
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A group on an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The interface's index.
    pub index: u32,
    /// The interface's name.
    pub name: String,
    /// Which of the two groups.
    pub family: Family,
}

/// What [`Discovery::refresh`] has found changed.
#[derive(Debug)]
pub enum Change {
    /// Announcements are heard here from now on.
    Joined(Membership),
    /// The interface is down or gone, or has no address of this family any more.
    Left(Membership),
    /// The group cannot be joined here. Said once; every refresh tries again.
    Failed(Membership, io::Error),
}

/// A datagram sent to one of the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard<'a> {
    /// Its source. Not to be believed: anybody on the link can write what he likes.
    pub from: SocketAddr,
    /// The index of the interface it came through.
    pub interface: u32,
    /// Whether the source is a neighbour on that interface, or this machine. Nobody else may be answered (SECURITY R17).
    pub on_link: bool,
    /// What it says.
    pub bytes: &'a [u8],
}

/// Announcements: heard on all interfaces that are up, and sent out of each.
///
/// Several nodes on one machine can have one each: all hear everything, their own announcements too. Call [`refresh`](Self::refresh) every five
/// seconds and before each announcement, since interfaces come and go.
#[derive(Debug)]
pub struct Discovery {
    config: DiscoveryConfig,
    v4: Option<Listener>,
    v6: Option<Listener>,
    interfaces: Interfaces,
    v6_first: bool,
}

impl Discovery {
    /// Opens the sockets and joins the groups wherever possible; what happened where is in the changes. Must be called within a tokio runtime.
    ///
    /// A machine without IPv6 (or without IPv4) has the other.
    ///
    /// # Errors
    /// Neither family's socket can be opened, or the list of interfaces cannot be read.
    pub fn open(config: DiscoveryConfig) -> io::Result<(Self, Vec<Change>)> {
        let v4 = Listener::open(config.group_v4.into(), config.port);
        let v6 = Listener::open(config.group_v6.into(), config.port);
        let (v4, v6) = match (v4, v6) {
            (Err(error), Err(_)) => {
                let port = config.port;
                return Err(io::Error::new(error.kind(), format!("discovery on UDP port {port}: {error}")));
            }
            (v4, v6) => (v4.ok(), v6.ok()),
        };
        let mut discovery = Self { config, v4, v6, interfaces: Interfaces::default(), v6_first: false };
        let changes = discovery.refresh()?;
        Ok((discovery, changes))
    }

    /// Reads the list of interfaces anew, joins the groups on those that have come and leaves them on those that have gone. Empty if
    /// everything is as it was.
    ///
    /// # Errors
    /// The list cannot be read; then nothing has changed.
    pub fn refresh(&mut self) -> io::Result<Vec<Change>> {
        self.interfaces = Interfaces::read()?;
        let mut changes = Vec::new();
        for listener in self.v4.iter_mut().chain(&mut self.v6) {
            let usable = self.interfaces.iter().filter(|one| self.config.uses(one));
            listener.follow(usable, &mut changes);
        }
        Ok(changes)
    }

    /// The interfaces as of the last refresh.
    #[must_use]
    pub fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Waits for announcements; see [`heard`](Self::heard) for them. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// Only what makes a socket useless.
    pub async fn recv(&mut self, buffers: &mut ReceiveBuffers) -> io::Result<()> {
        // In turns, so that a flood on one does not silence the other.
        self.v6_first = !self.v6_first;
        poll_fn(|context| {
            let listeners = [&self.v4, &self.v6];
            let order = if self.v6_first { [1, 0] } else { [0, 1] };
            for listener in order.into_iter().filter_map(|which| listeners[which].as_ref()) {
                if let Poll::Ready(received) = listener.poll_recv(context, buffers) {
                    return Poll::Ready(received);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The announcements that [`recv`](Self::recv) has received. Datagrams that were not sent to the group are left out.
    pub fn heard<'a>(&self, buffers: &'a ReceiveBuffers) -> impl Iterator<Item = Heard<'a>> {
        let groups = [IpAddr::from(self.config.group_v4), self.config.group_v6.into()];
        buffers.received().filter(move |one| one.to.is_some_and(|to| groups.contains(&to))).filter_map(
            |one| {
                let interface = one.interface?;
                let on_link = self.interfaces.is_on_link(one.from.ip(), interface);
                Some(Heard { from: one.from, interface, on_link, bytes: one.bytes })
            },
        )
    }
}

impl Family {
    /// Whether announcements of this family can pass an interface. Linux has no route for IPv6 multicast on the loopback interface; IPv4 does there.
    fn is_used_on(self, interface: &Interface) -> bool {
        match self {
            Self::V4 => interface.v4().is_some(),
            Self::V6 => interface.has_v6() && !interface.loopback,
        }
    }
}

impl Membership {
    fn new(interface: &Interface, family: Family) -> Self {
        Self { index: interface.index, name: interface.name.clone(), family }
    }
}
