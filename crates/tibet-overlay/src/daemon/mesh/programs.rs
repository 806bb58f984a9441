//! The programs of this machine: they use a TUN device, or, without root, listeners and ports of a TCP stack of our own.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tibet_net::{Expose, Forward, Stack, StackConfig, TunConfig, TunDevice};
use tibet_registry::Zone;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::engine::Engine;
use super::{ExposeAt, ForwardTo, MeshError, MeshNode};
use crate::daemon::DaemonEnd;
use crate::daemon::shared::Core;

/// What programs use.
#[derive(Debug)]
pub(super) struct Programs {
    way: Way,
    forwards: Mutex<Vec<(ForwardTo, Forward)>>,
    exposes: Mutex<Vec<(ExposeAt, Expose)>>,
}

#[derive(Debug, Clone)]
enum Way {
    Tun(String),
    Stack(Stack),
}

/// A connection to a peer.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Programs {
    /// Joins the programs of this machine with the engine.
    pub(super) async fn start(
        core: &Arc<Core>,
        engine: &Arc<Engine>,
        tun: Option<TunConfig>,
        address: Ipv6Addr,
        mtu: u16,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, MeshError> {
        let way = match tun {
            Some(config) => {
                let (mut reader, writer) = TunDevice::open(&config).await?;
                let writer = Mutex::new(writer);
                engine.set_sink(Box::new(move |packets| {
                    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                    // Only of an interface that is gone, and that is said once, by whoever reads from it.
                    let _ = writer.write(packets);
                }));
                let (core, engine, interface) = (Arc::clone(core), Arc::clone(engine), config.name.clone());
                tasks.spawn(async move {
                    let mut batch = Vec::new();
                    let error = loop {
                        match reader.read(&mut batch).await {
                            Ok(()) => engine.send_packets(&mut batch),
                            Err(error) => break error,
                        }
                    };
                    // Whoever started us starts us again, with another interface.
                    core.end(DaemonEnd::Interface { interface, reason: error.to_string() }).await;
                });
                Way::Tun(config.name)
            }
            None => {
                let (stack, mut packets) = Stack::start(StackConfig { address, mtu });
                let into = stack.clone();
                engine.set_sink(Box::new(move |packets| {
                    packets.drain(..).for_each(|packet| into.receive(packet));
                }));
                let engine = Arc::clone(engine);
                tasks.spawn(async move {
                    let mut batch = Vec::new();
                    while packets.recv_many(&mut batch).await > 0 {
                        engine.send_packets(&mut batch);
                    }
                });
                Way::Stack(stack)
            }
        };
        Ok(Self { way, forwards: Mutex::default(), exposes: Mutex::default() })
    }

    /// The TUN device's name, if there is one.
    pub(super) fn interface(&self) -> Option<&str> {
        match &self.way {
            Way::Tun(name) => Some(name),
            Way::Stack(_) => None,
        }
    }

    /// Has the connections to a listener of this machine go to a peer. Where it listens.
    pub(super) async fn forward(
        &self,
        core: &Arc<Core>,
        mesh: &Arc<MeshNode>,
        to: ForwardTo,
    ) -> Result<SocketAddr, MeshError> {
        let (core, mesh, way) = (Arc::downgrade(core), Arc::downgrade(mesh), self.way.clone());
        let (name, port) = (to.name.clone(), to.port);
        let dial = move || {
            let (core, mesh, way, name) = (core.clone(), mesh.clone(), way.clone(), name.clone());
            async move { connect(&core, &mesh, &way, &name, port).await }
        };
        let forward = Forward::start(to.listen, dial).await?;
        let listens = forward.local_addr();
        self.forwards().push((to, forward));
        Ok(listens)
    }

    /// Has the connections to a port of the overlay address go to a program of this machine.
    pub(super) fn expose(&self, mesh: &Arc<MeshNode>, expose: ExposeAt) -> Result<(), MeshError> {
        let Way::Stack(stack) = &self.way else {
            return Err(MeshError::ExposeWithTun { address: mesh.address });
        };
        let failed = |source| MeshError::Expose { address: mesh.address, port: expose.port, source };
        let listener = stack.listen(expose.port).map_err(failed)?;
        let node = Arc::downgrade(mesh);
        let allow = move |from: Ipv6Addr| node.upgrade().is_some_and(|mesh| mesh.lets_in(from));
        self.exposes().push((expose, Expose::start(listener, expose.local, allow)));
        Ok(())
    }

    /// What listens at this address, and where its connections go.
    pub(super) fn forwarded(&self, listen: SocketAddr) -> Option<(SocketAddr, ForwardTo)> {
        let forwards = self.forwards();
        let found = forwards.iter().find(|(_, forward)| forward.local_addr() == listen);
        found.map(|(to, forward)| (forward.local_addr(), to.clone()))
    }

    /// Where the connections to a port of the overlay address go.
    pub(super) fn exposed(&self, port: u16) -> Option<ExposeAt> {
        self.exposes().iter().map(|(at, _)| *at).find(|at| at.port == port)
    }

    /// Ends a forward and its connections; what it was, if there was one.
    pub(super) fn end_forward(&self, listen: SocketAddr) -> Option<(SocketAddr, ForwardTo)> {
        let mut forwards = self.forwards();
        let index = forwards.iter().position(|(_, forward)| forward.local_addr() == listen)?;
        let (to, forward) = forwards.remove(index);
        Some((forward.local_addr(), to))
    }

    /// Ends what was exposed at a port, and its connections; what it was, if there was anything.
    pub(super) fn end_expose(&self, port: u16) -> Option<ExposeAt> {
        let mut exposes = self.exposes();
        let index = exposes.iter().position(|(at, _)| at.port == port)?;
        Some(exposes.remove(index).0)
    }

    pub(super) fn forwards(&self) -> MutexGuard<'_, Vec<(ForwardTo, Forward)>> {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn exposes(&self) -> MutexGuard<'_, Vec<(ExposeAt, Expose)>> {
        self.exposes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MeshNode {
    /// Whether programs here may be reached from this address: whoever is in GEEL is not let in, as with pings.
    fn lets_in(&self, from: Ipv6Addr) -> bool {
        let Some(name) = self.name_at(from) else { return false };
        self.peer(&name).is_some_and(|peer| peer.address == from && peer.zone == Zone::Groen)
    }
}

async fn connect(
    core: &Weak<Core>,
    mesh: &Weak<MeshNode>,
    way: &Way,
    name: &jis::Name,
    port: u16,
) -> io::Result<Box<dyn Connection>> {
    let (Some(core), Some(mesh)) = (core.upgrade(), mesh.upgrade()) else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    let peer = core.admit(&mesh, name, true).await.map_err(io::Error::other)?;
    drop((core, mesh));
    Ok(match way {
        Way::Tun(_) => Box::new(TcpStream::connect((peer.address, port)).await?),
        Way::Stack(stack) => Box::new(stack.connect(peer.address, port).await?),
    })
}
