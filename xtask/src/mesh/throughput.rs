//! How much goes through a tunnel, beside the bare cable and the tunnels of others between the same two machines.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tibet_cli::overlay::lab::{Echo, LabError};

use super::figures::{Figures, Series};
use super::needed;
use super::ways::{MTU, Machines, Way};
use crate::Outcome;
use crate::load::node::memory;

/// Seconds that each transfer takes, and each row of small datagrams.
const SECONDS: u64 = 5;
const SMALL_SECONDS: u64 = 2;
/// Bytes of a small datagram.
const SMALL: &str = "64";
/// Datagrams there and back, one after the other.
const ECHOES: usize = 3000;
const SOON: Duration = Duration::from_secs(15);

/// What was measured on one way.
#[derive(Default)]
struct Row {
    rates: Series,
    costs: Series,
    small: Series,
    trips: Figures,
}

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    ["iperf3", "wg"].into_iter().try_for_each(needed)?;
    println!(
        "{runs} runs, one way after the other: iperf3 over TCP for {SECONDS} s between two machines on one cable, MTU {MTU} in tunnels. All processes of both ends share"
    );
    println!(
        "the processors of this computer. Small: datagrams of {SMALL} bytes that arrive in a second while more are sent than can. Round trips: {ECHOES} datagrams of 8 bytes,"
    );
    println!("one outstanding, in µs, p50 / p99. Medians of all runs.\n");
    let machines = Machines::start(program).map_err(|error| error.to_string())?;
    let mut rows: Vec<Row> = machines.ways.iter().map(|_| Row::default()).collect();
    for _ in 0..runs {
        for (way, row) in machines.ways.iter().zip(&mut rows) {
            machines.measure(way, row).map_err(|error| format!("{}: {error}", way.name))?;
        }
    }
    println!(
        "| way | Mbit/s | the mesh carries | processor time for a GB, both ends | small datagrams | round trip |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    let mesh = rows.get(1).map_or(f64::NAN, |row| row.rates.median());
    for (way, row) in machines.ways.iter().zip(&rows) {
        let rate = row.rates.median();
        let cost = row.costs.median();
        let cost = if cost.is_nan() { "–".to_owned() } else { format!("{cost:.1} s") };
        println!(
            "| {} | {rate:.0} | {:.2} × | {cost} | {:.0}/s | {} |",
            way.name,
            mesh / rate,
            row.small.median(),
            row.trips.spread_in_us()
        );
    }
    let [a, b] = [0, 1].map(|at| memory(machines.pair.device(at).id()));
    println!("\nMemory of the two devices after it: {} and {} KiB.", a? >> 10, b? >> 10);
    Ok(())
}

impl Machines {
    fn measure(&self, way: &Way, row: &mut Row) -> Outcome<()> {
        let before = way.processor_time()?;
        let taken = self.iperf3(way, &["-t", &SECONDS.to_string()])?;
        let spent = (way.processor_time()? - before).as_secs_f64();
        row.rates.add(figure(&taken, "sum_received", "bits_per_second")? / 1e6);
        if !way.ends.is_empty() {
            row.costs.add(spent / (figure(&taken, "sum_received", "bytes")? / 1e9));
        }
        let taken = self.iperf3(way, &["-t", &SMALL_SECONDS.to_string(), "-u", "-l", SMALL, "-b", "0"])?;
        let (sent, lost) = (figure(&taken, "sum", "packets")?, figure(&taken, "sum", "lost_packets")?);
        row.small.add((sent - lost) / figure(&taken, "sum", "seconds")?);
        let mut echo = Echo::start(&self.pair.lab, "a", way.address)?;
        row.trips.extend((0..ECHOES).filter_map(|_| echo.once(Duration::from_secs(1))));
        Ok(())
    }

    /// From `a` to `b` on this way, and iperf3's report of it.
    fn iperf3(&self, way: &Way, arguments: &[&str]) -> Result<Value, LabError> {
        let lab = &self.pair.lab;
        let address = way.address.to_string();
        let iperf3 = |machine: &str, arguments: &[&str]| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &lab.netns(machine), "iperf3"]).args(arguments);
            command
        };
        let mut listening =
            iperf3("b", &["-s", "-1", "-B", &address]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let listens = lab.wait("iperf3", SOON, || {
            let listens = lab.shell("b", "cat /proc/net/tcp /proc/net/tcp6").unwrap_or_default();
            // 5201, listening.
            listens.lines().any(|line| line.contains(":1451 ") && line.contains(" 0A ")).then_some(())
        });
        let report = listens.and_then(|_| {
            let output = iperf3("a", &[&["-c", &address, "-J"], arguments].concat()).output()?;
            serde_json::from_slice(&output.stdout).map_err(|error| LabError::new(format!("iperf3: {error}")))
        });
        let _ = listening.kill();
        let _ = listening.wait();
        report
    }
}

/// A number of iperf3's report.
fn figure(report: &Value, sum: &str, name: &str) -> Result<f64, LabError> {
    let found = report["end"][sum][name].as_f64();
    found.ok_or_else(|| LabError::new(format!("iperf3 does not say {sum}.{name}: {}", report["error"])))
}
