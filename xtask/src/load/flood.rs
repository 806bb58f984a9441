//! Floods against an overlay node (SECURITY T12): `cargo xtask load flood`.
//!
//! A fleet looks up, keeps itself alive and asks signed questions at a modest rate, before, during and after each kind of flood. The flood comes from other
//! addresses of this machine, in plain datagrams of one system call each. Everything shares the machine's cores; so the first flood is one of noise against a
//! server that only sends back what came, which is the best that could be had here.

mod sources;
mod stream;
mod victims;
mod waves;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::fleet::Fleet;
use super::node::{Node, Program, Quota};
use super::phases;
use super::socket::Socket;
use crate::Outcome;
use crate::bench::wire::echo::Echo;
use stream::Stream;
use victims::{Devices, Echoed, Sample, Traffic, Work, served};
use waves::Wave;

/// How often the node's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Answers later than this are no full service: what T12 allows one in a hundred.
const PROMPT: Duration = Duration::from_millis(50);
/// So many prompt answers in a row are full service.
const IN_A_ROW: usize = 20;
/// Requests on their way at a time while the fleet registers.
const WINDOW: usize = 256;

#[derive(clap::Args)]
pub(super) struct Options {
    /// How many devices
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// How many UDP sockets they share
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    sockets: u32,
    /// What they ask in a second, all together
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long each flood lasts, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=90))]
    seconds: u64,
    /// How long the fleet is watched before and after each flood, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10))]
    calm: u64,
    /// Datagrams a second of the flood [default: as many as one thread can send]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    flood_rate: Option<u32>,
    #[command(flatten)]
    program: Program,
}

impl Options {
    /// Between two requests of one socket.
    fn every(&self, sockets: usize) -> Duration {
        Duration::from_secs(1) * u32::try_from(sockets).unwrap_or(u32::MAX) / self.rate
    }
}

/// Floods an echo, then a node in every way, and prints what became of the fleet.
pub(super) fn run(options: &Options) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(flood_all(options))
}

async fn flood_all(options: &Options) -> Outcome<()> {
    let mut node = Node::start(&options.program)?;
    let mut fleet = Fleet::connect(node.address, options.devices, options.sockets).await?;
    phases::register(&mut fleet, &mut node, WINDOW).await?;
    // The fleet needed room for its names. The flood gets no more than anybody.
    node.kill_and_restart(Quota::Usual)?;
    phases::come_back(&mut fleet, &node, 0).await?;
    let mut sockets = std::mem::take(&mut fleet.sockets);
    flood_echo(options).await?;
    let devices = Arc::new(Devices::new(fleet, sockets.len()));
    for wave in Wave::ALL {
        for socket in &mut sockets {
            socket.greet().await?;
        }
        let stream = Stream::load(wave.sources(node.address, &devices.fleet)?, node.address);
        let before = (node.counts()?, node.dropped_unseen()?, node.on_disk()?);
        let traffic = Traffic::start(Arc::clone(&devices), sockets, options.every(options.sockets as usize));
        let memory = || node.memory();
        let watched = watch(options, stream, memory).await?;
        let (returned, samples) = traffic.stop().await?;
        sockets = returned;
        watched.print(wave.title(), &samples, Some(node.dropped_unseen()? - before.1));
        println!(
            "  registry {:+} KiB; counted by the node: {}",
            (node.on_disk()?.cast_signed() - before.2.cast_signed()) >> 10,
            grown(&before.0, &node.counts()?)
        );
    }
    Ok(())
}

/// The limit: the same traffic and noise against a server that sends back what came.
async fn flood_echo(options: &Options) -> Outcome<()> {
    let echo = Echo::start()?;
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    let sockets = (0..options.sockets).map(|_| Socket::bind(here, echo.address));
    let sockets = sockets.collect::<Outcome<Vec<_>>>()?;
    let every = options.every(sockets.len());
    let stream = Stream::load(waves::noise()?, echo.address);
    let traffic = Traffic::start(Arc::new(Echoed), sockets, every);
    let watched = watch(options, stream, || Ok(0)).await?;
    let (_, samples) = traffic.stop().await?;
    watched.print("noise against a raw UDP echo", &samples, None);
    echo.stop().map(|_| ())
}

/// When a flood was, and what its target's memory was then.
struct Watched {
    begun: Instant,
    ended: Instant,
    sent: u64,
    /// Bytes before, at the most during, and after.
    memory: [u64; 3],
}

/// Calm, flood, calm.
async fn watch(options: &Options, stream: Stream, memory: impl Fn() -> Outcome<u64>) -> Outcome<Watched> {
    let calm = Duration::from_secs(options.calm);
    sleep(calm).await;
    let before = memory()?;
    let stream = stream.go(options.flood_rate);
    let begun = Instant::now();
    let mut most = before;
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        sleep(LOOK).await;
        most = most.max(memory()?);
    }
    let sent = stream.stop()?;
    let ended = Instant::now();
    sleep(calm).await;
    Ok(Watched { begun, ended, sent, memory: [before, most, memory()?] })
}

impl Watched {
    fn print(&self, title: &str, samples: &[Sample], dropped: Option<u64>) {
        let lasted = self.ended - self.begun;
        println!(
            "{title}: {} datagrams in {:.1} s, {:.0}/s",
            self.sent,
            lasted.as_secs_f64(),
            self.sent as f64 / lasted.as_secs_f64()
        );
        if let Some(dropped) = dropped {
            let share = 100.0 * dropped as f64 / self.sent.max(1) as f64;
            println!("  {dropped} ({share:.2} %) were dropped unseen: the socket's buffer was full");
        }
        let phases = [
            ("before", None, Some(self.begun)),
            ("during", Some(self.begun), Some(self.ended)),
            ("after", Some(self.ended), None),
        ];
        for ((phase, from, to), memory) in phases.into_iter().zip(self.memory) {
            let of = |work| {
                let then = samples.iter().filter(|sample| {
                    from.is_none_or(|from| sample.sent >= from) && to.is_none_or(|to| sample.sent < to)
                });
                served(then.filter(|sample| sample.work == work))
            };
            print!("  {phase:<7} light: {}", of(Work::Light));
            let signed = of(Work::Signed);
            if signed.sent > 0 {
                print!(" | signed: {signed} | {:.1} MiB", memory as f64 / f64::from(1 << 20));
            }
            println!();
        }
        match back_after(samples, self.ended) {
            Some(time) => println!("  full service {:.2} s after the end", time.as_secs_f64()),
            None => println!("  full service did not come back while it was watched"),
        }
    }
}

/// How long after the flood's end the first of [`IN_A_ROW`] requests was sent that were all answered promptly.
fn back_after(samples: &[Sample], ended: Instant) -> Option<Duration> {
    let mut after: Vec<&Sample> = samples.iter().filter(|sample| sample.sent >= ended).collect();
    after.sort_by_key(|sample| sample.sent);
    let prompt = |sample: &&Sample| sample.took.is_some_and(|took| took <= PROMPT);
    let row = after.windows(IN_A_ROW).find(|row| row.iter().all(prompt))?;
    Some(row[0].sent - ended)
}

/// The counts that have changed.
fn grown(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let grown = after.iter().filter_map(|(name, count)| {
        let more = count - before.get(name).unwrap_or(&0);
        (more > 0).then(|| format!("{name} {more}"))
    });
    grown.collect::<Vec<_>>().join(", ")
}
