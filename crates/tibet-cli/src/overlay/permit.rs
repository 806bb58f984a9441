//! `tibet-overlay enrol` and `tibet-overlay grant`: permissions to claim names.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jis::{EnrolmentToken, Name, NameGrant, NamePattern, PublicKey, Signed, hex};
use serde_json::json;
use tibet_overlay::system;

use super::Context;
use crate::error::CliError;
use crate::output::{Exit, Outcome};

#[derive(Debug, Args)]
#[command(after_help = ENROL_EXAMPLES)]
pub(super) struct EnrolArgs {
    /// The names it is for: a name, NAME:* for those one level below, NAME:** for all below
    pattern: NamePattern,
    /// The only key that may use it, z6Mk… [default: whoever shows it first]
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,
    /// How long it can be used, in hours, at most 24
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=24))]
    hours: u64,
    /// Write it to a file that only you can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const ENROL_EXAMPLES: &str = "\
It is good for one registration. Who has it can use it, unless --key says whose it is.

Examples:
  tibet-overlay enrol jis:home:sensor-17 --out sensor-17.token
  tibet-overlay up --node hub.example:7150 --token sensor-17.token";

#[derive(Debug, Args)]
#[command(after_help = GRANT_EXAMPLES)]
pub(super) struct GrantArgs {
    /// The names granted, all below the identity's own
    pattern: NamePattern,
    /// The only key that may use it, z6Mk… [default: any key]
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,
    /// The registry it is for: its name, as `tibet-overlay status` shows it [default: the registry here]
    #[arg(long, value_name = "NAME")]
    origin: Option<Name>,
    /// How long it can be used, in days, at most 365
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: u64,
    /// Write it to a file that only you can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const GRANT_EXAMPLES: &str = "\
Example, as the owner of jis:home:
  tibet-overlay grant 'jis:home:*' --origin jis:ed25519:z6Mk… --out below-home.grant";

/// A token by the registry's issuer.
pub(super) fn enrol(context: &Context, args: &EnrolArgs) -> Result<Outcome, CliError> {
    let state = &context.settings.registry;
    let registry = context.registry()?;
    let issuer = state.issuer_key()?;
    let now = system::now();
    let token = EnrolmentToken {
        id: random()?,
        issuer: issuer.public_key(),
        pattern: args.pattern.clone(),
        subject: args.key,
        origin: registry.origin().clone(),
        issued_at: now,
        expires_at: now.saturating_add(Duration::from_secs(args.hours * 3600)),
    };
    let claims = json!({
        "pattern": token.pattern.to_string(), "origin": token.origin.as_str(),
        "expires_at": token.expires_at.to_string(),
    });
    let token = Signed::seal(token, &issuer).map_err(unsignable)?;
    hand_out("tibet.overlay.enrol", &token.encode(), claims, args.out.as_ref())
}

/// A grant by the identity that acts.
pub(super) fn grant(context: &Context, args: &GrantArgs) -> Result<Outcome, CliError> {
    let device = context.own_device()?;
    let identity = device.node_identity()?;
    let origin = match &args.origin {
        Some(origin) => origin.clone(),
        None if context.has_registry() => context.registry()?.origin().clone(),
        None => {
            let message = format!("for which registry? there is none in {}", context.registry_place());
            return Err(CliError::new(Exit::Usage, message)
                .hint("--origin NAME, as tibet-overlay status shows it where the registry is"));
        }
    };
    let now = system::now();
    let grant = NameGrant {
        id: random()?,
        parent: identity.name.clone(),
        parent_generation: identity.generation,
        parent_key: identity.key.public_key(),
        pattern: args.pattern.clone(),
        subject: args.key,
        origin,
        overrides: false,
        issued_at: now,
        expires_at: now.saturating_add(Duration::from_secs(args.days * 24 * 3600)),
    };
    let claims = json!({
        "parent": grant.parent.as_str(), "pattern": grant.pattern.to_string(), "origin": grant.origin.as_str(),
        "expires_at": grant.expires_at.to_string(),
    });
    let grant = Signed::seal(grant, &identity.key)
        .map_err(|error| unsignable(error).hint(format!("the names have to lie below {}", identity.name)))?;
    hand_out("tibet.overlay.grant", &grant.encode(), claims, args.out.as_ref())
}

fn random() -> Result<[u8; 16], CliError> {
    system::random().map_err(|error| CliError::new(Exit::Unavailable, error.to_string()))
}

fn unsignable(error: jis::DecodeError) -> CliError {
    CliError::new(Exit::Usage, format!("this cannot be permitted: {error}"))
}

fn hand_out(
    schema: &'static str,
    permission: &[u8],
    mut claims: serde_json::Value,
    out: Option<&PathBuf>,
) -> Result<Outcome, CliError> {
    let text = hex::encode(permission);
    let Some(path) = out else {
        claims["permission"] = text.clone().into();
        return Ok(Outcome::new(schema, claims).line(text));
    };
    tibet_overlay::secret_file::create(path, &format!("{text}\n")).map_err(|error| {
        CliError::new(Exit::Permission, error.to_string()).hint("choose a file that is not there yet")
    })?;
    claims["file"] = path.display().to_string().into();
    Ok(Outcome::new(schema, claims).line(format!("written to {}", path.display())))
}
