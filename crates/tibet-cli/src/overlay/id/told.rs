//! Who has to hear of a change of key: the nodes of `--node`, and those of the daemon that runs as this device.
//!
//! The daemon tells of a new key itself, from the address at which the device is reached: told from here, its nodes would look for the device
//! at a socket that is gone. A revocation says nothing of addresses, and a revoked daemon does not speak, so that is told from here; the daemon
//! ends, and that is waited for.

use std::time::Duration;

use jis::{Name, Revocation, Signed};
use serde_json::{Value, json};
use tibet_overlay::daemon::{Control, ControlError, DaemonStatus, LinkState, NodeStatus};
use tibet_overlay::{LocalDevice, NodeAddress, system};
use tokio::time::{Instant, sleep};

use super::Context;
use crate::error::CliError;
use crate::output::{Exit, Outcome, mark, plain};
use crate::overlay::register::ask;
use crate::process::runtime;

/// How long the daemon may take: it looks at its files every second, and its nodes answer within four.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Who is to hear.
pub(super) struct Audience {
    /// The daemon, and how it was doing before.
    daemon: Option<(Control, DaemonStatus)>,
    /// Nodes that are not the daemon's.
    nodes: Vec<NodeAddress>,
}

/// One of them, and why it has not heard, if it has not.
struct Heard {
    node: String,
    problem: Option<String>,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Told {
    heard: Vec<Heard>,
    /// Whether the daemon has ended; `None` where there was none, or it was not to end.
    daemon_ended: Option<bool>,
}

impl Audience {
    /// Who is to hear of the device with this name.
    pub(super) fn of(context: &Context, name: &Name) -> Result<Self, CliError> {
        let daemon = match context.daemon_of(name) {
            Some(control) => {
                let status = runtime(1)?.block_on(control.status())?;
                Some((control, status))
            }
            None => None,
        };
        let its = |node: &&NodeAddress| {
            daemon.iter().all(|(_, status)| status.nodes.iter().all(|its| its.node != node.place()))
        };
        let nodes = context.settings.nodes.iter().filter(its).cloned().collect();
        Ok(Self { daemon, nodes })
    }

    /// Tells of the key that the device has now.
    pub(super) fn tell_key(self, context: &Context, device: &mut LocalDevice) -> Result<Told, CliError> {
        let registration = device.registration(None, system::now())?;
        let identity = device.node_identity()?;
        runtime(1)?.block_on(async {
            let mut heard = match &self.daemon {
                Some((control, _)) => wait_for_daemon(context, control, device).await,
                None => Vec::new(),
            };
            if !self.nodes.is_empty() {
                let remote = context.nodes_as(identity, &self.nodes).await?;
                for node in remote.client().nodes() {
                    let problem = ask(node, &registration).await.err().map(|error| error.to_string());
                    heard.push(Heard { node: node.address().place(), problem });
                }
            }
            Ok(Told { heard, daemon_ended: None })
        })
    }

    /// Tells of the end of the device's key or name, as anybody may who has the revocation, and waits until the daemon has ended.
    pub(super) fn tell_end(
        self,
        context: &Context,
        revocation: &Signed<Revocation>,
    ) -> Result<Told, CliError> {
        let mut nodes = self.nodes;
        for node in self.daemon.iter().flat_map(|(_, status)| &status.nodes) {
            nodes.extend(address_of(node));
        }
        if nodes.is_empty() {
            return Ok(Told::default());
        }
        let identity = context.settings.state.client_identity()?;
        runtime(1)?.block_on(async {
            let remote = context.nodes_as(identity, &nodes).await?;
            let mut heard = Vec::new();
            for node in remote.client().nodes() {
                let problem = node.revoke(revocation.clone()).await.err().map(|error| error.to_string());
                heard.push(Heard { node: node.address().place(), problem });
            }
            let daemon_ended = match &self.daemon {
                Some((control, _)) => Some(has_ended(control).await),
                None => None,
            };
            Ok(Told { heard, daemon_ended })
        })
    }
}

/// Waits for a daemon to end, which it does when it has seen that its device is revoked.
async fn has_ended(control: &Control) -> bool {
    let until = Instant::now() + PATIENCE;
    while !matches!(control.status().await, Err(ControlError::NotRunning(_))) {
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK_AGAIN).await;
    }
    true
}

/// A node of the daemon, with the key that it was last known by.
fn address_of(node: &NodeStatus) -> Option<NodeAddress> {
    let with_key = node.key.as_ref().and_then(|key| format!("{key}@{}", node.node).parse().ok());
    with_key.or_else(|| node.node.parse().ok())
}

