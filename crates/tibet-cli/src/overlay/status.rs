//! `tibet-overlay status`

mod remote;

use clap::Args;
use jis::Capability;
use serde_json::json;

use super::Context;
use crate::error::CliError;
use crate::output::{Outcome, bold, in_zone_colour};
use tibet_registry::Zone;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Most devices to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

pub(super) fn run(context: &Context, args: &StatusArgs) -> Result<Outcome, CliError> {
    if let Some(outcome) = remote::run(context)? {
        return Ok(outcome);
    }
    let overlay = context.existing_overlay()?;
    let status = overlay.status()?;
    let nodes = overlay.connected_nodes()?;
    let capabilities: Vec<&str> = status.capabilities.iter().map(Capability::as_str).collect();
    let endpoint = |node: &tibet_overlay::NodeSummary| node.endpoint.map(|endpoint| endpoint.to_string());
    let devices: Vec<_> = nodes
        .iter()
        .take(args.limit)
        .map(|node| {
            json!({
                "name": node.did.as_str(),
                "endpoint": endpoint(node),
                "behind_nat": node.behind_nat,
                "trust_score": node.standing.score,
                "zone": node.standing.zone.as_str(),
                "stale": node.stale,
            })
        })
        .collect();
    let data = json!({
        "registry": overlay.registry().origin().as_str(),
        "total_devices": status.total_devices,
        "behind_nat_percent": status.behind_nat_percent,
        "average_trust": status.average_trust,
        "zones": { "groen": status.groen, "geel": status.geel, "rood": status.rood },
        "revoked": status.revoked,
        "capabilities": capabilities,
        "tokens": status.tokens,
        "devices": devices,
    });
    let zone = |zone: Zone, count: u64| format!("{count} {}", in_zone_colour(zone, zone));
    let zones =
        [zone(Zone::Groen, status.groen), zone(Zone::Geel, status.geel), zone(Zone::Rood, status.rood)];
    let row = |node: &tibet_overlay::NodeSummary| {
        let notes = [
            (node.behind_nat, "nat"),
            (node.stale, "expired"),
            (node.status != jis::IdentityStatus::Active, "revoked"),
            (node.standing.disputed, "disputed"),
        ];
        vec![
            node.did.to_string(),
            endpoint(node).unwrap_or_default(),
            in_zone_colour(node.standing.zone, node.standing.zone),
            format!("{:.2}", node.standing.score),
            notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect::<Vec<_>>().join(" "),
        ]
    };
    let rows: Vec<_> = nodes.iter().take(args.limit).map(row).collect();
    let left_out = nodes.len().saturating_sub(rows.len());
    let mut outcome = Outcome::new("tibet.overlay.status", data)
        .line(bold(format_args!("registry {}", overlay.registry().origin())))
        .pairs(&[
            (
                "devices",
                format!(
                    "{} ({} % behind NAT, {} revoked)",
                    status.total_devices, status.behind_nat_percent, status.revoked
                ),
            ),
            ("zones", zones.join("  ")),
            ("average trust", format!("{:.4}", status.average_trust)),
            ("capabilities", capabilities.join(", ")),
            ("audit log", format!("{} tokens", status.tokens)),
        ]);
    if !rows.is_empty() {
        outcome = outcome.line("").table(&["NAME", "ENDPOINT", "ZONE", "TRUST", "NOTES"], rows);
    }
    Ok(if left_out > 0 {
        outcome.line(format_args!("… and {left_out} more; --limit N shows more"))
    } else {
        outcome
    })
}
