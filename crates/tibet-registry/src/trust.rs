//! How far a device is trusted: its history, the FIR/A score over it, and the standing that follows.
//!
//! The components are those of the Python package, so that breakdowns can be compared. What counts is stricter: only a
//! verification the verifier asked for and the bound key answered, at most one per device in [`COUNTING_INTERVAL`]. Being
//! registered, resolved, listed or asked never raises trust.

use std::fmt;
use std::time::Duration;

use jis::UnixTime;

/// At most one verification per device in this time counts as frequency or evidence.
pub const COUNTING_INTERVAL: Duration = Duration::from_secs(600);
/// From here on a device is accepted.
pub const GROEN_FROM: f64 = 0.7;
/// Below this a device gets silence.
pub const ROOD_BELOW: f64 = 0.3;
/// The most that vouches can give, and the most a disputed identity can have: just below [`GROEN_FROM`].
pub const MOST_WITHOUT_PROOF: f64 = 0.69;
/// So many counted events make the FIR/A score speak for itself.
const FULL_EVIDENCE: f64 = 10.0;

/// What a device's trust is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Counted events of either kind.
    pub interactions: u64,
    /// Counted verifications that succeeded.
    pub verify_pass: u64,
    /// Verifications the operator recorded as failed.
    pub verify_fail: u64,
    /// Anomalies the operator recorded.
    pub anomalies: u64,
    /// When a verification last succeeded and counted.
    pub last_success: Option<UnixTime>,
}

impl History {
    /// Takes in a successful verification. Returns whether it counted: one within [`COUNTING_INTERVAL`] of the last changes nothing.
    ///
    /// A last success in the future means the clock was set back; it must not lock the device out, so it does not hinder.
    pub fn record_pass(&mut self, now: UnixTime) -> bool {
        let too_soon = self
            .last_success
            .is_some_and(|last| last <= now && now.saturating_since(last) < COUNTING_INTERVAL);
        if too_soon {
            return false;
        }
        self.interactions = self.interactions.saturating_add(1);
        self.verify_pass = self.verify_pass.saturating_add(1);
        self.last_success = Some(now);
        true
    }

    /// Takes in a failed verification, at once.
    pub fn record_fail(&mut self) {
        self.interactions = self.interactions.saturating_add(1);
        self.verify_fail = self.verify_fail.saturating_add(1);
    }

    /// Takes in an anomaly.
    pub fn record_anomaly(&mut self) {
        self.anomalies = self.anomalies.saturating_add(1);
    }

    /// The FIR/A score and its components at `now`, as the Python package computes them, with one exception: a last success in the
    /// future is not fresher than fresh.
    #[must_use]
    pub fn fira(&self, now: UnixTime) -> Fira {
        let fira = self.fira_with_frequency_of(self.interactions, now);
        Fira { score: fira.score.clamp(0.0, 1.0), ..fira }
    }

    fn fira_with_frequency_of(&self, interactions: u64, now: UnixTime) -> Fira {
        let verified = self.verify_pass.saturating_add(self.verify_fail);
        let frequency = (interactions as f64 / 20.0).min(1.0);
        let integrity = if verified == 0 { 0.5 } else { self.verify_pass as f64 / verified as f64 };
        let recency = self.last_success.map_or(0.3, |last| {
            let age_hours = now.saturating_since(last).as_secs_f64() / 3600.0;
            (1.0 - age_hours / 24.0).max(0.1)
        });
        let anomaly = (1.0 - 0.2 * self.anomalies as f64).max(0.0);
        let score = 0.20 * frequency + 0.40 * integrity + 0.25 * recency + 0.15 * anomaly;
        Fira { score, frequency, integrity, recency, anomaly, history: *self }
    }

