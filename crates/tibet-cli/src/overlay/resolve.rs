//! `tibet-overlay resolve`

use clap::Args;
use jis::{Capability, Endpoint, Name};
use serde_json::json;
use tibet_overlay::{ResolveReport, system};
use tibet_registry::{Refusal, StoreError};

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, bold, mark, plain, score, zone_word};

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// Whom to look for
    name: String,
}

pub(super) fn run(context: &Context, args: &ResolveArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let asked = context.remotely(As::Anybody, |way| {
        let name = name.clone();
        async move { way.resolve(&name).await }
    })?;
    match asked {
        Some(report) => Ok(outcome(context, &report)),
        None => Ok(outcome(context, &from_registry(context, &name)?)),
    }
}

/// What the registry here knows, in the words in which nodes tell it.
pub(super) fn from_registry(context: &Context, name: &Name) -> Result<ResolveReport, CliError> {
    let mut registry = context.registry_instead_of_nodes()?;
    let now = system::now();
    let report =
        ResolveReport { name: name.to_string(), source: "registry".to_owned(), ..Default::default() };
    let found = match registry.resolve(name, now) {
        Ok(found) => found,
        Err(refusal @ (Refusal::Unknown(_) | Refusal::Revoked { .. })) => {
            let standing = registry.standing(name, now)?;
            return Ok(ResolveReport {
                reason: Some(refusal.to_string()),
                trust_score: Some(standing.score),
                zone: Some(standing.zone.as_str().to_owned()),
                ..report
            });
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let signed = found.route.record().map_err(StoreError::from)?;
    let record = signed.claims();
    let endpoints: Vec<String> = record.endpoints.iter().map(Endpoint::to_string).collect();
    Ok(ResolveReport {
        resolved: true,
        endpoint: endpoints.first().cloned().unwrap_or_default(),
        endpoints,
        behind_nat: Some(record.behind_nat),
        capabilities: record.capabilities.iter().map(Capability::to_string).collect(),
        fingerprint: Some(record.fingerprint.to_string()),
        public_key: Some(record.key.to_multibase()),
        generation: Some(record.version.generation),
        seq: Some(record.version.seq),
        expires_at: Some(record.expires_at().to_string()),
        stale: !found.is_fresh(now),
        bound_since: Some(found.route.registered_at.to_string()),
        trust_score: Some(found.standing.score),
        zone: Some(found.standing.zone.as_str().to_owned()),
        record: Some(jis::hex::encode(&signed.encode())),
        ..report
    })
}

fn outcome(context: &Context, report: &ResolveReport) -> Outcome {
    let fingerprint = report.fingerprint.as_deref().and_then(|fingerprint| fingerprint.parse().ok());
    let address = fingerprint.map(|fingerprint| context.overlay_address(&fingerprint));
    let outcome =
        Outcome::new("tibet.overlay.resolve", json!(report)).with("overlay_address", json!(address));
    if !report.resolved {
        let reason = report.reason.as_deref().map(plain).unwrap_or_default();
        return outcome.line(mark(false, reason)).exit(Exit::No);
    }
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { plain(&items.join(", ")) };
    let stale = if report.stale { " (expired: last known, not current)" } else { "" };
    let nat = if report.behind_nat == Some(true) { " (behind NAT)" } else { "" };
    let (source, says) = match &report.node {
        Some(node) => (format!("node {}", plain(node)), ", says the node"),
        None => (plain(&report.source).replace('_', " "), ""),
    };
    let mut pairs = vec![
        ("endpoint", format!("{}{nat}", list(&report.endpoints))),
        ("capabilities", list(&report.capabilities)),
        ("fingerprint", fingerprint.map_or_else(|| "unknown".to_owned(), |fingerprint| short(&fingerprint))),
        ("overlay address", address.unwrap_or_default()),
    ];
    if let (Some(generation), Some(seq), Some(until)) = (report.generation, report.seq, &report.expires_at) {
        pairs.push(("record", format!("{generation}.{seq}, until {}{stale}", plain(until))));
    }
    pairs.push(("source", source));
    if let Some(presence) = &report.presence {
        let observed = report.observed.as_deref().map(|at| format!(", the node sees it at {at}"));
        pairs.push(("presence", plain(&format!("{presence}{}", observed.unwrap_or_default()))));
    }
    if let (Some(trust), Some(zone)) = (report.trust_score, &report.zone) {
        pairs.push(("trust", format!("{} {}{says}", score(trust), zone_word(zone))));
    }
    let outcome = outcome.line(bold(plain(&report.name))).pairs(&pairs);
    report.notes.iter().fold(outcome, |outcome, note| outcome.line(format_args!("  note: {}", plain(note))))
}
