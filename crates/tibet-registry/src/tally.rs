//! Events that are counted and written down in sums: resolutions, searches, and requests that were refused.
//!
//! One signed, durable token per look-up would make looking up a thousand times slower, and would let anybody fill the disk (SECURITY
//! R64). So of each kind, the first events of a [`WINDOW`], on different subjects, are written at once, and all others of that window as one
//! token with the count of each subject. However many events there are, a kind makes at most [`MAX_AT_ONCE`] + 1 tokens a window.

use std::collections::HashMap;
use std::time::Duration;

use jis::UnixTime;

/// How long events of one kind are gathered.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Events of one kind that are written at once in a window.
pub const MAX_AT_ONCE: usize = 8;
/// Subjects counted one by one in a window; events on further ones are counted together. Keeps the sum's token below 16 KiB, with the
/// longest names, and usually about 4.
pub const MAX_SUBJECTS: usize = 64;
/// How long to leave the storage alone after it could not write.
const PAUSE: Duration = Duration::from_secs(1);

/// What kind of event is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A name was resolved.
    Resolve,
    /// A capability was searched for.
    Discovery,
    /// A proof did not convince. Counted over all names: who it pretends to be is a stranger's word.
    FailedProof,
    /// A request was refused. Likewise.
    Refused,
}

impl Counted {
    const ALL: [Self; 4] = [Self::Resolve, Self::Discovery, Self::FailedProof, Self::Refused];

    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Discovery => "discovery",
            Self::FailedProof => "proof_refused",
            Self::Refused => "refused",
        }
    }
}

/// The events of a window that are not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) what: Counted,
    pub(crate) since: UnixTime,
    /// Counts by subject, in the order of the subjects.
    pub(crate) subjects: Vec<(Box<str>, u64)>,
    /// Events on subjects that are not counted one by one.
    pub(crate) others: u64,
}

impl Sum {
    pub(crate) fn total(&self) -> u64 {
        self.subjects.iter().fold(self.others, |total, (_, count)| total.saturating_add(*count))
    }
}

/// Counts events of all kinds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    windows: [Option<Window>; Counted::ALL.len()],
    /// Until when the storage is left alone.
    paused_until: Option<UnixTime>,
}

#[derive(Debug)]
struct Window {
    since: UnixTime,
    /// Events written at once so far.
    at_once: usize,
    /// Events by subject that are not written yet; a subject written at once stands here with 0.
    counts: HashMap<Box<str>, u64>,
    others: u64,
}

impl Window {
    fn new(since: UnixTime) -> Self {
        Self { since, at_once: 0, counts: HashMap::new(), others: 0 }
    }

    /// Over, or begun by a clock that has been set back since.
    fn is_over(&self, now: UnixTime) -> bool {
        now < self.since || now.saturating_since(self.since) >= WINDOW
    }

    fn add(&mut self, subject: &str, count: u64) {
        if let Some(known) = self.counts.get_mut(subject) {
            *known = known.saturating_add(count);
        } else if self.counts.len() < MAX_SUBJECTS {
            self.counts.insert(subject.into(), count);
        } else {
            self.others = self.others.saturating_add(count);
        }
    }
}

impl Tally {
    /// Counts an event. True when it is to be written at once instead.
    pub(crate) fn count(&mut self, what: Counted, subject: &str, now: UnixTime) -> bool {
        let paused = self.is_paused(now);
        let window = self.windows[what as usize].get_or_insert_with(|| Window::new(now));
        // When no more is written at once, as whenever look-ups are many, the subject is looked up once, not twice.
        let may_write = window.at_once < MAX_AT_ONCE && !paused;
        if may_write && !window.counts.contains_key(subject) {
            window.at_once += 1;
            window.add(subject, 0);
            return true;
        }
        window.add(subject, 1);
        false
    }

    /// Keeps an event that could not be written for the next sum, and leaves the storage alone for a while.
    pub(crate) fn give_back(&mut self, what: Counted, subject: &str, now: UnixTime) {
        self.paused_until = Some(now.saturating_add(PAUSE));
        self.windows[what as usize].get_or_insert_with(|| Window::new(now)).add(subject, 1);
    }

