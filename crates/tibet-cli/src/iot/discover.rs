//! `tibet-iot discover`

use std::collections::BTreeMap;

use clap::Args;
use jis::Name;
use serde_json::json;
use tibet_iot::{IotNode, TransportConfig};
use tibet_ping::{Discovered, NodeConfig};

use super::node_args::{DiscoveryArgs, NodeArgs, Setup};
use super::own::Momentary;
use super::stream::note;
use super::{Context, audit_file, input, listen, own};
use crate::error::CliError;
use crate::output::{Exit, Outcome, plain};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiscoverArgs {
    /// Who searches; made if it is not there [default: the only identity there is, or the first that is free, or one for
    /// this search alone]
    #[arg(long, visible_alias = "did", value_name = "NAME", env = "TIBET_IDENTITY")]
    my_did: Option<String>,

    /// How long answers are waited for, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 5.0)]
    timeout: f64,

    /// The UDP port of this side; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    #[command(flatten)]
    discovery: DiscoveryArgs,

    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
A node answers a search of a name that it trusts and has heard before, and tells everybody of itself once a minute. What is not
verified is hearsay: anybody on the network can say it.

Exits with 0 if somebody was found, else with 1.

Examples:
  tibet-iot discover
  tibet-iot discover --my-did jis:home:hub --timeout 65
  tibet-iot discover --interface eth0 --json";

/// A device, by all the addresses it was found at.
struct Found {
    /// The one that says most, then the others.
    sightings: Vec<Discovered>,
}

/// Who searches.
struct Searcher {
    name: Name,
    /// Whether the name is for this search alone: nobody can have heard it before.
    passing: bool,
}

pub(super) fn run(context: &Context, args: &DiscoverArgs) -> Result<Outcome, CliError> {
    let setup = args.node.read()?;
    let wait = input::seconds("--timeout", args.timeout)?;
    runtime(1)?.block_on(async {
        let (searcher, mut node) = node(context, args, &setup)?;
        node.start().await.map_err(|error| listen::start_error(error, args.port))?;
        let searched = tokio::select! {
            searched = node.discover(wait) => Some(searched),
            _ = tokio::signal::ctrl_c() => None,
        };
        node.stop().await?;
        let found = match searched {
            Some(found) => found?,
            None => return Err(CliError::new(Exit::No, "interrupted")),
        };
        Ok(tell(&searcher, group(found)))
    })
}

fn node(context: &Context, args: &DiscoverArgs, setup: &Setup) -> Result<(Searcher, IotNode), CliError> {
    let passing = |why: &str| {
        note(context.as_json, format_args!("{why}: only nodes that tell of themselves are found"));
        own::passing_identity()
    };
    let (identity, own) = match context.own_for_a_moment(args.my_did.as_deref())? {
        Momentary::As(own) => (own.identity_copy()?, Some(own)),
        Momentary::Nobody => (passing("there is no identity here")?, None),
        Momentary::AllBusy => (passing("a node runs with each identity here")?, None),
    };
    let name = identity.name.clone();
    let audit = args.node.audit.as_deref().map(|path| audit_file::open(context, &name, path)).transpose()?;
    let config = TransportConfig {
        bind: setup.bind(args.port),
        discovery: Some(args.discovery.config()),
        // It searches once, when it is told to.
        node: NodeConfig { heartbeat: None, discovery: None, ..setup.config() },
    };
    let node = IotNode::new(identity, config, None, audit.map(|(audit, _)| audit))?;
    if let Some(own) = &own {
        own.tell_known(&node)?;
    }
    setup.apply(&node)?;
    Ok((Searcher { name, passing: own.is_none() }, node))
}

/// By name, best first: who answers does answer, and what is verified was said by that device.
fn group(found: Vec<Discovered>) -> BTreeMap<Name, Found> {
    let mut devices: BTreeMap<Name, Found> = BTreeMap::new();
    for device in found {
        let known = devices.entry(device.name.clone()).or_insert_with(|| Found { sightings: Vec::new() });
        known.sightings.push(device);
    }
    for device in devices.values_mut() {
        device.sightings.sort_by_key(|seen| (!seen.verified, !seen.answered, seen.address));
    }
    devices
}

fn tell(searcher: &Searcher, devices: BTreeMap<Name, Found>) -> Outcome {
    let (mut rows, mut list) = (Vec::new(), Vec::new());
    for (name, device) in &devices {
        let Some(best) = device.sightings.first() else { continue };
        // Hearsay about an address is not mixed with what the device itself has said.
        let same = device.sightings.iter().filter(|seen| seen.verified == best.verified);
        let addresses: Vec<String> = same.map(|seen| seen.address.to_string()).collect();
        let how = if best.answered { "answered" } else { "announced" };
        list.push(json!({
            "name": name.as_str(),
            "address": best.address.to_string(),
            "addresses": addresses,
            "capabilities": best.capabilities,
            "device_type": best.device_type,
            "verified": best.verified,
            "how": how,
        }));
        let verified = if best.verified { "yes" } else { "no" };
        rows.push(vec![
            name.to_string(),
            best.address.to_string(),
            plain(&best.device_type),
            plain(&best.capabilities.join(", ")),
            verified.to_owned(),
            how.to_owned(),
        ]);
    }
    let data = json!({ "own_name": searcher.name.as_str(), "total": list.len(), "devices": list });
    let outcome = Outcome::new("tibet.iot.discover", data);
    if rows.is_empty() {
        return why_nobody(outcome, searcher);
    }
    outcome.table(&["NAME", "ADDRESS", "TYPE", "CAPABILITIES", "VERIFIED", "HOW"], rows)
}

fn why_nobody(outcome: Outcome, searcher: &Searcher) -> Outcome {
    let outcome = outcome
        .line("nobody was found. What may be the reason:")
        .line("  - nodes answer only names that they trust and have heard before:");
    let outcome = if searcher.passing {
        outcome
            .line("    this search had a name of its own: --my-did NAME chooses one that lasts, or makes it")
    } else {
        let own = &searcher.name;
        outcome.line(format_args!(
            "    on that side tibet-iot listen --trust {own}=0.9, and one tibet-iot send from here to there"
        ))
    };
    outcome
        .line("  - each answers one search of a name in ten seconds")
        .line("  - they tell everybody of themselves once a minute only: --timeout 65 hears each")
        .line("  - nobody is there, or a firewall stops UDP port 7151 or multicast")
        .exit(Exit::No)
}
