//! Two devices behind symmetric NATs, which never find each other: unless a router maps a port. It is `miniupnpd`, on a machine that is a network namespace.
//!
//! Needs root, `ip`, `nft` and `miniupnpd`. Without them the tests say so in one line and pass, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

#![allow(clippy::print_stdout, reason = "what was measured, and what was skipped")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tibet_cli::overlay::lab::{Daemon, Echo, Lab, LabError, Layout, MAPPED, Nat, Pair, Server, Topology};
use tibet_overlay::daemon::PortMappingReport;

const APART: Topology = Topology::new(Layout::Public, [Nat::Symmetric; 2], Nat::None);
/// Longer than a mapping takes, or a path.
const SOON: Duration = Duration::from_secs(15);
/// How long it is looked whether a path comes that must not: longer than the second consent takes, which is exchanged after 5 s.
const NEVER: Duration = Duration::from_secs(7);

/// They share the machine.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Ready {
    echo: Echo,
    _server: Server,
    router: Daemon,
    pair: Pair,
}

/// A pair, `a` of which has a router that maps ports and is up with these arguments more.
fn ready(topology: Topology, more: &[&str]) -> Option<Ready> {
    let lab = || {
        let lab = Lab::new(Path::new(env!("CARGO_BIN_EXE_tibet-overlay")), topology, &Arc::default())?;
        let tried =
            Command::new("miniupnpd").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.map_err(|error| LabError::new(format!("miniupnpd: {error}")))?;
        Ok::<_, LabError>(lab)
    };
    let lab = match lab() {
        Ok(lab) => lab,
        Err(reason) => {
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "no lab: {reason}");
            println!("SKIPPED: port mapping in namespaces: {reason}");
            return None;
        }
    };
    let router = lab.map_ports().expect("a router that maps ports");
    let a = [Pair::TUN[0], more].concat();
    let pair = Pair::start(lab, [&a[..], Pair::TUN[1]]).expect("started");
    let [_, b] = pair.ready().expect("ready");
    let server = Server::start(&pair.lab, "b", b).expect("a server");
    let echo = Echo::start(&pair.lab, "a", b).expect("an echo");
    Some(Ready { echo, _server: server, router, pair })
}

impl Ready {
    fn mapping(&self, at: usize) -> PortMappingReport {
        self.pair.status(at).expect("it is up").mesh.expect("in the mesh").port_mapping
    }

    fn until_mapping(&self, at: usize, state: &str) -> PortMappingReport {
        let found = || Some(self.mapping(at)).filter(|mapping| mapping.state == state);
        match self.pair.lab.wait(state, SOON, found) {
            Ok((mapping, _)) => mapping,
            Err(error) => panic!("{error}: {:?}\n{}", self.mapping(at), self.said()),
        }
    }

    /// Whether both have found a direct path.
    fn direct(&self) -> bool {
        [0, 1].iter().all(|at| self.pair.peer(*at).is_some_and(|peer| peer.direct))
    }

    /// Speaks, and looks for that long whether both find a direct path.
    fn direct_within(&mut self, longest: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < longest {
            let _ = self.echo.once(Duration::from_millis(100));
            if self.direct() {
                return true;
            }
        }
        false
    }

    fn said(&self) -> String {
        format!("{}\nrouter: {}", self.pair.said(), self.router.said())
    }
}

#[test]
fn t7_two_symmetric_nats_have_a_direct_path_where_one_router_maps_a_port_and_that_goes_with_the_daemon() {
    let _alone = alone();
    let Some(mut ready) = ready(APART, &[]) else { return };
    let mapping = ready.until_mapping(0, "mapped");
    assert_eq!(mapping.protocol.as_deref(), Some("PCP"));
    assert_eq!(mapping.external, Some(format!("{MAPPED}:7150")));
    let mapped = ready.pair.lab.mapped_ports().expect("rules");
    assert!(mapped.len() == 1 && mapped[0].contains("dnat ip to 192.168.1.10:7150"), "{mapped:?}");
    let begun = Instant::now();
    assert!(ready.direct_within(SOON), "{:?}\n{}", [0, 1].map(|at| ready.pair.peer(at)), ready.said());
    println!("direct after {} ms", begun.elapsed().as_millis());
    // That is where `b` has it, and its record says it too.
    let path = ready.pair.peer(1).and_then(|peer| peer.path);
    assert_eq!(path, Some(format!("direct {MAPPED}:7150")));
    let endpoints = ready.pair.status(0).expect("it is up").endpoints;
    assert!(endpoints.contains(&format!("{MAPPED}:7150")), "{endpoints:?}");
    assert!(ready.echo.once(SOON).is_some(), "{}", ready.said());
    // The other's router does not map any.
    let other = ready.until_mapping(1, "none");
    assert!(
        other.problem.as_deref().is_some_and(|problem| problem.contains("neither PCP nor NAT-PMP")),
        "{other:?}"
    );

    let device = i32::try_from(ready.pair.device(0).id()).ok().and_then(Pid::from_raw).expect("a process");
    let begun = Instant::now();
    kill_process(device, Signal::TERM).expect("it runs");
    let gone = || ready.pair.lab.mapped_ports().ok().filter(Vec::is_empty);
    let gone = ready.pair.lab.wait("the mapping's end", SOON, gone);
    assert!(gone.is_ok(), "{gone:?}\n{}", ready.said());
    println!("deleted after {} ms", begun.elapsed().as_millis());
}

#[test]
fn t7_without_port_mapping_the_router_is_asked_nothing_and_only_the_relay_is_left() {
    let _alone = alone();
    let Some(mut ready) = ready(APART, &["--no-port-mapping"]) else { return };
    assert!(!ready.direct_within(NEVER), "{}", ready.said());
    for at in [0, 1] {
        let peer = ready.pair.peer(at).expect("a peer");
        assert!(peer.path.is_some() && !peer.direct, "{peer:?}");
    }
    assert_eq!(ready.mapping(0), PortMappingReport { state: "off".to_owned(), ..Default::default() });
    assert!(ready.pair.lab.mapped_ports().expect("rules").is_empty());
    assert!(!ready.router.said().contains("received from"), "{}", ready.router.said());
    assert!(ready.echo.once(SOON).is_some(), "{}", ready.said());
}

#[test]
fn t7_a_device_that_gets_another_address_has_its_port_mapped_there() {
    let _alone = alone();
    let Some(mut ready) = ready(APART, &[]) else { return };
    ready.until_mapping(0, "mapped");
    assert!(ready.direct_within(SOON), "{}", ready.said());
    ready.pair.move_device(0, "192.168.1.77").expect("moved");
    let moved = || {
        let mapped = ready.pair.lab.mapped_ports().ok()?;
        mapped.iter().any(|rule| rule.contains("192.168.1.77:7150")).then_some(())
    };
    let moved = ready.pair.lab.wait("a mapping of the new address", SOON, moved);
    assert!(moved.is_ok(), "{moved:?}\n{}", ready.said());
    ready.until_mapping(0, "mapped");
    assert!(ready.direct_within(SOON), "{}", ready.said());
}
