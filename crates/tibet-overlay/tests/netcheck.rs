//! The node's second port, and what is found out with it: by honest nodes and by others.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::raw::{Raw, read};
use jis::SecretKey;
use tibet_overlay::netcheck::{Filtering, LIMIT, Mapping, netcheck};
use tibet_overlay::server::{NodeKeys, OverlayNode, OverlayNodeConfig};
use tibet_overlay::{NodeAddress, system};
use tibet_ping::{Compact, Frame, HELLO, Welcome};
use tibet_registry::{MemoryStore, Opening, Policy, Registry, Store};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

fn key() -> SecretKey {
    SecretKey::from_seed(system::random().expect("random").into()).expect("key")
}

/// With a node that runs meanwhile.
fn with_node(test: impl FnOnce(&Runtime, &OverlayNode)) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let opening = Opening {
        log_key: Arc::new(key()),
        origin: None,
        policy: Policy::default(),
        secret: system::random().expect("random"),
    };
    let store: Box<dyn Store + Send> = Box::new(MemoryStore::new());
    let registry = Registry::open(store, opening).expect("opened");
    let keys = NodeKeys { identity: key(), keepalive: Zeroizing::new([7; 32]) };
    let config = OverlayNodeConfig { bind: "127.0.0.1:0".parse().expect("address"), ..Default::default() };
    let node = runtime.block_on(OverlayNode::start(registry, keys, config)).expect("started");
    test(&runtime, &node);
    runtime.block_on(node.stop()).expect("stopped").expect("its registry");
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).expect("an answer in time");
    buffer.truncate(length);
    (buffer, from)
}

/// SECURITY R15: what goes to an address that has shown itself is as much as came from there.
#[test]
fn who_shows_a_cookie_is_answered_from_both_ports_with_no_more_than_it_sent() {
    with_node(|_, node| {
        let raw = Raw::connect(node.local_addr());
        let question = Compact::AskElsewhere { id: [5; 8], cookie: raw.cookie }.write();
        raw.send(&question);
        let answers = [receive(&raw.socket), receive(&raw.socket)];
        let ports = answers.each_ref().map(|(answer, _)| match read(answer) {
            Compact::Elsewhere { id, port } if id == [5; 8] => port,
            other => panic!("{other:?}"),
        });
        assert_eq!(ports[0], ports[1], "both name the second port");
        let mut from = answers.each_ref().map(|(_, from)| from.port());
        from.sort_unstable();
        let mut expected = [node.local_addr().port(), ports[0]];
        expected.sort_unstable();
        assert_eq!(from, expected);
        assert!(answers.iter().map(|(answer, _)| answer.len()).sum::<usize>() <= question.len());
        assert_eq!(node.handle().stats().elsewhere, 1);
    });
}

/// SECURITY R14, 3.2 row 80: whoever claims another's address does not see its cookie, and has nothing sent there from the second port.
#[test]
fn without_a_cookie_nothing_comes_from_the_second_port() {
    with_node(|_, node| {
        let raw = Raw::connect(node.local_addr());
        let other = Raw::connect(node.local_addr());
        for cookie in [[0; 16], other.cookie] {
            raw.send(&Compact::AskElsewhere { id: [5; 8], cookie }.write());
            let (answer, from) = receive(&raw.socket);
            assert_eq!((read(&answer), from), (Compact::Stale([5; 8]), node.local_addr()));
        }
        // The second port answers in order: what comes first after these is what is asked now.
        raw.send(&Compact::AskElsewhere { id: [6; 8], cookie: raw.cookie }.write());
        for _ in 0..2 {
            let (answer, _) = receive(&raw.socket);
            assert!(matches!(read(&answer), Compact::Elsewhere { id: [6, ..], .. }), "{answer:?}");
        }
        assert_eq!(node.handle().stats().elsewhere, 1);
    });
}

/// SECURITY R16, R20: at the second port a hello is answered, at the length it has, and nothing else.
#[test]
fn the_second_port_answers_a_hello_and_nothing_else() {
    with_node(|_, node| {
        let raw = Raw::connect(node.local_addr());
        raw.send(&Compact::AskElsewhere { id: [5; 8], cookie: raw.cookie }.write());
        let Compact::Elsewhere { port, .. } = read(&receive(&raw.socket).0) else { panic!("no answer") };
        receive(&raw.socket);
        let second = SocketAddr::new(node.local_addr().ip(), port);
        let hello = Compact::Hello([7; 8]).write();
        let observed = raw.socket.local_addr().expect("address");
        let welcome = Welcome { id: [7; 8], key: [1; 32], cookie: [2; 16], observed };
        for silent in [
            Vec::new(),
            b"TP".to_vec(),
            hello[..HELLO - 1].to_vec(),
            Compact::Welcome(welcome).write(),
            Compact::Elsewhere { id: [7; 8], port: 1 }.write(),
            Compact::AskElsewhere { id: [7; 8], cookie: raw.cookie }.write(),
            Compact::Lookup { id: [7; 8], cookie: raw.cookie, events_from: None, name: "jis:a" }.write(),
            Compact::Keepalive([7; 16]).write(),
        ] {
            raw.socket.send_to(&silent, second).expect("sent");
        }
        raw.socket.send_to(&hello, second).expect("sent");
        let (answer, from) = receive(&raw.socket);
        let Compact::Welcome(welcome) = read(&answer) else { panic!("{answer:?}") };
        assert_eq!((welcome.id, welcome.observed, from), ([7; 8], observed, second));
        assert!(answer.len() <= hello.len());
        // The cookie is as good as the first port's.
        let lookup = Compact::Lookup { id: [8; 8], cookie: welcome.cookie, events_from: None, name: "jis:a" };
        raw.send(&lookup.write());
        assert!(matches!(read(&receive(&raw.socket).0), Compact::Found { .. }));
    });
}

