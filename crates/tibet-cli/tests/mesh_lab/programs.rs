//! How programs get into the mesh: names by DNS, and ports without root.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;
use std::time::Duration;

use super::{HOMES, alone, lab_with, ready};
use tibet_cli::overlay::lab::{Daemon, NODE, Pair};

/// A question for the AAAA records of a name, and the address in its answer, if there is exactly one.
fn ask(socket: &UdpSocket, name: &str) -> Option<Ipv6Addr> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).expect("short"));
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 28, 0, 1]);
    socket.send(&question).expect("sent");
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).expect("an answer");
    let answer = &answer[..length];
    assert_eq!(&answer[..2], &question[..2]);
    if answer[6..8] != [0, 1] {
        return None;
    }
    // The question again, then a pointer to its name, type, class, time to live, length and the address.
    let data: [u8; 16] = answer[question.len() + 12..][..16].try_into().expect("16 bytes");
    Some(data.into())
}

#[test]
fn r73_a_name_is_found_by_dns_and_leads_through_the_tunnel() {
    let _alone = alone();
    let Some(ready) = ready(HOMES) else { return };
    let socket = ready.pair.lab.within("a", || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect("127.0.71.50:53")?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(socket)
    });
    let socket = socket.expect("a socket");
    let found = ask(&socket, "laptop.office.tibet.internal").expect("an address");
    assert_eq!(found, ready.addresses[1]);
    assert_eq!(ask(&socket, "nobody.office.tibet.internal"), None);
    let mut echo = tibet_cli::overlay::lab::Echo::start(&ready.pair.lab, "a", found).expect("an echo");
    assert!(echo.once(Duration::from_secs(5)).is_some());
}

/// Nobody's user and group.
const NOBODY: u32 = 65_534;

/// DESIGN §8, the second way in: `up --forward` and `up --expose`, as an ordinary user without any capability.
#[test]
fn without_root_connections_go_through_the_tunnel_to_a_program_of_the_peer() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("open");
    let program = directory.path().join("tibet-overlay");
    std::fs::copy(env!("CARGO_BIN_EXE_tibet-overlay"), &program).expect("copied");
    let Some(lab) = lab_with(&program, HOMES) else { return };
    let node = Daemon::start(
        lab.command("node", "node").args(["serve", "--bind", "[::]:7150", "--http", "none"]),
        lab.state("node.log"),
    );
    let node = node.expect("a node");
    let wait = |what, daemon: &Daemon, text: &str| {
        let waited = lab.wait(what, super::SOON, || daemon.said().contains(text).then_some(()));
        waited.unwrap_or_else(|error| panic!("{error}: {}", daemon.said()));
    };
    wait("the node", &node, "relay");
    let ordinary = |at: usize, arguments: &[&str]| {
        let machine = Pair::MACHINES[at];
        let state = directory.path().join(machine);
        std::fs::create_dir_all(&state).expect("a directory");
        chown(&state, Some(NOBODY), Some(NOBODY)).expect("given away");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.netns(machine), "setpriv", "--reuid=65534", "--regid=65534"]);
        command
            .args(["--clear-groups", "--bounding-set=-all", "--no-new-privs"])
            .arg(&program)
            .arg("--state-dir");
        command.arg(&state).args(arguments).env("HOME", &state).current_dir(&state);
        command
    };
    let up = |at: usize, port: &str| {
        let made = ordinary(at, &["id", "new", Pair::NAMES[at]]).output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let trust = format!("{}=0.95", Pair::NAMES[1 - at]);
        let way = if at == 0 { "--forward" } else { "--expose" };
        let mut command =
            ordinary(at, &["--node", NODE, "up", "--no-discovery", "--trust", &trust, way, port]);
        Daemon::start(&mut command, lab.state(Pair::MACHINES[at])).expect("up")
    };
    let b = up(1, "80:8080");
    wait("b", &b, "relay");
    let a = up(0, "8000=jis:office:laptop:80");
    wait("a", &a, "relay");
    for process in [a.id(), b.id()] {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        assert!(status.contains("Uid:\t65534\t") && status.contains("CapEff:\t0000000000000000"), "{status}");
    }
    let listener = lab.within("b", || TcpListener::bind("127.0.0.1:8080")).expect("a program");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut taken = Vec::new();
        stream.read_to_end(&mut taken).expect("all of it");
        stream.write_all(&taken).expect("and back");
    });
    let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let stream = lab.within("a", || TcpStream::connect("127.0.0.1:8000")).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut stream = stream;
    stream.write_all(&sent).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("its end");
    let mut back = Vec::new();
    let read = stream.read_to_end(&mut back);
    assert!(read.is_ok() && back == sent, "{read:?}, {} bytes back\n{}\n{}", back.len(), a.said(), b.said());
    answering.join().expect("no panic");
}
