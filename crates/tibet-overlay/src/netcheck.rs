//! What the network between this machine and its nodes does: `tibet-overlay netcheck` (`docs/spec/netcheck.md`).
//!
//! [`netcheck`] asks nodes from sockets of its own, as nobody: it needs no identity and no daemon, and disturbs none. Everything goes on at once and ends after
//! [`LIMIT`] with what was found by then.
//!
//! | file | finds out |
//! |---|---|
//! | `netcheck/probe.rs` | what comes back of what is sent, and from where |
//! | `netcheck/mtu.rs` | how long a packet may be |
//! | `netcheck/router.rs` | what the router offers |
//! | `netcheck/judge.rs` | what follows from it: kinds of NAT, advice |
//! | `netcheck/report.rs` | what is told |
//!
//! Answers count only with an id that was drawn for the question, and welcomes only from the address that was asked (SECURITY R11). Welcomes are not signed: a machine on
//! the way can have its say, as it can have it about every packet. Nothing is decided by what is found here, it is told.

mod judge;
pub(crate) use judge::is_inside;
pub use judge::{Filtering, Mapping};
mod mtu;
mod probe;
mod report;
mod router;
pub use report::{FamilyFinding, NetcheckReport, NodeFinding, PortMapping};
pub(crate) use router::gateway;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join, join_all};
use jis::PublicKey;
use tibet_ping::HELLO;
use tokio::time::{Instant, timeout, timeout_at};

use crate::NodeAddress;
use crate::client::canonical;
use crate::daemon::source_towards;
use probe::{Greeting, Probe, What, hello};

/// When what was not found out stays so. What is left after that takes a few hundred milliseconds.
pub const LIMIT: Duration = Duration::from_millis(4200);
/// How long a host's name may take to be looked up.
const LOOK_UP: Duration = Duration::from_millis(1500);
/// How long the first hellos are waited for.
const FIRST: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(700), Duration::from_millis(1000)];
/// Round trips of which the best counts.
const ROUNDS: usize = 3;
/// How long a datagram of our own may take to the router and back, twice.
const HAIRPIN: [Duration; 2] = [Duration::from_millis(200); 2];

/// Checks the way to these nodes, within five seconds. Must be used within a tokio runtime.
pub async fn netcheck(nodes: &[NodeAddress]) -> NetcheckReport {
    let begun = Instant::now();
    let deadline = begun + LIMIT;
    let found = join_all(nodes.iter().map(|node| async move {
        let addresses = match timeout(LOOK_UP, node.look_up()).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return vec![Err((node, error.to_string()))],
            Err(_) => return vec![Err((node, "its name was not looked up in time".to_owned()))],
        };
        addresses.into_iter().map(|address| Ok((node, address))).collect()
    }));
    let targets: Vec<_> = found.await.into_iter().flatten().collect();
    // The router is asked only where one is on the way.
    let outside = |target: &Result<(&NodeAddress, SocketAddr), (&NodeAddress, String)>| {
        target.as_ref().is_ok_and(|(_, address)| !address.ip().is_loopback())
    };
    let any_outside = targets.iter().any(outside);
    let router = async { if any_outside { router::port_mapping().await } else { PortMapping::default() } };
    // One socket for all addresses of a family: how it is seen from different places is what tells a NAT's kind.
    let probes = [false, true].map(|v6| Probe::open(v6, false).ok());
    let probe = |v6: bool| probes[usize::from(v6)].as_ref();
    let checks = join_all(targets.into_iter().map(|target| async move {
        match target {
            Ok((node, address)) => match probe(address.is_ipv6()) {
                Some(probe) => check(probe, node, address, deadline).await,
                None => NodeFinding::unasked(node, Some(address), "the system gives no socket".to_owned()),
            },
            Err((node, problem)) => NodeFinding::unasked(node, None, problem),
        }
    }));
    let (nodes, mapping) = join(checks, router).await;
    let mut families = Vec::new();
    for (v6, name) in [(false, "ipv4"), (true, "ipv6")] {
        let of = |finding: &&NodeFinding| finding.address.is_some_and(|address| address.is_ipv6() == v6);
        let nodes: Vec<&NodeFinding> = nodes.iter().filter(of).collect();
        if nodes.is_empty() {
            continue;
        }
        let mut family = judge::family(name, &nodes, None);
        if let (Some(probe), Some(observed), true) =
            (probe(v6), family.observed, !matches!(family.mapping, Mapping::None | Mapping::Unknown))
        {
            family.hairpin = Some(hairpin(probe, observed).await);
        }
        if !v6 {
            family.carrier_nat = judge::carrier_nat(&nodes, &mapping);
        }
        families.push(family);
    }
    let advice = judge::advice(&families, &mapping);
    NetcheckReport { nodes, families, port_mapping: mapping, advice, took_ms: millis(begun.elapsed()) }
}

