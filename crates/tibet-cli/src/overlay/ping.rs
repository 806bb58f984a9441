//! `tibet-overlay ping`

use std::time::{Duration, Instant};

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

    /// How many pings [default: 1; with --until-direct 30]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: Option<u32>,

    /// Seconds between two pings, 0.01 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,

    /// Go on until the path is direct
    #[arg(long)]
    until_direct: bool,
}

const EXAMPLES: &str = "\
Where a daemon that takes part in the mesh runs here, the device becomes a peer and is pinged through the tunnel: at first over a relay, until there is a
direct path. Elsewhere, and where it has no mesh, it is tried at the addresses of its record, then where its node sees it, then through the node: it
answers there even behind two NATs. It answers as it thinks of whoever asks: GROEN, GEEL (a human decides), or not at all.

Exit codes: 0 it answered, with --until-direct on a direct path; 1 it did not, or refused; 69 it could not be asked.

Examples:
  tibet-overlay ping jis:home:sensor
  tibet-overlay ping jis:home:sensor --until-direct --interval 0.2
  tibet-overlay ping jis:home:sensor --node node.example -c 5";

/// Pings until a path is direct, unless a number is given: with a second between them longer than a direct path takes to be found where there is one.
const UNTIL_DIRECT: u32 = 30;

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if !(0.01..=3600.0).contains(&seconds) {
        return Err("expected 0.01 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub(super) fn run(context: &Context, args: &PingArgs, as_json: bool) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let count = args.count.unwrap_or(if args.until_direct { UNTIL_DIRECT } else { 1 });
    let pinged = context.remotely(As::Device, |way| async move {
        let mut good = false;
        for number in 1..=count {
            let begun = Instant::now();
            let report = way.ping(&name, &args.intent, &args.purpose).await?;
            let direct = is_direct(&report);
            let answered = report.answered && report.decision.as_deref() != Some("reject");
            good |= answered && (direct || !args.until_direct);
            let outcome = outcome(&report, number, count > 1);
            if args.until_direct && good {
                return Ok(outcome);
            }
            if number == count {
                let outcome = match args.until_direct {
                    true => outcome.line(format_args!("no direct path after {count} pings")),
                    false => outcome,
                };
                return Ok(outcome.exit(if good { Exit::Yes } else { Exit::No }));
            }
            // Each as it comes; that nobody reads ends it.
            let _ = outcome.print(as_json);
            tokio::time::sleep(args.interval.saturating_sub(begun.elapsed())).await;
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

/// Whether this ping took a direct path: in the tunnel, where the device takes part in the mesh.
fn is_direct(report: &PingReport) -> bool {
    let path = report.path.as_deref().unwrap_or_default();
    path.starts_with(if report.tunnel.is_some() { "sealed, direct " } else { "direct " })
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
    let answer = format!("{} {zone} {decision} — {}", report.name, millis(report.rtt_ms));
    let way = plain(&format!("{path}{device}"));
    let mut failed = report.tried.iter().filter(|attempt| attempt.result != "answered").peekable();
    if numbered && failed.peek().is_none() {
        // One line for each, so that it can be seen how the path changes.
        return outcome.line(mark(good, format_args!("{answer}, {way}")));
    }
    let outcome = outcome.line(mark(good, answer)).line(format_args!("  {way}"));
    failed.fold(outcome, |outcome, attempt| {
        outcome.line(format_args!("  {}: {}", plain(&attempt.path), plain(&attempt.result)))
    })
}
