//! Registering with overlay nodes, once. `tibet-overlay up` goes on doing it.

use jis::Capability;
use serde_json::{Value, json};
use tibet_overlay::intents::{RegisterAnswer, RegisterRequest};
use tibet_overlay::{LocalDevice, NodeClient, Presence, QueryError, system};
use tibet_registry::{Permission, Registration};

use super::Context;
use crate::error::CliError;
use crate::identities::short;
use crate::output::{Outcome, bold, mark, plain};
use crate::overlay::remote::runtime;

pub(super) fn run(
    context: &Context,
    mut device: LocalDevice,
    presence: Presence,
    permission: Option<Permission>,
) -> Result<Outcome, CliError> {
    let now = system::now();
    // As with a registry here: renewed at half its time.
    let due = device.record().is_none_or(|record| {
        let record = record.claims();
        record.issued_at > now || now >= record.issued_at.saturating_add(record.ttl / 2)
    });
    if due || device.presence() != presence {
        device.publish(presence, now)?;
    }
    let registration = device.registration(permission, now)?;
    let identity = device.node_identity()?;
    let (name, fingerprint) = (identity.name.clone(), identity.fingerprint);
    let told = runtime()?.block_on(async {
        let remote = context.nodes_as(identity).await?;
        let mut told = Vec::new();
        for node in remote.client().nodes() {
            told.push((node.address().place(), ask(node, &registration).await));
        }
        Ok::<_, CliError>(told)
    })?;
    let record = registration.record.claims();
    let endpoints: Vec<String> = record.endpoints.iter().map(ToString::to_string).collect();
    let capabilities: Vec<&str> = record.capabilities.iter().map(Capability::as_str).collect();
    let nodes: Vec<Value> = told.iter().map(|(node, answer)| describe(node, answer)).collect();
    let data = json!({
        "name": name.as_str(),
        "fingerprint": fingerprint.to_string(),
        "overlay_address": context.overlay_address(&fingerprint),
        "generation": record.version.generation,
        "seq": record.version.seq,
        "expires_at": record.expires_at().to_string(),
        "endpoints": endpoints,
        "capabilities": capabilities,
        "behind_nat": record.behind_nat,
        "nodes": nodes,
    });
    let done = told.iter().any(|(_, answer)| answer.is_ok());
    if !done && let Some((_, Err(error))) = told.into_iter().next() {
        return Err(error.into());
    } else if !done {
        return Ok(Outcome::text_only(String::new()));
    }
    let outcome =
        Outcome::new("tibet.overlay.register", data).line(bold(format_args!("registered {name}"))).pairs(&[
            ("fingerprint", short(&fingerprint)),
            (
                "record",
                format!(
                    "{}.{}, holds until {}",
                    record.version.generation,
                    record.version.seq,
                    record.expires_at()
                ),
            ),
        ]);
    let outcome = nodes.iter().fold(outcome, |outcome, node| outcome.line(line(node)));
    Ok(outcome.line("  it stays reachable while tibet-overlay up runs"))
}

async fn ask(node: &NodeClient, registration: &Registration) -> Result<RegisterAnswer, QueryError> {
    let Registration { events, record, transport, permission } = registration.clone();
    node.register(RegisterRequest { record, events, transport, permission }).await
}

fn describe(node: &str, answer: &Result<RegisterAnswer, QueryError>) -> Value {
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
            mark(true, format_args!("{}, which sees us at {}", text("node"), text("observed")))
        );
    }
    format!("  {}", mark(false, format_args!("{}: {}", text("node"), text("problem"))))
}

/// Tells the nodes of `--node` what became of a device: its key events and its record, or its revocation. A line for each.
pub(in crate::overlay) fn tell(context: &Context, device: &mut LocalDevice) -> Result<Vec<Value>, CliError> {
    if context.settings.nodes.is_empty() {
        return Ok(Vec::new());
    }
    let revocation = match device.events().last() {
        Some(jis::KeyEvent::Revocation(revocation)) => Some(revocation.clone()),
        _ => None,
    };
    // A revoked device does not speak any more; what it said last speaks for itself.
    let (identity, registration) = match &revocation {
        Some(_) => (context.settings.state.client_identity()?, None),
        None => (device.node_identity()?, Some(device.registration(None, system::now())?)),
    };
    runtime()?.block_on(async {
        let remote = context.nodes_as(identity).await?;
        let mut told = Vec::new();
        for node in remote.client().nodes() {
            let answer = match (&revocation, &registration) {
                (Some(revocation), _) => node.revoke(revocation.clone()).await,
                (None, Some(registration)) => ask(node, registration).await.map(|_| ()),
                (None, None) => Ok(()),
            };
            let problem = answer.err().map(|error| error.to_string());
            told.push(
                json!({ "node": node.address().place(), "told": problem.is_none(), "problem": problem }),
            );
        }
        Ok(told)
    })
}
