//! Wall-clock time as signed objects carry it.

use std::fmt;
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Never read from a clock in this crate: the caller
/// passes it in.
///
/// The value is at most [`UnixTime::MAX`], so that it survives JSON readers that hold numbers as doubles, and arithmetic
/// on it saturates there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The latest time that can be expressed: 2^53 − 1 ms, in the year 287396.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Takes milliseconds since the epoch; `None` beyond [`UnixTime::MAX`].
    #[must_use]
    pub const fn from_millis(millis: u64) -> Option<Self> {
        if millis <= Self::MAX.0 { Some(Self(millis)) } else { None }
    }

    /// Takes whole seconds since the epoch, saturating at [`UnixTime::MAX`].
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        let millis = secs.saturating_mul(1000);
        if millis <= Self::MAX.0 { Self(millis) } else { Self::MAX }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This time plus `duration`, at most [`UnixTime::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX.0))
    }

    /// How much later this time is than `earlier`; zero if it is not.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339 in UTC, always with three digits of milliseconds, so that the order of texts is the order of times: `2026-01-02T03:04:05.000Z`. Years beyond
/// 9999 are shown as milliseconds.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match stamp {
            Some(stamp) => write!(f, "{stamp:.3}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_spelling_of_one_length() {
        let text = |millis| UnixTime::from_millis(millis).expect("in range").to_string();
        assert_eq!(text(1_767_323_045_000), "2026-01-02T03:04:05.000Z");
        assert_eq!(text(1_767_323_045_940), "2026-01-02T03:04:05.940Z");
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(UnixTime::MAX.to_string(), "9007199254740991 ms");
    }
}
