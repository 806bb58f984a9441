//! Signs of life of the nodes that share a registry.
//!
//! A node that dies says nothing, and its devices would be there for ever. So each node leaves a number that changes, and the others see whether it
//! still does: no clock of one machine is compared with that of another. A sign is no event: it leaves no token.

use std::time::Duration;

use jis::Name;

use super::Registry;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};

/// The setting with all signs, a line each: node, number, seconds. Who has left one last comes last.
const SIGNS: &str = "nodes";

/// Most nodes whose signs are kept; of more, those that have been silent for longest are forgotten.
pub const MAX_SIGNS: usize = 1024;

/// What a node leaves to show that it is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSign {
    /// The node.
    pub node: Name,
    /// Another number each time, of which nothing else is to be read.
    pub value: u64,
    /// How long the node is to be thought alive without a new sign. Kept in whole seconds.
    pub patience: Duration,
}

impl NodeSign {
    fn line(&self) -> String {
        format!("{} {} {}", self.node, self.value, self.patience.as_secs())
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let node = words.next()?.parse().ok()?;
        let value = words.next()?.parse().ok()?;
        let patience = Duration::from_secs(words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { node, value, patience })
    }
}

impl<S: Store> Registry<S> {
    /// Leaves a node's sign in place of the one it left before. Up to [`MAX_SIGNS`] nodes have one.
    ///
    /// # Errors
    /// [`Refusal::Store`].
    pub fn leave_sign(&mut self, sign: &NodeSign) -> Result<(), Refusal> {
        self.transact(|registry| {
            let mut signs = registry.node_signs()?;
            signs.retain(|held| held.node != sign.node);
            signs.push(sign.clone());
            let over = signs.len().saturating_sub(MAX_SIGNS);
            let lines: Vec<String> = signs[over..].iter().map(NodeSign::line).collect();
            Ok(registry.store.set_setting(SIGNS, &lines.join("\n"))?)
        })
    }

    /// The signs that nodes have left, the newest last. A line that is none, as somebody may have written by hand, is passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn node_signs(&self) -> Result<Vec<NodeSign>, StoreError> {
        let lines = self.store.setting(SIGNS)?.unwrap_or_default();
        let mut signs: Vec<_> = lines.lines().rev().filter_map(NodeSign::read).take(MAX_SIGNS).collect();
        signs.reverse();
        Ok(signs)
    }
}
