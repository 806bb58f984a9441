//! The clocks of this machine.

use std::time::Instant;

use tibet_ping::Now;
use tokio::time::Instant as TokioInstant;

use crate::system;

/// Both clocks, from one moment on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: system::now(), mono: self.start.elapsed() }
    }

    /// A monotonic time of the node, as the runtime has it.
    pub(super) fn instant(&self, mono: std::time::Duration) -> TokioInstant {
        // Far away stays far away.
        TokioInstant::from_std(self.start.checked_add(mono).unwrap_or(self.start))
    }
}
