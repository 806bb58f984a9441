//! Stacks that talk to each other, and to peers that do not keep to the rules. All on virtual time.

mod stack_link;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use stack_link::{A, ACK, B, C, FIN, Link, PSH, RST, Random, SYN, Segment, packet, pair, seal, stack};
use tibet_net::{
    BACKLOG, LARGE_BUFFER, MAX_CONNECTIONS_PER_PEER, MAX_HALF_OPEN, MAX_HALF_OPEN_PER_PEER, QUEUE, Stack,
    StackPackets, StackStream,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// A connection from the first to the second, seen from both.
async fn connected(a: &Stack, b: &Stack, port: u16) -> (StackStream, StackStream) {
    let mut listener = b.listen(port).expect("port");
    let (ours, theirs) = tokio::join!(a.connect(b.address(), port), listener.accept());
    let (theirs, peer) = theirs.expect("accepted");
    let ours = ours.expect("connected");
    assert_eq!(peer, ours.local_addr().into());
    assert_eq!(ours.peer_addr(), theirs.local_addr());
    (ours, theirs)
}

/// Both directions of a connection still work.
async fn works(one: &mut StackStream, other: &mut StackStream) {
    let mut got = [0; 2];
    one.write_all(b"to").await.expect("written");
    other.read_exact(&mut got).await.expect("read");
    assert_eq!(&got, b"to");
    other.write_all(b"ba").await.expect("written");
    one.read_exact(&mut got).await.expect("read");
    assert_eq!(&got, b"ba");
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

#[tokio::test(start_paused = true)]
async fn ten_mebibytes_each_way_arrive_over_a_link_that_loses_reorders_and_repeats() {
    let (a, b) = pair(Link { lost: 2, twice: 2, least: 5, most: 9, seed: 0x7ea5 });
    let (ours, theirs) = connected(&a, &b, 80).await;
    let exchange = |stream: StackStream, seed: u64, expected: u64| async move {
        let (mut from, mut to) = tokio::io::split(stream);
        let write = async move {
            to.write_all(&bytes(10 << 20, seed)).await.expect("written");
            to.shutdown().await.expect("ended");
            to
        };
        let read = async move {
            let mut got = Vec::new();
            from.read_to_end(&mut got).await.expect("read");
            (got == bytes(10 << 20, expected), from)
        };
        let (to, (same, from)) = tokio::join!(write, read);
        assert!(same, "what was read is not what was written");
        drop(from.unsplit(to));
    };
    tokio::join!(exchange(ours, 3, 4), exchange(theirs, 4, 3));
    // TIME-WAIT is over after ten seconds, and nothing is left.
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!((a.counts().connections, b.counts().connections), (0, 0));
    assert_eq!((a.counts().overrun, b.counts().overrun), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn after_the_end_of_one_direction_the_other_goes_on() {
    let (a, b) = pair(Link::PERFECT);
    let (mut ours, mut theirs) = connected(&a, &b, 80).await;
    ours.write_all(b"question").await.expect("written");
    ours.shutdown().await.expect("ended");
    assert_eq!(ours.write(b"x").await.expect_err("ended").kind(), ErrorKind::BrokenPipe);
    let mut question = Vec::new();
    theirs.read_to_end(&mut question).await.expect("read");
    assert_eq!(question, b"question");
    // Much longer than any silence that is borne: the connection is not silent, it is asked after.
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let answer = bytes(1 << 20, 5);
    let write = async {
        theirs.write_all(&answer).await.expect("written");
        theirs.shutdown().await.expect("ended");
    };
    let mut got = Vec::new();
    let (read, ()) = tokio::join!(ours.read_to_end(&mut got), write);
    read.expect("read");
    assert!(got == answer);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_read_when_both_had_ended_can_be_read_long_after() {
    let (a, b) = pair(Link::PERFECT);
    let (mut ours, mut theirs) = connected(&a, &b, 80).await;
    ours.shutdown().await.expect("ended");
    theirs.write_all(b"answer").await.expect("written");
    theirs.shutdown().await.expect("ended");
    // Longer than TIME-WAIT.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut got = Vec::new();
    ours.read_to_end(&mut got).await.expect("read");
    assert_eq!(got, b"answer");
    assert_eq!(ours.read(&mut [0]).await.expect("still the end"), 0);
    drop((ours, theirs));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((a.counts().connections, b.counts().connections), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_port_nobody_listens_on_refuses_and_a_peer_that_is_not_there_times_out() {
    let (a, b) = pair(Link::PERFECT);
    let refused = a.connect(B, 81).await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let (lonely, _packets) = stack(C);
    let began = Instant::now();
    let late = lonely.connect(B, 80).await.expect_err("nobody");
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    assert!(late.to_string().contains("did not answer"), "{late}");
    let took = began.elapsed();
    assert!((10.0..10.1).contains(&took.as_secs_f64()), "{took:?}");
    for (peer, port) in [(A, 80), (B, 0), ("ff02::1".parse().expect("address"), 80)] {
        assert_eq!(a.connect(peer, port).await.expect_err("no peer").kind(), ErrorKind::InvalidInput);
    }
    let _taken = b.listen(80).expect("port");
    assert_eq!(b.listen(80).expect_err("taken").kind(), ErrorKind::AddrInUse);
    assert_eq!(b.listen(0).expect_err("no port").kind(), ErrorKind::InvalidInput);
    tokio::task::yield_now().await;
    assert_eq!((a.counts().connections, lonely.counts().connections), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_is_noticed_and_a_silent_one_is_not() {
    let (a, from_a) = stack(A);
    let (b, from_b) = stack(B);
    let cut = Arc::new(AtomicBool::new(false));
    for (mut from, to) in [(from_a, b.clone()), (from_b, a.clone())] {
        let cut = cut.clone();
        tokio::spawn(async move {
            let mut packets = Vec::new();
            while from.recv_many(&mut packets).await > 0 {
                let lost = cut.load(Ordering::Relaxed);
                packets.drain(..).filter(|_| !lost).for_each(|packet| to.receive(packet));
            }
        });
    }
    let (mut ours, mut theirs) = connected(&a, &b, 80).await;
    assert!(timeout(Duration::from_secs(3600), ours.read(&mut [0])).await.is_err(), "silent for an hour");
    works(&mut ours, &mut theirs).await;
    cut.store(true, Ordering::Relaxed);
    let began = Instant::now();
    // One waits for the other, which has something to say.
    let mut got = [0];
    let (read, written) = tokio::join!(ours.read(&mut got), async {
        while theirs.write_all(&[0; 1000]).await.is_ok() {}
        theirs.write(&[0]).await
    });
    assert_eq!(read.expect_err("gone").kind(), ErrorKind::TimedOut);
    assert_eq!(written.expect_err("gone").kind(), ErrorKind::TimedOut);
    let took = began.elapsed().as_secs();
    assert!((90..=125).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stream_that_was_not_shut_down_resets_it() {
    let (a, b) = pair(Link::PERFECT);
    let (mut ours, theirs) = connected(&a, &b, 80).await;
    drop(theirs);
    assert_eq!(ours.read(&mut [0]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    assert_eq!(ours.write(&[0]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    drop(ours);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((a.counts().connections, b.counts().connections), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_stack_that_has_ended() {
    let (lonely, packets) = stack(C);
    let mut listener = lonely.listen(80).expect("port");
    let (accepted, connecting, ()) = tokio::join!(listener.accept(), lonely.connect(B, 80), async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(packets);
    });
    assert_eq!(accepted.expect_err("ended").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(connecting.expect_err("ended").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(lonely.connect(B, 80).await.expect_err("ended").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(lonely.listen(81).expect_err("ended").kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_who_connect_at_once_are_all_accepted() {
    let (a, b) = pair(Link { lost: 0, twice: 0, least: 1, most: 3, seed: 9 });
    let mut listener = b.listen(80).expect("port");
    let connects: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn({
                let a = a.clone();
                async move { a.connect(B, 80).await }
            })
        })
        .collect();
    let mut ports = std::collections::BTreeSet::new();
    let mut theirs = Vec::new();
    for connect in connects {
        let stream = connect.await.expect("task").expect("connected");
        ports.insert(stream.local_addr().port());
        theirs.push(stream);
    }
    assert_eq!(ports.len(), 100, "no port twice");
    // Nobody had accepted any of them until here.
    for _ in 0..100 {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        stream.write_all(b"!").await.expect("written");
        stream.shutdown().await.expect("ended");
    }
    for stream in &mut theirs {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.expect("read");
        assert_eq!(got, b"!");
    }
    assert_eq!(b.counts().no_room, 0);
}

#[tokio::test(start_paused = true)]
async fn an_echo_request_is_answered_if_it_is_for_us() {
    let (b, mut packets) = stack(B);
    let mut request = packet(A, B, 58, &[128, 0, 0, 0, 0, 7, 0, 1, b'p', b'i', b'n', b'g']);
    seal(&mut request, 42);
    b.receive(request.clone());
    // For someone else, and with a sum that is wrong.
    b.receive(packet(A, C, 58, &request[40..]));
    request[50] ^= 1;
    b.receive(request);
    let answers = made(&mut packets).await;
    assert_eq!(answers.len(), 1);
    assert_eq!((&answers[0][8..24], &answers[0][24..40]), (&B.octets()[..], &A.octets()[..]));
    assert_eq!(answers[0][40], 129);
    assert_eq!(&answers[0][44..], &[0, 7, 0, 1, b'p', b'i', b'n', b'g']);
}

/// What a stack has made by now and makes within a tenth of a second.
async fn made(packets: &mut StackPackets) -> Vec<BytesMut> {
    let mut all = Vec::new();
    while timeout(Duration::from_millis(100), packets.recv_many(&mut all))
        .await
        .is_ok_and(|number| number > 0)
    {}
    all
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_syns_is_bounded_and_leaves_open_connections_alone() {
    let (a, b) = pair(Link::PERFECT);
    let mut listener = b.listen(80).expect("port");
    let (ours, theirs) = tokio::join!(a.connect(B, 80), listener.accept());
    let (mut ours, (mut theirs, _)) = (ours.expect("connected"), theirs.expect("accepted"));
    for port in 1..=5000_u16 {
        b.receive(Segment::syn(C, port, B, 80).packet());
        if usize::from(port) % (QUEUE / 2) == 0 {
            works(&mut ours, &mut theirs).await;
            let counts = b.counts();
            assert!(counts.half_open <= MAX_HALF_OPEN_PER_PEER, "{counts:?}");
            assert!(counts.connections <= MAX_HALF_OPEN_PER_PEER + 1, "{counts:?}");
        }
    }
    // Another peer gets through at the height of it.
    let (other, accepted) = tokio::join!(a.connect(B, 80), listener.accept());
    works(&mut other.expect("connected"), &mut accepted.expect("accepted").0).await;
    // As many peers as there are addresses.
    for peer in 0..5000_u16 {
        let source = std::net::Ipv6Addr::new(0xfd54, 1, 0, 0, 0, 0, 0, peer + 1);
        b.receive(Segment::syn(source, 7, B, 80).packet());
        if usize::from(peer) % (QUEUE / 2) == 0 {
            works(&mut ours, &mut theirs).await;
            assert!(b.counts().half_open <= MAX_HALF_OPEN, "{:?}", b.counts());
        }
    }
    assert!(b.counts().half_open_forgotten > 4000, "{:?}", b.counts());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(b.counts().half_open, 0);
    assert!(b.counts().connections <= 2, "{:?}", b.counts());
    works(&mut ours, &mut theirs).await;
}

/// A connection of a peer that makes its own segments; what it sends next.
async fn by_hand(b: &Stack, packets: &mut StackPackets, port: u16) -> Segment {
    let mut next = Segment::syn(C, port, B, 80);
    b.receive(next.packet());
    let made = made(packets).await;
    let mut answers =
        made.iter().map(|packet| Segment::read(packet)).filter(|answer| answer.flags == SYN | ACK);
    let answer = answers.find(|answer| answer.to == port).expect("an answer");
    next.sequence += 1;
    next.acknowledged = answer.sequence.wrapping_add(1);
    next.flags = ACK;
    next.options.clear();
    next
}

#[tokio::test(start_paused = true)]
async fn a_peer_cannot_take_every_connection() {
    let (b, mut packets) = stack(B);
    let mut listener = b.listen(80).expect("port");
    let mut held = Vec::new();
    for port in 1..=u16::try_from(MAX_CONNECTIONS_PER_PEER + 20).expect("number") {
        b.receive(Segment::syn(C, port, B, 80).packet());
        let answers = made(&mut packets).await;
        let Some(answer) =
            answers.iter().map(|packet| Segment::read(packet)).find(|answer| answer.to == port)
        else {
            continue;
        };
        let mut ack = Segment::syn(C, port, B, 80);
        (ack.sequence, ack.acknowledged, ack.flags) =
            (ack.sequence + 1, answer.sequence.wrapping_add(1), ACK);
        ack.options.clear();
        b.receive(ack.packet());
        held.push(listener.accept().await.expect("accepted"));
    }
    assert_eq!(held.len(), MAX_CONNECTIONS_PER_PEER);
    assert_eq!(b.counts().no_room, 20);
    // One that nobody accepts waits, and so many of them at most.
    drop(held);
    made(&mut packets).await;
    for port in 1..=u16::try_from(BACKLOG + 20).expect("number") {
        b.receive(Segment::syn(C, port, B, 80).packet());
        for answer in made(&mut packets).await.iter().map(|packet| Segment::read(packet)) {
            let mut ack = Segment::syn(C, answer.to, B, 80);
            (ack.sequence, ack.acknowledged, ack.flags) =
                (ack.sequence + 1, answer.sequence.wrapping_add(1), ACK);
            ack.options.clear();
            b.receive(ack.packet());
        }
    }
    made(&mut packets).await;
    assert_eq!(b.counts().connections, BACKLOG);
    drop(listener);
    made(&mut packets).await;
    assert_eq!(b.counts().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn bytes_beyond_the_window_reach_no_buffer() {
    // Before our first segment after the SYN, smoltcp believes in a window as many times too large as it is scaled.
    let (b, mut packets) = stack(B);
    let mut listener = b.listen(80).expect("port");
    for (nth, offset) in
        (0_u16..).zip([LARGE_BUFFER - 4, LARGE_BUFFER, LARGE_BUFFER + 40_000, 500_000, 1 << 30])
    {
        let mut next = by_hand(&b, &mut packets, 1000 + nth).await;
        let start = next.sequence;
        next.sequence = start.wrapping_add(u32::try_from(offset).expect("offset"));
        next.data = vec![7; 8];
        b.receive(next.packet());
        made(&mut packets).await;
        // The handshake ends, and everything in between arrives after all.
        (next.sequence, next.data) = (start, vec![1; 1024]);
        for _ in 0..LARGE_BUFFER / 1024 {
            b.receive(next.packet());
            next.sequence = next.sequence.wrapping_add(1024);
            if next.sequence.wrapping_sub(start) % (1 << 16) == 0 {
                made(&mut packets).await;
            }
        }
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut got = vec![0; LARGE_BUFFER];
        stream.read_exact(&mut got).await.expect("read");
        assert!(got.iter().all(|byte| *byte == 1), "a byte that was never asked for");
    }
}

#[tokio::test(start_paused = true)]
async fn security_79_hostile_packets_change_nothing_for_the_connections_of_others() {
    let (a, b) = pair(Link::PERFECT);
    let mut listener = b.listen(80).expect("port");
    let (ours, theirs) = tokio::join!(a.connect(B, 80), listener.accept());
    let (mut ours, (mut theirs, _)) = (ours.expect("connected"), theirs.expect("accepted"));
    let port = ours.local_addr().port();
    let mut random = Random(0xbad);
    let mut hostile = |round: u64| -> BytesMut {
        let flags = [SYN, ACK, FIN | ACK, RST, RST | ACK, PSH | ACK, SYN | FIN, 0, 0xff]
            [usize::try_from(random.below(9)).expect("index")];
        let source = if round.is_multiple_of(5) { A } else { C };
        let mut segment = Segment::syn(source, if round.is_multiple_of(2) { port } else { 5 }, B, 80);
        segment.flags = flags;
        segment.sequence = u32::try_from(random.below(1 << 32)).expect("number");
        segment.acknowledged = u32::try_from(random.below(1 << 32)).expect("number");
        segment.window = u16::try_from(random.below(1 << 16)).expect("number");
        let options = usize::try_from(random.below(11)).expect("length") * 4;
        segment.options = (0..options).map(|_| u8::try_from(random.below(256)).expect("byte")).collect();
        segment.data = vec![9; usize::try_from(random.below(1200)).expect("length")];
        let mut bytes = segment.packet();
        match round % 8 {
            // What comes from the peer itself, here and in every fifth round, has a sum that is wrong.
            _ if source == A => bytes[57] ^= 1,
            0 => bytes.truncate(usize::try_from(random.below(1300)).expect("length").min(bytes.len())),
            1 => {
                bytes[6] =
                    [0, 43, 44, 50, 51, 58, 59, 60, 135][usize::try_from(random.below(9)).expect("index")]
            }
            2 => {
                let length = bytes.len() as u64;
                let at = usize::try_from(random.below(length)).expect("index");
                bytes[at] ^= 1 << random.below(8);
                // Even one bit of the address may not make it the peer's.
                if bytes[8..24] == A.octets() {
                    bytes[23] = 0xc;
                }
            }
            _ => {}
        }
        bytes
    };
    for round in 0..20_000 {
        b.receive(hostile(round));
        if round % 400 == 0 {
            works(&mut ours, &mut theirs).await;
        }
    }
    works(&mut ours, &mut theirs).await;
    let counts = b.counts();
    assert!(counts.connections <= 1 + MAX_HALF_OPEN_PER_PEER + BACKLOG, "{counts:?}");
    assert_eq!(counts.overrun, 0, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_every_rule_of_its_own_connection_breaks_only_that() {
    let (b, mut packets) = stack(B);
    let mut listener = b.listen(80).expect("port");
    let mut random = Random(0xdead);
    for round in 0..300_u16 {
        let mut next = by_hand(&b, &mut packets, 1000 + round).await;
        let (sequence, acknowledged) = (next.sequence, next.acknowledged);
        if round % 3 > 0 {
            b.receive(next.packet());
        }
        let mut near = |base: u32, width: u64| {
            let offset = u32::try_from(random.below(width)).expect("offset");
            base.wrapping_add(offset).wrapping_sub(u32::try_from(width / 2).expect("offset"))
        };
        for nth in 0..60 {
            let width = [4, 3000, 1 << 20, 1 << 31][nth % 4];
            next.sequence = near(sequence, width);
            next.acknowledged = near(acknowledged, width);
            let choice = near(0, 1 << 20);
            next.flags = [ACK, ACK | PSH, ACK | FIN, SYN | ACK, ACK, RST, SYN, ACK][choice as usize % 8];
            next.window = u16::try_from(choice >> 4 & 0xffff).expect("window");
            next.data = vec![3; choice as usize % 1200];
            b.receive(next.packet());
            if nth % 20 == 7
                && let Ok(Ok((mut stream, _))) = timeout(Duration::ZERO, listener.accept()).await
            {
                // Data of ours to acknowledge wrongly.
                let _ = stream.write(&[5; 5000]).await;
                let mut got = [0; 3000];
                let _ = timeout(Duration::ZERO, stream.read(&mut got)).await;
                let _ = stream.shutdown().await;
                tokio::time::sleep(Duration::from_millis(u64::from(round))).await;
            }
        }
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    made(&mut packets).await;
    // It is still there for who keeps to them.
    while timeout(Duration::ZERO, listener.accept()).await.is_ok() {}
    let next = by_hand(&b, &mut packets, 9).await;
    b.receive(next.packet());
    let (_, peer) = listener.accept().await.expect("accepted");
    assert_eq!(peer.port(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_our_end_and_has_no_room_is_not_asked_without_pause() {
    let (b, mut packets) = stack(B);
    let mut listener = b.listen(80).expect("port");
    let mut next = by_hand(&b, &mut packets, 7).await;
    b.receive(next.packet());
    let (mut stream, _) = listener.accept().await.expect("accepted");
    stream.write_all(&[5; 5000]).await.expect("written");
    stream.shutdown().await.expect("ended");
    made(&mut packets).await;
    // Room for nothing more, and some still to come: the stack begins to ask for room.
    next.acknowledged = next.acknowledged.wrapping_add(1000);
    next.window = 0;
    b.receive(next.packet());
    made(&mut packets).await;
    // Then all of it and its end, and no room still.
    next.acknowledged = next.acknowledged.wrapping_add(4001);
    b.receive(next.packet());
    let mut all = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    while all.len() < 2000 && tokio::time::timeout_at(until, packets.recv_many(&mut all)).await.is_ok() {}
    assert!(all.len() <= 70, "{} packets in a minute", all.len());
    // The other direction is as it was.
    (next.data, next.window) = (b"answer".to_vec(), 100);
    b.receive(next.packet());
    let mut got = [0; 6];
    stream.read_exact(&mut got).await.expect("read");
    assert_eq!(&got, b"answer");
}
