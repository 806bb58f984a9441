//! The airlock: from trust to a decision.

mod pending;
pub use pending::{
    MAX_PENDING, MAX_PENDING_BYTES, MAX_PENDING_PER_SOURCE, PENDING_LIFETIME, PendingPing, PendingQueue,
    PendingRefusal, Settled,
};
mod rule;
pub use rule::{DEFAULT_PRIORITY, Rule, RulePattern, RulePatternError};

use tibet_core::Zone;

use crate::packet::Packet;
use crate::words::Decision;

/// Rules an airlock can have. The operator adds them; each is tried for each ping.
pub const MAX_RULES: usize = 1024;

/// From which trust on a ping is accepted, and below which it is met with silence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    groen: f64,
    rood: f64,
}

impl Thresholds {
    /// Takes `0 ≤ rood ≤ groen ≤ 1`, else `None`.
    #[must_use]
    pub fn new(groen: f64, rood: f64) -> Option<Self> {
        (0.0 <= rood && rood <= groen && groen <= 1.0).then_some(Self { groen, rood })
    }

    /// The zone of a score. What is no number is no trust.
    #[must_use]
    pub fn zone(&self, trust: f64) -> Zone {
        match trust {
            t if t >= self.groen => Zone::Groen,
            t if t >= self.rood => Zone::Geel,
            _ => Zone::Rood,
        }
    }
}

/// 0.7 and 0.3.
impl Default for Thresholds {
    fn default() -> Self {
        Self { groen: 0.7, rood: 0.3 }
    }
}

/// What stands behind the name a packet gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The signature of the key bound to it.
    Verified,
    /// Nothing: a legacy peer that the operator allows, but has given no score. It is never better than GEEL, whatever rules say: a rule for
    /// `jis:home:*` would let in anybody who writes such a name (SECURITY R72).
    Unsigned,
    /// Nothing, but the operator has given this name a score in full knowledge of that.
    UnsignedExplicit,
}

/// What the airlock says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict<'a> {
    /// The zone.
    pub zone: Zone,
    /// The decision. [`Decision::Reject`] means silence.
    pub decision: Decision,
    /// The rule that decided; `None` when the thresholds did.
    pub rule: Option<&'a Rule>,
}

/// No more rules fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an airlock has at most {MAX_RULES} rules")]
pub struct TooManyRules;

/// Thresholds, and rules that come before them.
#[derive(Debug, Default)]
pub struct Airlock {
    thresholds: Thresholds,
    /// Highest priority first; equal ones in the order they were added.
    rules: Vec<Rule>,
}

impl Airlock {
    /// An airlock without rules.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, rules: Vec::new() }
    }

    /// Adds a rule after those of the same priority. Rules with the same id are all kept.
    ///
    /// # Errors
    /// [`TooManyRules`].
    pub fn add_rule(&mut self, rule: Rule) -> Result<(), TooManyRules> {
        if self.rules.len() >= MAX_RULES {
            return Err(TooManyRules);
        }
        let at = self.rules.partition_point(|other| other.priority >= rule.priority);
        self.rules.insert(at, rule);
        Ok(())
    }

    /// Removes the rules with this id; how many there were.
    pub fn remove_rule(&mut self, id: &str) -> usize {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.id != id);
        before - self.rules.len()
    }

    /// The rules in the order they are tried.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What becomes of a packet: the first rule that matches decides, with its own zone and its own decision; else the zone of the trust does:
    /// GROEN accept, GEEL pending, ROOD reject.
    #[must_use]
    pub fn evaluate(&self, packet: &Packet, trust: f64, standing: Standing) -> Verdict<'_> {
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(packet, trust));
        let (zone, decision) = match rule {
            Some(rule) => (rule.zone, rule.decision),
            None => {
                let zone = self.thresholds.zone(trust);
                (zone, decision_of(zone))
            }
        };
        let too_good = zone == Zone::Groen || decision == Decision::Accept;
        if standing == Standing::Unsigned && too_good && decision != Decision::Reject {
            return Verdict { zone: Zone::Geel, decision: Decision::Pending, rule };
        }
        Verdict { zone, decision, rule }
    }
}

impl Verdict<'_> {
    /// Why a ping waits, in the words of the Python packages.
    #[must_use]
    pub fn reason(&self, trust: f64) -> String {
        let rule = self.rule.map(|rule| format!(" (rule: {})", rule.name)).unwrap_or_default();
        format!("Trust {trust:.2} in {} zone{rule}", self.zone.as_str())
    }
}

fn decision_of(zone: Zone) -> Decision {
    match zone {
        Zone::Groen => Decision::Accept,
        Zone::Geel => Decision::Pending,
        Zone::Rood => Decision::Reject,
    }
}
