//! The clocks of this machine.

use std::time::{Duration, Instant};

use tibet_ping::Now;
use tokio::time::Instant as TokioInstant;

use crate::system;

const A_DAY: Duration = Duration::from_secs(24 * 3600);

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
    pub(super) fn instant(&self, mono: Duration) -> TokioInstant {
        // Far away stays far away.
        let instant = self.start.checked_add(mono).map(TokioInstant::from_std);
        instant.unwrap_or_else(|| TokioInstant::now() + A_DAY)
    }
}
