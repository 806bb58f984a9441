//! What both commands do to their own process.

use tokio::runtime::{Builder, Runtime};

use crate::error::CliError;
use crate::output::Exit;

/// No core dump may hold a key (SECURITY R25). Where the system has no such switch there is nothing to do about it.
pub(crate) fn keep_secrets_in_memory() {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// With these threads; one is enough for one question after the other.
pub(crate) fn runtime(threads: usize) -> Result<Runtime, CliError> {
    let mut builder = if threads > 1 { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let built = builder.worker_threads(threads).enable_all().build();
    built.map_err(|error| CliError::new(Exit::Unavailable, format!("no runtime: {error}")))
}
