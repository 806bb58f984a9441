//! Pings in a tunnel, beside signed ones, CoAP and a bare echo: `cargo xtask mesh sealed`.
//!
//! | what | who answers |
//! |---|---|
//! | bare echo | a thread that sends back what came, on a device's socket |
//! | the limit | the same, and opens and seals each datagram with ChaCha20-Poly1305 |
//! | CoAP | `coap-server`, `/time`, non-confirmable and in clear |
//! | sealed ping | a device as `tibet-overlay up` has it, through a direct tunnel |
//! | signed ping | a node as `tibet-iot listen` has it |
//!
//! Everything goes over the loopback interface, from one thread to another; only `coap-server` is a process. Datagrams of the echoes differ in length, so that none of
//! them go as trains.

mod coap;
mod devices;
mod echo;

use std::path::Path;
use std::time::Duration;

use super::figures::{Series, rounds};
use crate::Outcome;
use crate::bench::wire::{Load, Measured, ping};
use coap::Coap;
use devices::Devices;

/// So many of each in a round, with one outstanding and with 64: a second or less. Signed ones take a hundred times as long.
const CHEAP: [Load; 2] = [Load { outstanding: 1, pings: 4_000 }, Load { outstanding: 64, pings: 40_000 }];
const SIGNED: [Load; 2] = [Load { outstanding: 1, pings: 256 }, Load { outstanding: 64, pings: 1_024 }];

/// After how long no round begins any more that has one outstanding, and that has 64.
const ALL: Duration = Duration::from_secs(70);

#[derive(Clone, Copy)]
enum Kind {
    Echo,
    Limit,
    Coap,
    Sealed,
    Signed,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Echo, Self::Limit, Self::Coap, Self::Sealed, Self::Signed];

    const fn title(self) -> &'static str {
        match self {
            Self::Echo => "bare echo",
            Self::Limit => "the limit: echo that opens and seals",
            Self::Coap => "CoAP, libcoap, in clear",
            Self::Sealed => "sealed ping through a tunnel",
            Self::Signed => "signed ping",
        }
    }
}

#[derive(Default)]
struct Row {
    rate: Series,
    p50: Series,
    p99: Series,
    /// Microseconds of each end for a ping.
    answering: Series,
    asking: Series,
    /// Answers a second for a core of the end that answers.
    capacity: Series,
}

impl Row {
    fn add(&mut self, measured: &Measured, asking: Option<Duration>) {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / measured.pings() as f64;
        self.rate.add(measured.rate());
        self.p50.add(measured.latency(0.5));
        self.p99.add(measured.latency(0.99));
        if let Some(answering) = measured.answering {
            self.answering.add(each(answering));
            self.capacity.add(1e6 / each(answering));
        }
        if let Some(asking) = asking {
            self.asking.add(each(asking));
        }
    }
}

pub(super) fn run(program: &Path, runs: u32) -> Outcome<()> {
    let devices = Devices::start(program)?;
    let coap = Coap::start()?;
    for at in [0, 1] {
        let mut rows = Kind::ALL.map(|_| Row::default());
        let runs = rounds(runs, ALL, || {
            for (kind, row) in Kind::ALL.into_iter().zip(&mut rows) {
                match kind {
                    Kind::Echo => row.add(&echo::run(CHEAP[at], false)?, None),
                    Kind::Limit => row.add(&echo::run(CHEAP[at], true)?, None),
                    Kind::Coap => {
                        let measured = coap.as_ref().map(|coap| coap.measure(CHEAP[at])).transpose()?;
                        measured.iter().for_each(|measured| row.add(measured, None));
                    }
                    Kind::Sealed => {
                        let (measured, asking) = devices.ask(CHEAP[at])?;
                        row.add(&measured, Some(asking));
                    }
                    Kind::Signed => row.add(&ping::signed(SIGNED[at])?, None),
                }
            }
            Ok(())
        })?;
        if at == 0 {
            println!(
                "{runs} rounds, one kind after the other. Both ends share the processors of this computer. Medians; the ratio is that of the same round, with the least and the"
            );
            println!("greatest.\n");
            println!(
                "| what | outstanding | /s | RTT p50 / p99 µs | processor time of the answering end | of the asking end | /s for a core that answers | of the limit |"
            );
            println!("|---|--:|--:|--:|--:|--:|--:|---|");
        }
        let limit = &rows[Kind::Limit as usize].capacity;
        for (kind, row) in Kind::ALL.into_iter().zip(&rows) {
            let told = |value: &Series, unit: &str, digits: usize| match value.median() {
                value if value.is_nan() => "–".to_owned(),
                value => format!("{value:.digits$}{unit}"),
            };
            println!(
                "| {} | {} | {} | {} / {} | {} | {} | {} | {} |",
                kind.title(),
                CHEAP[at].outstanding,
                told(&row.rate, "", 0),
                told(&row.p50, "", 0),
                told(&row.p99, "", 0),
                told(&row.answering, " µs", 2),
                told(&row.asking, " µs", 2),
                told(&row.capacity, "", 0),
                row.capacity.by(limit),
            );
        }
    }
    if coap.is_none() {
        println!("\nCoAP was not measured: coap-server, in the package libcoap3-bin, is not installed.");
    }
    Ok(())
}