/// Waits until the daemon has told all of its nodes that answer. A node has heard when it holds the record that the device's files hold: that
/// one is signed with the new key.
async fn wait_for_daemon(context: &Context, control: &Control, device: &LocalDevice) -> Vec<Heard> {
    let (name, generation) = (&device.identity().name, device.identity().generation);
    let until = Instant::now() + PATIENCE;
    let (mut seq, mut expires) =
        (None, device.record().map(|record| record.claims().expires_at().to_string()));
    loop {
        let status = match control.status().await {
            Ok(status) => status,
            Err(error) => {
                return vec![Heard { node: "the daemon".to_owned(), problem: Some(error.to_string()) }];
            }
        };
        let taken_up = status.generation == generation;
        if taken_up && status.seq != seq {
            // The daemon signs records too, for example where it was told another address meanwhile.
            let record = context.settings.open_device(name).ok().and_then(|device| device.record().cloned());
            expires = record.map(|record| record.claims().expires_at().to_string()).or(expires);
            seq = status.seq;
        }
        let registered =
            |node: &NodeStatus| node.state == LinkState::Registered && node.expires_at == expires;
        // Another of its addresses leads to the same node.
        let same = |node: &NodeStatus| {
            node.state == LinkState::Same
                && status.nodes.iter().any(|its| its.key == node.key && registered(its))
        };
        let has_heard = |node: &NodeStatus| taken_up && (registered(node) || same(node));
        let may_hear = |node: &NodeStatus| {
            matches!(node.state, LinkState::Registered | LinkState::Connecting) && !has_heard(node)
        };
        let waits = !taken_up || status.nodes.iter().any(may_hear);
        if !waits || Instant::now() >= until {
            let problem = |node: &NodeStatus| match (&node.problem, &status.problem) {
                (Some(problem), _) | (None, Some(problem)) => problem.clone(),
                (None, None) => format!("not within {} s; the daemon goes on telling it", PATIENCE.as_secs()),
            };
            let heard = |node: &NodeStatus| Heard {
                node: node.node.clone(),
                problem: (!has_heard(node)).then(|| problem(node)),
            };
            return status.nodes.iter().map(heard).collect();
        }
        sleep(LOOK_AGAIN).await;
    }
}

impl Told {
    /// Adds a line for the registry and for each node. That nobody has heard who should is no success: `next` says what to do.
    pub(super) fn add_to(&self, outcome: Outcome, registry: bool, next: &str) -> Outcome {
        let nodes: Vec<Value> = self.heard.iter().map(Heard::json).collect();
        let outcome = outcome.with("registry_told", json!(registry)).with("nodes", json!(nodes));
        let nobody = !registry && self.heard.is_empty();
        let outcome = match (registry, nobody) {
            (true, _) => outcome.line("  the registry knows"),
            (false, true) => {
                outcome.line("  not registered here, and no node was told: --node ADDR tells one")
            }
            (false, false) => outcome,
        };
        let outcome = self.heard.iter().fold(outcome, |outcome, heard| outcome.line(heard.line()));
        if self.heard.is_empty() || self.heard.iter().any(|heard| heard.problem.is_none()) {
            return outcome;
        }
        outcome.line(format_args!("  try: {next}")).exit(Exit::Unavailable)
    }

    /// Adds what became of the daemon. That it goes on under a revoked key is no success.
    pub(super) fn add_daemon_to(&self, outcome: Outcome) -> Outcome {
        let outcome = outcome.with("daemon_ended", json!(self.daemon_ended));
        match self.daemon_ended {
            None => outcome,
            Some(true) => outcome.line(format_args!("  {}", mark(true, "the device was up, and has ended"))),
            Some(false) => outcome
                .line(format_args!(
                    "  {}",
                    mark(false, "the device is still up, and may sign with the revoked key")
                ))
                .line("  try: stop tibet-overlay up")
                .exit(Exit::Unavailable),
        }
    }
}

impl Heard {
    fn json(&self) -> Value {
        json!({ "node": self.node, "told": self.problem.is_none(), "problem": self.problem })
    }

    fn line(&self) -> String {
        let node = plain(&self.node);
        match &self.problem {
            None => format!("  {}", mark(true, format_args!("the node {node} has the new state"))),
            Some(problem) => {
                format!("  {}", mark(false, format_args!("not told to the node {node}: {}", plain(problem))))
            }
        }
    }
}
