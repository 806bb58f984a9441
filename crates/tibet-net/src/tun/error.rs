//! What stands in the way of a TUN device.

use std::io;

use super::MIN_MTU;

/// Why there is no interface. Each says what can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunError {
    /// The kernel knows no such names.
    #[error("{0:?} is no name for an interface: use 1 to 15 letters, digits or '-'")]
    Name(String),
    /// Too small for IPv6.
    #[error("an MTU of {0} is too small: IPv6 needs {MIN_MTU}")]
    Mtu(u16),
    /// More bits than an address has.
    #[error("a prefix has at most 128 bits, not {0}")]
    Prefix(u8),
    /// Another interface has the name.
    #[error(
        "there is an interface {0} already: stop what uses it (`ip link show {0}`), or choose another name"
    )]
    Taken(String),
    /// Neither root nor `CAP_NET_ADMIN`.
    #[error(
        "not allowed to make the interface {0}: run as root or with CAP_NET_ADMIN, or use `forward` and `expose`, which need neither"
    )]
    NotAllowed(String),
    /// The kernel has no TUN driver, or the container does not see it.
    #[error(
        "no /dev/net/tun here: `modprobe tun` loads the driver, `--device /dev/net/tun` gives it to a container; `forward` and `expose` do without"
    )]
    NoDriver,
    /// IPv6 is switched off on this machine.
    #[error(
        "IPv6 is switched off here, and the mesh has no other addresses: `sysctl net.ipv6.conf.default.disable_ipv6=0` switches it on"
    )]
    NoIpv6,
    /// Anything else.
    #[error("{doing}: {source}")]
    Os {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
