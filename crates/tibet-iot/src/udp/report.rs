//! What became of a batch.

use std::io;
use std::ops::AddAssign;

use nix::errno::Errno;

/// How many datagrams of a batch were handed to the network, and why others were not.
///
/// Sent does not mean received: UDP promises nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SendReport {
    /// Handed to the network.
    pub sent: usize,
    /// No way there: EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, ENONET.
    pub unreachable: usize,
    /// Longer than a datagram can be, or than the link takes: EMSGSIZE.
    pub too_long: usize,
    /// Something there refused an earlier one: ECONNREFUSED, ECONNRESET.
    pub refused: usize,
    /// A firewall of this machine, or a broadcast: EPERM, EACCES.
    pub forbidden: usize,
    /// Port 0, or an address this socket cannot send to: EINVAL, EAFNOSUPPORT, EADDRNOTAVAIL.
    pub bad_destination: usize,
    /// No room in the socket for as long as was waited, or in the kernel: EAGAIN, ENOBUFS, ENOMEM.
    pub no_room: usize,
    /// Anything else.
    pub other: usize,
}

impl SendReport {
    /// How many were not sent.
    #[must_use]
    pub fn failed(&self) -> usize {
        let Self { sent: _, unreachable, too_long, refused, forbidden, bad_destination, no_room, other } =
            *self;
        unreachable + too_long + refused + forbidden + bad_destination + no_room + other
    }

    pub(super) fn count_failure(&mut self, error: &io::Error) {
        let count = match error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw) {
            Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN | Errno::ENONET => {
                &mut self.unreachable
            }
            Errno::EMSGSIZE => &mut self.too_long,
            Errno::ECONNREFUSED | Errno::ECONNRESET => &mut self.refused,
            Errno::EPERM | Errno::EACCES => &mut self.forbidden,
            Errno::EINVAL | Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL => &mut self.bad_destination,
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM => &mut self.no_room,
            _ => &mut self.other,
        };
        *count += 1;
    }
}

impl AddAssign for SendReport {
    fn add_assign(&mut self, more: Self) {
        self.sent += more.sent;
        self.unreachable += more.unreachable;
        self.too_long += more.too_long;
        self.refused += more.refused;
        self.forbidden += more.forbidden;
        self.bad_destination += more.bad_destination;
        self.no_room += more.no_room;
        self.other += more.other;
    }
}
