//! What both commands do to their own process.

/// No core dump may hold a key (SECURITY R25). Where the system has no such switch there is nothing to do about it.
pub(crate) fn keep_secrets_in_memory() {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