    /// The score that is used: FIR/A weighted with the evidence behind it, `0.5 + c · (fira − 0.5)`, c growing from 0 to 1 with
    /// ten counted events. A device nobody has verified stands at exactly 0.5.
    ///
    /// Failures count as evidence only against a device: in Python's sum each failure raises the frequency, so that a device that only
    /// fails climbs. Here frequency is that of successes, and failures and anomalies add to c only where the score is below one half.
    /// So no failure ever raises the score; see `docs/decisions/0004-failures-never-raise-trust.md`.
    #[must_use]
    pub fn score(&self, now: UnixTime) -> f64 {
        let fira = self.fira_with_frequency_of(self.verify_pass, now).score;
        let against = self.verify_fail.saturating_add(self.anomalies);
        let events = if fira >= 0.5 { self.verify_pass } else { self.verify_pass.saturating_add(against) };
        0.5 + (events as f64 / FULL_EVIDENCE).min(1.0) * (fira - 0.5)
    }
}

/// A FIR/A breakdown: frequency 0.20, integrity 0.40, recency 0.25, anomaly 0.15.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fira {
    /// The weighted sum, 0 to 1.
    pub score: f64,
    /// Counted events over 20, at most 1.
    pub frequency: f64,
    /// Successes over all verifications, 0.5 when there were none.
    pub integrity: f64,
    /// 1 at the last success, falling over a day to 0.1; 0.3 when there was none.
    pub recency: f64,
    /// 1 less 0.2 per anomaly, at least 0.
    pub anomaly: f64,
    /// The counts behind it.
    pub history: History,
}

/// What a trust score means for a device's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// Below 0.3: silence.
    Rood,
    /// 0.3 to 0.7: pending, a human or a rule decides.
    Geel,
    /// From 0.7: accepted.
    Groen,
}

impl Zone {
    /// The zone of a score. Not a number is no trust.
    #[must_use]
    pub fn of(score: f64) -> Self {
        if score >= GROEN_FROM {
            Self::Groen
        } else if score >= ROOD_BELOW {
            Self::Geel
        } else {
            Self::Rood
        }
    }

    /// `GROEN`, `GEEL` or `ROOD`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Groen => "GROEN",
            Self::Geel => "GEEL",
            Self::Rood => "ROOD",
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a score comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustSource {
    /// The operator set it.
    Explicit,
    /// Somebody vouches, and gives more than the device's own history.
    Vouched,
    /// The device's own history.
    Fira,
    /// The name is not known here.
    Unknown,
    /// The identity's key or name is revoked: nothing else matters then.
    Revoked,
}

impl TrustSource {
    /// `explicit`, `vouched`, `fira`, `unknown` or `revoked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Vouched => "vouched",
            Self::Fira => "fira",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
        }
    }
}

/// A device's trust at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// 0 to 1.
    pub score: f64,
    /// What the score means.
    pub zone: Zone,
    /// Where it comes from.
    pub source: TrustSource,
    /// Whether two histories, or one key under two names, have been seen: then at most GEEL.
    pub disputed: bool,
}

impl Standing {
    /// The standing of a name nobody knows.
    pub const UNKNOWN: Self =
        Self { score: 0.0, zone: Zone::Rood, source: TrustSource::Unknown, disputed: false };

    /// The standing of an identity that may not speak, whatever was earned or set before.
    pub const REVOKED: Self =
        Self { score: 0.0, zone: Zone::Rood, source: TrustSource::Revoked, disputed: false };

