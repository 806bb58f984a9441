//! A node's word that it sees us elsewhere than before.
//!
//! A welcome is not signed: a node, or somebody on the way to it, may say what it likes. Whoever believes it greets all nodes anew, signs a record and doubts every path, and then
//! asks again where it is. So a node's word counts only about the way to one address of it, and the more rarely the more often it counts:
//!
//! | after | it counts again |
//! |---|---|
//! | the first time | 10 s later |
//! | each further time | after twice as long, at most ten minutes |
//! | ten minutes more without it | as at first |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::Session;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// When the word of each node counted last, and for how long it does not since.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    counted: BTreeMap<usize, (Instant, Duration)>,
}

/// Whether the same address of a node sees us at another than before. That a node has another address besides, from which the way back is another, is no move.
pub(super) fn is_elsewhere(before: &Session, now: &Session) -> bool {
    now.address == before.address && now.observed != before.observed
}

impl Elsewhere {
    /// Whether the word of the node with this index counts now. If so, it has counted.
    pub(super) fn counts(&mut self, node: usize, now: Instant) -> bool {
        let wait = match self.counted.get(&node) {
            None => FIRST,
            Some((at, wait)) => {
                let since = now.saturating_duration_since(*at);
                if since < *wait {
                    return false;
                }
                if since >= *wait + LONGEST { FIRST } else { (*wait * 2).min(LONGEST) }
            }
        };
        self.counted.insert(node, (now, wait));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_sees_us_elsewhere_all_the_time_is_believed_ever_more_rarely() {
        let (mut elsewhere, start) = (Elsewhere::default(), Instant::now());
        let mut counted = Vec::new();
        for second in 0..4000 {
            if elsewhere.counts(0, start + Duration::from_secs(second)) {
                counted.push(second);
            }
        }
        assert_eq!(counted, [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030, 3630]);
        assert!(elsewhere.counts(1, start), "each node for itself");
        let later = start + Duration::from_secs(3630 + 1200);
        assert!(elsewhere.counts(0, later), "long quiet");
        let soon = |seconds: u64| later + Duration::from_secs(seconds);
        assert!(!elsewhere.counts(0, soon(9)) && elsewhere.counts(0, soon(10)), "as at first");
    }
}