    /// Keeps a sum that could not be written for the next one, and leaves the storage alone for a while.
    pub(crate) fn restore(&mut self, sum: Sum, now: UnixTime) {
        self.paused_until = Some(now.saturating_add(PAUSE));
        let window = self.windows[sum.what as usize].get_or_insert_with(|| Window::new(sum.since));
        window.since = window.since.min(sum.since);
        window.others = window.others.saturating_add(sum.others);
        for (subject, count) in sum.subjects {
            window.add(&subject, count);
        }
    }

    /// The sums of the windows that are over.
    pub(crate) fn take_due(&mut self, now: UnixTime) -> Vec<Sum> {
        if self.is_paused(now) { Vec::new() } else { self.take(|window| window.is_over(now)) }
    }

    /// All sums, for a stop.
    pub(crate) fn take_all(&mut self) -> Vec<Sum> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Window) -> bool) -> Vec<Sum> {
        let mut sums = Vec::new();
        for (what, slot) in Counted::ALL.into_iter().zip(&mut self.windows) {
            let Some(Window { since, counts, others, .. }) = slot.take_if(|window| is_over(window)) else {
                continue;
            };
            let mut subjects: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
            subjects.sort_unstable();
            let sum = Sum { what, since, subjects, others };
            sums.extend((sum.total() > 0).then_some(sum));
        }
        sums
    }

    /// A pause that ends later than one begun now was begun by a clock that has been set back since.
    fn is_paused(&self, now: UnixTime) -> bool {
        self.paused_until.is_some_and(|until| now < until && until <= now.saturating_add(PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> UnixTime {
        UnixTime::from_secs(1_800_000_000 + second)
    }

    fn total(sums: &[Sum]) -> u64 {
        sums.iter().map(Sum::total).sum()
    }

    /// Rule R64: every event is accounted for, in tokens whose number does not depend on the number of events or subjects.
    #[test]
    fn every_event_is_counted_once_and_tokens_are_bounded() {
        for subjects in [1, 3, 5000] {
            let mut tally = Tally::default();
            let (mut at_once, mut tokens, mut summed) = (0, 0, 0);
            for event in 0..60_000u64 {
                let now = at(event / 100);
                let due = tally.take_due(now);
                tokens += due.len();
                summed += total(&due);
                at_once +=
                    usize::from(tally.count(Counted::Resolve, &format!("jis:n{}", event % subjects), now));
            }
            let rest = tally.take_all();
            assert_eq!(at_once as u64 + summed + total(&rest), 60_000);
            let windows = 10;
            assert!(at_once + tokens + rest.len() <= windows * (MAX_AT_ONCE + 1), "{subjects} subjects");
        }
    }

    #[test]
    fn subjects_are_bounded_and_kinds_apart() {
        let mut tally = Tally::default();
        for i in 0..100_000 {
            tally.count(Counted::Discovery, &format!("c{i}"), at(0));
        }
        tally.count(Counted::Resolve, "jis:a", at(0));
        tally.count(Counted::Resolve, "jis:a", at(1));
        let [resolved, searched] = <[Sum; 2]>::try_from(tally.take_all()).expect("two kinds");
        assert_eq!((resolved.subjects, resolved.others), (vec![("jis:a".into(), 1)], 0));
        assert_eq!(searched.subjects.len(), MAX_SUBJECTS - MAX_AT_ONCE);
        assert_eq!(searched.others, (100_000 - MAX_SUBJECTS) as u64);
    }

    #[test]
    fn what_could_not_be_written_is_in_the_next_sum_after_a_pause() {
        let mut tally = Tally::default();
        assert!(tally.count(Counted::Resolve, "jis:a", at(0)));
        tally.give_back(Counted::Resolve, "jis:a", at(0));
        assert!(!tally.count(Counted::Resolve, "jis:b", at(0)), "the storage is left alone");
        assert!(tally.count(Counted::Resolve, "jis:c", at(2)), "and then tried again");
        let due = tally.take_due(at(60));
        assert_eq!(total(&due), 2);
        tally.restore(due[0].clone(), at(60));
        assert_eq!(tally.take_due(at(60)), []);
        assert_eq!(tally.take_due(at(61)), due);
    }

    /// Row 93: what was counted under a clock that ran ahead is written soon after it was set back.
    #[test]
    fn row_93_a_window_and_a_pause_in_the_future_are_over() {
        let mut tally = Tally::default();
        tally.give_back(Counted::Resolve, "jis:a", at(1_000_000));
        assert_eq!(total(&tally.take_due(at(0))), 1);
    }
}
