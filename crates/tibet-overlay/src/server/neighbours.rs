//! The other nodes of the same registry, and which of them are alive.
//!
//! A node that dies says nothing. But each leaves a sign that changes ([`NodeSign`]), which is looked at here: one whose sign stays the same for as long
//! as it said itself is silent, and its devices are gone until it changes again. What counts is how often was looked, not what clocks say: of time in
//! which nobody looked, because the store was away or the machine asleep, nothing follows.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use jis::Name;
use tibet_registry::{MAX_SIGNS, NodeSign, Presence};

/// Signs left, and looks at those of others, within the time after which a silent node is taken for dead.
const SIGNS_IN_TIME: u32 = 4;
/// Most nodes that are known.
const MAX_NODES: usize = MAX_SIGNS;

/// What is known of the nodes that have a part in the registry.
pub(super) struct Neighbours {
    own: Name,
    patience: Duration,
    /// This node's next sign.
    next: u64,
    nodes: HashMap<Name, Neighbour>,
    looked_at: Option<Instant>,
    /// Whether this node has left a sign since it began.
    introduced: bool,
    /// Whether it was said that there are too many.
    warned: bool,
}

struct Neighbour {
    number: u16,
    /// The sign it left last, if any was seen.
    value: Option<u64>,
    patience: Duration,
    /// For how long it has left no other.
    silent: Duration,
}

impl Neighbour {
    fn is_silent(&self) -> bool {
        self.silent >= self.patience
    }
}

impl Neighbours {
    /// For a node of this name whose devices are gone after so long. `first` is any number: a node that begins anew must not leave the sign it left last.
    pub(super) fn new(own: Name, gone_after: Duration, first: u64) -> Self {
        Self {
            own,
            // As signs have it.
            patience: Duration::from_secs(gone_after.as_secs().max(1)),
            next: first,
            nodes: HashMap::new(),
            looked_at: None,
            introduced: false,
            warned: false,
        }
    }

