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
/// How long the devices are left alone before they are looked at. Their tunnels hold for three minutes.
const IDLE: Duration = Duration::from_secs(15);
/// Far longer than it takes.
const LONG: Duration = Duration::from_secs(80);
/// After how long no round begins any more.
const ALL: Duration = Duration::from_secs(75);
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
    idle: Series,
}

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    let runs = runs.min(MOST_ROUNDS);
    let mut rows = Kind::ALL.map(|_| Row::default());
    let mut each = Series::default();
    let runs = rounds(runs, ALL, || {
        let found = round(program)?;
        for (row, (memory, idle)) in rows.iter_mut().zip(found) {
            row.memory.add(memory as f64);
            row.idle.add(idle);
        }
        let [_, (one, _), (many, _)] = found;
        each.add((many as f64 - one as f64) / f64::from(MANY - 1));
        Ok(())
    })?;
    println!(
        "{runs} rounds. Each device was left alone for {} s after its last tunnel was made. Medians.\n",
        IDLE.as_secs()
    );
    println!("| `tibet-overlay up` with | resident | by the first row | processor time a second, idle |");
    println!("|---|--:|---|--:|");
    for (kind, row) in Kind::ALL.into_iter().zip(&rows) {
        let what = match kind {
            Kind::NoMesh => "no part in the mesh".to_owned(),
            Kind::One => "a live tunnel to 1 peer".to_owned(),
            Kind::Many => format!("live tunnels to {MANY} peers"),
        };
        println!(
            "| {what} | {:.1} MiB | {} | {:.1} ms |",
            row.memory.median() / f64::from(1 << 20),
            row.memory.by(&rows[0].memory),
            row.idle.median() * 1e3,
        );
    }
    println!("\nFor each peer beyond the first: {:.0} bytes.", each.median());
    Ok(())
}

/// Bytes resident, and the processor time that a second of idleness takes, of each kind.
fn round(program: &Path) -> Outcome<[(u64, f64); 3]> {
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
    let times = || devices.each_ref().map(|device| processor_time(device.process.id()));
    let before = times();
    std::thread::sleep(IDLE);
    let after = times();
    let mut found = [(0, 0.0); 3];
    for (at, (before, after)) in before.into_iter().zip(after).enumerate() {
        let device = &devices[at];
        let spent = after?.saturating_sub(before?).as_secs_f64();
        found[at] = (memory(device.process.id())?, spent / IDLE.as_secs_f64());
        if !device.has_tunnels(&device.status(&runtime)?) {
            return Err(format!("{} has lost tunnels", device.kind.name()).into());
        }
    }
    Ok(found)
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
