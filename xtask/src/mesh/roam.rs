//! From a change of address until traffic flows again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tibet_cli::overlay::lab::{Echo, Lab, LabError, Layout, Nat, Pair, Server, Topology};

use super::figures::Figures;
use super::needed;
use crate::Outcome;

/// How long iperf3 sends, and when the address changes.
const SECONDS: u64 = 10;
const BEFORE: Duration = Duration::from_secs(2);
/// So slow that it is the path that is measured, and not the processor.
const RATE: &str = "20M";
/// Between two looks at the counter of the TUN device.
const LOOK: Duration = Duration::from_millis(2);
const SOON: Duration = Duration::from_secs(15);

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    needed("iperf3")?;
    println!(
        "{runs} runs: an iperf3 TCP transfer at {RATE}bit/s over a direct path between two homes behind cone NATs and carriers, {SECONDS} s long; after {} s the",
        BEFORE.as_secs()
    );
    println!(
        "sender gets another address. Counted is the longest time from then on in which the receiver's TUN device takes in nothing, in ms, p50 / p99.\n"
    );
    let (mut gaps, mut broken) = (Figures::default(), 0);
    for _ in 0..runs {
        match measure(program) {
            Ok((gap, whole)) => {
                gaps.add(gap);
                broken += u32::from(!whole);
            }
            Err(error) => eprintln!("not measured: {error}"),
        }
    }
    println!("| runs | without traffic | connections that broke |");
    println!("|--:|--:|--:|");
    println!("| {} | {} | {broken} |", gaps.count(), gaps.spread());
    Ok(())
}

/// How long nothing came, and whether the connection held.
fn measure(program: &Path) -> Result<(Duration, bool), LabError> {
    let topology = Topology::new(Layout::Separate, [Nat::Cone; 2], Nat::Cone).same_address();
    let pair = Pair::start(Lab::new(program, topology, &Arc::default())?, Pair::TUN)?;
    let lab = &pair.lab;
    let [_, b] = pair.ready()?;
    let server = Server::start(lab, "b", b)?;
    let mut echo = Echo::start(lab, "a", b)?;
    lab.wait("a direct path", SOON, || {
        let _ = echo.once(Duration::from_millis(50));
        [0, 1].into_iter().all(|at| pair.peer(at).is_some_and(|peer| peer.direct)).then_some(())
    })?;
    drop(server);
    let iperf3 = |machine: &str, arguments: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.netns(machine), "iperf3"]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let (address, seconds) = (b.to_string(), SECONDS.to_string());
    let mut listening = iperf3("b", &["-s", "-1", "-B", &address])?;
    let listens = lab.wait("iperf3", SOON, || {
        let listens = lab.shell("b", "cat /proc/net/tcp6").unwrap_or_default();
        // 5201, listening.
        listens.lines().any(|line| line.contains(":1451 ") && line.contains(" 0A ")).then_some(())
    });
    let measured = listens.and_then(|_| {
        let mut sending = iperf3("a", &["-c", &address, "-t", &seconds, "-b", RATE])?;
        std::thread::sleep(BEFORE);
        let watch = Watch::start(lab)?;
        pair.move_device(0, "192.168.1.77")?;
        std::thread::sleep(Duration::from_secs(SECONDS - 1) - BEFORE);
        let gap = watch.end()?;
        let ended =
            lab.wait("the end of iperf3", Duration::from_secs(30), || sending.try_wait().ok().flatten());
        let _ = sending.kill();
        Ok((gap, ended.is_ok_and(|(status, _)| status.success())))
    });
    let _ = listening.kill();
    let _ = listening.wait();
    measured
}

/// Watches what the TUN device of `b` takes in.
struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Duration>>,
}

impl Watch {
    fn start(lab: &Lab) -> Result<Self, LabError> {
        let namespace = lab.namespace("b")?;
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            namespace.enter()?;
            let (mut seen, mut since, mut longest) = (taken_in()?, Instant::now(), Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                let now = taken_in()?;
                longest = longest.max(since.elapsed());
                if now != seen {
                    (seen, since) = (now, Instant::now());
                }
            }
            Ok(longest)
        });
        Ok(Self { ended, thread })
    }

    fn end(self) -> Result<Duration, LabError> {
        self.ended.store(true, Ordering::Relaxed);
        let watched = self.thread.join().map_err(|_| LabError::new("the watch panicked"))?;
        Ok(watched?)
    }
}

/// Bytes that the TUN device has handed to this machine.
fn taken_in() -> std::io::Result<u64> {
    let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("tibet0:"));
    let bytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    bytes.ok_or_else(|| std::io::Error::other("there is no tibet0"))
}
