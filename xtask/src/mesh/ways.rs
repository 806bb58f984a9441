//! The ways between two machines on one cable: bare, through the mesh, and through the tunnels of others.
//!
//! | way | its program, if it is installed |
//! |---|---|
//! | gotatun, boringtun, wireguard-go | `gotatun`, `boringtun-cli`, `wireguard-go`, set up with `wg` |
//! | nebula | `nebula`, `nebula-cert` |

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tibet_cli::overlay::lab::{Daemon, Echo, Lab, LabError, Layout, Nat, Pair, Server, Topology};

use super::installed;
use crate::Outcome;
use crate::load::node::processor_time;

const SOON: Duration = Duration::from_secs(15);
/// What all tunnels are given.
pub(super) const MTU: &str = "1420";
/// The programs of others that speak WireGuard, and what they are to be told.
const WIREGUARD: [(&str, &str, &[&str]); 3] = [
    ("gotatun", "gotatun", &["--disable-drop-privileges", "-f"]),
    ("boringtun", "boringtun-cli", &["--disable-drop-privileges", "-f"]),
    ("wireguard-go", "wireguard-go", &["-f"]),
];

/// One way from machine `a` to machine `b`.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// Where `b` is on this way.
    pub(super) address: IpAddr,
    /// The processes at both ends; none for the cable.
    pub(super) ends: Vec<u32>,
    _server: Server,
    _programs: Vec<Daemon>,
}

/// Two machines on one cable, and all ways between them that this computer has programs for.
pub(super) struct Machines {
    pub(super) ways: Vec<Way>,
    pub(super) pair: Pair,
}

impl Machines {
    pub(super) fn start(program: &Path) -> Result<Self, LabError> {
        let topology = Topology::new(Layout::Public, [Nat::None; 2], Nat::None);
        let up: [&[&str]; 2] = [&["--tun", "tibet0", "--mtu", MTU]; 2];
        let pair = Pair::start(Lab::new(program, topology, &Arc::default())?, up)?;
        let [_, mesh] = pair.ready()?;
        let lab = &pair.lab;
        for number in [1, 2] {
            lab.shell(
                machine(number),
                &format!(
                    "ip addr add {}/64 dev $(ip -4 -o addr show scope global | awk 'NR == 1 {{ print $2 }}') nodad",
                    on_cable(number)
                ),
            )?;
        }
        let devices = [0, 1].map(|at| pair.device(at).id()).into();
        let mut ways = vec![
            Way::new(lab, "the bare cable", on_cable(2).into(), Vec::new(), Vec::new())?,
            Way::new(lab, "the mesh", mesh.into(), devices, Vec::new())?,
        ];
        for (number, (name, program, flags)) in WIREGUARD.into_iter().enumerate() {
            if installed(program) {
                ways.push(wireguard(lab, name, program, flags, number)?);
            }
        }
        if installed("nebula") {
            ways.push(nebula(lab)?);
        }
        let mut echo = Echo::start(lab, "a", mesh)?;
        lab.wait("a direct path", SOON, || {
            let _ = echo.once(Duration::from_millis(50));
            pair.peer(0).is_some_and(|peer| peer.direct).then_some(())
        })?;
        for way in &ways {
            let mut echo = Echo::start(lab, "a", way.address)?;
            lab.wait(way.name, SOON, || echo.once(Duration::from_millis(50)))?;
        }
        Ok(Self { ways, pair })
    }
}

impl Way {
    fn new(
        lab: &Lab,
        name: &'static str,
        address: IpAddr,
        mut ends: Vec<u32>,
        programs: Vec<Daemon>,
    ) -> Result<Self, LabError> {
        ends.extend(programs.iter().map(Daemon::id));
        // An address that was just given to an interface may need a moment.
        let (server, _) = lab.wait(name, SOON, || Server::start(lab, "b", address).ok())?;
        Ok(Self { name, address, ends, _server: server, _programs: programs })
    }

    /// What both ends have had of the processors so far.
    pub(super) fn processor_time(&self) -> Outcome<Duration> {
        self.ends.iter().map(|end| processor_time(*end)).sum()
    }
}

