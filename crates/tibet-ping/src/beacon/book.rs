//! What becomes of beacons.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jis::{Name, PublicKey, Signed, UnixTime};

use crate::beacon::Beacon;
use crate::beacon::rule::{BeaconRule, MAX_BEACON_RULES};
use crate::now::Now;
use crate::rate::{Bucket, Rate};

/// How long a beacon is fresh, and remembered.
pub const FRESH_FOR: Duration = Duration::from_secs(300);
/// How far ahead of our clock it may be dated. In Python a beacon from the future is fresh until then.
const SKEW: Duration = Duration::from_secs(5);
/// Devices remembered: a large site's. Some 4 KiB each at the very most.
pub const MAX_BEACONS: usize = 1024;
/// Of these, devices whose key is not known. Anybody can make up names, so they may not crowd out the others.
pub const MAX_UNBOUND_BEACONS: usize = 256;
/// Beacons looked at: one takes a signature check of 50 µs, so a flood costs 0.2 % of a core.
pub const BEACON_RATE: Rate = Rate { burst: 40, per_second: 40 };

/// What becomes of a beacon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BeaconVerdict {
    /// Too old, or dated in the future.
    Stale,
    /// More than [`BEACON_RATE`], or no room. Dropped.
    Limited,
    /// A beacon of this device that is as new or newer was seen before. Nothing is to be done.
    Repeated,
    /// The name is bound to another key than the one that signed this. Nothing is to be done but count.
    Forged,
    /// To be shown to a human: the device's key is not known, or no rule is for it.
    Pending,
    /// The signature is that of the key bound to the name, and a rule is for it: a vouch is to be made and signed, see [`jis::Vouch`].
    /// Without a bound key no rule leads here, whatever the beacon claims to be.
    AutoVouch {
        /// The rule's name.
        rule: Option<String>,
        /// The pod the device is put into.
        pod_id: Option<String>,
    },
}

/// The words of the Python packages.
impl fmt::Display for BeaconVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale => f.write_str("Beacon too old"),
            Self::Limited => f.write_str("Too many beacons"),
            Self::Repeated => f.write_str("Seen before"),
            Self::Forged => f.write_str("Signed by another key"),
            Self::Pending => f.write_str("Awaiting HITL approval"),
            Self::AutoVouch { rule, .. } => {
                write!(f, "Auto-vouched via rule: {}", rule.as_deref().unwrap_or("unnamed"))
            }
        }
    }
}

/// A device that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBeacon {
    /// What it says.
    pub beacon: Beacon,
    /// Whether it was signed by the key bound to its name. If not, it is hearsay.
    pub verified: bool,
    until: Duration,
}

/// Rules, and the devices that were seen of late.
#[derive(Debug)]
pub struct BeaconBook {
    rules: Vec<BeaconRule>,
    seen: BTreeMap<Name, SeenBeacon>,
    bucket: Bucket,
    limited: u64,
}

impl BeaconBook {
    /// A book with the first [`MAX_BEACON_RULES`] of `rules`, which are tried in this order.
    #[must_use]
    pub fn new(mut rules: Vec<BeaconRule>) -> Self {
        rules.truncate(MAX_BEACON_RULES);
        Self { rules, seen: BTreeMap::new(), bucket: Bucket::FULL, limited: 0 }
    }

    /// Takes a beacon. `bound` is the key bound to its name by record, by the operator or by a pin, `None` when the name is not known. Costs
    /// one signature check at most.
    pub fn handle_beacon(
        &mut self,
        beacon: &Signed<Beacon>,
        bound: Option<&PublicKey>,
        now: Now,
    ) -> BeaconVerdict {
        let claims = beacon.claims();
        let too_old = now.wall.saturating_since(claims.issued_at) > FRESH_FOR;
        if too_old || claims.issued_at.saturating_since(now.wall) > SKEW {
            return BeaconVerdict::Stale;
        }
        if !self.bucket.take(BEACON_RATE, now.mono) {
            self.limited += 1;
            return BeaconVerdict::Limited;
        }
        self.handle_timeout(now);
        let verified = match bound {
            Some(key) if claims.key_hash != Beacon::hash_of(key) || beacon.verify(key).is_err() => {
                return BeaconVerdict::Forged;
            }
            bound => bound.is_some(),
        };
        if let Some(seen) = self.seen.get(&claims.name) {
            // What is verified is never displaced by what is not.
            let outranked = seen.verified && !verified;
            if outranked || seen.verified == verified && seen.beacon.issued_at >= claims.issued_at {
                return BeaconVerdict::Repeated;
            }
        } else if self.is_full(verified) {
            self.limited += 1;
            return BeaconVerdict::Limited;
        }
        let until = now.mono.saturating_add(FRESH_FOR);
        self.seen.insert(claims.name.clone(), SeenBeacon { beacon: claims.clone(), verified, until });
        match self.rules.iter().find(|rule| rule.matches(claims)) {
            Some(rule) if verified => {
                BeaconVerdict::AutoVouch { rule: rule.name.clone(), pod_id: rule.pod_id.clone() }
            }
            _ => BeaconVerdict::Pending,
        }
    }

    /// Forgets devices that have not been heard for [`FRESH_FOR`].
    pub fn handle_timeout(&mut self, now: Now) {
        // At most 1024, at most as often as beacons come.
        self.seen.retain(|_, seen| now.mono < seen.until);
    }

    /// When the next device is forgotten, in monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.seen.values().map(|seen| seen.until).min()
    }

    /// The devices that were seen, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SeenBeacon> {
        self.seen.values()
    }

    /// Beacons that were not looked at, or for which there was no room.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.limited
    }

    /// When the device of this name last said something, by its own clock.
    #[must_use]
    pub fn last_issued(&self, name: &Name) -> Option<UnixTime> {
        self.seen.get(name).map(|seen| seen.beacon.issued_at)
    }

    fn is_full(&self, verified: bool) -> bool {
        let unbound = || self.seen.values().filter(|seen| !seen.verified).count();
        self.seen.len() >= MAX_BEACONS || !verified && unbound() >= MAX_UNBOUND_BEACONS
    }
}
