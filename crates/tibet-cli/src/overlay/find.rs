//! `tibet-overlay find`

use clap::Args;
use serde_json::json;

use super::Context;
use crate::error::CliError;
use crate::output::{Exit, Outcome, in_zone_colour};
use tibet_overlay::system;

#[derive(Debug, Args)]
pub(super) struct FindArgs {
    /// What the device shall offer, for example mqtt
    capability: String,
    /// Most devices to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(super) fn run(context: &Context, args: &FindArgs) -> Result<Outcome, CliError> {
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
