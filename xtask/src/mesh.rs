//! How soon two devices in the mesh reach each other, how soon again after one has moved, and how much goes between them: `cargo xtask mesh`.
//!
//! They run on machines of their own behind routers, as in the tests and the demo. Needs root, `ip` and `nft`.

mod figures;
mod roam;
mod throughput;
mod times;
mod ways;

pub(crate) use throughput::processor_seconds;

use std::path::PathBuf;

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
    }
}
