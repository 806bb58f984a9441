//! What `tibet-overlay serve` is told, and by whom: flags and environment first, then the table `[serve]` of the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jis::PublicKey;
use serde::Deserialize;
use tibet_overlay::server::{QUERY_RATE, Rate};
use tibet_overlay::{StateDir, StoreLocation};
use tibet_registry::{FirstCome, NAMES_PER_HOUR, Policy};

use crate::error::CliError;
use crate::output::Exit;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::overlay) struct ServeArgs {
    /// UDP address for devices [default: [::]:7150]
    #[arg(long, value_name = "ADDR:PORT", env = "TIBET_BIND")]
    pub(super) bind: Option<SocketAddr>,

    /// Address for HTTP, or none [default: 127.0.0.1:7180]
    #[arg(long, value_name = "ADDR:PORT", env = "TIBET_HTTP")]
    pub(super) http: Option<HttpAddress>,

    /// Let HTTP be reached from other machines: put a proxy with TLS in front
    #[arg(long)]
    pub(super) http_remote: bool,

    /// A name that HTTP goes by besides localhost and the address (repeatable)
    #[arg(long, value_name = "HOST")]
    pub(super) http_host: Vec<String>,

    /// File with the token that lets HTTP change something: 32 characters or more, as openssl rand -hex 32 makes them. Nobody else may read it
    #[arg(long, value_name = "FILE", env = "TIBET_OPERATOR_TOKEN_FILE")]
    pub(super) operator_token: Option<PathBuf>,

    /// Who gets a new name [default: open]
    #[arg(long, value_enum, env = "TIBET_POLICY")]
    policy: Option<NamePolicy>,

    /// A key whose enrolment tokens are taken, besides this registry's own (repeatable)
    #[arg(long, value_name = "KEY")]
    issuer: Vec<PublicKey>,

    /// Keep claims that the policy refuses for a human to decide on: tibet-overlay pending
    #[arg(long)]
    approval: bool,

    /// Program that is run by the shell for each such claim, with the claim as JSON on its standard input
    #[arg(long, value_name = "COMMAND", env = "TIBET_APPROVAL_HOOK")]
    pub(super) approval_hook: Option<String>,

    /// New names by first come for each network and hour; 0 for any number [default: 16]
    #[arg(long, value_name = "N")]
    names_per_hour: Option<u32>,

    /// Questions a second that are taken from each network, twenty times as many at once; 0 for any number [default: 1000]
    #[arg(long, value_name = "N")]
    questions_per_second: Option<u32>,

    /// How often devices are to send keepalives, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(5..=120))]
    pub(super) keepalive: u64,

    /// After how many seconds of silence a device is gone
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(15..=3600))]
    pub(super) gone_after: u64,

    /// Threads that check signatures [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) workers: Option<u16>,
}

const EXAMPLES: &str = "\
It answers devices on UDP until SIGTERM or Ctrl-C; what it has acknowledged is on the disk. SIGHUP reads the policy from the configuration
file again.

Examples:
  tibet-overlay serve
  tibet-overlay serve --bind 0.0.0.0:7150 --policy token --approval
  tibet-overlay serve --store postgres://tibet@db.example/tibet --http none";

/// The table `[serve]` of the configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServeFile {
    /// As `--bind`.
    pub(super) bind: Option<SocketAddr>,
    /// As `--http`.
    pub(super) http: Option<HttpAddress>,
    /// As `--operator-token`.
    pub(super) operator_token: Option<PathBuf>,
    /// As `--store`, for all commands. A password belongs in the environment rather than here.
    store: Option<String>,
    /// As `--policy`.
    policy: Option<NamePolicy>,
    /// As `--issuer`.
    issuers: Vec<String>,
    /// As `--approval`.
    approval: bool,
    /// As `--approval-hook`.
    pub(super) approval_hook: Option<String>,
    /// As `--names-per-hour`.
    names_per_hour: Option<u32>,
    /// As `--questions-per-second`.
    questions_per_second: Option<u32>,
}

impl ServeFile {
    /// Where the registry is.
    pub(crate) fn location(&self) -> Result<StoreLocation, CliError> {
        let wrong =
            |error| CliError::new(Exit::Configuration, format!("store in the configuration file: {error}"));
        self.store.as_deref().map_or(Ok(StoreLocation::Own), |text| text.parse().map_err(wrong))
    }
}

/// Who gets a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NamePolicy {
    /// Whoever comes first, where no name above or below exists
    Open,
    /// Whoever has an enrolment token or a grant
    Token,
    /// Whoever has a grant by a name above
    Grant,
}

/// An address, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HttpAddress(pub(super) Option<SocketAddr>);

impl std::str::FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| "an address and port, or none".to_owned())
    }
}

impl TryFrom<String> for HttpAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl ServeArgs {
    /// What one network may ask.
    pub(super) fn query_rate(&self, file: &ServeFile) -> Rate {
        match self.questions_per_second.or(file.questions_per_second) {
            None => QUERY_RATE,
            Some(0) => Rate { burst: u32::MAX, per_second: u32::MAX },
            Some(per_second) => Rate { burst: per_second.saturating_mul(20), per_second },
        }
    }

    /// The policy that flags and file lead to. Grants alone need no issuer.
    pub(super) fn policy(&self, file: &ServeFile, state: &StateDir) -> Result<Policy, CliError> {
        let policy = self.policy.or(file.policy).unwrap_or(NamePolicy::Open);
        let mut issuers = self.issuer.clone();
        for text in &file.issuers {
            let wrong = |error| CliError::new(Exit::Configuration, format!("issuers: {text}: {error}"));
            issuers.push(text.parse().map_err(wrong)?);
        }
        issuers.push(state.issuer_key()?.public_key());
        if policy == NamePolicy::Grant {
            issuers.clear();
        }
        let names = self.names_per_hour.or(file.names_per_hour).unwrap_or(NAMES_PER_HOUR);
        Ok(Policy {
            first_come: if policy == NamePolicy::Open { FirstCome::Open } else { FirstCome::Closed },
            names_per_hour: if names == 0 { u32::MAX } else { names },
            issuers,
            approval: self.approval || file.approval,
        })
    }
}
