//! `tibet-overlay verify`

use clap::Args;
use serde_json::json;

use super::Context;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, in_zone_colour, mark, plain, score};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Who shall prove itself
    name: String,
}

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
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
