//! Standings, and what the operator and other devices say about a device.

use jis::{IdentityStatus, Name, Signed, UnixTime, Vouch};
use tibet_core::object;

use super::Registry;
use crate::entry::{Entry, Route};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError, StoredVouch};
use crate::trust::{Fira, Standing, TrustSource};

/// Most live vouches one identity can have given (SECURITY R37).
pub const MAX_VOUCHES_GIVEN: u64 = 50;
/// Most live vouches kept for one identity. The strongest counts, so more would only cost time; a stronger one takes the place of the
/// weakest.
pub const MAX_VOUCHES_TAKEN: usize = 16;

impl<S: Store> Registry<S> {
    /// The standing of a name, [`Standing::UNKNOWN`] when it is not registered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn standing(&self, name: &Name, now: UnixTime) -> Result<Standing, StoreError> {
        self.route(name)?.map_or(Ok(Standing::UNKNOWN), |route| self.standing_of_route(&route, now))
    }

    /// The FIR/A breakdown of a name.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Store`].
    pub fn fira(&self, name: &Name, now: UnixTime) -> Result<Fira, Refusal> {
        let route = self.route(name)?.ok_or_else(|| Refusal::Unknown(name.clone()))?;
        Ok(route.history.fira(now))
    }

    /// The operator's word on a device: a score, or none to go back to what it has earned. Setting a score also settles a dispute; the
    /// evidence stays.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Score`], [`Refusal::Store`].
    pub fn set_trust(
        &mut self,
        name: &Name,
        score: Option<f64>,
        reason: &str,
        now: UnixTime,
    ) -> Result<Standing, Refusal> {
        if score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
            return Err(Refusal::Score);
        }
        self.change(name, now, |entry| {
            entry.explicit_trust = score;
            entry.disputed &= score.is_none();
            ("trust_change", object! { "explicit" => score.map_or(tibet_core::json::Value::Null, Into::into), "reason" => reason })
        })
    }

    /// Records a verification that failed in a way the operator's own program has seen with certainty. Counts at once.
    ///
    /// A bad answer from the network is never recorded here: anybody can send one in a device's name.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Store`].
    pub fn record_failed_verify(
        &mut self,
        name: &Name,
        reason: &str,
        now: UnixTime,
    ) -> Result<Standing, Refusal> {
        self.change(name, now, |entry| {
            entry.history.record_fail();
            ("failed_verify", object! { "reason" => reason })
        })
    }

    /// Records something odd about a device that the operator's own program has seen.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Store`].
    pub fn record_anomaly(&mut self, name: &Name, what: &str, now: UnixTime) -> Result<Standing, Refusal> {
        self.change(name, now, |entry| {
            entry.history.record_anomaly();
            ("anomaly", object! { "what" => what })
        })
    }

    /// Takes one identity's word for another.
    ///
    /// The voucher lends part of its own trust, of what was set or earned: not of what others lend to it.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Revoked`], [`Refusal::WrongKey`], [`Refusal::Vouch`], [`Refusal::Store`].
    pub fn vouch(&mut self, vouch: &Signed<Vouch>, now: UnixTime) -> Result<Standing, Refusal> {
        self.check_clock(now)?;
        let claimed = vouch.claims();
        if now > claimed.expires_at || claimed.issued_at > now.saturating_add(jis::Record::MAX_CLOCK_LEAD) {
            return Err(Refusal::Vouch("it has expired, or is dated in the future"));
        }
        self.transact(|registry| {
            let (voucher_id, voucher) = registry.known_entry(&claimed.voucher)?;
            let (subject_id, mut subject) = registry.known_entry(&claimed.subject)?;
            for identity in [&voucher.identity, &subject.identity] {
                if identity.status != IdentityStatus::Active {
                    return Err(Refusal::Revoked { name: identity.name.clone(), status: identity.status });
                }
            }
            if subject.identity.fingerprint != claimed.subject_fingerprint {
                return Err(Refusal::Vouch("it is for another identity than the one that has this name"));
            }
            let current = claimed.voucher_key == voucher.identity.key
                && claimed.voucher_generation == voucher.identity.generation;
            if !current || vouch.verify(&voucher.identity.key).is_err() {
                return Err(Refusal::WrongKey(claimed.voucher.clone()));
            }
            if registry.store.vouches_by(voucher_id, now)? >= MAX_VOUCHES_GIVEN {
                return Err(Refusal::Vouch("its author has vouched for too many others"));
            }
            let stored = StoredVouch {
                id: claimed.id,
                subject: subject_id,
                voucher: voucher_id,
                voucher_name: claimed.voucher.clone(),
                factor_permille: claimed.factor_permille,
                voucher_generation: claimed.voucher_generation,
                expires_at: claimed.expires_at,
            };
            let live = registry.store.vouches_for(subject_id, now)?;
            if live.iter().any(|known| known.id == stored.id) {
                return Err(Refusal::Vouch("it was taken before"));
            }
            // Only the strongest counts. A faint one gives way, so that nobody keeps others from vouching by vouching faintly.
            let mut weakest = None;
            if live.len() >= MAX_VOUCHES_TAKEN {
                for known in &live {
                    let lent = registry.lent(known, now)?.unwrap_or(-1.0);
                    if weakest.is_none_or(|(least, _)| lent < least) {
                        weakest = Some((lent, known.id));
                    }
                }
            }
            if let Some((least, _)) = weakest
                && registry.lent(&stored, now)?.is_none_or(|lent| lent <= least)
            {
                return Err(Refusal::Vouch("enough others vouch for this device"));
            }
            if !registry.store.add_vouch(&stored, now)? {
                return Err(Refusal::Vouch("it was taken before"));
            }
            if let Some((_, id)) = weakest {
                registry.store.remove_vouch(&id)?;
            }
            subject.vouches = subject.vouches.saturating_add(1);
            let details = object! {
                "voucher" => claimed.voucher.as_str(),
                "factor_permille" => i64::try_from(claimed.factor_permille).unwrap_or(i64::MAX),
                "expires_at" => claimed.expires_at.to_string(),
                "reason" => claimed.reason.as_str(),
            };
            registry.record("vouch", &mut subject, details, now)?;
            registry.store.replace(subject_id, &claimed.subject, &subject.encode())?;
            Ok(registry.standing_of(subject_id, &subject, now)?)
        })
    }

    /// A change of what trust is computed from, with a token that says where the score went.
    pub(super) fn change(
        &mut self,
        name: &Name,
        now: UnixTime,
        change: impl FnOnce(&mut Entry) -> (&'static str, tibet_core::json::Object),
    ) -> Result<Standing, Refusal> {
        self.check_clock(now)?;
        self.transact(|registry| {
            let (id, mut entry) = registry.known_entry(name)?;
            let before = registry.standing_of(id, &entry, now)?;
            let (action, mut details) = change(&mut entry);
            let after = registry.standing_of(id, &entry, now)?;
            details.insert("old_trust", before.score);
            details.insert("new_trust", after.score);
            details.insert("old_zone", before.zone.as_str());
            details.insert("new_zone", after.zone.as_str());
            registry.record(action, &mut entry, details, now)?;
            registry.store.replace(id, name, &entry.encode())?;
            Ok(after)
        })
    }

    pub(super) fn standing_of(&self, id: u64, entry: &Entry, now: UnixTime) -> Result<Standing, StoreError> {
        if entry.identity.status != IdentityStatus::Active {
            return Ok(Standing::REVOKED);
        }
        let vouched = if entry.vouches == 0 { None } else { self.vouched(id, now)? };
        Ok(Standing::of(entry.explicit_trust, vouched, entry.history.score(now), entry.disputed))
    }

    pub(super) fn standing_of_route(&self, route: &Route, now: UnixTime) -> Result<Standing, StoreError> {
        let vouched = if route.vouches == 0 { None } else { self.vouched(route.id, now)? };
        Ok(route.standing(vouched, now))
    }

    /// The most anybody lends to this identity now. A voucher that was revoked or has changed its key lends nothing.
    fn vouched(&self, subject: u64, now: UnixTime) -> Result<Option<f64>, StoreError> {
        let mut best: Option<f64> = None;
        for vouch in self.store.vouches_for(subject, now)? {
            if let Some(lent) = self.lent(&vouch, now)? {
                best = Some(best.map_or(lent, |best| best.max(lent)));
            }
        }
        Ok(best)
    }

    /// What one vouch lends now, if its voucher still speaks with the key that signed it.
    fn lent(&self, vouch: &StoredVouch, now: UnixTime) -> Result<Option<f64>, StoreError> {
        let Some(voucher) = self.route(&vouch.voucher_name)? else { return Ok(None) };
        if voucher.status != IdentityStatus::Active || voucher.version.generation != vouch.voucher_generation
        {
            return Ok(None);
        }
        // Depth 1: what others lend to the voucher is left out.
        let own = voucher.own_standing(now);
        debug_assert_ne!(own.source, TrustSource::Vouched);
        Ok(Some(own.score * vouch.factor_permille as f64 / 1000.0))
    }
}
