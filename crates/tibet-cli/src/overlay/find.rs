//! `tibet-overlay find`

use clap::Args;
use jis::Capability;
use serde_json::json;

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::output::{Exit, Outcome, in_zone_colour, plain, zone_word};
use tibet_overlay::{FindReport, OptionsError, OverlayError, system};

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
    if let Some(outcome) = context.remotely(As::Anybody, |way| async move {
        Ok(remote_outcome(&way.find(&capability, args.limit).await?))
    })? {
        return Ok(outcome);
    }
    let mut overlay = context.existing_overlay()?;
    let names = overlay.find_by_capability(&args.capability)?;
    let (mut rows, mut devices) = (Vec::new(), Vec::new());
    for name in names.iter().take(args.limit) {
        let Some(known) = overlay.registry().peek(name, system::now())? else { continue };
        let record = known.route.record().map_err(tibet_registry::StoreError::from)?;
        let endpoint = record.claims().endpoints.first().map(ToString::to_string);
        devices.push(json!({
            "name": name.as_str(),
            "endpoint": endpoint,
            "trust_score": known.standing.score,
            "zone": known.standing.zone.as_str(),
        }));
        let zone = in_zone_colour(known.standing.zone, known.standing.zone);
        rows.push(vec![
            name.to_string(),
            endpoint.unwrap_or_default(),
            zone,
            format!("{:.2}", known.standing.score),
        ]);
    }
    let data = json!({ "capability": args.capability, "total": names.len(), "devices": devices });
    let outcome = Outcome::new("tibet.overlay.find", data);
    if names.is_empty() {
        return Ok(outcome.line(format_args!("no device offers {}", args.capability)).exit(Exit::No));
    }
    let left_out = names.len().saturating_sub(rows.len());
    let outcome = outcome.table(&["NAME", "ENDPOINT", "ZONE", "TRUST"], rows);
    Ok(if left_out > 0 {
        outcome.line(format_args!("… and {left_out} more; --limit {} shows all", names.len()))
    } else {
        outcome
    })
}

/// What a node knows.
fn remote_outcome(report: &FindReport) -> Outcome {
    let outcome = Outcome::new("tibet.overlay.find", json!(report));
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
