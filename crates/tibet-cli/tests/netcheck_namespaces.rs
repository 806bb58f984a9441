//! `netcheck` behind NATs of every kind that the kernel can be made to do, on machines that are network namespaces.
//!
//! ```text
//! home 192.168.1.10 ── router 203.0.113.100 ── server 203.0.113.1 and 203.0.113.3, a node at each
//! ```
//!
//! Needs root, `ip` and `nft`. Without them the tests say so in one line and pass, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

#![allow(clippy::print_stdout, reason = "what was measured, and what was skipped")]

mod common;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use common::running::Running;
use serde_json::Value;

const ONE: &str = "203.0.113.1:7150";
const BOTH: &str = "203.0.113.1:7150,203.0.113.3:7150";

/// The rules of a router; `wan` is the interface to the server.
const CONE: &str = "
    chain out { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }
    chain self { type filter hook input priority filter; iifname \"wan\" ct state new drop; }
    chain through { type filter hook forward priority filter; policy drop;
        ct state established,related accept
        oifname \"wan\" accept
    }";
const SYMMETRIC: &str = "
    chain out { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade random,fully-random; }
    chain self { type filter hook input priority filter; iifname \"wan\" ct state new drop; }
    chain through { type filter hook forward priority filter; policy drop;
        ct state established,related accept
        oifname \"wan\" accept
    }";
/// What was ever sent out from is open to everybody, also from inside.
const FULL_CONE: &str = "
    map inside { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; size 65535; timeout 300s; }
    chain in { type nat hook prerouting priority dstnat;
        ip daddr 203.0.113.100 meta l4proto udp dnat ip to udp dport map @inside
    }
    chain out { type nat hook postrouting priority srcnat;
        oifname \"wan\" meta l4proto udp update @inside { udp sport timeout 300s : ip saddr . udp sport }
        ct status dnat ip saddr 192.168.1.0/24 snat to 203.0.113.100
        oifname \"wan\" masquerade
    }
    chain self { type filter hook input priority filter; iifname \"wan\" ct state new drop; }";
const FIREWALL: &str = "
    chain through { type filter hook forward priority filter; policy drop;
        ct state established,related accept
        oifname \"wan\" accept
    }";
const BLOCKED: &str = "
    chain through { type filter hook forward priority filter; meta l4proto udp drop; }";

struct Lab {
    prefix: String,
    directory: tempfile::TempDir,
    nodes: Vec<Running>,
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, input.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {said}", arguments.join(" "))) }
}

impl Lab {
    /// Machines without cables. An error where this system does not make any.
    fn new() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("nck{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let lab = Self { prefix, directory, nodes: Vec::new() };
        for machine in ["server", "router", "home"] {
            run("ip", &["netns", "add", &lab.netns(machine)], "")?;
            lab.ip(machine, "link set lo up")?;
        }
        run("ip", &["netns", "exec", &lab.netns("router"), "nft", "list", "ruleset"], "")?;
        Ok(lab)
    }

    /// `own` is the home's address, in a /24 with the router at .1.
    fn connect(&self, rules: &str, own: &str, mtu: u16) -> Result<(), String> {
        let network = own.rsplit_once('.').map_or(own, |(network, _)| network);
        self.cable(("router", "wan", "203.0.113.100"), ("server", "eth0", "203.0.113.1"))?;
        self.cable(("router", "lan", &format!("{network}.1")), ("home", "eth0", own))?;
        self.ip("server", "addr add 203.0.113.3/24 dev eth0")?;
        self.ip("server", &format!("route add {network}.0/24 via 203.0.113.100"))?;
        self.ip("router", &format!("link set wan mtu {mtu}"))?;
        self.ip("home", &format!("route add default via {network}.1"))?;
        let router = self.netns("router");
        run("ip", &["netns", "exec", &router, "nft", "-f", "-"], &format!("table ip rules {{ {rules}\n }}"))?;
        run("ip", &["netns", "exec", &router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], "")
    }

    fn with_nodes(mut self) -> Self {
        for address in BOTH.split(',') {
            let arguments = format!("serve --bind {address} --http none");
            let node = Running::start(&mut self.command("server", address, &arguments));
            node.line("\"serving\"");
            self.nodes.push(node);
        }
        self
    }

    fn netns(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    fn ip(&self, machine: &str, arguments: &str) -> Result<(), String> {
        let netns = self.netns(machine);
        run("ip", &[&["-n", &netns][..], &arguments.split(' ').collect::<Vec<_>>()].concat(), "")
    }

    /// A cable between two machines: each with its interface's name and address.
    fn cable(&self, one: (&str, &str, &str), other: (&str, &str, &str)) -> Result<(), String> {
        let link = format!(
            "link add {} netns {} type veth peer name {} netns {}",
            one.1,
            self.netns(one.0),
            other.1,
            self.netns(other.0)
        );
        run("ip", &link.split(' ').collect::<Vec<_>>(), "")?;
        for (machine, interface, address) in [one, other] {
            self.ip(machine, &format!("addr add {address}/24 dev {interface}"))?;
            self.ip(machine, &format!("link set {interface} up"))?;
        }
        Ok(())
    }

    fn command(&self, machine: &str, whose: &str, arguments: &str) -> Command {
        let mut command = Command::new("ip");
        let program = env!("CARGO_BIN_EXE_tibet-overlay");
        command.args(["netns", "exec", &self.netns(machine), program, "--json"]).args(arguments.split(' '));
        let home = self.directory.path().join(whose);
        std::fs::create_dir_all(&home).expect("a directory");
        command.env_clear().env("HOME", &home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(home).stdin(Stdio::null());
        command
    }

    /// What is found at home.
    fn netcheck(&self, nodes: &str) -> Value {
        let output =
            self.command("home", "home", &format!("netcheck --node {nodes}")).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = serde_json::from_str(&said)
            .unwrap_or_else(|_| panic!("{said} {}", String::from_utf8_lossy(&output.stderr)));
        let reachable = report["families"][0]["reachable"] == true;
        assert_eq!(output.status.code(), Some(if reachable { 0 } else { 69 }), "{report}");
        let took = report["took_ms"].as_f64().expect("a number");
        println!("{nodes}: {took:.0} ms, {}, {}", report["families"][0], report["advice"]);
        assert!(took < 5000.0, "{report}");
        report
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.nodes.clear();
        for machine in ["server", "router", "home"] {
            let _ = run("ip", &["netns", "del", &self.netns(machine)], "");
        }
    }
}

fn lab(rules: &str, own: &str, mtu: u16) -> Option<Lab> {
    match Lab::new() {
        Ok(lab) => {
            lab.connect(rules, own, mtu).expect("cables and rules");
            Some(lab.with_nodes())
        }
        Err(reason) => {
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "no lab: {reason}");
            println!("SKIPPED: namespaces behind NATs: {reason}");
            None
        }
    }
}

/// The report's first family: mapping, filtering, hairpin.
fn found(report: &Value) -> (&str, &str, &Value) {
    let family = &report["families"][0];
    let text = |member: &str| family[member].as_str().expect("text");
    (text("mapping"), text("filtering"), &family["hairpin"])
}

fn advises(report: &Value, text: &str) {
    assert!(report["advice"].as_str().expect("text").contains(text), "{report}");
}

#[test]
fn a_cone_nat_is_told_with_one_node_as_far_as_it_can_be_and_with_two_for_certain() {
    let Some(lab) = lab(CONE, "192.168.1.10", 1420) else { return };
    let report = lab.netcheck(ONE);
    let no = &Value::Bool(false);
    assert_eq!(found(&report), ("same_for_one_address", "address_and_port_dependent", no), "{report}");
    assert_eq!(report["nodes"][0]["path_mtu"], 1420, "{report}");
    assert!(report["families"][0]["carrier_nat"].is_null(), "{report}");
    let report = lab.netcheck(BOTH);
    assert_eq!(found(&report), ("endpoint_independent", "address_and_port_dependent", no), "{report}");
    advises(&report, "but devices behind symmetric NATs");
}

/// Inside it is the shared address space of a carrier, too.
#[test]
fn a_symmetric_nat_is_told_with_one_node_and_so_is_a_carriers_address() {
    let Some(lab) = lab(SYMMETRIC, "100.64.1.10", 1492) else { return };
    let report = lab.netcheck(ONE);
    let expected = ("address_and_port_dependent", "address_and_port_dependent", &Value::Bool(false));
    assert_eq!(found(&report), expected, "{report}");
    assert_eq!(report["nodes"][0]["path_mtu"], 1492, "{report}");
    let carrier = report["families"][0]["carrier_nat"].as_str().expect("a reason");
    assert!(carrier.contains("100.64.1.10"), "{report}");
    advises(&report, "open UDP 7150");
}

#[test]
fn a_nat_that_lets_everybody_in_and_leads_back_is_told() {
    let Some(lab) = lab(FULL_CONE, "192.168.1.10", 1500) else { return };
    let report = lab.netcheck(BOTH);
    assert_eq!(
        found(&report),
        ("endpoint_independent", "other_ports_get_in", &Value::Bool(true)),
        "{report}"
    );
    advises(&report, "direct paths work with everybody");
}

#[test]
fn a_firewall_without_a_nat_is_told() {
    let Some(lab) = lab(FIREWALL, "192.168.1.10", 1500) else { return };
    let report = lab.netcheck(ONE);
    assert_eq!(found(&report), ("none", "address_and_port_dependent", &Value::Null), "{report}");
    advises(&report, "no NAT");
}

#[test]
fn where_udp_is_blocked_it_says_so_and_exits_with_69() {
    let Some(lab) = lab(BLOCKED, "192.168.1.10", 1500) else { return };
    let report = lab.netcheck(ONE);
    assert_eq!(report["families"][0]["mapping"], "unknown", "{report}");
    advises(&report, "UDP is blocked");
}
