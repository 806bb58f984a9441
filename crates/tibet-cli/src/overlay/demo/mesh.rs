//! `tibet-overlay demo --mesh`: the mesh between two homes, on machines that are made for it and removed again.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::lab::{Echo, Lab, LabError, Layout, Nat, PORT, Pair, Server, Topology, Transfer, Transferred};
use crate::error::CliError;
use crate::output::{Exit, Outcome, bold};
use crate::overlay::service::Signals;
use crate::process::runtime;
use crate::story::Steps;

/// Two homes with the same subnet, and the same address in it, behind carriers of their own.
const HOMES: Topology = Topology::new(Layout::Separate, [Nat::Cone; 2], Nat::Cone).same_address();
/// A paced transfer that is in its midst when something happens.
const BLOCK: usize = 2048;
const BLOCKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(25);
/// In which each thing has to have happened.
const SOON: Duration = Duration::from_secs(10);
/// How long what is revoked may go on to speak.
const HEARD: Duration = Duration::from_secs(10);

/// Tells the story. Ctrl-C ends it, and what was made is removed either way.
pub(super) fn run() -> Result<Outcome, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CliError::new(Exit::Permission, "only root may make the machines that this needs")
            .hint("sudo tibet-overlay demo --mesh; or, without root, tibet-overlay demo"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let begun = Instant::now();
    let mut steps = Steps::default();
    let told = tell(&mut steps, &stop);
    if stop.load(Ordering::Relaxed) {
        return Err(CliError::new(Exit::Temporary, "interrupted; the machines that were made are removed"));
    }
    told.map_err(|error| {
        CliError::new(Exit::Unavailable, error).hint("it needs the commands ip and nft, and /dev/net/tun")
    })?;
    let data = json!({
        "holds": steps.hold(), "steps": steps.to_json(), "took_ms": begun.elapsed().as_millis() as u64,
    });
    let outcome = Outcome::new("tibet.overlay.demo.mesh", data)
        .line(bold("Two devices speak with each other, whatever is between them."));
    let outcome = steps.conclude(steps.tell(outcome));
    Ok(outcome
        .line("")
        .line(format_args!("All of it took {:.1} s. Nothing is left behind.", begun.elapsed().as_secs_f64())))
}

