//! The node that is loaded: the program in a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Outcome;

/// Which node is started, and where.
#[derive(clap::Args)]
pub(crate) struct Program {
    /// The program whose `serve` is started, in a directory of its own that is removed afterwards
    #[arg(long, default_value = "target/release/tibet-overlay")]
    program: PathBuf,
    /// Its --store, for example postgres://… [default: SQLite in its directory]
    #[arg(long)]
    store: Option<String>,
    /// Where the node's directory is made [default: the system's directory for temporary files]
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// How much a network may ask: new names in an hour, questions in a second. And how much is passed on for each device.
#[derive(Clone, Copy)]
pub(crate) enum Quota {
    /// Anything, so that a whole fleet can register from a few addresses, and speak as fast as it likes.
    None,
    /// As many as with an ordinary node.
    Usual,
}

pub(crate) struct Node {
    program: PathBuf,
    store: Option<String>,
    directory: TempDir,
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// One without a quota.
    pub(crate) fn start(program: &Program) -> Outcome<Self> {
        let Program { program, store, directory: within } = program;
        let directory = match within {
            Some(within) => TempDir::new_in(within)?,
            None => TempDir::new()?,
        };
        let (child, address) =
            serve(program, store.as_deref(), directory.path(), "127.0.0.1:0", Quota::None)?;
        Ok(Self { program: program.clone(), store: store.clone(), directory, child, address })
    }

    /// One without a quota, of this program.
    pub(crate) fn of(program: &Path) -> Outcome<Self> {
        Self::start(&Program { program: program.to_owned(), store: None, directory: None })
    }

    /// Bytes resident.
    pub(crate) fn memory(&self) -> Outcome<u64> {
        memory(self.child.id())
    }

    /// Processor time so far.
    pub(crate) fn processor_time(&self) -> Outcome<Duration> {
        processor_time(self.child.id())
    }

    /// Bytes of the registry's files.
    pub(crate) fn on_disk(&self) -> Outcome<u64> {
        let registry = self.directory.path().join("registry");
        let mut total = 0;
        for file in fs::read_dir(registry)? {
            total += file?.metadata()?.len();
        }
        Ok(total)
    }

    /// What it counts, by name: `events` of its status.
    pub(crate) fn counts(&self) -> Outcome<BTreeMap<String, u64>> {
        let mut operator = UnixStream::connect(self.directory.path().join("node/operator.sock"))?;
        operator.set_read_timeout(Some(Duration::from_secs(10)))?;
        operator.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        operator.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no status")?;
        let mut status: serde_json::Value = serde_json::from_str(body)?;
        Ok(serde_json::from_value(status["events"].take())?)
    }

    /// Datagrams that the system dropped because the socket's buffer was full, so that the node never saw them.
    pub(crate) fn dropped_unseen(&self) -> Outcome<u64> {
        let port = format!(":{:04X}", self.address.port());
        let sockets = fs::read_to_string("/proc/net/udp")?;
        let mut lines = sockets.lines().map(|line| line.split_whitespace());
        let of_it = lines.find_map(|mut line| line.nth(1)?.ends_with(&port).then_some(line));
        Ok(of_it.and_then(Iterator::last).ok_or("no such socket")?.parse()?)
    }

    /// How long it takes from the start of a new process until it serves, after the old one was killed.
    pub(crate) fn kill_and_restart(&mut self, quota: Quota) -> Outcome<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let start = Instant::now();
        let address = self.address.to_string();
        (self.child, _) =
            serve(&self.program, self.store.as_deref(), self.directory.path(), &address, quota)?;
        Ok(start.elapsed())
    }
}

/// Bytes of a process that are resident.
pub(crate) fn memory(process: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

/// Processor time of a process so far.
pub(crate) fn processor_time(process: u32) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the program's name, which may hold anything: user and system time are the 12th and 13th, in hundredths.
    let rest = stat.rsplit_once(')').ok_or("no stat")?.1;
    let mut fields = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = fields.next().ok_or("no utime")?? + fields.next().ok_or("no stime")??;
    Ok(Duration::from_millis(ticks * 10))
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(
    program: &Path,
    store: Option<&str>,
    directory: &Path,
    bind: &str,
    quota: Quota,
) -> Outcome<(Child, SocketAddr)> {
    let mut command = Command::new(program);
    command.args(["--json", "--state-dir"]).arg(directory).args(["serve", "--bind", bind, "--http", "none"]);
    if let Quota::None = quota {
        command.args(["--names-per-hour", "0", "--questions-per-second", "0"]);
        // As much as a relay passes on for all together, for as long as anybody measures.
        command.args(["--relay-rate", "125000000", "--relay-day", "1000000000000000"]);
    }
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
