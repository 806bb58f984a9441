//! What the devices do, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jis::{Answer, AnswerOutcome, Signed};
use tibet_overlay::intents::{Failure, FoundNames, OverlayRequest, RegisterAnswer};
use tibet_ping::{Compact, FoundStatus, KeepaliveToken};

use super::Options;
use super::fleet::Fleet;
use super::node::Node;
use super::socket::{Latency, Socket};
use crate::Outcome;

/// One answer in so many has its signature checked: at 50 µs each, all of them would be a load of their own.
const CHECKED: u64 = 64;

/// Every device registers, with everything a first registration has but a transport key.
pub(super) async fn register(fleet: &mut Fleet, node: &mut Node, window: usize) -> Outcome<()> {
    let bar = bar("register", fleet.devices);
    let clock = Clock::start(node)?;
    let mut sockets = std::mem::take(&mut fleet.sockets);
    let count = sockets.len();
    let mut latencies = Vec::new();
    let mut tokens = std::mem::take(&mut fleet.tokens);
    for (at, socket) in sockets.iter_mut().enumerate() {
        let devices = (0..fleet.devices).skip(at).step_by(count);
        let key = socket.greeting.node_key;
        let mut answers = 0;
        let taken = socket
            .drive(
                devices,
                window,
                |socket, device, id| {
                    Compact::Query(&fleet.registration(device, 0, &socket.greeting, id).encode()).write()
                },
                |device, frame| {
                    answers += 1;
                    let check = (answers % CHECKED == 0).then_some(&key);
                    tokens[device as usize] = registered(frame, check)?.keepalive;
                    bar.inc(1);
                    Ok(true)
                },
            )
            .await?;
        latencies.extend(taken);
    }
    bar.finish_and_clear();
    (fleet.sockets, fleet.tokens) = (sockets, tokens);
    clock.report("register", node, latencies)
}

/// The token of an answer to a registration.
fn registered(frame: &Compact<'_>, key: Option<&jis::PublicKey>) -> Outcome<RegisterAnswer> {
    let values = answer(frame, key)?;
    Ok(RegisterAnswer::read(&values)?)
}

/// What a frame answers, if that is yes. The signature is checked where there is a `key`.
pub(crate) fn answer(frame: &Compact<'_>, key: Option<&jis::PublicKey>) -> Outcome<Vec<Vec<u8>>> {
    let Compact::Answer { answer, .. } = frame else { return Err("another frame than an answer".into()) };
    let answer = Signed::<Answer>::decode(answer)?;
    if let Some(key) = key {
        answer.verify(key)?;
    }
    let Answer { outcome, values, .. } = answer.claims();
    if *outcome != AnswerOutcome::Yes {
        let Failure { code, detail, .. } = Failure::read(values);
        return Err(format!("refused: {} ({detail})", code.as_str()).into());
    }
    Ok(values.clone())
}

/// Records of devices drawn at random, 64 on their way at a time, and one at a time; with keepalives of all devices coming in meanwhile.
pub(super) async fn look_up(
    fleet: &mut Fleet,
    node: &Node,
    options: &Options,
    keepalives: u32,
) -> Outcome<()> {
    let sockets = std::mem::take(&mut fleet.sockets);
    let mut sockets = sockets.into_iter();
    let mut first = sockets.next().ok_or("no socket")?;
    let rest: Vec<Socket> = sockets.collect();
    let stop = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn(keep_alive(rest, fleet.tokens.clone(), keepalives, Arc::clone(&stop)));
    for window in [64, 1] {
        let until = Instant::now() + Duration::from_secs(options.seconds);
        let devices = fleet.devices;
        let mut state = 0x9e37_79b9_u32;
        let numbers = std::iter::from_fn(|| {
            // xorshift: which device is asked for next shall not follow the order of memory.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (Instant::now() < until).then_some(state % devices)
        });
        let clock = Clock::start(node)?;
        let latencies = first
            .drive(
                numbers,
                window,
                |socket, device, id| {
                    let (name, cookie) = (fleet.name(device), socket.greeting.cookie);
                    Compact::Lookup { id, cookie, events_from: None, name: name.as_str() }.write()
                },
                |device, frame| match frame {
                    Compact::Found { found, .. } if found.status == FoundStatus::Active => Ok(true),
                    other => Err(format!("device {device}: {other:?}").into()),
                },
            )
            .await?;
        let title = format!("look-up, {window} outstanding, {keepalives} keepalives/s");
        clock.report(&title, node, latencies)?;
    }
    stop.store(true, Ordering::Relaxed);
    let (rest, sent, kept) = others.await??;
    fleet.sockets = std::iter::once(first).chain(rest).collect();
    if sent > 0 {
        println!("  keepalives: {sent} sent, {kept} answered ({:.3} % lost)", lost(sent, kept));
    }
    Ok(())
}