fn machine(number: u8) -> &'static str {
    Pair::MACHINES[usize::from(number == 2)]
}

fn on_cable(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number.into())
}

/// A program on a machine.
fn start(lab: &Lab, number: u8, program: &str, arguments: &[&str]) -> Result<Daemon, LabError> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.netns(machine(number)), program]).args(arguments);
    Daemon::start(&mut command, lab.state(&format!("{program}-{number}.log")))
}

/// WireGuard by somebody else's program, the `index`th of them.
fn wireguard(
    lab: &Lab,
    name: &'static str,
    program: &str,
    flags: &[&str],
    index: usize,
) -> Result<Way, LabError> {
    // One name for each machine: a control socket bears it, in a file system that the machines share.
    let interface = |number: u8| format!("w{}{index}-{number}", std::process::id() % 100_000_000);
    let inside = |number: u8| {
        Ipv6Addr::new(0xfd00, 0x99, 0, u16::try_from(index).unwrap_or_default(), 0, 0, 0, number.into())
    };
    let port = 51_820 + index;
    let (mut keys, mut programs) = (Vec::new(), Vec::new());
    for number in [1, 2] {
        let key = lab.shell(machine(number), "wg genkey")?.trim().to_owned();
        let public = lab.shell(machine(number), &format!("echo {key} | wg pubkey"))?.trim().to_owned();
        keys.push((key, public));
        programs.push(start(lab, number, program, &[flags, &[&interface(number)]].concat())?);
    }
    for number in [1, 2] {
        let (interface, other) = (interface(number), 3 - number);
        let at = usize::from(number) - 1;
        let (own, peer) = (&keys[at].0, &keys[1 - at].1);
        lab.wait(name, SOON, || lab.shell(machine(number), &format!("wg show {interface}")).ok())?;
        let key = lab.state(&format!("{interface}.key"));
        fs::write(&key, own)?;
        lab.shell(
            machine(number),
            &format!(
                "wg set {interface} private-key {} listen-port {port} \
                 peer {peer} allowed-ips {}/128 endpoint '[{}]:{port}'; \
                 ip addr add {}/64 dev {interface} nodad; ip link set {interface} mtu {MTU} up",
                key.display(),
                inside(other),
                on_cable(other),
                inside(number)
            ),
        )?;
    }
    Way::new(lab, name, inside(2).into(), Vec::new(), programs)
}

/// Nebula, whose two machines know each other's addresses.
fn nebula(lab: &Lab) -> Result<Way, LabError> {
    let inside = |number: u8| format!("10.231.99.{number}");
    let file = |name: String| lab.state(&name).display().to_string();
    let ca = file("nebula-ca".to_owned());
    lab.shell("a", &format!("nebula-cert ca -name lab -out-crt {ca}.crt -out-key {ca}.key"))?;
    let mut programs = Vec::new();
    for number in [1, 2] {
        let own = file(format!("nebula-{number}"));
        lab.shell("a", &format!(
            "nebula-cert sign -ca-crt {ca}.crt -ca-key {ca}.key -name m{number} -ip {}/24 -out-crt {own}.crt -out-key {own}.key",
            inside(number)
        ))?;
        let other = 3 - number;
        let config = format!(
            "pki: {{ca: {ca}.crt, cert: {own}.crt, key: {own}.key}}\n\
             static_host_map: {{\"{}\": [\"[{}]:4242\"]}}\n\
             lighthouse: {{am_lighthouse: false, hosts: []}}\n\
             listen: {{host: \"::\", port: 4242}}\n\
             tun: {{dev: neb{number}, mtu: {MTU}}}\n\
             firewall:\n  outbound: [{{port: any, proto: any, host: any}}]\n  inbound: [{{port: any, proto: any, host: any}}]\n",
            inside(other),
            on_cable(other)
        );
        fs::write(format!("{own}.yml"), config)?;
        programs.push(start(lab, number, "nebula", &["-config", &format!("{own}.yml")])?);
    }
    let address = inside(2).parse().map_err(|_| LabError::new("an address"))?;
    Way::new(lab, "nebula", address, Vec::new(), programs)
}
