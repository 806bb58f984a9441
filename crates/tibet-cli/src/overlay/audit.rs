//! `tibet-overlay audit …`

mod export;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use jis::{Name, PublicKey};
use serde_json::{Value, json};
use tibet_core::{Finding, Head, LogCheck, LogReport, Query, TokenLines, verify_log};
use tibet_overlay::{AuditFormat, system};

use super::Context;
use crate::error::CliError;
use crate::input;
use crate::output::{Exit, Outcome, mark, plain};

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List tokens, the newest last
    List {
        /// Only this action, for example register, verify, rotate
        #[arg(long)]
        action: Option<String>,
        /// Only tokens since this time in UTC, for example 2026-11-21T08:30:00 or 2026-11-21
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Most tokens
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Write the whole log for other programs; Python's tibet_core.FileStore loads jsonl
    Export {
        /// The form
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// Where to [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Verify the registry with its log, or an exported log
    Verify {
        /// An exported log, jsonl [default: the registry itself]
        file: Option<PathBuf>,
        /// The key the log must be signed with, z6Mk…, or a file that holds it [default: for the log of a node of this state directory the
        /// one of that node, else the registry's, where there is one]
        #[arg(long, value_name = "KEY|FILE")]
        key: Option<String>,
        /// A head noted earlier, COUNT:TOKEN-ID:HASH: notices what was cut off since
        #[arg(long, value_name = "HEAD")]
        head: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One token per line
    Jsonl,
    /// One JSON array
    Json,
}

impl From<Format> for AuditFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jsonl => Self::JsonLines,
            Format::Json => Self::Json,
        }
    }
}

pub(super) fn run(context: &Context, command: AuditCommand) -> Result<Outcome, CliError> {
    match command {
        AuditCommand::List { action, since, limit } => {
            list(context, Query { action, since, limit: limit.max(1), ..Query::default() })
        }
        AuditCommand::Export { format, output } => export::run(context, format.into(), output.as_deref()),
        AuditCommand::Verify { file, key, head } => {
            let head = head.map(|text| parse_head(&text)).transpose()?;
            match file {
                Some(file) => verify_file(context, &file, key.as_deref(), head.as_ref()),
                None => verify_registry(context, key.as_deref(), head.as_ref()),
            }
        }
    }
}

fn list(context: &Context, query: Query) -> Result<Outcome, CliError> {
    if query.since.as_deref().is_some_and(|since| !is_time(since)) {
        let message = "--since: expected a time such as 2026-11-21T08:30:00, or a date";
        return Err(CliError::new(Exit::Usage, message));
    }
    let tokens = context.existing_registry()?.tokens(&query)?;
    let parsed = |line: String| serde_json::from_str::<Value>(&line).unwrap_or(Value::Null);
    let data =
        json!({ "tokens": tokens.iter().map(|token| parsed(token.to_json_line())).collect::<Vec<_>>() });
    let rows = tokens.iter().map(|token| {
        vec![
            plain(&token.timestamp),
            plain(&token.action),
            plain(&token.erachter),
            token.content_hash.chars().take(16).collect(),
        ]
    });
    let outcome = Outcome::new("tibet.overlay.audit.list", data);
    Ok(if tokens.is_empty() {
        outcome.line("no such tokens")
    } else {
        outcome.table(&["TIME", "ACTION", "WHAT", "HASH"], rows.collect())
    })
}

/// A key, or the file of one such as a node's `log.pub`.
fn parse_key(key: Option<&str>) -> Result<Option<PublicKey>, CliError> {
    let Some(key) = key else { return Ok(None) };
    let text = if Path::new(key).is_file() {
        input::read_text(Path::new(key))
            .map_err(|error| CliError::new(Exit::Unavailable, format!("--key: {key}: {error}")))?
    } else {
        key.to_owned()
    };
    let parsed = text.trim().parse();
    parsed.map(Some).map_err(|error| CliError::new(Exit::Usage, format!("--key: {error}")))
}

/// The key of this machine that signs what the author of the first token logs: a node's own, or the registry's. The log only chooses among keys
/// of ours, so nobody else can have signed what is then found intact.
fn own_key(context: &Context, path: &Path) -> Result<Option<PublicKey>, CliError> {
    if let Some(name) = first_actor(path)
        && let Some(key) = context.settings.state.node_log_public_key(&name)?
    {
        return Ok(Some(key));
    }
    if !context.has_registry() {
        return Ok(None);
    }
    Ok(Some(*context.registry()?.log_key()))
}

