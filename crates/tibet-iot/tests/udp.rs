//! The main socket on loopback: what is sent arrives whole, and nothing a peer does stops it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tokio::time::timeout;

/// Far longer than anything here takes; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(20);

fn port(address: &str) -> UdpPort {
    UdpPort::bind(address.parse().expect("address")).expect("bound")
}

fn loopback() -> UdpPort {
    port("127.0.0.1:0")
}

/// The next `count` datagrams.
async fn receive(port: &UdpPort, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut buffers = ReceiveBuffers::new();
    let mut received = Vec::new();
    while received.len() < count {
        let now = timeout(DEADLINE, port.recv(&mut buffers)).await.expect("in time").expect("received");
        assert!(now > 0);
        let before = received.len();
        received.extend(buffers.datagrams().map(|(from, bytes)| (from, bytes.to_vec())));
        assert_eq!(received.len() - before, now);
    }
    assert_eq!(received.len(), count);
    received
}

fn to(port: &UdpPort, bytes: Vec<u8>) -> Outgoing {
    Outgoing { to: port.local_addr(), bytes }
}

/// A datagram that can be told from others: its number, then filler.
fn numbered(number: u16, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xa5; length];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[tokio::test]
async fn datagrams_of_every_length_arrive_whole_rows_1_and_8() {
    let (ours, theirs) = (loopback(), loopback());
    let lengths = [0, 1, 7, 1200, 1452, 1453, 9000, 65_507, 0];
    let batch: Vec<_> = lengths.iter().map(|length| to(&theirs, vec![7; *length])).collect();
    let report = ours.send(&batch).await;
    assert_eq!((report.sent, report.failed()), (lengths.len(), 0), "{report:?}");
    let received = receive(&theirs, lengths.len()).await;
    for ((from, bytes), length) in received.iter().zip(lengths) {
        assert_eq!(*from, ours.local_addr());
        assert_eq!(bytes.len(), length);
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
}

#[tokio::test]
async fn a_train_arrives_as_the_datagrams_it_was_made_of_in_order() {
    // Longer than a train may be, with an end that is shorter, and a train of the longest datagrams.
    for (length, count) in [(100_usize, 150_u16), (1452, 130), (2, 70)] {
        let (ours, theirs) = (loopback(), loopback());
        let mut batch: Vec<_> = (0..count).map(|number| to(&theirs, numbered(number, length))).collect();
        batch.push(to(&theirs, vec![9]));
        let report = ours.send(&batch).await;
        assert_eq!((report.sent, report.failed()), (batch.len(), 0), "{report:?}");
        let received = receive(&theirs, batch.len()).await;
        for (one, (_, bytes)) in batch.iter().zip(received) {
            assert!(one.bytes == bytes, "{length}: {:?} {}", &bytes[..1], bytes.len());
        }
    }
}

#[tokio::test]
async fn a_batch_for_many_goes_to_each() {
    let ours = loopback();
    let theirs: Vec<_> = (0..100).map(|_| loopback()).collect();
    // Two for each one, side by side and apart, so that trains and single datagrams take turns.
    let pair = |(number, port): (usize, &UdpPort)| {
        let number = u16::try_from(number).expect("few");
        [to(port, numbered(number, 30)), to(port, numbered(number, 30))]
    };
    let mut batch: Vec<_> = theirs.iter().enumerate().flat_map(pair).collect();
    batch.extend(theirs.iter().map(|port| to(port, b"one more".to_vec())));
    let report = ours.send(&batch).await;
    assert_eq!((report.sent, report.failed()), (300, 0), "{report:?}");
    for (number, port) in theirs.iter().enumerate() {
        let number = u16::try_from(number).expect("few");
        let bytes: Vec<_> = receive(port, 3).await.into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(bytes, [numbered(number, 30), numbered(number, 30), b"one more".to_vec()]);
    }
}

#[tokio::test]
async fn one_unsendable_datagram_loses_no_other_r54() {
    let (ours, theirs) = (loopback(), loopback());
    let bad =
        |address: &str, length| Outgoing { to: address.parse().expect("address"), bytes: vec![1; length] };
    let good = |number| to(&theirs, numbered(number, 2));
    let batch = [
        bad("127.0.0.1:0", 5),
        good(0),
        bad("[2001:db8::1]:7150", 5),
        // The same twice would be a train.
        bad("127.0.0.1:0", 5),
        bad("127.0.0.1:0", 5),
        good(1),
        good(2),
        bad("127.0.0.1:9", 65_508),
        // A broadcast, which this socket is not allowed.
        bad("255.255.255.255:9", 5),
        bad("255.255.255.255:9", 5),
        good(3),
        bad("255.255.255.255:9", 5),
    ];
    let report = ours.send(&batch).await;
    assert_eq!(report.sent, 4, "{report:?}");
    assert_eq!(report.bad_destination, 4, "{report:?}");
    assert_eq!(report.too_long, 1, "{report:?}");
    assert_eq!(report.forbidden, 3, "{report:?}");
    assert_eq!(report.failed(), 8, "{report:?}");
    let received = receive(&theirs, 4).await;
    let numbers: Vec<_> = received.into_iter().map(|(_, bytes)| bytes[1]).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    // Bad destinations have not cost the port its trains either: a hundred equal datagrams still arrive as such.
    let train: Vec<_> = (0..100).map(|number| to(&theirs, numbered(number, 64))).collect();
    assert_eq!(ours.send(&train).await.sent, 100);
    assert_eq!(receive(&theirs, 100).await.len(), 100);
}

#[tokio::test]
async fn an_empty_batch_is_no_work() {
    let report = loopback().send::<Vec<u8>>(&[]).await;
    assert_eq!(report, tibet_iot::SendReport::default());
}

#[tokio::test]
async fn what_has_arrived_can_be_taken_without_waiting() {
    let (ours, theirs) = (loopback(), loopback());
    // Of different lengths, so that each is a datagram of its own and one call does not take all.
    let lengths: BTreeMap<usize, usize> = (1..=200).map(|length| (length, 1)).collect();
    let batch: Vec<_> = lengths.keys().map(|length| to(&theirs, vec![1; *length])).collect();
    assert_eq!(ours.send(&batch).await.sent, 200);
    let mut buffers = ReceiveBuffers::new();
    let (mut received, mut calls) = (BTreeMap::new(), 0);
    while received.len() < 200 {
        if theirs.try_recv(&mut buffers).expect("no error") == 0 {
            timeout(DEADLINE, theirs.recv(&mut buffers)).await.expect("in time").expect("received");
        }
        calls += 1;
        for (_, bytes) in buffers.datagrams() {
            *received.entry(bytes.len()).or_default() += 1;
        }
    }
    assert_eq!(received, lengths);
    assert!((200_usize.div_ceil(32)..=200).contains(&calls), "{calls}");
    assert_eq!(theirs.try_recv(&mut buffers).expect("no error"), 0);
    assert_eq!(buffers.datagrams().count(), 0, "nothing of the last batch is left");
}

#[tokio::test]
async fn a_second_node_on_a_port_fails_and_says_which() {
    let ours = loopback();
    let address = ours.local_addr();
    let error = UdpPort::bind(address).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let everywhere = SocketAddr::new("0.0.0.0".parse().expect("ip"), address.port());
    assert_eq!(UdpPort::bind(everywhere).expect_err("taken").kind(), ErrorKind::AddrInUse);
    drop(ours);
    UdpPort::bind(address).expect("free again");
}

#[tokio::test]
async fn a_port_for_both_families_sees_ipv4_as_ipv4_r48() {
    let Ok(both) = UdpPort::bind("[::]:0".parse().expect("address")) else {
        println!("SKIPPED: this machine has no IPv6");
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none());
        return;
    };
    assert!(both.speaks_v4() && both.speaks_v6());
    let own_port = both.local_addr().port();
    for (other, own) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let other = port(other);
        let own = SocketAddr::new(own.parse().expect("ip"), own_port);
        assert_eq!(other.send(&[Outgoing { to: own, bytes: "ping" }]).await.sent, 1);
        assert_eq!(receive(&both, 1).await, [(other.local_addr(), b"ping".to_vec())]);
        // Alone, in a batch, and as a train.
        let answer = |bytes| Outgoing { to: other.local_addr(), bytes };
        let report = both.send(&[answer("a"), answer("four"), answer("four")]).await;
        assert_eq!(report.sent, 3, "{report:?}");
        let received = receive(&other, 3).await;
        assert!(received.iter().all(|(from, _)| *from == own), "{received:?}");
    }
    let of_v6_only = port("[::1]:0");
    assert!(!of_v6_only.speaks_v4());
    let report =
        of_v6_only.send(&[Outgoing { to: "127.0.0.1:9".parse().expect("address"), bytes: "x" }]).await;
    assert_eq!(report.bad_destination, 1, "{report:?}");
}
