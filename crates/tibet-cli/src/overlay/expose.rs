//! `tibet-overlay expose`

use clap::Args;
use serde_json::json;
use tibet_overlay::daemon::ExposeReport;

use super::Context;
use super::ports::exposed;
use crate::error::CliError;
use crate::output::{Outcome, plain};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExposeArgs {
    /// The port of the overlay address, and where its connections go: a port of this machine, or ADDR:PORT [default: the same port here]
    #[arg(value_name = "PORT[:LOCAL]")]
    port: String,

    /// End what is exposed at PORT, and its connections
    #[arg(long)]
    remove: bool,
}

const EXAMPLES: &str = "\
It asks the daemon that runs here, and holds for as long as that runs: tibet-overlay up --expose has it from the start. Only peers in GROEN are let in
(tibet-overlay up --trust NAME=0.7 or more). Where the daemon has a TUN device nothing is to be exposed: programs listen on the overlay address themselves.

Examples:
  tibet-overlay expose 1883
  tibet-overlay expose 80:8080
  tibet-overlay expose 80:192.168.1.5:80
  tibet-overlay expose --remove 80";

pub(super) fn run(context: &Context, args: &ExposeArgs) -> Result<Outcome, CliError> {
    let at = exposed(&args.port)?;
    let daemon = context.needed_daemon("tibet-overlay up --node ADDR --expose PORT[:LOCAL]")?;
    let report = runtime(1)?.block_on(async {
        if args.remove { daemon.end_expose(at.port).await } else { daemon.expose(at).await }
    })?;
    Ok(outcome(&report))
}

fn outcome(report: &ExposeReport) -> Outcome {
    let at = format!("[{}]:{}", plain(&report.overlay_address), report.port);
    let local = plain(&report.local);
    let outcome = Outcome::new("tibet.overlay.expose", json!(report));
    if report.removed {
        return outcome.line(format_args!("{at} leads to {local} no longer"));
    }
    outcome.line(format_args!("{at} leads to {local} for peers in GROEN, as long as the daemon runs"))
}
