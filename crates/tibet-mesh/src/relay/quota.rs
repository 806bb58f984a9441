//! What an identity may send, and what it has sent.

use std::net::Ipv6Addr;
use std::time::Duration;

use jis::Fingerprint;

use super::counts::RelayDrop;

/// What a relay grants, at most (SECURITY R51).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// Bytes that one identity sends in a second, whole datagrams counted. 1 Mbit/s.
    pub bytes_per_second: u64,
    /// Bytes that one identity sends at once after a pause. A second's worth.
    pub burst: u64,
    /// Datagrams to one target that wait for the end of a turn; the oldest make room. 64.
    pub queue: usize,
    /// Targets that one identity sends to in an hour, which begins with the first. 1000. Each costs 4 bytes.
    pub targets_per_hour: usize,
    /// Bytes that one identity sends in a day, which begins with the first. 10 GiB.
    pub bytes_per_day: u64,
    /// Bytes that all send in a second. 1 Gbit/s.
    pub total_bytes_per_second: u64,
    /// Bytes that all send at once. An eighth of a second's worth.
    pub total_burst: u64,
    /// Sessions at once, each of at most 5 KiB: 1 KiB, and the targets of the hour. 65 536.
    pub sessions: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            bytes_per_second: 125_000,
            burst: 125_000,
            queue: 64,
            targets_per_hour: 1000,
            bytes_per_day: 10 << 30,
            total_bytes_per_second: 125_000_000,
            total_burst: 15_625_000,
            sessions: 65_536,
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A bucket that fills with time: kept as the moment at which it is full again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Takes bytes out, if there are so many.
    pub(super) fn take(&mut self, bytes: u64, per_second: u64, burst: u64, now: Duration) -> bool {
        let lasts = |bytes: u64| {
            let nanos = bytes.saturating_mul(1_000_000_000).checked_div(per_second);
            nanos.map_or(Duration::MAX, Duration::from_nanos)
        };
        let full_at = self.full_at.max(now).saturating_add(lasts(bytes));
        let enough = full_at.saturating_sub(now) <= lasts(burst);
        if enough {
            self.full_at = full_at;
        }
        enough
    }
}

/// What one identity has used: of the identity and not of its session, so that another session is no second quota.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    bucket: Bucket,
    day_ends: Duration,
    day_bytes: u64,
    hour_ends: Duration,
    /// The targets of the hour, in order: of each the last four bytes of its address, which are those of a hash.
    targets: Vec<u32>,
}

impl Account {
    /// Counts a datagram, if it is within the quotas; one that is not uses nothing up.
    pub(super) fn take(
        &mut self,
        config: &RelayConfig,
        bytes: u64,
        target: Ipv6Addr,
        now: Duration,
    ) -> Result<(), RelayDrop> {
        if now >= self.hour_ends {
            self.targets.clear();
        }
        let [.., a, b, c, d] = target.octets();
        let target = u32::from_be_bytes([a, b, c, d]);
        let place = self.targets.binary_search(&target);
        if place.is_err() && self.targets.len() >= config.targets_per_hour {
            return Err(RelayDrop::Targets);
        }
        let used = if now < self.day_ends { self.day_bytes } else { 0 };
        let used = used.saturating_add(bytes);
        if used > config.bytes_per_day {
            return Err(RelayDrop::Day);
        }
        if !self.bucket.take(bytes, config.bytes_per_second, config.burst, now) {
            return Err(RelayDrop::Rate);
        }
        if now >= self.day_ends {
            self.day_ends = now.saturating_add(DAY);
        }
        self.day_bytes = used;
        if let Err(place) = place {
            if self.targets.is_empty() {
                self.hour_ends = now.saturating_add(HOUR);
            }
            self.targets.insert(place, target);
        }
        Ok(())
    }

    /// What was used of the day, for keeping.
    pub(super) fn usage(&self, owner: Fingerprint, now: Duration) -> Option<RelayUsage> {
        let usage =
            || RelayUsage { owner, bytes: self.day_bytes, ends_in: self.day_ends.saturating_sub(now) };
        (self.day_bytes > 0 && now < self.day_ends).then(usage)
    }

    /// Of what [`Account::usage`] gave, `elapsed` ago.
    pub(super) fn restored(usage: &RelayUsage, elapsed: Duration, now: Duration) -> Self {
        let left = usage.ends_in.min(DAY).saturating_sub(elapsed);
        Self { day_ends: now.saturating_add(left), day_bytes: usage.bytes, ..Self::default() }
    }

    pub(super) fn day_bytes(&self) -> u64 {
        self.day_bytes
    }

    /// Whether it would make a difference to forget it.
    pub(super) fn matters(&self, now: Duration) -> bool {
        now < self.day_ends.max(self.hour_ends).max(self.bucket.full_at)
    }
}

/// What an identity has used of its day, for keeping over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayUsage {
    /// Whose.
    pub owner: Fingerprint,
    /// Bytes sent in this day.
    pub bytes: u64,
    /// How long its day still lasts, from the moment [`RelayServer::usage`](crate::RelayServer::usage) was asked.
    pub ends_in: Duration,
}
