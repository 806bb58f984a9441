//! How programs on this machine reach the mesh.
//!
//! Every way in takes and gives whole IPv6 packets; what carries them between machines is no matter of this crate.

mod dns;
pub use dns::{
    DnsError, DnsFound, DnsQuery, DnsRead, DnsServer, DnsWanted, SystemDns, SystemDnsError, dns_name,
    name_from_dns,
};
mod tun;
pub use tun::{MIN_MTU, SPARE, TunConfig, TunCounts, TunDevice, TunError, TunReader, TunWriter};
