//! Measures a TUN device alone: `iperf3` through it and back, every packet read, turned round and written, nothing sealed.
//!
//! As root, with `iperf3` installed: `cargo run --release -p tibet-net --example tun_throughput [--plain]`. It has a network of its own.

#![allow(clippy::print_stdout, reason = "what was measured")]

use std::error::Error;
use std::net::Ipv6Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tibet_net::{TunConfig, TunCounts, TunDevice};

const HERE: Ipv6Addr = Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 1);

/// What is measured, as arguments of `iperf3`.
const RUNS: [(&str, &str); 3] =
    [("one TCP stream", ""), ("UDP, 1200 bytes", "-u -b 0 -l 1200"), ("UDP, 64 bytes", "-u -b 0 -l 64")];

fn iperf3(arguments: &str) -> Command {
    let mut command = Command::new("iperf3");
    command.args(arguments.split_whitespace());
    command
}

/// Processor time of this thread, in seconds: what stays right on a machine that is busy with other things.
fn spent() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}

fn rate(name: &str, counts: TunCounts, before: TunCounts, seconds: f64) {
    let (packets, calls) = (counts.packets - before.packets, counts.calls - before.calls);
    println!(
        "  {name}: {:.0} packets/s, {:.2} Gbit/s, {:.1} packets a call, {} lost",
        packets as f64 / seconds,
        (counts.bytes - before.bytes) as f64 * 8e-9 / seconds,
        packets as f64 / calls.max(1) as f64,
        counts.no_room + counts.refused - before.no_room - before.refused,
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    let offload = std::env::args().all(|argument| argument != "--plain");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = TunConfig { mtu: 1420, offload, ..TunConfig::new("tibet0", HERE) };
        let (mut reader, mut writer) = TunDevice::open(&config).await?;
        println!(
            "segments in rows: {}, datagrams in rows: {}",
            writer.joins_segments(),
            writer.joins_datagrams()
        );
        for (what, arguments) in RUNS {
            let mut server = iperf3(&format!("-s -1 -B {HERE}")).stdout(Stdio::null()).spawn()?;
            // The server says nothing when it listens; a client that comes too early is refused and ends at once.
            let client = format!("-c fd00::2 -B {HERE} -t 5 --connect-timeout 2000 {arguments}");
            let mut run = None;
            let (mut batch, mut before, mut ticks) = (Vec::new(), None, 0_u32);
            let mut clock = tokio::time::interval(Duration::from_millis(500));
            println!("{what}");
            loop {
                tokio::select! {
                    read = reader.read(&mut batch) => {
                        read?;
                        for packet in &mut batch {
                            if let Some(addresses) = packet.get_mut(8..40) {
                                let (from, to) = addresses.split_at_mut(16);
                                from.swap_with_slice(to);
                            }
                        }
                        writer.write(&mut batch)?;
                    }
                    _ = clock.tick() => {
                        ticks += 1;
                        match ticks {
                            2 => run = Some(iperf3(&client).stdout(Stdio::null()).spawn()?),
                            // One second after it began.
                            4 => before = Some((reader.counts(), writer.counts(), std::time::Instant::now(), spent())),
                            // Three seconds later.
                            10 => if let Some((read, written, since, spent_before)) = before {
                                let seconds = since.elapsed().as_secs_f64();
                                rate("read", reader.counts(), read, seconds);
                                rate("written", writer.counts(), written, seconds);
                                let packets = (writer.counts().packets - written.packets) as f64;
                                println!("  {:.2} us of processor time a packet, read and written", (spent() - spent_before) * 1e6 / packets);
                            },
                            _ => {}
                        }
                        let ended = match &mut run { Some(run) => run.try_wait()?, None => None };
                        if let Some(status) = ended {
                            if !status.success() { println!("  iperf3 ended with {status}"); }
                            break;
                        }
                    }
                }
            }
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    })
}
