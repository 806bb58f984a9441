//! What survives a restart: one number.

use std::time::Duration;

use jis::UnixTime;

use crate::now::Now;
use crate::replay::ReplayRefusal;
use crate::timestamp::Timestamp;

/// An upper bound F on every timestamp ever accepted, written to disk before it is needed (SECURITY R22).
///
/// Nothing after F is accepted while running, and nothing up to F after a restart. So no packet is accepted once before and once after,
/// whatever the clock says, at the price of up to 15 s after a crash in which a timestamp alone is not enough.
///
/// Drive it like the other machines: when [`poll_persist`](Self::poll_persist) gives a bound, write it durably and say so with
/// [`handle_persisted`](Self::handle_persisted); [`poll_timeout`](Self::poll_timeout) says when to ask again.
#[derive(Debug, Clone, Copy)]
pub struct RestartBound {
    refused_through: Option<UnixTime>,
    persisted: Option<UnixTime>,
    asked_at: Option<Duration>,
}

impl RestartBound {
    /// How often a new bound is due.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// How far ahead of the present a bound lies: the interval, and the 5 s that timestamps may be ahead.
    pub const AHEAD: Duration = Duration::from_secs(15);

    /// Begins with the bound an earlier run left on disk. `None` is for an identity that never ran before: nothing was ever sent to it
    /// that could be sent again.
    #[must_use]
    pub fn new(left_by_earlier_run: Option<UnixTime>) -> Self {
        Self { refused_through: left_by_earlier_run, persisted: None, asked_at: None }
    }

    /// A new bound to be written to disk, if one is due.
    pub fn poll_persist(&mut self, clock: UnixTime, now: Now) -> Option<UnixTime> {
        if now.mono < self.poll_timeout() {
            return None;
        }
        self.asked_at = Some(now.mono);
        // Never below what is on disk: with a clock set back, the next restart would not know what an earlier run has accepted.
        Some(clock.saturating_add(Self::AHEAD)).max(self.persisted).max(self.refused_through)
    }

    /// `bound` is on disk now, fsync and all.
    pub fn handle_persisted(&mut self, bound: UnixTime) {
        self.persisted = self.persisted.max(Some(bound));
    }

    /// When the next bound is due, in monotonic time; zero for at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        self.asked_at.map_or(Duration::ZERO, |at| at.saturating_add(Self::INTERVAL))
    }

    /// Whether a timestamp lies between what an earlier run may have accepted and what this one may.
    ///
    /// # Errors
    /// [`ReplayRefusal::BeforeRestart`], [`ReplayRefusal::BeyondBound`].
    pub fn check(&self, timestamp: Timestamp) -> Result<(), ReplayRefusal> {
        if self.refused_through.is_some_and(|bound| timestamp <= Timestamp::from(bound)) {
            return Err(ReplayRefusal::BeforeRestart);
        }
        match self.persisted {
            Some(bound) if timestamp <= Timestamp::from(bound) => Ok(()),
            _ => Err(ReplayRefusal::BeyondBound),
        }
    }

    /// Until when packets are refused because of the earlier run. Far in the future if that run's clock was wrong or this one's is: for the
    /// operator to be told, since nothing here can know which.
    #[must_use]
    pub fn refused_through(&self) -> Option<UnixTime> {
        self.refused_through
    }
}
