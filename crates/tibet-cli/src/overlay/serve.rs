//! `tibet-overlay serve`

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jis::PublicKey;
use serde_json::json;
use tibet_overlay::StoreLocation;
use tibet_overlay::server::{OverlayNode, OverlayNodeConfig, ServeError};
use tibet_registry::{FirstCome, NAMES_PER_HOUR, Policy, StoreError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, serve_hook};
use crate::error::CliError;
use crate::output::{Exit, Outcome};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// UDP address for devices
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:7150", env = "TIBET_BIND")]
    bind: SocketAddr,

    /// Where the registry is: sqlite:PATH or postgres://USER@HOST/DATABASE [default: the state directory]
    #[arg(long, value_name = "STORE", env = "TIBET_STORE", hide_env_values = true)]
    store: Option<StoreLocation>,

    /// Who gets a new name
    #[arg(long, value_enum, default_value_t = NamePolicy::Open)]
    policy: NamePolicy,

    /// A key whose enrolment tokens are taken, besides this registry's own (repeatable)
    #[arg(long, value_name = "KEY")]
    issuer: Vec<PublicKey>,

    /// How often devices are to send keepalives, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(5..=120))]
    keepalive: u64,

    /// After how many seconds of silence a device is gone
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(15..=3600))]
    gone_after: u64,

    /// Keep claims that the policy refuses for a human to decide on: tibet-overlay pending
    #[arg(long)]
    approval: bool,

    /// Program that is run by the shell for each such claim, with the claim as JSON on its standard input
    #[arg(long, value_name = "COMMAND", requires = "approval")]
    approval_hook: Option<String>,

    /// New names by first come for each network and hour; 0 for any number
    #[arg(long, value_name = "N", default_value_t = NAMES_PER_HOUR)]
    names_per_hour: u32,

    /// Threads that check signatures [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

/// Who gets a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NamePolicy {
    /// Whoever comes first, where no name above or below exists
    Open,
    /// Whoever has an enrolment token or a grant
    Token,
    /// Whoever has a grant by a name above
    Grant,
}

const EXAMPLES: &str = "\
It answers devices on UDP until SIGTERM or Ctrl-C; what it has acknowledged is on the disk. SIGHUP reads the policy's keys again.

Examples:
  tibet-overlay serve
  tibet-overlay serve --bind 0.0.0.0:7150 --policy token
  tibet-overlay serve --store postgres://tibet@db.example/tibet";

pub(super) fn run(context: &Context, args: &ServeArgs, as_json: bool) -> Result<Outcome, CliError> {
    let state = &context.settings.registry;
    let issuers = match args.policy {
        NamePolicy::Grant => Vec::new(),
        NamePolicy::Open | NamePolicy::Token => {
            [&args.issuer[..], &[state.issuer_key()?.public_key()]].concat()
        }
    };
    let first_come = if args.policy == NamePolicy::Open { FirstCome::Open } else { FirstCome::Closed };
    let names_per_hour = if args.names_per_hour == 0 { u32::MAX } else { args.names_per_hour };
    let policy = Policy { first_come, names_per_hour, issuers, approval: args.approval };
    let location = args.store.clone().unwrap_or_default();
    let keys = state.node_keys()?;
    let registry = state.open_for_serving(&location, policy)?;
    let config = OverlayNodeConfig {
        bind: args.bind,
        keepalive_every: Duration::from_secs(args.keepalive),
        gone_after: Duration::from_secs(args.gone_after),
        workers: args.workers.map_or_else(|| OverlayNodeConfig::default().workers, usize::from),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime =
        runtime.map_err(|error| CliError::new(Exit::Unavailable, format!("no runtime: {error}")))?;
    let registry = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let bind = config.bind;
        let mut node = OverlayNode::start(registry, keys, None, config)
            .await
            .map_err(|error| start_error(error, bind))?;
        announce(&node, &location, as_json);
        let hook = args.approval_hook.clone();
        let hook = hook.map(|program| tokio::spawn(serve_hook::run(node.handle(), program)));
        tokio::select! {
            failed = node.failed() => {
                return Err(CliError::new(Exit::Unavailable, format!("the node stopped: {}", reason(failed))));
            }
            () = signals.any() => {}
        }
        notify(&[sd_notify::NotifyState::Stopping]);
        if let Some(hook) = hook {
            hook.abort();
        }
        node.stop().await.map_err(|error| CliError::new(Exit::Unavailable, error.to_string()))
    })?;
    // Outside of the runtime: a database's client waits when it is dropped.
    drop(registry);
    Ok(Outcome::text_only(String::new()))
}

fn reason(failed: Result<(), tibet_iot::NodeError>) -> String {
    failed.err().map_or_else(|| "nobody said why".to_owned(), |error| error.to_string())
}

/// One line for whoever started it, and a word for systemd.
fn announce(node: &OverlayNode, location: &StoreLocation, as_json: bool) {
    let (address, key) = (node.local_addr(), node.handle().key());
    let identities = node.handle().directory().len();
    if as_json {
        let line = json!({
            "schema": "tibet.overlay.serve", "version": 1, "event": "serving", "address": address.to_string(),
            "key": key.to_multibase(), "identities": identities, "store": location.to_string(),
        });
        anstream::println!("{line}");
    } else {
        anstream::println!("serving {identities} identities on {address}");
        anstream::println!("devices: tibet-overlay up --node {key}@HOST:{}", address.port());
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells systemd, if it asked to be told.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    // Nobody to tell is no error.
    let _ = sd_notify::notify(state);
}

fn start_error(error: ServeError, bind: SocketAddr) -> CliError {
    match &error {
        ServeError::Start(tibet_iot::StartError::Bind(io)) if io.kind() == std::io::ErrorKind::AddrInUse => {
            CliError::new(Exit::Temporary, format!("{bind} is in use")).hint("--bind with another port")
        }
        ServeError::Store(StoreError::Damaged(_) | StoreError::Foreign(_)) => {
            CliError::new(Exit::Configuration, error.to_string())
        }
        _ => CliError::new(Exit::Unavailable, error.to_string()),
    }
}

/// What ends it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> Result<Self, CliError> {
        let catch = |kind| {
            signal(kind).map_err(|error| CliError::new(Exit::Unavailable, format!("no signals: {error}")))
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {}
            }
        }
    }
}
