//! Where the matter a token reports stands.

use std::fmt;
use std::str::FromStr;

/// The state of what a token records. Any order is allowed; a change is a new token, never an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// `created`
    #[default]
    Created,
    /// `detected`
    Detected,
    /// `classified`
    Classified,
    /// `mitigated`
    Mitigated,
    /// `resolved`
    Resolved,
}

/// A word that is none of the five states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no token state: {0:?}")]
pub struct UnknownState(pub String);

impl State {
    /// Every state, in the usual order.
    pub const ALL: [Self; 5] =
        [Self::Created, Self::Detected, Self::Classified, Self::Mitigated, Self::Resolved];

    /// The word that stands in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Detected => "detected",
            Self::Classified => "classified",
            Self::Mitigated => "mitigated",
            Self::Resolved => "resolved",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownState(text.to_owned()))
    }
}
