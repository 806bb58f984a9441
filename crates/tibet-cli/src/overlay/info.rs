//! `tibet-overlay info`

use jis::Name;
use serde_json::json;

use super::Context;
use crate::error::CliError;
use crate::output::{Outcome, bold, plain, shown};

pub(super) fn run(context: &Context) -> Result<Outcome, CliError> {
    let settings = &context.settings;
    let identities = settings.identities()?;
    let names: Vec<&str> = identities.iter().map(Name::as_str).collect();
    let config = settings.config_file.as_ref().map(|path| path.display().to_string());
    let data = json!({
        "program_version": env!("CARGO_PKG_VERSION"),
        "state_dir": settings.state.root().display().to_string(),
        "registry_file": settings.registry.registry_file().display().to_string(),
        "registry_exists": settings.registry.has_registry(),
        "config_file": config,
        "network": settings.network,
        "identities": names,
    });
    let exists = if settings.registry.has_registry() { "" } else { " (not there yet)" };
    Ok(Outcome::new("tibet.overlay.info", data)
        .line(bold(format_args!("tibet-overlay {}", env!("CARGO_PKG_VERSION"))))
        .line("Identity belongs to the device, not to the network.")
        .line("")
        .pairs(&[
            ("state directory", shown(settings.state.root())),
            ("registry", format!("{}{exists}", shown(&settings.registry.registry_file()))),
            ("configuration", settings.config_file.as_deref().map_or("none".to_owned(), shown)),
            ("network", plain(&settings.network)),
            (
                "identities",
                if names.is_empty() {
                    "none; tibet-overlay id new NAME makes one".to_owned()
                } else {
                    names.join(", ")
                },
            ),
        ])
        .line("")
        .line("tibet-overlay demo shows what it does; tibet-overlay help lists the commands."))
}
