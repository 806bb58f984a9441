//! Tokens in memory.

use std::collections::BTreeMap;

use super::{StoreError, TokenStore, head_of, line_to_keep};
use crate::minter::Head;
use crate::query::Query;
use crate::token::Token;

/// Keeps tokens in memory, for tests and for programs whose log need not outlive them. Grows with every token.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    tokens: Vec<Token>,
    index: BTreeMap<String, usize>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All tokens in order.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }
}

impl TokenStore for MemoryStore {
    fn append(&mut self, token: &Token) -> Result<u64, StoreError> {
        line_to_keep(token)?;
        if self.index.contains_key(&token.token_id) {
            return Err(StoreError::DuplicateId(token.token_id.clone()));
        }
        let index = self.tokens.len();
        self.index.insert(token.token_id.clone(), index);
        self.tokens.push(token.clone());
        Ok(index as u64)
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.tokens.len() as u64)
    }

    fn at(&self, index: u64) -> Result<Option<Token>, StoreError> {
        Ok(usize::try_from(index).ok().and_then(|index| self.tokens.get(index)).cloned())
    }

    fn get(&self, token_id: &str) -> Result<Option<Token>, StoreError> {
        Ok(self.index.get(token_id).and_then(|&index| self.tokens.get(index)).cloned())
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(head_of(self.tokens.len() as u64, self.tokens.last().cloned()))
    }

    fn find(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        let mut found: Vec<Token> = self
            .tokens
            .iter()
            .rev()
            .filter(|token| query.matches(token))
            .take(query.limit)
            .cloned()
            .collect();
        found.reverse();
        Ok(found)
    }

    fn for_each(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, token) in self.tokens.iter().enumerate().skip(from) {
            visit(index as u64, token.clone());
        }
        Ok(())
    }
}
