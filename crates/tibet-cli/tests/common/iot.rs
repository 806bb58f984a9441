//! Runs `tibet-iot`, and listeners that go on meanwhile.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Home, Ran, finish};

/// Far longer than anything here takes; only a failing test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

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
    child: Child,
    stdin: Option<ChildStdin>,
    out: Lines,
    err: Lines,
    pub(crate) at: SocketAddr,
}

/// The lines of a pipe, read on a thread of their own.
struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl std::io::Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { receiver, seen: Vec::new() }
    }

    fn wait_for(&mut self, wanted: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(wanted) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {wanted:?} in {:#?}", self.seen)
                }
            }
        }
    }

    fn rest(mut self) -> Vec<String> {
        self.seen.extend(self.receiver.iter());
        self.seen
    }
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
        let mut child = command(home)
            .arg("listen")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut out = Lines::of(child.stdout.take().expect("a pipe"));
        let err = Lines::of(child.stderr.take().expect("a pipe"));
        let stdin = child.stdin.take();
        let first = out.wait_for("listening");
        let address = match serde_json::from_str::<Value>(&first) {
            Ok(object) => object["address"].as_str().expect("an address").to_owned(),
            Err(_) => first.split(' ').nth(2).expect("an address").to_owned(),
        };
        let at: SocketAddr = address.parse().expect("an address");
        Self { child, stdin, out, err, at: SocketAddr::from(([127, 0, 0, 1], at.port())) }
    }

    /// The next line on standard output with this text.
    pub(crate) fn line(&mut self, wanted: &str) -> String {
        self.out.wait_for(wanted)
    }

    /// The next object on standard output with this event.
    pub(crate) fn event(&mut self, event: &str) -> Value {
        let line = self.out.wait_for(&format!("\"event\":\"{event}\""));
        serde_json::from_str(&line).expect("JSON")
    }

    /// The next line on standard error with this text.
    pub(crate) fn note(&mut self, wanted: &str) -> String {
        self.err.wait_for(wanted)
    }

    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        writeln!(stdin, "{line}").expect("written");
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Ends it as Ctrl-C does, and gives what it left.
    pub(crate) fn stop(self) -> Ran {
        self.signal(Signal::INT);
        self.wait()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signalled");
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(mut self) -> Ran {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().expect("waited") {
                Some(status) => break status,
                None if Instant::now() > until => panic!("it does not end"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let empty = || Lines { receiver: channel().1, seen: Vec::new() };
        let out = std::mem::replace(&mut self.out, empty()).rest();
        let err = std::mem::replace(&mut self.err, empty()).rest();
        Ran { code: status.code(), out: out.join("\n"), err: err.join("\n") }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
