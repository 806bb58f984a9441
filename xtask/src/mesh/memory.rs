//! What a device holds in memory with one peer and with a thousand: `cargo xtask mesh memory`.
//!
//! The devices are `tibet-overlay up`, each in a process of its own and registered at one `serve`. The peers are played by this process, on one socket: each has
//! keys and a record of its own, registers, and makes a tunnel to the device, as whoever begins to speak with it does.

mod players;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jis::{Fingerprint, Name, TransportKey};
use tempfile::TempDir;
use tibet_cli::overlay::lab::Daemon;
use tibet_overlay::StateDir;
use tibet_overlay::daemon::{Control, DaemonStatus, control_socket};
use tokio::runtime::Runtime;

use super::figures::{Series, rounds};
use crate::Outcome;
use crate::bench::wire::ping::runtime;
use crate::load::node::{Node, memory, processor_time};
use players::Players;

/// Rounds are all alike, and long.
const MOST_ROUNDS: u32 = 3;
/// How many peers there are.
const MANY: u32 = 1000;
/// How long the devices are watched, first after the last tunnel was made: whom they spoke with within two minutes, they look up more often…
const WATCHED: Duration = Duration::from_secs(15);
/// … and then again so long after it. Tunnels hold for three minutes.
const SILENT: Duration = Duration::from_secs(130);
/// Far longer than it takes.
const LONG: Duration = Duration::from_secs(80);
/// After how long no round begins any more.
const ALL: Duration = Duration::from_secs(400);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Kind {
    NoMesh,
    One,
    Many,
}

impl Kind {
    const ALL: [Self; 3] = [Self::NoMesh, Self::One, Self::Many];

    const fn name(self) -> &'static str {
        match self {
            Self::NoMesh => "jis:memory-none",
            Self::One => "jis:memory-one",
            Self::Many => "jis:memory-many",
        }
    }

    const fn peers(self) -> u32 {
        match self {
            Self::NoMesh => 0,
            Self::One => 1,
            Self::Many => MANY,
        }
    }
}

#[derive(Default)]
struct Row {
    memory: Series,
    spoken: Series,
    silent: Series,
}

/// What a device takes.
#[derive(Clone, Copy, Default)]
struct Taken {
    /// Bytes resident.
    memory: u64,
    /// Seconds of a processor in a second, soon after its peers have spoken, and long after it.
    spoken: f64,
    silent: f64,
}

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    let runs = runs.min(MOST_ROUNDS);
    let mut rows = Kind::ALL.map(|_| Row::default());
    let mut each = Series::default();
    let runs = rounds(runs, ALL, || {
        let found = round(program)?;
        for (row, taken) in rows.iter_mut().zip(found) {
            row.memory.add(taken.memory as f64);
            row.spoken.add(taken.spoken);
            row.silent.add(taken.silent);
        }
        let [_, one, many] = found;
        each.add((many.memory as f64 - one.memory as f64) / f64::from(MANY - 1));
        Ok(())
    })?;
    println!(
        "{runs} rounds. Nothing travels in the tunnels, but each peer has said one word. Processor time in a second: in the first {} s after the last word, and from {} s after it on. Medians.\n",
        WATCHED.as_secs(),
        SILENT.as_secs()
    );
    println!("| `tibet-overlay up` with | resident | by the first row | soon after | silent |");
    println!("|---|--:|---|--:|--:|");
    for (kind, row) in Kind::ALL.into_iter().zip(&rows) {
        let what = match kind {
            Kind::NoMesh => "no part in the mesh".to_owned(),
            Kind::One => "a live tunnel to 1 peer".to_owned(),
            Kind::Many => format!("live tunnels to {MANY} peers"),
        };
        println!(
            "| {what} | {:.1} MiB | {} | {:.1} ms | {:.1} ms |",
            row.memory.median() / f64::from(1 << 20),
            row.memory.by(&rows[0].memory),
            row.spoken.median() * 1e3,
            row.silent.median() * 1e3,
        );
    }
    println!("\nFor each peer beyond the first: {:.0} bytes.", each.median());
    Ok(())
}

