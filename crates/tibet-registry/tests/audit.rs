//! A registry's file edited behind its back: row 90 of the bad-input table. The audit names what was done.

mod common;

use std::path::{Path, PathBuf};

use common::{Device, START, after, key, on_disk, register, verify};
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};
use tibet_core::Head;
use tibet_registry::{Audit, StoreError};

struct Bench {
    _dir: tempfile::TempDir,
    path: PathBuf,
    head: Head,
}

/// Five devices with some history, and the head noted elsewhere.
fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let mut registry = on_disk(&path);
    for i in 0..5u64 {
        let mut device = Device::new(&format!("jis:d{i}"), 10 * i);
        register(&mut registry, &device);
        verify(&mut registry, &device, after(1)).expect("proven");
        let moved = device.move_on(after(2), |_| ());
        registry.update(moved, after(2)).expect("moved");
    }
    let (rotation, record) = Device::new("jis:d4", 40).rotate(key(49), after(3));
    registry.rotate(rotation, record, after(3)).expect("rotated");
    let head = registry.head().expect("head").expect("tokens");
    Bench { _dir: dir, path, head }
}

impl Bench {
    fn edit(&self, change: impl FnOnce(&Connection)) {
        change(&Connection::open(&self.path).expect("opens"));
    }

    fn audit(&self) -> Result<Audit, StoreError> {
        on_disk(&self.path).audit(Some(&self.head))
    }

    /// Indexes of the tokens complained of.
    fn tokens_named(&self) -> Vec<u64> {
        self.audit().expect("audited").log.findings.iter().map(|finding| finding.index).collect()
    }

    /// The identities complained of.
    fn names_named(&self) -> Vec<String> {
        let audit = self.audit().expect("audited");
        audit.problems.iter().map(|problem| problem.name.to_string()).collect()
    }
}

fn stored(connection: &Connection, name: &str) -> Vec<u8> {
    let sql = "SELECT entry FROM registry_identities WHERE name = ?1";
    connection.query_row(sql, [name], |row| row.get(0)).expect("there")
}

/// Puts an entry under a name, with a checksum that is right for it: what somebody who knows this program would do.
fn put(connection: &Connection, name: &str, entry: &[u8]) {
    let sum = Sha256::new().chain_update(name).chain_update([0]).chain_update(entry).finalize();
    let stored = [entry, &sum[..16]].concat();
    let changed = connection
        .execute("UPDATE registry_identities SET entry = ?2 WHERE name = ?1", params![name, stored])
        .expect("changed");
    assert_eq!(changed, 1);
}

fn entry(connection: &Connection, name: &str) -> Vec<u8> {
    let mut bytes = stored(connection, name);
    bytes.truncate(bytes.len() - 16);
    bytes
}

#[test]
fn row_90_an_untouched_registry_is_clean() {
    let audit = bench().audit().expect("audited");
    assert!(audit.is_clean(), "{audit:?}");
    assert_eq!((audit.identities, audit.log.tokens), (5, 17));
}

#[test]
fn row_90_an_edited_token_is_named() {
    let bench = bench();
    bench.edit(|c| {
        let sql = "UPDATE tibet_tokens SET line = replace(line, 'jis:d1', 'jis:d2') WHERE idx = 4";
        assert_eq!(c.execute(sql, []).expect("edited"), 1);
    });
    assert!(bench.tokens_named().contains(&4));
}

#[test]
fn row_90_one_flipped_bit_in_a_token_is_named() {
    let length = {
        let bench = bench();
        let c = Connection::open(&bench.path).expect("opens");
        let sql = "SELECT line FROM tibet_tokens WHERE idx = 7";
        c.query_row(sql, [], |row| row.get::<_, String>(0)).expect("there").len()
    };
    for at in (0..length).step_by(length / 12) {
        let bench = bench();
        bench.edit(|c| {
            let line: String = c
                .query_row("SELECT line FROM tibet_tokens WHERE idx = 7", [], |row| row.get(0))
                .expect("there");
            let mut bytes = line.into_bytes();
            bytes[at] ^= 1;
            let line = String::from_utf8(bytes).expect("still ASCII");
            c.execute("UPDATE tibet_tokens SET line = ?1 WHERE idx = 7", [line]).expect("edited");
        });
        assert!(bench.tokens_named().contains(&7), "byte {at}");
    }
}

#[test]
fn row_90_a_removed_token_is_named() {
    let bench = bench();
    bench.edit(|c| assert_eq!(c.execute("DELETE FROM tibet_tokens WHERE idx = 6", []).expect("removed"), 1));
    assert!(bench.tokens_named().contains(&7), "the one after the gap");
}

