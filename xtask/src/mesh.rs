//! How soon two devices in the mesh reach each other, how soon again after one has moved, how much goes between them, and what it costs: `cargo xtask mesh`.
//!
//! | part | on | needs |
//! |---|---|---|
//! | times, roam, throughput | machines of their own behind routers, as in the tests and the demo | root, `ip`, `nft`, and the programs that they name |
//! | sealed | one such machine | the same; `coap-server` if it is to be compared |
//! | relay | the loopback interface | `turnserver` |
//! | memory | the loopback interface | nothing |

mod figures;
mod memory;
mod relay;
mod roam;
mod sealed;
mod throughput;
mod times;
mod ways;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    /// The program that runs on the machines
    #[arg(long, default_value = "target/release/tibet-overlay", global = true)]
    program: PathBuf,
    /// How often each is done
    #[arg(long, default_value_t = 20, global = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
}

#[derive(Clone, Copy, clap::Subcommand)]
enum What {
    /// From the first packet to the first answer, and to the first one on a direct path, behind routers of all kinds
    Times,
    /// From a change of address until traffic flows again, under iperf3
    Roam,
    /// What goes through a tunnel, beside the bare cable and the tunnels of others, as far as they are installed
    Throughput,
    /// What a relay passes on, beside coturn and a bare echo
    Relay,
    /// Pings in a tunnel, beside signed ones, CoAP and a bare echo
    Sealed,
    /// What a device holds in memory with one peer and with a thousand
    Memory,
}

/// Measures, and prints a table as Markdown.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let program = options.program.canonicalize().map_err(|error| {
        format!("{}: {error}; cargo build --release --bin tibet-overlay makes it", options.program.display())
    })?;
    match options.what {
        What::Times => times::run(&program, options.runs),
        What::Roam => roam::run(&program, options.runs),
        What::Throughput => throughput::run(&program, options.runs),
        What::Relay => relay::run(&program, options.runs),
        What::Sealed => sealed::run(&program, options.runs),
        What::Memory => memory::run(&program, options.runs),
    }
}

/// Whether there is such a program. Some have no `--version`; all of them can be started and end at once with it.
fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn needed(program: &str) -> Outcome<()> {
    if installed(program) { Ok(()) } else { Err(format!("{program} is not installed").into()) }
}
