//! `tibet-overlay trust`

use clap::Args;
use serde_json::json;
use tibet_overlay::system;
use tibet_registry::{Fira, Standing};

use super::Context;
use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::{Outcome, bold, in_zone_colour, score};

#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    /// Whose trust
    name: String,
    /// The score to set, 0 to 1; without it the trust is shown
    score: Option<f64>,
    /// Forget the score that was set: back to what the device has earned
    #[arg(long, conflicts_with = "score")]
    clear: bool,
    /// Why, for the audit log
    #[arg(long, default_value = "")]
    reason: String,
}

pub(super) fn run(context: &Context, args: &TrustArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let mut registry = context.existing_registry()?;
    let now = system::now();
    if args.clear || args.score.is_some() {
        registry.set_trust(&name, args.score, &args.reason, now)?;
    }
    let fira = registry.fira(&name, now)?;
    let standing = registry.standing(&name, now)?;
    let data = json!({
        "name": name.as_str(),
        "trust_score": standing.score,
        "zone": standing.zone.as_str(),
        "source": standing.source.as_str(),
        "disputed": standing.disputed,
        "fira": fira_json(&fira),
    });
    Ok(Outcome::new("tibet.overlay.trust", data).line(bold(&name)).pairs(&lines(&standing, &fira)))
}

fn fira_json(fira: &Fira) -> serde_json::Value {
    let rounded = |value: f64| format!("{value:.4}").parse::<f64>().unwrap_or(value);
    json!({
        "score": rounded(fira.score),
        "frequency": rounded(fira.frequency),
        "integrity": rounded(fira.integrity),
        "recency": rounded(fira.recency),
        "anomaly": rounded(fira.anomaly),
        "interactions": fira.history.interactions,
        "verify_pass": fira.history.verify_pass,
        "verify_fail": fira.history.verify_fail,
        "anomalies": fira.history.anomalies,
    })
}

fn lines(standing: &Standing, fira: &Fira) -> Vec<(&'static str, String)> {
    let history = fira.history;
    let zone = in_zone_colour(standing.zone, standing.zone);
    let disputed = if standing.disputed {
        ", disputed: contradicting signed records or rotations were seen"
    } else {
        ""
    };
    vec![
        ("trust", format!("{} {zone} ({}{disputed})", score(standing.score), standing.source.as_str())),
        ("frequency", format!("{:.4}  {} counted events", fira.frequency, history.interactions)),
        (
            "integrity",
            format!(
                "{:.4}  {} of {} verifications passed",
                fira.integrity,
                history.verify_pass,
                history.verify_pass + history.verify_fail
            ),
        ),
        (
            "recency",
            format!(
                "{:.4}  last success {}",
                fira.recency,
                history.last_success.map_or("never".to_owned(), |time| time.to_string())
            ),
        ),
        ("anomaly", format!("{:.4}  {} anomalies", fira.anomaly, history.anomalies)),
        ("FIR/A", format!("{:.4}", fira.score)),
    ]
}
