//! `tibet-overlay id …`

mod told;
use told::Audience;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jis::{Identity, IdentityStatus, Remark, RevocationScope, SecretKey};
use serde_json::{Value, json};
use tibet_overlay::{DeviceFiles, LocalDevice, system};

use super::Context;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, bold, shown};

#[derive(Debug, Subcommand)]
pub(super) enum IdCommand {
    /// Make a new identity with new keys
    New {
        /// Its name, for example jis:home:hub
        name: String,
    },
    /// Show an identity
    Show,
    /// Print an identity's public part, for others
    Export {
        /// What to print
        #[arg(long, value_enum, default_value_t = ExportFormat::Did)]
        format: ExportFormat,
    },
    /// Move to the next key; name, fingerprint and overlay address stay. The nodes of --node and of the daemon that runs are told
    Rotate(NextKeyArgs),
    /// Revoke the current key, or the name for ever. The nodes of --node and of the daemon that runs are told, and the daemon ends
    Revoke {
        /// What to end: the key, which the next key can follow, or the name, for ever
        #[arg(long, value_enum, default_value_t = Scope::Key)]
        scope: Scope,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
        /// Do what cannot be undone: needed to end a name
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        next: NextKeyArgs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// The W3C DID document
    Did,
    /// The public key as PEM, for openssl and others
    Pem,
    /// Key events and record as hex, for other registries
    Bundle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scope {
    /// The current key
    Key,
    /// The name, for ever
    Name,
}

#[derive(Debug, Args)]
pub(super) struct NextKeyArgs {
    /// The next key's file, where it was moved offline [default: next-identity.pem beside the identity]
    #[arg(long, value_name = "FILE")]
    next_key: Option<PathBuf>,
}

pub(super) fn run(context: &Context, command: IdCommand) -> Result<Outcome, CliError> {
    match command {
        IdCommand::New { name } => new(context, &name),
        IdCommand::Show => show(context),
        IdCommand::Export { format } => export(context, format),
        IdCommand::Rotate(next) => rotate(context, &next),
        IdCommand::Revoke { scope: Scope::Name, yes: false, .. } => Err(CliError::new(
            Exit::Usage,
            "this ends the name for ever: nobody can have it again, you neither",
        )
        .hint("the same with --yes, or --scope key to end only the current key")),
        IdCommand::Revoke { scope, reason, next, .. } => revoke(context, scope, &reason, &next),
    }
}

fn new(context: &Context, name: &str) -> Result<Outcome, CliError> {
    let name = parse_name(name)?;
    let files = context.settings.state.identity(&name, context.settings.passphrase()?);
    if files.exist() {
        let message = format!("{name} exists already in {}", files.directory().display());
        return Err(CliError::new(Exit::No, message).hint("tibet-overlay id show, or another name"));
    }
    let device = files.create(name, system::now())?;
    let next_key = device.files().map(DeviceFiles::next_key).unwrap_or_default();
    let heading = bold(format_args!("made {}", device.identity().name));
    Ok(describe(context, "tibet.overlay.id.new", &device)
        .line(heading)
        .pairs(&lines(context, &device))
        .line("")
        .line(format_args!("Move {} to a safe place offline, now.", shown(&next_key)))
        .line("It is the key you change to when this one is lost or stolen; whoever has both can take the name.")
        .line("")
        .line("next: tibet-overlay register --capability mqtt --endpoint 203.0.113.1:44321"))
}

fn show(context: &Context) -> Result<Outcome, CliError> {
    let device = context.own_device()?;
    let heading = bold(&device.identity().name);
    Ok(describe(context, "tibet.overlay.id", &device).line(heading).pairs(&lines(context, &device)))
}

fn export(context: &Context, format: ExportFormat) -> Result<Outcome, CliError> {
    let device = context.own_device()?;
    let (identity, record) = (device.identity(), device.record());
    let hex = |bytes: Vec<u8>| jis::hex::encode(&bytes);
    let (data, text) = match format {
        ExportFormat::Did => {
            let document = jis::did::document(identity, record.map(jis::Signed::claims));
            let text = format!("{document:#}");
            (json!({ "did_document": document }), text)
        }
        ExportFormat::Pem => {
            let pem = jis::pem::encode_public(&identity.key);
            (json!({ "pem": pem }), pem.trim_end().to_owned())
        }
        ExportFormat::Bundle => {
            let events: Vec<String> = device.events().iter().map(|event| hex(event.encode())).collect();
            let bundle = json!({ "events": events, "record": record.map(|record| hex(record.encode())) });
            let text = format!("{bundle:#}");
            (bundle, text)
        }
    };
    Ok(Outcome::new("tibet.overlay.id.export", data).line(text))
}

fn rotate(context: &Context, next: &NextKeyArgs) -> Result<Outcome, CliError> {
    let mut device = context.own_device()?;
    let name = device.identity().name.clone();
    let next = read_next_key(next, &device, true)?;
    // What cannot be told is found out before anything is changed.
    let mut overlay = context.overlay_if_any()?;
    let audience = Audience::of(context, &name)?;
    let now = system::now();
    let (rotation, record) = device.rotate(next, now)?;
    let nodes = audience.tell_key(context, &mut device)?;
    let told = match &mut overlay {
        Some(overlay) => overlay.take_rotation(rotation, record)?,
        None => false,
    };
    let next_key = device.files().map(DeviceFiles::next_key).unwrap_or_default();
    let outcome = describe(context, "tibet.overlay.id.rotate", &device)
        .line(bold(format_args!("rotated {name} to generation {}", device.identity().generation)))
        .pairs(&lines(context, &device));
    let next =
        "tibet-overlay register --node ADDR tells a node; tibet-overlay status shows what the daemon does";
    Ok(nodes
        .add_to(outcome, told, next)
        .line("")
        .line(format_args!("Move the new {} to a safe place offline, now.", shown(&next_key))))
}

fn revoke(context: &Context, scope: Scope, reason: &str, next: &NextKeyArgs) -> Result<Outcome, CliError> {
    let reason: Remark =
        reason.parse().map_err(|error| CliError::new(Exit::Usage, format!("--reason: {error}")))?;
    let mut device = context.own_device()?;
    let name = device.identity().name.clone();
    let next = read_next_key(next, &device, scope == Scope::Name)?;
    let mut overlay = context.overlay_if_any()?;
    let audience = Audience::of(context, &name)?;
    let (scope, ended) = match scope {
        Scope::Key => (
            RevocationScope::Key,
            "its current key; tibet-overlay id rotate brings it back under the next key, then tibet-overlay up",
        ),
        Scope::Name => (RevocationScope::Name, "its name, for ever"),
    };
    let now = system::now();
    let revocation = match device.revocation(scope) {
        // Revoked before, perhaps without all hearing of it.
        Some(revocation) => revocation,
        None => device.revoke(scope, next, reason, now)?,
    };
    let nodes = audience.tell_end(context, &revocation)?;
    let told = match &mut overlay {
        Some(overlay) => overlay.take_revocation(revocation)?,
        None => false,
    };
    let outcome =
        describe(context, "tibet.overlay.id.revoke", &device).line(format_args!("revoked {name}: {ended}"));
    let outcome = nodes.add_to(outcome, told, "the same again, with --node ADDR, tells a node");
    Ok(nodes.add_daemon_to(outcome))
}

fn read_next_key(
    args: &NextKeyArgs,
    device: &LocalDevice,
    needed: bool,
) -> Result<Option<SecretKey>, CliError> {
    let Some(files) = device.files() else { return Ok(None) };
    if let Some(path) = &args.next_key {
        return Ok(Some(files.read_key(path)?));
    }
    let ended = device.identity().status == IdentityStatus::NameRevoked;
    if needed && !ended && !files.next_key().exists() {
        let message = format!("the next key is not in {}", files.next_key().display());
        return Err(CliError::new(Exit::Usage, message).hint("--next-key FILE, where you keep it offline"));
    }
    Ok(None)
}

fn describe(context: &Context, schema: &'static str, device: &LocalDevice) -> Outcome {
    let Identity { name, fingerprint, generation, key, status, .. } = device.identity();
    let files = device.files().map(|files| {
        json!({
            "identity_key": files.identity_key().display().to_string(),
            "next_key": files.next_key().display().to_string(),
            "next_key_is_offline": !files.next_key().exists(),
        })
    });
    let data: Value = json!({
        "name": name.as_str(),
        "did": name.to_did(),
        "fingerprint": fingerprint.to_string(),
        "overlay_address": context.overlay_address(fingerprint),
        "public_key": key.to_multibase(),
        "generation": generation,
        "status": status_text(*status),
        "files": files,
    });
    Outcome::new(schema, data)
}

fn lines(context: &Context, device: &LocalDevice) -> Vec<(&'static str, String)> {
    let identity = device.identity();
    let mut lines = vec![
        ("fingerprint", format!("{}  ({})", short(&identity.fingerprint), identity.fingerprint)),
        ("overlay address", context.overlay_address(&identity.fingerprint)),
        ("public key", identity.key.to_multibase()),
        ("generation", identity.generation.to_string()),
        ("status", status_text(identity.status).to_owned()),
    ];
    if let Some(files) = device.files() {
        lines.push(("key file", shown(&files.identity_key())));
        let offline = if files.next_key().exists() { shown(&files.next_key()) } else { "offline".to_owned() };
        lines.push(("next key", offline));
    }
    lines
}

fn status_text(status: IdentityStatus) -> &'static str {
    match status {
        IdentityStatus::Active => "active",
        IdentityStatus::KeyRevoked => "key revoked",
        IdentityStatus::NameRevoked => "name revoked",
    }
}
