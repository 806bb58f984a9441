//! How much goes through a tunnel, beside the bare cable and `wireguard-go` between the same two machines.

use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use serde_json::Value;
use tibet_cli::overlay::lab::{Daemon, Echo, Lab, LabError, Layout, Nat, Pair, Server, Topology};

use super::figures::Figures;
use crate::Outcome;

/// Seconds that each transfer takes.
const SECONDS: u64 = 5;
/// Datagrams there and back, one after the other.
const ECHOES: usize = 3000;
const SOON: Duration = Duration::from_secs(15);
/// What `tibet-overlay` is given, and `wireguard-go` as well.
const MTU: &str = "1420";

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    for needed in [("iperf3", "--version"), ("wireguard-go", "--version"), ("wg", "--version")] {
        if Command::new(needed.0).arg(needed.1).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        {
            return Err(format!("{} is not installed", needed.0).into());
        }
    }
    println!(
        "{runs} runs of {SECONDS} s each, one way after the other: iperf3 over TCP between two machines on one cable, MTU {MTU} in tunnels. All processes of both ends"
    );
    println!(
        "share the processors of this computer. Round trips: {ECHOES} datagrams, one outstanding, in ms, p50 / p99.\n"
    );
    let machines = Machines::start(program).map_err(|error| error.to_string())?;
    println!("| way | Mbit/s, median | of wireguard-go | processor time for a GB | round trip |");
    println!("|---|--:|--:|--:|--:|");
    let mut found: Vec<(Way, Vec<f64>, Vec<f64>, Figures)> =
        Way::ALL.map(|way| (way, Vec::new(), Vec::new(), Figures::default())).into();
    for _ in 0..runs {
        for (way, rates, costs, trips) in &mut found {
            let (rate, cost) = machines.transfer(*way).map_err(|error| error.to_string())?;
            rates.push(rate);
            costs.extend(cost);
            trips.extend(machines.echoes(*way).map_err(|error| error.to_string())?);
        }
    }
    let other = found.iter().find(|(way, ..)| *way == Way::WireGuardGo).map(|(_, rates, ..)| median(rates));
    for (way, rates, costs, trips) in &found {
        let rate = median(rates);
        let ratio = rate / other.unwrap_or(f64::NAN);
        let cost = if costs.is_empty() { "–".to_owned() } else { format!("{:.1} s", median(costs)) };
        println!("| {} | {rate:.0} | {ratio:.2} | {cost} | {} |", way.name(), trips.spread());
    }
    println!("\nMemory of the two devices after it: {} KiB.", machines.memory().join(" and "));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Cable,
    Mesh,
    WireGuardGo,
}

impl Way {
    const ALL: [Self; 3] = [Self::Cable, Self::Mesh, Self::WireGuardGo];

    fn name(self) -> &'static str {
        match self {
            Self::Cable => "the bare cable",
            Self::Mesh => "the mesh",
            Self::WireGuardGo => "wireguard-go",
        }
    }
}

/// Two machines with three ways between them.
struct Machines {
    addresses: [Ipv6Addr; 3],
    wireguard: [Daemon; 2],
    _servers: Vec<Server>,
    pair: Pair,
}

