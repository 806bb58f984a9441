//! `tibet-overlay serve` as a process, and devices that speak to it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

#[path = "../../../tibet-registry/tests/common/postgres.rs"]
pub mod database;
#[path = "../../../tibet-overlay/tests/common/device.rs"]
pub mod device;
#[path = "../../../tibet-overlay/tests/common/raw.rs"]
pub mod raw;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jis::{Record, RecordVersion, Signed};
use rustix::process::Signal;
use serde_json::Value;
use tibet_overlay::system;
use tibet_ping::{Compact, FoundStatus};
use tibet_registry::{Opening, Policy};

pub(crate) use crate::common::running::DEADLINE;
use crate::common::running::Running;
use crate::common::{Home, Ran};
use raw::{Raw, read};

/// For the helpers of the registry's own tests.
pub fn opening() -> Opening {
    let log_key = Arc::new(device::new_key());
    Opening { log_key, origin: None, policy: Policy::default(), secret: system::random().expect("random") }
}

/// Whether a test may be left out. In CI none may.
pub fn skip(why: &str) {
    #![allow(clippy::print_stdout, reason = "that is how a test tells")]
    println!("SKIPPED: {why}");
    assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "{why}");
}

/// A running `tibet-overlay serve`. Killed when dropped.
pub struct Serve {
    running: Running,
    /// What it said first.
    pub first: Value,
    pub at: SocketAddr,
    /// From the start of the program to its first line.
    pub started_in: Duration,
}

/// The arguments of every node here: loopback, a free port, any number of names.
pub const ARGUMENTS: [&str; 9] =
    ["serve", "--bind", "127.0.0.1:0", "--http", "none", "--names-per-hour", "0", "--json", "--keepalive=30"];

impl Serve {
    pub fn start(home: &Home, more: &[&str]) -> Self {
        Self::spawn(home.command().args(ARGUMENTS).args(more)).expect("it serves")
    }

    /// Runs `wrapper PROGRAM serve …` in the same environment, for example `faketime`.
    pub fn start_by(home: &Home, wrapper: &[&str], variables: &[(&str, &str)]) -> Result<Self, Ran> {
        let own = home.command();
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(own.get_program()).args(ARGUMENTS).env_clear();
        command.env("HOME", home.path(".")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(home.path(".")).envs(variables.iter().copied());
        Self::spawn(&mut command)
    }

    /// What it left, if it did not begin to serve.
    pub fn spawn(command: &mut Command) -> Result<Self, Ran> {
        let begun = Instant::now();
        let (running, line) = Running::start(command).first_line()?;
        let started_in = begun.elapsed();
        let first: Value = serde_json::from_str(&line).expect("JSON");
        let at = first["address"].as_str().expect("an address").parse().expect("an address");
        Ok(Self { running, first, at, started_in })
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Ends it as systemd does, and gives what it left after its first line.
    pub fn stop(self) -> Ran {
        self.signal(Signal::TERM);
        self.running.wait_for_rest()
    }

    /// `kill -9`.
    pub fn kill(self) {
        self.running.kill();
    }

    pub fn raw(&self) -> Raw {
        Raw::connect(self.at)
    }
}

/// The version of the record that a node has of a name.
pub fn version(raw: &Raw, name: &str) -> Option<RecordVersion> {
    let id = system::random().expect("random");
    raw.send(&Compact::Lookup { id, cookie: raw.cookie, events_from: None, name }.write());
    let datagram = raw.recv();
    let Compact::Found { id: answered, found } = read(&datagram) else { panic!("{datagram:?}") };
    assert_eq!(answered, id);
    let record = (found.status != FoundStatus::Unknown).then(|| Signed::<Record>::decode(found.record));
    Some(record?.expect("a record").claims().version)
}

/// The log and the registry, checked by the program itself.
pub fn assert_intact(home: &Home, more: &str) -> Value {
    let report = home.json(format!("audit verify {more}").trim_end(), 0);
    assert_eq!(report["intact"], true, "{report}");
    report
}

pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).exists())
}

/// Whether we are root: mounts need that.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
