//! The node that is loaded: the program in a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Outcome;

pub(super) struct Node {
    program: PathBuf,
    store: Option<String>,
    directory: TempDir,
    child: Child,
    pub(super) address: SocketAddr,
}

impl Node {
    pub(super) fn start(program: &Path, store: Option<&str>, within: Option<&Path>) -> Outcome<Self> {
        let directory = match within {
            Some(within) => TempDir::new_in(within)?,
            None => TempDir::new()?,
        };
        let (child, address) = serve(program, store, directory.path(), "127.0.0.1:0")?;
        Ok(Self { program: program.into(), store: store.map(Into::into), directory, child, address })
    }

    /// Bytes resident.
    pub(super) fn memory(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    }

    /// Processor time so far.
    pub(super) fn processor_time(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the program's name, which may hold anything: user and system time are the 12th and 13th, in hundredths.
        let rest = stat.rsplit_once(')').ok_or("no stat")?.1;
        let mut fields = rest.split_whitespace().skip(11).map(str::parse::<u64>);
        let ticks = fields.next().ok_or("no utime")?? + fields.next().ok_or("no stime")??;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Bytes of the registry's files.
    pub(super) fn on_disk(&self) -> Outcome<u64> {
        let registry = self.directory.path().join("registry");
        let mut total = 0;
        for file in fs::read_dir(registry)? {
            total += file?.metadata()?.len();
        }
        Ok(total)
    }

    /// How long it takes from the start of a new process until it serves, after the old one was killed.
    pub(super) fn kill_and_restart(&mut self) -> Outcome<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let start = Instant::now();
        let address = self.address.to_string();
        (self.child, _) = serve(&self.program, self.store.as_deref(), self.directory.path(), &address)?;
        Ok(start.elapsed())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(program: &Path, store: Option<&str>, directory: &Path, bind: &str) -> Outcome<(Child, SocketAddr)> {
    let mut command = Command::new(program);
    command.args(["--json", "--state-dir"]).arg(directory).args(["serve", "--bind", bind, "--http", "none"]);
    command.args(["--names-per-hour", "0"]);
    if let Some(store) = store {
        command.args(["--store", store]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| {
        format!("{}: {error}; build it with cargo build --release --bin tibet-overlay", program.display())
    })?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let told: serde_json::Value = serde_json::from_str(&line).map_err(|_| format!("it said {line:?}"))?;
    let address = told["address"].as_str().ok_or("it told no address")?.parse()?;
    Ok((child, address))
}
