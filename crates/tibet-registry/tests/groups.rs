//! A store that fails in the middle: rules R63 and R70. After any failed write the registry is as before or as after, never between.

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;
use std::rc::Rc;

use common::{
    Contents, Device, START, after, assert_clean, contents, in_memory, key, name, on_disk, opening, register,
    verify,
};
use jis::{Capability, Name, UnixTime};
use tibet_core::{Head, Query, Token};
use tibet_registry::{
    Evidence, KeyUse, NameRequest, Presence, Refusal, Registry, Source, SqliteStore, Store, StoreError,
    StoredEntry, StoredVouch,
};

/// Fails one of the writes, and after it nothing.
#[derive(Default)]
struct Faults {
    /// Writes so far.
    writes: Cell<u64>,
    /// The write to fail.
    fail: Cell<Option<u64>>,
    /// Whether reading the end of the log fails.
    no_head: Cell<bool>,
}

struct Failing<S> {
    inner: S,
    faults: Rc<Faults>,
    /// What another process does once the log has been read.
    after_log: Option<Box<dyn Fn()>>,
}

impl<S> Failing<S> {
    fn write(&self) -> Result<(), StoreError> {
        let number = self.faults.writes.get();
        self.faults.writes.set(number + 1);
        if self.faults.fail.get() == Some(number) { Err(StoreError::Full) } else { Ok(()) }
    }
}

