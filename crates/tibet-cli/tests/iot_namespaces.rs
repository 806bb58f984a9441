//! `tibet-iot` on machines of its own, which are network namespaces joined by virtual cables: the mesh, and silence.
//!
//! Needs root and `ip`. Without them the tests say so in one line and pass, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use jis::{Name, SecretKey, UnixTime};
use serde_json::Value;
use tibet_core::object;
use tibet_ping::{Encoding, Fresh, Packet, Priority, RoutingMode, sign_ping};
use zeroize::Zeroizing;

/// Far longer than anything here takes; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.success() { Ok(()) } else { Err(format!("ip {arguments}: {said}")) }
}

/// A network namespace and a home directory.
struct Machine {
    netns: String,
    home: tempfile::TempDir,
}

impl Machine {
    fn new() -> Result<Self, String> {
        let netns = format!("iot{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {netns}"))?;
        let machine = Self { netns, home: tempfile::tempdir().map_err(|error| error.to_string())? };
        // Nothing but what the test sends: no router solicitations, no group reports.
        machine.shell(
            "for all in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $all; done; ip link set lo up",
        );
        Ok(machine)
    }

    /// Runs a shell command within, and gives what it prints.
    fn shell(&self, command: &str) -> String {
        let output = Command::new("ip").args(["netns", "exec", &self.netns, "sh", "-ec", command]).output();
        let output = output.expect("ip runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn tibet_iot(&self, arguments: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns, env!("CARGO_BIN_EXE_tibet-iot"), "--json"]);
        command.args(arguments.split(' ')).env("HOME", self.home.path()).current_dir(self.home.path());
        command.env_remove("TIBET_STATE_DIR").env_remove("XDG_STATE_HOME").stdin(Stdio::null());
        command
    }

    fn listen(&self, name: &str, arguments: &str) -> Listener {
        let command = format!("listen --did {name} --bind 0.0.0.0 --no-discovery {arguments}");
        let listener = Listener::start(&mut self.tibet_iot(command.trim_end()));
        listener.wait("listening", |line| line["event"] == "listening");
        listener
    }

    /// Exit code and the lines that were printed.
    fn send(&self, arguments: &str) -> (Option<i32>, Vec<Value>) {
        let output = self.tibet_iot(&format!("send {arguments}")).output().expect("ip runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        (output.status.code(), lines.collect())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.netns));
    }
}

struct Listener {
    child: Child,
    lines: Receiver<Value>,
}

impl Listener {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            let lines = lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}")));
            lines.map(|line| tell.send(line)).all(|told| told.is_ok())
        });
        Self { child, lines }
    }

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

    /// Ends it with a signal, as a service manager does, and gives its last words and all that came before.
    fn end(mut self) -> (Value, Vec<Value>) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        assert!(self.child.wait().expect("ended").success());
        let mut lines: Vec<Value> = self.lines.iter().collect();
        let last = lines.pop().expect("a summary");
        assert_eq!(last["event"], "summary", "{last}");
        (last, lines)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many machines in a row, the nth joined with the next by 10.9.n.0/24: the left one is .1, the right one .2.
#[allow(clippy::print_stdout, reason = "that is how a test tells")]
fn machines_in_a_row(count: usize) -> Option<Vec<Machine>> {
    let machines: Result<Vec<Machine>, String> = (0..count).map(|_| Machine::new()).collect();
    let machines = match machines {
        Ok(machines) => machines,
        Err(error) => {
            println!("SKIPPED: network namespaces cannot be made here: {error}");
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "required, but {error}");
            return None;
        }
    };
    for (n, pair) in machines.windows(2).enumerate() {
        let [left, right] = pair else { unreachable!("pairs") };
        let cable =
            format!("link add right netns {} type veth peer name left netns {}", left.netns, right.netns);
        ip(&cable).expect("a cable");
        left.shell(&format!("ip addr add 10.9.{n}.1/24 dev right; ip link set right up"));
        right.shell(&format!("ip addr add 10.9.{n}.2/24 dev left; ip link set left up"));
    }
    Some(machines)
}

const ALL_TRUSTED: &str =
    "--trust jis:mesh:a=0.9 --trust jis:mesh:r1=0.5 --trust jis:mesh:r2=0.5 --trust jis:mesh:r3=0.5";

