//! Vouches: one identity lends another some of its trust.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jis::{Fingerprint, Name, PublicKey, Signed, UnixTime, Vouch};

/// The most that vouches can give, just below GROEN: a vouch alone never lets anybody in (SECURITY R37). The registry has the same number.
pub const MOST_BY_VOUCH: f64 = 0.69;
/// Live vouches one voucher can have (SECURITY R37).
pub const MAX_PER_VOUCHER: usize = 50;
/// Live vouches kept for one name. The best one counts, so more would only take memory.
pub const MAX_PER_SUBJECT: usize = 16;
/// Live vouches altogether: some 500 bytes each, 8 MiB.
pub const MAX_VOUCHES: usize = 16_384;
/// How far ahead of our clock a vouch may be dated.
const SKEW: Duration = Duration::from_secs(300);

/// A vouch is named by its 16 random bytes.
pub type VouchId = [u8; 16];

/// A key and generation that a name is bound to, by record, by the operator, or by a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The name.
    pub name: Name,
    /// Its current key.
    pub key: PublicKey,
    /// The generation of that key.
    pub generation: u64,
}

/// Why a vouch does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum VouchRefusal {
    /// It names another voucher, generation or key than the one it was checked against.
    #[error("not given by the current key of the voucher")]
    WrongVoucher,
    /// It is for an identity that held the name before, or never.
    #[error("for another identity of that name")]
    WrongSubject,
    /// Its end has come.
    #[error("expired")]
    Expired,
    /// It is dated in the future.
    #[error("dated in the future")]
    NotYet,
    /// It is there already.
    #[error("known already")]
    Known,
    /// [`MAX_PER_VOUCHER`], [`MAX_PER_SUBJECT`] or [`MAX_VOUCHES`] is reached. Live vouches are never given up for new ones.
    #[error("too many vouches")]
    Full,
    /// The signature does not verify.
    #[error("bad signature")]
    BadSignature,
}

/// How many vouches there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VouchStats {
    /// Kept, expired ones that have not been cleared included.
    pub total: usize,
    /// Not expired.
    pub active: usize,
    /// Names with a vouch that is kept.
    pub subjects: usize,
    /// Refused for want of room, so far.
    pub refused_full: u64,
}

/// The vouches that were verified.
#[derive(Debug, Default)]
pub struct VouchBook {
    vouches: BTreeMap<VouchId, Vouch>,
    /// In the order they came.
    of_subject: BTreeMap<Name, Vec<VouchId>>,
    by_voucher: BTreeMap<Name, BTreeSet<VouchId>>,
    by_expiry: BTreeSet<(UnixTime, VouchId)>,
    refused_full: u64,
}

impl VouchBook {
    /// An empty book.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a vouch in. `voucher` is what the voucher's name is bound to, `subject` the fingerprint of the identity that holds the subject's
    /// name now. Costs one signature check, after everything else is right.
    ///
    /// # Errors
    /// [`VouchRefusal`]; then nothing changed.
    pub fn handle_vouch(
        &mut self,
        vouch: &Signed<Vouch>,
        voucher: &Binding,
        subject: &Fingerprint,
        now: UnixTime,
    ) -> Result<VouchId, VouchRefusal> {
        self.handle_timeout(now);
        let claims = vouch.claims();
        let given_by = (&claims.voucher, claims.voucher_generation, &claims.voucher_key);
        if given_by != (&voucher.name, voucher.generation, &voucher.key) {
            return Err(VouchRefusal::WrongVoucher);
        }
        if claims.subject_fingerprint != *subject {
            return Err(VouchRefusal::WrongSubject);
        }
        if now > claims.expires_at {
            return Err(VouchRefusal::Expired);
        }
        if claims.issued_at > now.saturating_add(SKEW) {
            return Err(VouchRefusal::NotYet);
        }
        if self.vouches.contains_key(&claims.id) {
            return Err(VouchRefusal::Known);
        }
        if self.is_full_for(claims) {
            self.refused_full += 1;
            return Err(VouchRefusal::Full);
        }
        let vouch = vouch.verify(&voucher.key).map_err(|_| VouchRefusal::BadSignature)?;
        self.of_subject.entry(vouch.subject.clone()).or_default().push(vouch.id);
        self.by_voucher.entry(vouch.voucher.clone()).or_default().insert(vouch.id);
        self.by_expiry.insert((vouch.expires_at, vouch.id));
        self.vouches.insert(vouch.id, vouch.clone());
        Ok(vouch.id)
    }

    /// Takes a vouch back; whether it was there.
    pub fn revoke(&mut self, id: &VouchId) -> bool {
        let Some(vouch) = self.vouches.remove(id) else { return false };
        self.by_expiry.remove(&(vouch.expires_at, *id));
        if let Some(ids) = self.of_subject.get_mut(&vouch.subject) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.of_subject.remove(&vouch.subject);
            }
        }
        if let Some(ids) = self.by_voucher.get_mut(&vouch.voucher) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_voucher.remove(&vouch.voucher);
            }
        }
        true
    }

    /// Takes back all that a voucher gave: its key was rotated or revoked. How many there were.
    pub fn revoke_all_by(&mut self, voucher: &Name) -> usize {
        let ids = self.by_voucher.get(voucher).cloned().unwrap_or_default();
        ids.iter().filter(|id| self.revoke(id)).count()
    }

    /// Clears what has expired.
    pub fn handle_timeout(&mut self, now: UnixTime) {
        while let Some(&(expires_at, id)) = self.by_expiry.first()
            && now > expires_at
        {
            self.revoke(&id);
        }
    }

    /// When the next vouch expires, in wall time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixTime> {
        self.by_expiry.first().map(|(expires_at, _)| *expires_at)
    }

    /// The vouches for a name that have not expired, in the order they came.
    pub fn active<'a>(&'a self, subject: &Name, now: UnixTime) -> impl Iterator<Item = &'a Vouch> + use<'a> {
        let ids = self.of_subject.get(subject).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.vouches.get(id)).filter(move |vouch| now <= vouch.expires_at)
    }

    /// The best that live vouches give a name, at most [`MOST_BY_VOUCH`], and how many live vouches there are. `None` when they give nothing.
    ///
    /// `trust_of` is a voucher's own trust, 0 to 1, `None` for one that may not vouch.
    pub fn trust(
        &self,
        subject: &Name,
        now: UnixTime,
        trust_of: impl Fn(&Name) -> Option<f64>,
    ) -> Option<(f64, usize)> {
        let lent = |vouch: &Vouch| {
            let factor = vouch.factor_permille as f64 / 1000.0;
            trust_of(&vouch.voucher).map_or(0.0, |trust| trust * factor)
        };
        // `max` passes over what is not a number.
        let best = self.active(subject, now).map(lent).fold(0.0, f64::max).min(MOST_BY_VOUCH);
        (best > 0.0).then(|| (best, self.active(subject, now).count()))
    }

    /// How many there are.
    #[must_use]
    pub fn stats(&self, now: UnixTime) -> VouchStats {
        VouchStats {
            total: self.vouches.len(),
            active: self.vouches.values().filter(|vouch| now <= vouch.expires_at).count(),
            subjects: self.of_subject.len(),
            refused_full: self.refused_full,
        }
    }

    fn is_full_for(&self, vouch: &Vouch) -> bool {
        self.vouches.len() >= MAX_VOUCHES
            || self.of_subject.get(&vouch.subject).is_some_and(|ids| ids.len() >= MAX_PER_SUBJECT)
            || self.by_voucher.get(&vouch.voucher).is_some_and(|ids| ids.len() >= MAX_PER_VOUCHER)
    }
}
