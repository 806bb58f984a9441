//! A boxed store is a store, so that a program can choose one while it runs.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use jis::{Capability, Name, UnixTime};
use tibet_core::{Head, Query, Token};

use super::{Evidence, KeyUse, NameRequest, Presence, Store, StoreError, StoredEntry, StoredVouch};

impl<T: Store + ?Sized> Store for Box<T> {
    fn begin(&mut self) -> Result<(), StoreError> {
        (**self).begin()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        (**self).commit()
    }

    fn rollback(&mut self) {
        (**self).rollback();
    }

    fn entry(&self, name: &Name) -> Result<Option<StoredEntry>, StoreError> {
        (**self).entry(name)
    }

    fn for_each_entry(&self, visit: &mut dyn FnMut(u64, &Name, &[u8])) -> Result<(), StoreError> {
        (**self).for_each_entry(visit)
    }

    fn count(&self) -> Result<u64, StoreError> {
        (**self).count()
    }

    fn name_of_key(&self, usage: KeyUse, key: &[u8; 32]) -> Result<Option<Name>, StoreError> {
        (**self).name_of_key(usage, key)
    }

    fn has_names_below(&self, name: &Name) -> Result<bool, StoreError> {
        (**self).has_names_below(name)
    }

    fn with_capability(
        &self,
        capability: &Capability,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Name)>, StoreError> {
        (**self).with_capability(capability, after, limit)
    }

    fn claim(&mut self, name: &Name, entry: &[u8]) -> Result<Option<u64>, StoreError> {
        (**self).claim(name, entry)
    }

    fn replace(&mut self, id: u64, name: &Name, entry: &[u8]) -> Result<(), StoreError> {
        (**self).replace(id, name, entry)
    }

    fn bind_key(&mut self, usage: KeyUse, key: &[u8; 32], id: u64) -> Result<bool, StoreError> {
        (**self).bind_key(usage, key, id)
    }

    fn set_capabilities(
        &mut self,
        id: u64,
        old: &BTreeSet<Capability>,
        new: &BTreeSet<Capability>,
    ) -> Result<(), StoreError> {
        (**self).set_capabilities(id, old, new)
    }

    fn spend(&mut self, token: &[u8; 32]) -> Result<bool, StoreError> {
        (**self).spend(token)
    }

    fn remove_vouch(&mut self, id: &[u8; 16]) -> Result<(), StoreError> {
        (**self).remove_vouch(id)
    }

    fn add_vouch(&mut self, vouch: &StoredVouch, now: UnixTime) -> Result<bool, StoreError> {
        (**self).add_vouch(vouch, now)
    }

    fn vouches_for(&self, subject: u64, now: UnixTime) -> Result<Vec<StoredVouch>, StoreError> {
        (**self).vouches_for(subject, now)
    }

    fn vouches_by(&self, voucher: u64, now: UnixTime) -> Result<u64, StoreError> {
        (**self).vouches_by(voucher, now)
    }

    fn add_evidence(
        &mut self,
        id: u64,
        first: &[u8],
        second: &[u8],
        now: UnixTime,
    ) -> Result<(), StoreError> {
        (**self).add_evidence(id, first, second, now)
    }

    fn evidence(&self, id: u64) -> Result<Vec<Evidence>, StoreError> {
        (**self).evidence(id)
    }

    fn set_presence(&mut self, identity: u64, presence: &Presence) -> Result<(), StoreError> {
        (**self).set_presence(identity, presence)
    }

    fn presence(&self, identity: u64) -> Result<Option<Presence>, StoreError> {
        (**self).presence(identity)
    }

    fn for_each_presence(&self, visit: &mut dyn FnMut(u64, Presence)) -> Result<(), StoreError> {
        (**self).for_each_presence(visit)
    }

    fn put_request(&mut self, request: &NameRequest) -> Result<(), StoreError> {
        (**self).put_request(request)
    }

    fn request(&self, name: &Name) -> Result<Option<NameRequest>, StoreError> {
        (**self).request(name)
    }

    fn requests(&self, after: Option<&Name>, limit: usize) -> Result<Vec<NameRequest>, StoreError> {
        (**self).requests(after, limit)
    }

    fn count_requests(&self, network: Ipv6Addr) -> Result<(u64, u64), StoreError> {
        (**self).count_requests(network)
    }

    fn remove_request(&mut self, name: &Name) -> Result<bool, StoreError> {
        (**self).remove_request(name)
    }

    fn forget_denied(&mut self, before: UnixTime) -> Result<(), StoreError> {
        (**self).forget_denied(before)
    }

    fn append_token(&mut self, token: &Token) -> Result<(), StoreError> {
        (**self).append_token(token)
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        (**self).head()
    }

    fn find_tokens(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        (**self).find_tokens(query)
    }

    fn for_each_token(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        (**self).for_each_token(from, visit)
    }

    fn tokens_from(
        &self,
        from: u64,
        limit: u64,
        visit: &mut dyn FnMut(u64, Token),
    ) -> Result<(), StoreError> {
        (**self).tokens_from(from, limit, visit)
    }

    fn check_indexes(&self) -> Result<(), StoreError> {
        (**self).check_indexes()
    }

    fn unchanging(&self, read: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        (**self).unchanging(read)
    }

    fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        (**self).setting(key)
    }

    fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        (**self).set_setting(key, value)
    }
}
