//! Questions to a store.

use crate::time;
use crate::token::Token;

/// Which tokens to find. Filters that are absent or empty do not filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Exactly this action.
    pub action: Option<String>,
    /// Exactly this actor.
    pub actor: Option<String>,
    /// Not before this time: RFC 3339, or ISO 8601 without offset, which is read as UTC. Instants are compared; where one
    /// of the two texts is neither, the texts are compared, as in Python.
    pub since: Option<String>,
    /// At most this many, the last ones. There is no "all": walk the store for that.
    pub limit: usize,
}

/// The last 100 tokens.
impl Default for Query {
    fn default() -> Self {
        Self { action: None, actor: None, since: None, limit: 100 }
    }
}

impl Query {
    /// Whether `token` passes the filters. The limit is not a matter of one token.
    #[must_use]
    pub fn matches(&self, token: &Token) -> bool {
        let exactly = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
        exactly(filter(&self.action), &token.action)
            && exactly(filter(&self.actor), &token.actor)
            && filter(&self.since).is_none_or(|since| not_before(&token.timestamp, since))
    }
}

/// The filter, if it is one.
pub(crate) fn filter(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn not_before(timestamp: &str, since: &str) -> bool {
    match (time::instant(timestamp), time::instant(since)) {
        (Some(timestamp), Some(since)) => timestamp >= since,
        _ => timestamp >= since,
    }
}
