//! Names of the mesh for programs that know only DNS: `jis:home:hub` is `hub.home.tibet.internal`.
//!
//! A small server on a loopback address that answers for this one zone and refuses everything else, so that a resolver goes on to its next server.
//! It never asks anybody and never touches the resolver of the system, unless told to. `docs/spec/names-in-dns.md` is its specification.
//!
//! | part | does |
//! |---|---|
//! | `name` | a name ↔ the name of it in DNS |
//! | `message` | a query's bytes → what it asks; what was found → the answer's bytes |
//! | `server` | the sockets, and how much is done at once |
//! | `system` | tells systemd-resolved of the server, if asked to |

mod message;
mod name;
mod server;
mod system;

pub use message::{DnsFound, DnsQuery, DnsRead, DnsWanted};
pub use name::{dns_name, name_from_dns};
pub use server::{DnsError, DnsServer};
pub use system::{SystemDns, SystemDnsError};
