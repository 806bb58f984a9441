//! A program of one machine talks to a program of another through a forward, two stacks and an expose, over real loopback sockets.

mod stack_link;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use stack_link::{A, B, Link, pair};
use tibet_net::{Expose, Forward, ForwardError, MAX_PROXIED_PER_PEER, ProxyCounts, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A program that reads all of a question and only then answers with it, reversed.
async fn program() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(loopback(0)).await.expect("port");
    let address = listener.local_addr().expect("address");
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut question = Vec::new();
                if stream.read_to_end(&mut question).await.is_ok() {
                    question.reverse();
                    stream.write_all(&question).await.expect("written");
                }
            });
        }
    });
    (address, task)
}

/// A forward of `a`'s machine to port 80 of `b`.
async fn forward(a: &Stack) -> Forward {
    let a = a.clone();
    let dial = move || {
        let a = a.clone();
        async move { a.connect(B, 80).await }
    };
    Forward::start(loopback(0), dial).await.expect("forward")
}

/// Waits until a proxy's counts are as they should be.
async fn counts(read: impl Fn() -> ProxyCounts, wanted: impl Fn(&ProxyCounts) -> bool) -> ProxyCounts {
    let reached = timeout(PATIENCE, async {
        while !wanted(&read()) {
            tokio::task::yield_now().await;
        }
    });
    assert!(reached.await.is_ok(), "{:?}", read());
    read()
}

#[tokio::test]
async fn a_question_and_its_answer_come_through_with_the_end_of_each() {
    let (a, b) = pair(Link::PERFECT);
    let (local, _program) = program().await;
    let expose = Expose::start(b.listen(80).expect("port"), local, |peer| peer == A);
    let forward = forward(&a).await;
    let question: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let ask = || async {
        let mut stream = TcpStream::connect(forward.local_addr()).await.expect("connected");
        let (mut from, mut to) = stream.split();
        let write = async {
            to.write_all(&question).await.expect("written");
            to.shutdown().await.expect("ended");
        };
        let mut answer = Vec::new();
        let (read, ()) = tokio::join!(from.read_to_end(&mut answer), write);
        read.expect("read");
        answer.reverse();
        assert!(answer == question);
    };
    timeout(PATIENCE, async { tokio::join!(ask(), ask()) }).await.expect("in time");
    let length = 2 * question.len() as u64;
    for (counted, name) in [
        (counts(|| forward.counts(), |counts| counts.open == 0).await, "forward"),
        (counts(|| expose.counts(), |counts| counts.open == 0).await, "expose"),
    ] {
        assert_eq!((counted.total, counted.refused), (2, 0), "{name}");
        assert_eq!((counted.bytes_in, counted.bytes_out), (length, length), "{name}");
        assert_eq!(counted.last_error, None, "{name}");
    }
}

#[tokio::test]
async fn who_is_not_allowed_and_what_no_program_answers_is_reset() {
    let (a, b) = pair(Link::PERFECT);
    let gone = TcpListener::bind(loopback(0)).await.expect("port").local_addr().expect("address");
    let closed = Expose::start(b.listen(80).expect("port"), gone, |_| false);
    let mut stream = a.connect(B, 80).await.expect("connected");
    assert_eq!(stream.read(&mut [0]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    assert_eq!((closed.counts().refused, closed.counts().total), (1, 0));
    drop(closed);
    // The port is free once its listener is gone.
    let free = async {
        while b.listen(80).is_err() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, free).await.expect("freed");
    let empty = Expose::start(b.listen(80).expect("port"), gone, |_| true);
    let forward = forward(&a).await;
    let mut client = TcpStream::connect(forward.local_addr()).await.expect("connected");
    assert_eq!(client.read(&mut [0]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    let counted = counts(|| empty.counts(), |counts| counts.last_error.is_some()).await;
    let error = counted.last_error.expect("error");
    assert!(error.contains("start it, or expose another port"), "{error}");
}

#[tokio::test]
async fn a_peer_has_a_bounded_number_of_connections_to_a_program() {
    let (a, b) = pair(Link::PERFECT);
    let (local, _program) = program().await;
    let expose = Expose::start(b.listen(80).expect("port"), local, |_| true);
    let mut held = Vec::new();
    for _ in 0..MAX_PROXIED_PER_PEER {
        held.push(a.connect(B, 80).await.expect("connected"));
    }
    counts(|| expose.counts(), |counts| counts.open == MAX_PROXIED_PER_PEER).await;
    let mut more = a.connect(B, 80).await.expect("connected");
    assert_eq!(more.read(&mut [0]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    // A place that was left can be had again.
    drop(held.pop());
    counts(|| expose.counts(), |counts| counts.open == MAX_PROXIED_PER_PEER - 1).await;
    let mut again = a.connect(B, 80).await.expect("connected");
    again.write_all(b"ab").await.expect("written");
    again.shutdown().await.expect("ended");
    let mut answer = Vec::new();
    timeout(PATIENCE, again.read_to_end(&mut answer)).await.expect("in time").expect("read");
    assert_eq!(answer, b"ba");
}

#[tokio::test]
async fn dropping_a_proxy_ends_its_listener_and_its_connections() {
    let (a, b) = pair(Link::PERFECT);
    let (local, _program) = program().await;
    let _expose = Expose::start(b.listen(80).expect("port"), local, |_| true);
    let forward = forward(&a).await;
    let address = forward.local_addr();
    let taken = Forward::start(address, || async { Err::<TcpStream, _>(ErrorKind::Other.into()) }).await;
    let error = taken.expect_err("in use");
    assert!(matches!(error, ForwardError::InUse(at) if at == address), "{error}");
    assert!(error.to_string().contains("choose another port"), "{error}");
    let mut client = TcpStream::connect(address).await.expect("connected");
    client.write_all(b"x").await.expect("written");
    counts(|| forward.counts(), |counts| counts.bytes_in == 1).await;
    drop(forward);
    let ended = timeout(PATIENCE, client.read(&mut [0])).await.expect("in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    // Dropped tasks end when the runtime comes to them.
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, refused).await.expect("nobody listens any more");
}
