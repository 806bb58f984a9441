//! A store in memory: for tests, for `IdentityOverlay::new`, and as the fastest thing there is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv6Addr;
use std::ops::Bound;

use jis::{Capability, Name, UnixTime};
use tibet_core::{Head, Query, Token, TokenStore as _};

use super::{
    Evidence, KeyUse, MAX_EVIDENCE, NameRequest, Presence, RequestState, Store, StoreError, StoredEntry,
    StoredVouch,
};

/// Most identities kept, about 1.5 KiB each.
pub const MAX_IDENTITIES: usize = 1 << 20;
/// Most tokens kept, about 1 KiB each.
pub const MAX_TOKENS: u64 = 1 << 22;

/// Keeps everything in maps, up to [`MAX_IDENTITIES`] and [`MAX_TOKENS`]. Lost when dropped.
///
/// Whether there is room is asked when a transaction begins. After that, writing to memory cannot fail, and the registry writes only
/// after all its checks: there is nothing to roll back.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: HashMap<Name, StoredEntry>,
    /// Names by number; number n stands at n − 1.
    names: Vec<Name>,
    /// How many names lie below each.
    below: HashMap<Name, u64>,
    keys: HashMap<(KeyUse, [u8; 32]), u64>,
    capabilities: HashMap<Capability, BTreeSet<u64>>,
    spent: HashSet<[u8; 32]>,
    vouches: HashMap<[u8; 16], StoredVouch>,
    /// Ids of vouches by the number of the identity vouched for, and by that of the voucher.
    vouches_for: VouchIds,
    vouches_by: VouchIds,
    evidence: HashMap<u64, Vec<Evidence>>,
    presence: BTreeMap<u64, Presence>,
    requests: BTreeMap<Name, NameRequest>,
    tokens: tibet_core::MemoryStore,
    settings: BTreeMap<String, String>,
}

type VouchIds = HashMap<u64, BTreeSet<[u8; 16]>>;

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn name(&self, id: u64) -> Option<&Name> {
        self.names.get(usize::try_from(id.checked_sub(1)?).ok()?)
    }

    fn listed<'a>(&'a self, whose: &'a VouchIds, number: u64) -> impl Iterator<Item = &'a StoredVouch> {
        whose.get(&number).into_iter().flatten().filter_map(|id| self.vouches.get(id))
    }
}

impl Store for MemoryStore {
    fn begin(&mut self) -> Result<(), StoreError> {
        let full = self.names.len() >= MAX_IDENTITIES || self.tokens.len()? >= MAX_TOKENS;
        if full { Err(StoreError::Full) } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn rollback(&mut self) {}

    fn entry(&self, name: &Name) -> Result<Option<StoredEntry>, StoreError> {
        Ok(self.entries.get(name).cloned())
    }

    fn for_each_entry(&self, visit: &mut dyn FnMut(u64, &Name, &[u8])) -> Result<(), StoreError> {
        for name in &self.names {
            let StoredEntry { id, bytes } = &self.entries[name];
            visit(*id, name, bytes);
        }
        Ok(())
    }

    fn count(&self) -> Result<u64, StoreError> {
        Ok(self.names.len() as u64)
    }

    fn name_of_key(&self, usage: KeyUse, key: &[u8; 32]) -> Result<Option<Name>, StoreError> {
        Ok(self.keys.get(&(usage, *key)).and_then(|id| self.name(*id)).cloned())
    }

    fn has_names_below(&self, name: &Name) -> Result<bool, StoreError> {
        Ok(self.below.contains_key(name))
    }

    fn with_capability(
        &self,
        capability: &Capability,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Name)>, StoreError> {
        let Some(ids) = self.capabilities.get(capability) else { return Ok(Vec::new()) };
        let named = |id: &u64| Some((*id, self.name(*id)?.clone()));
        Ok(ids.range(after.saturating_add(1)..).take(limit).filter_map(named).collect())
    }

    fn claim(&mut self, name: &Name, entry: &[u8]) -> Result<Option<u64>, StoreError> {
        if self.entries.contains_key(name) {
            return Ok(None);
        }
        self.names.push(name.clone());
        let id = self.names.len() as u64;
        self.entries.insert(name.clone(), StoredEntry { id, bytes: entry.into() });
        for above in std::iter::successors(name.parent(), Name::parent) {
            *self.below.entry(above).or_default() += 1;
        }
        Ok(Some(id))
    }

    fn replace(&mut self, id: u64, name: &Name, entry: &[u8]) -> Result<(), StoreError> {
        self.entries.insert(name.clone(), StoredEntry { id, bytes: entry.into() });
        Ok(())
    }

    fn bind_key(&mut self, usage: KeyUse, key: &[u8; 32], id: u64) -> Result<bool, StoreError> {
        Ok(*self.keys.entry((usage, *key)).or_insert(id) == id)
    }

    fn set_capabilities(
        &mut self,
        id: u64,
        old: &BTreeSet<Capability>,
        new: &BTreeSet<Capability>,
    ) -> Result<(), StoreError> {
        for capability in old.difference(new) {
            if let Some(ids) = self.capabilities.get_mut(capability) {
                ids.remove(&id);
            }
        }
        for capability in new.difference(old) {
            self.capabilities.entry(capability.clone()).or_default().insert(id);
        }
        Ok(())
    }

    fn spend(&mut self, token: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.spent.insert(*token))
    }

