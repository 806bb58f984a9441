//! `tibet-overlay register`

mod nodes;
pub(super) use nodes::tell;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jis::{Signed, SignedObject};
use serde_json::json;
use tibet_overlay::{DeviceOptions, OverlayError, Presence};
use tibet_registry::Permission;

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
    let device = context.own_device()?;
    let name = device.identity().name.clone();
    let presence = presence(&args, device.presence())?;
    let permission = permission(args.grant.as_deref(), args.token.as_deref())?;
    if !context.settings.nodes.is_empty() {
        return nodes::run(context, device, presence, permission);
    }
    let mut overlay = context.overlay()?;
    overlay.adopt(device);
    let registered = overlay.register_device(&name, presence, permission)?;
    let (standing, presence) = (registered.standing, overlay.device(&name)?.presence());
    let endpoints: Vec<String> = presence.endpoints.iter().map(ToString::to_string).collect();
    let capabilities: Vec<&str> = presence.capabilities.iter().map(jis::Capability::as_str).collect();
    let data = json!({
        "name": name.as_str(),
        "changed": registered.changed,
        "fingerprint": registered.fingerprint.to_string(),
        "overlay_address": context.overlay_address(&registered.fingerprint),
        "generation": registered.version.generation,
        "seq": registered.version.seq,
        "expires_at": registered.expires_at.to_string(),
        "endpoints": endpoints,
        "capabilities": capabilities,
        "behind_nat": presence.behind_nat,
        "trust_score": standing.score,
        "zone": standing.zone.as_str(),
        "registry": context.settings.registry.registry_file().display().to_string(),
    });
    let done = if registered.changed { "registered" } else { "already registered, nothing changed:" };
    let or_none = |list: String| if list.is_empty() { "none".to_owned() } else { list };
    let zone = in_zone_colour(standing.zone, standing.zone);
    Ok(Outcome::new("tibet.overlay.register", data).line(bold(format_args!("{done} {name}"))).pairs(&[
        ("fingerprint", short(&registered.fingerprint)),
        ("endpoints", or_none(endpoints.join(", "))),
        ("capabilities", or_none(capabilities.join(", "))),
        (
            "record",
            format!(
                "{}.{}, holds until {}",
                registered.version.generation, registered.version.seq, registered.expires_at
            ),
        ),
        ("trust", format!("{} {zone}", score(standing.score))),
    ]))
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
