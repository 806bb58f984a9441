//! How the daemon is doing, or whether nodes are there.

use std::time::Instant;

use serde_json::{Value, json};
use tibet_overlay::daemon::{DaemonStatus, LinkState};

use super::{Context, mesh};
use crate::error::CliError;
use crate::output::{Exit, Outcome, bold, mark, plain};
use crate::process::runtime;

/// Of the nodes that were given, else of the daemon that runs here; `None` where there is neither.
pub(super) fn run(context: &Context, peers: bool) -> Result<Option<Outcome>, CliError> {
    if context.settings.registry_wanted {
        return Ok(None);
    }
    // Only a daemon has peers; nodes that stand in the environment or a file are for other commands.
    if !peers && !context.settings.nodes.is_empty() {
        return nodes(context).map(Some);
    }
    let Some(control) = context.daemon()? else { return Ok(None) };
    let status = runtime(1)?.block_on(control.status())?;
    daemon(&status, peers).map(Some)
}

fn daemon(status: &DaemonStatus, peers: bool) -> Result<Outcome, CliError> {
    let or_none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let nat = if status.behind_nat { " (behind NAT)" } else { "" };
    let mut pairs = vec![
        ("public key", status.public_key.clone()),
        ("address", status.address.clone()),
        ("endpoints", format!("{}{nat}", or_none(&status.endpoints))),
        ("capabilities", or_none(&status.capabilities)),
        ("up for", format!("{} s", status.uptime_s)),
        ("neighbours", status.peers.to_string()),
        ("mesh", mesh::summary(status.mesh.as_ref())),
    ];
    if let Some(mesh) = &status.mesh {
        pairs.push(("port mapping", mesh::port_mapping(&mesh.port_mapping)));
    }
    if let Some(problem) = &status.problem {
        pairs.push(("problem", plain(problem)));
    }
    let outcome = Outcome::new("tibet.overlay.up.status", json!(status))
        .line(bold(format_args!("{} is up", status.name)))
        .pairs(&pairs);
    let rows = status.nodes.iter().map(|node| {
        vec![
            plain(&node.node),
            mark(node.state == LinkState::Registered, node.state.as_str()),
            node.observed.clone().unwrap_or_default(),
            node.last_heard.clone().unwrap_or_default(),
            node.problem.as_deref().map(plain).unwrap_or_default(),
        ]
    });
    let outcome =
        outcome.line("").table(&["NODE", "STATE", "SEES US AT", "LAST HEARD", "PROBLEM"], rows.collect());
    let outcome = match (peers, &status.mesh) {
        (false, _) => outcome,
        (true, Some(mesh)) => mesh::all(outcome, mesh),
        (true, None) => {
            return Err(CliError::new(Exit::No, format!("{} takes no part in the mesh", status.name))
                .hint("tibet-overlay up without --no-mesh"));
        }
    };
    // Up and registered nowhere is no success.
    Ok(outcome.exit(if status.is_registered() { Exit::Yes } else { Exit::No }))
}

fn nodes(context: &Context) -> Result<Outcome, CliError> {
    let identity = context.settings.state.client_identity()?;
    let found: Vec<Value> = runtime(1)?.block_on(async {
        let remote = context.nodes_as(identity, &context.settings.nodes).await?;
        let mut found = Vec::new();
        for node in remote.client().nodes() {
            let started = Instant::now();
            found.push(match node.hello().await {
                Ok(session) => json!({
                    "node": node.address().place(), "reachable": true, "address": session.address.to_string(),
                    "key": session.key.to_multibase(), "observed": session.observed.to_string(),
                    "rtt_ms": (started.elapsed().as_secs_f64() * 1e6).round() / 1e3, "problem": null,
                }),
                Err(error) => json!({
                    "node": node.address().place(), "reachable": false, "address": null, "key": null, "observed": null,
                    "rtt_ms": null, "problem": error.to_string(),
                }),
            });
        }
        Ok::<_, CliError>(found)
    })?;
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    };
    let row = |node: &Value| {
        let reachable = node["reachable"] == true;
        let note = if reachable { format!("{} ms", text(&node["rtt_ms"])) } else { text(&node["problem"]) };
        vec![text(&node["node"]), mark(reachable, note), text(&node["observed"]), text(&node["key"])]
    };
    let rows = found.iter().map(row).collect();
    let reachable = found.iter().any(|node| node["reachable"] == true);
    Ok(Outcome::new("tibet.overlay.nodes", json!({ "nodes": found }))
        .table(&["NODE", "ANSWER", "SEES US AT", "KEY"], rows)
        .exit(if reachable { Exit::Yes } else { Exit::Unavailable }))
}
