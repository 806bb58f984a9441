//! Damaged files: row 91 of the bad-input table. Refused, or an earlier consistent state; never wrong, never a panic.

mod common;

use std::path::{Path, PathBuf};

use common::{Contents, Device, START, after, contents, name, on_disk, opening, register, verify};
use tibet_registry::{Registry, SqliteStore, Store as _, StoreError};

const PAGE: usize = 4096;

/// A registry of six devices with some history, whole in one file. Gives the file's bytes and what is in it.
fn whole(dir: &Path) -> (Vec<u8>, Contents) {
    let path = dir.join("whole.db");
    let mut registry = on_disk(&path);
    build(&mut registry);
    let held = contents(&registry);
    drop(registry);
    assert!(!wal(&path).exists(), "closing leaves one file");
    (std::fs::read(&path).expect("file"), held)
}

fn build(registry: &mut Registry<SqliteStore>) {
    for i in 0..6u64 {
        let mut device = Device::new(&format!("jis:d{i}"), 10 * i);
        register(registry, &device);
        verify(registry, &device, after(1)).expect("proven");
        let moved = device.move_on(after(2), |_| ());
        registry.update(moved, after(2)).expect("moved");
    }
}

fn wal(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

fn open(path: &Path) -> Result<Registry<SqliteStore>, StoreError> {
    Registry::open(SqliteStore::open(path)?, opening())
}

/// Opens a damaged file and reads all of it. Whatever it gives without an error must be what was written.
fn nothing_wrong(path: &Path, whole: &Contents, what: &str) -> bool {
    let Ok(mut registry) = open(path) else { return false };
    for (id, name, bytes) in &whole.0 {
        match registry.store().entry(name) {
            Err(_) => {}
            Ok(None) => panic!("{what}: {name} is free to take"),
            Ok(Some(entry)) => assert_eq!((entry.id, &*entry.bytes), (*id, &bytes[..]), "{what}"),
        }
        if let Ok(found) = registry.resolve(name, START) {
            found.route.record().expect("a record that is handed out verifies");
        }
    }
    true
}

/// A cheap stream of bytes that depends on `seed`.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

#[test]
fn row_91_each_page_in_turn_destroyed() {
    let dir = tempfile::tempdir().expect("dir");
    let (bytes, held) = whole(dir.path());
    let pages = bytes.len() / PAGE;
    assert!(pages > 20, "{pages}");
    let path = dir.path().join("damaged.db");
    let mut refused = 0;
    for page in 0..pages {
        for (what, content) in [("zeros", vec![0; PAGE]), ("noise", noise(page, PAGE))] {
            let mut damaged = bytes.clone();
            damaged[page * PAGE..(page + 1) * PAGE].copy_from_slice(&content);
            std::fs::write(&path, &damaged).expect("file");
            refused += usize::from(!nothing_wrong(&path, &held, &format!("page {page}, {what}")));
        }
    }
    assert!(refused >= pages, "{refused} of {} refused at once", 2 * pages);
}

/// Single bytes, which a page's structure may survive: an entry's own checksum and the log's hashes find them.
#[test]
fn row_91_single_bytes_changed() {
    let dir = tempfile::tempdir().expect("dir");
    let (bytes, held) = whole(dir.path());
    let path = dir.path().join("damaged.db");
    for round in 0..120usize {
        let at = (round * 7919 * 31) % bytes.len();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (round % 8);
        std::fs::write(&path, &damaged).expect("file");
        let Ok(registry) = open(&path) else { continue };
        for (_, name, original) in &held.0 {
            if let Ok(Some(entry)) = registry.store().entry(name) {
                assert_eq!(&*entry.bytes, &original[..], "byte {at}");
            }
        }
        drop(registry.audit(None));
    }
}

#[test]
fn row_91_the_file_cut_anywhere() {
    let dir = tempfile::tempdir().expect("dir");
    let (bytes, held) = whole(dir.path());
    let path = dir.path().join("cut.db");
    let lengths =
        (1..bytes.len()).step_by(PAGE / 2 + 1).chain([1, 15, 16, 99, 100, 511, 512, PAGE, bytes.len() - 1]);
    for length in lengths {
        std::fs::write(&path, &bytes[..length]).expect("file");
        let opened = nothing_wrong(&path, &held, &format!("cut to {length}"));
        // The last page may have lost bytes that say nothing.
        assert!(!opened || length + PAGE > bytes.len(), "cut to {length}");
    }
}

/// The log of writes cut at every 512th byte: one of the states that were committed, in the order they were.
#[test]
fn row_91_the_write_ahead_log_cut_anywhere() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let mut registry = on_disk(&path);
    let mut states: Vec<Contents> = vec![(Vec::new(), None)];
    for i in 0..3u64 {
        let mut device = Device::new(&format!("jis:d{i}"), 10 * i);
        register(&mut registry, &device);
        states.push(contents(&registry));
        let moved = device.move_on(after(2), |_| ());
        registry.update(moved, after(2)).expect("moved");
        states.push(contents(&registry));
    }
    let (main, log) = (std::fs::read(&path).expect("file"), std::fs::read(wal(&path)).expect("log"));
    drop(registry);
    let copy = dir.path().join("copy.db");
    let mut reached = 0;
    for length in (0..log.len()).step_by(512).chain([log.len()]) {
        std::fs::write(&copy, &main).expect("file");
        std::fs::write(wal(&copy), &log[..length]).expect("log");
        drop(std::fs::remove_file(copy.with_extension("db-shm")));
        let registry = open(&copy).unwrap_or_else(|error| panic!("log cut to {length}: {error}"));
        let found = contents(&registry);
        let state = states.iter().position(|state| *state == found);
        let state = state.unwrap_or_else(|| panic!("log cut to {length}: a state that never was"));
        assert!(state >= reached, "log cut to {length}: more log gives no earlier state");
        reached = state;
        assert!(registry.audit(None).expect("audited").is_clean(), "log cut to {length}");
        drop(registry);
        drop(std::fs::remove_file(wal(&copy)));
    }
    assert_eq!(reached, states.len() - 1, "the whole log gives the last state");
}

