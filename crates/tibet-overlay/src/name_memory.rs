//! What was seen of names, so that nothing older is believed.

mod memory;
pub use memory::KnownName;
use memory::{Change, Memory};

use std::path::Path;

use jis::{
    EventError, Identity, IdentityStatus, KeyEvent, Name, Record, RecordError, RecordVersion, Signed,
    UnixTime,
};
use tibet_registry::StoreError;

/// Names that are remembered. When it is full, the record that expired longest ago makes room; when none has expired, a new
/// name has to wait: throwing out what is still good would be throwing out the protection against rollback.
pub const MAX_REMEMBERED: usize = 65_536;

/// What a resolver has seen of names: the cache of an [`OverlayClient`](crate::OverlayClient), and its guard.
///
/// Whatever it learns it verifies itself, key events and record, and it never goes back: an older record, or an older key, is not taken
/// for a name of which it has seen a newer one, whoever hands it out (SECURITY R42). With a file ([`NameMemory::open`]) that holds beyond the
/// program's end, and for all programs that share it.
#[derive(Debug, Default)]
pub struct NameMemory {
    memory: Memory,
}

/// Why what was handed on of a name is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The key events do not verify.
    #[error("key events refused: {0}")]
    Events(#[from] EventError),
    /// There are key events that cannot be read, or more than an identity has.
    #[error("the key events cannot be read")]
    Unreadable,
    /// The record is not that of the identity the events lead to.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another identity has this name as far as we know.
    #[error("another identity is known under this name")]
    OtherIdentity,
    /// Something newer is known: a rollback.
    #[error("version {}.{} is known, {}.{} is older", .known.generation, .known.seq, .offered.generation, .offered.seq)]
    Rollback {
        /// The version known.
        known: RecordVersion,
        /// The version offered.
        offered: RecordVersion,
    },
    /// Another record of the same version is known: proof that the device signed two.
    #[error("two different records exist for one version")]
    Equivocation,
    /// The identity is revoked.
    #[error("the identity is revoked")]
    Revoked,
    /// Too many names are remembered.
    #[error("too many names are remembered")]
    Full,
    /// What was seen before cannot be read, or what is new cannot be kept: nothing is believed without.
    #[error("the memory of names: {0}")]
    Memory(StoreError),
}

impl From<StoreError> for LearnError {
    fn from(error: StoreError) -> Self {
        if error == StoreError::Full { Self::Full } else { Self::Memory(error) }
    }
}

impl NameMemory {
    /// A memory of nothing, that lasts as long as the program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A memory in this file, which need not be there yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { memory: Memory::open(path)? })
    }

    /// Takes in a history and a record from anywhere. True when it was news. A revocation is remembered too: what the revoked key signed is
    /// not believed again.
    ///
    /// # Errors
    /// [`LearnError`]; what was known stays.
    pub fn learn(
        &mut self,
        events: &[KeyEvent],
        record: Signed<Record>,
        now: UnixTime,
    ) -> Result<bool, LearnError> {
        // Mostly it is what is known already, and was verified then.
        let known = self.memory.get(&record.claims().name)?;
        let same = |known: &KnownName| known.record == record && known.events == events;
        if known.is_some_and(|known| known.identity.status == IdentityStatus::Active && same(&known)) {
            return Ok(false);
        }
        let identity = Identity::replay(events, &[])?;
        Identity { status: IdentityStatus::Active, ..identity.clone() }.check_record(&record)?;
        let name = identity.name.clone();
        let offered = KnownName { identity, record, events: events.to_vec() };
        self.memory.change(&name, now, |known| judge(known, offered))
    }

    /// What is known of a name, revoked or not, expired or not.
    ///
    /// # Errors
    /// [`StoreError`] of its file.
    pub fn known(&self, name: &Name) -> Result<Option<KnownName>, StoreError> {
        self.memory.get(name)
    }

    /// How many pairs of records are kept that a device signed under one version (SECURITY R42). Without a file none are.
    ///
    /// # Errors
    /// [`StoreError`] of its file.
    pub fn evidence(&self) -> Result<u64, StoreError> {
        self.memory.evidence()
    }
}

/// Whether what is offered is newer than what is known.
fn judge(known: Option<&KnownName>, offered: KnownName) -> Change<bool, LearnError> {
    let revoked = offered.identity.status != IdentityStatus::Active;
    let taken = if revoked { Err(LearnError::Revoked) } else { Ok(true) };
    let Some(known) = known else {
        return Change { keep: Some(offered), evidence: None, result: taken };
    };
    if known.identity.fingerprint != offered.identity.fingerprint {
        return Change::nothing(Err(LearnError::OtherIdentity));
    }
    let (held, new) = (known.record.claims().version, offered.record.claims().version);
    if known.identity.status != IdentityStatus::Active && new.generation <= known.identity.generation {
        return Change::nothing(Err(LearnError::Revoked));
    }
    if new < held {
        return Change::nothing(Err(LearnError::Rollback { known: held, offered: new }));
    }
    if new == held && known.record.message() != offered.record.message() {
        let evidence = Some([known.record.clone(), offered.record]);
        return Change { keep: None, evidence, result: Err(LearnError::Equivocation) };
    }
    // A revocation of the key we know comes with the record we know.
    match (new == held, revoked) {
        (true, false) => Change::nothing(Ok(false)),
        _ => Change { keep: Some(offered), evidence: None, result: taken },
    }
}
