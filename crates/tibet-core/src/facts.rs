//! What the network tells the provenance layer, as plain data: this crate knows no packets.

use crate::json::Value;

/// A ping as far as it is recorded. The default is what is recorded for absent members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PingFacts<'a> {
    /// Kind of ping: `intent`, `heartbeat`, …
    pub ping_type: &'a str,
    /// Who sent it.
    pub source_did: &'a str,
    /// Whom it is for.
    pub target_did: &'a str,
    /// What it wants.
    pub intent: &'a str,
    /// Why it wants it.
    pub purpose: &'a str,
    /// What it carries; `None` and `null` are not recorded.
    pub payload: Option<&'a Value>,
    /// How it travels: `direct`, `mesh`, …
    pub routing_mode: &'a str,
    /// How often it was relayed.
    pub hop_count: u64,
    /// The pod it came from; `None` and empty are not recorded.
    pub pod_id: Option<&'a str>,
    /// What stands behind the sender's name: `verified`, `unauthenticated`, …; `None` is not recorded. The Python packages check nothing and
    /// record nothing.
    pub proof: Option<&'a str>,
}

impl Default for PingFacts<'_> {
    fn default() -> Self {
        Self {
            ping_type: "ping",
            source_did: "unknown",
            target_did: "unknown",
            intent: "",
            purpose: "",
            payload: None,
            routing_mode: "direct",
            hop_count: 0,
            pod_id: None,
            proof: None,
        }
    }
}

/// The answer to a ping as far as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResponseFacts<'a> {
    /// `accept`, `pending`, `reject`, …
    pub decision: &'a str,
    /// Trust in the sender, 0 to 1.
    pub trust_score: f64,
    /// The zone of the airlock it passed; the Python package looks for it under another name and records `unknown`.
    pub airlock_zone: &'a str,
}

/// The zones of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    /// Green: trusted, from 0.7 on.
    Groen,
    /// Yellow: undecided, from 0.3 on.
    Geel,
    /// Red: not trusted, below 0.3, and whatever is no number.
    Rood,
}

impl Zone {
    /// The zone of a trust score between 0 and 1.
    #[must_use]
    pub fn of(trust: f64) -> Self {
        match trust {
            t if t >= 0.7 => Self::Groen,
            t if t >= 0.3 => Self::Geel,
            _ => Self::Rood,
        }
    }

    /// The name that stands in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Groen => "GROEN",
            Self::Geel => "GEEL",
            Self::Rood => "ROOD",
        }
    }
}
