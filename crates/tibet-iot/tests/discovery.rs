//! Announcements on the loopback interface: all nodes of a machine hear each other, and nothing but the group.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tibet_iot::{
    Change, Discovery, DiscoveryConfig, Family, GROUP_V4, GROUP_V6, Outgoing, PORT, ReceiveBuffers, UdpPort,
};
use tokio::time::timeout;

/// Far longer than anything here takes; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(20);

/// Groups of this test alone, on the loopback interface alone.
fn config() -> DiscoveryConfig {
    let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    DiscoveryConfig { port: free.port(), only: Some(vec!["lo".to_owned()]), ..DiscoveryConfig::default() }
}

struct Node {
    port: UdpPort,
    discovery: Discovery,
    heard: Vec<(SocketAddr, Vec<u8>)>,
}

impl Node {
    fn new(config: &DiscoveryConfig, bind: &str) -> Self {
        let (discovery, changes) = Discovery::open(config.clone()).expect("opened");
        assert!(
            changes.iter().any(|change| matches!(change, Change::Joined(here) if here.name == "lo" && here.family == Family::V4)),
            "{changes:?}"
        );
        let port = UdpPort::bind(bind.parse().expect("address")).expect("bound");
        Self { port, discovery, heard: Vec::new() }
    }

    async fn announce(&self, bytes: &[u8]) {
        let announced = self.discovery.send(&self.port, bytes).await;
        assert_eq!(announced.sent, 1, "{announced:?}");
        assert!(announced.failed.is_empty(), "{announced:?}");
    }

    /// Receives until `count` announcements have been heard.
    async fn hear(&mut self, count: usize) {
        let mut buffers = ReceiveBuffers::new();
        while self.heard.len() < count {
            timeout(DEADLINE, self.discovery.recv(&mut buffers)).await.expect("in time").expect("received");
            for heard in self.discovery.heard(&buffers) {
                assert!(heard.on_link, "{heard:?}");
                let interface = self.discovery.interfaces().get(heard.interface).expect("known");
                assert!(interface.loopback, "{interface:?}");
                self.heard.push((heard.from, heard.bytes.to_vec()));
            }
        }
    }
}

#[test]
fn the_groups_are_the_ones_that_were_chosen() {
    assert_eq!((GROUP_V4.to_string().as_str(), PORT), ("224.0.71.50", 7151));
    // Transient and of link-local scope (RFC 4291); the id is one that nobody assigns (RFC 3307).
    let segments = GROUP_V6.segments();
    assert_eq!(segments[0], 0xff12);
    let id = u32::from(segments[6]) << 16 | u32::from(segments[7]);
    assert!(id >= 0x8000_0000);
    assert_eq!(Ipv4Addr::from(id), GROUP_V4);
}

#[tokio::test]
async fn two_nodes_on_one_machine_hear_each_other_and_themselves() {
    let config = config();
    let (mut one, mut two) = (Node::new(&config, "127.0.0.1:0"), Node::new(&config, "127.0.0.1:0"));
    one.announce(b"I am one").await;
    two.announce(b"I am two").await;
    let expected =
        [(one.port.local_addr(), b"I am one".to_vec()), (two.port.local_addr(), b"I am two".to_vec())];
    for node in [&mut one, &mut two] {
        node.hear(2).await;
        node.heard.sort();
        let mut expected = expected.clone();
        expected.sort();
        assert_eq!(node.heard, expected);
    }
    // The source is the main port: an answer to it arrives there.
    let answer = Outgoing {
        to: two.heard.iter().find(|(_, said)| said == b"I am one").expect("heard").0,
        bytes: "hello",
    };
    assert_eq!(two.port.send(&[answer]).await.sent, 1);
    let mut buffers = ReceiveBuffers::new();
    timeout(DEADLINE, one.port.recv(&mut buffers)).await.expect("in time").expect("received");
    assert_eq!(buffers.datagrams().next(), Some((two.port.local_addr(), b"hello".as_slice())));
}

