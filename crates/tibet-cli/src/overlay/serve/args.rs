//! What `tibet-overlay serve` is told, and by whom: flags and environment first, then the table `[serve]` of the configuration file.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jis::PublicKey;
use serde::Deserialize;
use tibet_overlay::server::{QUERY_RATE, Rate, RelayConfig, RelaySettings};
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

    /// Pass nothing on between devices that do not get through to each other
    #[arg(long, conflicts_with_all = ["relay_rate", "relay_day"])]
    no_relay: bool,

    /// Bytes a second that the relay passes on for each identity [default: 125000]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(RELAY_RATE))]
    relay_rate: Option<u64>,

    /// Bytes a day that the relay passes on for each identity [default: 10737418240]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(RELAY_DAY))]
    relay_day: Option<u64>,

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

/// From a packet a second to all that a relay passes on.
const RELAY_RATE: RangeInclusive<u64> = 1500..=125_000_000;
/// From a megabyte, about a web page, to a pebibyte.
const RELAY_DAY: RangeInclusive<u64> = 1_000_000..=1 << 50;

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
    /// `false` as `--no-relay`.
    relay: Option<bool>,
    /// As `--relay-rate`.
    relay_rate: Option<u64>,
    /// As `--relay-day`.
    relay_day: Option<u64>,
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

    /// How the node relays, in a network; `None` if it does not.
    pub(super) fn relay(
        &self,
        file: &ServeFile,
        network: &str,
        state: &StateDir,
    ) -> Result<Option<RelaySettings>, CliError> {
        if self.no_relay || file.relay == Some(false) {
            return Ok(None);
        }
        let limits = RelayConfig::default();
        let rate = within("relay_rate", file.relay_rate, RELAY_RATE)?;
        let day = within("relay_day", file.relay_day, RELAY_DAY)?;
        let rate = self.relay_rate.or(rate).unwrap_or(limits.bytes_per_second);
        let bytes_per_day = self.relay_day.or(day).unwrap_or(limits.bytes_per_day);
        Ok(Some(RelaySettings {
            network: network.to_owned(),
            // A second's worth at once.
            limits: RelayConfig { bytes_per_second: rate, burst: rate, bytes_per_day, ..limits },
            usage_file: Some(state.relay_usage_file()),
        }))
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

/// A number of the configuration file, if it is one that makes sense.
fn within(key: &str, number: Option<u64>, range: RangeInclusive<u64>) -> Result<Option<u64>, CliError> {
    match number {
        Some(number) if !range.contains(&number) => {
            let (least, most) = range.into_inner();
            let message =
                format!("{key} in the configuration file: {number} is not within {least} and {most}");
            Err(CliError::new(Exit::Configuration, message))
        }
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn relay(flags: &str, file: &str) -> Result<Option<RelaySettings>, CliError> {
        let cli = Cli::try_parse_from(format!("serve {flags}").split_whitespace()).expect("flags");
        let file: ServeFile = toml::from_str(file).expect("a table");
        cli.serve.relay(&file, "home", &StateDir::new("/var/lib/tibet"))
    }

    #[test]
    fn a_node_relays_unless_flag_or_file_have_it_otherwise() {
        let settings = relay("", "").ok().flatten().expect("it does");
        assert_eq!((settings.network.as_str(), settings.limits), ("home", RelayConfig::default()));
        assert_eq!(settings.usage_file, Some("/var/lib/tibet/node/relay.json".into()));
        assert!(relay("--no-relay", "relay = true\nrelay_rate = 2000").is_ok_and(|relay| relay.is_none()));
        assert!(relay("", "relay = false").is_ok_and(|relay| relay.is_none()));
        let limits = |flags, file| {
            let limits = relay(flags, file).ok().flatten().expect("it does").limits;
            (limits.bytes_per_second, limits.burst, limits.bytes_per_day)
        };
        let file = "relay_rate = 2000\nrelay_day = 3000000";
        assert_eq!(limits("", file), (2000, 2000, 3_000_000));
        assert_eq!(limits("--relay-rate 4000 --relay-day 5000000", file), (4000, 4000, 5_000_000));
    }

    /// SECURITY R51: a quota that is none, or lets nothing through, is a mistake.
    #[test]
    fn a_quota_that_makes_no_sense_is_refused() {
        for flags in [
            "--relay-rate 0",
            "--relay-rate 1499",
            "--relay-rate 125000001",
            "--relay-rate -1",
            "--relay-day 0",
            "--relay-day 999999",
            "--relay-day 18446744073709551615",
            "--no-relay --relay-rate 2000",
        ] {
            let parsed = Cli::try_parse_from(format!("serve {flags}").split_whitespace());
            assert!(parsed.is_err(), "{flags}");
        }
        for file in ["relay_rate = 0", "relay_rate = 125000001", "relay_day = 999999"] {
            assert!(relay("", file).is_err(), "{file}");
        }
    }
}
