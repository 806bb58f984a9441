//! Tasks of this workspace: `cargo xtask check`, `cargo xtask bench`, `cargo xtask flood`, `cargo xtask load`, `cargo xtask mesh`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod bench;
mod check;
mod flood;
mod load;
mod mesh;

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
    /// Sends a listener garbage at full rate, or a device of the mesh handshakes, and looks whether it still serves
    Flood(flood::Options),
    /// Has a fleet of simulated devices register with an overlay node, stay alive, move and be looked up
    Load(load::Options),
    /// Measures how soon two devices behind NATs reach each other, and again after one has moved (root)
    Mesh(mesh::Options),
    /// Runs what continuous integration runs without root
    Check,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Bench(options) => bench::run(&options),
        Task::Flood(options) => flood::run(&options),
        Task::Load(options) => load::run(&options),
        Task::Mesh(options) => mesh::run(&options),
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
