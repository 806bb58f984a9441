//! How long to wait before the next try.

use std::time::Duration;

/// The shortest wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits that double, from 1 s to 60 s, each shortened by up to a half by chance: devices that lost a node at once do not come back at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Begins anew.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait. `chance` is any number.
    pub(super) fn next(&mut self, chance: u64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        whole - Duration::from_millis(chance % half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_never_fall_below_half() {
        let mut backoff = Backoff::default();
        for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let mut other = Backoff { failures: backoff.failures };
            assert_eq!(backoff.next(0), Duration::from_secs(whole));
            let short = other.next(u64::MAX);
            assert!(
                short > Duration::from_secs(whole) / 2 && short <= Duration::from_secs(whole),
                "{short:?}"
            );
        }
        backoff.reset();
        assert_eq!(backoff.next(0), FIRST);
    }
}
