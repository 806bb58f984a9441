//! Events that are counted and written down in sums: resolutions, searches, and requests that were refused.
//!
//! One signed, durable token per look-up would make looking up a thousand times slower, and would let anybody fill the disk (SECURITY
//! R64). So the first event of a kind and subject is written at once, and what follows within [`WINDOW`] is written as one token
//! with a count.

use std::collections::BTreeMap;
use std::time::Duration;

use jis::UnixTime;

/// How long events of one kind and subject are gathered.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Subjects gathered at a time. When there are more, all are written and gathering begins anew.
pub const MAX_SUBJECTS: usize = 4096;

/// What kind of event is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Discovery => "discovery",
            Self::FailedProof => "proof_refused",
            Self::Refused => "refused",
        }
    }
}

/// A count that is due to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) what: Counted,
    pub(crate) subject: String,
    pub(crate) count: u64,
    pub(crate) since: UnixTime,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    open: BTreeMap<(Counted, String), Window>,
    /// No window ends before this.
    next: Option<UnixTime>,
}

#[derive(Debug)]
struct Window {
    since: UnixTime,
    /// Events that are not written yet.
    count: u64,
}

impl Tally {
    /// Counts an event. True when it is the first of its window and to be written at once.
    pub(crate) fn count(&mut self, what: Counted, subject: &str, now: UnixTime) -> bool {
        // The common case, a subject that is already being counted, costs no allocation of a map entry.
        let key = (what, subject.to_owned());
        if let Some(window) = self.open.get_mut(&key) {
            window.count = window.count.saturating_add(1);
            return false;
        }
        self.open.insert(key, Window { since: now, count: 0 });
        let ends = now.saturating_add(WINDOW);
        self.next = Some(self.next.map_or(ends, |next| next.min(ends)));
        true
    }

    /// Keeps an event that could not be written, for the next sum. Where nothing can be written for long, events of further subjects
    /// are lost: bounded memory comes first.
    pub(crate) fn give_back(&mut self, what: Counted, subject: &str, now: UnixTime) {
        let key = (what, subject.to_owned());
        if self.open.len() > MAX_SUBJECTS && !self.open.contains_key(&key) {
            return;
        }
        let window = self.open.entry(key).or_insert(Window { since: now, count: 0 });
        window.count = window.count.saturating_add(1);
        let ends = window.since.saturating_add(WINDOW);
        self.next = Some(self.next.map_or(ends, |next| next.min(ends)));
    }

    /// Takes counts back that could not be written.
    pub(crate) fn restore(&mut self, due: Vec<Due>) {
        for Due { what, subject, count, since } in due {
            let window = self.open.entry((what, subject)).or_insert(Window { since, count: 0 });
            window.count = window.count.saturating_add(count);
            window.since = window.since.min(since);
        }
        self.next = self.open.values().map(|window| window.since.saturating_add(WINDOW)).min();
    }

    /// Whether [`Tally::take_due`] has work to do.
    pub(crate) fn is_due(&self, now: UnixTime) -> bool {
        // A window that ends later than one begun now was begun by a clock that has been set back since.
        let over = |next: UnixTime| now >= next || now.saturating_add(WINDOW) < next;
        self.open.len() > MAX_SUBJECTS || self.next.is_some_and(over)
    }

    /// The counts whose window is over, or all of them when there are too many.
    pub(crate) fn take_due(&mut self, now: UnixTime) -> Vec<Due> {
        let all = self.open.len() > MAX_SUBJECTS;
        let is_over =
            |window: &Window| all || now < window.since || now.saturating_since(window.since) >= WINDOW;
        self.take(is_over)
    }

    /// All counts, for a stop.
    pub(crate) fn take_all(&mut self) -> Vec<Due> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Window) -> bool) -> Vec<Due> {
        let over = self.open.extract_if(.., |_, window| is_over(window));
        let due = over
            .filter(|(_, window)| window.count > 0)
            .map(|((what, subject), window)| Due { what, subject, count: window.count, since: window.since })
            .collect();
        self.next = self.open.values().map(|window| window.since.saturating_add(WINDOW)).min();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_written_once_either_at_once_or_in_a_sum() {
        let mut tally = Tally::default();
        let start = UnixTime::from_secs(1_800_000_000);
        let (mut at_once, mut in_sums) = (0, 0);
        for second in 0..600 {
            let now = start.saturating_add(Duration::from_secs(second));
            if tally.is_due(now) {
                in_sums += tally.take_due(now).iter().map(|due| due.count).sum::<u64>();
            }
            at_once += u64::from(tally.count(Counted::Resolve, "jis:a", now));
            at_once += u64::from(tally.count(
                Counted::Resolve,
                if second % 2 == 0 { "jis:b" } else { "jis:c" },
                now,
            ));
        }
        in_sums += tally.take_all().iter().map(|due| due.count).sum::<u64>();
        assert_eq!(at_once + in_sums, 1200);
        assert!(at_once <= 3 * 11, "{at_once} tokens of 1200 events");
    }

    /// Row 93: what was counted under a clock that ran ahead is written soon after it was set back.
    #[test]
    fn row_93_a_window_in_the_future_is_over() {
        let mut tally = Tally::default();
        let (ahead, now) = (UnixTime::from_secs(2_100_000_000), UnixTime::from_secs(1_800_000_000));
        assert!(tally.count(Counted::Resolve, "jis:a", ahead));
        assert!(!tally.count(Counted::Resolve, "jis:a", ahead));
        assert!(tally.is_due(now));
        assert_eq!(tally.take_due(now).len(), 1);
        assert!(!tally.is_due(now));
    }

    #[test]
    fn an_event_that_could_not_be_written_is_in_the_next_sum() {
        let mut tally = Tally::default();
        let now = UnixTime::from_secs(1_800_000_000);
        tally.give_back(Counted::Resolve, "jis:a", now);
        assert!(!tally.is_due(now));
        let due = tally.take_due(now.saturating_add(WINDOW));
        assert_eq!(due.iter().map(|due| due.count).collect::<Vec<_>>(), [1]);
        for i in 0..2 * MAX_SUBJECTS {
            tally.give_back(Counted::Resolve, &format!("jis:n{i}"), now);
        }
        assert_eq!(tally.open.len(), MAX_SUBJECTS + 1);
    }

    #[test]
    fn subjects_are_bounded() {
        let mut tally = Tally::default();
        let now = UnixTime::from_secs(1_800_000_000);
        for i in 0..100_000 {
            tally.count(Counted::Discovery, &format!("c{i}"), now);
            if tally.is_due(now) {
                tally.take_due(now);
            }
            assert!(tally.open.len() <= MAX_SUBJECTS + 1);
        }
    }
}
