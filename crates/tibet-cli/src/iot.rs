//! The command `tibet-iot`.
//!
//! | file | holds |
//! |---|---|
//! | `listen.rs`, `send.rs`, `discover.rs`, `demo.rs`, `keys.rs` | a subcommand each |
//! | `node_args.rs` | the options that all nodes have |
//! | `own.rs` | which identity a node has, and what it keeps |
//! | `audit_file.rs` | the log of `--audit` |
//! | `input.rs` | what users write: scores, keys, addresses, JSON |
//! | `stream.rs` | what is printed while it happens |

mod audit_file;
mod demo;
mod discover;
mod input;
mod keys;
mod listen;
mod node_args;
mod own;
mod send;
mod stream;

use std::process::ExitCode;

use crate::error::CliError;
use crate::output::Outcome;
use crate::process;
use crate::settings::{BaseArgs, RegistryArgs, Settings};
use clap::{CommandFactory as _, Parser, Subcommand};

/// Devices ask each other over UDP, and answer by trust.
///
/// A device is its key: every ping and answer is signed, an answer counts only from whom was asked, and whoever is not trusted gets silence.
///
/// Exit codes: 0 yes or done; 1 a definite no (no answer, refused, nothing found); 2 misuse; 69 something needed does not work; 75 not now, try
/// again; 77 not permitted; 78 wrong configuration or a damaged file.
#[derive(Debug, Parser)]
#[command(name = "tibet-iot", version, propagate_version = true, after_help = EXAMPLES)]
struct Args {
    #[command(flatten)]
    base: BaseArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples, in two terminals:
  tibet-iot listen --did jis:home:sensor --trust jis:home:hub=0.95
  tibet-iot send jis:home:sensor 127.0.0.1:7150 temperature.read --my-did jis:home:hub
  tibet-iot discover
  tibet-iot demo";

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer pings, and print a line for each
    Listen(Box<listen::ListenArgs>),
    /// Ask a device, and print its answer
    Send(Box<send::SendArgs>),
    /// Find nodes on this machine and on the local network
    Discover(Box<discover::DiscoverArgs>),
    /// Tell the whole story with real nodes on the loopback interface, in a few seconds
    Demo,
    /// Show and forget the keys that names were first seen with
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Print the completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What subcommands share.
struct Context {
    settings: Settings,
    as_json: bool,
}

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    process::keep_secrets_in_memory();
    let args = Args::parse();
    let as_json = args.base.json;
    match run(args) {
        Ok(outcome) => outcome.print(as_json),
        Err(error) => error.print(as_json),
    }
}

fn run(args: Args) -> Result<Outcome, CliError> {
    match &args.command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "tibet-iot", &mut script);
            return Ok(Outcome::text_only(String::from_utf8_lossy(&script).into_owned()));
        }
        // It has a directory of its own and looks at nobody's settings.
        Command::Demo => return demo::run(),
        _ => {}
    }
    let settings = Settings::resolve(&args.base, &RegistryArgs::default())?;
    let context = Context { settings, as_json: args.base.json };
    match args.command {
        Command::Listen(args) => listen::run(&context, &args),
        Command::Send(args) => send::run(&context, &args),
        Command::Discover(args) => discover::run(&context, &args),
        Command::Keys(command) => keys::run(&context, command),
        Command::Demo | Command::Completion { .. } => unreachable!("handled above"),
    }
}
