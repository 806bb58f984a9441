//! How programs on this machine reach the mesh.
//!
//! Every way in takes and gives whole IPv6 packets; what carries them between machines is no matter of this crate.

mod dns;
pub use dns::{
    DnsError, DnsFound, DnsQuery, DnsRead, DnsServer, DnsWanted, SystemDns, SystemDnsError, dns_name,
    name_from_dns,
};
mod proxy;
pub use proxy::{
    Expose, Forward, ForwardError, MAX_PROXIED, MAX_PROXIED_PER_PEER, ProxyCounts, REACH_TIMEOUT,
};
mod stack;
pub use stack::{
    BACKLOG, CONNECT_TIMEOUT, LARGE_BUFFER, LARGE_CONNECTIONS, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER,
    MAX_HALF_OPEN, MAX_HALF_OPEN_PER_PEER, QUEUE, SMALL_BUFFER, Stack, StackConfig, StackCounts,
    StackListener, StackPackets, StackStream,
};
mod tun;
#[doc(hidden)]
pub use tun::halves;
pub use tun::{MIN_MTU, SPARE, TunConfig, TunCounts, TunDevice, TunError, TunReader, TunWriter};
