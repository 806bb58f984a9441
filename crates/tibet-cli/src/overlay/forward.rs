//! `tibet-overlay forward`

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;
use tibet_overlay::daemon::{ForwardReport, ForwardTo};

use super::Context;
use super::ports::{local, target};
use crate::error::CliError;
use crate::output::{Exit, Outcome, plain};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ForwardArgs {
    /// Where to listen: PORT of the loopback address 127.0.0.1, or ADDR:PORT; port 0 lets the system choose
    #[arg(value_name = "LISTEN")]
    listen: String,

    /// Where its connections go
    #[arg(value_name = "NAME:PORT", required_unless_present = "remove", conflicts_with = "remove")]
    to: Option<String>,

    /// End what listens there, and its connections
    #[arg(long)]
    remove: bool,
}

const EXAMPLES: &str = "\
It asks the daemon that runs here, and holds for as long as that runs: tibet-overlay up --forward has it from the start. Connections travel in the tunnel to
that device, which must be up and trust this one from 0.7 on (GROEN). Whoever can connect to LISTEN speaks to it as this device.

Examples:
  tibet-overlay forward 1883 jis:home:hub:1883
  tibet-overlay forward '[::1]:8080' jis:home:camera:80
  tibet-overlay forward --remove 1883";

pub(super) fn run(context: &Context, args: &ForwardArgs) -> Result<Outcome, CliError> {
    let wrong = || {
        CliError::new(Exit::Usage, format!("{:?} is neither a port nor an address with one", args.listen))
            .hint("1883, or 127.0.0.1:1883")
    };
    let listen = local(&args.listen).ok_or_else(wrong)?;
    let to = args.to.as_deref().map(target).transpose()?;
    let daemon = context.needed_daemon("tibet-overlay up --node ADDR --forward LISTEN=NAME:PORT")?;
    let report = runtime(1)?.block_on(async {
        match to {
            Some((name, port)) => daemon.forward(&ForwardTo { listen, name, port }).await,
            None => daemon.end_forward(listen).await,
        }
    })?;
    Ok(outcome(&report))
}

fn outcome(report: &ForwardReport) -> Outcome {
    let ForwardReport { listen, name, port, .. } = report;
    let (listen, name) = (plain(listen), plain(name));
    let open = listen.parse::<SocketAddr>().is_ok_and(|listen| !listen.ip().is_loopback());
    let outcome = Outcome::new("tibet.overlay.forward", json!(report)).with("open_to_network", open.into());
    if report.removed {
        return outcome.line(format_args!("{listen} leads to {name} port {port} no longer"));
    }
    let outcome =
        outcome.line(format_args!("{listen} leads to {name} port {port}, as long as the daemon runs"));
    let outcome = match &report.problem {
        Some(problem) => {
            outcome.line(format_args!("  not now: {}; each connection tries it again", plain(problem)))
        }
        None => outcome,
    };
    if !open {
        return outcome;
    }
    outcome.line(format_args!(
        "  warning: {listen} is no loopback address: whoever reaches it speaks to {name} as this device"
    ))
}
