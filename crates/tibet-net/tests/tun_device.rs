//! A real TUN device in a network of its own: what programs send comes out, what is written reaches them.
//!
//! Needs root. Without it the tests say so in one line and pass, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

#![allow(clippy::print_stdout, reason = "what was skipped, and why")]

use std::fs;
use std::net::Ipv6Addr;
use std::process::Command;
use std::time::Duration;

use bytes::BytesMut;
use nix::sched::{CloneFlags, unshare};
use tibet_net::{SPARE, TunConfig, TunDevice, TunError, TunReader, TunWriter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

const HERE: Ipv6Addr = Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 1);
const THERE: Ipv6Addr = Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 2);
const LONG: Duration = Duration::from_secs(60);

/// Runs `test` on a thread with a network of its own, which goes with it.
fn alone(test: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(reason) = unshare(CloneFlags::CLONE_NEWNET) {
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "no network of its own: {reason}");
            println!("SKIPPED: a TUN device in a network of its own: {reason}");
            return;
        }
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async { timeout(LONG, test()).await.expect("in time") });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(done.success(), "ip {arguments}");
}

async fn open(config: &TunConfig) -> (TunReader, TunWriter) {
    TunDevice::open(config).await.expect("a device")
}

/// Sends every packet back from where it was to go. Ports stay, so what `HERE` sends to a port of `THERE` reaches its own port, from `THERE`;
/// and the checksums stay right.
async fn reflect(reader: &mut TunReader, writer: &mut TunWriter) -> std::io::Result<()> {
    let mut batch = Vec::new();
    loop {
        reader.read(&mut batch).await?;
        for packet in &mut batch {
            assert!(packet.len() <= 1280 && packet.capacity() >= packet.len() + SPARE, "{}", packet.len());
            let (from, to) = packet[8..40].split_at_mut(16);
            from.swap_with_slice(to);
        }
        writer.write(&mut batch)?;
        assert!(batch.is_empty());
    }
}

/// Eight megabytes through the device and back through it as acknowledged: what arrives is what was sent.
async fn transfer(offload: bool) {
    let (mut reader, mut writer) = open(&TunConfig { offload, ..TunConfig::new("tibet0", HERE) }).await;
    assert_eq!(writer.joins_segments(), offload);
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 253) as u8).collect();
    let talk = async {
        let listener = TcpListener::bind((HERE, 80)).await.expect("bound");
        let mut client = TcpStream::connect((THERE, 80)).await.expect("connected");
        let (mut server, from) = listener.accept().await.expect("accepted");
        assert_eq!(from.ip(), THERE);
        let mut received = Vec::new();
        let send = async {
            client.write_all(&sent).await.expect("sent");
            client.shutdown().await.expect("ended");
        };
        let (_, read) = tokio::join!(send, server.read_to_end(&mut received));
        read.expect("read");
        assert!(received == sent, "what arrives is what was sent");
    };
    tokio::select! {
        () = talk => {}
        ended = reflect(&mut reader, &mut writer) => panic!("the device ended: {ended:?}"),
    }
    let (read, written) = (reader.counts(), writer.counts());
    assert!(read.bytes > 8_000_000 && written.packets == read.packets, "{read:?} {written:?}");
    assert_eq!((written.refused, written.no_room, read.refused), (0, 0, 0));
    if offload {
        assert!(read.calls * 3 < read.packets && written.calls * 3 < written.packets, "{read:?} {written:?}");
    } else {
        assert!(read.calls == read.packets && written.calls == written.packets, "{read:?} {written:?}");
    }
}

#[test]
fn a_stream_goes_through_in_rows_where_the_kernel_offloads() {
    alone(async || transfer(true).await);
}

#[test]
fn a_stream_goes_through_packet_by_packet_where_it_does_not() {
    alone(async || transfer(false).await);
}

