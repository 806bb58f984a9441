//! Which commands ask overlay nodes and which work on a registry: a flag for the other kind would do nothing, and is refused.
//!
//! Only what stands on the command line is refused. The environment and the configuration file are for all commands alike.

use super::id::IdCommand;
use super::status::StatusArgs;
use super::{Args, Command};
use crate::error::CliError;
use crate::output::Exit;

/// What a command can use.
struct Uses {
    /// `--node`.
    nodes: bool,
    /// `--registry`, `--store`.
    registry: bool,
}

/// Whether the command can use the flags that were typed.
pub(super) fn check(args: &Args) -> Result<(), CliError> {
    let (typed, command) = (args.registry.typed, &args.command);
    let (uses, name) = (uses(command), name(command));
    let refuse = |message: String, hint: &str| Err(CliError::new(Exit::Usage, message).hint(hint));
    match uses {
        Uses { nodes: false, registry: true } if typed.node => refuse(
            format!("{name} works on a registry, and asks no node: --node would do nothing"),
            "the same without --node where the registry is; --registry DIR or --store STORE says which one",
        ),
        Uses { nodes: false, registry: false } if typed.node => {
            refuse(format!("{name} asks no node: --node would do nothing"), "the same without --node")
        }
        Uses { registry: false, .. } if typed.store || typed.registry => {
            let flag = if typed.store { "--store" } else { "--registry" };
            refuse(
                format!("{name} uses no registry: {flag} would do nothing"),
                &format!("the same without {flag}"),
            )
        }
        Uses { nodes: true, registry: true }
            if typed.node
                && (typed.store || typed.registry)
                && !matches!(command, Command::Id(_) | Command::Info) =>
        {
            let flag = if typed.store { "--store" } else { "--registry" };
            refuse(
                format!("--node asks a node, and {flag} chooses a registry here: {name} does one of them"),
                &format!("the same without {flag}, or without --node"),
            )
        }
        _ => Ok(()),
    }
}

fn uses(command: &Command) -> Uses {
    let (nodes, registry) = match command {
        Command::Register(_)
        | Command::Verify(_)
        | Command::Resolve(_)
        | Command::Find(_)
        | Command::Status(StatusArgs { peers: false, .. })
        | Command::Ip(_)
        | Command::Info
        | Command::Id(IdCommand::Rotate(_) | IdCommand::Revoke { .. }) => (true, true),
        Command::Ping(_) | Command::Netcheck(_) | Command::Up(_) | Command::WgConfig(_) => (true, false),
        Command::Trust(_)
        | Command::Vouch(_)
        | Command::Serve(_)
        | Command::Pending(_)
        | Command::Enrol(_)
        | Command::Grant(_)
        | Command::Audit(_) => (false, true),
        Command::Demo(_)
        | Command::Status(StatusArgs { peers: true, .. })
        | Command::Forward(_)
        | Command::Expose(_)
        | Command::Id(IdCommand::New { .. } | IdCommand::Show | IdCommand::Export { .. })
        | Command::Completion { .. } => (false, false),
    };
    Uses { nodes, registry }
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Demo(_) => "demo",
        Command::Info => "info",
        Command::Id(IdCommand::New { .. }) => "id new",
        Command::Id(IdCommand::Show) => "id show",
        Command::Id(IdCommand::Export { .. }) => "id export",
        Command::Id(IdCommand::Rotate(_)) => "id rotate",
        Command::Id(IdCommand::Revoke { .. }) => "id revoke",
        Command::Register(_) => "register",
        Command::Verify(_) => "verify",
        Command::Resolve(_) => "resolve",
        Command::Find(_) => "find",
        Command::Ping(_) => "ping",
        Command::Netcheck(_) => "netcheck",
        Command::Up(_) => "up",
        Command::Forward(_) => "forward",
        Command::Expose(_) => "expose",
        Command::Ip(_) => "ip",
        Command::WgConfig(_) => "wg-config",
        Command::Status(StatusArgs { peers: true, .. }) => "status --peers",
        Command::Status(_) => "status",
        Command::Trust(_) => "trust",
        Command::Vouch(_) => "vouch",
        Command::Serve(_) => "serve",
        Command::Pending(_) => "pending",
        Command::Enrol(_) => "enrol",
        Command::Grant(_) => "grant",
        Command::Audit(_) => "audit",
        Command::Completion { .. } => "completion",
    }
}
