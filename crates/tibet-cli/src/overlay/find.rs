//! `tibet-overlay find`

use clap::Args;
use jis::Capability;
use serde_json::json;

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::output::{Exit, Outcome, plain, zone_word};
use tibet_overlay::{FindReport, FoundDevice, OptionsError, OverlayError, system};
use tibet_registry::{MAX_PAGE, StoreError};

#[derive(Debug, Args)]
pub(super) struct FindArgs {
    /// What the device shall offer, for example mqtt
    capability: String,
    /// Most devices to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(super) fn run(context: &Context, args: &FindArgs) -> Result<Outcome, CliError> {
    let capability: Capability = args.capability.parse().map_err(|source| {
        OverlayError::from(OptionsError::Capability { text: args.capability.clone(), source })
    })?;
    let asked = context.remotely(As::Anybody, |way| {
        let capability = capability.clone();
        async move { way.find(&capability, args.limit).await }
    })?;
    match asked {
        Some(report) => Ok(outcome(&report)),
        None => Ok(outcome(&from_registry(context, &capability, args.limit)?)),
    }
}

/// What the registry here knows, in the words in which nodes tell it.
fn from_registry(context: &Context, capability: &Capability, limit: usize) -> Result<FindReport, CliError> {
    let mut registry = context.registry_instead_of_nodes()?;
    let now = system::now();
    let (mut names, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = registry.find(capability, from, MAX_PAGE, now)?;
        names.extend(page.names);
        after = page.next;
    }
    let mut devices = Vec::new();
    for name in names.iter().take(limit) {
        let Some(known) = registry.peek(name, now)? else { continue };
        let record = known.route.record().map_err(StoreError::from)?;
        devices.push(FoundDevice {
            name: name.to_string(),
            endpoint: record.claims().endpoints.first().map(ToString::to_string),
            presence: None,
            trust_score: Some(known.standing.score),
            zone: Some(known.standing.zone.as_str().to_owned()),
        });
    }
    Ok(FindReport { capability: capability.to_string(), total: names.len(), devices, node: String::new() })
}

fn outcome(report: &FindReport) -> Outcome {
    let node = (!report.node.is_empty()).then_some(&report.node);
    let outcome = Outcome::new("tibet.overlay.find", json!(report)).with("node", json!(node));
    if report.total == 0 {
        return outcome.line(format_args!("no device offers {}", report.capability)).exit(Exit::No);
    }
    let rows = report.devices.iter().map(|device| {
        vec![
            device.name.clone(),
            device.endpoint.clone().unwrap_or_default(),
            device.presence.as_deref().map(plain).unwrap_or_default(),
            device.zone.as_deref().map(zone_word).unwrap_or_default(),
            device.trust_score.map(|trust| format!("{trust:.2}")).unwrap_or_default(),
        ]
    });
    let outcome = outcome.table(&["NAME", "ENDPOINT", "PRESENCE", "ZONE", "TRUST"], rows.collect());
    match report.total - report.devices.len() {
        0 => outcome,
        more => outcome.line(format_args!("… and {more} more; --limit {} shows all", report.total)),
    }
}
