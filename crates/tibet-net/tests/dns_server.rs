//! The DNS server over real sockets, and asked by the system's own resolver where it may have a network and a `/etc/resolv.conf` of its own.

#![allow(clippy::print_stdout, reason = "what was skipped, and why")]

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use jis::Name;
use nix::sched::{CloneFlags, unshare};
use simple_dns::{CLASS, Packet, QCLASS, Question, RCODE, TYPE};
use tibet_net::{DnsError, DnsServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(20);

fn hub() -> Ipv6Addr {
    "fd12:3456:789a::42".parse().expect("address")
}

/// Knows `jis:home:hub`, says nothing about `jis:slow` and knows no other.
async fn lookup(name: Name) -> Option<Ipv6Addr> {
    match name.as_str() {
        "jis:home:hub" => Some(hub()),
        "jis:slow" => std::future::pending().await,
        _ => None,
    }
}

fn reverse(address: Ipv6Addr) -> Option<Name> {
    (address == hub()).then(|| "jis:home:hub".parse().expect("name"))
}

async fn server(address: &str) -> SocketAddr {
    let server = DnsServer::bind(address.parse().expect("address")).await.expect("bound");
    let address = server.local_addr();
    tokio::spawn(server.run(lookup, reverse));
    address
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    let name = name.try_into().expect("name");
    packet.questions.push(Question::new(name, TYPE::AAAA.into(), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().expect("query")
}

fn code(answer: &[u8]) -> (u16, RCODE) {
    let answer = Packet::parse(answer).expect("an answer");
    (answer.id(), answer.rcode())
}

async fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((server.ip(), 0)).await.expect("bound");
    socket.connect(server).await.expect("connected");
    socket
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let length = timeout(LONG, socket.recv(&mut buffer)).await.expect("in time").expect("received");
    buffer.truncate(length);
    buffer
}

#[tokio::test]
async fn names_are_answered_over_udp_and_tcp_on_the_port_that_was_free() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = server(address).await;
        assert_ne!(server.port(), 0);
        let udp = client(server).await;
        udp.send(&query(1, "hub.home.tibet.internal")).await.expect("sent");
        let answer = receive(&udp).await;
        assert_eq!(code(&answer), (1, RCODE::NoError));
        assert!(answer.ends_with(&hub().octets()));

        let mut tcp = TcpStream::connect(server).await.expect("connected");
        // Two at once, in pieces, as a stream may bring them.
        let both: Vec<u8> = [query(2, "hub.home.tibet.internal"), query(3, "other.tibet.internal")]
            .iter()
            .flat_map(|query| [&u16::try_from(query.len()).expect("short").to_be_bytes()[..], query].concat())
            .collect();
        let (first, second) = both.split_at(5);
        tcp.write_all(first).await.expect("sent");
        tcp.flush().await.expect("sent");
        tcp.write_all(second).await.expect("sent");
        for expected in [(2, RCODE::NoError), (3, RCODE::NameError)] {
            let length = timeout(LONG, tcp.read_u16()).await.expect("in time").expect("read");
            let mut answer = vec![0; usize::from(length)];
            tcp.read_exact(&mut answer).await.expect("read");
            assert_eq!(code(&answer), expected);
        }
        // Longer than any query: the connection ends.
        tcp.write_all(&[0xFF; 2]).await.expect("sent");
        assert_eq!(timeout(LONG, tcp.read(&mut [0; 1])).await.expect("in time").expect("ended"), 0);
    }
}

#[tokio::test]
async fn a_look_up_that_takes_too_long_fails_and_holds_up_no_other() {
    let udp = client(server("127.0.0.1:0").await).await;
    let began = Instant::now();
    udp.send(&query(1, "slow.tibet.internal")).await.expect("sent");
    udp.send(&query(2, "hub.home.tibet.internal")).await.expect("sent");
    assert_eq!(code(&receive(&udp).await), (2, RCODE::NoError));
    assert_eq!(code(&receive(&udp).await), (1, RCODE::ServerFailure));
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn more_than_256_look_ups_at_once_fail_at_once() {
    let udp = client(server("127.0.0.1:0").await).await;
    for id in 0..257 {
        udp.send(&query(id, "slow.tibet.internal")).await.expect("sent");
    }
    let began = Instant::now();
    assert_eq!(code(&receive(&udp).await), (256, RCODE::ServerFailure), "the one too many");
    assert!(began.elapsed() < Duration::from_secs(2));
    for _ in 0..256 {
        assert_eq!(code(&receive(&udp).await).1, RCODE::ServerFailure);
    }
    udp.send(&query(7, "hub.home.tibet.internal")).await.expect("sent");
    assert_eq!(code(&receive(&udp).await), (7, RCODE::NoError));
}

/// SECURITY R73.
#[tokio::test]
async fn r73_it_is_there_for_this_machine_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = DnsServer::bind(address.parse().expect("address")).await;
        assert!(matches!(refused, Err(DnsError::NotLoopback(_))), "{address}");
    }
    let taken = server("127.0.0.1:0").await;
    let refused = DnsServer::bind(taken).await.expect_err("taken").to_string();
    assert!(refused.contains(&taken.to_string()) && refused.contains("another port"), "{refused}");
}

/// The resolver of the C library asks our server, in a network of its own.
#[test]
fn getent_finds_a_device_by_its_name() {
    let asked = std::thread::spawn(|| {
        if let Err(reason) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "no network of its own: {reason}");
            println!("SKIPPED: the system's resolver asks our server: {reason}");
            return;
        }
        let file = std::env::temp_dir().join(format!("resolv-{}.conf", std::process::id()));
        std::fs::write(&file, "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n").expect("written");
        let sh = |script: &str| Command::new("sh").arg("-c").arg(script).output().expect("sh runs");
        let file_name = file.display();
        let ready = sh(&format!(
            "ip link set lo up && mount --make-rprivate / && mount --bind {file_name} /etc/resolv.conf"
        ));
        assert!(ready.status.success(), "{}", String::from_utf8_lossy(&ready.stderr));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let _running = runtime.block_on(server("127.0.0.1:53"));
        let answers = [
            "hub.home.tibet.internal",
            "HUB.Home.tibet.internal.",
            "none.tibet.internal",
            "fd12:3456:789a::42",
        ];
        // The thread's network is that of the program it starts; the server goes on meanwhile.
        let asked = std::thread::scope(|scope| {
            let asking =
                scope.spawn(|| answers.map(|name| Command::new("getent").args(["hosts", name]).output()));
            runtime.block_on(async {
                while !asking.is_finished() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            asking.join().expect("asked")
        });
        std::fs::remove_file(&file).expect("removed");
        let said =
            asked.map(|output| String::from_utf8_lossy(&output.expect("getent runs").stdout).into_owned());
        assert!(
            said[0].starts_with("fd12:3456:789a::42") && said[0].contains("hub.home.tibet.internal"),
            "{said:?}"
        );
        assert!(said[1].starts_with("fd12:3456:789a::42"), "{said:?}");
        assert_eq!(said[2], "");
        assert!(said[3].contains("hub.home.tibet.internal"), "{said:?}");
    });
    if let Err(panic) = asked.join() {
        std::panic::resume_unwind(panic);
    }
}
