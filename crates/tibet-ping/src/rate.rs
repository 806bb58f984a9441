//! Limits on how often something may happen.

use std::collections::BTreeMap;
use std::time::Duration;

/// So many at once, and so many a second after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Most at once.
    pub burst: u32,
    /// A second.
    pub per_second: u32,
}

/// A bucket that fills with time. Counted in microseconds of waiting, so that nothing is rounded away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The time at which the bucket is full again. In the past when it is full.
    full_at: Duration,
}

impl Bucket {
    pub(crate) const FULL: Self = Self { full_at: Duration::ZERO };

    /// Takes one out, if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let one = Duration::from_secs(1) / rate.per_second.max(1);
        let full_at = self.full_at.max(now).saturating_add(one);
        let allowed = full_at.saturating_sub(now) <= one.saturating_mul(rate.burst.max(1));
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }

    fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

/// One bucket for each of many, a full one being the same as none.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    most: usize,
    buckets: BTreeMap<K, Bucket>,
    swept_at: Option<Duration>,
}

impl<K: Ord> Buckets<K> {
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, buckets: BTreeMap::new(), swept_at: None }
    }

    /// Takes one out of `key`'s bucket. When `most` keys are busy at the same time, others are refused: bounded memory comes first.
    pub(crate) fn take(&mut self, key: K, now: Duration) -> bool {
        if let Some(bucket) = self.buckets.get_mut(&key) {
            return bucket.take(self.rate, now);
        }
        if self.buckets.len() >= self.most {
            // Looking through all of them at every packet would be work for an attacker to ask for.
            let due = self.swept_at.is_none_or(|at| now.saturating_sub(at) >= Duration::from_secs(1));
            if due {
                self.buckets.retain(|_, bucket| !bucket.is_full(now));
                self.swept_at = Some(now);
            }
            if self.buckets.len() >= self.most {
                return false;
            }
        }
        let mut bucket = Bucket::FULL;
        let allowed = bucket.take(self.rate, now);
        self.buckets.insert(key, bucket);
        allowed
    }

    /// Whether `key`'s bucket has one to take. Takes nothing.
    pub(crate) fn has_room(&self, key: &K, now: Duration) -> bool {
        self.buckets.get(key).is_none_or(|bucket| Bucket::clone(bucket).take(self.rate, now))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, per_second: 2 };

    #[test]
    fn a_burst_then_so_many_a_second() {
        let mut bucket = Bucket::FULL;
        let at = |ms| Duration::from_secs(100) + Duration::from_millis(ms);
        let taken = |bucket: &mut Bucket, ms| bucket.take(RATE, at(ms));
        assert_eq!([0, 0, 0, 0].map(|ms| taken(&mut bucket, ms)), [true, true, true, false]);
        assert_eq!([499, 500, 501].map(|ms| taken(&mut bucket, ms)), [false, true, false]);
        // After a long time no more than a burst.
        assert_eq!([60_000; 4].map(|ms| taken(&mut bucket, ms)), [true, true, true, false]);
    }

    #[test]
    fn a_full_table_refuses_new_keys_until_old_ones_are_at_rest() {
        let mut buckets = Buckets::new(RATE, 2);
        let start = Duration::from_secs(100);
        assert!(buckets.take(1, start) && buckets.take(2, start));
        assert!(!buckets.take(3, start));
        assert!(buckets.take(1, start));
        // Key 1 took two and is at rest after a second.
        assert!(buckets.take(3, start + Duration::from_secs(1)));
        assert_eq!(buckets.len(), 1);
    }
}
