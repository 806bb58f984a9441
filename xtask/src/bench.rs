//! The benchmarks: what the workspace does, beside the least it could cost on this machine.
//!
//! A row is measured in rounds, limit and ours in turn, and its ratio is the median of the rounds' ratios: what else runs on the machine
//! disturbs both alike. Nothing is asserted about time.

mod codec;
mod devices;
mod limits;
mod lookup;
mod measure;
mod peers;
mod ping;
mod raw_messages;
mod receiver;
mod registration;
mod report;
mod senders;
mod tokens;
mod verification;
pub(crate) mod wire;

use std::path::PathBuf;

use clap::ValueEnum as _;
use tempfile::TempDir;

use crate::Outcome;
use devices::Fleet;
use measure::Row;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Python of a virtual environment that has tibet-core, tibet-overlay and tibet-ping, to measure them too
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
    /// Few rounds over small sets: shows that everything runs, not how fast
    #[arg(long)]
    quick: bool,
    /// Measures these rows only
    #[arg(long, value_enum)]
    only: Option<Group>,
    /// Prints the table as Markdown
    #[arg(long)]
    markdown: bool,
}

/// Rows that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    Registration,
    Verification,
    Lookup,
    Tokens,
    Codec,
    Ping,
    Wire,
}

impl Group {
    fn rows(self, bench: &Bench) -> Outcome<Vec<Row>> {
        match self {
            Self::Registration => registration::rows(bench),
            Self::Verification => verification::rows(bench),
            Self::Lookup => lookup::rows(bench),
            Self::Tokens => tokens::rows(bench),
            Self::Codec => codec::rows(bench),
            Self::Ping => ping::rows(bench),
            // It has a table of its own.
            Self::Wire => Ok(Vec::new()),
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Rounds that count; one more comes before them to warm up.
    pub(crate) rounds: usize,
    /// Operations in a round that are grouped or need no disk.
    pub(crate) operations: usize,
    /// Operations in a round that are each synced to the disk.
    pub(crate) synced: usize,
    /// Devices that are searched.
    pub(crate) searched: usize,
}

impl Scale {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self { rounds: 3, operations: 64, synced: 16, searched: 2_000 }
        } else {
            Self { rounds: 9, operations: 1_024, synced: 256, searched: 100_000 }
        }
    }

    /// Devices that a row needs when every round takes new ones.
    fn fleet(&self) -> usize {
        (self.rounds + 1) * self.operations
    }
}

/// What every row works with.
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    pub(crate) fleet: Fleet,
    directory: TempDir,
}

impl Bench {
    /// A new file's path, on the file system of the system's temporary directory.
    pub(crate) fn file(&self) -> Outcome<PathBuf> {
        Ok(TempDir::new_in(self.directory.path())?.keep().join("bench.db"))
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let scale = Scale::of(options);
    let bench = Bench { scale, fleet: Fleet::new(scale.fleet())?, directory: TempDir::new()? };
    let mut rows = Vec::new();
    for group in Group::value_variants() {
        if options.only.is_none_or(|only| only == *group) {
            rows.extend(group.rows(&bench)?);
        }
    }
    let peers = match &options.python {
        Some(python) if rows.iter().any(|row| row.peer.is_some()) => peers::measure(python, options.quick)?,
        _ => peers::Figures::default(),
    };
    report::print(&rows, &peers, options.markdown);
    if options.only.is_none_or(|only| only == Group::Wire) {
        println!();
        wire::run(scale, options.python.as_deref(), options.markdown)?;
    }
    Ok(())
}
