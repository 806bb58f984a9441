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
    let nodes: Vec<String> = settings.nodes.iter().map(ToString::to_string).collect();
    let running = identities.iter().filter(|name| context.daemon_of(name).is_some());
    let daemons: Vec<&str> = running.map(Name::as_str).collect();
    let config = settings.config_file.as_ref().map(|path| path.display().to_string());
    let data = json!({
        "program_version": env!("CARGO_PKG_VERSION"),
        "state_dir": settings.state.root().display().to_string(),
        "registry_file": context.registry_file(),
        "registry_exists": context.has_registry(),
        "config_file": config,
        "network": settings.network,
        "identities": names,
        "nodes": nodes,
        "daemons": daemons,
    });
    let exists = if context.has_registry() { "" } else { " (not there yet)" };
    Ok(Outcome::new("tibet.overlay.info", data)
        .line(bold(format_args!("tibet-overlay {}", env!("CARGO_PKG_VERSION"))))
        .line("Identity belongs to the device, not to the network.")
        .line("")
        .pairs(&[
            ("state directory", shown(settings.state.root())),
            ("registry", format!("{}{exists}", plain(&context.registry_file()))),
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
            (
                "nodes",
                if nodes.is_empty() {
                    "none; --node ADDR, or node = [\"ADDR\"] in the configuration".to_owned()
                } else {
                    plain(&nodes.join(", "))
                },
            ),
            (
                "daemon",
                if daemons.is_empty() {
                    "none runs; tibet-overlay up --node ADDR starts one".to_owned()
                } else {
                    format!("runs as {}; tibet-overlay status shows how it is doing", daemons.join(", "))
                },
            ),
        ])
        .line("")
        .line("tibet-overlay demo shows what it does; tibet-overlay help lists the commands."))
}
