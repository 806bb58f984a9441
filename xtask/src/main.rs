//! Tasks of this workspace: `cargo xtask check`, `cargo xtask bench`, `cargo xtask flood`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod bench;
mod check;
mod flood;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

/// What any task may fail with; it is only ever printed.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(about)]
enum Task {
    /// Measures the workspace against the limits of this machine, and against the Python packages
    Bench(bench::Options),
    /// Sends a listener garbage at full rate, and looks whether it still serves
    Flood(flood::Options),
    /// Runs what continuous integration runs without root
    Check,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Bench(options) => bench::run(&options),
        Task::Flood(options) => flood::run(&options),
        Task::Check => check::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