#[test]
fn an_answer_comes_back_over_three_relays() {
    let Some(machines) = machines_in_a_row(5) else { return };
    let [a, r1, r2, r3, b] = &machines[..] else { unreachable!("five") };
    let target = b.listen("jis:mesh:b", &format!("{ALL_TRUSTED} --capability temperature.read"));
    let relays = [
        r3.listen("jis:mesh:r3", &format!("{ALL_TRUSTED} --peer jis:mesh:b=10.9.3.2:7150")),
        r2.listen("jis:mesh:r2", &format!("{ALL_TRUSTED} --peer jis:mesh:r3=10.9.2.2:7150")),
        r1.listen("jis:mesh:r1", &format!("{ALL_TRUSTED} --peer jis:mesh:r2=10.9.1.2:7150")),
    ];
    let (code, lines) = a.send("jis:mesh:b 10.9.0.2:7150 temperature.read --my-did jis:mesh:a --mesh");
    assert_eq!(code, Some(0), "{lines:?}");
    let answer = lines.iter().find(|line| line["event"] == "answer").expect("an answer");
    assert_eq!((&answer["responder_did"], &answer["airlock_zone"]), (&"jis:mesh:b".into(), &"GROEN".into()));
    assert_eq!((&answer["verified"], &answer["from"]), (&true.into(), &"10.9.0.2:7150".into()));
    let seen = target.wait("the ping", |line| line["event"] == "ping");
    assert_eq!((&seen["hop_count"], &seen["from"]), (&3.into(), &"10.9.3.1:7150".into()));
    assert_eq!(seen["verified"], true);
    for relay in relays {
        // One packet there, one answer back.
        assert_eq!(relay.end().0["relayed"], 2);
    }
}

#[test]
fn a_packet_in_a_ring_of_relays_ends() {
    let Some(machines) = machines_in_a_row(4) else { return };
    let [a, r1, r2, r3] = &machines[..] else { unreachable!("four") };
    // Closes the ring.
    ip(&format!("link add ring netns {} type veth peer name ring netns {}", r3.netns, r1.netns))
        .expect("a cable");
    r3.shell("ip addr add 10.9.9.1/24 dev ring; ip link set ring up");
    r1.shell("ip addr add 10.9.9.2/24 dev ring; ip link set ring up");
    let relays = [
        r1.listen("jis:mesh:r1", &format!("{ALL_TRUSTED} --peer jis:mesh:r2=10.9.1.2:7150")),
        r2.listen("jis:mesh:r2", &format!("{ALL_TRUSTED} --peer jis:mesh:r3=10.9.2.2:7150")),
        r3.listen("jis:mesh:r3", &format!("{ALL_TRUSTED} --peer jis:mesh:r1=10.9.9.2:7150")),
    ];
    let asked = "jis:mesh:nobody 10.9.0.2:7150 temperature.read --my-did jis:mesh:a --mesh --timeout 2";
    let (code, lines) = a.send(asked);
    assert_eq!(code, Some(1), "{lines:?}");
    for relay in relays {
        let (summary, lines) = relay.end();
        let passed_on = lines.iter().filter(|line| line["event"] == "relayed").count();
        assert_eq!(passed_on, 1, "each once: {summary}");
    }
}

// --- silence

/// What is sent in vain.
const ATTACKS: usize = 20_000;
const HUB: &str = "10.9.0.2:7150";

