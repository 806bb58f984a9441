//! `tibet-overlay status`

mod devices;
mod mesh;
mod remote;

use clap::Args;
use jis::Capability;
use serde_json::json;
use tibet_overlay::IdentityOverlay;
use tibet_registry::Zone;

use super::Context;
use crate::error::CliError;
use crate::output::{Exit, Outcome, bold, in_zone_colour, plain};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Most devices to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// The daemon's part in the mesh: its peers and their paths, its relays, what it forwards and exposes
    #[arg(long)]
    pub(super) peers: bool,
}

pub(super) fn run(context: &Context, args: &StatusArgs) -> Result<Outcome, CliError> {
    if let Some(outcome) = remote::run(context, args.peers)? {
        return Ok(outcome);
    }
    if args.peers {
        return Err(CliError::new(Exit::No, "no daemon runs here: only one that does has peers")
            .hint("tibet-overlay up --node ADDR"));
    }
    let overlay = IdentityOverlay::over(context.registry_instead_of_nodes()?);
    let devices = overlay.connected_nodes()?;
    let summary = overlay.status_with(&devices)?;
    let origin = overlay.registry().origin().as_str();
    let capabilities: Vec<&str> = summary.capabilities.iter().map(Capability::as_str).collect();
    let data = json!({
        "registry": origin,
        "store": context.settings.store.to_string(),
        "total_devices": summary.total_devices,
        "behind_nat_percent": summary.behind_nat_percent,
        "average_trust": summary.average_trust,
        "zones": { "groen": summary.groen, "geel": summary.geel, "rood": summary.rood },
        "revoked": summary.revoked,
        "capabilities": capabilities,
        "tokens": summary.tokens,
        "devices": devices.iter().take(args.limit).map(devices::json).collect::<Vec<_>>(),
    });
    let zone = |zone: Zone, count: u64| format!("{count} {}", in_zone_colour(zone, zone));
    let zones =
        [zone(Zone::Groen, summary.groen), zone(Zone::Geel, summary.geel), zone(Zone::Rood, summary.rood)];
    let rows: Vec<_> = devices.iter().take(args.limit).map(devices::row).collect();
    let left_out = devices.len().saturating_sub(rows.len());
    let mut outcome =
        Outcome::new("tibet.overlay.status", data).line(bold(format_args!("registry {origin}"))).pairs(&[
            ("store", plain(&context.settings.store.to_string())),
            (
                "devices",
                format!(
                    "{} ({} % behind NAT, {} revoked)",
                    summary.total_devices, summary.behind_nat_percent, summary.revoked
                ),
            ),
            ("zones", zones.join("  ")),
            ("average trust", format!("{:.4}", summary.average_trust)),
            ("capabilities", capabilities.join(", ")),
            ("audit log", format!("{} tokens", summary.tokens)),
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