impl<S: Store> Store for Failing<S> {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.write()?;
        self.inner.begin()
    }
    fn commit(&mut self) -> Result<(), StoreError> {
        if let Err(error) = self.write() {
            self.inner.rollback();
            return Err(error);
        }
        self.inner.commit()
    }
    fn rollback(&mut self) {
        self.inner.rollback();
    }
    fn entry(&self, name: &Name) -> Result<Option<StoredEntry>, StoreError> {
        self.inner.entry(name)
    }
    fn for_each_entry(&self, visit: &mut dyn FnMut(u64, &Name, &[u8])) -> Result<(), StoreError> {
        self.inner.for_each_entry(visit)
    }
    fn count(&self) -> Result<u64, StoreError> {
        self.inner.count()
    }
    fn name_of_key(&self, usage: KeyUse, key: &[u8; 32]) -> Result<Option<Name>, StoreError> {
        self.inner.name_of_key(usage, key)
    }
    fn has_names_below(&self, name: &Name) -> Result<bool, StoreError> {
        self.inner.has_names_below(name)
    }
    fn with_capability(
        &self,
        capability: &Capability,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Name)>, StoreError> {
        self.inner.with_capability(capability, after, limit)
    }
    fn claim(&mut self, name: &Name, entry: &[u8]) -> Result<Option<u64>, StoreError> {
        self.write()?;
        self.inner.claim(name, entry)
    }
    fn replace(&mut self, id: u64, name: &Name, entry: &[u8]) -> Result<(), StoreError> {
        self.write()?;
        self.inner.replace(id, name, entry)
    }
    fn bind_key(&mut self, usage: KeyUse, key: &[u8; 32], id: u64) -> Result<bool, StoreError> {
        self.write()?;
        self.inner.bind_key(usage, key, id)
    }
    fn set_capabilities(
        &mut self,
        id: u64,
        old: &BTreeSet<Capability>,
        new: &BTreeSet<Capability>,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.inner.set_capabilities(id, old, new)
    }
    fn spend(&mut self, token: &[u8; 32]) -> Result<bool, StoreError> {
        self.write()?;
        self.inner.spend(token)
    }
    fn remove_vouch(&mut self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.write()?;
        self.inner.remove_vouch(id)
    }
    fn add_vouch(&mut self, vouch: &StoredVouch, now: UnixTime) -> Result<bool, StoreError> {
        self.write()?;
        self.inner.add_vouch(vouch, now)
    }
    fn vouches_for(&self, subject: u64, now: UnixTime) -> Result<Vec<StoredVouch>, StoreError> {
        self.inner.vouches_for(subject, now)
    }
    fn vouches_by(&self, voucher: u64, now: UnixTime) -> Result<u64, StoreError> {
        self.inner.vouches_by(voucher, now)
    }
    fn add_evidence(
        &mut self,
        id: u64,
        first: &[u8],
        second: &[u8],
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.inner.add_evidence(id, first, second, now)
    }
    fn evidence(&self, id: u64) -> Result<Vec<Evidence>, StoreError> {
        self.inner.evidence(id)
    }
    fn set_presence(&mut self, identity: u64, presence: &Presence) -> Result<(), StoreError> {
        self.write()?;
        self.inner.set_presence(identity, presence)
    }
    fn presence(&self, identity: u64) -> Result<Option<Presence>, StoreError> {
        self.inner.presence(identity)
    }
    fn for_each_presence(&self, visit: &mut dyn FnMut(u64, Presence)) -> Result<(), StoreError> {
        self.inner.for_each_presence(visit)
    }
    fn put_request(&mut self, request: &NameRequest) -> Result<(), StoreError> {
        self.write()?;
        self.inner.put_request(request)
    }
    fn request(&self, name: &Name) -> Result<Option<NameRequest>, StoreError> {
        self.inner.request(name)
    }
    fn requests(&self, after: Option<&Name>, limit: usize) -> Result<Vec<NameRequest>, StoreError> {
        self.inner.requests(after, limit)
    }
    fn count_requests(&self, network: Ipv6Addr) -> Result<(u64, u64), StoreError> {
        self.inner.count_requests(network)
    }
    fn remove_request(&mut self, name: &Name) -> Result<bool, StoreError> {
        self.write()?;
        self.inner.remove_request(name)
    }
    fn forget_denied(&mut self, before: UnixTime) -> Result<(), StoreError> {
        self.write()?;
        self.inner.forget_denied(before)
    }
    fn append_token(&mut self, token: &Token) -> Result<(), StoreError> {
        self.write()?;
        self.inner.append_token(token)
    }
    fn head(&self) -> Result<Option<Head>, StoreError> {
        if self.faults.no_head.get() {
            return Err(StoreError::Failed("no head".into()));
        }
        self.inner.head()
    }
    fn find_tokens(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        self.inner.find_tokens(query)
    }
    fn for_each_token(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        let out = self.inner.for_each_token(from, visit);
        if let Some(other) = &self.after_log {
            other();
        }
        out
    }
    fn tokens_from(
        &self,
        from: u64,
        limit: u64,
        visit: &mut dyn FnMut(u64, Token),
    ) -> Result<(), StoreError> {
        self.inner.tokens_from(from, limit, visit)
    }
    fn unchanging(&self, read: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.inner.unchanging(read)
    }
    fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.inner.setting(key)
    }
    fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.write()?;
        self.inner.set_setting(key, value)
    }
}

type Fragile = Registry<Failing<SqliteStore>>;

fn fragile(path: &Path) -> (Fragile, Rc<Faults>) {
    let faults = Rc::new(Faults::default());
    let inner = SqliteStore::open(path).expect("file");
    let store = Failing { inner, faults: Rc::clone(&faults), after_log: None };
    (Registry::open(store, opening()).expect("opens"), faults)
}

fn fail_write(faults: &Faults, number: u64) {
    faults.writes.set(0);
    faults.fail.set(Some(number));
}

/// Two devices, registered before the scenario.
fn prepared(path: &Path) -> (Fragile, Rc<Faults>, Device, Device) {
    let (mut registry, faults) = fragile(path);
    let (hub, lamp) = (Device::new("jis:hub", 10), Device::new("jis:lamp", 20));
    register(&mut registry, &hub);
    register(&mut registry, &lamp);
    (registry, faults, hub, lamp)
}

