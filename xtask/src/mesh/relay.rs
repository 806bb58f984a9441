//! What a relay of ours passes on, beside `coturn` and a bare echo: `cargo xtask mesh relay`.
//!
//! | way | a message of 200 bytes goes | and back |
//! |---|---|---|
//! | our relay | from a device through `tibet-overlay serve` to another | the same way |
//! | coturn | from a client through its allocation, as ChannelData, to a bare socket | the same way |
//! | nothing between | from a bare socket to another | the same way |
//!
//! So a relay passes two datagrams on for each echo, ours and `coturn` alike. What is at the ends runs in this process, a thread each, on the sockets that
//! devices have: they take and send many datagrams with one system call, and equally long ones as one train.

mod coturn;
mod ours;

use std::path::Path;
use std::time::Duration;

use super::figures::{Series, rounds};
use crate::Outcome;
use crate::bench::wire::{Load, Measured, echo};
use coturn::Coturn;
use ours::Ours;

/// What is passed on, in bytes.
const MESSAGE: usize = 200;
/// Echoes that are on their way at once, and how many there are in a round: a second of them.
const MANY: Load = Load { outstanding: 64, pings: 60_000 };
/// One after the other.
const ONE: Load = Load { outstanding: 1, pings: 4_000 };

/// After how long no round begins any more.
const ALL: Duration = Duration::from_secs(140);

/// What was measured of a way in one round.
struct Sample {
    many: Measured,
    one: Measured,
    /// Processor time of the relay in seconds, while there were many.
    spent: Option<f64>,
    /// Bytes that the relay holds.
    memory: Option<u64>,
}

/// What was measured of a way.
#[derive(Default)]
struct Row {
    rate: Series,
    p50: Series,
    p99: Series,
    /// Microseconds for a datagram that is passed on.
    cost: Series,
    memory: Option<u64>,
}

impl Row {
    fn add(&mut self, Sample { many, one, spent, memory }: &Sample) {
        self.rate.add(many.rate());
        self.p50.add(one.latency(0.5));
        self.p99.add(one.latency(0.99));
        if let Some(spent) = spent {
            self.cost.add(spent * 1e6 / (2 * many.pings()) as f64);
        }
        self.memory = self.memory.max(*memory);
    }
}

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    let coturn = Coturn::start()?;
    let mut ours = Ours::start(program)?;
    let [mut row_ours, mut row_coturn, mut row_direct] = [(); 3].map(|()| Row::default());
    let runs = rounds(runs, ALL, || {
        let direct = direct()?;
        let (of_coturn, of_ours) = (coturn.measure()?, ours.measure()?);
        row_direct.add(&direct);
        row_coturn.add(&of_coturn);
        row_ours.add(&of_ours);
        Ok(())
    })?;
    println!(
        "{runs} rounds, one way after the other: {} echoes of {MESSAGE} bytes with {} outstanding, and {} with one. Both ends and the relay share the processors of this",
        MANY.pings, MANY.outstanding, ONE.pings
    );
    println!("computer. Medians; ratios are those of the same round, with the least and the greatest.\n");
    println!(
        "| way | echoes/s | of coturn | of nothing between | RTT p50 / p99 µs, one outstanding | processor time of the relay for a datagram | datagrams/s for a core of it | its memory |"
    );
    println!("|---|--:|---|---|--:|--:|--:|--:|");
    for (name, row) in [("our relay", &row_ours), ("coturn", &row_coturn), ("nothing between", &row_direct)] {
        let cost = row.cost.median();
        let (cost, capacity) = if cost.is_nan() {
            ("–".to_owned(), "–".to_owned())
        } else {
            (format!("{cost:.2} µs"), format!("{:.0}", 1e6 / cost))
        };
        let memory = row.memory.map_or_else(|| "–".to_owned(), |memory| format!("{} MiB", memory >> 20));
        println!(
            "| {name} | {:.0} | {} | {} | {:.0} / {:.0} | {cost} | {capacity} | {memory} |",
            row.rate.median(),
            row.rate.by(&row_coturn.rate),
            row.rate.by(&row_direct.rate),
            row.p50.median(),
            row.p99.median(),
        );
    }
    Ok(())
}

/// The limit.
fn direct() -> Outcome<Sample> {
    let measure = |load| echo::run(load, &[4; MESSAGE]);
    Ok(Sample { many: measure(MANY)?, one: measure(ONE)?, spent: None, memory: None })
}