#[test]
fn datagrams_of_every_size_arrive_whole() {
    alone(async || {
        let (mut reader, mut writer) = open(&TunConfig::new("tibet0", HERE)).await;
        let talk = async {
            let one = UdpSocket::bind((HERE, 7)).await.expect("bound");
            let mut buffer = vec![0; 2000];
            for size in (0..=1232).step_by(77) {
                one.send_to(&vec![size as u8; size], (THERE, 7)).await.expect("sent");
                let (length, from) = one.recv_from(&mut buffer).await.expect("received");
                assert_eq!((from.ip(), &buffer[..length]), (THERE.into(), &vec![size as u8; size][..]));
            }
        };
        tokio::select! {
            () = talk => {}
            ended = reflect(&mut reader, &mut writer) => panic!("the device ended: {ended:?}"),
        }
    });
}

#[test]
fn a_burst_of_datagrams_is_one_call_where_the_kernel_takes_it_so() {
    alone(async || {
        let (mut reader, mut writer) = open(&TunConfig::new("tibet0", HERE)).await;
        let socket = UdpSocket::bind((HERE, 7)).await.expect("bound");
        for number in 0..20_u8 {
            socket.send_to(&[number; 1000], (THERE, 7)).await.expect("sent");
        }
        let mut batch = Vec::new();
        while batch.iter().filter(|packet: &&BytesMut| packet.get(6) == Some(&17)).count() < 20 {
            reader.read(&mut batch).await.expect("there");
        }
        batch.retain(|packet| packet[6] == 17);
        for packet in &mut batch {
            let (from, to) = packet[8..40].split_at_mut(16);
            from.swap_with_slice(to);
        }
        assert_eq!(writer.write(&mut batch).expect("there"), 20);
        assert_eq!(writer.counts().calls, if writer.joins_datagrams() { 1 } else { 20 });
        let mut buffer = [0; 2000];
        for number in 0..20_u8 {
            let (length, from) = socket.recv_from(&mut buffer).await.expect("received");
            assert_eq!((from.ip(), &buffer[..length]), (THERE.into(), &[number; 1000][..]));
        }
    });
}

/// A datagram from `THERE`, port 9, for port 53: "hi".
fn hello() -> Vec<u8> {
    let own = [0, 9, 0, 53, 0, 10, 0x9D, 0x2E, b'h', b'i'];
    [&[0x60, 0, 0, 0, 0, 10, 17, 64][..], &THERE.octets(), &HERE.octets(), &own].concat()
}

/// SECURITY row 79: a peer's packets are dropped one by one, and the good ones among them arrive.
#[test]
fn row_79_a_bad_packet_harms_no_other() {
    alone(async || {
        let (_reader, mut writer) = open(&TunConfig::new("tibet0", HERE)).await;
        let socket = UdpSocket::bind((HERE, 53)).await.expect("bound");
        let good: &[u8] = &hello();
        let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
        bad.extend([vec![0x45; 60], vec![0; 60], vec![0xFF; 1500]]);
        let cut = bad.len() as u64;
        // An extension chain that leads nowhere, a TCP header of 60 bytes in a packet of 50: no concern of ours, the kernel drops them.
        for next in [0_u8, 43, 44, 60, 6, 59] {
            let mut packet = good.to_vec();
            packet[6] = next;
            bad.push(packet);
        }
        let mut padded = good.to_vec();
        padded.extend([0; 14]);
        let mut packets: Vec<BytesMut> = bad.iter().map(|packet| packet.as_slice().into()).collect();
        packets.insert(20, good.into());
        packets.push(padded.as_slice().into());
        let taken = writer.write(&mut packets).expect("the device is there");
        assert_eq!((taken, writer.counts().refused), (2 + 6, cut));
        let mut buffer = [0; 100];
        for _ in 0..2 {
            let (length, from) = socket.recv_from(&mut buffer).await.expect("received");
            assert_eq!((from.ip(), &buffer[..length]), (THERE.into(), &b"hi"[..]));
        }
    });
}

