//! Runs `tibet-iot`, and listeners that go on meanwhile.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::running::Running;
use super::{Home, Ran, finish};

pub(crate) fn command(home: &Home) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tibet-iot"));
    command.env_clear().env("HOME", home.path(".")).current_dir(home.path(".")).stdin(Stdio::null());
    command
}

/// Runs with arguments separated by spaces.
pub(crate) fn run(home: &Home, args: &str) -> Ran {
    finish(command(home).args(args.split_whitespace()))
}

/// Runs with `--json`, which must exit with `code`, and gives the objects it prints.
pub(crate) fn json(home: &Home, args: &str, code: i32) -> Vec<Value> {
    let ran = run(home, &format!("{args} --json"));
    assert_eq!(ran.code, Some(code), "{args}: {ran:?}");
    ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A running `tibet-iot listen`. Ended when dropped.
pub(crate) struct Listener {
    running: Running,
    pub(crate) at: SocketAddr,
}

impl Listener {
    /// On the loopback interface, at a free port, not to be discovered.
    pub(crate) fn start(home: &Home, args: &str) -> Self {
        Self::start_with(home, &format!("--port 0 --bind 127.0.0.1 --no-discovery {args}"))
    }

    /// As the arguments say; the port is in the first line.
    pub(crate) fn start_with(home: &Home, args: &str) -> Self {
        let args: Vec<&str> = args.split_whitespace().collect();
        Self::start_args(home, &args)
    }

    pub(crate) fn start_args(home: &Home, args: &[&str]) -> Self {
        let running = Running::start(command(home).arg("listen").args(args));
        let first = running.line("listening");
        let address = match serde_json::from_str::<Value>(&first) {
            Ok(object) => object["address"].as_str().expect("an address").to_owned(),
            Err(_) => first.split(' ').nth(2).expect("an address").to_owned(),
        };
        let at: SocketAddr = address.parse().expect("an address");
        Self { running, at: SocketAddr::from(([127, 0, 0, 1], at.port())) }
    }

    /// The next line on standard output with this text.
    pub(crate) fn line(&mut self, wanted: &str) -> String {
        self.running.line(wanted)
    }

    /// The next object on standard output with this event.
    pub(crate) fn event(&mut self, event: &str) -> Value {
        self.running.event(event, "", "")
    }

    /// The next line on standard error with this text.
    pub(crate) fn note(&mut self, wanted: &str) -> String {
        self.running.note(wanted)
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.running.say(line);
    }

    pub(crate) fn close_stdin(&mut self) {
        self.running.close_stdin();
    }

    /// Ends it as Ctrl-C does, and gives what it left.
    pub(crate) fn stop(self) -> Ran {
        self.signal(Signal::INT);
        self.wait()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(self) -> Ran {
        self.running.wait()
    }
}
