//! Machines that are network namespaces joined by virtual cables: two devices, `a` and `b`, the routers between them, and a `node` on the internet.
//!
//! ```text
//! a ── router-a ── carrier-a ──┐
//!                              ├── node 203.0.113.1
//! b ── router-b ── carrier-b ──┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `lab/topology.rs` | what may be between two devices, and whether they can find each other |
//! | `lab/wires.rs` | the machines and cables |
//! | `lab/rules.rs` | what routers do with packets |
//! | `lab/port_mapping.rs` | a router that maps ports |
//! | `lab/devices.rs` | the node and the devices that run on them |
//! | `lab/traffic.rs` | what programs do meanwhile, measured |
//!
//! Needs root, `ip` and `nft`. The demo, the tests and the measurements of the mesh use it; it is no API for others. Everything it made is gone when it is dropped.

mod devices;
mod port_mapping;
mod rules;
mod topology;
mod traffic;
mod wires;

pub use devices::{Daemon, NODE, NODE_V6, Pair};
pub use port_mapping::MAPPED;
pub use topology::{Layout, Nat, Topology};
pub use traffic::{Echo, PORT, Server, Transfer, Transferred};

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use wires::{MACHINES, Wires};

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// What went wrong, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LabError(String);

impl LabError {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl From<std::io::Error> for LabError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The machines.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    program: PathBuf,
    directory: tempfile::TempDir,
    /// Someone wants it to end.
    stop: Arc<AtomicBool>,
    /// What is between the devices.
    pub topology: Topology,
}

impl Lab {
    /// Makes the machines. `program` is the `tibet-overlay` that runs on them; when `stop` is set, whatever waits in here fails.
    ///
    /// # Errors
    ///
    /// This machine makes no namespaces, or has no `ip` or `nft`.
    pub fn new(program: &Path, topology: Topology, stop: &Arc<AtomicBool>) -> Result<Self, LabError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("mesh{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let script = Wires::script(&prefix, &topology);
        let directory = tempfile::Builder::new().prefix("mesh-lab").tempdir()?;
        let lab = Self { prefix, program: program.to_owned(), directory, stop: Arc::clone(stop), topology };
        run(Command::new("sh").args(["-e", "-s"]), Some(&script))?;
        Ok(lab)
    }

    /// A machine's namespace.
    ///
    /// # Errors
    ///
    /// There is no such machine.
    pub fn namespace(&self, machine: &str) -> Result<Namespace, LabError> {
        let path = format!("/run/netns/{}", self.netns(machine));
        let file = File::open(&path).map_err(|error| LabError(format!("{path}: {error}")))?;
        Ok(Namespace(file))
    }

    /// Does something on a machine, on a thread of its own. Sockets that it opens stay on that machine.
    ///
    /// # Errors
    ///
    /// There is no such machine, or what is done fails.
    pub fn within<T: Send + 'static>(
        &self,
        machine: &str,
        what: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, LabError> {
        let namespace = self.namespace(machine)?;
        let thread = std::thread::spawn(move || namespace.enter().and_then(|()| what()));
        let done = thread.join().map_err(|_| LabError::new("a thread panicked"))?;
        done.map_err(|error| LabError(format!("on {machine}: {error}")))
    }

    /// Runs a shell script on a machine, and gives what it prints.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn shell(&self, machine: &str, script: &str) -> Result<String, LabError> {
        let netns = self.netns(machine);
        run(Command::new("ip").args(["netns", "exec", &netns, "sh", "-e", "-s"]), Some(script))
    }

    /// The command on a machine, with a state directory of its own for each `whose`.
    #[must_use]
    pub fn command(&self, machine: &str, whose: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns(machine)]).arg(&self.program);
        self.at_home(&mut command, whose);
        command
    }

    /// Where somebody's files are.
    #[must_use]
    pub fn state(&self, whose: &str) -> PathBuf {
        self.directory.path().join(whose)
    }

    /// The prefix of all its namespaces.
    #[must_use]
    pub fn netns(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    fn at_home(&self, command: &mut Command, whose: &str) {
        command.arg("--state-dir").arg(self.state(whose));
        command.env_clear().env("HOME", self.directory.path()).env("PATH", path()).stdin(Stdio::null());
    }

    /// Waits until something is there.
    ///
    /// # Errors
    ///
    /// It does not come in time, or the lab is to end.
    pub fn wait<T>(
        &self,
        what: &str,
        longest: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<(T, Duration), LabError> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok((found, begun.elapsed()));
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(LabError::new("interrupted"));
            }
            if begun.elapsed() > longest {
                return Err(LabError(format!("{what}: not within {} s", longest.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Makes a router translate otherwise from now on, and lose all that it knows of connections.
    ///
    /// # Errors
    ///
    /// There is no such router.
    pub fn translate_otherwise(&self, router: &str, nat: Nat) -> Result<(), LabError> {
        self.translate(router, nat, "")
    }

    /// Has a router with a cone NAT lose all that it knows of connections, and give other ports from now on, as one does that was switched off and on.
    ///
    /// # Errors
    ///
    /// There is no such router.
    pub fn rebind(&self, router: &str) -> Result<(), LabError> {
        self.translate(router, Nat::Cone, "40000-60000")
    }

    fn translate(&self, router: &str, nat: Nat, ports: &str) -> Result<(), LabError> {
        let outside = self.shell(router, "ip -4 -o addr show dev wan")?;
        let outside = outside.split_whitespace().nth(3).and_then(|found| found.split('/').next());
        let outside = outside.ok_or_else(|| LabError(format!("{router} has no address")))?.to_owned();
        let inside = if router.starts_with("router") { wires::HOME } else { wires::SHARED };
        let rules = rules::translate(nat, inside, &outside, self.topology.layout == Layout::Hairpin);
        let rules = if ports.is_empty() {
            rules
        } else {
            rules.replace(" masquerade", &format!(" meta l4proto udp masquerade to :{ports}"))
        };
        // The kernel drops what it masquerades behind an interface that goes down.
        self.shell(
            router,
            &format!(
                "nft -f - <<'END'\ndelete table ip lab\n{rules}\nEND
                route=$(ip route show default); ip link set wan down; ip link set wan up
                [ -z \"$route\" ] || ip route replace $route"
            ),
        )?;
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in MACHINES {
            let netns = self.netns(machine);
            // What still runs there was started here.
            let _ = run(Command::new("sh").args(["-c", "ip netns pids $0 | xargs -r kill -9", &netns]), None);
            let _ = run(Command::new("ip").args(["netns", "del", &netns]), None);
        }
    }
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Moves the calling thread into it.
    ///
    /// # Errors
    ///
    /// The thread may not.
    pub fn enter(&self) -> std::io::Result<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into())
}

/// Runs a command to its end, and gives what it prints.
fn run(command: &mut Command, input: Option<&str>) -> Result<String, LabError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| LabError(format!("{name}: {error}")))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
