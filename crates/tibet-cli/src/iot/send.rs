//! `tibet-iot send`

mod asker;
use asker::Asker;
mod report;
use report::Report;

use std::net::SocketAddr;

use clap::Args;
use tibet_iot::TransportConfig;
use tibet_ping::{Ask, NodeConfig, RoutingMode};

use super::node_args::{NodeArgs, Setup};
use super::own::Momentary;
use super::stream::Closed;
use super::{Context, audit_file, input};
use crate::error::CliError;
use crate::output::{Exit, Outcome};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SendArgs {
    /// Who is asked, for example jis:home:sensor
    #[arg(value_name = "DID")]
    target: String,

    /// Where it is, for example 192.168.1.42:7150 or [fe80::1]:7150; with --mesh, where the first relay is
    #[arg(value_name = "HOST:PORT")]
    address: String,

    /// What is wanted, for example temperature.read
    intent: String,

    /// Who asks; made if it is not there [default: the only identity there is, or the first that is free]
    #[arg(long, value_name = "NAME", env = "TIBET_IDENTITY")]
    my_did: Option<String>,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    purpose: String,

    /// What comes with it, a JSON object
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,

    /// The UDP port of this side; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// How long the answer is waited for, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 10.0)]
    timeout: f64,

    /// How long to wait for a human to decide there, in seconds, if the answer is "pending"
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 0.0)]
    wait: f64,

    /// Send the ping over the mesh: HOST:PORT is the first relay, and the relays know the way
    #[arg(long)]
    mesh: bool,

    /// Send N pings, each when the one before is answered or given up, and sum up. A listener takes 64 in 35 s unless its --rate says more
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Exits with 0 if it was accepted (with --count: each of them), with 1 if not or if no answer came.

Examples:
  tibet-iot send jis:home:sensor 192.168.1.42:7150 temperature.read --my-did jis:home:hub
  tibet-iot send jis:home:lamp lamp.lan:7150 light.set --payload '{\"on\": true}' --purpose \"Sunset\"
  tibet-iot send jis:home:door 192.168.1.43:7150 door.open --wait 600
  tibet-iot send jis:home:shed 192.168.1.1:7150 temperature.read --mesh
  tibet-iot send jis:home:sensor 192.168.1.42:7150 temperature.read --count 20 --json";

/// The arguments, understood.
struct Plan {
    setup: Setup,
    ask: Ask,
    to: SocketAddr,
    port: u16,
    count: u32,
}

pub(super) fn run(context: &Context, args: &SendArgs) -> Result<Outcome, CliError> {
    let plan = plan(args)?;
    let done = |exit| Outcome::text_only(String::new()).exit(exit);
    match runtime(1)?.block_on(send(context, args, plan)) {
        Ok(accepted) => Ok(done(if accepted { Exit::Yes } else { Exit::No })),
        Err(Closed::Reader) => Ok(done(Exit::Yes)),
        Err(Closed::Failed(error)) => Err(error),
    }
}

fn plan(args: &SendArgs) -> Result<Plan, CliError> {
    let setup = args.node.read()?;
    let target = input::name("DID", &args.target)?;
    let example = "tibet-iot send jis:home:sensor 192.168.1.42:7150 temperature.read";
    let to = input::address("HOST:PORT", &args.address, example)?;
    let family = |v4| if v4 { "IPv4" } else { "IPv6" };
    let bind = setup.bind(args.port);
    if bind.is_ipv4() != to.is_ipv4() && !bind.ip().is_unspecified() || bind.is_ipv4() && to.is_ipv6() {
        let message = format!("{to} is {}, and --bind {} is not", family(to.is_ipv4()), bind.ip());
        return Err(CliError::new(Exit::Usage, message).hint("--bind with an address of the same kind"));
    }
    let ask = Ask {
        purpose: args.purpose.clone(),
        payload: input::payload(args.payload.as_deref())?,
        routing: if args.mesh { RoutingMode::Mesh } else { RoutingMode::Direct },
        timeout: input::seconds("--timeout", args.timeout)?,
        decision_timeout: input::seconds("--wait", args.wait)?,
        ..Ask::new(target, Some(to), args.intent.clone())
    };
    Ok(Plan { setup, ask, to, port: args.port, count: args.count })
}

async fn send(context: &Context, args: &SendArgs, plan: Plan) -> Result<bool, Closed> {
    let own = match context.own_for_a_moment(args.my_did.as_deref())? {
        Momentary::As(own) => *own,
        Momentary::Nobody => return Err(context.nobody("--my-did").into()),
        Momentary::AllBusy => return Err(context.all_busy("--my-did").into()),
    };
    let name = own.identity.name.clone();
    if name == plan.ask.target {
        let message = format!("{name} does not ask itself");
        let other = CliError::new(Exit::Usage, message).hint("--my-did jis:home:hub, the name of this side");
        return Err(other.into());
    }
    let audit = args.node.audit.as_deref().map(|path| audit_file::open(context, &name, path)).transpose()?;
    let config = TransportConfig {
        bind: plan.setup.bind(plan.port),
        discovery: None,
        node: NodeConfig { heartbeat: None, discovery: None, ..plan.setup.config() },
    };
    let mut asker = Asker::new(context, own, &plan, config, audit.map(|(audit, _)| audit))?;
    asker.node.start().await.map_err(|error| super::listen::start_error(error, args.port))?;
    let result = asker.ask_all().await;
    let stopped = asker.node.stop().await;
    asker.learn_what_is_left().await?;
    let accepted = result?;
    stopped.map_err(CliError::from)?;
    Ok(accepted)
}

impl Plan {
    fn is_mesh(&self) -> bool {
        self.ask.routing == RoutingMode::Mesh
    }
}
