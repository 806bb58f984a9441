//! Files and databases of earlier versions: brought to this one when they are opened for writing, whole or not at all.
//!
//! `data/version-1.db` was written by the program of version 1: three devices, one of them rotated, one below another, and a vouch.

mod common;

use std::path::{Path, PathBuf};

use common::{START, after, assert_clean, name, opening};
use rusqlite::Connection;
use tibet_core::Head;
use tibet_registry::{Policy, PresenceChange, Registry, SqliteStore, Store, StoreError};

fn version_1(dir: &Path) -> PathBuf {
    let path = dir.join("registry.db");
    std::fs::write(&path, include_bytes!("data/version-1.db")).expect("written");
    path
}

fn version(path: &Path) -> i32 {
    let file = Connection::open(path).expect("opens");
    file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number")
}

fn holds_what_it_held<S: Store>(registry: &mut Registry<S>) {
    assert_clean(registry);
    assert_eq!(registry.store().count(), Ok(3));
    assert_eq!(registry.head().expect("head").map(|head: Head| head.count), Some(7));
    let hub = registry.peek(&name("jis:hub"), START).expect("read").expect("there");
    assert_eq!((hub.route.version.generation, hub.route.events().expect("events").len()), (1, 2));
    let lamp = registry.route(&name("jis:lamp")).expect("read").expect("there");
    assert_eq!((lamp.vouches, registry.store().vouches_for(lamp.id, START).expect("vouches").len()), (1, 1));
    // What the version brought can be used.
    let came = PresenceChange { name: name("jis:lamp"), node: name("jis:node"), online: true, at: after(9) };
    assert_eq!(registry.note_presence(&[came]), Ok(1));
    registry.set_policy(Policy { approval: true, ..Policy::default() });
    assert!(registry.requests(None, 10).expect("read").is_empty());
    assert_clean(registry);
}

#[test]
fn a_file_of_version_1_is_brought_to_this_one() {
    let dir = tempfile::tempdir().expect("dir");
    let path = version_1(dir.path());
    assert_eq!(version(&path), 1);
    holds_what_it_held(&mut common::on_disk(&path));
    assert_eq!(version(&path), 2);
    // And opened again as one of this version.
    let registry = common::on_disk(&path);
    assert_eq!(registry.head().expect("head").map(|head| head.count), Some(8));
    assert_clean(
        &Registry::open(SqliteStore::open_read_only(&path).expect("file"), opening()).expect("opens"),
    );
}

/// Reading only, nothing can be brought anywhere: that is said, and the file stays as it is.
#[test]
fn a_file_of_version_1_is_not_changed_by_a_reader() {
    let dir = tempfile::tempdir().expect("dir");
    let path = version_1(dir.path());
    let error = SqliteStore::open_read_only(&path).expect_err("refused");
    assert!(matches!(&error, StoreError::Foreign(why) if why.contains("for writing")), "{error}");
    assert_eq!(version(&path), 1);
}

/// A file that is not what its version says is refused before anything is added to it.
#[test]
fn an_edited_file_of_version_1_is_refused() {
    for edit in [
        "DROP INDEX registry_vouches_subject",
        "CREATE TABLE registry_presence (identity INTEGER PRIMARY KEY)",
        "PRAGMA user_version = 2",
        "PRAGMA user_version = 3",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -1",
    ] {
        let dir = tempfile::tempdir().expect("dir");
        let path = version_1(dir.path());
        Connection::open(&path).expect("opens").execute_batch(edit).expect(edit);
        let before = std::fs::read(&path).expect("bytes");
        assert!(matches!(SqliteStore::open(&path), Err(StoreError::Foreign(_))), "{edit}");
        assert_eq!(std::fs::read(&path).expect("bytes"), before, "{edit}");
    }
}

/// Two processes open an old file at once: one brings it up, the other finds it done.
#[test]
fn two_processes_open_a_file_of_version_1_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().expect("dir");
        let path = version_1(dir.path());
        let opened: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || SqliteStore::open(&path).map(|store| store.count()))
            })
            .collect();
        for thread in opened {
            assert_eq!(thread.join().expect("no panic").expect("opened"), Ok(3));
        }
        assert_clean(&common::on_disk(&path));
    }
}

/// The same in PostgreSQL: the tables that version 2 added are taken away, and are there again after opening.
#[cfg(feature = "postgres")]
#[test]
fn a_database_of_version_1_is_brought_to_this_one() {
    let Some(database) = common::postgres::Database::new() else { return };
    let mut registry = database.registry();
    let device = common::Device::new("jis:a", 10);
    common::register(&mut registry, &device);
    drop(registry);
    let mut client = database.client();
    let back = "DROP TABLE registry_presence, registry_requests; UPDATE registry_schema SET version = 1";
    client.batch_execute(back).expect("version 1");
    let opened: Vec<_> = (0..4)
        .map(|_| {
            let url = database.url.clone();
            std::thread::spawn(move || {
                tibet_registry::PostgresStore::connect(&url).map(|store| store.count())
            })
        })
        .collect();
    for thread in opened {
        assert_eq!(thread.join().expect("no panic").expect("opened"), Ok(1));
    }
    let held: i32 = client.query_one("SELECT version FROM registry_schema", &[]).expect("read").get(0);
    assert_eq!(held, 2);
    let mut registry = database.registry();
    let came = PresenceChange { name: name("jis:a"), node: name("jis:node"), online: true, at: after(9) };
    assert_eq!(registry.note_presence(&[came]), Ok(1));
    assert_clean(&registry);
}
