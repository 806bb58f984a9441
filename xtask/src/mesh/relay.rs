//! What a relay of ours passes on, beside `coturn` and a bare echo: `cargo xtask mesh relay`.
//!
//! | way | a message of 200 bytes goes | and back |
//! |---|---|---|
//! | our relay | from a device through `tibet-overlay serve` to another | the same way |
//! | coturn | from a client through its allocation, as ChannelData, to a bare socket | the same way |
//! | nothing between | from a bare socket to another | the same way |
//!
//! So a relay passes two datagrams on for each echo, ours and `coturn` alike. What is at the ends runs in this process, a thread each, on the sockets that
//! devices have: they take and send many datagrams with one system call, and equally long ones as one train. So it is measured with messages of one length, and
//! with such of many lengths, of which none go as trains.

mod coturn;
mod ours;

use std::path::Path;
use std::time::Duration;

use tibet_iot::UdpPort;

use super::figures::{Series, rounds};
use crate::Outcome;
use crate::bench::wire::echo::Echo;
use crate::bench::wire::ping::{loopback, runtime};
use crate::bench::wire::{Load, Measured, drive};
use coturn::Coturn;
use ours::Ours;

/// What is passed on, in bytes: the mean where it differs.
const MESSAGE: usize = 200;
/// So many lengths follow one on another, where it does.
const LENGTHS: usize = 64;
/// How long messages are.
#[derive(Clone, Copy)]
enum Lengths {
    Same,
    Mixed,
}

impl Lengths {
    fn of(self, number: u64) -> usize {
        match self {
            Self::Same => MESSAGE,
            Self::Mixed => MESSAGE - LENGTHS / 2 + number as usize % LENGTHS,
        }
    }

    /// The message with this number: one of WireGuard, as far as anybody between can tell.
    fn message(self, number: u64) -> Vec<u8> {
        let mut message = vec![4; self.of(number)];
        message[1..4].fill(0);
        message[4..12].copy_from_slice(&number.to_be_bytes());
        message
    }
}

/// The number of a message.
fn number_of(message: &[u8]) -> Outcome<u64> {
    let number = message.get(4..).and_then(|rest| rest.first_chunk());
    Ok(u64::from_be_bytes(*number.ok_or("too short")?))
}

/// Echoes that are on their way at once, and how many there are in a round: a second of them.
const MANY: Load = Load { outstanding: 64, pings: 60_000 };
/// One after the other.
const ONE: Load = Load { outstanding: 1, pings: 4_000 };

/// After how long no round begins any more.
const ALL: Duration = Duration::from_secs(140);

/// What was measured of a way in one round.
struct Sample {
    many: Measured,
    mixed: Measured,
    one: Measured,
    /// Processor time of the relay in seconds, while there were many of one length, and of many lengths.
    spent: Option<[f64; 2]>,
    /// Bytes that the relay holds.
    memory: Option<u64>,
}

/// What was measured of a way.
#[derive(Default)]
struct Row {
    rate: Series,
    mixed: Series,
    p50: Series,
    p99: Series,
    /// Microseconds for a datagram that is passed on, in trains and one by one.
    cost: [Series; 2],
    memory: Option<u64>,
}

impl Row {
    fn add(&mut self, Sample { many, mixed, one, spent, memory }: &Sample) {
        self.rate.add(many.rate());
        self.mixed.add(mixed.rate());
        self.p50.add(one.latency(0.5));
        self.p99.add(one.latency(0.99));
        for (cost, spent) in self.cost.iter_mut().zip(spent.iter().flatten()) {
            cost.add(spent * 1e6 / (2 * many.pings()) as f64);
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
        "{runs} rounds, one way after the other: {} echoes with {} outstanding, of {MESSAGE} bytes, which go as trains, and of {LENGTHS} lengths about that, which do not; and {}",
        MANY.pings, MANY.outstanding, ONE.pings
    );
    println!(
        "with one outstanding. Both ends and the relay share the processors of this computer. Medians; ratios are those of the same round, with the least and the greatest.\n"
    );
    println!(
        "| way | messages | echoes/s | of coturn | of nothing between | RTT p50 / p99 µs, one outstanding | processor time of the relay for a datagram | datagrams/s for a core of it | its memory |"
    );
    println!("|---|---|--:|---|---|--:|--:|--:|--:|");
    for (name, row) in [("our relay", &row_ours), ("coturn", &row_coturn), ("nothing between", &row_direct)] {
        let memory = row.memory.map_or_else(|| "–".to_owned(), |memory| format!("{} MiB", memory >> 20));
        let trip = format!("{:.0} / {:.0}", row.p50.median(), row.p99.median());
        let rates = |row: &Row| [row.rate.clone(), row.mixed.clone()];
        let others = rates(&row_coturn).into_iter().zip(rates(&row_direct));
        let lengths = ["of one length", "of many lengths"];
        for (((rate, cost), (coturn, direct)), lengths) in
            rates(row).iter().zip(&row.cost).zip(others).zip(lengths)
        {
            let (cost, capacity) = match cost.median() {
                cost if cost.is_nan() => ("–".to_owned(), "–".to_owned()),
                cost => (format!("{cost:.2} µs"), format!("{:.0}", 1e6 / cost)),
            };
            println!(
                "| {name} | {lengths} | {:.0} | {} | {} | {trip} | {cost} | {capacity} | {memory} |",
                rate.median(),
                rate.by(&coturn),
                rate.by(&direct),
            );
        }
    }
    Ok(())
}

/// The limit.
fn direct() -> Outcome<Sample> {
    let echo = Echo::start()?;
    let measured = runtime()?.block_on(async {
        let port = UdpPort::bind(loopback())?;
        let make = |lengths: Lengths| move |number| Ok(lengths.message(number));
        let many = drive(&port, echo.address, MANY, make(Lengths::Same), number_of).await?;
        let mixed = drive(&port, echo.address, MANY, make(Lengths::Mixed), number_of).await?;
        let one = drive(&port, echo.address, ONE, make(Lengths::Same), number_of).await?;
        Ok(Sample { many, mixed, one, spent: None, memory: None })
    });
    echo.stop()?;
    measured
}
