//! What subcommands share: the settings, and how they lead to a registry and an identity.

use jis::{Fingerprint, Name};
use tibet_overlay::server::AnyRegistry;
use tibet_overlay::{IdentityOverlay, LocalDevice, StoreLocation};
use tibet_registry::{Policy, Store};

use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::Exit;
use crate::settings::Settings;

/// Over a registry, wherever it is.
type AnyOverlay = IdentityOverlay<Box<dyn Store + Send>>;

pub(super) struct Context {
    pub(super) settings: Settings,
}

impl Context {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The registry that every command works on which works on one, made if it is not there.
    pub(super) fn registry(&self) -> Result<AnyRegistry, CliError> {
        let Settings { registry, store, .. } = &self.settings;
        Ok(registry.open_for_serving(store, Policy::default())?)
    }

    /// What can be done over the registry, where there is one.
    pub(super) fn overlay_if_any(&self) -> Result<Option<AnyOverlay>, CliError> {
        self.has_registry().then(|| self.registry().map(AnyOverlay::over)).transpose()
    }

    /// The registry, which must be there.
    pub(super) fn existing_registry(&self) -> Result<AnyRegistry, CliError> {
        self.registry_or("tibet-overlay register makes one; --registry DIR or --store STORE uses another")
    }

    /// The registry for what nodes would be asked, if there were any.
    pub(super) fn registry_instead_of_nodes(&self) -> Result<AnyRegistry, CliError> {
        self.registry_or(
            "--node ADDR asks an overlay node, or tibet-overlay up --node ADDR in another terminal; tibet-overlay register makes a registry here, --registry DIR uses another",
        )
    }

    fn registry_or(&self, hint: &str) -> Result<AnyRegistry, CliError> {
        if self.has_registry() {
            return self.registry();
        }
        let message = format!("there is no registry in {}", self.registry_place());
        Err(CliError::new(Exit::No, message).hint(hint))
    }

    /// Whether there is one. Of a database only opening it shows that.
    pub(super) fn has_registry(&self) -> bool {
        match &self.settings.store {
            StoreLocation::Own => self.settings.registry.has_registry(),
            StoreLocation::Sqlite(path) => std::fs::metadata(path).is_ok_and(|file| file.len() > 0),
            StoreLocation::Postgres(_) => true,
        }
    }

    /// Where it is, or would be.
    pub(super) fn registry_place(&self) -> String {
        match &self.settings.store {
            StoreLocation::Own => self.settings.registry.root().display().to_string(),
            elsewhere => elsewhere.to_string(),
        }
    }

    /// Its file, or its place where that is a database.
    pub(super) fn registry_file(&self) -> String {
        match &self.settings.store {
            StoreLocation::Own => self.settings.registry.registry_file().display().to_string(),
            elsewhere => elsewhere.to_string(),
        }
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
