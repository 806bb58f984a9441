//! Tells the operator of names that wait for a decision: a program of the operator's own is run for each.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use jis::Fingerprint;
use tibet_overlay::server::NodeHandle;
use tibet_registry::{NameRequest, RequestState};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{interval, timeout};

use crate::output::Outcome;
use crate::overlay::pending::describe;

/// How often it is looked for new claims.
const ROUND: Duration = Duration::from_secs(2);
/// How long the program may take; then it is ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// As many as a registry keeps at most.
const ALL: usize = 1024;

/// Runs `program` by the shell for each claim that begins to wait, with the claim as JSON on its standard input. Ends with the task.
pub(super) async fn run(node: NodeHandle, program: String) {
    let mut told: BTreeSet<Fingerprint> = BTreeSet::new();
    let mut rounds = interval(ROUND);
    loop {
        rounds.tick().await;
        let requests = node.registry().call(|registry, _| (registry.requests(None, ALL), Vec::new())).await;
        let Ok(Ok(requests)) = requests else { continue };
        let waits = |request: &&NameRequest| request.state == RequestState::Waiting;
        let waiting: Vec<&NameRequest> = requests.iter().filter(waits).collect();
        for request in &waiting {
            if told.insert(request.fingerprint)
                && let Err(error) = tell(&program, request).await
            {
                tracing::warn!(%error, name = %request.name, "the hook for pending names failed");
            }
        }
        // Who has been decided on, or given up, may ask again one day.
        told.retain(|known| waiting.iter().any(|request| request.fingerprint == *known));
    }
}

async fn tell(program: &str, request: &NameRequest) -> std::io::Result<()> {
    let claim = Outcome::new("tibet.overlay.pending.claim", describe(request)).to_json();
    // What strangers chose goes in on standard input, and nothing of it on the command line.
    let mut child =
        Command::new("sh").arg("-c").arg(program).stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read is no failure.
        let _ = input.write_all(format!("{claim}\n").as_bytes()).await;
    }
    let status = timeout(PATIENCE, child.wait()).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
}
