//! `tibet-overlay netcheck`

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tibet_overlay::daemon::{Control, RelayReport};
use tibet_overlay::netcheck::{FamilyFinding, Filtering, Mapping, NetcheckReport, NodeFinding, netcheck};

use tokio::time::timeout;

use super::Context;
use crate::error::CliError;
use crate::output::{Exit, Outcome, bold, mark, plain};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct NetcheckArgs {}

const EXAMPLES: &str = "\
It asks the nodes of --node or the configuration, from sockets of its own: no identity and no daemon is needed, and none is disturbed. With two nodes at
different addresses it can tell more kinds of NAT apart. It takes less than five seconds.

Exit codes: 0 a node answered; 69 none did.

Examples:
  tibet-overlay netcheck --node node.example
  tibet-overlay netcheck --node node.example,203.0.113.5:7150 --json";

/// How long a daemon may take to say how it is doing.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(context: &Context, _: &NetcheckArgs) -> Result<Outcome, CliError> {
    let nodes = &context.settings.nodes;
    if nodes.is_empty() {
        return Err(CliError::new(Exit::Usage, "which node shall be asked?")
            .hint("--node ADDR; tibet-overlay serve runs one"));
    }
    // Where several daemons run, it is nobody's business here which one is meant.
    let daemon = context.daemon().ok().flatten();
    let (report, relays) = runtime(1)?.block_on(async { tokio::join!(netcheck(nodes), relays(daemon)) });
    Ok(outcome(&report, relays.as_deref()))
}

/// How the running daemon's sessions with relays are doing, if one runs and takes part in the mesh. A session of our own would end its: an identity has one with
/// each node.
async fn relays(daemon: Option<Control>) -> Option<Vec<RelayReport>> {
    let status = timeout(PATIENCE, daemon?.status()).await.ok()?.ok()?;
    status.mesh.map(|mesh| mesh.relays)
}

fn outcome(report: &NetcheckReport, relays: Option<&[RelayReport]>) -> Outcome {
    let exit = if report.reachable() { Exit::Yes } else { Exit::Unavailable };
    let mut outcome =
        Outcome::new("tibet.overlay.netcheck", json!(report)).exit(exit).with("relays", json!(relays));
    outcome = outcome.table(
        &["node", "address", "round trip", "seen as", "longest packet"],
        report.nodes.iter().map(row).collect(),
    );
    for node in report.nodes.iter().filter(|node| !node.reachable) {
        let problem = node.problem.as_deref().unwrap_or_default();
        outcome = outcome.line(format_args!("  {}: {}", plain(&node.node), plain(problem)));
    }
    for family in &report.families {
        outcome = outcome.line("").line(bold(if family.family == "ipv4" { "IPv4" } else { "IPv6" }));
        outcome = outcome.pairs(&pairs(family));
    }
    let router = &report.port_mapping;
    let offered = [(router.pcp, "PCP"), (router.nat_pmp, "NAT-PMP"), (router.upnp, "UPnP")];
    let offered: Vec<&str> = offered.iter().filter(|(found, _)| *found).map(|(_, name)| *name).collect();
    let offered = if offered.is_empty() { "none found".to_owned() } else { offered.join(", ") };
    let external = router.external.map_or_else(String::new, |ip| format!("; the router's address is {ip}"));
    let mut pairs = vec![("port mapping", format!("{offered}{external}"))];
    for relay in relays.unwrap_or_default() {
        let rtt = relay.rtt_ms.map_or_else(String::new, |rtt| format!(", {rtt:.1} ms"));
        pairs.push(("relay", format!("{}: {}{rtt}", plain(&relay.node), plain(&relay.health))));
    }
    outcome.line("").pairs(&pairs).line("").line(mark(report.reachable(), &report.advice))
}

fn row(node: &NodeFinding) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let shown = |address: Option<SocketAddr>| or_dash(address.map(|address| address.to_string()));
    let answer = node.rtt_ms.map(|rtt| format!("{rtt:.1} ms"));
    vec![
        plain(&node.node),
        shown(node.address),
        or_dash(answer),
        shown(node.observed),
        or_dash(node.path_mtu.map(|bytes| format!("{bytes} bytes"))),
    ]
}

fn pairs(family: &FamilyFinding) -> Vec<(&'static str, String)> {
    if !family.reachable {
        return vec![("reachable", "no".to_owned())];
    }
    let text = |value: &dyn Display| value.to_string();
    let mut pairs = vec![("translation", text(&family.mapping.words()))];
    let filtering = match (family.mapping, family.filtering) {
        (Mapping::None, Filtering::OtherPortsGetIn) => "other ports of a node get in",
        (_, filtering) => filtering.words(),
    };
    pairs.push(("lets in", text(&filtering)));
    if let Some(hairpin) = family.hairpin {
        pairs.push(("hairpin", text(if hairpin { &"yes" } else { &"no" })));
    }
    if let Some(why) = &family.carrier_nat {
        pairs.push(("carrier's NAT", plain(why)));
    }
    pairs
}