    fn remove_vouch(&mut self, id: &[u8; 16]) -> Result<(), StoreError> {
        if let Some(vouch) = self.vouches.remove(id) {
            for (whose, number) in
                [(&mut self.vouches_for, vouch.subject), (&mut self.vouches_by, vouch.voucher)]
            {
                if let Some(ids) = whose.get_mut(&number) {
                    ids.remove(id);
                }
            }
        }
        Ok(())
    }

    fn add_vouch(&mut self, vouch: &StoredVouch, now: UnixTime) -> Result<bool, StoreError> {
        let expired = |known: &StoredVouch| known.expires_at < now;
        let expired: Vec<_> = self
            .listed(&self.vouches_for, vouch.subject)
            .filter(|known| expired(known))
            .map(|known| known.id)
            .collect();
        for id in expired {
            self.remove_vouch(&id)?;
        }
        if self.vouches.contains_key(&vouch.id) {
            return Ok(false);
        }
        self.vouches.insert(vouch.id, vouch.clone());
        self.vouches_for.entry(vouch.subject).or_default().insert(vouch.id);
        self.vouches_by.entry(vouch.voucher).or_default().insert(vouch.id);
        Ok(true)
    }

    fn vouches_for(&self, subject: u64, now: UnixTime) -> Result<Vec<StoredVouch>, StoreError> {
        let all = self.listed(&self.vouches_for, subject);
        Ok(all.filter(|vouch| vouch.expires_at >= now).cloned().collect())
    }

    fn vouches_by(&self, voucher: u64, now: UnixTime) -> Result<u64, StoreError> {
        Ok(self.listed(&self.vouches_by, voucher).filter(|vouch| vouch.expires_at >= now).count() as u64)
    }

    fn add_evidence(
        &mut self,
        id: u64,
        first: &[u8],
        second: &[u8],
        _now: UnixTime,
    ) -> Result<(), StoreError> {
        let kept = self.evidence.entry(id).or_default();
        let pair = Evidence { first: first.to_vec(), second: second.to_vec() };
        if kept.len() < MAX_EVIDENCE && !kept.contains(&pair) {
            kept.push(pair);
        }
        Ok(())
    }

    fn evidence(&self, id: u64) -> Result<Vec<Evidence>, StoreError> {
        Ok(self.evidence.get(&id).cloned().unwrap_or_default())
    }

    fn set_presence(&mut self, identity: u64, presence: &Presence) -> Result<(), StoreError> {
        self.presence.insert(identity, presence.clone());
        Ok(())
    }

    fn presence(&self, identity: u64) -> Result<Option<Presence>, StoreError> {
        Ok(self.presence.get(&identity).cloned())
    }

    fn for_each_presence(&self, visit: &mut dyn FnMut(u64, Presence)) -> Result<(), StoreError> {
        for (identity, presence) in &self.presence {
            visit(*identity, presence.clone());
        }
        Ok(())
    }

    fn put_request(&mut self, request: &NameRequest) -> Result<(), StoreError> {
        self.requests.insert(request.name.clone(), request.clone());
        Ok(())
    }

    fn request(&self, name: &Name) -> Result<Option<NameRequest>, StoreError> {
        Ok(self.requests.get(name).cloned())
    }

    fn requests(&self, after: Option<&Name>, limit: usize) -> Result<Vec<NameRequest>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self
            .requests
            .range::<Name, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, held)| held.clone())
            .collect())
    }

    fn count_requests(&self, network: Ipv6Addr) -> Result<(u64, u64), StoreError> {
        let waiting = |held: &&NameRequest| held.state == RequestState::Waiting && held.network() == network;
        Ok((self.requests.len() as u64, self.requests.values().filter(waiting).count() as u64))
    }

    fn remove_request(&mut self, name: &Name) -> Result<bool, StoreError> {
        Ok(self.requests.remove(name).is_some())
    }

    fn forget_denied(&mut self, before: UnixTime) -> Result<(), StoreError> {
        self.requests.retain(|_, held| !matches!(held.state, RequestState::Denied { at } if at < before));
        Ok(())
    }

    fn append_token(&mut self, token: &Token) -> Result<(), StoreError> {
        self.tokens.append(token)?;
        Ok(())
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(self.tokens.head()?)
    }

    fn find_tokens(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        Ok(self.tokens.find(query)?)
    }

    fn for_each_token(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        Ok(self.tokens.for_each(from, visit)?)
    }

    fn tokens_from(
        &self,
        from: u64,
        limit: u64,
        visit: &mut dyn FnMut(u64, Token),
    ) -> Result<(), StoreError> {
        for index in from..from.saturating_add(limit) {
            let Some(token) = self.tokens.at(index)? else { break };
            visit(index, token);
        }
        Ok(())
    }

    fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.settings.get(key).cloned())
    }

    fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.settings.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}
