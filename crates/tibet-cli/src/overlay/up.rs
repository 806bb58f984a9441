//! `tibet-overlay up`

mod mesh;
use mesh::MeshArgs;
mod report;
use report::Report;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jis::{Capability, IdentityStatus, Name, Record};
use tibet_iot::{MAIN_PORT, StartError, StateError};
use tibet_overlay::daemon::{
    ControlServer, DAEMON_TTL, Daemon, DaemonConfig, DaemonEnd, DaemonError, control_socket,
};
use tibet_overlay::{LocalDevice, system};

use super::Context;
use super::register::permission;
use super::service::{Signalled, Signals, log_to_standard_error, notify};
use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::{Exit, Outcome};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UpArgs {
    /// What the device offers, for example mqtt (repeatable) [default: as before]
    #[arg(long, value_name = "NAME")]
    capability: Vec<Capability>,

    /// UDP address for everything [default: [::]:7150, or another port where that one is taken]
    #[arg(long, value_name = "ADDR:PORT")]
    bind: Option<SocketAddr>,

    /// How long a record holds in the caches of others, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DAEMON_TTL.as_secs(), value_parser = clap::value_parser!(u64).range(10..=Record::MAX_TTL.as_secs()))]
    ttl: u64,

    /// How far NAME is trusted, 0 to 1 (repeatable): from 0.7 on its pings are let in, from 0.3 on they are answered as not let in, below that they get silence
    #[arg(long, value_name = "NAME=SCORE")]
    trust: Vec<String>,

    /// File with a name grant, as hex
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    grant: Option<PathBuf>,

    /// File with an enrolment token, as hex
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,

    /// Neither announce this device on the local network nor hear others
    #[arg(long)]
    no_discovery: bool,

    #[command(flatten)]
    mesh: MeshArgs,
}

const EXAMPLES: &str = "\
It registers the device with its nodes, keeps it registered wherever it moves, proves it to whoever asks, and answers pings. Meanwhile verify,
resolve, find, ping and status in other terminals go through it. SIGTERM or Ctrl-C says goodbye; SIGHUP reads the device's files again.

It takes part in the mesh: with --tun any program speaks to other devices at their overlay addresses (tibet-overlay ip NAME) or DNS names; without root,
--forward and --expose join ports, also later, with the commands of that name. status --peers shows by which path each device is reached.

Examples:
  tibet-overlay up --node node.example --capability mqtt
  tibet-overlay up --node node.example --trust jis:home:hub=0.95 --forward 1883=jis:home:hub:1883
  tibet-overlay up --node node.example --trust jis:home:phone=0.95 --expose 1883
  tibet-overlay up --node z6Mk…@203.0.113.5:7150,node.example --trust jis:home:hub=0.95";

pub(super) fn run(context: &Context, args: &UpArgs, as_json: bool) -> Result<Outcome, CliError> {
    log_to_standard_error();
    let config = config(context, args)?;
    let device = context.own_device()?;
    runtime(1)?.block_on(up(context, args, device, config, as_json))
}

fn config(context: &Context, args: &UpArgs) -> Result<DaemonConfig, CliError> {
    if context.settings.nodes.is_empty() {
        return Err(CliError::new(Exit::Usage, "which node shall the device register with?")
            .hint("--node ADDR; tibet-overlay serve runs one"));
    }
    let trust = args.trust.iter().map(|text| trust(text)).collect::<Result<_, _>>()?;
    let defaults = DaemonConfig::default();
    Ok(DaemonConfig {
        nodes: context.settings.nodes.clone(),
        bind: args.bind.unwrap_or(defaults.bind),
        discovery: defaults.discovery.filter(|_| !args.no_discovery),
        capabilities: (!args.capability.is_empty()).then(|| args.capability.iter().cloned().collect()),
        ttl: Duration::from_secs(args.ttl),
        permission: permission(args.grant.as_deref(), args.token.as_deref())?,
        trust,
        mesh: args.mesh.config(&context.settings.network)?,
    })
}

fn trust(text: &str) -> Result<(Name, f64), CliError> {
    let wrong = || {
        CliError::new(Exit::Usage, format!("--trust: {text:?} is no name with a score from 0 to 1"))
            .hint("--trust jis:home:hub=0.95")
    };
    let (name, score) = text.rsplit_once('=').ok_or_else(wrong)?;
    let score: f64 = score.parse().map_err(|_| wrong())?;
    if !(0.0..=1.0).contains(&score) {
        return Err(wrong());
    }
    Ok((parse_name(name)?, score))
}

async fn up(
    context: &Context,
    args: &UpArgs,
    device: LocalDevice,
    config: DaemonConfig,
    as_json: bool,
) -> Result<Outcome, CliError> {
    let name = device.identity().name.clone();
    // Before anybody is told that it is up.
    let mut signals = Signals::catch()?;
    let state = &context.settings.state;
    let taken = |error: &DaemonError| {
        let io = match error {
            DaemonError::Start(StartError::Bind(io)) => io,
            _ => return false,
        };
        args.bind.is_none() && io.kind() == std::io::ErrorKind::AddrInUse
    };
    let bind = config.bind;
    let started = match Daemon::start(device, state, config.clone()).await {
        // A node on the same machine has it, or another device.
        Err(error) if taken(&error) => {
            let config = DaemonConfig { bind: SocketAddr::new(bind.ip(), 0), ..config };
            Daemon::start(context.own_device()?, state, config).await
        }
        other => other,
    };
    let daemon = started.map_err(|error| start_error(error, &name, bind))?;
    let control = ControlServer::open(&daemon, &control_socket(state, &name))?;
    let mut report = Report::new(as_json);
    report.up(&daemon.status().await, control.path());
    notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            nodes = daemon.wait_for_nodes(|nodes| report.has_news(nodes)) => {
                notify(&[sd_notify::NotifyState::Status(&report.tell(&name, &nodes))]);
            }
            end = daemon.failed() => return Err(ended(end)),
            signalled = signals.next() => {
                if signalled == Signalled::Stop {
                    break;
                }
                if let Err(error) = daemon.reload().await {
                    report.problem(&error.to_string());
                }
            }
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    drop(control);
    daemon.stop().await;
    report.down(&name, system::now());
    Ok(Outcome::text_only(String::new()))
}

/// The last word of a device that has ended by itself.
fn ended(end: DaemonEnd) -> CliError {
    match end {
        DaemonEnd::Revoked { status: IdentityStatus::KeyRevoked, .. } => CliError::new(Exit::No, end)
            .hint("tibet-overlay id rotate brings it back under its next key; then up again"),
        DaemonEnd::Revoked { .. } => CliError::new(Exit::No, end),
        other => CliError::new(Exit::Unavailable, other),
    }
}

fn start_error(error: DaemonError, name: &Name, bind: SocketAddr) -> CliError {
    match error {
        DaemonError::Start(StartError::Bind(io)) if io.kind() == std::io::ErrorKind::AddrInUse => {
            CliError::new(Exit::Temporary, format!("{bind} is in use")).hint("--bind with another port")
        }
        DaemonError::Start(StartError::State(StateError::InUse { .. })) => {
            CliError::new(Exit::Temporary, format!("{name} is up already on this machine, or listens"))
                .hint("tibet-overlay status shows it")
        }
        DaemonError::Start(error) => error.into(),
        DaemonError::Device(error) => error.into(),
        DaemonError::Open(error) => error.into(),
        other => CliError::new(Exit::Usage, other),
    }
}

const _: () = assert!(MAIN_PORT == 7150, "the help names the port");