/// What a device of each kind takes.
fn round(program: &Path) -> Outcome<[Taken; 3]> {
    let node = Node::of(program)?;
    let runtime = runtime()?;
    let mut players = Players::register(&runtime, &node, MANY)?;
    let devices = Kind::ALL.map(|kind| Device::start(program, &node, kind, &players));
    let [none, one, many] = devices;
    let devices = [none?, one?, many?];
    for device in &devices {
        device.wait(&runtime, "its peers", |status| {
            let peers = status.mesh.as_ref().map_or(0, |mesh| mesh.peers.len());
            status.seq.is_some() && peers == device.kind.peers() as usize
        })?;
        if device.kind.peers() > 0 {
            let address = device.status(&runtime)?.address.parse()?;
            runtime.block_on(players.make_tunnels(device.kind.peers(), device.identity, address))?;
        }
        device.wait(&runtime, "its tunnels", |status| device.has_tunnels(status))?;
    }
    let told = Instant::now();
    let soon = watch(&devices)?;
    std::thread::sleep(SILENT.saturating_sub(told.elapsed()));
    let late = watch(&devices)?;
    let mut found = [Taken::default(); 3];
    for (at, device) in devices.iter().enumerate() {
        let memory = memory(device.process.id())?;
        found[at] = Taken { memory, spoken: soon[at], silent: late[at] };
        if !device.has_tunnels(&device.status(&runtime)?) {
            return Err(format!("{} has lost tunnels", device.kind.name()).into());
        }
    }
    Ok(found)
}

/// The part of a processor that each of these takes for a while.
fn watch(devices: &[Device; 3]) -> Outcome<[f64; 3]> {
    let times = || devices.each_ref().map(|device| processor_time(device.process.id()));
    let before = times();
    std::thread::sleep(WATCHED);
    let mut spent = [0.0; 3];
    for (spent, (before, after)) in spent.iter_mut().zip(before.into_iter().zip(times())) {
        *spent = after?.saturating_sub(before?).as_secs_f64() / WATCHED.as_secs_f64();
    }
    Ok(spent)
}

/// A device that is measured.
struct Device {
    kind: Kind,
    process: Daemon,
    identity: (Fingerprint, TransportKey),
    control: std::path::PathBuf,
    _directory: TempDir,
}

impl Device {
    fn start(program: &Path, node: &Node, kind: Kind, players: &Players) -> Outcome<Self> {
        let directory = TempDir::new()?;
        let command = || {
            let mut command = Command::new(program);
            command.arg("--state-dir").arg(directory.path()).env("HOME", directory.path());
            command
        };
        let made = command().args(["id", "new", kind.name()]).output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        let (name, state): (Name, _) = (kind.name().parse()?, StateDir::new(directory.path()));
        let device = state.identity(&name, None).open()?;
        let identity = (device.identity().fingerprint, device.transport()?.public_key());
        drop(device);
        let mut up = command();
        up.args(["--node", &node.address.to_string(), "up", "--no-discovery", "--bind", "127.0.0.1:0"]);
        for player in 0..kind.peers() {
            up.args(["--trust", &format!("{}=0.95", players.name(player))]);
        }
        if let Kind::NoMesh = kind {
            up.arg("--no-mesh");
        } else {
            // Nothing of this is to leave the machine.
            up.arg("--no-port-mapping");
        }
        let process = Daemon::start(&mut up, directory.path().join("log"))?;
        let control = control_socket(&state, &name);
        Ok(Self { kind, process, identity, control, _directory: directory })
    }

    fn status(&self, runtime: &Runtime) -> Outcome<DaemonStatus> {
        Ok(runtime.block_on(Control::at(&self.control).status())?)
    }

    fn has_tunnels(&self, status: &DaemonStatus) -> bool {
        let peers = status.mesh.iter().flat_map(|mesh| &mesh.peers);
        let live = peers.filter(|peer| peer.path.is_some() && peer.last_handshake_s.is_some()).count();
        live == self.kind.peers() as usize
    }

    fn wait(&self, runtime: &Runtime, what: &str, wanted: impl Fn(&DaemonStatus) -> bool) -> Outcome<()> {
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            if self.status(runtime).is_ok_and(|status| wanted(&status)) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        let said = self.process.said();
        let last = said.lines().next_back().unwrap_or_default();
        Err(format!("{}: not {what} within {} s; it said {last:?}", self.kind.name(), LONG.as_secs()).into())
    }
}