    /// A number for a node that something was heard of; `None` when there are too many. It is alive until its sign shows otherwise.
    fn number(&mut self, node: &Name) -> Option<u16> {
        if let Some(known) = self.nodes.get(node) {
            return Some(known.number);
        }
        let number = u16::try_from(self.nodes.len()).ok().filter(|number| usize::from(*number) < MAX_NODES);
        let Some(number) = number else {
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(%node, "more than {MAX_NODES} nodes have a part in this registry; the devices of others are not seen");
            }
            return None;
        };
        let neighbour = Neighbour { number, value: None, patience: self.patience, silent: Duration::ZERO };
        self.nodes.insert(node.clone(), neighbour);
        Some(number)
    }

    /// The number of the node at which a device is, if that is another than this one.
    pub(super) fn of(&mut self, presence: &Presence) -> Option<u16> {
        let elsewhere = presence.online && presence.node != self.own;
        elsewhere.then(|| self.number(&presence.node)).flatten()
    }

    /// Whether it is time to look at the signs, and to leave one.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.looked_at.is_none_or(|at| now.saturating_duration_since(at) >= self.period())
    }

    /// Looks at the signs there are.
    pub(super) fn look(&mut self, signs: &[NodeSign], now: Instant) {
        // Before the first look nobody was watched.
        let watched = self.looked_at.replace(now).map_or(Duration::ZERO, |_| self.period());
        for neighbour in self.nodes.values_mut() {
            neighbour.silent = neighbour.silent.saturating_add(watched);
        }
        for sign in signs {
            if sign.node == self.own || self.number(&sign.node).is_none() {
                continue;
            }
            let Some(neighbour) = self.nodes.get_mut(&sign.node) else { continue };
            if neighbour.value.replace(sign.value) != Some(sign.value) {
                neighbour.silent = Duration::ZERO;
            }
            neighbour.patience = sign.patience.max(Duration::from_secs(1));
        }
    }

    /// The numbers of those that are silent.
    pub(super) fn silent(&self) -> HashSet<u16> {
        self.nodes.values().filter(|node| node.is_silent()).map(|node| node.number).collect()
    }

    /// The sign to leave now, if there is anybody to see it: a node alone with its registry writes one when it begins, for whoever comes.
    pub(super) fn sign(&mut self) -> Option<NodeSign> {
        if self.introduced && self.nodes.values().all(Neighbour::is_silent) {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        Some(NodeSign { node: self.own.clone(), value: self.next, patience: self.patience })
    }

    /// The sign was left.
    pub(super) fn signed(&mut self) {
        self.introduced = true;
    }

    /// It could not be: the others may take this node for dead by now, and be silent themselves. It says that it is here as soon as it can.
    pub(super) fn not_signed(&mut self) {
        self.introduced = false;
    }

    fn period(&self) -> Duration {
        self.patience / SIGNS_IN_TIME
    }

    /// Has it be time to look.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.looked_at = self.looked_at.and_then(|at| at.checked_sub(self.period()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE_AFTER: Duration = Duration::from_secs(120);

    fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    /// A node that looks when it is time, by a clock that the test holds.
    struct Watcher {
        neighbours: Neighbours,
        now: Instant,
    }

    impl Watcher {
        fn new() -> Self {
            let neighbours = Neighbours::new(name("jis:here"), GONE_AFTER, 7);
            Self { neighbours, now: Instant::now() }
        }

        /// Looks once it is due; gives whether `jis:there` is silent.
        fn look(&mut self, signs: &[(&str, u64)]) -> bool {
            while !self.neighbours.is_due(self.now) {
                self.now += Duration::from_secs(1);
            }
            let sign = |(node, value): &(&str, u64)| NodeSign {
                node: name(node),
                value: *value,
                patience: GONE_AFTER,
            };
            let signs: Vec<NodeSign> = signs.iter().map(sign).collect();
            self.neighbours.look(&signs, self.now);
            let there = self.neighbours.number(&name("jis:there")).expect("room");
            self.neighbours.silent().contains(&there)
        }

        /// How long it takes until `jis:there` is silent with this as its last sign.
        fn until_silent(&mut self, signs: &[(&str, u64)]) -> Duration {
            let begun = self.now;
            for _ in 0..1000 {
                if self.look(signs) {
                    return self.now - begun;
                }
            }
            panic!("it is never silent");
        }
    }

    #[test]
    fn a_node_is_silent_when_its_sign_stays_the_same_and_alive_when_it_changes() {
        let mut watcher = Watcher::new();
        assert!(!watcher.look(&[("jis:there", 1)]), "nobody knows yet");
        for value in 2..20 {
            assert!(!watcher.look(&[("jis:there", value)]));
        }
        assert_eq!(watcher.until_silent(&[("jis:there", 19)]), GONE_AFTER);
        assert!(watcher.look(&[("jis:there", 19)]) && watcher.look(&[]));
        // Another number is enough; it need not be a larger one.
        assert!(!watcher.look(&[("jis:there", 3)]));
        assert_eq!(watcher.until_silent(&[]), GONE_AFTER, "one that is on no list any more");
    }

    /// Its devices are noted, but it has never left a sign.
    #[test]
    fn a_node_that_was_heard_of_has_its_time_to_leave_a_sign() {
        let mut watcher = Watcher::new();
        assert!(!watcher.look(&[]));
        assert_eq!(watcher.until_silent(&[]), GONE_AFTER);
    }

    /// SECURITY R43: of a time in which this node itself was asleep or without its store nothing follows.
    #[test]
    fn time_in_which_nobody_looked_makes_nobody_silent() {
        let mut watcher = Watcher::new();
        watcher.look(&[("jis:there", 1)]);
        for _ in 0..2 {
            watcher.now += 100 * GONE_AFTER;
            assert!(!watcher.look(&[("jis:there", 1)]));
        }
        assert_eq!(watcher.until_silent(&[("jis:there", 1)]), GONE_AFTER / 2);
    }

    /// A full disk: both can read, neither can write. Each is silent for the other then, and must not wait for it.
    #[test]
    fn a_node_that_could_not_leave_its_sign_leaves_it_as_soon_as_it_can() {
        let mut watcher = Watcher::new();
        watcher.look(&[("jis:there", 1)]);
        assert!(watcher.neighbours.sign().is_some());
        watcher.neighbours.signed();
        watcher.until_silent(&[("jis:there", 1)]);
        assert!(watcher.neighbours.sign().is_none(), "nobody is there to see it");
        watcher.neighbours.not_signed();
        assert!(watcher.neighbours.sign().is_some());
    }

    /// Nodes of one registry may be set up differently: each says itself how long it may be silent.
    #[test]
    fn a_node_that_signs_seldom_is_waited_for_as_long_as_it_said() {
        let mut watcher = Watcher::new();
        let signs = [NodeSign { node: name("jis:there"), value: 1, patience: 5 * GONE_AFTER }];
        watcher.look(&[]);
        for look in 0..=20 {
            watcher.now += GONE_AFTER;
            watcher.neighbours.look(&signs, watcher.now);
            assert_eq!(watcher.neighbours.silent().len(), usize::from(look == 20), "{look}");
        }
    }

    #[test]
    fn signs_are_left_while_there_is_somebody_to_see_them_and_each_is_another() {
        let mut neighbours = Neighbours::new(name("jis:here"), GONE_AFTER, u64::MAX);
        let now = Instant::now();
        neighbours.look(&[], now);
        let first = neighbours.sign().expect("the first, for whoever comes");
        assert_eq!(
            neighbours.sign().map(|sign| sign.node),
            Some(name("jis:here")),
            "it could not be written"
        );
        neighbours.signed();
        assert_eq!(neighbours.sign(), None, "it is alone");
        neighbours.look(std::slice::from_ref(&first), now);
        assert_eq!(neighbours.sign(), None, "with its own sign");
        neighbours.look(&[first.clone(), NodeSign { node: name("jis:there"), ..first.clone() }], now);
        let values: HashSet<u64> =
            (0..100).map(|_| neighbours.sign().expect("there is another").value).collect();
        assert!(values.len() == 100 && !values.contains(&first.value));
        for _ in 0..SIGNS_IN_TIME {
            neighbours.look(&[], now);
        }
        assert_eq!(neighbours.sign(), None, "the other is silent");
    }

    /// SECURITY R19.
    #[test]
    fn more_nodes_than_there_may_be_are_ignored() {
        let mut neighbours = Neighbours::new(name("jis:here"), GONE_AFTER, 0);
        let numbers: HashSet<_> =
            (0..MAX_NODES).map(|i| neighbours.number(&name(&format!("jis:n{i}"))).expect("room")).collect();
        assert_eq!(numbers.len(), MAX_NODES);
        assert_eq!(neighbours.number(&name("jis:more")), None);
        assert!(neighbours.number(&name("jis:n5")).is_some_and(|number| numbers.contains(&number)));
        let more = NodeSign { node: name("jis:more"), value: 1, patience: GONE_AFTER };
        neighbours.look(&[more], Instant::now());
        assert_eq!(neighbours.nodes.len(), MAX_NODES);
    }
}
