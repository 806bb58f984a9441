//! Rules of the airlock.

use tibet_core::Zone;

use crate::glob::Glob;
use crate::packet::Packet;
use crate::words::Decision;

/// Priority of a rule that is given none.
pub const DEFAULT_PRIORITY: i32 = 50;

/// What the operator wants done with certain packets.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Names the rule, for removing it.
    pub id: String,
    /// What people call it; stands in responses as `applied_rule`.
    pub name: String,
    /// Which packets it is for.
    pub pattern: RulePattern,
    /// The zone it puts them in.
    pub zone: Zone,
    /// What is decided. The Python packages ignore this and take it from the zone.
    pub decision: Decision,
    /// Higher is tried first. Usually [`DEFAULT_PRIORITY`].
    pub priority: i32,
}

/// Which packets a rule is for: those that match every member that is given. The default matches all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RulePattern {
    /// The sender.
    pub source_did: Option<Glob>,
    /// The intent.
    pub intent: Option<Glob>,
    /// The sender's pod, exactly. A packet without one never matches.
    pub pod_id: Option<String>,
    /// The ping type's word, exactly.
    pub ping_type: Option<String>,
    /// The least trust.
    pub min_trust: Option<f64>,
}

/// Why members are not a pattern. Python ignores an unknown one, so that a slip of the pen makes a rule for everybody, and fails on a bad number
/// when a packet comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulePatternError {
    /// No such member.
    #[error("a pattern has source_did, intent, pod_id, ping_type and min_trust, not {0:?}")]
    Unknown(String),
    /// `min_trust` is not a finite number.
    #[error("min_trust is a number, not {0:?}")]
    MinTrust(String),
}

impl RulePattern {
    /// Reads a pattern from named members, as the Python packages write it.
    ///
    /// # Errors
    /// [`RulePatternError`].
    pub fn from_members<'a>(
        members: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RulePatternError> {
        let mut pattern = Self::default();
        let glob = |text: &str| text.parse().ok();
        for (name, text) in members {
            match name {
                "source_did" => pattern.source_did = glob(text),
                "intent" => pattern.intent = glob(text),
                "pod_id" => pattern.pod_id = Some(text.to_owned()),
                "ping_type" => pattern.ping_type = Some(text.to_owned()),
                "min_trust" => {
                    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
                    let number = number.ok_or_else(|| RulePatternError::MinTrust(text.to_owned()))?;
                    pattern.min_trust = Some(number);
                }
                _ => return Err(RulePatternError::Unknown(name.to_owned())),
            }
        }
        Ok(pattern)
    }

    /// Whether a packet from somebody trusted so far is meant.
    #[must_use]
    pub fn matches(&self, packet: &Packet, trust: f64) -> bool {
        let pod = |pod: &String| packet.pod_id.as_ref() == Some(pod);
        self.source_did.as_ref().is_none_or(|glob| glob.matches(&packet.source_did))
            && self.intent.as_ref().is_none_or(|glob| glob.matches(&packet.intent))
            && self.pod_id.as_ref().is_none_or(pod)
            && self.ping_type.as_ref().is_none_or(|word| word == packet.ping_type.as_str())
            && self.min_trust.is_none_or(|least| trust >= least)
    }
}
