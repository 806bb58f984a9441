//! A device of the registry, for programs and for people.

use jis::IdentityStatus;
use serde_json::{Value, json};
use tibet_overlay::NodeSummary;

use crate::output::in_zone_colour;

pub(super) fn json(device: &NodeSummary) -> Value {
    json!({
        "name": device.did.as_str(),
        "endpoint": device.endpoint.map(|endpoint| endpoint.to_string()),
        "behind_nat": device.behind_nat,
        "trust_score": device.standing.score,
        "zone": device.standing.zone.as_str(),
        "stale": device.stale,
    })
}

/// A row of the table.
pub(super) fn row(device: &NodeSummary) -> Vec<String> {
    let notes = [
        (device.behind_nat, "nat"),
        (device.stale, "expired"),
        (device.status != IdentityStatus::Active, "revoked"),
        (device.standing.disputed, "disputed"),
    ];
    vec![
        device.did.to_string(),
        device.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default(),
        in_zone_colour(device.standing.zone, device.standing.zone),
        format!("{:.2}", device.standing.score),
        notes.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect::<Vec<_>>().join(" "),
    ]
}
