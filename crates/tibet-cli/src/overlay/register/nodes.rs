//! Registering with overlay nodes, once. `tibet-overlay up` goes on doing it.

use serde_json::{Value, json};
use tibet_overlay::intents::{RegisterAnswer, RegisterRequest};
use tibet_overlay::{LocalDevice, NodeClient, QueryError};
use tibet_registry::Registration;

use super::{Context, describe, lines};
use crate::error::CliError;
use crate::output::{Outcome, bold, mark, plain};
use crate::process::runtime;

pub(super) fn run(
    context: &Context,
    device: &LocalDevice,
    registration: &Registration,
) -> Result<Outcome, CliError> {
    let identity = device.node_identity()?;
    let mut told = runtime(1)?.block_on(async {
        let remote = context.nodes_as(identity, &context.settings.nodes).await?;
        let mut told = Vec::new();
        for node in remote.client().nodes() {
            told.push((node.address().place(), ask(node, registration).await));
        }
        Ok::<_, CliError>(told)
    })?;
    let nodes: Vec<Value> = told.iter().map(|(node, answer)| node_json(node, answer)).collect();
    if told.iter().all(|(_, answer)| answer.is_err())
        && let Some((_, Err(error))) = told.drain(..).next()
    {
        return Err(error.into());
    }
    let changed = nodes.iter().any(|node| node["changed"] == true);
    let record = registration.record.claims();
    let outcome = describe(context, record)
        .with("changed", json!(changed))
        .with("trust_score", Value::Null)
        .with("zone", Value::Null)
        .with("registry", Value::Null)
        .with("nodes", json!(nodes))
        .line(bold(format_args!("registered {}", record.name)))
        .pairs(&lines(record));
    let outcome = nodes.iter().fold(outcome, |outcome, node| outcome.line(line(node)));
    Ok(outcome.line("  it stays reachable while tibet-overlay up runs"))
}

/// Registers a device with one node.
pub(in crate::overlay) async fn ask(
    node: &NodeClient,
    registration: &Registration,
) -> Result<RegisterAnswer, QueryError> {
    let Registration { events, record, transport, permission } = registration.clone();
    node.register(RegisterRequest { record, events, transport, permission }).await
}

fn node_json(node: &str, answer: &Result<RegisterAnswer, QueryError>) -> Value {
    match answer {
        Ok(answer) => json!({
            "node": node, "registered": true, "changed": answer.changed, "observed": answer.observed.to_string(),
            "bound_since": answer.registered_at.to_string(), "problem": null,
        }),
        Err(error) => json!({
            "node": node, "registered": false, "changed": false, "observed": null, "bound_since": null,
            "problem": error.to_string(),
        }),
    }
}

fn line(node: &Value) -> String {
    let text = |member: &str| plain(node[member].as_str().unwrap_or_default());
    if node["registered"] == true {
        return format!(
            "  {}",
            mark(true, format_args!("{}; the node sees it at {}", text("node"), text("observed")))
        );
    }
    format!("  {}", mark(false, format_args!("{}: {}", text("node"), text("problem"))))
}
