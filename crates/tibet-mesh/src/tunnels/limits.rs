//! How many handshakes are taken up without a cookie: from everybody together, and in each peer's name (SECURITY R55).

use std::time::Duration;

/// Handshakes in a second that are taken up without a cookie, from everybody together: some 80 µs each (SECURITY R55).
pub const HANDSHAKES_PER_SECOND: u32 = 2000;
/// Handshakes that are begun in a peer's name at once without a cookie; one more every second. An honest one begins one in five seconds.
const BURST: u32 = 5;

/// Handshakes of the present second.
#[derive(Debug, Default)]
pub(super) struct Tally {
    second: u64,
    count: u32,
}

impl Tally {
    /// Whether another second has begun since this was asked last.
    pub(super) fn begins_second(&mut self, now: Duration) -> bool {
        let begins = self.second != now.as_secs();
        if begins {
            (self.second, self.count) = (now.as_secs(), 0);
        }
        begins
    }

    /// Whether one more is within [`HANDSHAKES_PER_SECOND`].
    pub(super) fn take(&mut self) -> bool {
        self.count = self.count.saturating_add(1);
        self.count <= HANDSHAKES_PER_SECOND
    }
}

/// Handshakes that a peer may begin.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// When all of them are there again.
    full_at: Duration,
}

impl Allowance {
    pub(super) fn has_room(&self, now: Duration) -> bool {
        self.full_at.saturating_sub(now) + Duration::from_secs(1) <= Duration::from_secs(u64::from(BURST))
    }

    pub(super) fn take(&mut self, now: Duration) {
        if self.has_room(now) {
            self.full_at = self.full_at.max(now) + Duration::from_secs(1);
        }
    }
}
