//! A port of the router that leads to the device, where the router gives one (`docs/spec/port-mapping.md`).
//!
//! What the router promises is one more address that peers may look for us at: a hint like all others, believed by nobody before a probe has come through
//! (SECURITY R24). Nothing here waits for anything else of the daemon, and nothing waits for it.
//!
//! | file | holds |
//! |---|---|
//! | `port_mapping.rs` | when the router is asked, and what is told of it |
//! | `port_mapping/router.rs` | what is said to the router, and what of its answers is taken |

mod router;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use jis::{Endpoint, UnixTime};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::MeshNode;
use crate::daemon::shared::Core;
use crate::daemon::whereabouts::source_towards;
use crate::{netcheck, system};
use router::{Mapping, Reason, Router, Way};

/// How often it is looked whether the router or our own address is another.
const LOOK: Duration = Duration::from_secs(1);
/// A router that has started anew has forgotten what it mapped, and tells nobody: this is how long that stays so at most.
const LONGEST: Duration = Duration::from_secs(20 * 60);
/// Between two questions to a router, whatever nodes say about where they see us.
const AT_LEAST: Duration = Duration::from_secs(10);
/// When a router that gave nothing is asked again; each time after twice as long, up to 32 min.
const AGAIN: Duration = Duration::from_secs(30);
const DOUBLED: u32 = 6;
/// How long the router has to forget the mapping when the daemon ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// Whether the router lets peers in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortMappingReport {
    /// `off`, `asking`, `none` or `mapped`.
    pub state: String,
    /// The address outside, and the port there.
    pub external: Option<String>,
    /// `PCP` or `NAT-PMP`.
    pub protocol: Option<String>,
    /// Until when the router has promised it; it is asked again long before.
    pub expires_at: Option<String>,
    /// Why there is none.
    pub problem: Option<String>,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Off,
    Asking,
    None(Reason),
    Mapped(Mapping, UnixTime),
    /// The daemon ends, and the router has been told.
    Gone,
}

/// What this machine is like at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Here {
    way: Result<Way, Reason>,
    /// Whether any node sees it behind a NAT; `None` before one has said anything.
    behind_nat: Option<bool>,
}

/// The mapping, and what becomes of it.
#[derive(Debug)]
pub(super) struct PortMapping {
    router: Router,
    state: watch::Sender<State>,
}

impl PortMapping {
    pub(super) fn new(wanted: bool) -> Self {
        let state = if wanted { State::Asking } else { State::Off };
        Self { router: Router::new(), state: watch::channel(state).0 }
    }

    /// Where the router lets strangers in to us.
    pub(super) fn candidate(&self) -> Option<Endpoint> {
        self.held().map(|held| held.external)
    }

    pub(super) fn report(&self) -> PortMappingReport {
        let state =
            |state: &str| PortMappingReport { state: state.to_owned(), ..PortMappingReport::default() };
        match &*self.state.borrow() {
            State::Off | State::Gone => state("off"),
            State::Asking => state("asking"),
            State::None(reason) => PortMappingReport { problem: Some(reason.to_string()), ..state("none") },
            State::Mapped(mapping, until) => PortMappingReport {
                external: Some(mapping.external.to_string()),
                protocol: Some(mapping.protocol.as_str().to_owned()),
                expires_at: Some(until.to_string()),
                ..state("mapped")
            },
        }
    }

    /// Waits until the router has been told that the daemon ends, or has not listened for long enough.
    pub(super) async fn gone(&self) {
        let mut states = self.state.subscribe();
        let gone = states.wait_for(|state| matches!(state, State::Off | State::Gone));
        let _ = timeout(GOODBYE, gone).await;
    }

