//! Which questions are answered: those that a node has signed, and so many of each node.
//!
//! Where a datagram says that it comes from is not where it comes from. Anybody can send in the name of a node, so what counts against a node is what its key has signed, and
//! nothing counts against another (SECURITY R19, R20d).
//!
//! | of one node | bound |
//! |---|---|
//! | datagrams with the right keys in them, whose signature is looked at | [`CHECKED`] a second |
//! | questions, each of which costs some signatures | [`ANSWERED`] a second |
//! | questions that are answered at once | [`AT_ONCE`] |

use std::collections::BTreeMap;
use std::sync::Arc;

use jis::{PublicKey, Query, Signed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant};

use crate::daemon::MAX_NODES;

/// Some 5 % of one processor's time.
const CHECKED: u32 = 1000;
const ANSWERED: u32 = 200;
const AT_ONCE: usize = 16;

/// What each node has asked.
#[derive(Debug, Default)]
pub(super) struct Gate {
    nodes: BTreeMap<[u8; 32], Node>,
}

#[derive(Debug)]
struct Node {
    second: Instant,
    checked: u32,
    answered: u32,
    room: Arc<Semaphore>,
}

impl Gate {
    /// The question in these bytes, if it is the node's own and to us, and room for it; `None` for silence.
    pub(super) fn admit(
        &mut self,
        node: &PublicKey,
        own: &PublicKey,
        query: &[u8],
        now: Instant,
    ) -> Option<(Signed<Query>, OwnedSemaphorePermit)> {
        let query = Signed::<Query>::decode(query).ok()?;
        let claims = query.claims();
        if claims.key != *node || claims.responder != *own || claims.cookie != [0; 16] {
            return None;
        }
        let counts = self.counts(node, now);
        counts.checked = counts.checked.checked_add(1).filter(|count| *count <= CHECKED)?;
        query.verify(node).ok()?;
        counts.answered = counts.answered.checked_add(1).filter(|count| *count <= ANSWERED)?;
        let room = Arc::clone(&counts.room).try_acquire_owned().ok()?;
        Some((query, room))
    }

    fn counts(&mut self, node: &PublicKey, now: Instant) -> &mut Node {
        let is_over = |counts: &Node| now.saturating_duration_since(counts.second) >= Duration::from_secs(1);
        let key = *node.as_bytes();
        // Nodes change their keys; whoever is asked by none of them now has nothing to be remembered for.
        if !self.nodes.contains_key(&key) && self.nodes.len() >= MAX_NODES {
            self.nodes.retain(|_, counts| !is_over(counts));
        }
        let fresh = || Node { second: now, checked: 0, answered: 0, room: Arc::new(Semaphore::new(AT_ONCE)) };
        let counts = self.nodes.entry(key).or_insert_with(fresh);
        if is_over(counts) {
            (counts.second, counts.checked, counts.answered) = (now, 0, 0);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use jis::SecretKey;
    use zeroize::Zeroizing;

    use super::*;

    fn key(number: u8) -> SecretKey {
        let seed = std::array::from_fn(|at| (at as u8).wrapping_add(number.wrapping_mul(37)));
        SecretKey::from_seed(Zeroizing::new(seed)).expect("a key")
    }

    /// What this key signs in the name of that node, for the device of key 9.
    fn question(node: u8, signer: u8, id: u32) -> Vec<u8> {
        let [a, b, c, d] = id.to_be_bytes();
        let query = Query {
            id: [a, b, c, d, 0, 0, 0, 0],
            cookie: [0; 16],
            source: jis::Name::of_key(&key(node).public_key()),
            key: key(node).public_key(),
            generation: 0,
            responder: key(9).public_key(),
            method: "overlay.ping".parse().expect("a word"),
            arguments: Vec::new(),
        };
        let mut bytes = Signed::seal(query, &key(node)).expect("signed").encode();
        if signer != node {
            *bytes.last_mut().expect("a signature") ^= 1;
        }
        bytes
    }

    /// SECURITY R20d: what one node asks, or somebody in its name, takes nothing from another.
    #[test]
    fn junk_takes_no_room_from_a_node_and_no_node_takes_room_from_another() {
        let (mut gate, now, own) = (Gate::default(), Instant::now(), key(9).public_key());
        let mut held = Vec::new();
        let mut ask = |node: u8, query: &[u8], now: Instant| {
            let room = gate.admit(&key(node).public_key(), &own, query, now);
            room.map(|(_, room)| held.push(room)).is_some()
        };
        for number in 0..CHECKED - 100 {
            assert!(!ask(1, b"junk", now) && !ask(1, &question(2, 2, number), now), "of no node here");
            if number % 10 == 0 {
                assert!(!ask(1, &question(1, 0, number), now), "signed by nobody");
            }
        }
        for number in 0..16 {
            assert!(ask(1, &question(1, 1, number), now), "{number}");
        }
        assert!(!ask(1, &question(1, 1, 16), now), "no room for more at once");
        assert!(ask(2, &question(2, 2, 0), now), "another node has its own");
        assert!(!ask(1, &question(1, 1, 17), now + Duration::from_secs(1)), "not while they are answered");
    }

    #[test]
    fn a_node_has_so_many_answers_a_second_and_its_signature_is_looked_at_so_often() {
        let (mut gate, now, own) = (Gate::default(), Instant::now(), key(9).public_key());
        let mut ask = |signer: u8, number: u32, now: Instant| {
            gate.admit(&key(1).public_key(), &own, &question(1, signer, number), now).is_some()
        };
        let answered = (0..300).filter(|number| ask(1, *number, now)).count();
        assert_eq!(answered, 200);
        let next = now + Duration::from_secs(1);
        assert!(ask(1, 300, next));
        for number in 0..CHECKED {
            assert!(!ask(0, number, next));
        }
        assert!(!ask(1, 301, next), "nothing more is looked at in this second");
        assert!(ask(1, 301, next + Duration::from_secs(1)));
    }
}
