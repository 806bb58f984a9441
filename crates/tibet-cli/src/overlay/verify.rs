//! `tibet-overlay verify`

use clap::Args;
use jis::Name;
use serde_json::json;
use tibet_overlay::{IdentityOverlay, VerifyReport, system};

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, mark, plain, score, zone_word};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Who shall prove itself
    name: String,
}

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let asked = context.remotely(As::Anybody, |way| {
        let name = name.clone();
        async move { way.verify(&name).await }
    })?;
    match asked {
        Some(report) => Ok(outcome(&report)),
        None => Ok(outcome(&on_this_machine(context, &name)?)),
    }
}

/// The registry here asks, and the device answers if its keys are here; told in the words in which nodes tell it.
fn on_this_machine(context: &Context, name: &Name) -> Result<VerifyReport, CliError> {
    let mut overlay = IdentityOverlay::over(context.registry_instead_of_nodes()?);
    if context.settings.state.identity(name, None).exist() {
        overlay.adopt(context.settings.open_device(name)?);
    }
    let proof = overlay.verify(name.as_str())?;
    let known = overlay.registry().peek(name, system::now())?;
    let route = known.as_ref().map(|known| &known.route);
    let reason = proof.reason.map(|reason| match proof.asked {
        true => reason,
        false => format!("{reason}; --node ADDR asks it through an overlay node"),
    });
    Ok(VerifyReport {
        name: name.to_string(),
        verified: proof.verified,
        asked: proof.asked,
        reason,
        trust_score: Some(proof.standing.score),
        zone: Some(proof.standing.zone.as_str().to_owned()),
        fingerprint: proof.fingerprint.map(|fingerprint| fingerprint.to_string()),
        public_key: route.and_then(|route| route.key().ok()).map(|key| key.to_multibase()),
        generation: route.map(|route| route.version.generation),
        bound_since: proof.registered_at.map(|at| at.to_string()),
        path: "this machine".to_owned(),
        proof: proof.proof.map(|proof| jis::hex::encode(&proof.encode())),
        ..VerifyReport::default()
    })
}

fn outcome(report: &VerifyReport) -> Outcome {
    let (verdict, exit) = match (report.verified, report.asked) {
        (true, _) => ("is who it says it is", Exit::Yes),
        (false, true) => ("did not prove who it is", Exit::No),
        (false, false) => ("could not be asked", Exit::Unavailable),
    };
    let mut outcome = Outcome::new("tibet.overlay.verify", json!(report))
        .line(mark(report.verified, format_args!("{} {verdict}", report.name)));
    // Where nodes were asked in vain, the reason is what the notes say, and they say it a line each.
    if let Some(reason) = report.reason.as_ref().filter(|_| report.notes.is_empty()) {
        outcome = outcome.line(format_args!("  {}", plain(reason)));
    }
    let mut pairs = Vec::new();
    if let Some(round_trip) = report.rtt_ms {
        let device = report.device.as_deref().unwrap_or("?");
        let inner = report.device_rtt_ms.unwrap_or_default();
        pairs.push(("path", plain(&format!("{} to {device}", report.path))));
        pairs.push(("time", format!("{round_trip:.1} ms, of which node to device {inner:.1} ms")));
    }
    if let (Some(trust), Some(zone)) = (report.trust_score, &report.zone) {
        let says = if report.node.is_some() { ", says the node" } else { "" };
        pairs.push(("trust", format!("{} {}{says}", score(trust), zone_word(zone))));
    }
    let fingerprint = report.fingerprint.as_deref().and_then(|fingerprint| fingerprint.parse().ok());
    pairs.push(("fingerprint", fingerprint.map_or("unknown".to_owned(), |fingerprint| short(&fingerprint))));
    pairs.push(("bound since", report.bound_since.clone().unwrap_or_else(|| "not known".to_owned())));
    let outcome = outcome.pairs(&pairs).exit(exit);
    report.notes.iter().fold(outcome, |outcome, note| outcome.line(format_args!("  note: {}", plain(note))))
}
