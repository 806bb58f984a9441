//! Machines that are network namespaces, joined by virtual cables: two homes behind home routers behind one carrier's NAT, and a server with a public
//! address. Needs root, `ip` and `nft`.
//!
//! ```text
//! home a 192.168.1.10 ── router ─┐
//!                                ├─ carrier 203.0.113.100 ── server 203.0.113.1
//! home b 192.168.1.10 ── router ─┘
//! ```

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::running::{DEADLINE, Running};

/// How a router translates addresses (RFC 4787).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nat {
    /// One port outside for a port inside, whoever is spoken to.
    Cone,
    /// Another one for each that is spoken to.
    Symmetric,
}

pub(crate) struct Lab {
    prefix: String,
    directory: tempfile::TempDir,
}

/// Runs a command; its words if it fails.
fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        std::io::Write::write_all(&mut stdin, input.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {said}", arguments.join(" "))) }
}

impl Lab {
    pub(crate) fn new(nat: Nat) -> Result<Self, String> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let prefix = format!("lab{}-{number}", std::process::id());
        let lab = Self { prefix, directory: tempfile::tempdir().map_err(|error| error.to_string())? };
        for machine in ["server", "carrier", "router-a", "router-b", "a", "b"] {
            run("ip", &["netns", "add", &lab.netns(machine)], None)?;
            lab.ip(machine, "link set lo up")?;
        }
        lab.cable("server", "203.0.113.1/24", "carrier", "203.0.113.100/24")?;
        for (home, carrier, router) in
            [("a", "100.64.1.1/24", "100.64.1.2/24"), ("b", "100.64.2.1/24", "100.64.2.2/24")]
        {
            let (name, gateway) = (format!("router-{home}"), carrier.trim_end_matches("/24"));
            lab.cable("carrier", carrier, &name, router)?;
            lab.ip(&name, &format!("route add default via {gateway}"))?;
            // The very same addresses inside.
            lab.cable(&name, "192.168.1.1/24", home, "192.168.1.10/24")?;
            lab.ip(home, "route add default via 192.168.1.1")?;
            lab.translate(&name, "to-carrier", nat)?;
        }
        lab.translate("carrier", "to-server", nat)?;
        Ok(lab)
    }

    fn netns(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    /// `ip` within a machine.
    pub(crate) fn ip(&self, machine: &str, arguments: &str) -> Result<(), String> {
        let netns = self.netns(machine);
        run("ip", &[&["-n", &netns][..], &arguments.split(' ').collect::<Vec<_>>()].concat(), None)
    }

    /// A cable whose ends are named after the other machine.
    fn cable(&self, one: &str, at_one: &str, other: &str, at_other: &str) -> Result<(), String> {
        let (to_other, to_one) = (format!("to-{other}"), format!("to-{one}"));
        let (one_netns, other_netns) = (self.netns(one), self.netns(other));
        let link =
            format!("link add {to_other} netns {one_netns} type veth peer name {to_one} netns {other_netns}");
        run("ip", &link.split(' ').collect::<Vec<_>>(), None)?;
        for (machine, interface, address) in [(one, &to_other, at_one), (other, &to_one, at_other)] {
            self.ip(machine, &format!("addr add {address} dev {interface}"))?;
            self.ip(machine, &format!("link set {interface} up"))?;
        }
        Ok(())
    }

    /// Makes a machine a router that translates what leaves by `interface`, and lets nothing in that was not asked for.
    fn translate(&self, machine: &str, interface: &str, nat: Nat) -> Result<(), String> {
        let how = if nat == Nat::Symmetric { "masquerade random,fully-random" } else { "masquerade" };
        let rules = format!(
            "table ip nat {{
                chain out {{ type nat hook postrouting priority srcnat; oifname \"{interface}\" {how}; }}
                chain self {{ type filter hook input priority filter; iifname \"{interface}\" ct state new drop; }}
                chain through {{ type filter hook forward priority filter; policy drop;
                    ct state established,related accept
                    oifname \"{interface}\" accept
                }}
            }}"
        );
        let netns = self.netns(machine);
        run("ip", &["netns", "exec", &netns, "nft", "-f", "-"], Some(&rules))?;
        run("ip", &["netns", "exec", &netns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], None)
    }

    pub(crate) fn home(&self, whose: &str) -> PathBuf {
        let path = self.directory.path().join(whose);
        std::fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Any program on a machine.
    pub(crate) fn exec(&self, machine: &str, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns(machine), program]).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// The command on a machine, as somebody with a home directory.
    pub(crate) fn tibet_overlay(&self, machine: &str, whose: &str, arguments: &str) -> Command {
        let mut command = Command::new("ip");
        let program = env!("CARGO_BIN_EXE_tibet-overlay");
        command.args(["netns", "exec", &self.netns(machine), program, "--json"]).args(arguments.split(' '));
        let home = self.home(whose);
        command.env_clear().env("HOME", &home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(home).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end: exit code and what it printed.
    pub(crate) fn ask(&self, machine: &str, whose: &str, arguments: &str) -> (Option<i32>, Value) {
        let output = self.tibet_overlay(machine, whose, arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let value = value.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned().into());
        (output.status.code(), value)
    }

    /// Asks again and again until the answer is as wanted, and says how long that took.
    pub(crate) fn ask_until(
        &self,
        machine: &str,
        whose: &str,
        arguments: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> (Duration, Value) {
        let begun = Instant::now();
        loop {
            let (code, value) = self.ask(machine, whose, arguments);
            if code == Some(0) && wanted(&value) {
                return (begun.elapsed(), value);
            }
            assert!(begun.elapsed() < DEADLINE, "{arguments}: {code:?} {value}");
        }
    }

    pub(crate) fn start(&self, machine: &str, whose: &str, arguments: &str) -> Running {
        let mut command = self.tibet_overlay(machine, whose, arguments);
        Running::start(&mut command)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in ["server", "carrier", "router-a", "router-b", "a", "b"] {
            let _ = run("ip", &["netns", "del", &self.netns(machine)], None);
        }
    }
}
