//! The command `tibet-overlay`.

mod audit;
mod context;
mod demo;
#[doc(hidden)]
pub use demo::lab;
mod expose;
mod find;
mod forward;
mod id;
mod info;
mod ip;
mod netcheck;
mod pending;
mod permit;
mod ping;
mod ports;
mod register;
mod remote;
mod resolve;
pub(crate) mod serve;
mod service;
mod status;
mod trust;
mod up;
mod verify;
mod vouch;
mod way;
mod wg_config;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::error::CliError;
use crate::output::Outcome;
use crate::process;
use crate::settings::{BaseArgs, RegistryArgs, Settings, Typed};
use context::Context;

/// Identity belongs to the device, not to the network.
///
/// Registers, verifies, resolves and finds devices by their cryptographic identity, wherever they are, and keeps a tamper-evident record
/// of everything that happens.
///
/// Exit codes: 0 yes or done; 1 a definite no (not verified, not found, refused, altered); 2 misuse; 69 something needed does not work; 75 not
/// now, try again; 77 not permitted; 78 wrong configuration or a damaged file.
#[derive(Debug, Parser)]
#[command(name = "tibet-overlay", version, propagate_version = true)]
struct Args {
    #[command(flatten)]
    base: BaseArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell the whole story on real keys and a real database, in a few seconds
    Demo(demo::DemoArgs),
    /// Show versions, directories and what is in them
    Info,
    /// Make, show and change identities
    #[command(subcommand)]
    Id(id::IdCommand),
    /// Register an identity, or tell where it is now
    Register(register::RegisterArgs),
    /// Have a device prove who it is
    Verify(verify::VerifyArgs),
    /// Find out where a device is
    Resolve(resolve::ResolveArgs),
    /// List the devices that offer a capability
    Find(find::FindArgs),
    /// Ping a device by its name
    Ping(ping::PingArgs),
    /// Find out what the network between here and the nodes does: NATs, firewalls, port mapping
    Netcheck(netcheck::NetcheckArgs),
    /// Stay reachable: register this device with overlay nodes and keep it so
    Up(Box<up::UpArgs>),
    /// Show the registry in numbers, and its devices; or how the daemon is doing, and its peers
    Status(status::StatusArgs),
    /// Have connections to a port of this machine go to a port of another device
    Forward(forward::ForwardArgs),
    /// Let other devices reach a program of this machine
    Expose(expose::ExposeArgs),
    /// Print the overlay address of a device, or this one's
    Ip(ip::IpArgs),
    /// Print a configuration with which stock WireGuard reaches a device as this one; it holds a secret
    WgConfig(wg_config::WgConfigArgs),
    /// Show how far a device is trusted, or set it
    Trust(trust::TrustArgs),
    /// Vouch for a device
    Vouch(vouch::VouchArgs),
    /// Run an overlay node: the registry on the network
    Serve(serve::ServeArgs),
    /// Decide on names that wait for you
    Pending(pending::PendingArgs),
    /// Make a one-time token with which a device can register
    Enrol(permit::EnrolArgs),
    /// Permit others to claim names below your own
    Grant(permit::GrantArgs),
    /// Read, export and verify the audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Print the completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    process::keep_secrets_in_memory();
    let args = parse();
    let as_json = args.base.json;
    match way::check(&args).and_then(|()| run(args)) {
        Ok(outcome) => outcome.print(as_json),
        Err(error) => error.print(as_json),
    }
}

/// With what was written on the command line itself marked as such.
fn parse() -> Args {
    let matches = Args::command().get_matches();
    let mut args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    args.registry.typed = Typed { node: typed("node"), store: typed("store"), registry: typed("registry") };
    args
}

fn run(args: Args) -> Result<Outcome, CliError> {
    if let Command::Completion { shell } = args.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "tibet-overlay", &mut script);
        return Ok(Outcome::text_only(String::from_utf8_lossy(&script).into_owned()));
    }
    let as_json = args.base.json;
    let settings = || Settings::resolve(&args.base, &args.registry);
    let context = Context::new(settings()?);
    match args.command {
        Command::Demo(args) => demo::run(&context, &args),
        Command::Info => info::run(&context),
        Command::Id(command) => id::run(&context, command),
        Command::Register(args) => register::run(&context, args),
        Command::Verify(args) => verify::run(&context, &args),
        Command::Resolve(args) => resolve::run(&context, &args),
        Command::Find(args) => find::run(&context, &args),
        Command::Ping(args) => ping::run(&context, &args, as_json),
        Command::Netcheck(args) => netcheck::run(&context, &args),
        Command::Up(args) => up::run(&context, &args, as_json),
        Command::Status(args) => status::run(&context, &args),
        Command::Forward(args) => forward::run(&context, &args),
        Command::Expose(args) => expose::run(&context, &args),
        Command::Ip(args) => ip::run(&context, &args),
        Command::WgConfig(args) => wg_config::run(&context, &args),
        Command::Trust(args) => trust::run(&context, &args),
        Command::Vouch(args) => vouch::run(&context, &args),
        Command::Serve(serve) => serve::run(&context, &serve, as_json, &|| Ok(settings()?.serve)),
        Command::Pending(args) => pending::run(&context, &args),
        Command::Enrol(args) => permit::enrol(&context, &args),
        Command::Grant(args) => permit::grant(&context, &args),
        Command::Audit(command) => audit::run(&context, command),
        Command::Completion { .. } => unreachable!("handled above"),
    }
}