#[test]
fn without_a_nat_everything_is_found_out() {
    with_node(|runtime, node| {
        let report = runtime.block_on(netcheck(&[NodeAddress::at(node.local_addr())]));
        assert!(report.reachable(), "{report:?}");
        let [found] = &report.nodes[..] else { panic!("{report:?}") };
        assert_eq!(found.key, Some(node.handle().key().to_multibase()));
        assert!(found.rtt_ms.is_some_and(|rtt| rtt < 1000.0) && found.path_mtu == Some(1500), "{found:?}");
        assert_eq!((found.observed, found.observed_at_second_port), (found.local, found.local));
        assert_eq!(found.second_port_got_in, Some(true));
        let [family] = &report.families[..] else { panic!("{report:?}") };
        assert_eq!((family.mapping, family.filtering), (Mapping::None, Filtering::OtherPortsGetIn));
        assert_eq!((family.family, family.hairpin), ("ipv4", None));

        let other = NodeAddress::at(node.local_addr()).with_key(key().public_key());
        let report = runtime.block_on(netcheck(&[other]));
        assert!(!report.reachable(), "another key than was asked for: {report:?}");
    });
}

/// What answers, but not as a node does, until the socket is closed by a datagram of its own.
fn hostile(answer: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> (SocketAddr, impl FnOnce()) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let at = socket.local_addr().expect("address");
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if length == 1 {
                return;
            }
            answer(&socket, &buffer[..length], from);
        }
    });
    let stop = move || {
        UdpSocket::bind("127.0.0.1:0").expect("bound").send_to(&[0], at).expect("sent");
        thread.join().expect("no panic");
    };
    (at, stop)
}

/// SECURITY R11: a welcome counts only with the id of the question and from where it was asked.
#[test]
fn welcomes_to_nothing_or_from_elsewhere_are_none() {
    let welcome = |id, observed| {
        Compact::Welcome(Welcome { id, key: *key().public_key().as_bytes(), cookie: [0; 16], observed })
            .write()
    };
    let (at, stop) = hostile(move |socket, datagram, from| {
        let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { return };
        let Ok(Compact::Hello(id)) = Compact::read(kind, body) else { return };
        let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("bound");
        elsewhere.send_to(&welcome(id, from), from).expect("sent");
        for garbage in [welcome([9; 8], from), datagram.to_vec(), vec![0xff; 1400], Vec::new()] {
            socket.send_to(&garbage, from).expect("sent");
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let report = runtime.block_on(netcheck(&[NodeAddress::at(at)]));
    stop();
    assert!(!report.reachable(), "{report:?}");
    assert!(report.advice.contains("UDP is blocked"), "{report:?}");
}

/// Whatever a node says, it is told, and the end comes in time.
#[test]
fn a_node_that_lies_and_is_slow_neither_breaks_nor_delays_it() {
    let (at, stop) = hostile(|socket, datagram, from| {
        let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { return };
        let observed = "[::ffff:100.64.0.1]:0".parse().expect("address");
        let answer = match Compact::read(kind, body) {
            Ok(Compact::Hello(id)) if datagram.len() == HELLO => {
                Compact::Welcome(Welcome { id, key: [0xff; 32], cookie: [0; 16], observed })
            }
            // Of a second port at which nobody is.
            Ok(Compact::AskElsewhere { id, .. }) => Compact::Elsewhere { id, port: 1 },
            _ => return,
        };
        for _ in 0..50 {
            socket.send_to(&answer.write(), from).expect("sent");
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let begun = Instant::now();
    let report = runtime.block_on(netcheck(&[NodeAddress::at(at)]));
    let took = begun.elapsed();
    stop();
    assert!(took < LIMIT + Duration::from_secs(2), "{took:?}");
    let [found] = &report.nodes[..] else { panic!("{report:?}") };
    assert!(found.reachable && found.path_mtu.is_none(), "{found:?}");
    assert_eq!((found.second_port, found.second_port_got_in), (Some(1), None), "{found:?}");
    assert!(report.families[0].carrier_nat.is_some(), "{report:?}");
}
