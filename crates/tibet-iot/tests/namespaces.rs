//! Sockets and announcements between machines, which are network namespaces joined by virtual cables.
//!
//! Needs root and `ip`. A machine's part is played by this program itself, run again within the namespace: [`a_machine`] does what it is told line
//! by line and answers in one line each.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tibet_iot::{Change, Discovery, DiscoveryConfig, Outgoing, ReceiveBuffers, UdpPort};
use tokio::time::timeout;

/// Far longer than anything here takes; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(20);
const PORT: u16 = 47_151;
const MAIN_PORT: u16 = 47_150;
/// What an answer begins with, among what the test harness prints.
const ANSWER: &str = "answer: ";

static NUMBER: AtomicU32 = AtomicU32::new(0);

// --- the machines

/// A network namespace with a node in it.
struct Machine {
    name: String,
    node: Option<(Child, ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

/// Runs `ip`; what it said when it failed.
fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Machine {
    fn new() -> Result<Self, String> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tibet{}-{number}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let machine = Self { name, node: None };
        // Addresses are usable at once, not after the second in which another machine might say it has them.
        machine.run("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
        machine.run("ip link set lo up");
        Ok(machine)
    }

    /// Runs a shell command within.
    fn run(&self, command: &str) {
        let output = Command::new("ip").args(["netns", "exec", &self.name, "sh", "-ec", command]).output();
        let output = output.expect("ip runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a node that listens on this address.
    fn start(&mut self, listen: &str) {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .arg(program)
            .args(["--ignored", "--exact", "a_machine", "--nocapture", "--test-threads=1"])
            .env("TIBET_TEST_LISTEN", listen)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        self.node = Some((child, stdin, stdout));
        assert!(self.ask("refresh").is_empty(), "the first refresh was at the start");
    }

    /// Has the node do something.
    fn ask(&mut self, command: &str) -> String {
        let (_, stdin, stdout) = self.node.as_mut().expect("started");
        writeln!(stdin, "{command}").expect("told");
        for line in stdout {
            let line = line.expect("text");
            // The harness begins a line of its own with the name of the test.
            if let Some(at) = line.find(ANSWER) {
                return line[at + ANSWER.len()..].to_owned();
            }
        }
        panic!("{}: the node is gone after {command:?}", self.name);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some((mut child, stdin, _)) = self.node.take() {
            // The end of its input is the end of the node.
            drop(stdin);
            let _ = child.wait();
        }
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// A cable between two machines; its ends have these names and addresses.
fn cable(one: (&Machine, &str, &[&str]), other: (&Machine, &str, &[&str])) {
    let (ends, namespaces) = ((one.1, other.1), (&one.0.name, &other.0.name));
    ip(&format!(
        "link add {} netns {} type veth peer name {} netns {}",
        ends.0, namespaces.0, ends.1, namespaces.1
    ))
    .expect("a cable");
    for (machine, end, addresses) in [one, other] {
        for address in addresses {
            machine.run(&format!("ip addr add {address} dev {end}"));
        }
        machine.run(&format!("ip link set {end} up"));
    }
    // Up is what both ends are now, but the system says so a moment later.
    for (machine, end, _) in [one, other] {
        machine.run(&format!(
            "i=0; until ip -6 addr show dev {end} scope link | grep -q fe80 && ! ip -6 addr show dev {end} | grep -q tentative; \
             do i=$((i + 1)); [ $i -lt 400 ]; sleep 0.05; done"
        ));
    }
}

/// Two machines, or `None` after saying why not.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn two_machines() -> Option<(Machine, Machine)> {
    match Machine::new().and_then(|one| Ok((one, Machine::new()?))) {
        Ok(machines) => Some(machines),
        Err(error) => {
            eprintln!("SKIPPED: network namespaces cannot be made here: {}", error.replace('\n', " "));
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none());
            None
        }
    }
}

// --- the node within

#[test]
#[ignore = "run by the other tests within their namespaces"]
fn a_machine() {
    let listen = std::env::var("TIBET_TEST_LISTEN").expect("run by the other tests");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let _within = runtime.enter();
    let config = DiscoveryConfig { port: PORT, ..DiscoveryConfig::default() };
    let (mut discovery, _) = Discovery::open(config).expect("opened");
    let port = UdpPort::bind(SocketAddr::new(listen.parse().expect("ip"), MAIN_PORT)).expect("bound");
    let mut buffers = ReceiveBuffers::new();
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match command {
            "refresh" => {
                let changes = discovery.refresh().expect("refreshed");
                changes.iter().map(change).collect::<Vec<_>>().join(", ")
            }
            "announce" => {
                discovery.refresh().expect("refreshed");
                let announced = runtime.block_on(discovery.send(&port, rest.as_bytes()));
                let failed: Vec<_> = announced
                    .failed
                    .iter()
                    .map(|(here, error)| format!("{} {:?} {error}", here.name, here.family))
                    .collect();
                format!("{} {}", announced.sent, failed.join(", "))
            }
            "hear" => runtime.block_on(hear(&mut discovery, &mut buffers, rest)),
            "send" => runtime.block_on(send(&port, rest)),
            "receive" => runtime.block_on(receive(&port, &mut buffers, rest.parse().expect("a number"))),
            other => panic!("{other}?"),
        };
        println!("\n{ANSWER}{answer}");
    }
}

fn change(change: &Change) -> String {
    match change {
        Change::Joined(here) => format!("joined {} {:?}", here.name, here.family),
        Change::Left(here) => format!("left {} {:?}", here.name, here.family),
        Change::Failed(here, error) => format!("failed {} {:?} {error}", here.name, here.family),
    }
}

/// Waits until this was announced by another machine as often as given, and says from where and through which interface, sorted.
async fn hear(discovery: &mut Discovery, buffers: &mut ReceiveBuffers, wanted: &str) -> String {
    let (times, text) = wanted.split_once(' ').expect("how often and what");
    let times: usize = times.parse().expect("a number");
    let mut heard = Vec::new();
    while heard.len() < times {
        timeout(DEADLINE, discovery.recv(buffers)).await.expect("in time").expect("received");
        for one in discovery.heard(buffers).filter(|one| one.bytes == text.as_bytes()) {
            let interface = discovery.interfaces().get(one.interface);
            let name = interface.map_or("?", |interface| interface.name.as_str());
            let on_link = if one.on_link { "near" } else { "far" };
            let from = one.from.ip();
            let from = if from.is_ipv6() { "fe80".to_owned() } else { from.to_string() };
            heard.push(format!("{from} port {} through {name} {on_link}", one.from.port()));
        }
    }
    heard.sort();
    heard.join(", ")
}

/// Sends `COUNT LENGTH ADDRESS…`: so many to each in turn.
async fn send(port: &UdpPort, what: &str) -> String {
    let mut words = what.split(' ');
    let mut number = || words.next().expect("a number").parse::<usize>().expect("a number");
    let (count, length) = (number(), number());
    let addresses: Vec<IpAddr> = words.map(|word| word.parse().expect("an address")).collect();
    let batch: Vec<_> = (0..count)
        .flat_map(|_| {
            addresses
                .iter()
                .map(|ip| Outgoing { to: SocketAddr::new(*ip, MAIN_PORT), bytes: vec![7; length] })
        })
        .collect();
    let report = timeout(DEADLINE, port.send(&batch)).await.expect("in time");
    format!(
        "{} sent {} unreachable {} no room {} failed",
        report.sent,
        report.unreachable,
        report.no_room,
        report.failed()
    )
}

async fn receive(port: &UdpPort, buffers: &mut ReceiveBuffers, count: usize) -> String {
    let mut lengths = Vec::new();
    while lengths.len() < count {
        timeout(DEADLINE, port.recv(buffers)).await.expect("in time").expect("received");
        lengths.extend(buffers.datagrams().map(|(_, bytes)| {
            assert!(bytes.iter().all(|byte| *byte == 7));
            bytes.len().to_string()
        }));
    }
    lengths.join(" ")
}

// --- what is tested

#[test]
fn an_announcement_is_heard_by_a_neighbour_without_any_route_r17() {
    let Some((mut one, mut two)) = two_machines() else { return };
    cable((&one, "wire", &["192.0.2.1/24"]), (&two, "wire", &["192.0.2.2/24"]));
    one.start("::");
    two.start("0.0.0.0");
    // One copy for each family, and one on the loopback interface.
    assert_eq!(one.ask("announce I am one"), "3 ");
    let port = MAIN_PORT;
    assert_eq!(
        two.ask("hear 2 I am one"),
        format!("192.0.2.1 port {port} through wire near, fe80 port {port} through wire near")
    );
    // A node of its own machine hears it too, itself for one.
    assert_eq!(
        one.ask("hear 3 I am one"),
        format!(
            "127.0.0.1 port {port} through lo near, 192.0.2.1 port {port} through wire near, fe80 port {port} through wire near"
        )
    );
    // A port for IPv4 alone announces over IPv4 alone.
    assert_eq!(two.ask("announce I am two"), "2 ");
    assert_eq!(one.ask("hear 1 I am two"), format!("192.0.2.2 port {port} through wire near"));
}

#[test]
fn a_source_outside_the_networks_of_the_interface_is_called_far_r17_row_74() {
    let Some((mut one, mut two)) = two_machines() else { return };
    cable((&one, "wire", &["198.51.100.1/24"]), (&two, "wire", &["192.0.2.2/24"]));
    // Else the kernel drops what comes from where it has no way back to.
    two.run("for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done; ip route add 198.51.100.0/24 via 192.0.2.1 onlink dev wire");
    one.start("0.0.0.0");
    two.start("0.0.0.0");
    assert_eq!(one.ask("announce I am one"), "2 ");
    assert_eq!(two.ask("hear 1 I am one"), format!("198.51.100.1 port {MAIN_PORT} through wire far"));
}

#[test]
fn an_interface_that_comes_later_is_joined_and_one_that_goes_does_no_harm() {
    let Some((mut one, mut two)) = two_machines() else { return };
    one.start("::");
    two.start("::");
    assert_eq!(one.ask("announce alone"), "1 ");
    cable((&one, "first", &["192.0.2.1/24"]), (&two, "first", &["192.0.2.2/24"]));
    assert_eq!(two.ask("refresh"), "joined first V4, joined first V6");
    assert_eq!(two.ask("refresh"), "");
    // The announcer looks for itself before it speaks.
    assert_eq!(one.ask("announce over the first"), "3 ");
    two.ask("hear 2 over the first");

    cable((&one, "second", &["198.51.100.1/24"]), (&two, "second", &["198.51.100.2/24"]));
    assert_eq!(two.ask("refresh"), "joined second V4, joined second V6");
    one.run("ip link del first");
    // Two has not looked again yet: its interface is gone, and it neither fails nor misses the other one.
    assert_eq!(one.ask("announce over the second"), "3 ");
    let port = MAIN_PORT;
    let over_second =
        format!("198.51.100.1 port {port} through second near, fe80 port {port} through second near");
    assert_eq!(two.ask("hear 2 over the second"), over_second);
    assert_eq!(two.ask("refresh"), "left first V4, left first V6");
    assert_eq!(one.ask("announce again"), "3 ");
    assert_eq!(two.ask("hear 2 again"), over_second);

    // The same name once more is another interface.
    cable((&one, "first", &["192.0.2.1/24"]), (&two, "first", &["192.0.2.2/24"]));
    assert_eq!(two.ask("refresh"), "joined first V4, joined first V6");
    assert_eq!(one.ask("announce everywhere"), "5 ");
    two.ask("hear 4 everywhere");
    // Down and up again.
    two.run("ip link set first down");
    assert_eq!(two.ask("refresh"), "left first V4, left first V6");
    two.run("ip link set first up; i=0; until ip -6 addr show dev first | grep -q fe80; do i=$((i + 1)); [ $i -lt 400 ]; sleep 0.05; done");
    assert_eq!(two.ask("refresh"), "joined first V4, joined first V6");
    one.ask("announce back");
    two.ask("hear 4 back");
}

#[test]
fn interfaces_that_come_and_go_for_long_do_not_use_up_the_memberships() {
    let Some((mut one, mut two)) = two_machines() else { return };
    one.start("0.0.0.0");
    two.start("0.0.0.0");
    // A socket can have 20 IPv4 memberships.
    for round in 0..30 {
        cable((&one, "wire", &["192.0.2.1/24"]), (&two, "wire", &["192.0.2.2/24"]));
        let joined = two.ask("refresh");
        let both = joined.contains("joined wire V4") && joined.contains("joined wire V6");
        assert!(both && !joined.contains("failed"), "round {round}: {joined}");
        two.run("ip link del wire");
    }
}

#[test]
fn more_interfaces_than_memberships_are_reported_and_the_others_work() {
    let Some((mut one, mut two)) = two_machines() else { return };
    cable((&one, "wire", &["192.0.2.1/24"]), (&two, "wire", &["192.0.2.2/24"]));
    one.start("0.0.0.0");
    two.start("0.0.0.0");
    two.run(
        "i=0; while [ $i -lt 25 ]; do ip link add d$i type veth peer name e$i; ip addr add 10.0.$i.1/24 dev d$i; \
         ip link set d$i up; ip link set e$i up; i=$((i + 1)); done",
    );
    let changes = two.ask("refresh");
    assert!(changes.contains("failed") && !changes.contains("wire"), "{changes}");
    assert_eq!(one.ask("announce many"), "2 ");
    assert_eq!(two.ask("hear 1 many"), format!("192.0.2.1 port {MAIN_PORT} through wire near"));
}

#[test]
fn a_datagram_longer_than_the_link_takes_arrives_all_the_same_row_8() {
    let Some((mut one, mut two)) = two_machines() else { return };
    cable(
        (&one, "wire", &["192.0.2.1/24", "2001:db8::1/64"]),
        (&two, "wire", &["192.0.2.2/24", "2001:db8::2/64"]),
    );
    one.start("::");
    two.start("::");
    for to in ["192.0.2.2", "2001:db8::2"] {
        for length in ["0", "1472", "1473", "9000", "65507"] {
            assert_eq!(one.ask(&format!("send 1 {length} {to}")), "1 sent 0 unreachable 0 no room 0 failed");
            assert_eq!(two.ask("receive 1"), length, "{to}");
        }
        // A train over a real link, of the longest segments, and of some that are too long for one.
        for length in ["1452", "1500"] {
            assert_eq!(
                one.ask(&format!("send 40 {length} {to}")),
                "40 sent 0 unreachable 0 no room 0 failed"
            );
            assert_eq!(two.ask("receive 40"), [length; 40].join(" "), "{to}");
        }
    }
    // A link that takes less than a segment: the train is sent apart.
    one.run("ip link set wire mtu 1300");
    assert_eq!(one.ask("send 40 1400 192.0.2.2"), "40 sent 0 unreachable 0 no room 0 failed");
    assert_eq!(two.ask("receive 40"), ["1400"; 40].join(" "));
}

#[test]
fn an_unreachable_destination_loses_no_other_datagram_r54() {
    let Some((mut one, mut two)) = two_machines() else { return };
    cable((&one, "wire", &["192.0.2.1/24"]), (&two, "wire", &["192.0.2.2/24"]));
    one.run("ip route add unreachable 203.0.113.0/24");
    one.start("0.0.0.0");
    two.start("0.0.0.0");
    // One that the table calls unreachable, one that it does not know, and one that is there.
    assert_eq!(
        one.ask("send 50 30 203.0.113.7 192.0.2.2 198.51.100.7"),
        "50 sent 100 unreachable 0 no room 100 failed"
    );
    assert_eq!(two.ask("receive 50"), ["30"; 50].join(" "));
    // As trains.
    assert_eq!(one.ask("send 50 30 203.0.113.7"), "0 sent 50 unreachable 0 no room 50 failed");
    assert_eq!(one.ask("send 50 30 192.0.2.2"), "50 sent 0 unreachable 0 no room 0 failed");
    assert_eq!(two.ask("receive 50"), ["30"; 50].join(" "));
}

#[test]
fn neighbours_that_do_not_answer_cost_datagrams_but_never_stop_the_port() {
    let Some((mut one, mut two)) = two_machines() else { return };
    cable((&one, "wire", &["192.0.2.1/24"]), (&two, "wire", &["192.0.2.2/24"]));
    one.start("0.0.0.0");
    two.start("0.0.0.0");
    // Each fills a queue of the kernel until it is given up after some three seconds, and together they fill the socket.
    let nobody: Vec<_> = (100..200).map(|host| format!("192.0.2.{host}")).collect();
    let report = one.ask(&format!("send 200 1400 {}", nobody.join(" ")));
    let dropped: usize = report.split(' ').nth(4).and_then(|count| count.parse().ok()).expect("a number");
    assert!(dropped > 0 && report.ends_with(&format!(" {dropped} failed")), "{report}");
    let begun = Instant::now();
    while one.ask("send 1 30 192.0.2.2") != "1 sent 0 unreachable 0 no room 0 failed" {
        assert!(begun.elapsed() < DEADLINE, "the port sends again");
    }
    assert_eq!(two.ask("receive 1"), "30");
}