#[test]
fn row_90_swapped_tokens_are_named() {
    let bench = bench();
    bench.edit(|c| {
        for (from, to) in [(5, 900), (6, 5), (900, 6)] {
            c.execute("UPDATE tibet_tokens SET idx = ?2 WHERE idx = ?1", [from, to]).expect("moved");
        }
    });
    let named = bench.tokens_named();
    assert!(named.contains(&5), "{named:?}");
}

#[test]
fn row_90_ten_tokens_removed_from_the_end_are_noticed_by_the_noted_head() {
    let bench = bench();
    bench
        .edit(|c| assert_eq!(c.execute("DELETE FROM tibet_tokens WHERE idx >= 7", []).expect("removed"), 10));
    assert!(bench.tokens_named().contains(&7));
    let unaware = on_disk(&bench.path).audit(None).expect("audited");
    assert!(unaware.log.ok(), "the log by itself cannot know");
    assert!(!unaware.is_clean(), "but the entries do: {unaware:?}");
}

/// A token far away that is no token must not make the audit count up to it.
#[test]
fn row_90_a_broken_token_at_a_huge_index_ends_no_audit() {
    let bench = bench();
    bench.edit(|c| {
        let sql =
            "INSERT INTO tibet_tokens (idx, token_id, action, actor, line) VALUES (?1, 'x', 1, 1, 'broken')";
        c.execute(sql, [1i64 << 62]).expect("inserted");
    });
    let refused = tibet_registry::SqliteStore::open(&bench.path)
        .and_then(|store| tibet_registry::Registry::open(store, common::opening()).map(|_| ()));
    assert!(
        matches!(refused, Err(StoreError::Unreadable { index: 0x4000_0000_0000_0000, .. })),
        "{refused:?}"
    );
    bench.edit(|c| {
        c.execute("UPDATE tibet_tokens SET idx = ?1 WHERE idx = 16", [(1i64 << 62) + 1]).expect("moved");
    });
    assert!(bench.tokens_named().contains(&16));
}

#[test]
fn row_90_a_flipped_bit_in_an_entry_is_named() {
    let bench = bench();
    let length = stored(&Connection::open(&bench.path).expect("opens"), "jis:d2").len();
    for at in (0..length).step_by(61) {
        bench.edit(|c| {
            let mut bytes = stored(c, "jis:d2");
            bytes[at] ^= 0x10;
            c.execute("UPDATE registry_identities SET entry = ?1 WHERE name = 'jis:d2'", [bytes])
                .expect("edited");
        });
        match bench.audit() {
            Err(StoreError::Damaged(text)) => assert!(text.contains("jis:d2"), "{text}"),
            other => panic!("byte {at}: {other:?}"),
        }
        bench.edit(|c| {
            let mut bytes = stored(c, "jis:d2");
            bytes[at] ^= 0x10;
            c.execute("UPDATE registry_identities SET entry = ?1 WHERE name = 'jis:d2'", [bytes])
                .expect("undone");
        });
    }
    assert!(bench.audit().expect("audited").is_clean());
}

/// The same by somebody who renews the checksum: every single byte of the entry is held by a signature or the log, but for the
/// times of registration and of the last success.
#[test]
fn row_90_a_forged_entry_is_named_whichever_byte_was_changed() {
    let bench = bench();
    let original = entry(&Connection::open(&bench.path).expect("opens"), "jis:d2");
    // Layout: see docs/spec/registry-store.md. 140: registered_at, 180: last_success.
    let unguarded = [140..148, 180..188];
    for at in (0..original.len()).filter(|at| !unguarded.iter().any(|range| range.contains(at))).step_by(7) {
        let mut forged = original.clone();
        forged[at] ^= 1;
        bench.edit(|c| put(c, "jis:d2", &forged));
        assert_eq!(bench.names_named(), ["jis:d2"], "byte {at}");
    }
    bench.edit(|c| put(c, "jis:d2", &original));
    assert!(bench.audit().expect("audited").is_clean());
}

#[test]
fn row_90_entries_swapped_between_two_names_are_named() {
    let bench = bench();
    bench.edit(|c| {
        let (one, two) = (entry(c, "jis:d1"), entry(c, "jis:d2"));
        put(c, "jis:d1", &two);
        put(c, "jis:d2", &one);
    });
    let mut named = bench.names_named();
    named.sort();
    assert_eq!(named, ["jis:d1", "jis:d2"]);
}

#[test]
fn row_90_an_entry_restored_from_an_older_state_is_named() {
    let bench = bench();
    let old = entry(&Connection::open(&bench.path).expect("opens"), "jis:d3");
    let mut registry = on_disk(&bench.path);
    let device = Device::new("jis:d3", 30);
    registry.revoke(device.revoke_own_key(), after(5)).expect("revoked");
    drop(registry);
    assert!(bench.audit().expect("audited").is_clean());
    bench.edit(|c| put(c, "jis:d3", &old));
    assert_eq!(bench.names_named(), ["jis:d3"], "the revocation cannot be undone");
}

