//! Two devices in the mesh, on machines of their own behind routers of all kinds (SECURITY T7).
//!
//! | file | holds |
//! |---|---|
//! | `mesh_lab/topologies.rs` | every kind of router in every layout: over the relay always, direct where theory lets them |
//! | `mesh_lab/moving.rs` | addresses, routers, interfaces and nodes that change in the middle of a transfer |
//! | `mesh_lab/relay.rs` | what the relay sees |
//! | `mesh_lab/programs.rs` | names by DNS, and an ordinary user without a TUN device |
//! | `mesh_lab/mqtt.rs` | a broker and its clients, by name |
//! | `mesh_lab/narrow.rs` | a link that carries 1280 bytes |
//! | `mesh_lab/revoked.rs` | a device whose key is revoked |
//!
//! Needs root, `ip` and `nft`, and one of them `mosquitto` with its clients. Without them the tests say so in one line and pass, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

#![allow(clippy::print_stdout, reason = "what was measured, and what was skipped")]

#[path = "mesh_lab/moving.rs"]
mod moving;
#[path = "mesh_lab/mqtt.rs"]
mod mqtt;
#[path = "mesh_lab/narrow.rs"]
mod narrow;
#[path = "mesh_lab/programs.rs"]
mod programs;
#[path = "mesh_lab/relay.rs"]
mod relay;
#[path = "mesh_lab/revoked.rs"]
mod revoked;
#[path = "mesh_lab/topologies.rs"]
mod topologies;

use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tibet_cli::overlay::lab::{Echo, Lab, Layout, Nat, Pair, Server, Topology};

/// Two homes with the very same addresses behind carriers of their own.
const HOMES: Topology = Topology::new(Layout::Separate, [Nat::Cone; 2], Nat::Cone).same_address();
/// Likewise; the devices never find each other.
const HOMES_APART: Topology = Topology::new(Layout::Separate, [Nat::Symmetric; 2], Nat::Cone).same_address();
/// Longer than a path takes to be there.
const SOON: Duration = Duration::from_secs(15);

/// One test at a time measures: they share the machine.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lab_with(program: &Path, topology: Topology) -> Option<Lab> {
    match Lab::new(program, topology, &Arc::default()) {
        Ok(lab) => Some(lab),
        Err(reason) => {
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "no lab: {reason}");
            println!("SKIPPED: the mesh behind NATs: {reason}");
            None
        }
    }
}

fn lab(topology: Topology) -> Option<Lab> {
    lab_with(Path::new(env!("CARGO_BIN_EXE_tibet-overlay")), topology)
}

/// A pair with TUN devices that is ready, a server on `b`, and an echo from `a`.
struct Ready {
    echo: Echo,
    server: Server,
    pair: Pair,
    addresses: [Ipv6Addr; 2],
}

fn ready(topology: Topology) -> Option<Ready> {
    let pair = Pair::start(lab(topology)?, Pair::TUN).expect("started");
    let addresses = pair.ready().expect("ready");
    let server = Server::start(&pair.lab, "b", addresses[1]).expect("a server");
    let echo = Echo::start(&pair.lab, "a", addresses[1]).expect("an echo");
    Some(Ready { echo, server, pair, addresses })
}

impl Ready {
    /// Speaks until both see the same kind of path.
    fn until_path(&mut self, direct: bool) {
        let echo = &mut self.echo;
        let begun = std::time::Instant::now();
        loop {
            let _ = echo.once(Duration::from_millis(100));
            let peers = [0, 1].map(|at| self.pair.peer(at));
            if peers
                .iter()
                .all(|peer| peer.as_ref().is_some_and(|peer| peer.path.is_some() && peer.direct == direct))
            {
                return;
            }
            assert!(begun.elapsed() < SOON, "direct {direct}: {peers:?}\n{}", self.pair.said());
        }
    }
}
