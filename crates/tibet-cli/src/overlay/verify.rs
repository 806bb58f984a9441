//! `tibet-overlay verify`

use clap::Args;
use serde_json::json;

use tibet_overlay::VerifyReport;

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, in_zone_colour, mark, plain, score, zone_word};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Who shall prove itself
    name: String,
}

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let asked = name.clone();
    if let Some(outcome) =
        context.remotely(As::Anybody, |way| async move { Ok(remote_outcome(&way.verify(&asked).await?)) })?
    {
        return Ok(outcome);
    }
    let proof = context.overlay_with(&name)?.verify(name.as_str())?;
    let registered_at = proof.registered_at.map(|time| time.to_string());
    let data = json!({
        "name": proof.did.as_str(),
        "verified": proof.verified,
        "trust_score": proof.trust_score,
        "zone": proof.standing.zone.as_str(),
        "fingerprint": proof.fingerprint.map(|fingerprint| fingerprint.to_string()),
        "bound_since": registered_at,
        "asked": proof.asked,
        "path": "this machine",
        "reason": proof.reason,
        "proof": proof.proof.as_ref().map(|proof| jis::hex::encode(&proof.encode())),
    });
    let (verdict, exit) = match (proof.verified, proof.asked) {
        (true, _) => ("is who it says it is", Exit::Yes),
        (false, true) => ("did not prove who it is", Exit::No),
        (false, false) => ("could not be asked", Exit::Unavailable),
    };
    let mut outcome = Outcome::new("tibet.overlay.verify", data)
        .line(mark(proof.verified, format_args!("{} {verdict}", proof.did)));
    if let Some(reason) = &proof.reason {
        outcome = outcome.line(format_args!("  {}", plain(reason)));
    }
    let zone = in_zone_colour(proof.standing.zone, proof.standing.zone);
    outcome = outcome.pairs(&[
        ("trust", format!("{} {zone} ({})", score(proof.trust_score), proof.standing.source.as_str())),
        ("fingerprint", proof.fingerprint.map_or("unknown".to_owned(), |fingerprint| short(&fingerprint))),
        ("bound since", registered_at.unwrap_or_else(|| "never".to_owned())),
    ]);
    Ok(outcome.exit(exit))
}

/// What came of it through a node.
fn remote_outcome(report: &VerifyReport) -> Outcome {
    let (verdict, exit) = match (report.verified, report.asked) {
        (true, _) => ("is who it says it is", Exit::Yes),
        (false, true) => ("did not prove who it is", Exit::No),
        (false, false) => ("could not be asked", Exit::Unavailable),
    };
    let mut outcome = Outcome::new("tibet.overlay.verify", json!(report))
        .line(mark(report.verified, format_args!("{} {verdict}", report.name)));
    if let Some(reason) = &report.reason {
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
        pairs.push(("trust", format!("{} {}, says the node", score(trust), zone_word(zone))));
    }
    let fingerprint = report.fingerprint.as_deref().and_then(|fingerprint| fingerprint.parse().ok());
    pairs.push(("fingerprint", fingerprint.map_or("unknown".to_owned(), |fingerprint| short(&fingerprint))));
    pairs.push(("bound since", report.bound_since.clone().unwrap_or_else(|| "not known".to_owned())));
    outcome.pairs(&pairs).exit(exit)
}
