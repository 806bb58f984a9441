//! `tibet-iot listen`

mod console;
use console::{Console, Order};
mod report;
use report::Report;
pub(super) use report::{changed_key, proof_word};

use std::path::Path;
use std::time::Duration;

use clap::Args;
use jis::{Capability, Name, UnixTime};
use serde_json::json;
use tibet_core::json::Object;
use tibet_iot::{IntentAnswer, IotNode, MAIN_PORT, NodeState, StartError, TransportConfig};
use tibet_ping::{Glob, MAX_NONCES_PER_SENDER, NodeConfig, ReplayConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::node_args::{DiscoveryArgs, NodeArgs, Setup};
use super::stream::{Closed, Stream, note};
use super::{Context, audit_file, input};
use crate::error::CliError;
use crate::output::{Exit, Outcome, shown};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListenArgs {
    /// Who answers, for example jis:home:hub; made if it is not there [default: the only identity there is]
    #[arg(long, value_name = "NAME", env = "TIBET_IDENTITY")]
    did: Option<String>,

    /// The UDP port; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = MAIN_PORT)]
    port: u16,

    #[command(flatten)]
    node: NodeArgs,

    /// What comes with every accepted answer, a JSON object (those you approve by hand get none)
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,

    /// Something this device offers, for example temperature.read (repeatable)
    #[arg(long, value_name = "NAME")]
    capability: Vec<String>,

    /// What this device says it is, for example sensor
    #[arg(long, value_name = "TYPE")]
    device_type: Option<String>,

    /// A node that packets over the mesh may go through or to (repeatable)
    #[arg(long, value_name = "NAME=HOST:PORT")]
    peer: Vec<String>,

    /// Neither announce this node on the local network nor hear others
    #[arg(long, conflicts_with_all = ["interface", "discovery_port"])]
    no_discovery: bool,

    #[command(flatten)]
    discovery: DiscoveryArgs,

    /// Pings taken from one sender in 35 seconds; more are dropped. The default is about two a second
    #[arg(long, value_name = "N", default_value_t = MAX_NONCES_PER_SENDER as u32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// Stop when N pings have come, a second later: a long answer is sent when the asker has shown where it is
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

const EXAMPLES: &str = "\
Pings of names with a trust from 0.3 to 0.7 wait for you. Type (or pipe in) while it listens:
  pending                 what waits
  approve ping_0123…      let it in
  deny ping_0123…         refuse it

Ctrl-C ends it with a summary.

Examples:
  tibet-iot listen --did jis:home:sensor --trust jis:home:hub=0.95
  tibet-iot listen --did jis:home:sensor --trust jis:home:hub=0.95 --payload '{\"celsius\": 21.5}'
  tibet-iot listen --did jis:home:relay --trust jis:home:hub=0.5 --peer jis:home:sensor=192.168.1.42:7150
  tibet-iot listen --did jis:home:sensor --trust jis:home:hub=0.95 --audit pings.jsonl --json";

/// The arguments, understood.
struct Plan {
    setup: Setup,
    payload: Option<Object>,
    peers: Vec<(Name, std::net::SocketAddr)>,
    config: TransportConfig,
}

pub(super) fn run(context: &Context, args: &ListenArgs) -> Result<Outcome, CliError> {
    let plan = plan(args)?;
    match runtime(1)?.block_on(listen(context, args, plan)) {
        Ok(()) | Err(Closed::Reader) => Ok(Outcome::text_only(String::new())),
        Err(Closed::Failed(error)) => Err(error),
    }
}

fn plan(args: &ListenArgs) -> Result<Plan, CliError> {
    let setup = args.node.read()?;
    let payload = args.payload.as_deref().map(|text| input::payload(Some(text))).transpose()?;
    let capability = |option: &str, text: &String| -> Result<Capability, CliError> {
        let wrong = |error| CliError::new(Exit::Usage, format!("{option}: {error}"));
        text.parse().map_err(|error| wrong(error).hint(format!("{option} temperature.read")))
    };
    let capabilities = args.capability.iter().map(|text| capability("--capability", text));
    let config = NodeConfig {
        capabilities: capabilities.collect::<Result<_, _>>()?,
        device_type: args.device_type.as_ref().map(|text| capability("--device-type", text)).transpose()?,
        replay: ReplayConfig { per_sender: args.rate as usize, ..ReplayConfig::default() },
        ..setup.config()
    };
    let config = TransportConfig {
        bind: setup.bind(args.port),
        discovery: (!args.no_discovery).then(|| args.discovery.config()),
        node: config,
    };
    let peers = args.peer.iter().map(|text| input::peer(text)).collect::<Result<_, _>>()?;
    Ok(Plan { setup, payload, peers, config })
}

/// How long a node stays after the last ping it was to take. Askers show where they are after a third of that.
const LINGER: Duration = Duration::from_secs(1);

/// How long the last lines may take to be read. Whoever reads none does not keep the program from ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// What ends it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> Result<Self, CliError> {
        let catch = |kind| {
            let caught = signal(kind);
            caught.map_err(|error| CliError::new(Exit::Unavailable, format!("no signals: {error}")))
        };
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn listen(context: &Context, args: &ListenArgs, plan: Plan) -> Result<(), Closed> {
    let (stream, mut printer) = Stream::on_a_thread("tibet.iot.listen", context.as_json);
    let own = context.own_for_long(args.did.as_deref())?;
    if let Some(state) = &own.state {
        warn_of_restart(context, state)?;
    }
    let name = own.identity.name.clone();
    let audit = args.node.audit.as_deref().map(|path| audit_file::open(context, &name, path)).transpose()?;
    let (audit, log_key) = audit.unzip();
    let port = plan.config.bind.port();
    let mut node = IotNode::new(own.identity, plan.config, own.state, audit).map_err(CliError::from)?;
    plan.setup.apply(&node)?;
    for (peer, address) in plan.peers {
        node.add_peer(peer, address).map_err(CliError::from)?;
    }
    if let Some(payload) = plan.payload {
        node.on_intent(Glob::Any, move |_| std::future::ready(IntentAnswer::from(payload.clone())));
    }
    // Before anybody is told that it listens.
    let mut signals = Signals::catch()?;
    let mut events = node.events();
    let address = node.start().await.map_err(|error| start_error(error, port))?;
    let log_key_file = context.settings.state.node_log_key_file(&name);
    let audit = args.node.audit.as_deref().zip(log_key.map(|key| key.to_multibase()));
    stream.print(
        "listening",
        json!({
            "name": name.as_str(),
            "address": address.to_string(),
            "audit": audit.as_ref().map(|(path, key)| json!({
                "file": path.display().to_string(),
                "key": key,
                "key_file": log_key_file.display().to_string(),
            })),
        }),
        Some(format!("listening on {address} as {name}")),
    )?;
    if let (Some((path, key)), false) = (&audit, context.as_json) {
        tell_of_audit(context, path, key, &log_key_file);
    }

    let mut console = Console::open();
    let mut report = Report::new(stream, name);
    let enough = |report: &Report| args.count.is_some_and(|count| report.pings() >= count);
    let mut last = None;
    loop {
        if enough(&report) && last.is_none() {
            last = Some(Instant::now() + LINGER);
        }
        tokio::select! {
            () = sleep_until(last.unwrap_or_else(Instant::now)), if last.is_some() => break,
            event = events.next() => match event {
                Some(event) => report.tell(&event)?,
                None => break,
            },
            order = console.next() => obey(&node, &report, order)?,
            () = signals.any() => break,
            printed = printer.end() => return printed,
            failed = node.failed() => {
                failed.map_err(CliError::from)?;
                break;
            }
        }
    }
    let stopped = node.stop().await;
    let patience = Instant::now() + PATIENCE;
    // If there is no room until then, the summary is lost like other lines.
    let _ = timeout_at(patience, report.room()).await;
    report.sum_up(&node.stats().0, events.missed())?;
    drop(report);
    if let Ok(printed) = timeout_at(patience, printer.end()).await {
        printed?;
    }
    Ok(stopped.map_err(CliError::from)?)
}

fn obey(node: &IotNode, report: &Report, order: Order) -> Result<(), Closed> {
    let (approve, wanted) = match order {
        Order::Pending => return report.list(&node.pending()),
        Order::Unknown(line) => {
            report.note(format_args!("{line:?} is not understood: pending, approve ID or deny ID"));
            return Ok(());
        }
        Order::Approve(wanted) => (true, wanted),
        Order::Deny(wanted) => (false, wanted),
    };
    let waiting = node.pending();
    let meant: Vec<_> = waiting.iter().filter(|ping| ping.1 == wanted).collect();
    match &meant[..] {
        [(source, id, ..)] => {
            // What comes of it is told as an event.
            let _ = if approve { node.approve(source, id) } else { node.deny(source, id) };
        }
        [] => report.note(format_args!("nothing waits with the id {wanted:?}; pending lists what does")),
        // Whoever is not signed can take any id. Nobody is let in by mistake.
        _ => report.note(format_args!("several wait with the id {wanted:?}; none was touched")),
    }
    Ok(())
}

/// Nothing is accepted twice, so for a moment nothing is accepted.
fn warn_of_restart(context: &Context, state: &NodeState) -> Result<(), CliError> {
    let now = tibet_overlay::system::now();
    let wait = state.replay_bound()?.map_or(0, |bound: UnixTime| bound.saturating_since(now).as_secs());
    if wait > 0 {
        let text = format!(
            "this node ran a moment ago: pings are refused for {} s more, so that none is accepted twice",
            wait + 1
        );
        note(context.as_json, text);
    }
    Ok(())
}

fn tell_of_audit(context: &Context, path: &Path, key: &str, key_file: &Path) {
    note(context.as_json, format_args!("audit log {}, signed by {key}", shown(path)));
    note(context.as_json, format_args!("  the key for others who verify it: {}", shown(key_file)));
}

/// Why a node did not start on `port`, and what to do about it.
pub(super) fn start_error(error: StartError, port: u16) -> CliError {
    match &error {
        StartError::Bind(bind) if bind.kind() == std::io::ErrorKind::AddrInUse => {
            CliError::new(Exit::Unavailable, format!("another program has UDP port {port}"))
                .hint("--port chooses another")
        }
        _ => error.into(),
    }
}
