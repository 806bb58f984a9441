//! Pings over real sockets on loopback, beside the raw echo of the same bytes through the same batched sockets.
//!
//! Both ends run in this process, each on a thread of its own. The echo's server does nothing but send back what came; everything that pings cost
//! more is what the protocol costs.

pub(crate) mod echo;
mod load;
pub(crate) mod ping;
mod python;

use std::path::Path;
use std::time::Duration;

use super::Scale;
use crate::Outcome;
pub(crate) use load::{Load, Measured, Stopwatch, drive, time_of_thread};

/// How many wait for an answer at a time.
const OUTSTANDING: [usize; 2] = [1, 64];

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    EchoOfUnsigned,
    Unsigned,
    EchoOfSigned,
    Signed,
}

impl Work {
    const ALL: [Self; 4] = [Self::EchoOfUnsigned, Self::Unsigned, Self::EchoOfSigned, Self::Signed];

    const fn title(self) -> &'static str {
        match self {
            Self::EchoOfUnsigned => "raw UDP echo of an unsigned ping's bytes",
            Self::Unsigned => "legacy unsigned ping, answered by a node",
            Self::EchoOfSigned => "raw UDP echo of a signed ping's bytes",
            Self::Signed => "signed ping, a node at both ends",
        }
    }

    /// What it is compared with.
    const fn limit(self) -> Option<Self> {
        match self {
            Self::Unsigned => Some(Self::EchoOfUnsigned),
            Self::Signed => Some(Self::EchoOfSigned),
            _ => None,
        }
    }

    fn run(self, load: Load) -> Outcome<Measured> {
        match self {
            Self::EchoOfUnsigned => echo::run(load, &ping::unsigned_frame(0)?),
            Self::Unsigned => ping::unsigned(load),
            Self::EchoOfSigned => echo::run(load, &ping::signed_frame()?),
            Self::Signed => ping::signed(load),
        }
    }
}

/// Measures everything and prints its own table: it has other columns than the rest.
pub(crate) fn run(scale: Scale, python: Option<&Path>, markdown: bool) -> Outcome<()> {
    let mut lines = Vec::new();
    for outstanding in OUTSTANDING {
        let pings = if outstanding == 1 { 2 * scale.operations } else { 16 * scale.operations };
        let load = Load { outstanding, pings };
        // In turns, so that what else runs on the machine disturbs all alike. The first round warms up.
        let mut rounds: Vec<Vec<Measured>> = Vec::new();
        for round in 0..=scale.rounds {
            eprintln!("measuring: pings with {outstanding} outstanding, round {round} of {}", scale.rounds);
            let measured = Work::ALL.map(|work| work.run(load)).into_iter().collect::<Outcome<_>>()?;
            if round > 0 {
                rounds.push(measured);
            }
        }
        for (at, work) in Work::ALL.into_iter().enumerate() {
            let of = |at: usize| rounds.iter().map(move |round| &round[at]);
            let limit = work.limit().and_then(|limit| Work::ALL.iter().position(|other| *other == limit));
            let ratio = limit.map(|limit| {
                let ratios = of(at).zip(of(limit)).map(|(ours, limit)| ours.rate() / limit.rate());
                sorted(ratios)
            });
            lines.push(Line {
                title: work.title(),
                outstanding,
                rate: median(&sorted(of(at).map(Measured::rate))),
                p50: median(&sorted(of(at).map(|one| one.latency(0.5)))),
                p99: median(&sorted(of(at).map(|one| one.latency(0.99)))),
                cpu: Some(median(&sorted(of(at).map(|one| micros(one.cpu) / load.pings as f64)))),
                ratio,
            });
        }
        if let Some(python) = python {
            let [rate, p50, p99] = python::measure(python, load)?;
            let title = "the Python packages, unsigned, both ends";
            lines.push(Line { title, outstanding, rate, p50, p99, cpu: None, ratio: None });
        }
    }
    print(&lines, markdown);
    Ok(())
}

struct Line {
    title: &'static str,
    outstanding: usize,
    /// A second.
    rate: f64,
    /// Microseconds.
    p50: f64,
    p99: f64,
    /// Microseconds of both ends together.
    cpu: Option<f64>,
    /// Our rate by the limit's, sorted.
    ratio: Option<Vec<f64>>,
}

fn print(lines: &[Line], markdown: bool) {
    if markdown {
        println!(
            "| what | outstanding | /s | p50 µs | p99 µs | CPU µs a ping, both ends | by the echo [least..greatest] |"
        );
        println!("|---|--:|--:|--:|--:|--:|---|");
    }
    for Line { title, outstanding, rate, p50, p99, cpu, ratio } in lines {
        let cpu = cpu.map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.1}"));
        let ratio = ratio.as_ref().map_or_else(
            || "–".to_owned(),
            |all| format!("{:.2} [{:.2}..{:.2}]", median(all), all[0], all[all.len() - 1]),
        );
        if markdown {
            println!("| {title} | {outstanding} | {rate:.0} | {p50:.0} | {p99:.0} | {cpu} | {ratio} |");
        } else {
            println!(
                "{title:<42} {outstanding:>3} {rate:>9.0}/s  p50 {p50:>6.0} µs  p99 {p99:>6.0} µs  {cpu:>6}  {ratio}"
            );
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
