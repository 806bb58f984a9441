//! Two devices with a tunnel between them, each on a thread of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jis::Name;
use tempfile::TempDir;
use tibet_cli::overlay::lab::{Daemon as Program, Lab, Layout, NODE, Namespace, Nat, Topology};
use tibet_overlay::daemon::{Daemon, DaemonConfig, DaemonStatus, ForwardTo, MeshConfig};
use tibet_overlay::{NodeAddress, Socket, StateDir, system};
use tibet_ping::Ask;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::Outcome;
use crate::bench::wire::ping::runtime;
use crate::bench::wire::{Load, Measured, Stopwatch, time_of_thread};

const NAMES: [&str; 2] = ["jis:home:hub", "jis:office:laptop"];
/// The machine that both are on: what goes from one to the other stays on its loopback interface, under an address that may stand in a record.
const MACHINE: &str = "a";
const INTENT: &str = "temperature.read";
const PURPOSE: &str = "Check room temperature";
/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(30);
/// A port that nobody listens at: whoever connects to it has a tunnel made all the same.
const PORT: u16 = 9;

pub(super) struct Devices {
    answering: End,
    asking: End,
    _node: Program,
    _lab: Lab,
}

impl Devices {
    /// Two devices that have a direct path.
    pub(super) fn start(program: &Path) -> Outcome<Self> {
        let failed = |error: tibet_cli::overlay::lab::LabError| error.to_string();
        let topology = Topology::new(Layout::Public, [Nat::None; 2], Nat::None);
        let lab = Lab::new(program, topology, &Arc::default()).map_err(failed)?;
        let mut serve = lab.command("node", "node");
        serve.args(["serve", "--bind", NODE, "--http", "none"]);
        let node = Program::start(&mut serve, lab.state("node.log")).map_err(failed)?;
        lab.wait("the node", LONG, || node.said().contains("relay").then_some(())).map_err(failed)?;
        let end = |at| End::start(lab.namespace(MACHINE).map_err(failed)?, at);
        let (answering, asking) = (end(0)?, end(1)?);
        asking.call(Command::Reach)?;
        Ok(Self { answering, asking, _node: node, _lab: lab })
    }

    /// Pings so often. What was measured, with the processor time of the end that answers, and that of the other.
    pub(super) fn ask(&self, load: Load) -> Outcome<(Measured, Duration)> {
        let before = self.answering.call(Command::Time)?;
        let (measured, asking) = self.asking.call(|reply| Command::Ask(load, reply))?;
        let answering = self.answering.call(Command::Time)?.saturating_sub(before);
        Ok((measured.answered_in(answering), asking))
    }
}

/// A device on its thread, which ends when this is dropped.
struct End {
    commands: Option<UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

type Reply<T> = mpsc::Sender<Outcome<T>>;

/// What an end is to do.
enum Command {
    /// Make a tunnel to the other, and say when it has a direct path.
    Reach(Reply<()>),
    /// Ping the other.
    Ask(Load, Reply<(Measured, Duration)>),
    /// Tell the processor time of its thread.
    Time(Reply<Duration>),
}

impl End {
    /// Waits until the device has registered, and has a relay.
    fn start(namespace: Namespace, at: usize) -> Outcome<Self> {
        let (commands, given) = unbounded_channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let lived = (|| {
                namespace.enter()?;
                runtime()?.block_on(live(at, given, &tell))
            })();
            let _ = tell.send(lived);
        });
        told.recv()??;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Outcome<T> {
        let (reply, replied) = mpsc::channel();
        let sent = self.commands.as_ref().map(|commands| commands.send(command(reply)));
        sent.and_then(Result::ok).ok_or("a device has ended")?;
        replied.recv().map_err(|_| "a device has ended")?
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn live(at: usize, mut commands: UnboundedReceiver<Command>, tell: &Reply<()>) -> Outcome<()> {
    let directory = TempDir::new()?;
    let state = StateDir::new(directory.path());
    let (own, other): (Name, Name) = (NAMES[at].parse()?, NAMES[1 - at].parse()?);
    state.identity(&own, None).create(own.clone(), system::now())?;
    let forward =
        ForwardTo { listen: SocketAddr::from(([127, 0, 0, 1], 0)), name: other.clone(), port: PORT };
    let mesh = MeshConfig { forwards: vec![forward], port_mapping: false, ..MeshConfig::default() };
    let config = DaemonConfig {
        nodes: vec![NodeAddress::at(NODE.parse()?)],
        bind: SocketAddr::from(([0, 0, 0, 0], 0)),
        discovery: None,
        trust: vec![(other.clone(), 0.95)],
        mesh: Some(mesh),
        ..DaemonConfig::default()
    };
    let device = state.identity(&own, None).open()?;
    let daemon = Daemon::start(device, &state, config).await?;
    let proven = |status: &DaemonStatus| {
        let relays = status.mesh.iter().flat_map(|mesh| &mesh.relays);
        relays.into_iter().any(|relay| relay.health == "proven")
    };
    let status = timeout(LONG, daemon.wait_until(proven)).await.map_err(|_| "a device has no relay")?;
    tell.send(Ok(()))?;
    while let Some(command) = commands.recv().await {
        match command {
            Command::Reach(reply) => reply.send(reach(&daemon, &status, &other).await)?,
            Command::Ask(load, reply) => reply.send(ask(daemon.remote().socket(), &other, load).await)?,
            Command::Time(reply) => reply.send(Ok(time_of_thread()))?,
        }
    }
    daemon.stop().await;
    Ok(())
}

async fn reach(daemon: &Daemon, status: &DaemonStatus, other: &Name) -> Outcome<()> {
    let forward = status.mesh.iter().flat_map(|mesh| &mesh.forwards).next().ok_or("no forward")?;
    let listener: SocketAddr = forward.listen.parse()?;
    let direct = |status: &DaemonStatus| {
        let peers = status.mesh.iter().flat_map(|mesh| &mesh.peers);
        peers.into_iter().any(|peer| peer.name == other.as_str() && peer.direct)
    };
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        let _connection = TcpStream::connect(listener).await?;
        if timeout(Duration::from_secs(2), daemon.wait_until(direct)).await.is_ok() {
            return Ok(());
        }
    }
    Err("the devices have found no direct path".into())
}

/// Pings through the tunnel and in no other way.
async fn ask(socket: &Socket, other: &Name, load: Load) -> Outcome<(Measured, Duration)> {
    let latencies = Arc::new(Mutex::new(Vec::with_capacity(load.pings)));
    let each = load.pings / load.outstanding;
    let (watch, before) = (Stopwatch::start(), time_of_thread());
    let askers: Vec<_> = (0..load.outstanding)
        .map(|_| {
            let (socket, other, latencies) = (socket.clone(), other.clone(), Arc::clone(&latencies));
            tokio::spawn(async move {
                for _ in 0..each {
                    let ask = Ask { purpose: PURPOSE.into(), ..Ask::new(other.clone(), None, INTENT) };
                    let begun = Instant::now();
                    socket.ping_sealed(ask).await?.ok_or("an answer was lost")?;
                    let lasted = begun.elapsed();
                    latencies.lock().map_err(|_| "another panicked")?.push(lasted);
                }
                Outcome::Ok(())
            })
        })
        .collect();
    for asker in askers {
        asker.await??;
    }
    let spent = time_of_thread() - before;
    let latencies = std::mem::take(&mut *latencies.lock().map_err(|_| "a client panicked")?);
    Ok((watch.stop(latencies), spent))
}
