//! A newer record whose signature was verified, and against whom.

use jis::{Identity, Record, Signed};

use crate::refusal::Refusal;
use crate::registration::check_record;

/// A record that is signed by the key of the identity it was held against. What is left are questions to the registry's memory.
///
/// Like [`CheckedRegistration`](crate::CheckedRegistration) for updates: signatures are verified on any core, while one writer commits.
#[derive(Debug, Clone)]
pub struct CheckedUpdate {
    record: Signed<Record>,
    holder: Identity,
}

impl CheckedUpdate {
    /// Verifies a record under an identity, as a replay of its history or [`Route::identity`](crate::Route::identity) gives it.
    ///
    /// # Errors
    /// [`Refusal::WrongKey`], [`Refusal::Inconsistent`].
    pub fn check(record: Signed<Record>, holder: &Identity) -> Result<Self, Refusal> {
        check_record(&record, holder)?;
        Ok(Self { record, holder: holder.clone() })
    }

    /// For a record that was verified together with the rest of a registration.
    pub(crate) fn verified(record: Signed<Record>, holder: Identity) -> Self {
        Self { record, holder }
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Signed<Record> {
        &self.record
    }

    /// The record, if it was verified under what `held` is now: the same identity with the same key.
    pub(crate) fn for_holder(self, held: &Identity) -> Result<Signed<Record>, Refusal> {
        let Self { record, holder } = self;
        let same = holder.name == held.name
            && holder.fingerprint == held.fingerprint
            && holder.generation == held.generation
            && holder.key == held.key
            && holder.next == held.next;
        if same { Ok(record) } else { Err(Refusal::WrongKey(held.name.clone())) }
    }
}