    /// Has the router map the port, without end. When `stop` says so it is told to forget it.
    async fn run(&self, here: impl Fn() -> Here, moved: watch::Receiver<u64>, stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            () = told_to(stop) => {}
            () = self.keep(here, moved) => {}
        }
        let _ = timeout(GOODBYE, self.router.unmap()).await;
        self.state.send_replace(State::Gone);
    }

    async fn keep(&self, here: impl Fn() -> Here, mut moved: watch::Receiver<u64>) {
        let mut known = None;
        let mut failures = 0;
        loop {
            let way = aim(here(), known);
            if way.as_ref().ok() != known.as_ref() {
                // What another router has mapped, or for another address, leads nowhere now, and nobody there can be told.
                failures = 0;
                known = way.clone().ok();
                self.tell(State::Asking);
            }
            let wait = match &way {
                Ok(way) => Some(match self.router.map(*way, self.held().as_ref()).await {
                    Ok(mapping) => {
                        failures = 0;
                        let wait = renewal(mapping.lifetime);
                        let until = system::now().saturating_add(mapping.lifetime);
                        self.tell(State::Mapped(mapping, until));
                        wait
                    }
                    Err(reason) => {
                        self.tell(State::None(reason));
                        let wait = AGAIN * (1 << failures);
                        failures = (failures + 1).min(DOUBLED);
                        wait
                    }
                }),
                Err(reason) => {
                    self.tell(State::None(reason.clone()));
                    None
                }
            };
            let asked = Instant::now();
            let mut due = wait.map(|wait| asked + wait);
            loop {
                let look = Instant::now() + LOOK;
                tokio::select! {
                    () = sleep_until(due.map_or(look, |due| due.min(look))) => {}
                    // A router that has started anew gives other ports, which is how nodes see it.
                    Ok(()) = moved.changed() => due = due.map(|due| due.min(asked + AT_LEAST)),
                }
                if due.is_some_and(|due| Instant::now() >= due) || aim(here(), known) != way {
                    break;
                }
            }
        }
    }

    fn held(&self) -> Option<Mapping> {
        match &*self.state.borrow() {
            State::Mapped(mapping, _) => Some(mapping.clone()),
            _ => None,
        }
    }

    fn tell(&self, state: State) {
        let before = self.state.send_replace(state.clone());
        match (&before, &state) {
            (State::Mapped(before, _), State::Mapped(now, _)) if before == now => {}
            (State::None(before), State::None(now)) if before == now => {}
            (_, State::Mapped(Mapping { external, protocol, lifetime, .. }, _)) => {
                let (protocol, seconds) = (protocol.as_str(), lifetime.as_secs());
                tracing::info!(%external, protocol, seconds, "the router has mapped our port");
            }
            // Nobody was asked.
            (_, State::None(Reason::NotSeen | Reason::NoNat | Reason::NoRouter)) => {}
            (_, State::None(reason @ Reason::DoubleNat(_))) => tracing::warn!(%reason, "no port is mapped"),
            (_, State::None(reason)) => tracing::info!(%reason, "no port is mapped"),
            _ => {}
        }
    }
}

/// Whom to ask. That no node sees a NAT, or none has spoken yet, is a reason not to begin; it ends nothing that has begun.
fn aim(here: Here, known: Option<Way>) -> Result<Way, Reason> {
    let way = here.way?;
    match here.behind_nat {
        _ if known == Some(way) => Ok(way),
        Some(true) => Ok(way),
        Some(false) => Err(Reason::NoNat),
        None => Err(Reason::NotSeen),
    }
}

/// When a mapping is asked for again: before half of its time has passed.
fn renewal(lifetime: Duration) -> Duration {
    (lifetime * 3 / 8).min(LONGEST)
}

impl Core {
    fn here(&self) -> Here {
        Here { way: way_to_router(self.remote.socket().address()), behind_nat: self.is_behind_nat() }
    }
}

/// The router, and what it has to send to for a socket that is bound to `bound`.
fn way_to_router(bound: SocketAddr) -> Result<Way, Reason> {
    let gateway = netcheck::gateway().ok_or(Reason::NoRouter)?;
    let towards = SocketAddr::from((gateway, crab_nat::GATEWAY_PORT));
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, bound.port()));
    let Some(SocketAddr::V4(routed)) = source_towards(towards, any) else { return Err(Reason::NoRouter) };
    let port =
        NonZeroU16::new(bound.port()).filter(|_| source_towards(towards, bound) == Some(routed.into()));
    let port = port.ok_or(Reason::Elsewhere(bound))?;
    Ok(Way { gateway, address: *routed.ip(), port })
}

/// Waits until all is to stop, or nobody is left who could say so.
async fn told_to(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Keeps the mapping, without end.
pub(super) async fn run(core: Arc<Core>, mesh: Arc<MeshNode>, stop: watch::Receiver<bool>) {
    mesh.port_mapping.run(|| core.here(), core.moved(), stop).await;
    // The others of the daemon's tasks that end are its links.
    std::future::pending().await
}

/// Has a new record say where the router lets strangers in, and no more where it did, without end.
pub(super) async fn publish(core: Arc<Core>, mesh: Arc<MeshNode>, stop: watch::Receiver<bool>) {
    let mut states = mesh.port_mapping.state.subscribe();
    let mut told = None;
    loop {
        tokio::select! {
            biased;
            // The last record says goodbye.
            () = told_to(stop.clone()) => std::future::pending().await,
            Ok(()) = states.changed() => {}
        }
        let candidate = mesh.port_mapping.candidate();
        if candidate != told && core.published().borrow().is_some() {
            // What goes wrong is in the status, and comes again.
            let _ = core.current().await;
        }
        told = candidate;
    }
}
