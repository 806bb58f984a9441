//! A program that goes on while the test looks at what it prints.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Ran;

/// Far longer than anything here takes; only a failing test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running program. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Lines,
    err: Lines,
}

/// The lines of a pipe, read on a thread of their own.
struct Lines {
    receiver: Receiver<String>,
    seen: RefCell<Vec<String>>,
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
        Self { receiver, seen: RefCell::default() }
    }

    /// The next line that is wanted; none when the program ends, or the deadline comes, before.
    fn next(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.receiver.recv_timeout(left).ok()?;
            self.seen.borrow_mut().push(line.clone());
            if wanted(&line) {
                return Some(line);
            }
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// All there was, to the end. `unseen`: without what was looked at before.
    fn rest(&self, unseen: bool) -> String {
        let before = if unseen { Vec::new() } else { self.seen() };
        before.into_iter().chain(self.receiver.iter()).collect::<Vec<_>>().join("\n")
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let out = Lines::of(child.stdout.take().expect("a pipe"));
        let err = Lines::of(child.stderr.take().expect("a pipe"));
        let stdin = child.stdin.take();
        Self { child, stdin, out, err }
    }

    /// The first line on standard output; what the program left, where it ends without one.
    pub(crate) fn first_line(mut self) -> Result<(Self, String), Ran> {
        match self.out.next(|_| true) {
            Some(line) => Ok((self, line)),
            None => {
                // It has ended, or is ended now.
                let _ = self.child.kill();
                Err(self.wait())
            }
        }
    }

    /// The next line on standard output with this text.
    pub(crate) fn line(&self, wanted: &str) -> String {
        let line = self.out.next(|line| line.contains(wanted));
        line.unwrap_or_else(|| {
            panic!("no line with {wanted:?} in {:#?}, {:#?}", self.out.seen(), self.err.seen())
        })
    }

    /// The next line on standard error with this text.
    pub(crate) fn note(&self, wanted: &str) -> String {
        let line = self.err.next(|line| line.contains(wanted));
        line.unwrap_or_else(|| panic!("no line with {wanted:?} in {:#?}", self.err.seen()))
    }

    /// The next object on standard output of this event, with this member, if one is named.
    pub(crate) fn event(&self, event: &str, member: &str, value: &str) -> Value {
        let parsed = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        let line = self.out.next(|line| {
            let object = parsed(line);
            object["event"] == event && (member.is_empty() || object[member] == value)
        });
        let line =
            line.unwrap_or_else(|| panic!("no {event} with {member} {value:?} in {:#?}", self.out.seen()));
        parsed(&line)
    }

    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        writeln!(stdin, "{line}").expect("written");
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Waits for it to end by itself, and gives its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for it to end by itself, and gives all that it printed.
    pub(crate) fn wait(self) -> Ran {
        self.left(false)
    }

    /// Likewise, without what the test has looked at.
    pub(crate) fn wait_for_rest(self) -> Ran {
        self.left(true)
    }

    fn left(mut self, unseen: bool) -> Ran {
        let code = self.ended();
        Ran { code, out: self.out.rest(unseen), err: self.err.rest(unseen) }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