/// A name that has ended cannot be turned into one whose next key may go on.
#[test]
fn row_90_a_revocation_made_milder_is_named() {
    let bench = bench();
    let device = Device::new("jis:d3", 30);
    let (scope, authority) = (jis::RevocationScope::Name, jis::RevocationAuthority::NextKey);
    on_disk(&bench.path).revoke(device.revocation(scope, authority, &device.next), after(5)).expect("ended");
    assert!(bench.audit().expect("audited").is_clean());
    bench.edit(|c| {
        let mut bytes = entry(c, "jis:d3");
        assert_eq!(bytes[1], 2);
        bytes[1] = 1;
        put(c, "jis:d3", &bytes);
    });
    assert_eq!(bench.names_named(), ["jis:d3"]);
}

/// Trust that nobody gave.
#[test]
fn row_90_trust_written_into_an_entry_is_named() {
    let bench = bench();
    let original = entry(&Connection::open(&bench.path).expect("opens"), "jis:d1");
    for (at, bytes) in [
        (188, 1.0f64.to_be_bytes().to_vec()),       // the operator's score
        (148, [1000u64.to_be_bytes(); 2].concat()), // interactions and passes
        (172, u64::MAX.to_be_bytes().to_vec()),     // anomalies
        (196, 1u32.to_be_bytes().to_vec()),         // vouches
    ] {
        let mut forged = original.clone();
        forged[at..at + bytes.len()].copy_from_slice(&bytes);
        bench.edit(|c| put(c, "jis:d1", &forged));
        assert_eq!(bench.names_named(), ["jis:d1"], "at {at}");
    }
}

/// An older record of the device's own, validly signed, put back under the present entry.
#[test]
fn row_90_an_older_record_put_back_is_named() {
    let bench = bench();
    let first = Device::new("jis:d1", 10).signed_record().encode();
    let mut moved = Device::new("jis:d1", 10);
    let second = moved.move_on(after(2), |_| ()).encode();
    bench.edit(|c| {
        let bytes = entry(c, "jis:d1");
        let at = bytes.windows(second.len()).position(|window| window == second).expect("the record held");
        let mut forged = bytes;
        assert_eq!(first.len(), second.len());
        forged[at..at + first.len()].copy_from_slice(&first);
        put(c, "jis:d1", &forged);
    });
    assert_eq!(bench.names_named(), ["jis:d1"]);
}

#[test]
fn row_90_a_deleted_identity_is_named() {
    let bench = bench();
    bench.edit(|c| {
        assert_eq!(
            c.execute("DELETE FROM registry_identities WHERE name = 'jis:d0'", []).expect("deleted"),
            1
        )
    });
    assert_eq!(bench.names_named(), ["jis:d0"]);
}

#[test]
fn row_90_an_inserted_identity_is_named() {
    let bench = bench();
    let dir = tempfile::tempdir().expect("dir");
    let elsewhere = dir.path().join("elsewhere.db");
    register(&mut on_disk(&elsewhere), &Device::new("jis:intruder", 90));
    let foreign = stored(&Connection::open(&elsewhere).expect("opens"), "jis:intruder");
    bench.edit(|c| {
        let sql = "INSERT INTO registry_identities (name, entry) VALUES ('jis:intruder', ?1)";
        assert_eq!(c.execute(sql, [foreign]).expect("inserted"), 1);
    });
    assert_eq!(bench.names_named(), ["jis:intruder"]);
}

#[test]
fn row_90_a_log_signed_with_another_key_is_named_whole() {
    let bench = bench();
    let path: &Path = &bench.path;
    let other = tibet_registry::Opening { log_key: std::sync::Arc::new(key(5)), ..common::opening() };
    let dir = tempfile::tempdir().expect("dir");
    let forged = dir.path().join("forged.db");
    let store = tibet_registry::SqliteStore::open(&forged).expect("file");
    let mut registry = tibet_registry::Registry::open(store, other).expect("opens");
    register(&mut registry, &Device::new("jis:d0", 0));
    drop(registry);
    // The whole file exchanged for one that says it is ours.
    let c = Connection::open(&forged).expect("opens");
    let ours = Connection::open(path).expect("opens");
    for setting in ["log_key", "origin"] {
        let value: String = ours
            .query_row("SELECT value FROM registry_settings WHERE key = ?1", [setting], |row| row.get(0))
            .expect("there");
        c.execute("UPDATE registry_settings SET value = ?2 WHERE key = ?1", params![setting, value])
            .expect("set");
    }
    drop(c);
    let audit = on_disk(&forged).audit(None).expect("audited");
    assert_eq!(audit.log.findings.iter().map(|finding| finding.index).collect::<Vec<_>>(), [0]);
    assert!(on_disk(&forged).resolve(&common::name("jis:d0"), START).is_ok(), "only the audit tells");
}
