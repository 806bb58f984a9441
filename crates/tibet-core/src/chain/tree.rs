//! A chain downwards: a token and everything that followed from it.

use std::collections::BTreeMap;

use super::Chain;
use crate::json::{Object, Value};
use crate::store::{StoreError, TokenStore};

/// Deepest tree that is built. The walk recurses, and so does whoever prints the tree; JSON readers stop at twice this.
pub const MAX_TREE_DEPTH: usize = 64;

/// A node of a tree of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeNode {
    /// A token and its children, oldest first.
    Token {
        /// Its id.
        id: String,
        /// Its action.
        action: String,
        /// Its actor.
        actor: String,
        /// Its timestamp.
        timestamp: String,
        /// Its intent.
        erachter: String,
        /// Whether its content hash matches.
        valid: bool,
        /// What followed from it.
        children: Vec<TreeNode>,
    },
    /// No token has this id.
    Missing {
        /// The id.
        id: String,
    },
    /// There is more below, deeper than was asked for.
    Truncated {
        /// Id of the token that is not shown.
        id: String,
    },
    /// This token stands further up already: the parents form a circle, which no honest log does.
    Repeated {
        /// The id.
        id: String,
    },
}

impl TreeNode {
    /// The tree as the Python package gives it out.
    #[must_use]
    pub fn to_object(&self) -> Object {
        match self {
            Self::Token { id, action, actor, timestamp, erachter, valid, children } => crate::object! {
                "id" => id.as_str(),
                "action" => action.as_str(),
                "actor" => actor.as_str(),
                "timestamp" => timestamp.as_str(),
                "erachter" => erachter.as_str(),
                "valid" => *valid,
                "children" => children.iter().map(|child| Value::from(child.to_object())).collect::<Vec<_>>(),
            },
            Self::Missing { id } => crate::object! { "id" => id.as_str(), "missing" => true },
            Self::Truncated { id } => crate::object! { "id" => id.as_str(), "truncated" => true },
            Self::Repeated { id } => crate::object! { "id" => id.as_str(), "repeated" => true },
        }
    }
}

impl<S: TokenStore + ?Sized> Chain<'_, S> {
    /// Everything that followed from `root`, at most `max_depth` levels below it and never more than [`MAX_TREE_DEPTH`].
    /// Walks the store once to learn who is whose child, at about 100 bytes per token.
    ///
    /// # Errors
    /// What the store reports.
    pub fn tree(&self, root: &str, max_depth: usize) -> Result<TreeNode, StoreError> {
        let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
        self.store.for_each(0, &mut |_, token| {
            if let Some(parent) = token.parent() {
                children.entry(parent.to_owned()).or_default().push(token.token_id);
            }
        })?;
        self.node(root, max_depth.min(MAX_TREE_DEPTH), &children, &mut Vec::new())
    }

    fn node(
        &self,
        id: &str,
        max_depth: usize,
        children: &BTreeMap<String, Vec<String>>,
        path: &mut Vec<String>,
    ) -> Result<TreeNode, StoreError> {
        if path.iter().any(|above| above == id) {
            return Ok(TreeNode::Repeated { id: id.to_owned() });
        }
        if path.len() > max_depth {
            return Ok(TreeNode::Truncated { id: id.to_owned() });
        }
        let Some(token) = self.store.get(id)? else { return Ok(TreeNode::Missing { id: id.to_owned() }) };
        path.push(id.to_owned());
        let below = children.get(id).into_iter().flatten();
        let below =
            below.map(|child| self.node(child, max_depth, children, path)).collect::<Result<_, _>>()?;
        path.pop();
        Ok(TreeNode::Token {
            valid: token.verify_hash(self.hmac),
            id: token.token_id,
            action: token.action,
            actor: token.actor,
            timestamp: token.timestamp,
            erachter: token.erachter,
            children: below,
        })
    }
}
