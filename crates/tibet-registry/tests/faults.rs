//! Storage that is full, read-only or locked: rules R69, R70. Looking up goes on, changes are refused with what to do about it.

mod common;

use std::path::Path;

use common::{Device, START, after, assert_clean, contents, on_disk, opening, register, tokens};
use tibet_registry::{Refusal, Registry, Source, SqliteStore, Store, StoreError};

/// Registers devices until the store says why not, then checks what must still work.
fn fill(registry: &mut Registry<SqliteStore>) {
    let known = Device::new("jis:known", 1);
    register(registry, &known);
    let mut full = 0;
    for i in 0..100_000u64 {
        let device = Device::new(&format!("jis:n{i}"), 100 + 10 * i);
        match registry.register(device.registration(), Source::Local, START) {
            Ok(_) => {}
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Store(StoreError::Full));
                full += 1;
            }
        }
        if full == 3 {
            break;
        }
    }
    assert_eq!(full, 3, "it became full");
    let before = contents(registry);
    for i in 0..50 {
        let found = registry.resolve(known.name(), after(120 * i)).expect("looking up goes on");
        assert_eq!(found.route.record_bytes(), known.signed_record().encode());
    }
    assert_eq!(contents(registry).0, before.0, "and changes nothing");
    assert_clean(registry);
}

/// After space returned: all is there, changes are taken, and the look-ups of the meantime are in the sums.
fn recover(registry: &mut Registry<SqliteStore>, path: &Path) {
    register(registry, &Device::new("jis:later", 5));
    let later = after(100_000);
    registry.resolve(&common::name("jis:known"), later).expect("resolved");
    registry.flush(later).expect("flushed");
    let counted: i64 = tokens(registry, "resolve")
        .iter()
        .map(|token| {
            let count = match &token.erin {
                tibet_core::json::Value::Object(erin) => match erin.get("details") {
                    Some(tibet_core::json::Value::Object(details)) => details.get("count").cloned(),
                    _ => None,
                },
                _ => None,
            };
            match count {
                Some(tibet_core::json::Value::Integer(count)) => count,
                other => panic!("{other:?}"),
            }
        })
        .sum();
    assert_eq!(counted, 51, "no look-up was lost");
    assert_clean(registry);
    assert_eq!(contents(&on_disk(path)), contents(registry));
}

#[test]
fn a_full_file_refuses_changes_and_answers_look_ups() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let mut registry = on_disk(&path);
    registry.store().limit_growth(40).expect("limited");
    fill(&mut registry);
    registry.store().limit_growth(10_000).expect("space again");
    recover(&mut registry, &path);
}

/// A disk that is full for real. Needs root and the right to mount; `CI` with root demands it.
#[test]
fn a_full_disk_refuses_changes_and_answers_look_ups() {
    let dir = tempfile::tempdir().expect("dir");
    let mount = dir.path().join("disk");
    std::fs::create_dir(&mount).expect("directory");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&mount)
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        assert!(!(std::env::var_os("CI").is_some() && is_root()), "as root in CI this test must run");
        println!("skipped: cannot mount a tmpfs here (needs root)");
        return;
    }
    let unmount = Unmount(mount.clone());
    let path = mount.join("registry.db");
    let ballast = mount.join("ballast");
    std::fs::write(&ballast, vec![1; 700 << 10]).expect("ballast");
    let mut registry = on_disk(&path);
    fill(&mut registry);
    std::fs::remove_file(&ballast).expect("space again");
    recover(&mut registry, &path);
    drop(registry);
    drop(unmount);
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0\t")))
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

#[test]
fn a_file_opened_for_reading_answers_and_says_why_it_writes_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let device = Device::new("jis:a", 10);
    let mut writer = on_disk(&path);
    register(&mut writer, &device);
    let store = SqliteStore::open_read_only(&path).expect("opens");
    let mut reader = Registry::open(store, opening()).expect("opens");
    let read_only = Refusal::Store(StoreError::ReadOnly);
    let found = reader.resolve(device.name(), START).expect("found");
    assert_eq!(found.route.record_bytes(), device.signed_record().encode());
    let other = Device::new("jis:b", 20).registration();
    assert_eq!(reader.register(other, Source::Local, START), Err(read_only.clone()));
    assert_eq!(reader.record_anomaly(device.name(), "x", START), Err(read_only.clone()));
    assert_eq!(reader.revoke(device.revoke_own_key(), START), Err(read_only));
    assert_eq!(reader.group(|_| ()), Err(StoreError::ReadOnly));
    assert_clean(&reader);
    register(&mut writer, &Device::new("jis:c", 30));
    reader.resolve(&common::name("jis:c"), START).expect("and sees what others write");
}

/// A writer that holds the file for longer than we wait is no damage.
#[test]
fn a_file_held_by_another_says_busy() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    let mut registry = on_disk(&path);
    register(&mut registry, &Device::new("jis:a", 10));
    let holder = rusqlite::Connection::open(&path).expect("opens");
    holder.execute_batch("BEGIN IMMEDIATE").expect("held");
    let device = Device::new("jis:b", 20);
    let refused = registry.register(device.registration(), Source::Local, START);
    assert_eq!(refused, Err(Refusal::Store(StoreError::Busy)));
    assert_eq!(registry.store().count(), Ok(1), "reading goes on");
    holder.execute_batch("ROLLBACK").expect("released");
    register(&mut registry, &device);
    assert_clean(&registry);
}