/// One of each kind of change.
fn scenario(registry: &mut Fragile, hub: &mut Device, lamp: &mut Device) -> Result<(), Refusal> {
    registry.register(Device::new("jis:new", 30).registration(), Source::Local, START)?;
    let moved = lamp.move_on(after(1), |record| {
        record.endpoints = vec!["198.51.100.9:7150".parse().expect("endpoint")];
        record.capabilities =
            ["coap".parse().expect("capability"), "http".parse().expect("capability")].into();
    });
    registry.update(moved, after(1))?;
    verify(registry, lamp, after(2))?;
    registry.vouch(&hub.vouch(1, lamp, |_| ()), after(3))?;
    registry.set_trust(lamp.name(), Some(0.8), "ours", after(3))?;
    let (rotation, record) = hub.rotate(key(12), after(4));
    registry.rotate(rotation, record, after(4))?;
    lamp.record.behind_nat = !lamp.record.behind_nat;
    match registry.update(lamp.signed_record(), after(5)) {
        Err(Refusal::Equivocation(_)) => {}
        other => return other.map(|_| ()),
    }
    registry.revoke(lamp.revoke_own_key(), after(6))
}

fn opened_again(registry: Fragile, path: &Path) -> Contents {
    drop(registry);
    let registry = on_disk(path);
    assert_clean(&registry);
    contents(&registry)
}

/// Rule R63, for every write of the scenario in one group.
#[test]
fn a_group_with_a_failed_write_keeps_nothing() {
    let mut number = 0;
    loop {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("registry.db");
        let (mut registry, faults, mut hub, mut lamp) = prepared(&path);
        let before = contents(&registry);
        fail_write(&faults, number);
        let result = registry.group(|registry| scenario(registry, &mut hub, &mut lamp));
        let failed = faults.writes.get() > number;
        faults.fail.set(None);
        if !failed {
            assert_eq!(result, Ok(Ok(())));
            assert_ne!(contents(&registry), before);
            assert_clean(&registry);
            break;
        }
        assert_eq!(result, Err(StoreError::Full), "write {number}");
        assert_eq!(contents(&registry), before, "write {number}");
        register(&mut registry, &Device::new("jis:later", 90));
        assert_clean(&registry);
        let reopened = opened_again(registry, &path);
        assert_eq!(reopened.0[..2], before.0[..], "write {number}");
        assert_eq!(reopened.0.len(), 3, "write {number}");
        number += 1;
    }
    assert!(number > 25, "the scenario has {number} writes");
}

/// The same with each request a transaction of its own: what was acknowledged stays, what failed left nothing.
#[test]
fn a_request_with_a_failed_write_leaves_nothing() {
    let mut number = 0;
    loop {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("registry.db");
        let (mut registry, faults, mut hub, mut lamp) = prepared(&path);
        fail_write(&faults, number);
        let result = scenario(&mut registry, &mut hub, &mut lamp);
        let failed = faults.writes.get() > number;
        faults.fail.set(None);
        if !failed {
            assert_eq!(result, Ok(()));
            break;
        }
        assert_eq!(result, Err(Refusal::Store(StoreError::Full)), "write {number}");
        assert_clean(&registry);
        let now = contents(&registry);
        assert_eq!(opened_again(registry, &path), now, "write {number}");
        number += 1;
    }
    assert!(number > 25, "the scenario has {number} writes");
}

/// After a failure SQLite may have rolled back by itself; what came later in the group would be committed alone.
#[test]
fn nothing_of_a_group_is_carried_out_after_a_failure() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let (mut registry, faults, _, _) = prepared(&path);
    let before = contents(&registry);
    fail_write(&faults, 1);
    let mut results = Vec::new();
    let outcome = registry.group(|registry| {
        for i in 0..3u64 {
            let device = Device::new(&format!("jis:n{i}"), 100 + 10 * i);
            results.push(registry.register(device.registration(), Source::Local, START).map(|_| ()));
        }
    });
    assert_eq!(outcome, Err(StoreError::Full));
    assert_eq!(results, vec![Err(Refusal::Store(StoreError::Full)); 3]);
    assert_eq!(faults.writes.get(), 2, "the lock and the write that failed, and no further one");
    assert_eq!(contents(&registry), before);
}