/// The way to one address; what was found by the deadline.
async fn check(probe: &Probe, node: &NodeAddress, to: SocketAddr, deadline: Instant) -> NodeFinding {
    let mut finding = NodeFinding::unasked(node, Some(to), String::new());
    finding.problem = None;
    // Where it is cut short, what is not known stays unsaid.
    let _ = timeout_at(deadline, look(probe, node, to, &mut finding)).await;
    finding
}

async fn look(probe: &Probe, node: &NodeAddress, to: SocketAddr, finding: &mut NodeFinding) {
    let bound = match to.is_ipv6() {
        true => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, probe.port())),
        false => SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, probe.port())),
    };
    finding.local = source_towards(to, bound);
    if finding.local.is_none() {
        finding.problem = Some("there is no way there from this machine".to_owned());
        return;
    }
    let Some(mut first) = greet(probe, to, &FIRST).await else {
        finding.problem = Some("no answer".to_owned());
        return;
    };
    let patience = |rtt: Duration| {
        (rtt.saturating_mul(2) + Duration::from_millis(100))
            .clamp(Duration::from_millis(150), Duration::from_millis(600))
    };
    for _ in 1..ROUNDS {
        if let Some(again) = probe.greet(to, HELLO, patience(first.rtt)).await {
            first.rtt = first.rtt.min(again.rtt);
        }
    }
    let key = PublicKey::from_bytes(&first.welcome.key).ok();
    finding.key = key.map(|key| key.to_multibase());
    if node.key().is_some_and(|expected| Some(expected) != key) {
        finding.problem = Some("a node with another key answered".to_owned());
        return;
    }
    finding.reachable = true;
    finding.rtt_ms = Some(millis(first.rtt));
    finding.observed = Some(canonical(first.welcome.observed));
    let wait = patience(first.rtt);
    let (path_mtu, ()) = join(mtu::path_mtu(to, wait), async {
        let elsewhere = probe.ask_elsewhere(to, first.welcome.cookie, wait).await;
        finding.second_port = elsewhere.port;
        let Some(port) = elsewhere.port else { return };
        finding.second_port_got_in = elsewhere.got_in.then_some(true);
        let second = greet(probe, SocketAddr::new(to.ip(), port), &[wait, wait]).await;
        finding.observed_at_second_port = second.map(|second| canonical(second.welcome.observed));
        // That nothing came says something of our side only where that port is open on the node's.
        finding.second_port_got_in = finding.second_port_got_in.or(second.map(|_| false));
    })
    .await;
    finding.path_mtu = path_mtu;
}

/// The first welcome, where a hello may get lost.
async fn greet(probe: &Probe, to: SocketAddr, waits: &[Duration]) -> Option<Greeting> {
    for wait in waits {
        if let Some(greeting) = probe.greet(to, HELLO, *wait).await {
            return Some(greeting);
        }
    }
    None
}

/// Whether a datagram from another socket of ours gets to `probe` by its address outside.
async fn hairpin(probe: &Probe, outside: SocketAddr) -> bool {
    let Ok(other) = Probe::open(outside.is_ipv6(), false) else { return false };
    let Some(mut exchange) = probe.exchange() else { return false };
    for wait in HAIRPIN {
        let until = Instant::now() + wait;
        if other.send(outside, &hello(exchange.id, HELLO)).await.is_err() {
            return false;
        }
        while let Some(heard) = exchange.next(until).await {
            if matches!(heard.what, What::Hello) {
                return true;
            }
        }
    }
    false
}

impl NodeFinding {
    fn unasked(node: &NodeAddress, address: Option<SocketAddr>, problem: String) -> Self {
        Self {
            node: node.place(),
            address,
            reachable: false,
            key: None,
            rtt_ms: None,
            local: None,
            observed: None,
            second_port: None,
            observed_at_second_port: None,
            second_port_got_in: None,
            path_mtu: None,
            problem: Some(problem),
        }
    }
}

/// With two decimals.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}
