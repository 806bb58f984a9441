//! Where settings come from: defaults, then the configuration file, then `TIBET_*` in the environment, then flags.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tibet_overlay::{NodeAddress, StateDir, StoreLocation};

use crate::error::CliError;
use crate::input;
use crate::output::Exit;
use crate::overlay::serve::ServeFile;

/// The settings both commands share, as flags and environment give them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BaseArgs {
    /// Where identities and the registry are kept [default: $XDG_STATE_HOME/tibet or ~/.local/state/tibet]
    #[arg(long, global = true, value_name = "DIR", env = "TIBET_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// File whose first line is the passphrase of the key files
    #[arg(long, global = true, value_name = "FILE", env = "TIBET_PASSPHRASE_FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// Configuration file [default: $XDG_CONFIG_HOME/tibet/overlay.toml or ~/.config/tibet/overlay.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "TIBET_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Print JSON instead of text: one object, or one on each line where things happen one by one
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What only `tibet-overlay` shares among its subcommands.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RegistryArgs {
    /// State directory whose registry is used [default: the one of --state-dir]
    #[arg(long, global = true, value_name = "DIR", env = "TIBET_REGISTRY")]
    pub(crate) registry: Option<PathBuf>,

    /// Where that registry is: sqlite:PATH or postgres://USER@HOST/DATABASE [default: the state directory]
    #[arg(long, global = true, value_name = "STORE", env = "TIBET_STORE", hide_env_values = true)]
    pub(crate) store: Option<StoreLocation>,

    /// The identity to act as, where the state directory holds several
    #[arg(long, global = true, value_name = "NAME", env = "TIBET_IDENTITY")]
    pub(crate) identity: Option<String>,

    /// Overlay nodes to use, KEY@HOST:PORT or HOST:PORT, the preferred first [default: the daemon that runs here, else the registry]
    #[arg(long, global = true, value_name = "ADDR", env = "TIBET_NODE", value_delimiter = ',')]
    pub(crate) node: Vec<NodeAddress>,

    /// Which of these were written on the command line.
    #[arg(skip)]
    pub(crate) typed: Typed,
}

/// What stands on the command line itself, rather than in the environment or a file: what somebody wants of this one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Typed {
    pub(crate) node: bool,
    pub(crate) store: bool,
    pub(crate) registry: bool,
}

/// The configuration file. Unknown keys are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    /// As `--state-dir`.
    state_dir: Option<PathBuf>,
    /// As `--registry`.
    registry: Option<PathBuf>,
    /// As `--identity`.
    identity: Option<String>,
    /// As `--node`.
    #[serde(default)]
    node: Vec<String>,
    /// As `--passphrase-file`.
    passphrase_file: Option<PathBuf>,
    /// What `tibet-overlay serve` is told.
    serve: ServeFile,
    /// Name of the network that overlay addresses are derived for; "tibet" by default.
    network: Option<String>,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) state: StateDir,
    pub(crate) registry: StateDir,
    /// Where the registry of that directory is.
    pub(crate) store: StoreLocation,
    /// Whether this call is to work on that registry, whatever nodes and daemons there are.
    pub(crate) registry_wanted: bool,
    pub(crate) identity: Option<String>,
    /// The overlay nodes to use; empty for none in particular.
    pub(crate) nodes: Vec<NodeAddress>,
    pub(crate) passphrase_file: Option<PathBuf>,
    pub(crate) network: String,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) serve: ServeFile,
    /// Whether the state directory was chosen for this call, by flag or environment.
    pub(crate) state_dir_given: bool,
}

impl Settings {
    pub(crate) fn resolve(args: &BaseArgs, registry: &RegistryArgs) -> Result<Self, CliError> {
        let (file, config_file) = read_config(args.config.as_deref())?;
        let chosen = args.state_dir.clone().or(file.state_dir);
        let state = match chosen.or_else(|| base_directory("XDG_STATE_HOME", ".local/state")) {
            Some(directory) => StateDir::new(directory),
            None => {
                return Err(CliError::new(Exit::Configuration, "neither HOME nor XDG_STATE_HOME is set")
                    .hint("--state-dir DIR"));
            }
        };
        let registry_dir =
            registry.registry.clone().or(file.registry).map_or_else(|| state.clone(), StateDir::new);
        let configured = file.node.iter().map(|text| {
            let wrong = |error| {
                CliError::new(Exit::Configuration, format!("node in the configuration file: {error}"))
            };
            text.parse().map_err(wrong)
        });
        let configured = configured.collect::<Result<_, _>>()?;
        let store = match &registry.store {
            Some(store) => store.clone(),
            None => file.serve.location()?,
        };
        Ok(Self {
            state,
            registry: registry_dir,
            store,
            registry_wanted: registry.typed.registry || registry.typed.store,
            identity: registry.identity.clone().or(file.identity),
            nodes: if registry.node.is_empty() { configured } else { registry.node.clone() },
            passphrase_file: args.passphrase_file.clone().or(file.passphrase_file),
            network: file.network.unwrap_or_else(|| "tibet".to_owned()),
            config_file,
            serve: file.serve,
            state_dir_given: args.state_dir.is_some(),
        })
    }
}

fn read_config(given: Option<&Path>) -> Result<(ConfigFile, Option<PathBuf>), CliError> {
    let default =
        base_directory("XDG_CONFIG_HOME", ".config").map(|directory| directory.join("overlay.toml"));
    let Some(path) = given.map(Path::to_owned).or_else(|| default.filter(|path| path.exists())) else {
        return Ok((ConfigFile::default(), None));
    };
    let wrong = |reason: String| CliError::new(Exit::Configuration, format!("{}: {reason}", path.display()));
    let text = input::read_text(&path).map_err(|error| wrong(error.to_string()))?;
    let file = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        wrong(format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
    })?;
    Ok((file, Some(path)))
}

/// `tibet` in the directory the variable names, or in the usual place below the home directory (XDG Base Directory Specification: relative
/// paths are ignored).
fn base_directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    Some(base.join("tibet"))
}
