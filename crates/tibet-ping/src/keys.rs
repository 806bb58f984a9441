//! Which key a name is known by.

use std::collections::{BTreeMap, BTreeSet};

use jis::{Name, PublicKey};

use crate::packet::Packet;
use crate::signing::VerifiedPing;
use crate::vouching::Binding;

/// Names whose key is known: some 350 bytes each, 6 MiB.
pub const MAX_KEYS: usize = 16_384;
/// Of these, names that were pinned on first contact. Anybody can make up names, so pins may not crowd out records and the operator's keys.
pub const MAX_PINS: usize = 4096;
/// Names that may speak without a signature (SECURITY R72).
pub const MAX_UNSIGNED: usize = 256;

/// Where a binding of name and key comes from; a later one is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySource {
    /// The first signed packet under the name, as ssh does with `known_hosts`.
    Pin,
    /// A verified endpoint record.
    Record,
    /// The operator.
    Operator,
}

/// What to do about a signed packet of a name that nobody has spoken under yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstContact {
    /// Believe it and remember its key.
    #[default]
    Pin,
    /// Drop it.
    Refuse,
}

/// How a packet is to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// By this key, which the name is bound to.
    Bound(PublicKey),
    /// By the key it brings along, since it is the first of its name; to be pinned by [`KeyBook::handle_first_contact`] if it verifies. That it
    /// comes from whoever the operator means by the name is not known.
    FirstContact(PublicKey),
    /// Not at all: a legacy peer that the operator allows. It moves no endpoint, is not relayed, and vouches for nobody.
    Unsigned,
}

/// Why a packet is dropped before its signature is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRefusal {
    /// The source is no canonical name.
    #[error("the source is no name")]
    BadName,
    /// It brings another key than the name is bound to: a new device, or somebody else. For the operator to be told, who alone can settle it.
    #[error("signed by another key than the one known")]
    ChangedKey,
    /// Nobody has spoken under this name, and first contacts are refused or there is no room for another.
    #[error("unknown name")]
    UnknownName,
    /// Not signed, and the name is not allowed that.
    #[error("not signed")]
    Unsigned,
    /// Not signed, though the name has a key: once seen signed, never again unsigned.
    #[error("not signed, though the name has a key")]
    Downgrade,
}

/// The keys that names are bound to, and who may do without.
#[derive(Debug, Default)]
pub struct KeyBook {
    first_contact: FirstContact,
    keys: BTreeMap<Name, (Binding, KeySource)>,
    pins: usize,
    unsigned: BTreeSet<Name>,
    refused_full: u64,
}

/// No room for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for another name")]
pub struct KeyBookFull;

impl KeyBook {
    /// An empty book.
    #[must_use]
    pub fn new(first_contact: FirstContact) -> Self {
        Self { first_contact, ..Self::default() }
    }

    /// Binds a name to a key, unless a stronger source or, from a record, a later generation has bound it already. Whether it is bound so now.
    ///
    /// Pins that an earlier run left on disk come in here too.
    ///
    /// # Errors
    /// [`KeyBookFull`].
    pub fn bind(&mut self, binding: Binding, source: KeySource) -> Result<bool, KeyBookFull> {
        let old = self.keys.get(&binding.name);
        if let Some((old, from)) = old {
            let weaker = source < *from || source == KeySource::Pin;
            let older = source == KeySource::Record && *from == source && binding.generation < old.generation;
            if weaker || older {
                return Ok(*old == binding);
            }
        } else if self.keys.len() >= MAX_KEYS || source == KeySource::Pin && self.pins >= MAX_PINS {
            self.refused_full += 1;
            return Err(KeyBookFull);
        }
        let was_pin = matches!(old, Some((_, KeySource::Pin)));
        self.pins = self.pins + usize::from(source == KeySource::Pin) - usize::from(was_pin);
        self.keys.insert(binding.name.clone(), (binding, source));
        Ok(true)
    }

    /// Forgets a name's key: the operator accepts that it has changed, or it was revoked. Whether there was one.
    pub fn forget(&mut self, name: &Name) -> bool {
        let old = self.keys.remove(name);
        self.pins -= usize::from(matches!(old, Some((_, KeySource::Pin))));
        old.is_some()
    }

    /// Lets a name speak without a signature, for as long as it has no key.
    ///
    /// # Errors
    /// [`KeyBookFull`], at [`MAX_UNSIGNED`].
    pub fn allow_unsigned(&mut self, name: Name) -> Result<(), KeyBookFull> {
        if self.unsigned.len() >= MAX_UNSIGNED && !self.unsigned.contains(&name) {
            return Err(KeyBookFull);
        }
        self.unsigned.insert(name);
        Ok(())
    }

    /// Whether a name may speak without a signature: the operator allows it and it has no key.
    #[must_use]
    pub fn may_be_unsigned(&self, name: &Name) -> bool {
        self.unsigned.contains(name) && self.key(name).is_none()
    }

    /// How `packet` is to be checked. Stores nothing.
    ///
    /// # Errors
    /// [`KeyRefusal`].
    pub fn expected(&self, packet: &Packet) -> Result<Expected, KeyRefusal> {
        let name = packet.source().map_err(|_| KeyRefusal::BadName)?;
        let bound = self.key(&name);
        let Some(claim) = &packet.claim else {
            return match bound {
                Some(_) => Err(KeyRefusal::Downgrade),
                None if self.unsigned.contains(&name) => Ok(Expected::Unsigned),
                None => Err(KeyRefusal::Unsigned),
            };
        };
        match bound {
            Some(key) if key == claim.public_key => Ok(Expected::Bound(key)),
            Some(_) => Err(KeyRefusal::ChangedKey),
            None if self.first_contact == FirstContact::Pin && self.has_room_for_a_pin() => {
                Ok(Expected::FirstContact(claim.public_key))
            }
            None => Err(KeyRefusal::UnknownName),
        }
    }

    /// Remembers the key of a packet that [`expected`](Self::expected) called a first contact and that has verified since. Returns what is to be
    /// written to disk; `None` if the name was bound meanwhile.
    pub fn handle_first_contact(&mut self, ping: &VerifiedPing<'_>) -> Option<Binding> {
        let claim = ping.claim();
        let name = ping.source().clone();
        if self.key(&name).is_some() {
            return None;
        }
        let binding = Binding { name, key: claim.public_key, generation: claim.generation };
        self.bind(binding.clone(), KeySource::Pin).ok().map(|_| binding)
    }

    /// The key a name is bound to. A self-certifying name is bound to the key it spells.
    #[must_use]
    pub fn key(&self, name: &Name) -> Option<PublicKey> {
        name.certified_key().or_else(|| self.keys.get(name).map(|(binding, _)| binding.key))
    }

    /// What is known of a name's key, and where it comes from.
    #[must_use]
    pub fn binding(&self, name: &Name) -> Option<(&Binding, KeySource)> {
        self.keys.get(name).map(|(binding, source)| (binding, *source))
    }

    /// Names that are bound.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Names for which there was no room.
    #[must_use]
    pub fn refused_full(&self) -> u64 {
        self.refused_full
    }

    fn has_room_for_a_pin(&self) -> bool {
        self.pins < MAX_PINS && self.keys.len() < MAX_KEYS
    }
}