impl Machines {
    fn start(program: &Path) -> Result<Self, LabError> {
        let topology = Topology::new(Layout::Public, [Nat::None; 2], Nat::None);
        let up: [&[&str]; 2] = [&["--tun", "tibet0", "--mtu", MTU]; 2];
        let pair = Pair::start(Lab::new(program, topology, &std::sync::Arc::default())?, up)?;
        let [_, mesh] = pair.ready()?;
        let lab = &pair.lab;
        let cable: Ipv6Addr = "fd00:77::2".parse().map_err(|_| LabError::new("an address"))?;
        let inside: Ipv6Addr = "fd00:99::2".parse().map_err(|_| LabError::new("an address"))?;
        let mut keys = Vec::new();
        let mut wireguard = Vec::new();
        for (number, machine) in [(1, "a"), (2, "b")] {
            lab.shell(machine, &format!(
                "ip addr add fd00:77::{number}/64 dev $(ip -4 -o addr show scope global | awk 'NR == 1 {{ print $2 }}') nodad"
            ))?;
            let key = lab.shell(machine, "wg genkey")?.trim().to_owned();
            let public = lab.shell(machine, &format!("echo {key} | wg pubkey"))?.trim().to_owned();
            let mut command = Command::new("ip");
            // Its control socket is in the file system, which the machines share.
            let interface = interface(number);
            command.args(["netns", "exec", &lab.netns(machine), "wireguard-go", "-f", &interface]);
            wireguard.push(Daemon::start(&mut command, lab.state(&format!("wireguard-{machine}.log")))?);
            keys.push((key, public));
        }
        for (number, machine) in [(1_usize, "a"), (2, "b")] {
            let interface = interface(number);
            let (own, other) = (&keys[number - 1].0, &keys[2 - number].1);
            let peer = 3 - number;
            lab.wait("wireguard-go", SOON, || lab.shell(machine, &format!("wg show {interface}")).ok())?;
            lab.shell(machine, &format!(
                "umask 077; echo {own} > /tmp/{interface}.key; wg set {interface} private-key /tmp/{interface}.key listen-port 51820 \
                 peer {other} allowed-ips fd00:99::{peer}/128 endpoint '[fd00:77::{peer}]:51820'; rm /tmp/{interface}.key; \
                 ip addr add fd00:99::{number}/64 dev {interface} nodad; ip link set {interface} mtu {MTU} up"
            ))?;
        }
        let addresses = [cable, mesh, inside];
        let servers =
            addresses.iter().map(|at| Server::start(lab, "b", *at)).collect::<Result<Vec<_>, _>>()?;
        let mut echo = Echo::start(lab, "a", mesh)?;
        lab.wait("a direct path", SOON, || {
            let _ = echo.once(Duration::from_millis(50));
            pair.peer(0).is_some_and(|peer| peer.direct).then_some(())
        })?;
        let Ok(wireguard) = <[Daemon; 2]>::try_from(wireguard) else {
            return Err(LabError::new("two machines"));
        };
        Ok(Self { addresses, wireguard, _servers: servers, pair })
    }

    fn address(&self, way: Way) -> Ipv6Addr {
        self.addresses[way as usize]
    }

    /// Mbit/s, and the processor seconds that the two ends of the tunnel took for each 10⁹ bytes.
    fn transfer(&self, way: Way) -> Result<(f64, Option<f64>), LabError> {
        let lab = &self.pair.lab;
        let address = self.address(way).to_string();
        let iperf3 = |machine: &str, arguments: &[&str]| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &lab.netns(machine), "iperf3"]).args(arguments);
            command
        };
        let mut listening =
            iperf3("b", &["-s", "-1", "-B", &address]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let listens = lab.wait("iperf3", SOON, || {
            let listens = lab.shell("b", "cat /proc/net/tcp6").unwrap_or_default();
            // 5201, listening.
            listens.lines().any(|line| line.contains(":1451 ") && line.contains(" 0A ")).then_some(())
        });
        let ends: Vec<u32> = match way {
            Way::Cable => Vec::new(),
            Way::Mesh => [0, 1].map(|at| self.pair.device(at).id()).into(),
            Way::WireGuardGo => self.wireguard.iter().map(Daemon::id).collect(),
        };
        let measured = listens.and_then(|_| {
            let before = processor_seconds(&ends);
            let output = iperf3("a", &["-c", &address, "-t", &SECONDS.to_string(), "-J"]).output()?;
            let spent = processor_seconds(&ends) - before;
            let report: Value = serde_json::from_slice(&output.stdout)
                .map_err(|error| LabError::new(format!("iperf3: {error}")))?;
            let received = &report["end"]["sum_received"];
            let (Some(rate), Some(bytes)) =
                (received["bits_per_second"].as_f64(), received["bytes"].as_f64())
            else {
                return Err(LabError::new(format!("iperf3: {}", report["error"])));
            };
            Ok((rate / 1e6, (!ends.is_empty()).then(|| spent / (bytes / 1e9))))
        });
        let _ = listening.kill();
        let _ = listening.wait();
        measured
    }

    fn echoes(&self, way: Way) -> Result<Vec<Duration>, LabError> {
        let mut echo = Echo::start(&self.pair.lab, "a", self.address(way))?;
        Ok((0..ECHOES).filter_map(|_| echo.once(Duration::from_secs(1))).collect())
    }

    /// What the two devices hold in memory.
    fn memory(&self) -> Vec<String> {
        let of = |id: u32| {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).map(str::trim);
            line.and_then(|line| line.strip_suffix(" kB")).unwrap_or("?").to_owned()
        };
        [0, 1].map(|at| of(self.pair.device(at).id())).into()
    }
}

/// One name for each machine: a control socket bears it.
fn interface(number: impl std::fmt::Display) -> String {
    format!("wg{}-{number}", std::process::id() % 100_000_000)
}

/// Time that these processes have had, in user and in kernel mode.
fn processor_seconds(ids: &[u32]) -> f64 {
    let ticks = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // What follows the name, which may hold anything, begins with the third field; the times are fields 14 and 15 (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    ids.iter().filter_map(ticks).sum::<f64>() / clock_ticks_per_second() as f64
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
