//! The machines of a lab and the cables between them, as one shell script.

use std::fmt::Write as _;

use super::rules::{OUT, guard, translate};
use super::{Layout, Nat, Topology};

/// All machines that there may be.
pub(super) const MACHINES: [&str; 7] = ["node", "carrier-a", "carrier-b", "router-a", "router-b", "a", "b"];
/// The network of every home.
pub(super) const HOME: &str = "192.168.1.0/24";
/// The network between homes and carriers (RFC 6598).
pub(super) const SHARED: &str = "100.64.0.0/10";

/// A script in the making.
pub(super) struct Wires<'a> {
    prefix: &'a str,
    script: String,
}

impl<'a> Wires<'a> {
    /// The script that makes a lab, for `sh -e`.
    pub(super) fn script(prefix: &'a str, topology: &Topology) -> String {
        let mut wires = Wires { prefix, script: String::new() };
        wires.machine("node");
        wires.bridge("node", "br0");
        match topology.layout {
            Layout::Ipv6 => wires.ipv6(),
            _ => wires.ipv4(topology),
        }
        wires.script
    }

    /// `@MACHINE` stands for its namespace.
    fn line(&mut self, line: &str) {
        let line = line.replace('@', &format!("{}-", self.prefix));
        let _ = writeln!(self.script, "{line}");
    }

    fn machine(&mut self, name: &str) {
        self.line(&format!("ip netns add @{name}; ip -n @{name} link set lo up"));
    }

    fn rules(&mut self, machine: &str, family: &str, rules: &str) {
        let path = if family == "ip6" { "ipv6/conf/all/forwarding" } else { "ipv4/ip_forward" };
        self.line(&format!("ip netns exec @{machine} sh -c 'echo 1 > /proc/sys/net/{path}'"));
        self.line(&format!("ip netns exec @{machine} nft -f - <<'END'"));
        let _ = writeln!(self.script, "{rules}\nEND");
    }

    /// What goes from one port of a home's switch to another is no matter of its router's rules.
    fn bridge(&mut self, machine: &str, name: &str) {
        self.line(&format!(
            "ip -n @{machine} link add {name} type bridge; ip -n @{machine} link set {name} up"
        ));
        let filtered = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        self.line(&format!("ip netns exec @{machine} sh -c '[ ! -e {filtered} ] || echo 0 > {filtered}'"));
    }

    fn address(&mut self, machine: &str, interface: &str, address: &str) {
        let nodad = if address.contains("::") { " nodad" } else { "" };
        self.line(&format!("ip -n @{machine} addr add {address} dev {interface}{nodad}"));
    }

    /// A cable from the outer side of a machine to the bridge of another.
    fn plug(&mut self, machine: &str, interface: &str, address: &str, bridge_at: &str, bridge: &str) {
        let end = format!("to-{machine}");
        self.line(&format!(
            "ip link add {interface} netns @{machine} type veth peer name {end} netns @{bridge_at}"
        ));
        self.line(&format!("ip -n @{bridge_at} link set {end} master {bridge} up"));
        self.address(machine, interface, address);
        self.line(&format!("ip -n @{machine} link set {interface} up"));
    }

    /// A cable from the outer side of a machine to a machine before it.
    fn behind(&mut self, machine: &str, address: &str, before: &str, gateway: &str) {
        let (end, length) = (format!("to-{machine}"), address.rsplit('/').next().unwrap_or_default());
        self.line(&format!("ip link add {OUT} netns @{machine} type veth peer name {end} netns @{before}"));
        self.address(before, &end, &format!("{gateway}/{length}"));
        self.address(machine, OUT, address);
        self.line(&format!("ip -n @{before} link set {end} up; ip -n @{machine} link set {OUT} up"));
        self.line(&format!("ip -n @{machine} route add default via {gateway}"));
    }

    fn ipv4(&mut self, topology: &Topology) {
        for address in ["203.0.113.1/24", "203.0.113.3/24"] {
            self.address("node", "br0", address);
        }
        let one_home = topology.layout == Layout::OneHome;
        let hairpin = topology.layout == Layout::Hairpin;
        let carriers: &[(&str, &str)] = match topology.layout {
            Layout::Public | Layout::Ipv6 => &[],
            Layout::Separate => &[("carrier-a", "203.0.113.100"), ("carrier-b", "203.0.113.101")],
            Layout::Shared | Layout::Hairpin | Layout::OneHome => &[("carrier-a", "203.0.113.100")],
        };
        for (carrier, outside) in carriers {
            self.machine(carrier);
            self.plug(carrier, OUT, &format!("{outside}/24"), "node", "br0");
            self.rules(carrier, "ip", &translate(topology.carrier, SHARED, outside, hairpin));
        }
        let sides = [("a", "router-a", topology.homes[0]), ("b", "router-b", topology.homes[1])];
        for (at, (device, router, nat)) in sides.into_iter().enumerate() {
            self.machine(device);
            if one_home && at == 1 {
                self.at_home(device, "router-a", "192.168.1.20");
                continue;
            }
            // What stands where the home meets the internet.
            let edge = if nat == Nat::None { device } else { router };
            if nat != Nat::None {
                self.machine(router);
            }
            let carrier = carriers.get(at).or(carriers.first()).map(|(carrier, _)| *carrier);
            let outside = match carrier {
                None => {
                    let outside = format!("203.0.113.{}", 110 + at);
                    self.plug(edge, OUT, &format!("{outside}/24"), "node", "br0");
                    self.line(&format!("ip -n @{edge} route add default via 203.0.113.1"));
                    outside
                }
                Some(carrier) => {
                    let outside = format!("100.64.{}.2", at + 1);
                    self.behind(edge, &format!("{outside}/24"), carrier, &format!("100.64.{}.1", at + 1));
                    outside
                }
            };
            if nat != Nat::None {
                self.bridge(router, "lan");
                self.address(router, "lan", "192.168.1.1/24");
                self.rules(router, "ip", &translate(nat, HOME, &outside, false));
                let inside = if at == 0 || topology.same_address { "192.168.1.10" } else { "192.168.1.20" };
                self.at_home(device, router, inside);
            }
        }
    }

    fn at_home(&mut self, device: &str, router: &str, address: &str) {
        self.plug(device, OUT, &format!("{address}/24"), router, "lan");
        self.line(&format!("ip -n @{device} route add default via 192.168.1.1"));
    }

    fn ipv6(&mut self) {
        self.address("node", "br0", "2001:db8::1/64");
        for (device, router, number) in [("a", "router-a", 10), ("b", "router-b", 20)] {
            self.machine(device);
            self.machine(router);
            self.plug(router, OUT, &format!("2001:db8::{number}/64"), "node", "br0");
            self.line(&format!("ip -n @{router} route add default via 2001:db8::1"));
            self.line(&format!("ip -n @node route add 2001:db8:{number}::/64 via 2001:db8::{number}"));
            self.rules(router, "ip6", &guard());
            self.behind(
                device,
                &format!("2001:db8:{number}::10/64"),
                router,
                &format!("2001:db8:{number}::1"),
            );
        }
        self.line("ip netns exec @node sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/forwarding'");
    }
}
