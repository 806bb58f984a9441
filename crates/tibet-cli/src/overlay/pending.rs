//! `tibet-overlay pending`: names that a human decides on.

use clap::{Args, Subcommand};
use jis::Name;
use serde_json::{Value, json};
use tibet_overlay::{ClaimReport, system};
use tibet_registry::{NameRequest, Refusal};

use super::Context;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, bold, plain};

#[derive(Debug, Args)]
pub(super) struct PendingArgs {
    #[command(subcommand)]
    command: PendingCommand,
}

#[derive(Debug, Subcommand)]
enum PendingCommand {
    /// List the claims that wait, and those that were decided of late
    List,
    /// Let whoever claims a name have it
    Approve(Decision),
    /// Refuse whoever claims a name, for a day
    Deny(Decision),
}

#[derive(Debug, Args)]
struct Decision {
    /// The name
    name: String,
    /// Why, for the audit log
    #[arg(long, default_value = "")]
    reason: String,
}

/// More than a registry keeps.
const ALL: usize = 10_000;

pub(super) fn run(context: &Context, args: &PendingArgs) -> Result<Outcome, CliError> {
    let mut registry = context.existing_registry()?;
    let now = system::now();
    match &args.command {
        PendingCommand::List => {
            let mut requests: Vec<NameRequest> = Vec::new();
            loop {
                let after = requests.last().map(|request| request.name.clone());
                let page = registry.requests(after.as_ref(), ALL)?;
                if page.is_empty() {
                    break;
                }
                requests.extend(page);
            }
            Ok(list(&requests))
        }
        PendingCommand::Approve(decision) => {
            let name = parse_name(&decision.name)?;
            let request = registry.approve(&name, &decision.reason, now).map_err(|no| refused(no, &name))?;
            Ok(decided(&request, "may have it; the device asks again within half a minute"))
        }
        PendingCommand::Deny(decision) => {
            let name = parse_name(&decision.name)?;
            let request = registry.deny(&name, &decision.reason, now).map_err(|no| refused(no, &name))?;
            Ok(decided(&request, "is refused for a day"))
        }
    }
}

fn refused(refusal: Refusal, name: &Name) -> CliError {
    match refusal {
        Refusal::NoRequest(_) => {
            CliError::new(Exit::No, format!("nobody has asked for {name}")).hint("tibet-overlay pending list")
        }
        other => other.into(),
    }
}

fn decided(request: &NameRequest, what: &str) -> Outcome {
    let line = format!("{} {what}", request.name);
    Outcome::new("tibet.overlay.pending.decided", describe(request))
        .line(bold(line))
        .pairs(&[("key", request.key.to_multibase()), ("asked from", request.source.to_string())])
}

fn list(requests: &[NameRequest]) -> Outcome {
    let claims: Vec<ClaimReport> = requests.iter().map(ClaimReport::from).collect();
    let data = json!({ "requests": claims });
    let outcome = Outcome::new("tibet.overlay.pending", data);
    if requests.is_empty() {
        return outcome.line("nobody waits");
    }
    let rows = requests.iter().zip(claims).map(|(request, claim)| {
        vec![
            plain(request.name.as_str()),
            short(&request.fingerprint),
            claim.source,
            claim.since,
            claim.state.to_owned(),
        ]
    });
    outcome.table(&["name", "fingerprint", "from", "since", "state"], rows.collect())
}

/// A claim, for programs: of this command, and the operator's own (`--approval-hook`).
pub(super) fn describe(request: &NameRequest) -> Value {
    json!(ClaimReport::from(request))
}
