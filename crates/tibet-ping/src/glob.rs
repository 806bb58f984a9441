//! The patterns of rules.

use std::convert::Infallible;
use std::str::FromStr;

/// A pattern over names and intents, as the Python packages' airlock reads it.
///
/// `*` is anything; `*middle*` contains; `start*` begins; `*end` ends; everything else is that text exactly. Stars elsewhere stand for themselves, as do
/// `?` and brackets. Case counts. Matching takes time in proportion to the text, whatever the pattern (SECURITY R57): there are no regular
/// expressions here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glob {
    /// Anything.
    Any,
    /// Contains the text.
    Contains(String),
    /// Begins with the text.
    Prefix(String),
    /// Ends with the text.
    Suffix(String),
    /// Is the text.
    Exact(String),
}

impl Glob {
    /// Whether `text` is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Contains(middle) => text.contains(middle.as_str()),
            Self::Prefix(start) => text.starts_with(start.as_str()),
            Self::Suffix(end) => text.ends_with(end.as_str()),
            Self::Exact(whole) => text == whole,
        }
    }
}

/// Every text is a pattern.
impl FromStr for Glob {
    type Err = Infallible;

    fn from_str(pattern: &str) -> Result<Self, Infallible> {
        let middle = pattern.strip_prefix('*').and_then(|rest| rest.strip_suffix('*'));
        Ok(match (pattern, middle) {
            ("*", _) => Self::Any,
            // `**` is no "contains nothing" but a prefix test for `*`.
            (_, Some(middle)) if !middle.is_empty() => Self::Contains(middle.to_owned()),
            _ => match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
                (Some(start), _) => Self::Prefix(start.to_owned()),
                (None, Some(end)) => Self::Suffix(end.to_owned()),
                (None, None) => Self::Exact(pattern.to_owned()),
            },
        })
    }
}
