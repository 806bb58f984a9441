//! Finding devices with a memory of one's own.

use std::collections::HashMap;

use jis::{
    EventError, Identity, IdentityStatus, KeyEvent, Name, Record, RecordError, RecordVersion, Signed,
    UnixTime,
};
use tibet_registry::{Registry, Store, StoreError};

/// Names a resolver remembers. When it is full, the record that expired longest ago makes room; when none has expired, a new
/// name has to wait: throwing out what is still good would be throwing out the protection against rollback.
pub const MAX_REMEMBERED: usize = 65_536;

/// Resolves names: own registry → cache within its ttl → last known, marked as such.
///
/// Whatever it learns it verifies itself, key events and record, and it never goes back: an older record, or an older key, is not taken
/// for a name of which it has seen a newer one, whoever hands it out (SECURITY R42).
#[derive(Debug, Default)]
pub struct OverlayResolver {
    known: HashMap<Name, Known>,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    record: Signed<Record>,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteSource {
    /// The registry on this machine.
    Local,
    /// A record learned earlier that still holds.
    Cache,
    /// A record learned earlier whose time has run out: where the device was, not where it is.
    LastKnown,
}

/// A resolved name.
#[derive(Debug, Clone)]
pub struct ResolvedRoute {
    /// The device's own signed record, verified.
    pub record: Signed<Record>,
    /// Where it comes from.
    pub source: RouteSource,
}

/// Why something handed to a resolver is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The key events do not verify.
    #[error("key events refused: {0}")]
    Events(#[from] EventError),
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
}

impl OverlayResolver {
    /// A resolver that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a history and a record from anywhere. True when it was news.
    ///
    /// # Errors
    /// [`LearnError`]; what was known stays.
    pub fn learn(
        &mut self,
        events: &[KeyEvent],
        record: Signed<Record>,
        now: UnixTime,
    ) -> Result<bool, LearnError> {
        let identity = Identity::replay(events, &[])?;
        if identity.status != IdentityStatus::Active {
            return Err(LearnError::Revoked);
        }
        let claimed = identity.check_record(&record)?;
        if let Some(known) = self.known.get(&identity.name) {
            let (held, offered) = (known.record.claims().version, claimed.version);
            if known.identity.fingerprint != identity.fingerprint {
                return Err(LearnError::OtherIdentity);
            }
            if offered < held {
                return Err(LearnError::Rollback { known: held, offered });
            }
            if offered == held {
                return if known.record.message() == record.message() {
                    Ok(false)
                } else {
                    Err(LearnError::Equivocation)
                };
            }
        } else {
            self.make_room(now)?;
        }
        self.known.insert(identity.name.clone(), Known { identity, record });
        Ok(true)
    }

    /// Resolves a name; `None` when nothing at all is known of it.
    ///
    /// # Errors
    /// [`StoreError`] of the registry.
    pub fn resolve<S: Store>(
        &self,
        name: &Name,
        registry: &Registry<S>,
        now: UnixTime,
    ) -> Result<Option<ResolvedRoute>, StoreError> {
        let local = registry.peek(name, now)?;
        if let Some(local) = &local {
            if local.route.status != IdentityStatus::Active {
                return Ok(None);
            }
            if local.is_fresh(now) {
                return Ok(Some(ResolvedRoute { record: local.route.record()?, source: RouteSource::Local }));
            }
        }
        // What the registry knows, expired or not, still says which identity has the name and which records are older.
        let fits = |known: &&Known| {
            local.as_ref().is_none_or(|local| {
                known.identity.fingerprint == local.route.fingerprint
                    && known.record.claims().version >= local.route.version
            })
        };
        let Some(known) = self.known.get(name).filter(fits) else {
            let record = local.map(|local| local.route.record()).transpose()?;
            return Ok(record.map(|record| ResolvedRoute { record, source: RouteSource::LastKnown }));
        };
        let current = now <= known.record.claims().expires_at();
        let source = if current { RouteSource::Cache } else { RouteSource::LastKnown };
        Ok(Some(ResolvedRoute { record: known.record.clone(), source }))
    }

    fn make_room(&mut self, now: UnixTime) -> Result<(), LearnError> {
        if self.known.len() < MAX_REMEMBERED {
            return Ok(());
        }
        let expiry = |known: &Known| known.record.claims().expires_at();
        let oldest = self
            .known
            .iter()
            .min_by_key(|(_, known)| expiry(known))
            .map(|(name, known)| (name.clone(), expiry(known)));
        match oldest {
            Some((name, expires_at)) if expires_at < now => {
                self.known.remove(&name);
                Ok(())
            }
            _ => Err(LearnError::Full),
        }
    }
}