fn stop_on_signals(stop: &Arc<AtomicBool>) -> Result<(), CliError> {
    let (runtime, stop) = (runtime(1)?, Arc::clone(stop));
    let mut signals = {
        let _within = runtime.enter();
        Signals::catch()?
    };
    std::thread::spawn(move || {
        runtime.block_on(signals.next());
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// What does not come in time does not hold; only what keeps the story from being told is an error.
fn tell(steps: &mut Steps, stop: &Arc<AtomicBool>) -> Result<(), LabError> {
    let begun = Instant::now();
    let program = std::env::current_exe()?;
    let lab = Lab::new(&program, HOMES, stop)?;
    let addresses =
        ["a", "b"].map(|machine| lab.shell(machine, "ip -4 -o addr show dev wan | awk '{print $4}'"));
    let [a, b] = addresses;
    let (a, b) = (a?, b?);
    steps.add(
        "Two homes, each behind a carrier's NAT, and a node on the internet",
        a == b && a.contains("192.168.1.10"),
        vec![
            format!("{} and {} are both at {} in their homes", Pair::NAMES[0], Pair::NAMES[1], a.trim()),
            format!("seven network namespaces, made in {}", ms(begun.elapsed())),
        ],
    );
    let begun = Instant::now();
    let pair = Pair::start(lab, Pair::TUN)?;
    let addresses = pair.ready()?;
    steps.add(
        "Each is up: registered with the node, with a relay and a tunnel's address",
        addresses[0] != addresses[1],
        vec![
            format!("{} is {}", Pair::NAMES[0], addresses[0]),
            format!("{} is {}", Pair::NAMES[1], addresses[1]),
            format!("after {}", ms(begun.elapsed())),
        ],
    );
    let server = Server::start(&pair.lab, "b", addresses[1])?;
    let echo = Echo::start(&pair.lab, "a", addresses[1])?;
    let mut story = Story { steps, echo, server, pair, addresses };
    story.first_answer();
    story.other_routers()?;
    story.moving()?;
    story.revoked()
}

struct Story<'a> {
    steps: &'a mut Steps,
    echo: Echo,
    server: Server,
    pair: Pair,
    addresses: [Ipv6Addr; 2],
}

impl Story<'_> {
    fn first_answer(&mut self) {
        let begun = Instant::now();
        // A new device knows no other path.
        let over = self.path();
        let first = self.echo.once(SOON);
        self.steps.add(
            "The first packet is answered at once, over the relay",
            first.is_some(),
            vec![format!("one UDP datagram; path when it is sent: {over}; answered {}", after(first))],
        );
        let direct = self.until_path(true).then(|| begun.elapsed());
        let now = self.echo.once(SOON);
        self.steps.add(
            "Both NATs are opened from inside: the path is direct",
            direct.is_some() && now.is_some(),
            vec![
                format!("{} after the first packet", direct.map_or("NOT".to_owned(), ms)),
                format!("path: {}; answered {}", self.path(), after(now)),
            ],
        );
    }

    fn other_routers(&mut self) -> Result<(), LabError> {
        for router in ["router-a", "router-b"] {
            self.pair.lab.translate_otherwise(router, Nat::Symmetric)?;
        }
        let begun = Instant::now();
        let answered = std::iter::from_fn(|| {
            (begun.elapsed() < SOON).then(|| self.echo.once(Duration::from_millis(200)))
        });
        let answered = answered.flatten().next().map(|_| begun.elapsed());
        let relayed = self.until_path(false);
        let now = self.echo.once(SOON);
        self.steps.add(
            "Both home routers become symmetric NATs: nobody can get through, and the relay carries it",
            relayed && now.is_some(),
            vec![
                format!("answered again {}", after(answered)),
                format!("path: {}; answered {}", self.path(), after(now)),
            ],
        );
        Ok(())
    }

    fn moving(&mut self) -> Result<(), LabError> {
        let to = SocketAddr::new(self.addresses[1].into(), PORT);
        let all = u64::from(BLOCKS) * BLOCK as u64;
        let transfer = Transfer::start(&self.pair.lab, "a", to, vec![7; BLOCK], BLOCKS, PAUSE)?;
        self.pair.lab.wait("a third of it", SOON, || (self.server.taken() > all / 3).then_some(()))?;
        self.pair.move_device(0, "192.168.1.77")?;
        let went = transfer.watch(&self.pair.lab, &self.server);
        let words = match &went {
            Ok(Transferred { took, longest_gap }) => {
                format!("{} KiB in {}; nothing came for {} of it", all >> 10, ms(*took), ms(*longest_gap))
            }
            Err(error) => error.to_string(),
        };
        self.steps.add(
            "One gets another address in the middle of a TCP transfer, which goes on",
            went.is_ok() && self.server.taken() == all,
            vec!["192.168.1.10 becomes 192.168.1.77; the address in the tunnel stays".to_owned(), words],
        );
        Ok(())
    }

    fn revoked(&mut self) -> Result<(), LabError> {
        let before = self.echo.once(SOON);
        let begun = Instant::now();
        self.pair.revoke(0)?;
        let silent = self.pair.until_silent(0, &mut self.echo, begun, HEARD);
        let words = match &silent {
            Ok(None) => "no answer came any more".to_owned(),
            Ok(Some(last)) => format!("the last answer came {} after that", ms(*last)),
            Err(error) => error.to_string(),
        };
        self.steps.add(
            "Its owner revokes its key at the node: silence",
            before.is_some() && silent.is_ok(),
            vec![
                format!(
                    "{} goes on to speak; {} has no tunnel with it any more",
                    Pair::NAMES[0],
                    Pair::NAMES[1]
                ),
                words,
            ],
        );
        Ok(())
    }

    /// Speaks until both have such a path.
    fn until_path(&mut self, direct: bool) -> bool {
        let (echo, pair) = (&mut self.echo, &self.pair);
        let has = |at| pair.peer(at).is_some_and(|peer| peer.path.is_some() && peer.direct == direct);
        let waited = pair.lab.wait("a path", SOON, || {
            let _ = echo.once(Duration::from_millis(50));
            [0, 1].into_iter().all(has).then_some(())
        });
        waited.is_ok()
    }

    fn path(&self) -> String {
        self.pair.peer(0).and_then(|peer| peer.path).unwrap_or_else(|| "none".to_owned())
    }
}

fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

fn after(answered: Option<Duration>) -> String {
    answered.map_or_else(|| "NOT AT ALL".to_owned(), |time| format!("after {}", ms(time)))
}