#[test]
fn row_91_files_of_something_else_are_refused_and_not_touched() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("other.db");
    let other = rusqlite::Connection::open(&path).expect("opens");
    other.execute_batch("CREATE TABLE recipes (name TEXT); PRAGMA application_id = 77;").expect("made");
    drop(other);
    let before = std::fs::read(&path).expect("file");
    assert!(matches!(open(&path).map(|_| ()), Err(StoreError::Foreign(_))));
    assert!(matches!(SqliteStore::open_read_only(&path).map(|_| ()), Err(StoreError::Foreign(_))));
    assert_eq!(
        std::fs::read(&path).expect("file"),
        before,
        "not a byte of another program's file is changed"
    );

    let (bytes, _) = whole(dir.path());
    let change = |sql: &str| {
        std::fs::write(&path, &bytes).expect("file");
        let connection = rusqlite::Connection::open(&path).expect("opens");
        connection.execute_batch(sql).expect("changed");
        drop(connection);
        open(&path).map(|_| ())
    };
    assert!(matches!(change("PRAGMA application_id = 0"), Err(StoreError::Foreign(_))));
    assert!(matches!(change("PRAGMA user_version = 3"), Err(StoreError::Foreign(_))));
    assert!(matches!(change("PRAGMA user_version = 0"), Err(StoreError::Foreign(_))));
    for schema in [
        "DROP TABLE registry_identities",
        "DROP TABLE tibet_tokens",
        "DROP INDEX registry_vouches_voucher",
        "CREATE TRIGGER t AFTER INSERT ON registry_spent BEGIN DELETE FROM registry_spent; END",
        "DROP TABLE registry_spent; CREATE VIEW registry_spent AS SELECT x'00' AS token",
    ] {
        assert!(matches!(change(schema), Err(StoreError::Foreign(_))), "{schema}");
    }
    for settings in ["DELETE FROM registry_settings", "DELETE FROM registry_settings WHERE key = 'log_key'"] {
        assert!(
            matches!(change(settings), Err(StoreError::Damaged(_))),
            "whose it was is not guessed: {settings}"
        );
    }
}

#[test]
fn row_91_garbage_is_refused_and_an_empty_file_is_a_new_registry() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("file.db");
    for garbage in [noise(1, 10_000), noise(2, 100), b"SQLite format 3\0".to_vec(), vec![0; 8192]] {
        std::fs::write(&path, &garbage).expect("file");
        assert!(open(&path).is_err(), "{} bytes", garbage.len());
        assert_eq!(std::fs::read(&path).expect("file"), garbage, "and left as it was");
    }
    std::fs::write(&path, b"").expect("file");
    let registry = open(&path).expect("like no file at all");
    assert_eq!(contents(&registry), (Vec::new(), None));
    assert!(registry.peek(&name("jis:d0"), START).expect("read").is_none());
    assert!(open(&dir.path().join("no/such/folder.db")).is_err());
    assert!(open(dir.path()).is_err(), "a folder");
}