    /// Explicit trust comes first, even when it is lower. A vouch can lift what the device has earned itself, up to just below
    /// GROEN, and never lowers it: else anybody could pull a device down by vouching for it faintly. A dispute holds even
    /// against the operator's score, until the operator settles it.
    #[must_use]
    pub fn of(explicit: Option<f64>, vouched: Option<f64>, earned: f64, disputed: bool) -> Self {
        let vouched = vouched.map(|score| score.min(MOST_WITHOUT_PROOF)).filter(|score| *score > earned);
        let (score, source) = match (explicit, vouched) {
            (Some(score), _) => (score, TrustSource::Explicit),
            (None, Some(score)) => (score, TrustSource::Vouched),
            (None, None) => (earned, TrustSource::Fira),
        };
        let score = if disputed { score.min(MOST_WITHOUT_PROOF) } else { score };
        Self { score, zone: Zone::of(score), source, disputed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(1_767_323_045 + secs)
    }

    #[test]
    fn an_unverified_device_stands_at_exactly_one_half_for_ever() {
        let history = History::default();
        for hours in [0, 1, 24, 24 * 365] {
            assert_eq!(history.score(at(hours * HOUR)), 0.5);
        }
    }

    #[test]
    fn verifications_count_once_in_ten_minutes() {
        let mut history = History::default();
        let counted = (0..3600).filter(|second| history.record_pass(at(*second))).count();
        assert_eq!(counted, 6);
        assert_eq!(history.verify_pass, 6);
    }

    #[test]
    fn groen_has_to_be_earned_and_is_lost_by_failures() {
        let mut history = History::default();
        let mut now = at(0);
        let mut needed = 0;
        while Zone::of(history.score(now)) != Zone::Groen {
            now = now.saturating_add(COUNTING_INTERVAL);
            assert!(history.record_pass(now));
            needed += 1;
        }
        // 0.5 + 0.1·n·(0.2·n/20 + 0.4 + 0.25 + 0.15 − 0.5) reaches 0.7 between n = 5 (0.675) and n = 6 (0.716).
        assert_eq!(needed, 6);
        history.record_fail();
        assert_eq!(Zone::of(history.score(now)), Zone::Geel);
    }

    #[test]
    fn a_success_never_lowers_and_a_failure_or_anomaly_never_raises_the_score() {
        let now = at(0);
        for (pass, fail, anomalies) in
            (0..40u64).flat_map(|p| (0..40).flat_map(move |f| (0..7).map(move |a| (p, f, a))))
        {
            let last_success = (pass > 0).then_some(now);
            let history = History {
                interactions: pass + fail,
                verify_pass: pass,
                verify_fail: fail,
                anomalies,
                last_success,
            };
            let score = history.score(now);
            let changed = |change: &dyn Fn(&mut History)| {
                let mut changed = history;
                change(&mut changed);
                changed.score(now)
            };
            let passed = changed(&|h| {
                h.record_pass(now.saturating_add(COUNTING_INTERVAL));
                h.last_success = Some(now);
            });
            assert!(passed >= score - 1e-12, "success: {history:?}");
            assert!(changed(&History::record_fail) <= score + 1e-12, "failure: {history:?}");
            assert!(changed(&History::record_anomaly) <= score + 1e-12, "anomaly: {history:?}");
        }
    }

    /// SECURITY 3.2 row 93: a clock that was ahead for a while must not stop a device from earning trust later.
    #[test]
    fn row_93_a_success_dated_in_the_future_does_not_block_counting() {
        let mut history = History::default();
        assert!(history.record_pass(at(10 * 365 * 24 * HOUR)));
        assert!(history.record_pass(at(0)));
        assert_eq!(history.last_success, Some(at(0)));
    }

    #[test]
    fn a_vouch_lifts_below_groen_and_never_lowers() {
        let lifted = Standing::of(None, Some(0.95), 0.5, false);
        assert_eq!((lifted.score, lifted.zone, lifted.source), (0.69, Zone::Geel, TrustSource::Vouched));
        let faint = Standing::of(None, Some(0.35), 0.8, false);
        assert_eq!((faint.score, faint.zone, faint.source), (0.8, Zone::Groen, TrustSource::Fira));
        assert_eq!(Standing::of(Some(0.1), Some(0.9), 0.9, false).zone, Zone::Rood);
        assert_eq!(Standing::of(Some(1.0), None, 0.9, true).zone, Zone::Geel);
    }

    #[test]
    fn zones_begin_at_their_thresholds() {
        for (score, zone) in [
            (0.7, Zone::Groen),
            (0.699_999, Zone::Geel),
            (0.3, Zone::Geel),
            (0.299_999, Zone::Rood),
            (f64::NAN, Zone::Rood),
        ] {
            assert_eq!(Zone::of(score), zone, "{score}");
        }
    }
}
