//! `tibet-overlay register`

mod nodes;
pub(super) use nodes::ask;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jis::{Capability, Record, Signed, SignedObject};
use serde_json::json;
use tibet_overlay::server::AnyRegistry;
use tibet_overlay::{DeviceOptions, OverlayError, Presence, system};
use tibet_registry::{Permission, Registered, Registration, Source};

use super::Context;
use crate::error::CliError;
use crate::identities::short;
use crate::input;
use crate::output::{Exit, Outcome, bold, in_zone_colour, score};

#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    /// Where the device can be reached; repeat for several, best first [default: as before]
    #[arg(long, value_name = "ADDR:PORT")]
    endpoint: Vec<String>,
    /// What the device offers; repeat for several [default: as before]
    #[arg(long, value_name = "NAME")]
    capability: Vec<String>,
    /// The device sits behind a NAT
    #[arg(long)]
    behind_nat: bool,
    /// How long the record holds, in seconds, at most 86400
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// File with a name grant, as hex
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    grant: Option<PathBuf>,
    /// File with an enrolment token, as hex
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: RegisterArgs) -> Result<Outcome, CliError> {
    let mut device = context.own_device()?;
    let presence = presence(&args, device.presence())?;
    let permission = permission(args.grant.as_deref(), args.token.as_deref())?;
    let with_nodes = !context.settings.nodes.is_empty() && !context.settings.registry_wanted;
    // Opened before the device signs anything.
    let registry = if with_nodes { None } else { Some(context.registry()?) };
    let now = system::now();
    device.publish_if_due(presence, now)?;
    let registration = device.registration(permission, now)?;
    match registry {
        Some(registry) => here(context, registry, registration),
        None => nodes::run(context, &device, &registration),
    }
}

/// With the registry here.
fn here(
    context: &Context,
    mut registry: AnyRegistry,
    registration: Registration,
) -> Result<Outcome, CliError> {
    let record = registration.record.claims().clone();
    let Registered { standing, changed, .. } =
        registry.register(registration, Source::Local, system::now())?;
    let done = if changed { "registered" } else { "already registered, nothing changed:" };
    let zone = in_zone_colour(standing.zone, standing.zone);
    Ok(describe(context, &record)
        .with("changed", json!(changed))
        .with("trust_score", json!(standing.score))
        .with("zone", json!(standing.zone.as_str()))
        .with("registry", json!(context.registry_file()))
        .with("nodes", json!([]))
        .line(bold(format_args!("{done} {}", record.name)))
        .pairs(&lines(&record))
        .pairs(&[("trust", format!("{} {zone}", score(standing.score)))])
        .line(
            "  its nodes are told with --node ADDR, and it stays reachable with tibet-overlay up --node ADDR",
        ))
}

/// What the device's record says, for programs.
fn describe(context: &Context, record: &Record) -> Outcome {
    let endpoints: Vec<String> = record.endpoints.iter().map(ToString::to_string).collect();
    let capabilities: Vec<&str> = record.capabilities.iter().map(Capability::as_str).collect();
    let data = json!({
        "name": record.name.as_str(),
        "fingerprint": record.fingerprint.to_string(),
        "overlay_address": context.overlay_address(&record.fingerprint),
        "generation": record.version.generation,
        "seq": record.version.seq,
        "expires_at": record.expires_at().to_string(),
        "endpoints": endpoints,
        "capabilities": capabilities,
        "behind_nat": record.behind_nat,
    });
    Outcome::new("tibet.overlay.register", data)
}

/// The same for people.
fn lines(record: &Record) -> Vec<(&'static str, String)> {
    let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let version = record.version;
    vec![
        ("fingerprint", short(&record.fingerprint)),
        ("endpoints", list(record.endpoints.iter().map(ToString::to_string).collect())),
        ("capabilities", list(record.capabilities.iter().map(ToString::to_string).collect())),
        ("record", format!("{}.{}, holds until {}", version.generation, version.seq, record.expires_at())),
    ]
}

/// What is not said stays as the device's last record has it.
fn presence(args: &RegisterArgs, before: Presence) -> Result<Presence, CliError> {
    let mut options = DeviceOptions::new();
    options = args.endpoint.iter().fold(options, DeviceOptions::endpoint);
    options = args.capability.iter().fold(options, DeviceOptions::capability);
    if let Some(seconds) = args.ttl {
        options = options.ttl(Duration::from_secs(seconds));
    }
    let given = options.parse().map_err(OverlayError::from)?;
    Ok(Presence {
        endpoints: if args.endpoint.is_empty() { before.endpoints } else { given.endpoints },
        capabilities: if args.capability.is_empty() { before.capabilities } else { given.capabilities },
        behind_nat: args.behind_nat || (args.endpoint.is_empty() && before.behind_nat),
        ttl: if args.ttl.is_some() { given.ttl } else { before.ttl },
        ..given
    })
}

pub(super) fn permission(grant: Option<&Path>, token: Option<&Path>) -> Result<Option<Permission>, CliError> {
    if let Some(path) = grant {
        return Ok(Some(Permission::Grant(read_signed(path)?)));
    }
    token.map(|path| read_signed(path).map(Permission::Token)).transpose()
}

/// A signed object as hex in a file.
fn read_signed<T: SignedObject + Clone>(path: &Path) -> Result<Signed<T>, CliError> {
    let wrong = |reason: String| CliError::new(Exit::Usage, format!("{}: {reason}", path.display()));
    let text = input::read_text(path).map_err(|error| wrong(error.to_string()))?;
    let bytes = jis::hex::decode(text.trim()).ok_or_else(|| wrong("not hexadecimal".to_owned()))?;
    Signed::decode(&bytes).map_err(|error| wrong(error.to_string()))
}
