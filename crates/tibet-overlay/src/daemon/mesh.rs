//! The device in the mesh: tunnels to peers on the device's own socket, for any program of this machine.
//!
//! | file | holds |
//! |---|---|
//! | `mesh/engine.rs` | the pure machine (`tibet-mesh`) on the socket, and what programs send and get |
//! | `mesh/peers.rs` | who is a peer, and who is none any more |
//! | `mesh/book.rs` | those who are, by identity and by name |
//! | `mesh/address_names.rs` | whose overlay address is whose |
//! | `mesh/turns.rs` | whose record is looked up next |
//! | `mesh/consent.rs` | consents to direct paths |
//! | `mesh/elsewhere.rs` | a node's word that it sees us elsewhere |
//! | `mesh/relays.rs` | sessions with the nodes that relay |
//! | `mesh/port_mapping.rs` | a port of the router that leads here |
//! | `mesh/programs.rs` | a TUN device, or TCP without one |
//! | `mesh/sealed.rs` | pings in tunnels |
//! | `mesh/names.rs` | names for programs, by DNS |
//! | `mesh/commands.rs` | what commands ask of it |
//! | `mesh/report.rs` | how it is doing |
//! | `mesh/journal.rs` | tokens |

mod address_names;
mod book;
mod commands;
mod consent;
mod elsewhere;
mod engine;
mod journal;
mod names;
mod peers;
mod port_mapping;
mod programs;
mod relays;
mod report;
mod sealed;
mod turns;
pub use port_mapping::PortMappingReport;
pub use report::{ForwardStatus, MeshStatus, PeerReport, RelayReport};

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use jis::{Endpoint, Name, TransportSecret};
use tibet_core::StoreError;
use tibet_mesh::{Mesh, MeshEvent};
use tibet_net::{DnsError, ForwardError, TunConfig, TunError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::shared::Core;
use crate::device::DeviceError;
use crate::state_dir::StateDir;
use book::Book;
use consent::Answered;
use elsewhere::Elsewhere;
use engine::{Engine, Happened};
use journal::Journal;
use port_mapping::PortMapping;
use programs::Programs;
use relays::RelayLink;

/// Bytes of a packet in a tunnel, unless set otherwise: what every link that carries IPv6 takes (RFC 8200 §5).
pub const MESH_MTU: u16 = 1280;
/// Questions to peers for consents that are under way at once.
const SEEKING: usize = 64;

/// How a device takes part in the mesh.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// The network that overlay addresses are derived for.
    pub network: String,
    /// The TUN device's name; `None` for TCP without one.
    pub tun: Option<String>,
    /// Bytes of a packet in a tunnel, 1280 or more.
    pub mtu: u16,
    /// Listeners of this machine whose connections go to a port of a peer.
    pub forwards: Vec<ForwardTo>,
    /// Ports of the device's overlay address whose connections go to a program of this machine. With a TUN device programs listen there themselves.
    pub exposes: Vec<ExposeAt>,
    /// Where names are answered by DNS; `None` not to.
    pub dns: Option<SocketAddr>,
    /// Whether the router is asked to let peers in.
    pub port_mapping: bool,
}

impl Default for MeshConfig {
    /// The network `tibet`, TCP without a TUN device, no listeners, no DNS; the router is asked.
    fn default() -> Self {
        Self {
            network: "tibet".to_owned(),
            tun: None,
            mtu: MESH_MTU,
            forwards: Vec::new(),
            exposes: Vec::new(),
            dns: None,
            port_mapping: true,
        }
    }
}

/// A listener whose connections go to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardTo {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whom its connections go to…
    pub name: Name,
    /// … and to which port.
    pub port: u16,
}

/// A port whose connections go to a program of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExposeAt {
    /// The port of the overlay address.
    pub port: u16,
    /// Where the program listens.
    pub local: SocketAddr,
}

