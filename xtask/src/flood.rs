//! A listener under garbage: does it stay small, and does it still answer whom it trusts?
//!
//! A real `tibet-iot listen` gets as much rubbish as one core can send, of every kind that costs it something, while a trusted node pings it
//! twenty times a second. Before that the same pings without the garbage, to compare with.

mod garbage;
mod mesh;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use jis::{Fingerprint, Name, SecretKey};
use tibet_iot::{IotNode, Outgoing, TransportConfig, UdpPort};
use tibet_ping::{Ask, NodeConfig, NodeIdentity};
use zeroize::Zeroizing;

use crate::Outcome;
use garbage::Garbage;

const SENSOR: &str = "jis:home:sensor";
const HUB: &str = "jis:home:hub";
/// Between two honest pings.
const EVERY: Duration = Duration::from_millis(50);
/// An answer later than this counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the same garbage is sent.
const FRESH_FOR: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// How long the garbage lasts, each kind of it
    #[arg(long, default_value_t = 60, global = true)]
    seconds: u64,
}

#[derive(clap::Subcommand)]
enum What {
    /// Sends a device of the mesh handshakes, while a peer pings it through their tunnel (root)
    Mesh(mesh::Options),
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    if let Some(What::Mesh(mesh)) = &options.what {
        return mesh::run(mesh, options.seconds);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "--release", "--bin", "tibet-iot"]).status()?;
    if !built.success() {
        return Err("tibet-iot does not build".into());
    }
    let program = std::env::current_exe()?.with_file_name("tibet-iot");
    let home = tempfile::TempDir::new()?;
    let (mut listener, hub) = Listener::start(&program, home.path())?;
    let sensor = Sensor::start()?;
    let idle = sensor.ping_for(hub, Duration::from_secs(5))?;
    println!("without garbage: {idle}");
    let before = resident(listener.child.id())?;
    let flood = Flood::start(hub)?;
    let under = sensor.ping_for(hub, Duration::from_secs(options.seconds))?;
    let sent = flood.stop()?;
    let after = resident(listener.child.id())?;
    println!("under garbage:   {under}");
    let rate = sent as f64 / options.seconds as f64;
    println!("garbage:         {sent} datagrams sent, {rate:.0} a second");
    println!("memory:          {before} KiB before, {after} KiB after");
    println!("{}", listener.end()?);
    Ok(())
}

/// What became of what was honestly asked.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) sent: usize,
    /// How long each answer took; sorted.
    pub(crate) answered: Vec<Duration>,
}

impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sent, answered) = (self.sent, self.answered.len());
        let lost = 100.0 * (sent - answered) as f64 / sent.max(1) as f64;
        let at = |share: f64| {
            let at = (answered as f64 * share) as usize;
            self.answered.get(at.min(answered.saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        write!(
            f,
            "{sent} asked, {answered} answered, {lost:.2} % lost, p50 {:.2} ms, p99 {:.2} ms",
            at(0.5),
            at(0.99)
        )
    }
}

/// The node that is trusted. It stays where it is, as devices do.
struct Sensor {
    runtime: tokio::runtime::Runtime,
    node: IotNode,
}

impl Sensor {
    fn start() -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let identity = NodeIdentity {
            name: SENSOR.parse::<Name>()?,
            key: key(2)?,
            generation: 0,
            fingerprint: Fingerprint::from_bytes([2; 32]),
        };
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = TransportConfig { bind, discovery: None, node: NodeConfig::default() };
        let mut node = IotNode::new(identity, config, None, None)?;
        runtime.block_on(node.start())?;
        Ok(Self { runtime, node })
    }

    fn ping_for(&self, hub: SocketAddr, time: Duration) -> Outcome<Served> {
        self.runtime.block_on(async {
            let mut served = Served::default();
            let until = Instant::now() + time;
            let mut ticks = tokio::time::interval(EVERY);
            while Instant::now() < until {
                ticks.tick().await;
                let ask = Ask { timeout: PATIENCE, ..Ask::new(HUB.parse()?, Some(hub), "temperature.read") };
                served.sent += 1;
                served.answered.extend(self.node.send_ping(ask).await?.map(|answer| answer.round_trip));
            }
            served.answered.sort();
            Ok(served)
        })
    }
}

fn key(n: u8) -> Outcome<SecretKey> {
    Ok(SecretKey::from_seed(Zeroizing::new(std::array::from_fn(|at| n ^ at as u8)))?)
}

/// As much garbage as one thread can send.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: thread::JoinHandle<Result<(), String>>,
}

impl Flood {
    fn start(hub: SocketAddr) -> Outcome<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || flood(hub, &stopped, &count).map_err(|error| error.to_string()));
        Ok(Self { stop, sent, thread })
    }

    fn stop(self) -> Outcome<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the flood panicked")??;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

fn flood(hub: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) -> Outcome<()> {
    let trusted = key(2)?.public_key();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let port = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let (mut garbage, mut made) = (Garbage::new(&trusted)?, Instant::now());
        for round in 0.. {
            // What has become too old costs its receiver no more than noise does.
            if made.elapsed() > FRESH_FOR {
                (garbage, made) = (Garbage::new(&trusted)?, Instant::now());
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let batch: Vec<_> = garbage.batch(round).map(|bytes| Outgoing { to: hub, bytes }).collect();
            let report = port.send(&batch).await;
            sent.fetch_add(report.sent as u64, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// A real `tibet-iot listen`.
struct Listener {
    child: Child,
    /// The last line of its output, when that has ended.
    last: mpsc::Receiver<Option<String>>,
}

impl Listener {
    fn start(program: &Path, home: &Path) -> Outcome<(Self, SocketAddr)> {
        let mut child = Command::new(program)
            .args(["--json", "listen", "--did", HUB, "--bind", "127.0.0.1", "--port", "0", "--no-discovery"])
            .args(["--trust", "jis:home:sensor=0.9", "--rate", "100000"])
            .args(["--key", &format!("{SENSOR}={}", key(2)?.public_key().to_multibase())])
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let first: serde_json::Value = serde_json::from_str(&lines.next().ok_or("it said nothing")??)?;
        let address = first["address"].as_str().ok_or("it did not say where it listens")?.parse()?;
        // It is never silent, and must not wait for us.
        let (tell, last) = mpsc::channel();
        thread::spawn(move || tell.send(lines.map_while(Result::ok).last()));
        Ok((Self { child, last }, address))
    }

    /// Ends it, and gives its last words.
    fn end(&mut self) -> Outcome<String> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?).ok_or("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(self.last.recv()?.ok_or("no summary")?)
    }
}

/// Memory that a process has, in KiB.
fn resident(id: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
