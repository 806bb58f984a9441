//! What subcommands share: the settings, and how they lead to a registry and an identity.

use jis::{Fingerprint, Name};
use tibet_overlay::{IdentityOverlay, LocalDevice};
use tibet_registry::SqliteStore;

use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::Exit;
use crate::settings::Settings;

pub(super) struct Context {
    pub(super) settings: Settings,
}

impl Context {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The registry, made if it is not there.
    pub(super) fn overlay(&self) -> Result<IdentityOverlay<SqliteStore>, CliError> {
        Ok(IdentityOverlay::open(self.settings.registry.clone())?)
    }

    /// The registry, which must be there.
    pub(super) fn existing_overlay(&self) -> Result<IdentityOverlay<SqliteStore>, CliError> {
        if self.settings.registry.has_registry() {
            return self.overlay();
        }
        let message = format!("there is no registry in {}", self.settings.registry.root().display());
        Err(CliError::new(Exit::No, message)
            .hint("tibet-overlay register makes one; --registry DIR uses another"))
    }

    /// The registry with the identity of this name in it, where its keys are here: so that it can be asked to prove itself.
    pub(super) fn overlay_with(&self, name: &Name) -> Result<IdentityOverlay<SqliteStore>, CliError> {
        let mut overlay = self.existing_overlay()?;
        if self.settings.state.identity(name, None).exist() {
            overlay.adopt(self.settings.open_device(name)?);
        }
        Ok(overlay)
    }

    /// The name of the identity to act as: the one given, or the only one there is.
    pub(super) fn own_name(&self) -> Result<Name, CliError> {
        if let Some(given) = &self.settings.identity {
            let name = parse_name(given)?;
            if self.settings.state.identity(&name, None).exist() {
                return Ok(name);
            }
            let message = format!("there is no identity {name} in {}", self.settings.state.root().display());
            return Err(CliError::new(Exit::No, message).hint(format!("tibet-overlay id new {name}")));
        }
        match &self.settings.identities()?[..] {
            [only] => Ok(only.clone()),
            [] => Err(CliError::new(
                Exit::No,
                format!("there is no identity in {}", self.settings.state.root().display()),
            )
            .hint("tibet-overlay id new jis:home:hub")),
            several => Err(CliError::new(Exit::Usage, "there are several identities here").hint(format!(
                "--identity {}",
                several.iter().map(Name::as_str).collect::<Vec<_>>().join(" or ")
            ))),
        }
    }

    pub(super) fn own_device(&self) -> Result<LocalDevice, CliError> {
        self.settings.open_device(&self.own_name()?)
    }

    pub(super) fn overlay_address(&self, fingerprint: &Fingerprint) -> String {
        fingerprint.overlay_address(&self.settings.network).to_string()
    }
}
