//! The node and the devices on the machines of a lab.

use std::fs::{self, File};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jis::Name;
use rustix::process::{Pid, Signal, kill_process};
use tibet_overlay::StateDir;
use tibet_overlay::daemon::{Control, DaemonStatus, PeerReport, control_socket};

use super::{Echo, Lab, LabError, Layout};

/// Where the node is.
pub const NODE: &str = "203.0.113.1:7150";
/// Where it is without IPv4.
pub const NODE_V6: &str = "[2001:db8::1]:7150";
/// Far longer than a device takes to be there.
const LONG: Duration = Duration::from_secs(30);

/// A program that runs on a machine. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it says goes to the file `log`.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self, LabError> {
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command.stdout(Stdio::from(file.try_clone()?)).stderr(Stdio::from(file)).spawn()?;
        Ok(Self { child, log })
    }

    /// All that it has said.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a service manager does, and waits.
    pub fn stop(mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node, and the devices `a` and `b` that are up and trust each other.
#[derive(Debug)]
pub struct Pair {
    /// The machines. Declared last of all that is dropped.
    devices: [Daemon; 2],
    /// What `up` was given at each.
    up: [Vec<String>; 2],
    node: Option<Daemon>,
    runtime: tokio::runtime::Runtime,
    /// The machines.
    pub lab: Lab,
}

impl Pair {
    /// Names of the devices.
    pub const NAMES: [&str; 2] = ["jis:home:hub", "jis:office:laptop"];
    /// Their machines.
    pub const MACHINES: [&str; 2] = ["a", "b"];
    /// What makes a TUN device.
    pub const TUN: [&[&str]; 2] = [&["--tun", "tibet0"]; 2];

    /// Starts the node, and both devices with these arguments more for `up`. Does not wait for them.
    ///
    /// # Errors
    ///
    /// Something cannot be started.
    pub fn start(lab: Lab, up: [&[&str]; 2]) -> Result<Self, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let node = Self::serve(&lab)?;
        for (machine, name) in Self::MACHINES.iter().zip(Self::NAMES) {
            let made = lab.command(machine, machine).args(["id", "new", name]).output()?;
            if !made.status.success() {
                return Err(LabError::new(String::from_utf8_lossy(&made.stderr)));
            }
        }
        let up = up.map(|arguments| arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        let devices = [Self::up(&lab, 0, &up[0])?, Self::up(&lab, 1, &up[1])?];
        Ok(Self { devices, up, node: Some(node), runtime, lab })
    }

    fn up(lab: &Lab, at: usize, arguments: &[String]) -> Result<Daemon, LabError> {
        let (machine, peer) = (Self::MACHINES[at], Self::NAMES[1 - at]);
        let mut command = lab.command(machine, machine);
        command.args(["--node", Self::node_address(lab), "up", "--no-discovery"]);
        command.args(["--trust", &format!("{peer}=0.95")]).args(arguments);
        Daemon::start(&mut command, lab.state(&format!("{machine}.log")))
    }

    fn node_address(lab: &Lab) -> &'static str {
        if lab.topology.layout == Layout::Ipv6 { NODE_V6 } else { NODE }
    }

    fn serve(lab: &Lab) -> Result<Daemon, LabError> {
        let mut command = lab.command("node", "node");
        command.args(["serve", "--bind", "[::]:7150", "--http", "none"]);
        let node = Daemon::start(&mut command, lab.state("node.log"))?;
        lab.wait("the node", LONG, || node.said().contains("relay").then_some(()))?;
        Ok(node)
    }

    /// The node ends at once, and another begins with its files.
    ///
    /// # Errors
    ///
    /// It does not come back.
    pub fn restart_node(&mut self) -> Result<(), LabError> {
        drop(self.node.take());
        self.node = Some(Self::serve(&self.lab)?);
        Ok(())
    }

    /// A device ends at once, and another begins with its files.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn restart_device(&mut self, at: usize) -> Result<(), LabError> {
        let _ = self.devices[at].child.kill();
        let _ = self.devices[at].child.wait();
        self.devices[at] = Self::up(&self.lab, at, &self.up[at])?;
        Ok(())
    }

    /// How a device is doing; `None` if it does not answer.
    #[must_use]
    pub fn status(&self, at: usize) -> Option<DaemonStatus> {
        let name: Name = Self::NAMES[at].parse().ok()?;
        let socket = control_socket(&StateDir::new(self.lab.state(Self::MACHINES[at])), &name);
        self.runtime.block_on(Control::at(socket).status()).ok()
    }

    /// What a device says of the other.
    #[must_use]
    pub fn peer(&self, at: usize) -> Option<PeerReport> {
        let peers = self.status(at)?.mesh?.peers;
        peers.into_iter().find(|peer| peer.name == Self::NAMES[1 - at])
    }

    /// Waits until both have a relay and know each other, and gives their overlay addresses.
    ///
    /// # Errors
    ///
    /// They do not in time.
    pub fn ready(&self) -> Result<[Ipv6Addr; 2], LabError> {
        let ready = |at| {
            let mesh = self.status(at)?.mesh?;
            let relayed = mesh.relays.iter().any(|relay| relay.health == "proven");
            let known = mesh.peers.iter().any(|peer| peer.name == Self::NAMES[1 - at]);
            (relayed && known).then(|| mesh.address.parse().ok())?
        };
        let wait = |at| self.lab.wait(Self::NAMES[at], LONG, || ready(at));
        let [a, b] = [wait(0), wait(1)];
        match (a, b) {
            (Ok((a, _)), Ok((b, _))) => Ok([a, b]),
            (Err(error), _) | (_, Err(error)) => Err(LabError::new(format!("{error}; {}", self.said()))),
        }
    }

    /// Waits until a device has a path to the other that is direct, or not.
    ///
    /// # Errors
    ///
    /// It does not get one in time.
    pub fn path(&self, at: usize, direct: bool, longest: Duration) -> Result<Duration, LabError> {
        let what = if direct { "a direct path" } else { "a path over the relay" };
        let found = || self.peer(at).filter(|peer| peer.path.is_some() && peer.direct == direct);
        self.lab.wait(what, longest, found).map(|(_, took)| took)
    }

    /// All that node and devices have said.
    #[must_use]
    pub fn said(&self) -> String {
        let node = self.node.as_ref().map(Daemon::said).unwrap_or_default();
        let [a, b] = self.devices.each_ref().map(Daemon::said);
        format!("node: {node}\na: {a}\nb: {b}")
    }

    /// A device's process.
    #[must_use]
    pub fn device(&self, at: usize) -> &Daemon {
        &self.devices[at]
    }

    /// Revokes the key of a device at the node, by its owner from elsewhere: the daemon itself, which runs on with a copy, is not told.
    ///
    /// # Errors
    ///
    /// The node does not take it.
    pub fn revoke(&self, at: usize) -> Result<(), LabError> {
        let owner = self.lab.state("owner");
        fs::create_dir(&owner)?;
        copy(&self.lab.state(Self::MACHINES[at]).join("identities"), &owner.join("identities"))?;
        let mut command = self.lab.command("node", "owner");
        let done = command.args(["--node", Self::node_address(&self.lab), "id", "revoke"]).output()?;
        if done.status.success() { Ok(()) } else { Err(LabError::new(String::from_utf8_lossy(&done.stderr))) }
    }

    /// Waits until the other device has no tunnel with this one, whose key was revoked and which goes on to speak, and nothing has come back for a second. How long
    /// after `since` the last answer came, if one did.
    ///
    /// # Errors
    ///
    /// It is not silent in time.
    pub fn until_silent(
        &self,
        at: usize,
        echo: &mut Echo,
        since: Instant,
        longest: Duration,
    ) -> Result<Option<Duration>, LabError> {
        let mut last = since;
        self.lab.wait("silence", longest, || {
            if echo.once(Duration::from_millis(200)).is_some() {
                last = Instant::now();
            }
            (self.peer(1 - at).is_none() && last.elapsed() > Duration::from_secs(1)).then_some(())
        })?;
        Ok((last != since).then(|| last - since))
    }

    /// Gives a device another address at home, as a router does that was asked anew.
    ///
    /// # Errors
    ///
    /// It has no home.
    pub fn move_device(&self, at: usize, address: &str) -> Result<(), LabError> {
        let script = format!(
            "ip addr flush dev wan; ip addr add {address}/24 dev wan; ip route add default via 192.168.1.1"
        );
        self.lab.shell(Self::MACHINES[at], &script).map(|_| ())
    }
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