/// A failure right after the lock was taken must not leave it taken.
#[test]
fn a_failure_to_read_the_log_leaves_no_transaction_open() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut registry, faults, _, _) = prepared(&dir.path().join("registry.db"));
    let device = Device::new("jis:new", 30);
    for grouped in [false, true] {
        faults.no_head.set(true);
        if grouped {
            assert!(registry.group(|_| ()).is_err());
        } else {
            registry.register(device.registration(), Source::Local, START).expect_err("no head");
        }
        faults.no_head.set(false);
        registry.register(device.registration(), Source::Local, START).expect("goes on");
    }
    assert_clean(&registry);
}

/// Rule R29: a panic in one request must not turn every later one into part of a transaction that is never committed.
#[test]
fn a_panic_in_a_group_keeps_nothing_and_the_registry_goes_on() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let mut registry = on_disk(&path);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = registry.group(|registry| {
            register(registry, &Device::new("jis:lost", 10));
            panic!("a bug in a request");
        });
    }));
    assert!(panic.is_err());
    assert_eq!(registry.store().count(), Ok(0));
    register(&mut registry, &Device::new("jis:kept", 20));
    assert_eq!(on_disk(&path).store().count(), Ok(1), "another process sees it: it was committed");
    assert_clean(&registry);
}

on_all_stores! {
    /// A group in a group is part of it.
    fn a_group_within_a_group_is_part_of_it(registry) {
        let result = registry.group(|registry| {
            register(registry, &Device::new("jis:a", 10));
            registry.group(|registry| drop(register(registry, &Device::new("jis:b", 20)))).expect("inner");
            register(registry, &Device::new("jis:c", 30));
        });
        assert_eq!(result, Ok(()));
        assert_eq!(registry.store().count(), Ok(3));
    }

    /// A refusal is no failure: the others of its group are carried out.
    fn a_refused_request_does_not_hurt_its_group(registry) {
        let refused = registry.group(|registry| {
            register(registry, &Device::new("jis:a", 10));
            let refused = registry.register(Device::new("jis:a", 20).registration(), Source::Local, START);
            register(registry, &Device::new("jis:c", 30));
            refused
        });
        assert_eq!(refused, Ok(Err(Refusal::NameTaken(name("jis:a")))));
        assert_eq!(registry.store().count(), Ok(2));
    }
}

/// A failed write inside an inner group fails the outer one.
#[test]
fn a_failure_in_an_inner_group_fails_the_outer_one() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut registry, faults, _, _) = prepared(&dir.path().join("registry.db"));
    let before = contents(&registry);
    // The lock, four writes of the first claim, then the second of the other.
    fail_write(&faults, 6);
    let result = registry.group(|registry| {
        register(registry, &Device::new("jis:a", 30));
        registry.group(|registry| {
            registry.register(Device::new("jis:b", 40).registration(), Source::Local, START).map(|_| ())
        })
    });
    assert!(result.is_err(), "{result:?}");
    assert_eq!(contents(&registry), before);
}

/// An audit looks at one moment, even while another process writes between its two looks.
#[test]
fn an_audit_beside_a_writer_raises_no_false_alarm() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let device = Device::new("jis:a", 10);
    register(&mut on_disk(&path), &device);
    let other = path.clone();
    let after_log: Box<dyn Fn()> = Box::new(move || {
        let mut registry = on_disk(&other);
        registry.record_anomaly(&name("jis:a"), "seen", START).expect("recorded");
    });
    let inner = SqliteStore::open(&path).expect("file");
    let store = Failing { inner, faults: Rc::default(), after_log: Some(after_log) };
    let registry = Registry::open(store, opening()).expect("opens");
    for _ in 0..3 {
        assert_clean(&registry);
    }
    assert_eq!(registry.fira(&name("jis:a"), START).expect("known").history.anomalies, 3, "it did write");
}

/// The memory store has no rollback: what is refused there must not have been written.
#[test]
fn a_memory_registry_goes_on_after_refusals_in_a_group() {
    let mut registry = in_memory();
    registry
        .group(|registry| {
            for i in 0..5u64 {
                let device = Device::new("jis:same", 10 * i);
                let _ = registry.register(device.registration(), Source::Local, START);
            }
        })
        .expect("group");
    assert_eq!(registry.store().count(), Ok(1));
    assert_clean(&registry);
}
