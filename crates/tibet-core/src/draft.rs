//! What a token is to say, before it has an id, a time and a hash.

use crate::json::{Object, Value};
use crate::state::State;
use crate::token::Token;

/// A token in the making. Everything but the action has a default; the setters only save typing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Draft {
    /// What kind of event.
    pub action: String,
    /// Who acted; `None` or empty for the minter's own actor.
    pub actor: Option<String>,
    /// What happened.
    pub erin: Value,
    /// What the event depends on. The content link to the parent is added when the token is made.
    pub eraan: Vec<String>,
    /// The context.
    pub eromheen: Object,
    /// The intent.
    pub erachter: String,
    /// The token this one follows.
    pub parent: Parent,
    /// State of the matter.
    pub state: State,
}

/// Which token a new one follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Parent {
    /// The last one made, or none if there is none.
    #[default]
    Auto,
    /// None: a new chain begins.
    Root,
    /// The one with this id. An empty content hash means it is not known; then no content link is made.
    Of {
        /// Id of the parent.
        token_id: String,
        /// Content hash of the parent, 64 hex digits.
        content_hash: String,
    },
}

impl Parent {
    /// `token` as a parent.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        Self::Of { token_id: token.token_id.clone(), content_hash: token.content_hash.clone() }
    }
}

impl Draft {
    /// A draft with nothing but an action.
    #[must_use]
    pub fn new(action: impl Into<String>) -> Self {
        Self { action: action.into(), ..Self::default() }
    }

    /// Sets who acted.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Sets what happened.
    #[must_use]
    pub fn erin(mut self, erin: impl Into<Value>) -> Self {
        self.erin = erin.into();
        self
    }

    /// Sets what the event depends on.
    #[must_use]
    pub fn eraan<I: Into<String>>(mut self, items: impl IntoIterator<Item = I>) -> Self {
        self.eraan = items.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the context.
    #[must_use]
    pub fn eromheen(mut self, eromheen: Object) -> Self {
        self.eromheen = eromheen;
        self
    }

    /// Sets the intent.
    #[must_use]
    pub fn erachter(mut self, erachter: impl Into<String>) -> Self {
        self.erachter = erachter.into();
        self
    }

    /// Sets the token this one follows.
    #[must_use]
    pub fn parent(mut self, parent: Parent) -> Self {
        self.parent = parent;
        self
    }

    /// Sets the state of the matter.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }
}
