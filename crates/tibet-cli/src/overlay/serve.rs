//! `tibet-overlay serve`

mod args;
pub(super) use args::ServeArgs;
pub(crate) use args::ServeFile;
mod hook;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jis::Name;
use serde_json::json;
use tibet_overlay::http::{self, HttpConfig, HttpError, HttpServer, OperatorToken};
use tibet_overlay::server::{AnyRegistry, OverlayNode, OverlayNodeConfig, ServeError};
use tibet_overlay::{StateDir, StoreLocation};
use tibet_registry::{FirstCome, Policy, StoreError};

use super::Context;
use super::service::{Signalled, Signals, log_to_standard_error, notify};
use crate::error::CliError;
use crate::output::{Exit, Outcome, bold, plain, shown};
use crate::process::runtime;

/// Reads the table `[serve]` again.
type Reload<'a> = &'a dyn Fn() -> Result<ServeFile, CliError>;

pub(super) fn run(
    context: &Context,
    args: &ServeArgs,
    as_json: bool,
    reload: Reload<'_>,
) -> Result<Outcome, CliError> {
    log_to_standard_error();
    let (state, file, store) = (&context.settings.registry, &context.settings.serve, &context.settings.store);
    let keys = state.node_keys()?;
    let policy = args.policy(file, state)?;
    let registry = state.open_for_serving(store, policy.clone())?;
    let mut config = OverlayNodeConfig {
        bind: args.bind.or(file.bind).unwrap_or_else(|| OverlayNodeConfig::default().bind),
        keepalive_every: Duration::from_secs(args.keepalive),
        gone_after: Duration::from_secs(args.gone_after),
        query_rate: args.query_rate(file),
        relay: args.relay(file, &context.settings.network, state)?,
        ..OverlayNodeConfig::default()
    };
    if let Some(workers) = args.workers {
        config.workers = workers.into();
    }
    let registry: Option<AnyRegistry> = runtime(2)?.block_on(async {
        let mut signals = Signals::catch()?;
        let (bind, relays) = (config.bind, config.relay.is_some());
        let mut node = OverlayNode::start(registry, keys, config)
            .await
            .map_err(|error| start_error(error, bind))?;
        let servers = http_servers(args, file, state, &node).await?;
        let hook = args.approval_hook.clone().or_else(|| file.approval_hook.clone());
        let hook = hook.map(|program| tokio::spawn(hook::run(node.handle(), program)));
        let http = servers.first().and_then(HttpServer::local_addr);
        let operator = state.operator_socket();
        Announcement { node: &node, http, operator: &operator, store, policy: &policy, relays }.print(as_json);
        let ended = loop {
            tokio::select! {
                failed = node.failed() => break Err(stopped_by_itself(failed)),
                signal = signals.next() => match signal {
                    Signalled::Stop => break Ok(()),
                    Signalled::Reload => apply(&node, reload().and_then(|file| args.policy(&file, state))).await,
                },
            }
        };
        notify(&[sd_notify::NotifyState::Stopping]);
        if let Some(hook) = hook {
            hook.abort();
        }
        for server in servers {
            server.stop().await;
        }
        let stopped = node.stop().await.map_err(|error| CliError::new(Exit::Unavailable, error.to_string()));
        ended.and(stopped)
    })?;
    // Outside of the runtime: a database's client waits when it is dropped.
    drop(registry);
    Ok(Outcome::text_only(String::new()))
}

/// The public one, if it is wanted, and the operator's own on a socket in the state directory.
async fn http_servers(
    args: &ServeArgs,
    file: &ServeFile,
    state: &StateDir,
    node: &OverlayNode,
) -> Result<Vec<HttpServer>, CliError> {
    let token = args.operator_token.as_deref().or(file.operator_token.as_deref());
    let config = || -> Result<HttpConfig, CliError> {
        Ok(HttpConfig {
            allow_remote: args.http_remote,
            host_names: args.http_host.clone(),
            operator_token: token.map(read_token).transpose()?,
            overlay: Some(node.local_addr()),
            ..HttpConfig::default()
        })
    };
    let mut servers = Vec::new();
    let address = args.http.or(file.http).map_or(Some(http::DEFAULT_BIND), |http| http.0);
    if let Some(address) = address {
        let config = config()?;
        let listener = http::bind_tcp(address, &config).await.map_err(http_error)?;
        servers.push(http::serve(listener, node.handle(), config).map_err(http_error)?);
    }
    let listener = http::bind_unix(&state.operator_socket()).map_err(http_error)?;
    servers.push(http::serve(listener, node.handle(), config()?).map_err(http_error)?);
    Ok(servers)
}

