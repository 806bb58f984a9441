//! What subcommands share: the settings, and how they lead to a registry and an identity.

use jis::{Fingerprint, Name};
use tibet_overlay::{IdentityOverlay, LocalDevice, OverlayError};
use tibet_registry::SqliteStore;
use zeroize::Zeroizing;

use crate::error::CliError;
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
            overlay.adopt(self.open_device(name)?);
        }
        Ok(overlay)
    }

    pub(super) fn passphrase(&self) -> Result<Option<Zeroizing<String>>, CliError> {
        let Some(path) = &self.settings.passphrase_file else { return Ok(None) };
        let text = tibet_overlay::secret_file::read(path)?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Some(Zeroizing::new(line.to_owned()))),
            _ => Err(CliError::new(
                Exit::Configuration,
                format!("{}: its first line, the passphrase, is empty", path.display()),
            )),
        }
    }

    pub(super) fn identities(&self) -> Result<Vec<Name>, CliError> {
        let read = self.settings.state.identities();
        read.map_err(|error| {
            CliError::new(Exit::Permission, format!("{}: {error}", self.settings.state.root().display()))
        })
    }

    pub(super) fn open_device(&self, name: &Name) -> Result<LocalDevice, CliError> {
        Ok(self.settings.state.identity(name, self.passphrase()?).open()?)
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
        match &self.identities()?[..] {
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
        self.open_device(&self.own_name()?)
    }

    pub(super) fn overlay_address(&self, fingerprint: &Fingerprint) -> String {
        fingerprint.overlay_address(&self.settings.network).to_string()
    }
}

pub(super) fn parse_name(text: &str) -> Result<Name, CliError> {
    Name::from_input(text).map_err(|error| OverlayError::from(error).into())
}

/// A fingerprint as people compare it: the first 16 hex digits in groups of four. Programs get all 64.
pub(super) fn short(fingerprint: &Fingerprint) -> String {
    let hex = fingerprint.to_string();
    (0..16).step_by(4).filter_map(|at| hex.get(at..at + 4)).collect::<Vec<_>>().join(" ")
}
