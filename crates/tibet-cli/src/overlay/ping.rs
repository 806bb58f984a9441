//! `tibet-overlay ping`

use std::time::Duration;

use clap::Args;
use jis::Capability;
use serde_json::{Value, json};
use tibet_overlay::PingReport;

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::{Exit, Outcome, mark, plain, zone_word};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PingArgs {
    /// Whom to ping
    name: String,

    /// What the device shall decide on
    #[arg(long, default_value = "ping")]
    intent: Capability,

    /// Why, in words
    #[arg(long, value_name = "TEXT", default_value = "")]
    purpose: String,

    /// How many pings, a second apart
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
}

const EXAMPLES: &str = "\
The device is tried at the addresses of its record, then where its node sees it, then through the node: it answers there even behind two NATs.
It answers as it thinks of whoever asks: GROEN, GEEL (a human decides), or not at all.

Exit codes: 0 it answered; 1 it did not, or refused; 69 it could not be asked.

Examples:
  tibet-overlay ping jis:home:sensor
  tibet-overlay ping jis:home:sensor --node node.example -c 5";

/// Between two pings.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(context: &Context, args: &PingArgs, as_json: bool) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let pinged = context.remotely(As::Device, |way| async move {
        let mut answered = false;
        for number in 1..=args.count {
            let report = way.ping(&name, &args.intent, &args.purpose).await?;
            answered |= report.answered && report.decision.as_deref() != Some("reject");
            let outcome = outcome(&report, number, args.count > 1);
            if number == args.count {
                return Ok(outcome.exit(if answered { Exit::Yes } else { Exit::No }));
            }
            // Each as it comes; that nobody reads ends it.
            let _ = outcome.print(as_json);
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(Outcome::text_only(String::new()))
    })?;
    pinged.ok_or_else(|| {
        CliError::new(
            Exit::Usage,
            "there is no way to the overlay: no node was given, and no daemon runs here",
        )
        .hint("--node ADDR, or tibet-overlay up --node ADDR in another terminal")
    })
}

fn outcome(report: &PingReport, number: u32, numbered: bool) -> Outcome {
    let mut data = json!(report);
    if let (Value::Object(data), true) = (&mut data, numbered) {
        data.insert("number".to_owned(), number.into());
    }
    let outcome = Outcome::new("tibet.overlay.ping", data);
    let millis = |time: Option<f64>| time.map_or_else(String::new, |time| format!("{time:.1} ms"));
    if !report.answered {
        let mut outcome = outcome.line(mark(false, format_args!("{} did not answer", report.name)));
        for attempt in &report.tried {
            outcome = outcome.line(format_args!("  {}: {}", plain(&attempt.path), plain(&attempt.result)));
        }
        return outcome.line("  a device also keeps silent to whom it does not trust; there: tibet-overlay up --trust YOUR-NAME=0.7");
    }
    let zone = report.zone.as_deref().map_or_else(String::new, zone_word);
    let decision = match report.decision.as_deref() {
        Some("pending") => "not let in there: its trust in you is below 0.7",
        Some("accept") => "let in",
        Some("reject") => "refused",
        _ => "",
    };
    let path = report.path.as_deref().unwrap_or_default();
    let device = match (&report.node, &report.device) {
        (Some(_), Some(device)) => format!(" (asked at {device} in {})", millis(report.device_rtt_ms)),
        _ => String::new(),
    };
    let good = report.decision.as_deref() != Some("reject");
    let outcome = outcome
        .line(mark(good, format_args!("{} {zone} {decision} — {}", report.name, millis(report.rtt_ms))));
    let outcome = outcome.line(format_args!("  {}{}", plain(path), plain(&device)));
    let failed = report.tried.iter().filter(|attempt| attempt.result != "answered");
    failed.fold(outcome, |outcome, attempt| {
        outcome.line(format_args!("  {}: {}", plain(&attempt.path), plain(&attempt.result)))
    })
}