fn lost(sent: u64, kept: u64) -> f64 {
    100.0 * sent.saturating_sub(kept) as f64 / sent as f64
}

/// Sends `rate` keepalives a second until it is told to stop. Gives the sockets back, with how many were sent and answered.
async fn keep_alive(
    mut sockets: Vec<Socket>,
    tokens: Vec<KeepaliveToken>,
    rate: u32,
    stop: Arc<AtomicBool>,
) -> Outcome<(Vec<Socket>, u64, u64)> {
    let kept = AtomicU64::new(0);
    let mut sent = 0_u64;
    // The devices of each socket; socket 0 is busy with look-ups.
    let count = sockets.len() + 1;
    let own = |socket: usize| tokens.iter().skip(socket + 1).step_by(count).copied();
    let own: Vec<Vec<KeepaliveToken>> = (0..sockets.len()).map(|socket| own(socket).collect()).collect();
    let mut next = own.iter().map(|tokens| tokens.iter().cycle()).collect::<Vec<_>>();
    let start = Instant::now();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) || rate == 0 || sockets.is_empty() {
            break;
        }
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let socket = turn % sockets.len();
        let wanted = due.saturating_sub(sent).min(512) as usize;
        let batch = next[socket].by_ref().take(wanted).map(|token| Compact::Keepalive(*token).write());
        let batch: Vec<Vec<u8>> = batch.collect();
        sent += batch.len() as u64;
        sockets[socket].send(batch).await;
        take_all_alive(&mut sockets[socket], &kept)?;
        // The other tasks of this process want the processor, too.
        tokio::task::yield_now().await;
    }
    // What is still on its way.
    for _ in 0..20 {
        for socket in &mut sockets {
            take_alive(socket, &kept).await?;
        }
    }
    Ok((sockets, sent, kept.into_inner()))
}

/// Takes what is there, and waits for nothing.
fn take_all_alive(socket: &mut Socket, kept: &AtomicU64) -> Outcome<()> {
    socket.take_now(|datagram| {
        kept.fetch_add(u64::from(datagram.get(3) == Some(&2)), Ordering::Relaxed);
    })
}

/// Takes what is there, or comes at once. Whether there was anything.
async fn take_alive(socket: &mut Socket, kept: &AtomicU64) -> Outcome<bool> {
    let mut any = false;
    socket
        .receive(Duration::from_micros(50), |datagram| {
            any = true;
            kept.fetch_add(u64::from(datagram.get(3) == Some(&2)), Ordering::Relaxed);
        })
        .await?;
    Ok(any)
}

/// Pages of the devices that offer what a thousandth of them offers.
pub(super) async fn find(fleet: &mut Fleet, node: &Node) -> Outcome<()> {
    let mut sockets = std::mem::take(&mut fleet.sockets);
    let clock = Clock::start(node)?;
    let key = sockets[0].greeting.node_key;
    let latencies = sockets[0]
        .drive(
            0..200,
            1,
            |socket, number, id| {
                let capability = format!("group-{}", number % 1000).parse().expect("a word");
                let find = OverlayRequest::Find { capability, after: 0 };
                Compact::Query(&fleet.ask(0, &find, &socket.greeting, id).encode()).write()
            },
            |_, frame| {
                FoundNames::read(&answer(frame, Some(&key))?)?;
                Ok(true)
            },
        )
        .await?;
    fleet.sockets = sockets;
    clock.report("find, a page of those with a capability", node, latencies)
}

