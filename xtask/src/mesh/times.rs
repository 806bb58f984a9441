//! From the first packet to the first answer, and to a direct path.

use std::path::Path;
use std::time::{Duration, Instant};

use tibet_cli::overlay::lab::{Echo, Lab, LabError, Layout, Nat, Pair, Server, Topology};

use super::figures::Figures;
use crate::Outcome;

/// In which an answer has to come, and a direct path where there can be one.
const ANSWER: Duration = Duration::from_secs(10);
const DIRECT: Duration = Duration::from_secs(10);
/// Between two datagrams while a direct path is looked for.
const STEP: Duration = Duration::from_millis(20);
/// Datagrams there and back whose time is taken on a path.
const ROUNDS: u32 = 500;

/// What was measured behind one kind of routers.
#[derive(Default)]
struct Row {
    first: Figures,
    direct: Figures,
    relayed_rtt: Figures,
    direct_rtt: Figures,
    failed: Vec<String>,
}

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    println!(
        "{runs} runs each: new machines, new identities and newly started programs every time. Time begins with one UDP datagram to the peer's"
    );
    println!(
        "overlay address, sent once both devices are registered, have a relay and know each other, and never sent again; it ends when its echo is"
    );
    println!(
        "back. Direct: until an echo is back and both devices say that their path is direct; datagrams follow each other by {} ms until then.",
        STEP.as_millis()
    );
    println!(
        "Round trips: {ROUNDS} datagrams of 8 bytes, one after the other, on the path that there is then. All times in ms, p50 / p99.\n"
    );
    println!(
        "| homes | carriers | answered | first answer | direct | until direct | round trip, direct | round trip, relayed |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    let kinds = [[Nat::Cone; 2], [Nat::Cone, Nat::Symmetric], [Nat::Symmetric; 2]];
    for layout in [Layout::Public, Layout::Separate] {
        for homes in kinds {
            let topology = Topology::new(layout, homes, Nat::Cone).same_address();
            let mut row = Row::default();
            for _ in 0..runs {
                if let Err(error) = measure(program, topology, &mut row) {
                    row.failed.push(error.to_string());
                }
            }
            print(topology, &row, runs);
        }
    }
    Ok(())
}

fn print(topology: Topology, row: &Row, runs: u32) {
    let [a, b] = topology.homes;
    let carriers = if topology.layout == Layout::Public { "none" } else { "cone, one each" };
    println!(
        "| {a:?} / {b:?} | {carriers} | {} of {runs} | {} | {} of {runs} | {} | {} | {} |",
        row.first.count(),
        row.first.spread(),
        row.direct.count(),
        row.direct.spread(),
        row.direct_rtt.spread(),
        row.relayed_rtt.spread()
    );
    for failed in &row.failed {
        eprintln!("{topology}: {failed}");
    }
}

fn measure(program: &Path, topology: Topology, row: &mut Row) -> Result<(), LabError> {
    let pair = Pair::start(Lab::new(program, topology, &std::sync::Arc::default())?, Pair::TUN)?;
    let [_, b] = pair.ready()?;
    let _server = Server::start(&pair.lab, "b", b)?;
    let mut echo = Echo::start(&pair.lab, "a", b)?;
    let begun = Instant::now();
    let first = echo.once(ANSWER).ok_or_else(|| LabError::new("the first datagram was not answered"))?;
    row.first.add(first);
    let is_direct = || [0, 1].into_iter().all(|at| pair.peer(at).is_some_and(|peer| peer.direct));
    let wait = if topology.direct() { DIRECT } else { Duration::from_secs(3) };
    while begun.elapsed() < wait {
        if is_direct() && echo.once(ANSWER).is_some() {
            row.direct.add(begun.elapsed());
            break;
        }
        let _ = echo.once(STEP);
    }
    let rtts: Vec<Duration> = (0..ROUNDS).filter_map(|_| echo.once(Duration::from_secs(1))).collect();
    if is_direct() {
        row.direct_rtt.extend(rtts);
    } else {
        row.relayed_rtt.extend(rtts);
    }
    Ok(())
}