/// SECURITY row 79: rows of segments whose headers a peer has bent at will. The kernel takes or refuses them; the device goes on.
#[test]
fn row_79_bent_segments_end_neither_the_device_nor_the_flow_of_others() {
    alone(async || {
        let (_reader, mut writer) = open(&TunConfig::new("tibet0", HERE)).await;
        // A small generator, the same in each run (Marsaglia's xorshift).
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below).expect("small")
        };
        for _ in 0..2_000 {
            let mut row = Vec::new();
            for number in 0..8_u32 {
                let mut packet = vec![0x60, 0, 0, 0, 0, 120, if random(4) == 0 { 17 } else { 6 }, 64];
                packet.extend(THERE.octets());
                packet.extend(HERE.octets());
                packet.extend([0, 80, 0, 81]);
                packet.extend((number * 100).to_be_bytes());
                packet.extend([0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
                packet.extend([7; 100]);
                if random(2) == 0 {
                    packet[random(64)] = random(256) as u8;
                }
                if random(8) == 0 {
                    packet.truncate(random(160));
                }
                row.push(packet.as_slice().into());
            }
            writer.write(&mut row).expect("the device is there");
        }
        let counts = writer.counts();
        assert!(counts.calls < counts.packets && counts.refused > 0 && counts.no_room == 0, "{counts:?}");
        let socket = UdpSocket::bind((HERE, 53)).await.expect("bound");
        // The kernel has a queue before it looks at anything, and may have dropped what came while that was full.
        let mut buffer = [0; 100];
        let length = loop {
            assert_eq!(writer.write(&mut vec![hello().as_slice().into()]).expect("there"), 1);
            if let Ok(received) = timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await {
                break received.expect("received");
            }
        };
        assert_eq!(length, 2);
    });
}

#[test]
fn the_interface_is_as_asked_for_alone_with_its_name_and_gone_with_its_halves() {
    alone(async || {
        let config = TunConfig { mtu: 1400, ..TunConfig::new("tibet0", HERE) };
        let (reader, writer) = open(&config).await;
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let addresses = text("/proc/thread-self/net/if_inet6");
        let ours: Vec<_> = addresses.lines().filter(|line| line.ends_with("tibet0")).collect();
        assert!(
            ours.len() == 1
                && ours[0].starts_with("fd000000000000000000000000000001")
                && ours[0].contains(" 30 "),
            "its address with 48 bits, and none of the link: {addresses}"
        );
        let shown = Command::new("ip").args(["link", "show", "tibet0"]).output().expect("ip runs");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("mtu 1400") && shown.contains("UP"), "{shown}");
        assert!(matches!(TunDevice::open(&config).await, Err(TunError::Taken(name)) if name == "tibet0"));
        drop(reader);
        assert!(text("/proc/thread-self/net/dev").contains("tibet0"));
        drop(writer);
        assert!(!text("/proc/thread-self/net/dev").contains("tibet0"));
        open(&config).await;
    });
}

#[test]
fn an_interface_that_is_removed_ends_both_halves() {
    alone(async || {
        let (mut reader, mut writer) = open(&TunConfig::new("tibet0", HERE)).await;
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        ip("link set tibet0 down");
        // Down is not gone: what is written is lost, as on a cable that was pulled.
        assert_eq!(writer.write(&mut vec![packet.as_slice().into()]).expect("there"), 0);
        ip("link set tibet0 up");
        assert_eq!(writer.write(&mut vec![packet.as_slice().into()]).expect("there"), 1);
        ip("link del tibet0");
        assert!(reader.read(&mut Vec::new()).await.is_err());
        assert!(writer.write(&mut vec![packet.as_slice().into()]).is_err());
    });
}

#[test]
fn a_machine_without_ipv6_is_told_so() {
    alone(async || {
        fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").expect("switched off");
        let refused = TunDevice::open(&TunConfig::new("tibet0", HERE)).await.err();
        assert!(matches!(refused, Some(TunError::NoIpv6)), "{refused:?}");
    });
}
