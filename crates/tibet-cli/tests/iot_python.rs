//! `tibet-iot` and nodes of the Python packages on loopback, in both directions (`interop/ping_node.py`).
//!
//! Without the packages the tests say so in one line and pass, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far longer than anything here takes; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// The interpreter with the packages.
#[allow(clippy::print_stdout, reason = "that is how a test tells")]
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("TIBET_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("SKIPPED: TIBET_PYTHON does not name a Python with interop/requirements.txt installed");
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "required, but there is no TIBET_PYTHON");
    }
    python
}

/// A program that prints JSON lines.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    /// The next line that is wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| panic!("{what}: {error}"));
            if wanted(&line) {
                return line;
            }
        }
    }

    fn event(&self, event: &str) -> Value {
        self.wait(event, |line| line["event"] == event)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its input ends the Python node; ours ends by a signal.
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ours(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tibet-iot"));
    command.env_clear().env("HOME", home).current_dir(home).arg("--json");
    command
}

fn theirs(python: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/ping_node.py");
    let mut command = Command::new(python);
    command.arg("-I").arg(script);
    command
}

/// Our hub, and where it is.
fn listen(home: &Path, arguments: &[&str]) -> (Program, String) {
    let fixed = ["listen", "--did", "jis:home:hub", "--port", "0", "--bind", "127.0.0.1", "--no-discovery"];
    let program = Program::start(ours(home).args(fixed).args(arguments));
    let at = program.event("listening")["address"].as_str().expect("an address").to_owned();
    (program, at)
}

/// Their hub, and where it is.
fn python_listens(python: &Path, name: &str, arguments: &[&str]) -> (Program, String) {
    let program = Program::start(theirs(python).args(["listen", name]).args(arguments));
    let port = program.wait("the port", |line| !line["port"].is_null())["port"].clone();
    (program, format!("127.0.0.1:{port}"))
}

/// Runs a command to its end: its exit code and the JSON lines it printed.
fn run(command: &mut Command) -> (Option<i32>, Vec<Value>) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    (output.status.code(), lines.collect())
}

const ENCODINGS: [&[&str]; 2] = [&[], &["--msgpack"]];

#[test]
fn python_asks_us_and_each_zone_comes_out_as_it_must() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().expect("directory");
    let (green, yellow, red) = ("jis:home:green", "jis:home:yellow", "jis:home:red");
    let mut arguments = Vec::new();
    for name in [green, yellow, red] {
        arguments.extend(["--allow-unsigned", name]);
    }
    arguments.extend(["--trust", "jis:home:green=0.9", "--trust", "jis:home:yellow=0.5"]);
    let (hub, at) = listen(home.path(), &arguments);
    for encoding in ENCODINGS {
        for (name, zone, decision) in
            [(green, "GROEN", "accept"), (yellow, "GEEL", "pending"), (red, "ROOD", "reject")]
        {
            let timeout = if zone == "ROOD" { "0.5" } else { "20" };
            let asked = ["send", "jis:home:hub", &at, "temperature.read", "--my-did", name];
            let (code, lines) = run(theirs(&python).args(asked).args(encoding).args(["--timeout", timeout]));
            assert_eq!(code, Some(0), "{name} {encoding:?}");
            let answer = &lines[0];
            let seen = hub.event("ping");
            assert_eq!((&seen["source_did"], &seen["airlock_zone"]), (&name.into(), &zone.into()), "{seen}");
            assert_eq!(seen["verified"], false);
            if zone == "ROOD" {
                assert!(answer.is_null(), "silence, not {answer}");
                continue;
            }
            assert_eq!(answer["decision"], decision, "{name} {encoding:?}");
            assert_eq!(answer["airlock_zone"], zone);
            assert_eq!(answer["responder_did"], "jis:home:hub");
        }
    }
}