#[tokio::test]
async fn a_port_for_both_families_announces_over_ipv4_here() {
    let Ok(port) = UdpPort::bind("[::]:0".parse().expect("address")) else {
        println!("SKIPPED: this machine has no IPv6");
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none());
        return;
    };
    let mut node = Node::new(&config(), "127.0.0.1:0");
    // The loopback interface has no IPv6 multicast, and that is no failure.
    let announced = node.discovery.send(&port, b"both").await;
    assert_eq!((announced.sent, announced.failed.len()), (1, 0), "{announced:?}");
    node.hear(1).await;
    let from = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.local_addr().port());
    assert_eq!(node.heard, [(from, b"both".to_vec())]);
}

#[tokio::test]
async fn what_was_not_sent_to_the_group_is_not_heard() {
    let config = config();
    let mut node = Node::new(&config, "127.0.0.1:0");
    let other = DiscoveryConfig { group_v4: Ipv4Addr::new(224, 0, 71, 51), ..config.clone() };
    let stranger = Node::new(&other, "127.0.0.1:0");
    stranger.announce(b"another group").await;
    for to in ["127.0.0.1", "::1"] {
        let to = SocketAddr::new(to.parse().expect("ip"), config.port);
        stranger.port.send(&[Outgoing { to, bytes: "not the group" }]).await;
        if let Ok(socket) = UdpSocket::bind("[::1]:0") {
            socket.send_to(b"not the group", to).ok();
        }
    }
    node.announce(b"the group").await;
    node.hear(1).await;
    assert_eq!(node.heard, [(node.port.local_addr(), b"the group".to_vec())]);
}

#[tokio::test]
async fn announcements_of_every_length_are_heard_row_1() {
    let config = config();
    let mut node = Node::new(&config, "127.0.0.1:0");
    let lengths = [0, 1, 1200, 9000, 65_507];
    for length in lengths {
        node.announce(&vec![1; length]).await;
    }
    node.hear(lengths.len()).await;
    let heard: Vec<_> = node.heard.iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(heard, lengths);
}

#[tokio::test]
async fn nothing_changes_while_the_interfaces_stay_as_they_are() {
    let mut node = Node::new(&config(), "127.0.0.1:0");
    for _ in 0..3 {
        let changes = node.discovery.refresh().expect("refreshed");
        assert!(changes.is_empty(), "{changes:?}");
    }
    node.announce(b"still here").await;
    node.hear(1).await;
}

#[tokio::test]
async fn a_group_that_cannot_be_joined_is_reported_once_and_fatal_to_nothing() {
    // Not a group: joining it fails.
    let config = DiscoveryConfig { group_v4: Ipv4Addr::LOCALHOST, ..config() };
    let (mut discovery, changes) = Discovery::open(config).expect("opened");
    assert!(
        matches!(&changes[..], [Change::Failed(here, _)] if here.name == "lo" && here.family == Family::V4),
        "{changes:?}"
    );
    assert!(discovery.refresh().expect("refreshed").is_empty(), "said before");
    let port = UdpPort::bind("127.0.0.1:0".parse().expect("address")).expect("bound");
    assert_eq!(discovery.send(&port, b"still sends").await.sent, 1);
}

#[tokio::test]
async fn a_port_that_cannot_be_bound_is_an_error_that_names_it() {
    // Bound without reuse, so that nobody can share it; for both families.
    let taken = UdpSocket::bind("0.0.0.0:0").expect("bound");
    let port = taken.local_addr().expect("address").port();
    let _taken_too = UdpSocket::bind(("::", port));
    match Discovery::open(DiscoveryConfig { port, ..config() }) {
        Ok((_, changes)) => {
            assert!(
                changes
                    .iter()
                    .all(|change| matches!(change, Change::Joined(here) if here.family == Family::V6)),
                "{changes:?}"
            );
        }
        Err(error) => assert!(error.to_string().contains(&port.to_string()), "{error}"),
    }
}
