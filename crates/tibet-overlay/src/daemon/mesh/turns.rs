//! Whose record is looked up next: whoever has waited longest, some at a time, and each as often as its peer speaks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use jis::Name;

/// Look-ups that are under way at once. While nodes are silent each takes seconds, and the others are not to wait for it.
const AT_ONCE: usize = 8;

/// Somebody whose record is to be no older than this.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: Name,
    /// When it was looked up last, as far as anybody but us has done so.
    pub(super) looked_up: Option<Instant>,
    /// How old what is known of it may be.
    pub(super) may_age: Duration,
}

/// Who waits, and who is being looked up.
#[derive(Debug, Default)]
pub(super) struct Turns {
    ended: BTreeMap<Name, Instant>,
    waiting: VecDeque<Name>,
    under_way: BTreeSet<Name>,
}

impl Turns {
    /// Says anew who is to be looked up.
    pub(super) fn set(&mut self, wanted: Vec<Wanted>, now: Instant) {
        let mut due = Vec::new();
        let mut known = BTreeMap::new();
        for Wanted { name, looked_up, may_age } in wanted {
            let ended = self.ended.get(&name).copied();
            known.extend(ended.map(|ended| (name.clone(), ended)));
            let last = ended.max(looked_up);
            let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= may_age);
            if is_due && !self.under_way.contains(&name) {
                due.push((last, name));
            }
        }
        due.sort();
        self.waiting = due.into_iter().map(|(_, name)| name).collect();
        self.ended = known;
    }

    /// Whose turn it is now, if anybody's; it is under way then.
    pub(super) fn begin(&mut self) -> Option<Name> {
        if self.under_way.len() >= AT_ONCE {
            return None;
        }
        let name = self.waiting.pop_front()?;
        self.under_way.insert(name.clone());
        Some(name)
    }

    /// A look-up has come to its end, whatever came of it.
    pub(super) fn end(&mut self, name: Name, now: Instant) {
        self.under_way.remove(&name);
        self.ended.insert(name, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY R20f: a look-up is how a revocation is seen, so nobody is left out for the sake of others.
    #[test]
    fn nobody_is_looked_up_again_before_all_others_who_wait() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let names: Vec<Name> =
            (0..300).map(|number| format!("jis:n{number}").parse().expect("a name")).collect();
        let wanted = |may_age: Duration| -> Vec<Wanted> {
            let wanted = |name: &Name| Wanted { name: name.clone(), looked_up: None, may_age };
            names.iter().map(wanted).collect()
        };
        let mut turns = Turns::default();
        let mut looked_up: BTreeMap<Name, usize> = BTreeMap::new();
        let mut moment = Duration::ZERO;
        // More are due than one can look up: 16 in a second, each as old as it may be after 5 s.
        for number in 0..94 {
            let now = start + second * number;
            turns.set(wanted(5 * second), now);
            for _ in 0..2 {
                let begun: Vec<Name> = std::iter::from_fn(|| turns.begin()).collect();
                for name in begun {
                    moment += Duration::from_micros(1);
                    turns.end(name.clone(), now + moment);
                    *looked_up.entry(name).or_default() += 1;
                }
            }
        }
        assert_eq!(looked_up.len(), 300);
        assert!(looked_up.values().all(|times| *times == 5 || *times == 6), "{looked_up:?}");
    }

    #[test]
    fn some_are_looked_up_at_once_and_nobody_twice() {
        let start = Instant::now();
        let name = |number: usize| -> Name { format!("jis:n{number}").parse().expect("a name") };
        let wanted = |count: usize| -> Vec<Wanted> {
            let wanted = |number| Wanted { name: name(number), looked_up: None, may_age: Duration::ZERO };
            (0..count).map(wanted).collect()
        };
        let mut turns = Turns::default();
        turns.set(wanted(3), start);
        assert_eq!(std::iter::from_fn(|| turns.begin()).count(), 3);
        turns.set(wanted(20), start);
        assert_eq!(std::iter::from_fn(|| turns.begin()).count(), AT_ONCE - 3, "none of the three again");
        turns.end(name(0), start);
        assert!(turns.begin().is_some() && turns.begin().is_none());
        // Somebody else has looked it up.
        let looked_up = Some(start + Duration::from_secs(1));
        let fresh = Wanted { name: name(0), looked_up, may_age: Duration::from_secs(5) };
        turns.end(name(1), start);
        turns.set(vec![fresh.clone()], start + Duration::from_secs(5));
        assert_eq!(turns.begin(), None);
        turns.set(vec![fresh], start + Duration::from_secs(6));
        assert_eq!(turns.begin(), Some(name(0)));
    }
}
