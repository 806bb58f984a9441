//! Following one token to its origin, and a chain to its ends.

mod tree;
pub use tree::{MAX_TREE_DEPTH, TreeNode};

use std::collections::BTreeSet;

use crate::hash::HmacKey;
use crate::store::{StoreError, TokenStore};
use crate::token::Token;

/// Chains in a store: who made it so, step by step.
///
/// Nothing here stops after a fixed number of tokens, as the Python package does after 100: tampering further back would go
/// unseen and the "root" would be any token. A trace ends because ids do not repeat, at a cost of about 100 bytes per token.
#[derive(Debug)]
pub struct Chain<'a, S: ?Sized> {
    store: &'a S,
    hmac: Option<&'a HmacKey>,
}

/// A chain in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Number of tokens.
    pub length: u64,
    /// What [`Chain::verify`] says.
    pub valid: bool,
    /// Everybody who acted in it.
    pub actors: BTreeSet<String>,
    /// The actions, newest first.
    pub actions: Vec<String>,
    /// Timestamp of the oldest token.
    pub start: String,
    /// Timestamp of the newest token.
    pub end: String,
    /// Id of the oldest token.
    pub root_id: String,
}

impl<'a, S: TokenStore + ?Sized> Chain<'a, S> {
    /// Chains in `store`, whose content hashes are plain SHA-256.
    #[must_use]
    pub fn new(store: &'a S) -> Self {
        Self { store, hmac: None }
    }

    /// Verifies content hashes with this key.
    #[must_use]
    pub fn hmac(mut self, key: &'a HmacKey) -> Self {
        self.hmac = Some(key);
        self
    }

    /// The token `token_id`, its parent, and so on, newest first; read one by one. Nothing for an unknown id. Ends at a root, at
    /// a parent that is not in the store, and before a token that came already.
    pub fn trace(&self, token_id: &str) -> impl Iterator<Item = Result<Token, StoreError>> + use<'a, S> {
        Trace { store: self.store, next: Some(token_id.to_owned()), seen: BTreeSet::new() }
    }

    /// Whether the chain of `token_id` is whole: every token has its content hash, every content link is its parent's hash,
    /// and it ends at a root. An unknown id is not verified by anything, so `false`.
    ///
    /// # Errors
    /// What the store reports.
    pub fn verify(&self, token_id: &str) -> Result<bool, StoreError> {
        let mut verdict = Verdict::default();
        for token in self.trace(token_id) {
            verdict.push(&token?, self.hmac);
        }
        Ok(verdict.valid())
    }

    /// The chain of `token_id` in numbers, `None` for an unknown id. Holds one action per token.
    ///
    /// # Errors
    /// What the store reports.
    pub fn summary(&self, token_id: &str) -> Result<Option<Summary>, StoreError> {
        let mut summary: Option<Summary> = None;
        let mut verdict = Verdict::default();
        for token in self.trace(token_id) {
            let token = token?;
            verdict.push(&token, self.hmac);
            let summary = summary.get_or_insert_with(|| Summary {
                length: 0,
                valid: false,
                actors: BTreeSet::new(),
                actions: Vec::new(),
                start: String::new(),
                end: token.timestamp.clone(),
                root_id: String::new(),
            });
            summary.length += 1;
            summary.actors.insert(token.actor);
            summary.actions.push(token.action);
            summary.start = token.timestamp;
            summary.root_id = token.token_id;
        }
        Ok(summary.map(|summary| Summary { valid: verdict.valid(), ..summary }))
    }

    /// The oldest token of the chain of `token_id`, `None` for an unknown id.
    ///
    /// # Errors
    /// What the store reports.
    pub fn root(&self, token_id: &str) -> Result<Option<Token>, StoreError> {
        let mut oldest = None;
        for token in self.trace(token_id) {
            oldest = Some(token?);
        }
        Ok(oldest)
    }

    /// All tokens that name `token_id` as their parent, oldest first. Walks the whole store.
    ///
    /// # Errors
    /// What the store reports.
    pub fn children(&self, token_id: &str) -> Result<Vec<Token>, StoreError> {
        let mut children = Vec::new();
        self.store.for_each(0, &mut |_, token| {
            if token.parent() == Some(token_id) {
                children.push(token);
            }
        })?;
        Ok(children)
    }
}

struct Trace<'a, S: ?Sized> {
    store: &'a S,
    next: Option<String>,
    seen: BTreeSet<String>,
}

impl<S: TokenStore + ?Sized> Iterator for Trace<'_, S> {
    type Item = Result<Token, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let id = self.next.take()?;
        if self.seen.contains(&id) {
            return None;
        }
        let token = self.store.get(&id).transpose()?;
        if let Ok(token) = &token {
            self.next = token.parent().map(str::to_owned);
            self.seen.insert(id);
        }
        Some(token)
    }
}

/// Judges a chain while it is read, newest token first.
#[derive(Default)]
struct Verdict {
    /// Whether anything was read, and whether the last token read is a root.
    ends_at_root: bool,
    broken: bool,
    /// What the token before says about the content hash of the next one.
    link: Option<String>,
}

impl Verdict {
    fn push(&mut self, token: &Token, hmac: Option<&HmacKey>) {
        let linked = self.link.take().is_none_or(|link| link == token.content_hash);
        self.broken |= !linked || !token.verify_hash(hmac);
        self.ends_at_root = token.parent().is_none();
        self.link = token.content_link().map(str::to_owned);
    }

    fn valid(&self) -> bool {
        self.ends_at_root && !self.broken
    }
}