/// Whoever has the token is the operator: its file is a secret like a key's (SECURITY R25).
fn read_token(path: &Path) -> Result<OperatorToken, CliError> {
    let text = tibet_overlay::secret_file::read(path)?;
    OperatorToken::parse(&text)
        .map_err(|error| CliError::new(Exit::Configuration, format!("{}: {error}", path.display())))
}

fn http_error(error: HttpError) -> CliError {
    let taken =
        matches!(&error, HttpError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
    match error {
        HttpError::Remote(_) => CliError::new(Exit::Usage, error.to_string()).hint("--http-remote allows it"),
        _ if taken => {
            CliError::new(Exit::Temporary, error.to_string()).hint("--http with another port, or --http none")
        }
        _ => CliError::new(Exit::Unavailable, error.to_string()),
    }
}

/// Puts a policy that was read again into force; one that cannot be read changes nothing.
async fn apply(node: &OverlayNode, policy: Result<Policy, CliError>) {
    notify(&[sd_notify::NotifyState::Reloading]);
    match policy {
        Ok(policy) => {
            let handle = node.handle();
            let set = handle.registry().call(move |registry, _| {
                registry.set_policy(policy);
                ((), Vec::new())
            });
            match set.await {
                Ok(()) => tracing::info!("the policy was read again"),
                Err(error) => tracing::warn!(%error, "the policy was not changed"),
            }
        }
        // The policy in force stays.
        Err(error) => drop(error.print(false)),
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

fn stopped_by_itself(failed: Result<(), tibet_iot::NodeError>) -> CliError {
    let reason = failed.err().map_or_else(|| "nobody said why".to_owned(), |error| error.to_string());
    CliError::new(Exit::Unavailable, format!("the node stopped: {reason}"))
}

/// What whoever started it should know, and a word for systemd.
struct Announcement<'a> {
    node: &'a OverlayNode,
    http: Option<SocketAddr>,
    operator: &'a Path,
    store: &'a StoreLocation,
    policy: &'a Policy,
    relays: bool,
}

impl Announcement<'_> {
    fn print(&self, as_json: bool) {
        let Self { node, http, operator, store, policy, relays } = self;
        let (address, key) = (node.local_addr(), node.handle().key());
        let (name, identities) = (Name::of_key(&key), node.handle().directory().len());
        let data = json!({
            "event": "serving", "name": name.as_str(), "address": address.to_string(), "key": key.to_multibase(),
            "identities": identities, "http": http.map(|http| http.to_string()),
            "operator_socket": operator.display().to_string(), "store": store.to_string(),
            "policy": policy_word(policy), "approval": policy.approval, "relay": relays,
        });
        let approval = if policy.approval { ", and what it refuses waits for you: pending list" } else { "" };
        let outcome = Outcome::new("tibet.overlay.serve", data)
            .line(bold(format_args!("serving {identities} identities on {address}")))
            .pairs(&[
                ("node", name.to_string()),
                ("UDP", address.to_string()),
                ("HTTP", http.map_or_else(|| "none".to_owned(), |http| format!("http://{http}/"))),
                ("operator", format!("http on the Unix socket {}", shown(operator))),
                ("store", plain(&store.to_string())),
                ("policy", format!("{}{approval}", policy_word(policy))),
                ("relay", if *relays { "yes" } else { "no" }.to_owned()),
                ("devices", format!("tibet-overlay up --node {key}@HOST:{}", address.port())),
            ]);
        // Nobody may be reading; it serves all the same.
        let _ = outcome.print(as_json);
        notify(&[sd_notify::NotifyState::Ready]);
    }
}

/// As `--policy` has it.
fn policy_word(policy: &Policy) -> &'static str {
    match (policy.first_come, policy.issuers.is_empty()) {
        (FirstCome::Closed, true) => "grant",
        (FirstCome::Closed, false) => "token",
        _ => "open",
    }
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
