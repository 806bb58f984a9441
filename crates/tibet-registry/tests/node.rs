//! What a node needs that answers from a copy in memory: the entries as they lie, the log as the feed of changes, and signatures verified
//! before the writer's turn.

mod common;

use std::collections::BTreeMap;

use common::{Device, START, after, assert_untouched, key, on_disk, register, verify};
use jis::{Name, PublicKey, Signed};
use tibet_registry::{
    CheckedUpdate, Damaged, MAX_CHANGES, Refusal, Registry, Route, Source, Standing, Store, StoreError,
};

/// A copy of all entries.
fn directory<S: Store>(registry: &Registry<S>) -> BTreeMap<Name, (u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    registry
        .for_each(&mut |number, name, entry| {
            all.insert(name.clone(), (number, entry.to_vec()));
        })
        .expect("read");
    all
}

fn names(names: &[&str]) -> std::collections::BTreeSet<Name> {
    names.iter().map(|text| common::name(text)).collect()
}

on_all_stores! {
    fn the_log_tells_which_names_were_written(registry) {
        assert_eq!(registry.changes_since(0).expect("read"), tibet_registry::Changes::default());
        let (mut hub, lamp) = (Device::new("jis:hub", 10), Device::new("jis:lamp", 20));
        register(registry, &hub);
        register(registry, &lamp);
        let first = registry.changes_since(0).expect("read");
        assert_eq!((&first.names, first.more), (&names(&["jis:hub", "jis:lamp"]), false));
        assert_eq!(first.read_to, registry.head().expect("head").expect("some").count);

        let moved = hub.move_on(after(1), |record| record.behind_nat = false);
        registry.update(moved, after(1)).expect("updated");
        let second = registry.changes_since(first.read_to).expect("read");
        assert_eq!((second.names, second.read_to), (names(&["jis:hub"]), first.read_to + 1));

        // A look-up writes a token and changes no entry.
        registry.resolve(lamp.name(), after(2)).expect("found");
        let third = registry.changes_since(second.read_to).expect("read");
        assert!(third.names.is_empty());
        assert_eq!(third.read_to, second.read_to + 1);
        verify(registry, &lamp, after(3)).expect("verified");
        assert_eq!(registry.changes_since(third.read_to).expect("read").names, names(&["jis:lamp"]));
        // Nothing is behind the end, whatever was believed to be there.
        let beyond = registry.changes_since(9_999).expect("read");
        assert_eq!((beyond.names.len(), beyond.read_to, beyond.more), (0, 9_999, false));
    }

    fn a_call_reads_a_bounded_part_of_the_log(registry) {
        let device = Device::new("jis:a", 10);
        registry.group(|registry| {
            register(registry, &device);
            for i in 0..MAX_CHANGES {
                registry.record_anomaly(device.name(), "x", after(i)).expect("recorded");
            }
        }).expect("durable");
        let first = registry.changes_since(0).expect("read");
        assert_eq!((first.read_to, first.more), (MAX_CHANGES, true));
        let second = registry.changes_since(first.read_to).expect("read");
        assert_eq!((second.read_to, second.more), (MAX_CHANGES + 1, false));
        assert_eq!(second.names, names(&["jis:a"]));
    }

    fn an_entry_gives_what_a_node_answers_with(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &Device::new("jis:first", 40));
        register(registry, &device);
        let (rotation, record) = device.rotate(key(12), after(1));
        registry.rotate(rotation, record, after(1)).expect("rotated");
        let held = directory(registry);
        assert_eq!(held.len(), 2);
        let (number, bytes) = held[device.name()].clone();
        let route = Route::decode(number, bytes.into()).expect("an entry");
        assert_eq!((route.id, route.vouches, route.disputed), (2, 0, false));
        assert_eq!(route.record_bytes(), device.signed_record().encode());
        assert_eq!(route.event_bytes().map(<[u8]>::to_vec).collect::<Vec<_>>(),
            device.events.iter().map(jis::KeyEvent::encode).collect::<Vec<_>>());
        assert_eq!(route.events().expect("events"), device.events);
        assert_eq!(route.key(), PublicKey::from_bytes(route.key_bytes()).map_err(|_| Damaged));
        assert_eq!(route.identity(device.name()), Ok(device.identity.clone()));
        assert_eq!(route.own_standing(after(2)), registry.standing(device.name(), after(2)).expect("standing"));
        let asked = registry.route(device.name()).expect("read").expect("there");
        assert_eq!((asked.id, asked.record_bytes()), (2, route.record_bytes()));
        assert!(registry.route(&common::name("jis:none")).expect("read").is_none());
        registry.revoke(device.revoke_own_key(), after(3)).expect("revoked");
        let revoked = registry.route(device.name()).expect("read").expect("there");
        assert_eq!(revoked.own_standing(after(4)), Standing::REVOKED);
    }

    /// What others lend is not its own.
    fn own_standing_leaves_vouches_out(registry) {
        let (hub, lamp) = (Device::new("jis:hub", 10), Device::new("jis:lamp", 20));
        register(registry, &hub);
        register(registry, &lamp);
        registry.set_trust(hub.name(), Some(0.9), "ours", START).expect("set");
        let lent = registry.vouch(&hub.vouch(1, &lamp, |_| ()), after(1)).expect("vouched");
        let route = registry.route(lamp.name()).expect("read").expect("there");
        assert_eq!(route.vouches, 1);
        assert!(route.own_standing(after(1)).score < lent.score);
    }

    fn a_record_verified_elsewhere_is_taken(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let holder = registry.route(device.name()).expect("read").expect("there");
        let holder = holder.identity(device.name()).expect("identity");
        let moved = device.move_on(after(1), |record| record.behind_nat = false);
        let checked = CheckedUpdate::check(moved.clone(), &holder).expect("its own");
        assert_eq!(checked.record().message(), moved.message());
        let taken = registry.update_checked(checked.clone(), after(1)).expect("taken");
        assert!(taken.changed);
        assert!(!registry.update_checked(checked, after(2)).expect("known").changed);
        // The rules are those of an update.
        let stale = CheckedUpdate::check(Device::new("jis:a", 10).signed_record(), &holder).expect("its own");
        let refusal = assert_untouched(registry, |r| r.update_checked(stale, after(3)));
        assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal}");
        let unknown = Device::new("jis:b", 50);
        let checked = CheckedUpdate::check(unknown.signed_record(), &unknown.identity).expect("its own");
        let refusal = assert_untouched(registry, |r| r.update_checked(checked, after(3)));
        assert_eq!(refusal, Refusal::Unknown(unknown.name().clone()));
    }

    /// Row 41: what is not signed by the key it was held against never becomes a checked update.
    fn row_41_a_record_by_another_key_is_not_checked(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        device.move_on(after(1), |record| record.behind_nat = false);
        let forged = Signed::seal(device.record.clone(), &key(99)).expect("sealed");
        let refused = CheckedUpdate::check(forged, &device.identity).expect_err("forged");
        assert_eq!(refused, Refusal::WrongKey(device.name().clone()));
        let other = Device::new("jis:b", 50);
        let refused = CheckedUpdate::check(other.signed_record(), &device.identity).expect_err("another's");
        assert!(matches!(refused, Refusal::Inconsistent(_)), "{refused}");
    }

    /// A check under an identity that the registry does not hold, or no longer, counts for nothing.
    fn row_41_a_check_under_another_identity_counts_for_nothing(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        // Somebody's own identity of that name.
        let mut twin = Device::new("jis:a", 70);
        let theirs = twin.move_on(after(1), |record| record.behind_nat = false);
        let checked = CheckedUpdate::check(theirs, &twin.identity).expect("its own");
        let refusal = assert_untouched(registry, |r| r.update_checked(checked, after(1)));
        assert_eq!(refusal, Refusal::WrongKey(device.name().clone()));
        // Verified before a rotation, taken after it.
        let before = device.identity.clone();
        let moved = device.move_on(after(1), |record| record.behind_nat = false);
        let checked = CheckedUpdate::check(moved, &before).expect("its own");
        let (rotation, record) = device.rotate(key(12), after(2));
        registry.rotate(rotation, record, after(2)).expect("rotated");
        let refusal = assert_untouched(registry, |r| r.update_checked(checked, after(3)));
        assert!(matches!(refusal, Refusal::Stale { .. }), "{refusal}");
        // Verified after a rotation that the registry has not seen.
        let (_, record) = device.rotate(key(13), after(4));
        let checked = CheckedUpdate::check(record, &device.identity).expect("its own");
        let refusal = assert_untouched(registry, |r| r.update_checked(checked, after(5)));
        assert_eq!(refusal, Refusal::WrongKey(device.name().clone()));
    }
}

