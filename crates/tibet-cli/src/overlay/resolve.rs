//! `tibet-overlay resolve`

use clap::Args;
use jis::{Capability, Endpoint, Signed};
use serde_json::json;

use tibet_overlay::ResolveReport;

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, bold, in_zone_colour, mark, plain, score, zone_word};

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// Whom to look for
    name: String,
}

pub(super) fn run(context: &Context, args: &ResolveArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    if let Some(outcome) = context
        .remotely(As::Anybody, |way| async move { Ok(remote_outcome(context, &way.resolve(&name).await?)) })?
    {
        return Ok(outcome);
    }
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

/// What nodes or the daemon know.
fn remote_outcome(context: &Context, report: &ResolveReport) -> Outcome {
    let fingerprint = report.fingerprint.as_deref().and_then(|fingerprint| fingerprint.parse().ok());
    let address = fingerprint.map(|fingerprint| context.overlay_address(&fingerprint));
    let mut data = json!(report);
    data["overlay_address"] = json!(address);
    let outcome = Outcome::new("tibet.overlay.resolve", data);
    if !report.resolved {
        let reason = report.reason.as_deref().map(plain).unwrap_or_default();
        return outcome.line(mark(false, reason)).exit(Exit::No);
    }
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { plain(&items.join(", ")) };
    let stale = if report.stale { " (expired: last known, not current)" } else { "" };
    let nat = if report.behind_nat == Some(true) { " (behind NAT)" } else { "" };
    let source = match &report.node {
        Some(node) => format!("node {}", plain(node)),
        None => report.source.replace('_', " "),
    };
    let mut pairs = vec![
        ("endpoint", format!("{}{nat}", list(&report.endpoints))),
        ("capabilities", list(&report.capabilities)),
        ("fingerprint", fingerprint.map_or_else(|| "unknown".to_owned(), |fingerprint| short(&fingerprint))),
        ("overlay address", address.unwrap_or_default()),
    ];
    if let (Some(generation), Some(seq), Some(until)) = (report.generation, report.seq, &report.expires_at) {
        pairs.push(("record", format!("{generation}.{seq}, until {until}{stale}")));
    }
    pairs.push(("source", source));
    if let Some(presence) = &report.presence {
        let observed = report.observed.as_deref().map(|at| format!(", seen at {at}")).unwrap_or_default();
        pairs.push(("presence", plain(&format!("{presence}{observed}"))));
    }
    if let (Some(trust), Some(zone)) = (report.trust_score, &report.zone) {
        pairs.push(("trust", format!("{} {}, says the node", score(trust), zone_word(zone))));
    }
    let outcome = outcome.line(bold(&report.name)).pairs(&pairs);
    report.notes.iter().fold(outcome, |outcome, note| outcome.line(format_args!("  note: {}", plain(note))))
}