/// T14: whoever is not trusted gets nothing at all, whatever it sends: no byte, no ICMP.
#[test]
fn rood_gets_no_byte_and_no_icmp() {
    let Some(machines) = machines_in_a_row(3) else { return };
    let [attacker, hub, friend] = &machines[..] else { unreachable!("three") };
    // The link addresses are known, so not even a question for them is needed.
    let address = |machine: &Machine, end: &str| {
        machine.shell(&format!("cat /sys/class/net/{end}/address")).trim().to_owned()
    };
    attacker.shell(&format!("ip neigh add 10.9.0.2 lladdr {} dev right", address(hub, "left")));
    hub.shell(&format!("ip neigh add 10.9.0.1 lladdr {} dev left", address(attacker, "right")));
    let listener = hub.listen("jis:home:hub", "--trust jis:home:friend=0.9 --trust jis:home:red=0.1");
    let asked = "jis:home:hub 10.9.1.1:7150 temperature.read --my-did jis:home:friend";
    // Known from now on: before that, whoever comes first under a trusted name is believed to be it.
    assert_eq!(friend.send(asked).0, Some(0));
    let (before, sent_before) = traffic(attacker);
    assert_eq!(before, 0);
    let program = std::env::current_exe().expect("this program");
    let attack = Command::new("ip")
        .args(["netns", "exec", &attacker.netns])
        .arg(program)
        .args(["--ignored", "--exact", "an_attacker", "--test-threads=1"])
        .stdout(Stdio::null())
        .status();
    assert!(attack.expect("ip runs").success());
    // A name the operator knows and does not trust, properly signed.
    let in_red = format!("jis:home:hub {HUB} door.unlock --my-did jis:home:red --timeout 0.5");
    for encoding in ["", " --msgpack"] {
        assert_eq!(attacker.send(&format!("{in_red}{encoding}")).0, Some(1));
    }
    let (code, lines) = friend.send(asked);
    assert_eq!(code, Some(0), "the others are served: {lines:?}");
    let (received, sent) = traffic(attacker);
    assert!(sent - sent_before >= ATTACKS as u64, "{sent} sent");
    assert_eq!(received, 0, "packets that came back to the attacker");
    let (summary, _) = listener.end();
    assert!(summary["received"].as_u64() >= Some(ATTACKS as u64 / 2), "most arrived: {summary}");
}

/// Packets that came in and went out on the attacker's cable, whatever they were.
fn traffic(machine: &Machine) -> (u64, u64) {
    let count = |what: &str| {
        let text = machine.shell(&format!("cat /sys/class/net/right/statistics/{what}_packets"));
        text.trim().parse().expect("a number")
    };
    (count("rx"), count("tx"))
}

/// Plays the attacker within its namespace; run by the test above.
#[test]
#[ignore = "a part of rood_gets_no_byte_and_no_icmp, run by it"]
fn an_attacker() {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
    for n in 0..ATTACKS as u64 {
        let datagram = attack(n);
        // A full queue is no reason to stop.
        let _ = socket.send_to(&datagram, HUB);
    }
}

/// The nth of many kinds of datagrams that deserve no answer.
fn attack(n: u64) -> Vec<u8> {
    let key = SecretKey::from_seed(Zeroizing::new(std::array::from_fn(|at| at as u8 ^ 0x5a))).expect("key");
    let name = |text: &str| -> Name { text.parse().expect("name") };
    let millis = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_millis() as u64;
    let now = UnixTime::from_millis(millis).expect("a time");
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&n.to_be_bytes());
    let fresh = Fresh { id: n.to_be_bytes(), nonce, now };
    let who = ["jis:home:stranger", "jis:home:red", "jis:home:friend", "jis:home:hub"][(n % 4) as usize];
    let mut packet = match n / 4 % 5 {
        0 => Packet::heartbeat(&name(who), fresh),
        1 => Packet {
            priority: Priority::Normal,
            target_did: "jis:home:hub".into(),
            ..Packet::heartbeat(&name(who), fresh)
        },
        2 => Packet::discover(&name(who), object! {}, fresh),
        3 => Packet::intent(&name(who), &name("jis:home:other"), "door.unlock", "", fresh),
        _ => Packet::intent(&name(who), &name("jis:home:hub"), "door.unlock", "", fresh),
    };
    if n.is_multiple_of(3) {
        packet.routing_mode = RoutingMode::Mesh;
    }
    if n.is_multiple_of(2) {
        let expires_at = now.saturating_add(Duration::from_secs(30));
        sign_ping(&mut packet, &key, 0, None, expires_at).expect("signed");
    }
    let encoding = if n % 7 < 3 { Encoding::Msgpack } else { Encoding::Json };
    let mut datagram = packet.encode(encoding).expect("written");
    let length = datagram.len();
    match n % 11 {
        0 => datagram.truncate((n % length as u64) as usize),
        1 => datagram[(n % 8) as usize] ^= 1 << (n / 8 % 8),
        2 => datagram[(n % length as u64) as usize] ^= 1 << (n % 8),
        3 => datagram[3] |= 1,
        4 => datagram.push(0),
        _ => {}
    }
    datagram
}
