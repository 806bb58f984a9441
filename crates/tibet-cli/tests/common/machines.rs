//! The command on the machines of a [`Lab`], for tests that look at what it prints. Needs root, `ip` and `nft`.

#![allow(clippy::print_stdout, reason = "what was skipped")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tibet_cli::overlay::lab::{Lab, LabError, Topology};

use super::running::{DEADLINE, Running};

/// Makes the machines.
pub(crate) fn lab(topology: Topology) -> Result<Lab, LabError> {
    Lab::new(Path::new(env!("CARGO_BIN_EXE_tibet-overlay")), topology, &Arc::default())
}

/// The lab that was made. Without one the test is skipped, and says so, unless `TIBET_REQUIRE_ALL` is set.
pub(crate) fn or_skip(made: Result<Lab, LabError>, what: &str) -> Option<Lab> {
    made.map_err(|reason| {
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "no lab: {reason}");
        println!("SKIPPED: {what}: {reason}");
    })
    .ok()
}

/// What runs on machines.
pub(crate) trait Machines {
    /// Any program on a machine.
    fn exec(&self, machine: &str, program: &str, arguments: &[&str]) -> Command;
    /// The command on a machine, with arguments separated by spaces, as somebody with files of their own.
    fn tibet_overlay(&self, machine: &str, whose: &str, arguments: &str) -> Command;

    /// Runs the command to its end: exit code and what it printed last.
    fn ask(&self, machine: &str, whose: &str, arguments: &str) -> (Option<i32>, Value) {
        let output = self.tibet_overlay(machine, whose, arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let value = value.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned().into());
        (output.status.code(), value)
    }

    /// Asks again and again until the answer is as wanted, and says how long that took.
    fn ask_until(
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

    fn start(&self, machine: &str, whose: &str, arguments: &str) -> Running {
        Running::start(&mut self.tibet_overlay(machine, whose, arguments))
    }
}

impl Machines for Lab {
    fn exec(&self, machine: &str, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns(machine), program]).args(arguments).stdin(Stdio::null());
        command
    }

    fn tibet_overlay(&self, machine: &str, whose: &str, arguments: &str) -> Command {
        let mut command = self.command(machine, whose);
        command.arg("--json").args(arguments.split(' '));
        command
    }
}
