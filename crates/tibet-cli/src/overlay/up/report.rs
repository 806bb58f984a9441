//! What `up` says while it runs: a line when it is up, and one for each change with a node.

use std::path::Path;

use jis::{Name, UnixTime};
use serde_json::{Value, json};
use tibet_overlay::daemon::{DaemonStatus, LinkState, NodeStatus};

use crate::output::{Outcome, mark, plain, shown};

pub(super) struct Report {
    as_json: bool,
    /// How it stood with each node when that was last told.
    told: Vec<(LinkState, Option<String>)>,
}

fn standing(node: &NodeStatus) -> (LinkState, Option<String>) {
    (node.state, node.problem.clone())
}

impl Report {
    pub(super) fn new(as_json: bool) -> Self {
        Self { as_json, told: Vec::new() }
    }

    pub(super) fn up(&mut self, status: &DaemonStatus, control: &Path) {
        self.told = vec![(LinkState::Connecting, None); status.nodes.len()];
        let nodes: Vec<&str> = status.nodes.iter().map(|node| node.node.as_str()).collect();
        let data = json!({
            "event": "up", "name": status.name, "address": status.address, "nodes": nodes,
            "control": control.display().to_string(),
        });
        self.print(
            data,
            format!(
                "up as {} on {}, nodes {}; control socket {}",
                status.name,
                status.address,
                nodes.join(", "),
                shown(control)
            ),
        );
    }

    /// Whether there is anything to tell.
    pub(super) fn has_news(&self, nodes: &[NodeStatus]) -> bool {
        nodes.iter().map(standing).ne(self.told.iter().cloned())
    }

    /// Tells it, and gives a line that sums it up.
    pub(super) fn tell(&mut self, name: &Name, nodes: &[NodeStatus]) -> String {
        let told = std::mem::take(&mut self.told);
        for (node, before) in nodes.iter().zip(told) {
            if standing(node) != before {
                self.node(node);
            }
        }
        self.told = nodes.iter().map(standing).collect();
        let registered = nodes.iter().filter(|node| node.state == LinkState::Registered).count();
        format!("{name}: registered with {registered} of {} nodes", nodes.len())
    }

    pub(super) fn problem(&self, problem: &str) {
        self.print(json!({ "event": "problem", "problem": problem }), plain(problem));
    }

    pub(super) fn down(&self, name: &Name, now: UnixTime) {
        let data = json!({ "event": "down", "name": name.as_str(), "time": now.to_string() });
        self.print(data, format!("{name} has said goodbye"));
    }

    fn node(&self, node: &NodeStatus) {
        let data = json!({
            "event": "node", "node": node.node, "key": node.key, "state": node.state.as_str(),
            "observed": node.observed, "expires_at": node.expires_at, "problem": node.problem,
        });
        let text = match node.state {
            LinkState::Registered => {
                let observed = node.observed.as_deref().unwrap_or("?");
                let node = plain(&node.node);
                mark(true, format_args!("registered with {node}; the node sees it at {observed}"))
            }
            state => {
                let problem = node.problem.as_deref().map(plain).unwrap_or_default();
                mark(false, format_args!("{} ({}): {problem}", plain(&node.node), state.as_str()))
            }
        };
        self.print(data, text);
    }

    fn print(&self, data: Value, text: String) {
        // Who reads it may have gone; the device stays.
        let _ = Outcome::new("tibet.overlay.up", data).line(text).print(self.as_json);
    }
}