/// Two processes, one file: each learns from the log what the other wrote.
#[test]
fn what_another_process_wrote_is_noticed() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let (mut one, mut other) = (on_disk(&path), on_disk(&path));
    let (first, second) = (Device::new("jis:a", 10), Device::new("jis:b", 20));
    register(&mut one, &first);
    let known = one.changes_since(0).expect("read").read_to;
    register(&mut other, &second);
    let news = one.changes_since(known).expect("read");
    assert_eq!(news.names, names(&["jis:b"]));
    let route = one.route(second.name()).expect("read").expect("there");
    assert_eq!(route.record_bytes(), second.signed_record().encode());
    other.register(first.registration(), Source::Local, START).expect("known");
    assert!(one.changes_since(news.read_to).expect("read").names.is_empty(), "nothing changed");
}

/// A token that is none any more is named, and what stands behind it can still be read.
#[test]
fn a_damaged_token_is_named_and_can_be_passed() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let mut registry = on_disk(&path);
    for (name, number) in [("jis:a", 10), ("jis:b", 20), ("jis:c", 30)] {
        register(&mut registry, &Device::new(name, number));
    }
    let file = rusqlite::Connection::open(&path).expect("opens");
    file.execute("UPDATE tibet_tokens SET line = 'x' WHERE idx = 1", []).expect("edited");
    let damaged = registry.changes_since(0);
    assert!(matches!(damaged, Err(StoreError::Unreadable { index: 1, .. })), "{damaged:?}");
    assert_eq!(registry.changes_since(2).expect("read").names, names(&["jis:c"]));
}

/// Bytes from a copy that went bad are refused, not followed.
#[test]
fn damaged_entries_are_no_routes() {
    let mut registry = common::in_memory();
    let device = Device::new("jis:a", 10);
    register(&mut registry, &device);
    let (_, bytes) = directory(&registry)[device.name()].clone();
    for end in 0..bytes.len() {
        assert!(Route::decode(1, bytes[..end].into()).is_err(), "{end}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Route::decode(1, longer.into()).is_err());
    // The length of the first event stands behind that of the history.
    let event = device.events[0].encode().len();
    let mut split = bytes;
    let at = split.len() - event - 1;
    split[at] ^= 1;
    assert!(Route::decode(1, split.into()).is_err(), "events that do not fill their range");
}
