//! What every store must do, asked of each of them.

mod common;

use std::collections::BTreeSet;

use common::{Device, name, number16};
use jis::{Capability, UnixTime};
use tibet_core::{Draft, Micros, Minter, Query};
use tibet_registry::{
    KeyUse, MAX_EVIDENCE, MemoryStore, NameRequest, Presence, RequestState, SqliteStore, Store, StoredVouch,
};

fn capabilities(texts: &[&str]) -> BTreeSet<Capability> {
    texts.iter().map(|text| text.parse().expect("capability")).collect()
}

fn vouch(id: u64, subject: u64, voucher: u64, expires: u64) -> StoredVouch {
    StoredVouch {
        id: number16(id),
        subject,
        voucher,
        voucher_name: name("jis:hub"),
        factor_permille: 700,
        voucher_generation: 3,
        expires_at: UnixTime::from_secs(expires),
    }
}

fn entries<S: Store>(store: &S) -> Vec<(u64, String, Vec<u8>)> {
    let mut all = Vec::new();
    store
        .for_each_entry(&mut |id, name, bytes| all.push((id, name.to_string(), bytes.to_vec())))
        .expect("read");
    all
}

fn conforms<S: Store>(store: &mut S) {
    assert_eq!((store.count(), store.head(), store.setting("x")), (Ok(0), Ok(None), Ok(None)));
    store.begin().expect("begin");

    // Entries: the first claim has the name; numbers count from 1; an entry is replaced where it is.
    assert_eq!(store.claim(&name("jis:a"), b"one"), Ok(Some(1)));
    assert_eq!(store.claim(&name("jis:a"), b"two"), Ok(None));
    assert_eq!(store.claim(&name("jis:b:c:d"), b""), Ok(Some(2)));
    store.replace(1, &name("jis:a"), b"three").expect("replaced");
    let held = store.entry(&name("jis:a")).expect("read").expect("there");
    assert_eq!((held.id, &*held.bytes), (1, &b"three"[..]));
    assert!(store.entry(&name("jis:c")).expect("read").is_none());
    assert_eq!(entries(store), [(1, "jis:a".into(), b"three".to_vec()), (2, "jis:b:c:d".into(), Vec::new())]);
    assert_eq!(store.count(), Ok(2));

    // Names below: by whole labels, at any depth.
    for (text, expected) in
        [("jis:b", true), ("jis:b:c", true), ("jis:b:c:d", false), ("jis:a", false), ("jis:b:cc", false)]
    {
        assert_eq!(store.has_names_below(&name(text)), Ok(expected), "{text}");
    }
    // '-' sorts before ':' and letters after it: neighbours in any order of the names.
    assert_eq!(store.claim(&name("jis:e-e:x"), b"x"), Ok(Some(3)));
    assert_eq!(store.claim(&name("jis:ee:x"), b"x"), Ok(Some(4)));
    assert_eq!(store.has_names_below(&name("jis:e")), Ok(false));

    // Keys: one owner for each use, for ever.
    assert_eq!(store.bind_key(KeyUse::Identity, &[7; 32], 1), Ok(true));
    assert_eq!(store.bind_key(KeyUse::Identity, &[7; 32], 1), Ok(true), "its own");
    assert_eq!(store.bind_key(KeyUse::Identity, &[7; 32], 2), Ok(false));
    assert_eq!(store.bind_key(KeyUse::Transport, &[7; 32], 2), Ok(true), "another use is another key");
    assert_eq!(store.name_of_key(KeyUse::Identity, &[7; 32]), Ok(Some(name("jis:a"))));
    assert_eq!(store.name_of_key(KeyUse::Transport, &[7; 32]), Ok(Some(name("jis:b:c:d"))));
    assert_eq!(store.name_of_key(KeyUse::Identity, &[8; 32]), Ok(None));

    // Capabilities.
    let none = BTreeSet::new();
    store.set_capabilities(1, &none, &capabilities(&["x", "y"])).expect("set");
    store.set_capabilities(2, &none, &capabilities(&["y", "z"])).expect("set");
    store.set_capabilities(1, &capabilities(&["x", "y"]), &capabilities(&["y", "w"])).expect("set");
    let find = |store: &S, text: &str, after, limit| {
        let found = store.with_capability(&text.parse().expect("capability"), after, limit).expect("found");
        found.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(find(store, "y", 0, 10), [1, 2]);
    assert_eq!(find(store, "y", 1, 10), [2], "after the first");
    assert_eq!(find(store, "y", 0, 1), [1]);
    assert_eq!(find(store, "w", 0, 10), [1]);
    assert!(find(store, "x", 0, 10).is_empty());
    assert!(find(store, "y", u64::MAX, 10).is_empty());
    let named = store.with_capability(&"z".parse().expect("capability"), 0, 10).expect("found");
    assert_eq!(named, [(2, name("jis:b:c:d"))]);

    // One-time tokens.
    assert_eq!(store.spend(&[1; 32]), Ok(true));
    assert_eq!(store.spend(&[1; 32]), Ok(false));
    assert_eq!(store.spend(&[2; 32]), Ok(true));

    // Vouches: live up to and including their last moment; expired ones of the same subject go when a new one comes.
    let at = UnixTime::from_secs;
    assert_eq!(store.add_vouch(&vouch(1, 1, 2, 100), at(50)), Ok(true));
    assert_eq!(store.add_vouch(&vouch(1, 2, 3, 900), at(50)), Ok(false), "an id is used once");
    assert_eq!(store.add_vouch(&vouch(2, 1, 2, 200), at(50)), Ok(true));
    assert_eq!(store.add_vouch(&vouch(3, 2, 2, 200), at(50)), Ok(true));
    assert_eq!(store.vouches_for(1, at(100)).expect("vouches").len(), 2);
    assert_eq!(store.vouches_for(1, at(101)).expect("vouches"), [vouch(2, 1, 2, 200)]);
    assert_eq!((store.vouches_by(2, at(100)), store.vouches_by(2, at(101))), (Ok(3), Ok(2)));
    assert_eq!(store.vouches_by(1, at(0)), Ok(0));
    assert_eq!(store.add_vouch(&vouch(4, 1, 3, 300), at(150)), Ok(true));
    assert_eq!(store.vouches_for(1, at(0)).expect("vouches").len(), 2, "the expired one is forgotten");
    store.remove_vouch(&number16(2)).expect("removed");
    store.remove_vouch(&number16(2)).expect("gone already");
    assert_eq!(store.vouches_for(1, at(0)).expect("vouches"), [vouch(4, 1, 3, 300)]);
    assert_eq!(store.vouches_by(2, at(0)), Ok(1));

    // Evidence: in order, without repeats, bounded for each identity by itself.
    for i in 0..=MAX_EVIDENCE as u8 {
        store.add_evidence(1, b"held", &[i], at(1)).expect("kept");
        store.add_evidence(1, b"held", &[i], at(2)).expect("known");
    }
    store.add_evidence(2, b"held", b"other", at(1)).expect("kept");
    let seconds: Vec<_> = store.evidence(1).expect("evidence").into_iter().map(|pair| pair.second).collect();
    assert_eq!(seconds, (0..MAX_EVIDENCE as u8).map(|i| vec![i]).collect::<Vec<_>>());
    assert_eq!(store.evidence(2).expect("evidence").len(), 1);
    assert!(store.evidence(9).expect("evidence").is_empty());

    // Presence: one for each identity, the last one noted.
    let presence = |node, online, since| Presence { node: name(node), online, since: at(since) };
    assert_eq!(store.presence(1), Ok(None));
    store.set_presence(2, &presence("jis:hub", true, 5)).expect("noted");
    store.set_presence(1, &presence("jis:hub", true, 6)).expect("noted");
    store.set_presence(2, &presence("jis:other", false, 7)).expect("noted");
    assert_eq!(store.presence(2), Ok(Some(presence("jis:other", false, 7))));
    let mut seen = Vec::new();
    store.for_each_presence(&mut |identity, held| seen.push((identity, held))).expect("read");
    assert_eq!(seen, [(1, presence("jis:hub", true, 6)), (2, presence("jis:other", false, 7))]);

    // Requests for names: one for each name, in the order of the names as bytes.
    let request = |text, source: &str, state| NameRequest {
        name: name(text),
        fingerprint: Device::new(text, 70).identity.fingerprint,
        key: common::any_key(70),
        source: source.parse().expect("address"),
        since: at(9),
        state,
    };
    let waiting = |text, source| request(text, source, RequestState::Waiting);
    let (first, second) = (waiting("jis:b-b", "192.0.2.1"), waiting("jis:b:b", "2001:db8:1:2::3"));
    for held in [&second, &first, &waiting("jis:bb", "192.0.2.200")] {
        store.put_request(held).expect("kept");
    }
    let names = |store: &S, after: Option<&str>, limit| {
        let found = store.requests(after.map(name).as_ref(), limit).expect("read");
        found.into_iter().map(|held| held.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(store, None, 10), ["jis:b-b", "jis:b:b", "jis:bb"]);
    assert_eq!(names(store, Some("jis:b-b"), 1), ["jis:b:b"]);
    assert_eq!(
        (store.request(&first.name), store.request(&second.name)),
        (Ok(Some(first.clone())), Ok(Some(second)))
    );
    assert_eq!(store.request(&name("jis:b")), Ok(None));
    assert_eq!(store.count_requests(first.network()), Ok((3, 2)));
    let approved = request("jis:bb", "192.0.2.200", RequestState::Approved { at: at(20) });
    store.put_request(&approved).expect("replaced");
    assert_eq!(store.request(&approved.name), Ok(Some(approved)));
    assert_eq!(store.count_requests(first.network()), Ok((3, 1)));
    store.put_request(&request("jis:b:b", "::1", RequestState::Denied { at: at(30) })).expect("replaced");
    store.forget_denied(at(30)).expect("not yet");
    assert_eq!(names(store, None, 10).len(), 3);
    store.forget_denied(at(31)).expect("forgotten");
    assert_eq!(names(store, None, 10), ["jis:b-b", "jis:bb"]);
    assert_eq!(store.remove_request(&first.name), Ok(true));
    assert_eq!(store.remove_request(&first.name), Ok(false));

    // The log.
    let mut minter = Minter::new("jis:test");
    let made: Vec<_> = (1..=5u64)
        .map(|i| {
            minter.mint(
                Draft::new(if i % 2 == 0 { "even" } else { "odd" }),
                Micros::from_micros(i).expect("time"),
                [0; 4],
            )
        })
        .collect();
    made.iter().for_each(|token| store.append_token(token).expect("appended"));
    assert!(store.append_token(&made[0]).is_err(), "an id is used once");
    assert_eq!(store.head().expect("head"), minter.head().cloned());
    let mut seen = Vec::new();
    store.for_each_token(2, &mut |index, token| seen.push((index, token.token_id))).expect("read");
    assert_eq!(seen, (2..5).map(|i| (i as u64, made[i].token_id.clone())).collect::<Vec<_>>());
    let mut seen = Vec::new();
    store.tokens_from(1, 2, &mut |index, token| seen.push((index, token.token_id))).expect("read");
    assert_eq!(seen, (1..3).map(|i| (i as u64, made[i].token_id.clone())).collect::<Vec<_>>());
    seen.clear();
    store.tokens_from(4, 9, &mut |index, token| seen.push((index, token.token_id))).expect("read");
    store.tokens_from(u64::MAX, 9, &mut |_, _| panic!("there is none")).expect("read");
    assert_eq!(seen, [(4, made[4].token_id.clone())], "no more than there are");
    let query = Query { action: Some("odd".into()), limit: 2, ..Query::default() };
    assert_eq!(store.find_tokens(&query).expect("found"), [made[2].clone(), made[4].clone()]);

    // Settings.
    store.set_setting("x", "1").expect("set");
    store.set_setting("x", "2").expect("set");
    assert_eq!(store.setting("x"), Ok(Some("2".into())));
    store.commit().expect("commit");
    assert_eq!(store.count(), Ok(4));
    let mut count = Ok(0);
    store
        .unchanging(&mut || {
            count = store.count();
            Ok(())
        })
        .expect("read");
    assert_eq!(count, Ok(4));
}

#[test]
fn the_memory_store_conforms() {
    conforms(&mut MemoryStore::new());
}

/// Chosen while the program runs, and handed to another thread.
#[test]
fn a_boxed_store_conforms() {
    let boxed: Box<dyn Store + Send> = Box::new(MemoryStore::new());
    conforms(&mut std::thread::spawn(move || boxed).join().expect("sent"));
    let boxed: Box<dyn Store + Send> = Box::new(MemoryStore::new());
    let registry = tibet_registry::Registry::open(boxed, common::opening()).expect("opens");
    common::assert_clean(&registry);
}

#[test]
fn the_sqlite_store_conforms_and_remembers() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    conforms(&mut SqliteStore::open(&path).expect("file"));
    remembers(&SqliteStore::open(&path).expect("again"));
}

/// What [`conforms`] has left, seen by another handle.
fn remembers<S: Store>(store: &S) {
    assert_eq!(store.count(), Ok(4));
    assert_eq!(store.setting("x"), Ok(Some("2".into())));
    assert_eq!(store.head().expect("head").map(|head| head.count), Some(5));
    assert_eq!(store.evidence(1).expect("evidence").len(), MAX_EVIDENCE);
}

#[cfg(feature = "postgres")]
#[test]
fn the_postgres_store_conforms_and_remembers() {
    let Some(database) = common::postgres::Database::new() else { return };
    // Sent from one thread to another, as a node does with its writer.
    let boxed: Box<dyn Store + Send> = Box::new(database.store());
    conforms(&mut std::thread::spawn(move || boxed).join().expect("sent"));
    remembers(&database.store());
}

/// What is not committed is not there, neither for others meanwhile nor for oneself after a rollback.
fn shows_nothing_before_its_commit<S: Store>(mut store: S, other: &S) {
    store.begin().expect("begin");
    store.claim(&name("jis:a"), b"one").expect("claimed");
    assert!(other.entry(&name("jis:a")).expect("read").is_none());
    store.rollback();
    assert!(store.entry(&name("jis:a")).expect("read").is_none());
    store.rollback();
    store.begin().expect("begin");
    assert_eq!(store.claim(&name("jis:a"), b"two"), Ok(Some(1)));
    store.commit().expect("commit");
    assert!(other.entry(&name("jis:a")).expect("read").is_some());
    assert_eq!(other.check_indexes(), Ok(()));
}

#[test]
fn a_sqlite_transaction_shows_nothing_before_its_commit() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let other = SqliteStore::open(&path).expect("file");
    shows_nothing_before_its_commit(SqliteStore::open(&path).expect("file"), &other);
    assert!(other.check().is_ok());
}

#[cfg(feature = "postgres")]
#[test]
fn a_postgres_transaction_shows_nothing_before_its_commit() {
    let Some(database) = common::postgres::Database::new() else { return };
    shows_nothing_before_its_commit(database.store(), &database.store());
}