fn verify_registry(context: &Context, key: Option<&str>, head: Option<&Head>) -> Result<Outcome, CliError> {
    let expected = parse_key(key)?;
    let mut registry = context.existing_registry()?;
    registry.flush(system::now())?;
    let audit = registry.audit(head)?;
    let problems: Vec<Value> = audit
        .problems
        .iter()
        .map(|problem| json!({ "name": problem.name.as_str(), "problem": problem.what }))
        .collect();
    let key = registry.log_key().to_multibase();
    let mut data = report_json(&audit.log, Some(&key));
    data["identities"] = json!(audit.identities);
    data["identity_problems"] = json!(problems);
    data["index_problem"] = json!(audit.indexes);
    // Whoever exchanges the whole registry brings a log key along; only a key known from elsewhere shows that.
    let other_key = expected.is_some_and(|expected| expected != *registry.log_key());
    let intact = audit.is_clean() && !other_key;
    data["intact"] = json!(intact);
    let mut outcome = report_text(Outcome::new("tibet.overlay.audit.verify", data), &audit.log, intact);
    if other_key {
        outcome = outcome.line("  the log is signed with another key than the one given");
    }
    if let Some(problem) = &audit.indexes {
        outcome = outcome.line(format_args!("  the registry's file: {}", plain(problem)));
    }
    for problem in &audit.problems {
        outcome = outcome.line(format_args!("  {}: {}", problem.name, problem.what));
    }
    let outcome = outcome
        .pairs(&[("identities", format!("{} compared with the log", audit.identities)), ("signed by", key)]);
    Ok(outcome.exit(if intact { Exit::Yes } else { Exit::No }))
}

fn verify_file(
    context: &Context,
    path: &Path,
    key: Option<&str>,
    head: Option<&Head>,
) -> Result<Outcome, CliError> {
    let signer = match parse_key(key)? {
        Some(key) => Some(key),
        None => own_key(context, path)?,
    };
    let tokens = TokenLines::open(path).map_err(|error| CliError::new(Exit::Unavailable, error))?;
    let check = LogCheck {
        signer: signer.as_ref(),
        expected_head: head,
        require_content_links: true,
        ..LogCheck::default()
    };
    let report = verify_log(tokens, &check);
    let key = signer.map(|key| key.to_multibase());
    let data = report_json(&report, key.as_deref());
    let outcome = report_text(Outcome::new("tibet.overlay.audit.verify", data), &report, report.ok());
    // Without a key anybody could have written the log: that is no yes.
    let (signed_by, good) = match key {
        Some(key) => (key, Exit::Yes),
        None => ("not checked: give --key, the key the log must be signed with".to_owned(), Exit::Usage),
    };
    Ok(outcome.pairs(&[("signed by", signed_by)]).exit(if report.ok() { good } else { Exit::No }))
}

fn first_actor(path: &Path) -> Option<Name> {
    // What a pipe gives can be read once only.
    let mut tokens = if path.is_file() { TokenLines::open(path).ok()? } else { return None };
    let (_, first) = tokens.next()?.ok()?;
    first.actor.parse().ok()
}

fn report_json(report: &LogReport, key: Option<&str>) -> Value {
    let finding = |finding: &Finding| json!({ "index": finding.index, "token_id": finding.token_id, "problem": finding.problem.to_string() });
    json!({
        "intact": report.ok(),
        "signatures_checked": key.is_some(),
        "tokens": report.tokens,
        "head": report.head.as_ref().map(head_text),
        "key": key,
        "total_findings": report.total_findings,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn report_text(outcome: Outcome, report: &LogReport, good: bool) -> Outcome {
    let verdict = if good { "intact" } else { "ALTERED" };
    let mut outcome = outcome.line(mark(good, format_args!("{} tokens, {verdict}", report.tokens)));
    for finding in &report.findings {
        let text = format!("  token {} {}: {}", finding.index, finding.token_id, finding.problem);
        outcome = outcome.line(plain(&text));
    }
    let more = report.total_findings.saturating_sub(report.findings.len() as u64);
    if more > 0 {
        outcome = outcome.line(format_args!("  … and {more} more"));
    }
    match &report.head {
        Some(head) => outcome.pairs(&[("head", head_text(head))]),
        None => outcome,
    }
}

/// Whether the text begins as tokens' times do, with which it is compared letter by letter.
fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00.000000";
    let fits = |(at, byte): (usize, &u8)| if byte.is_ascii_digit() { b'0' } else { *byte } == form[at];
    let text = text.strip_suffix('Z').unwrap_or(text).as_bytes();
    (10..=form.len()).contains(&text.len()) && text.iter().enumerate().all(fits)
}

fn head_text(head: &Head) -> String {
    format!("{}:{}:{}", head.count, head.token_id, head.content_hash)
}

fn parse_head(text: &str) -> Result<Head, CliError> {
    let wrong =
        || CliError::new(Exit::Usage, "--head: expected COUNT:TOKEN-ID:HASH, as audit verify prints it");
    let mut parts = text.splitn(3, ':');
    let mut part = || parts.next().ok_or_else(wrong);
    let (count, token_id, content_hash) = (part()?, part()?, part()?);
    Ok(Head {
        count: count.parse().map_err(|_| wrong())?,
        token_id: token_id.to_owned(),
        content_hash: content_hash.to_owned(),
    })
}
