//! How far a name is trusted: what the operator said, else what others vouch, else nothing.

use std::collections::BTreeMap;

use jis::{Name, UnixTime};
use tibet_core::json::Object;
use tibet_core::object;

use crate::vouching::VouchBook;

/// Names the operator can give a score of their own. Only the operator adds to them; a fleet larger than this needs a policy, not a list.
pub const MAX_EXPLICIT: usize = 65_536;

/// Explicit scores.
#[derive(Debug, Default)]
pub struct TrustTable {
    explicit: BTreeMap<Name, f64>,
}

/// Why a score is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Not a number. Python makes full trust of it.
    #[error("a trust score is a number from 0 to 1")]
    NotANumber,
    /// [`MAX_EXPLICIT`] names have a score.
    #[error("at most {MAX_EXPLICIT} names can have a score of their own")]
    Full,
}

/// A name's trust at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trust {
    /// 0 to 1.
    pub score: f64,
    /// Where it comes from.
    pub source: TrustSource,
}

/// Where trust comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustSource {
    /// The operator set it.
    Explicit,
    /// Others vouch for the name.
    Vouched {
        /// How many live vouches there are; the best one counts.
        vouches: usize,
    },
    /// Nobody said anything.
    Unknown,
}

impl TrustTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a name's score, brought into 0 to 1, and returns it.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn set(&mut self, name: Name, score: f64) -> Result<f64, TrustError> {
        if score.is_nan() {
            return Err(TrustError::NotANumber);
        }
        if self.explicit.len() >= MAX_EXPLICIT && !self.explicit.contains_key(&name) {
            return Err(TrustError::Full);
        }
        let score = score.clamp(0.0, 1.0);
        self.explicit.insert(name, score);
        Ok(score)
    }

    /// Takes a name's score away; whether it had one.
    pub fn clear(&mut self, name: &Name) -> bool {
        self.explicit.remove(name).is_some()
    }

    /// The score the operator set.
    #[must_use]
    pub fn explicit(&self, name: &Name) -> Option<f64> {
        self.explicit.get(name).copied()
    }

    /// A name's trust: what the operator said, even when it is less than others vouch; else the best live vouch; else 0.
    ///
    /// A vouch lends the voucher's own explicit trust, and that at this moment: a voucher who falls takes its vouches along, and who is
    /// only vouched for can vouch for nobody (SECURITY R37).
    #[must_use]
    pub fn lookup(&self, name: &Name, vouches: &VouchBook, now: UnixTime) -> Trust {
        if let Some(score) = self.explicit(name) {
            return Trust { score, source: TrustSource::Explicit };
        }
        match vouches.trust(name, now, |voucher| self.explicit(voucher)) {
            Some((score, vouches)) => Trust { score, source: TrustSource::Vouched { vouches } },
            None => Trust { score: 0.0, source: TrustSource::Unknown },
        }
    }
}

impl Trust {
    /// The map that a response carries as `fira_breakdown`, as the Python packages write it.
    #[must_use]
    pub fn breakdown(&self) -> Object {
        match self.source {
            TrustSource::Explicit => object! { "score" => self.score, "source" => "known" },
            TrustSource::Vouched { vouches } => {
                object! { "score" => self.score, "source" => "vouched", "vouch_count" => vouches }
            }
            TrustSource::Unknown => object! { "score" => self.score, "source" => "unknown" },
        }
    }
}
