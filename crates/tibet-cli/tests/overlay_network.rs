//! Three terminals: a node, two devices that are up, and commands that go through them.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::Home;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far longer than anything here takes; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A command that goes on. Ended when dropped.
struct Terminal {
    child: Child,
    lines: Receiver<String>,
}

impl Terminal {
    fn run(home: &Home, args: &str) -> Self {
        let mut command: Command = home.command();
        let command = command.args(args.split_whitespace()).arg("--json");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let out = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next object with these members.
    fn event(&self, event: &str, member: &str, value: &str) -> Value {
        let until = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let object: Value = serde_json::from_str(&line).expect("JSON");
            if object["event"] == event && (member.is_empty() || object[member] == value) {
                return object;
            }
            seen.push(line);
        }
        panic!("no {event} with {member} {value:?} in {seen:#?}")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    fn ended(&mut self) -> Option<i32> {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(home: &Home) -> (Terminal, String) {
    let node = Terminal::run(home, "serve --bind 127.0.0.1:0 --http none --keepalive 5");
    let serving = node.event("serving", "", "");
    let address = serving["address"].as_str().expect("an address").to_owned();
    (node, address)
}

fn up(home: &Home, name: &str, node: &str, more: &str) -> Terminal {
    home.ok(&format!("id new {name}"));
    let device = Terminal::run(home, &format!("up --node {node} --bind 127.0.0.1:0 --no-discovery {more}"));
    device.event("up", "name", name);
    device.event("node", "state", "registered");
    device
}

#[test]
fn devices_are_verified_resolved_found_and_pinged_by_name() {
    let (server, sensor, hub, stranger) = (Home::new(), Home::new(), Home::new(), Home::new());
    let (_node, at) = serve(&server);
    let mut one = up(&sensor, "jis:home:sensor", &at, "--capability mqtt");
    let _two = up(&hub, "jis:home:hub", &at, "");

    // Through the daemon.
    let verified = hub.json("verify jis:home:sensor", 0);
    assert_eq!((&verified["schema"], &verified["verified"]), (&"tibet.overlay.verify".into(), &true.into()));
    assert_eq!(verified["path"], format!("via node {at}"));
    assert!(verified["rtt_ms"].is_number() && verified["bound_since"].is_string(), "{verified}");
    let resolved = hub.json("resolve jis:home:sensor", 0);
    assert_eq!((&resolved["resolved"], &resolved["fingerprint"]), (&true.into(), &verified["fingerprint"]));
    let found = hub.json("find mqtt", 0);
    assert_eq!((&found["total"], &found["devices"][0]["name"]), (&1.into(), &"jis:home:sensor".into()));
    assert_eq!(hub.json("find coffee", 1)["total"], 0);
    // Nobody vouches for the hub at the sensor: a human would decide there. That is an answer.
    let ping = hub.json("ping jis:home:sensor", 0);
    assert_eq!((&ping["zone"], &ping["decision"]), (&"GEEL".into(), &"pending".into()), "{ping}");
    assert_eq!(ping["path"], format!("via node {at}"));
    let status = sensor.json("status", 0);
    assert_eq!(
        (&status["name"], &status["nodes"][0]["state"]),
        (&"jis:home:sensor".into(), &"registered".into())
    );

    // Without a daemon, and without an identity.
    let verified = stranger.json(&format!("verify jis:home:sensor --node {at}"), 0);
    assert_eq!(verified["verified"], true);
    assert_eq!(stranger.json(&format!("resolve jis:home:nobody --node {at}"), 1)["resolved"], false);
    assert_eq!(stranger.json(&format!("status --node {at}"), 0)["nodes"][0]["key"], verified["node_key"]);
    let silence = stranger.json(&format!("ping jis:home:sensor --node {at}"), 1);
    assert_eq!(
        (&silence["answered"], silence["tried"].as_array().map(Vec::len)),
        (&false.into(), Some(2)),
        "{silence}"
    );
    let nowhere = stranger.run("ping jis:home:sensor");
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    assert!(nowhere.err.contains("try: --node"), "{nowhere:?}");

    // Terminals are for people.
    let text = hub.ok("verify jis:home:sensor");
    assert!(
        text.starts_with("✓ jis:home:sensor is who it says it is") && text.contains("via node"),
        "{text}"
    );

    // A second one of the same device does not start.
    let second = sensor.run(&format!("up --node {at} --bind 127.0.0.1:0 --no-discovery"));
    assert_eq!(second.code, Some(75), "{second:?}");

    one.signal(Signal::TERM);
    assert_eq!(one.ended(), Some(0));
    one.event("down", "name", "jis:home:sensor");
    let gone = hub.json("verify jis:home:sensor", 69);
    assert_eq!((&gone["verified"], &gone["asked"]), (&false.into(), &false.into()));
}

#[test]
fn a_trusted_name_gets_through_and_a_rotated_key_is_taken_up() {
    let (server, sensor, hub) = (Home::new(), Home::new(), Home::new());
    let (_node, at) = serve(&server);
    let one = up(&sensor, "jis:home:sensor", &at, "--trust jis:home:hub=0.95");
    hub.ok("id new jis:home:hub");
    let registered = hub.json(&format!("register --node {at} --capability door"), 0);
    assert_eq!(
        (&registered["nodes"][0]["registered"], &registered["capabilities"][0]),
        (&true.into(), &"door".into())
    );
    let ping = hub.json(&format!("ping jis:home:sensor --node {at}"), 0);
    assert_eq!((&ping["zone"], &ping["decision"]), (&"GROEN".into(), &"accept".into()), "{ping}");
    assert!(ping["path"].as_str().is_some_and(|path| path.starts_with("direct to ")), "{ping}");

    sensor.ok("id rotate");
    // At once, instead of within a second.
    one.signal(Signal::HUP);
    let until = Instant::now() + DEADLINE;
    loop {
        // Between the device's own change and the node's hearing of it, its proofs do not convince.
        let ran = hub.run(&format!("verify jis:home:sensor --node {at} --json"));
        let verified: Value = serde_json::from_str(&ran.out).expect("JSON");
        if verified["generation"] == 1 && verified["verified"] == true {
            break;
        }
        assert!(Instant::now() < until, "{verified}");
    }
}

#[test]
fn what_cannot_be_done_says_what_to_try() {
    let home = Home::new();
    home.ok("id new jis:home:sensor");
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let at = closed.local_addr().expect("an address");
    for (args, code, words) in [
        ("up".to_owned(), 2, "--node ADDR"),
        ("up --node a:b:c --bind 127.0.0.1:0".to_owned(), 2, "invalid value"),
        ("up --node 127.0.0.1 --trust jis:x=2".to_owned(), 2, "--trust"),
        (format!("verify jis:home:sensor --node {at}"), 69, "does not answer"),
        ("find a/b/\u{7} --node 127.0.0.1:9".to_owned(), 2, "a capability is"),
    ] {
        let ran = home.run(&args);
        assert_eq!(ran.code, Some(code), "{args}: {ran:?}");
        assert!(ran.err.contains(words), "{args}: {ran:?}");
    }
}