/// Why a device does not take part in the mesh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The TUN device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// Names by DNS.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The device's keys.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The log of the mesh.
    #[error("the log of the mesh: {0}")]
    Journal(#[from] StoreError),
    /// A listener of this machine.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A port of the overlay address.
    #[error("[{address}]:{port}: {source}")]
    Expose {
        /// The overlay address.
        address: Ipv6Addr,
        /// The port.
        port: u16,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// With a TUN device nothing is exposed by us.
    #[error("with a TUN device programs listen on {address} themselves; nothing is to be exposed")]
    ExposeWithTun {
        /// The device's overlay address.
        address: Ipv6Addr,
    },
}

/// A device in the mesh.
#[derive(Debug)]
pub(super) struct MeshNode {
    network: String,
    address: Ipv6Addr,
    secret: TransportSecret,
    engine: Arc<Engine>,
    book: Mutex<Book>,
    answered: Mutex<Answered>,
    elsewhere: Mutex<Elsewhere>,
    relays: Mutex<Vec<RelayLink>>,
    programs: Programs,
    port_mapping: PortMapping,
    journal: Journal,
    /// Counts how often a peer has got another path.
    paths: watch::Sender<u64>,
    dns: Option<SocketAddr>,
}

impl MeshNode {
    /// Takes part, as `device`. Its tasks are added to `tasks`, and go on until those are aborted; when `stop` says so they have the router forget them.
    pub(super) async fn start(
        core: &Arc<Core>,
        secret: TransportSecret,
        state: &StateDir,
        config: &MeshConfig,
        stop: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<Self>, MeshError> {
        let identity = core.device.identity();
        let machine = Mesh::new(&config.network, &identity.fingerprint, &secret, config.mtu);
        let address = machine.address();
        if config.tun.is_some() && !config.exposes.is_empty() {
            return Err(MeshError::ExposeWithTun { address });
        }
        let log_key = state.node_log_key(&identity.name)?;
        let journal = Journal::open(&state.node(&identity.name).join("mesh.jsonl"), &identity.name, log_key)?;
        let wire = core.remote.socket().wire().clone();
        let (engine, happened) = Engine::new(machine, wire.clone(), core.links.len());
        let tun =
            config.tun.as_ref().map(|name| TunConfig { mtu: config.mtu, ..TunConfig::new(name, address) });
        let programs = Programs::start(core, &engine, tun, address, config.mtu, tasks).await?;
        let relays = (0..core.links.len()).map(|_| RelayLink::default()).collect();
        let mesh = Arc::new(Self {
            network: config.network.clone(),
            address,
            secret,
            engine: Arc::clone(&engine),
            book: Mutex::default(),
            answered: Mutex::default(),
            elsewhere: Mutex::default(),
            relays: Mutex::new(relays),
            programs,
            port_mapping: PortMapping::new(config.port_mapping),
            journal,
            paths: watch::channel(0).0,
            dns: names::start(core, config.dns, tasks).await?,
        });
        core.set_mesh(&mesh);
        wire.set_mesh(Arc::clone(&engine) as _);
        core.join_pings(&mesh).await;
        tasks.spawn(engine.run());
        tasks.spawn(run(Arc::clone(core), Arc::clone(&mesh), happened));
        tasks.spawn(peers::watch_trust(Arc::clone(core), Arc::clone(&mesh)));
        tasks.spawn(peers::watch_records(Arc::clone(core), Arc::clone(&mesh)));
        for index in 0..core.links.len() {
            tasks.spawn(relays::run(Arc::clone(core), Arc::clone(&mesh), index));
        }
        if config.port_mapping {
            tasks.spawn(port_mapping::run(Arc::clone(core), Arc::clone(&mesh), stop.clone()));
            tasks.spawn(port_mapping::publish(Arc::clone(core), Arc::clone(&mesh), stop.clone()));
        }
        for forward in &config.forwards {
            mesh.programs.forward(core, &mesh, forward.clone()).await?;
        }
        for expose in &config.exposes {
            mesh.programs.expose(&mesh, *expose)?;
        }
        Ok(mesh)
    }

    /// This machine has another address.
    pub(super) fn moved(&self) {
        self.engine.with(Mesh::handle_moved);
    }

    /// Where the router lets strangers in to us.
    pub(super) fn mapped(&self) -> Option<Endpoint> {
        self.port_mapping.candidate()
    }

    /// Waits, once all is to stop, until the router has been told.
    pub(super) async fn unmapped(&self) {
        self.port_mapping.gone().await;
    }

    /// Changes whenever a peer gets another path.
    pub(super) fn paths(&self) -> watch::Receiver<u64> {
        self.paths.subscribe()
    }
}

/// Sees to what happens, without end.
async fn run(core: Arc<Core>, mesh: Arc<MeshNode>, mut happened: mpsc::Receiver<Happened>) {
    let mut seeking = JoinSet::new();
    while let Some(happened) = happened.recv().await {
        while seeking.try_join_next().is_some() {}
        match happened {
            // What finds no room is asked again by the machine.
            Happened::Mesh(MeshEvent::PathWanted(peer)) if seeking.len() < SEEKING => {
                let (core, mesh) = (Arc::clone(&core), Arc::clone(&mesh));
                seeking.spawn(async move { core.seek_path(&mesh, peer).await });
            }
            Happened::Unknown(address) if seeking.len() < SEEKING => {
                let (core, mesh) = (Arc::clone(&core), Arc::clone(&mesh));
                seeking.spawn(async move { core.reach(&mesh, address).await });
            }
            Happened::Mesh(event) => mesh.heard(&event),
            Happened::Unknown(_) => {}
        }
    }
}