/// A tenth of the devices, at most 20 000, turn up on another socket with a newer record.
pub(super) async fn move_some(fleet: &mut Fleet, node: &Node, window: usize) -> Outcome<()> {
    let moving = moving(fleet.devices);
    let mut sockets = std::mem::take(&mut fleet.sockets);
    let mut tokens = std::mem::take(&mut fleet.tokens);
    let count = sockets.len();
    let clock = Clock::start(node)?;
    let mut latencies = Vec::new();
    for (at, socket) in sockets.iter_mut().enumerate() {
        // Those that were on the socket before.
        let devices = (0..moving).filter(|device| (*device as usize + 1) % count == at);
        let taken = socket
            .drive(
                devices,
                window,
                |socket, device, id| {
                    Compact::Query(&fleet.registration(device, 1, &socket.greeting, id).encode()).write()
                },
                |device, frame| {
                    tokens[device as usize] = registered(frame, None)?.keepalive;
                    Ok(true)
                },
            )
            .await?;
        latencies.extend(taken);
    }
    (fleet.sockets, fleet.tokens) = (sockets, tokens);
    clock.report("move: newer record from a new address", node, latencies)
}

/// How many devices [`move_some`] moves.
pub(super) fn moving(devices: u32) -> u32 {
    (devices / 10).clamp(1, 20_000)
}

/// After a restart the keepalives of before hold: nobody has to register again. The first `moved` devices are not asked for.
pub(super) async fn come_back(fleet: &mut Fleet, node: &Node, moved: u32) -> Outcome<()> {
    let mut sockets = std::mem::take(&mut fleet.sockets);
    let (mut sent, kept) = (0_u64, AtomicU64::new(0));
    let clock = Clock::start(node)?;
    let count = sockets.len();
    for (at, socket) in sockets.iter_mut().enumerate() {
        // The socket a device is on follows from its number.
        let devices: Vec<u32> =
            (moved..fleet.devices).filter(|device| *device as usize % count == at).collect();
        for chunk in devices.chunks(256) {
            let token = |device: &u32| fleet.tokens[*device as usize];
            let batch: Vec<Vec<u8>> =
                chunk.iter().map(|device| Compact::Keepalive(token(device)).write()).collect();
            sent += batch.len() as u64;
            let wanted = kept.load(Ordering::Relaxed) + batch.len() as u64;
            socket.send(batch).await;
            let patience = Instant::now() + Duration::from_secs(2);
            while kept.load(Ordering::Relaxed) < wanted && Instant::now() < patience {
                take_alive(socket, &kept).await?;
            }
        }
    }
    fleet.sockets = sockets;
    let kept = kept.into_inner();
    println!("  tokens of before the restart: {sent} sent, {kept} taken");
    clock.report("keepalives after the restart", node, vec![Duration::ZERO; kept as usize])
}

fn bar(title: &'static str, length: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {per_sec} {eta}");
    let bar = ProgressBar::new(length.into()).with_prefix(title);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Wall time, and the processor time of the node.
struct Clock {
    start: Instant,
    node: Duration,
}

impl Clock {
    fn start(node: &Node) -> Outcome<Self> {
        Ok(Self { start: Instant::now(), node: node.processor_time()? })
    }

    fn report(self, title: &str, node: &Node, mut latencies: Vec<Latency>) -> Outcome<()> {
        let wall = self.start.elapsed();
        let used = node.processor_time()?.saturating_sub(self.node);
        latencies.sort();
        let count = latencies.len();
        let at = |share: f64| {
            latencies.get((count as f64 * share) as usize).map_or(0.0, |l| l.as_secs_f64() * 1e3)
        };
        println!(
            "{title}: {count} in {:.1} s, {:.0}/s, p50 {:.3} ms, p99 {:.3} ms; node {:.1} µs of processor each",
            wall.as_secs_f64(),
            count as f64 / wall.as_secs_f64(),
            at(0.5),
            at(0.99),
            used.as_secs_f64() * 1e6 / count.max(1) as f64,
        );
        Ok(())
    }
}
