//! What `serve` and `up` share as programs that go on: signals, systemd, and what they say on standard error.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;
use crate::output::Exit;

/// What the operator should know while it runs; journald adds the time.
pub(super) fn log_to_standard_error() {
    let format = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_target(false);
    let format = format.with_ansi(std::io::stderr().is_terminal());
    // Somebody who set one up before wants that one.
    let _ = format.with_max_level(tracing::Level::INFO).try_init();
}

/// Tells systemd, if it asked to be told.
pub(super) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    // Nobody to tell is no error.
    let _ = sd_notify::notify(state);
}

/// What somebody wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signalled {
    /// SIGINT, SIGTERM.
    Stop,
    /// SIGHUP.
    Reload,
}

pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they are caught. Must be used within a runtime.
    pub(super) fn catch() -> Result<Self, CliError> {
        let catch = |kind| {
            signal(kind).map_err(|error| CliError::new(Exit::Unavailable, format!("no signals: {error}")))
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.hangup.recv() => Signalled::Reload,
        }
    }
}