#[test]
fn we_ask_python_which_ignores_what_it_does_not_know() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().expect("directory");
    for encoding in ENCODINGS {
        let arguments = [&["--trust", "jis:home:hub=0.95"], encoding].concat();
        let (sensor, at) = python_listens(&python, "jis:home:sensor", &arguments);
        let asked = ["send", "jis:home:sensor", &at, "temperature.read", "--my-did", "jis:home:hub"];
        let allowed = ["--allow-unsigned", "jis:home:sensor", "--payload", "{\"unit\": \"°C\"}"];
        let (code, lines) = run(ours(home.path()).args(asked).args(allowed).args(encoding));
        assert_eq!(code, Some(0), "{lines:?}");
        let answer = lines.iter().find(|line| line["event"] == "answer").expect("an answer");
        assert_eq!((&answer["decision"], &answer["airlock_zone"]), (&"accept".into(), &"GROEN".into()));
        assert_eq!(answer["trust_score"], 0.95);
        // Nobody signed it, and that is said.
        assert_eq!(answer["verified"], false);
        let seen = sensor.wait("the question", |line| !line["asked"].is_null());
        assert_eq!(seen["asked"]["payload"]["unit"], "°C");
        assert_eq!(seen["asked"]["signature"].as_str().map(str::len), Some(128), "it is signed all the same");
    }
}

#[test]
fn an_unsigned_answer_is_not_believed_unless_that_is_allowed() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().expect("directory");
    let (_sensor, at) = python_listens(&python, "jis:home:sensor", &["--trust", "jis:home:hub=0.95"]);
    let asked = ["send", "jis:home:sensor", &at, "temperature.read", "--my-did", "jis:home:hub"];
    let (code, lines) = run(ours(home.path()).args(asked).args(["--timeout", "2"]));
    assert_eq!(code, Some(1));
    let reasons = lines.iter().find(|line| line["event"] == "no_answer").expect("no answer");
    assert!(reasons["ignored"]["unsigned"].as_u64() >= Some(1), "{reasons}");
    assert!(reasons["reasons"].to_string().contains("--allow-unsigned jis:home:sensor"), "{reasons}");
}

/// SECURITY 3.2 row 77, R72.
#[test]
fn an_unsigned_packet_in_a_name_that_was_seen_signed_is_dropped() {
    let Some(python) = python() else { return };
    let (hub_home, sensor_home) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("home"));
    let allowed = ["--allow-unsigned", "jis:home:sensor", "--trust", "jis:home:sensor=0.9"];
    let (hub, at) = listen(hub_home.path(), &allowed);
    let python_asks = |timeout: &str| {
        let asked = ["send", "jis:home:hub", &at, "temperature.read", "--my-did", "jis:home:sensor"];
        run(theirs(&python).args(asked).args(["--timeout", timeout])).1.remove(0)
    };
    assert_eq!(python_asks("20")["decision"], "accept", "before");
    let asked = ["send", "jis:home:hub", &at, "temperature.read", "--my-did", "jis:home:sensor"];
    let (code, lines) = run(ours(sensor_home.path()).args(asked));
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(python_asks("0.5").is_null(), "after");
    drop(hub);
}

/// A Python relay drops members that it does not know, our signature's among them, and does not bring answers back. So of a mesh packet that
/// passes one arrives what an unsigned packet says, where that is allowed, and no answer returns.
#[test]
fn through_a_python_relay_only_what_its_own_faults_let_pass() {
    let Some(python) = python() else { return };
    let (target_home, asker_home) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("home"));
    let arguments = ["--allow-unsigned", "jis:home:asker", "--trust", "jis:home:asker=0.9"];
    let (target, at) = listen(target_home.path(), &arguments);
    let peer = format!("jis:home:hub={at}");
    let (relay, relay_at) = python_listens(&python, "jis:home:relay", &["--peer", &peer]);
    let asked = ["send", "jis:home:hub", &relay_at, "temperature.read", "--my-did", "jis:home:asker"];
    let (code, lines) = run(ours(asker_home.path()).args(asked).args(["--mesh", "--timeout", "3"]));
    // What works: the packet reaches its target, one hop on.
    let passed = relay.wait("the packet", |line| !line["relayed"].is_null());
    assert_eq!((&passed["relayed"]["hop_count"], &passed["to"]), (&1.into(), &at.as_str().into()));
    let seen = target.event("ping");
    assert_eq!((&seen["hop_count"], &seen["verified"]), (&1.into(), &false.into()));
    assert_eq!(seen["decision"], "accept");
    // What does not: the answer ends at the relay, which expects none.
    let answer = relay.wait("the answer", |line| !line["response"].is_null());
    assert_eq!((&answer["response"]["decision"], &answer["expected"]), (&"accept".into(), &false.into()));
    assert_eq!(code, Some(1), "{lines:?}");
}
