//! `tibet-overlay vouch`

use std::time::Duration;

use clap::Args;
use jis::{Remark, Vouch};
use serde_json::json;
use tibet_overlay::system;
use tibet_registry::Refusal;

use super::Context;
use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::{Exit, Outcome, in_zone_colour, score};

#[derive(Debug, Args)]
pub(super) struct VouchArgs {
    /// For whom
    name: String,
    /// How much of your own trust to lend, 0 to 1
    #[arg(long, default_value_t = 0.7)]
    factor: f64,
    /// For how many days, at most 30
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u64,
    /// Why, for the audit log
    #[arg(long, default_value = "")]
    reason: String,
}

pub(super) fn run(context: &Context, args: &VouchArgs) -> Result<Outcome, CliError> {
    let subject = parse_name(&args.name)?;
    let usage = |text: String| CliError::new(Exit::Usage, text);
    if !(0.0..=1.0).contains(&args.factor) {
        return Err(usage("--factor is a number from 0 to 1".to_owned()));
    }
    let lifetime = Duration::from_secs(args.days.saturating_mul(24 * 3600));
    if args.days == 0 || lifetime > Vouch::MAX_LIFETIME {
        return Err(usage("--days is a number from 1 to 30".to_owned()));
    }
    let reason: Remark = args.reason.parse().map_err(|error| usage(format!("--reason: {error}")))?;
    let device = context.own_device()?;
    if device.identity().name == subject {
        return Err(usage("a device cannot vouch for itself; --identity chooses who vouches".to_owned()));
    }
    let mut registry = context.existing_registry()?;
    let now = system::now();
    let known = registry.peek(&subject, now)?.ok_or_else(|| Refusal::Unknown(subject.clone()))?;
    let factor_permille = (args.factor * 1000.0).round() as u64;
    let vouch = device.vouch(&subject, known.route.fingerprint, factor_permille, lifetime, reason, now)?;
    let standing = registry.vouch(&vouch, now)?;
    let voucher = &device.identity().name;
    let data = json!({
        "voucher": voucher.as_str(),
        "subject": subject.as_str(),
        "factor": args.factor,
        "expires_at": vouch.claims().expires_at.to_string(),
        "trust_score": standing.score,
        "zone": standing.zone.as_str(),
        "source": standing.source.as_str(),
    });
    let zone = in_zone_colour(standing.zone, standing.zone);
    Ok(Outcome::new("tibet.overlay.vouch", data)
        .line(format_args!("{voucher} vouches for {subject} until {}", vouch.claims().expires_at))
        .line(format_args!(
            "  {subject} now stands at {} {zone} ({})",
            score(standing.score),
            standing.source.as_str()
        )))
}
