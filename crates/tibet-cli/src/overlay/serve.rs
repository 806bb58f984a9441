//! `tibet-overlay serve`

mod args;
pub(super) use args::ServeArgs;
pub(crate) use args::ServeFile;
mod hook;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tibet_overlay::http::{self, HttpConfig, HttpError, HttpServer, OperatorToken};
use tibet_overlay::server::{AnyRegistry, OverlayNode, OverlayNodeConfig, ServeError};
use tibet_overlay::{StateDir, StoreLocation};
use tibet_registry::{Policy, StoreError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use crate::error::CliError;
use crate::input;
use crate::output::{Exit, Outcome};

/// Reads the table `[serve]` again.
type Reload<'a> = &'a dyn Fn() -> Result<ServeFile, CliError>;

pub(super) fn run(
    context: &Context,
    args: &ServeArgs,
    as_json: bool,
    reload: Reload<'_>,
) -> Result<Outcome, CliError> {
    log_to_standard_error();
    let (state, file) = (&context.settings.registry, &context.settings.serve);
    let location = args.location(file)?;
    let keys = state.node_keys()?;
    let registry = state.open_for_serving(&location, args.policy(file, state)?)?;
    let config = OverlayNodeConfig {
        bind: args.bind.or(file.bind).unwrap_or_else(|| OverlayNodeConfig::default().bind),
        keepalive_every: Duration::from_secs(args.keepalive),
        gone_after: Duration::from_secs(args.gone_after),
        workers: args.workers.map_or_else(|| OverlayNodeConfig::default().workers, usize::from),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime =
        runtime.map_err(|error| CliError::new(Exit::Unavailable, format!("no runtime: {error}")))?;
    let registry: Option<AnyRegistry> = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let bind = config.bind;
        let mut node = OverlayNode::start(registry, keys, None, config)
            .await
            .map_err(|error| start_error(error, bind))?;
        let servers = http_servers(args, file, state, &node).await?;
        let hook = args.approval_hook.clone().or_else(|| file.approval_hook.clone());
        let hook = hook.map(|program| tokio::spawn(hook::run(node.handle(), program)));
        announce(&node, servers.first().and_then(HttpServer::local_addr), &location, as_json);
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

/// What the operator should know while it runs; journald adds the time.
fn log_to_standard_error() {
    let format = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_target(false);
    // Somebody who set one up before wants that one.
    let _ = format.with_max_level(tracing::Level::INFO).try_init();
}

/// The public one, if it is wanted, and the operator's own on a socket in the state directory.
async fn http_servers(
    args: &ServeArgs,
    file: &ServeFile,
    state: &StateDir,
    node: &OverlayNode,
) -> Result<Vec<HttpServer>, CliError> {
    let config = || -> Result<HttpConfig, CliError> {
        Ok(HttpConfig {
            allow_remote: args.http_remote,
            host_names: args.http_host.clone(),
            operator_token: args.operator_token.as_deref().map(read_token).transpose()?,
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

fn read_token(path: &std::path::Path) -> Result<OperatorToken, CliError> {
    let wrong = |reason: String| CliError::new(Exit::Configuration, format!("{}: {reason}", path.display()));
    let text = input::read_text(path).map_err(|error| wrong(error.to_string()))?;
    OperatorToken::parse(&text).map_err(|error| wrong(error.to_string()))
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

/// A few lines for whoever started it, and a word for systemd.
fn announce(node: &OverlayNode, http: Option<SocketAddr>, location: &StoreLocation, as_json: bool) {
    let (address, key) = (node.local_addr(), node.handle().key());
    let identities = node.handle().directory().len();
    if as_json {
        let line = json!({
            "schema": "tibet.overlay.serve", "version": 1, "event": "serving", "address": address.to_string(),
            "key": key.to_multibase(), "identities": identities, "store": location.to_string(),
            "http": http.map(|http| http.to_string()),
        });
        anstream::println!("{line}");
    } else {
        anstream::println!("serving {identities} identities on {address}");
        anstream::println!("devices: tibet-overlay up --node {key}@HOST:{}", address.port());
        if let Some(http) = http {
            anstream::println!("status:  http://{http}/");
        }
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

/// What somebody wants of it.
enum Signalled {
    Stop,
    Reload,
}

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

    async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.hangup.recv() => Signalled::Reload,
        }
    }
}
