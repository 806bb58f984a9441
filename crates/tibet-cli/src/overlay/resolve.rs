//! `tibet-overlay resolve`

use clap::Args;
use jis::{Capability, Endpoint, Signed};
use serde_json::json;

use super::Context;
use crate::error::CliError;
use crate::identities::short;
use crate::output::{Exit, Outcome, bold, in_zone_colour, mark, score};

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// Whom to look for
    name: String,
}

pub(super) fn run(context: &Context, args: &ResolveArgs) -> Result<Outcome, CliError> {
    let route = context.existing_overlay()?.resolve(&args.name)?;
    let record = route.record.as_ref().map(Signed::claims);
    let fingerprint = record.map(|record| record.fingerprint);
    let address = fingerprint.map(|fingerprint| context.overlay_address(&fingerprint));
    let endpoints: Vec<String> = route.endpoints.iter().map(Endpoint::to_string).collect();
    let capabilities: Vec<&str> =
        record.map(|record| record.capabilities.iter().map(Capability::as_str).collect()).unwrap_or_default();
    let data = json!({
        "name": route.did.as_str(),
        "resolved": route.resolved,
        "endpoint": route.endpoint,
        "endpoints": endpoints,
        "behind_nat": record.map(|record| record.behind_nat),
        "capabilities": capabilities,
        "fingerprint": fingerprint.map(|fingerprint| fingerprint.to_string()),
        "overlay_address": address,
        "public_key": record.map(|record| record.key.to_multibase()),
        "generation": record.map(|record| record.version.generation),
        "seq": record.map(|record| record.version.seq),
        "expires_at": record.map(|record| record.expires_at().to_string()),
        "stale": route.stale,
        "trust_score": route.trust_score,
        "zone": route.standing.zone.as_str(),
        "source": "registry",
        "reason": route.reason,
        "record": route.record.as_ref().map(|record| jis::hex::encode(&record.encode())),
    });
    let outcome = Outcome::new("tibet.overlay.resolve", data);
    let (Some(record), Some(fingerprint)) = (record, fingerprint) else {
        let reason = route.reason.unwrap_or_default();
        return Ok(outcome.line(mark(false, reason)).exit(Exit::No));
    };
    let zone = in_zone_colour(route.standing.zone, route.standing.zone);
    let stale = if route.stale { " (expired: last known, not current)" } else { "" };
    let nat = if record.behind_nat { " (behind NAT)" } else { "" };
    let or_none = |list: String| if list.is_empty() { "none".to_owned() } else { list };
    Ok(outcome.line(bold(&route.did)).pairs(&[
        ("endpoint", format!("{}{nat}", or_none(endpoints.join(", ")))),
        ("capabilities", or_none(capabilities.join(", "))),
        ("fingerprint", short(&fingerprint)),
        ("overlay address", address.unwrap_or_default()),
        (
            "record",
            format!(
                "{}.{}, until {}{stale}",
                record.version.generation,
                record.version.seq,
                record.expires_at()
            ),
        ),
        ("trust", format!("{} {zone}", score(route.trust_score))),
    ]))
}
