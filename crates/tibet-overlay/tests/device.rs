//! A device and its directory: what it signs, what it never signs twice, and how its keys come and go.

use std::fs;
use std::path::Path;

use jis::{EventError, Identity, IdentityStatus, Remark, RevocationScope, UnixTime, message_hash};
use tibet_overlay::{DeviceError, DeviceFiles, LocalDevice, Presence};
use tibet_registry::MAX_EVENTS;
use zeroize::Zeroizing;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn name() -> jis::Name {
    "jis:sensor".parse().expect("name")
}

fn files(directory: &Path) -> DeviceFiles {
    DeviceFiles::new(directory.join("device"), None)
}

fn locked(directory: &Path, passphrase: &str) -> DeviceFiles {
    DeviceFiles::new(directory.join("device"), Some(Zeroizing::new(passphrase.to_owned())))
}

fn at(port: u16) -> Presence {
    Presence {
        endpoints: vec![format!("203.0.113.1:{port}").parse().expect("endpoint")],
        ..Presence::default()
    }
}

#[test]
fn numbers_are_never_used_twice_and_records_form_a_chain() {
    let dir = tempfile::tempdir().expect("dir");
    files(dir.path()).create(name(), NOW).expect("created");
    let mut previous = [0; 32];
    for seq in 0..5 {
        // A new process each time.
        let mut device = files(dir.path()).open().expect("opened");
        let record = device.publish(at(1), NOW).expect("published");
        let claims = record.claims();
        assert_eq!((claims.version.generation, claims.version.seq), (0, seq));
        assert_eq!(claims.previous, previous);
        previous = message_hash(record.message());
    }
    let mut device = files(dir.path()).open().expect("opened");
    let (_, record) = device.rotate(None, NOW).expect("rotated");
    assert_eq!((record.claims().version.generation, record.claims().version.seq), (1, 0));
    assert_eq!(record.claims().previous, previous, "the chain goes on across the rotation");
    assert_eq!(record.claims().endpoints, at(1).endpoints, "and so does what the record says");
    let again = files(dir.path()).open().expect("opened");
    assert_eq!(again.record().map(jis::Signed::encode), Some(record.encode()));
}

#[test]
fn a_record_that_cannot_be_saved_is_not_handed_out() {
    let dir = tempfile::tempdir().expect("dir");
    let mut device = files(dir.path()).create(name(), NOW).expect("created");
    let first = device.publish(at(1), NOW).expect("published");
    // The directory goes away under it.
    fs::rename(dir.path().join("device"), dir.path().join("gone")).expect("renamed");
    assert!(matches!(device.publish(at(2), NOW), Err(DeviceError::File(_))));
    assert!(device.rotate(None, NOW).is_err());
    assert!(device.revoke(RevocationScope::Key, None, Remark::default(), NOW).is_err());
    assert_eq!(device.identity().status, IdentityStatus::Active, "the device is as it was");
    assert_eq!(device.record().map(jis::Signed::encode), Some(first.encode()));
    fs::rename(dir.path().join("gone"), dir.path().join("device")).expect("renamed");
    assert_eq!(device.publish(at(2), NOW).expect("published").claims().version.seq, 1);
}

#[test]
fn two_programs_with_one_device_never_sign_one_number_twice() {
    let dir = tempfile::tempdir().expect("dir");
    let mut first = files(dir.path()).create(name(), NOW).expect("created");
    let mut second = files(dir.path()).open().expect("opened");
    let record = first.publish(at(1), NOW).expect("published");
    let refused = |error: DeviceError| matches!(error, DeviceError::ChangedMeanwhile { .. });
    assert!(refused(second.publish(at(2), NOW).expect_err("it knows an old state")));
    assert!(refused(second.rotate(None, NOW).expect_err("the same")));
    assert!(refused(
        second.revoke(RevocationScope::Key, None, Remark::default(), NOW).expect_err("the same")
    ));
    let mut second = files(dir.path()).open().expect("opened again");
    assert_eq!(second.record().map(jis::Signed::encode), Some(record.encode()));
    assert_eq!(second.publish(at(2), NOW).expect("published").claims().version.seq, 1);
    second.rotate(None, NOW).expect("rotated");
    assert!(refused(first.publish(at(3), NOW).expect_err("its key is not the key any more")));
}

#[test]
fn programs_that_open_while_another_rotates_lose_no_key() {
    let dir = tempfile::tempdir().expect("dir");
    files(dir.path()).create(name(), NOW).expect("created");
    let rotations = 30;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let device = files(dir.path()).open().expect("a whole device at any time");
                    if device.identity().generation == rotations {
                        break;
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..rotations {
                files(dir.path()).open().expect("opened").rotate(None, NOW).expect("rotated");
            }
        });
    });
    let mut device = files(dir.path()).open().expect("opened");
    device.rotate(None, NOW).expect("the next key is still there");
}

#[test]
fn a_history_that_no_registry_would_take_is_not_begun() {
    let mut device = LocalDevice::create(name(), NOW).expect("created");
    for _ in 1..MAX_EVENTS {
        device.rotate(None, NOW).expect("rotated");
    }
    let before = device.identity().clone();
    assert!(matches!(device.rotate(None, NOW), Err(DeviceError::HistoryFull(_))));
    assert_eq!(*device.identity(), before);
    let registration = device.registration(None, NOW).expect("signed");
    assert_eq!(registration.check().expect("taken as it is").identity(), &before);
    device.revoke(RevocationScope::Key, None, Remark::default(), NOW).expect("it can still be ended");
}

#[test]
fn of_two_that_create_one_wins_and_its_keys_are_whole() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().expect("dir");
        let create = || files(dir.path()).create(name(), NOW);
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(create), scope.spawn(create));
            (one.join().expect("no panic"), other.join().expect("no panic"))
        });
        let won: Vec<LocalDevice> = [one, other].into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        let mut opened = files(dir.path()).open().expect("whole");
        assert_eq!(opened.identity(), won[0].identity());
        opened.rotate(None, NOW).expect("its own next key");
    }
}

#[test]
fn a_revoked_key_says_nothing_until_the_next_key_follows() {
    let dir = tempfile::tempdir().expect("dir");
    let mut device = files(dir.path()).create(name(), NOW).expect("created");
    device.publish(at(1), NOW).expect("published");
    let revocation =
        device.revoke(RevocationScope::Key, None, "lost".parse().expect("remark"), NOW).expect("revoked");
    assert_eq!(revocation.claims().reason.as_str(), "lost");
    let mut device = files(dir.path()).open().expect("opened");
    assert_eq!(device.identity().status, IdentityStatus::KeyRevoked);
    let revoked =
        |error: DeviceError| matches!(error, DeviceError::Revoked { status: IdentityStatus::KeyRevoked, .. });
    assert!(revoked(device.publish(at(2), NOW).expect_err("revoked")));
    let subject = LocalDevice::create("jis:other".parse().expect("name"), NOW).expect("created");
    let fingerprint = subject.identity().fingerprint;
    let vouched = device.vouch(
        &subject.identity().name,
        fingerprint,
        500,
        std::time::Duration::from_secs(60),
        Remark::default(),
        NOW,
    );
    assert!(revoked(vouched.expect_err("revoked")));
    assert!(
        device.revoke(RevocationScope::Key, None, Remark::default(), NOW).is_err(),
        "it is revoked already"
    );

    let (rotation, record) = device.rotate(None, NOW).expect("rotated");
    assert!(rotation.cosignature.is_none(), "the revoked key signs nothing, not even its successor");
    assert_eq!(record.claims().version.generation, 1);
    assert_eq!(device.identity().status, IdentityStatus::Active);
    device.publish(at(3), NOW).expect("it speaks again");
    assert_eq!(files(dir.path()).open().expect("opened").identity(), device.identity());
}

#[test]
fn a_revoked_name_is_final() {
    let dir = tempfile::tempdir().expect("dir");
    let mut device = files(dir.path()).create(name(), NOW).expect("created");
    device.revoke(RevocationScope::Name, None, Remark::default(), NOW).expect("revoked");
    let mut device = files(dir.path()).open().expect("opened");
    assert_eq!(device.identity().status, IdentityStatus::NameRevoked);
    assert!(matches!(device.rotate(None, NOW), Err(DeviceError::Event(EventError::Ended))));
    assert!(matches!(
        device.revoke(RevocationScope::Name, None, Remark::default(), NOW),
        Err(DeviceError::Event(EventError::Ended))
    ));
    assert!(matches!(
        device.publish(at(1), NOW),
        Err(DeviceError::Revoked { status: IdentityStatus::NameRevoked, .. })
    ));
    let told = device.publish(at(1), NOW).expect_err("revoked").to_string();
    assert!(told.contains("for ever"), "{told}");
}

#[test]
fn a_name_is_not_revoked_with_the_current_key_alone() {
    let dir = tempfile::tempdir().expect("dir");
    let mut device = files(dir.path()).create(name(), NOW).expect("created");
    // The next key is offline, as it should be.
    fs::rename(dir.path().join("device/next-identity.pem"), dir.path().join("offline.pem")).expect("moved");
    let error = device.revoke(RevocationScope::Name, None, Remark::default(), NOW).expect_err("refused");
    assert!(matches!(error, DeviceError::File(ref file) if file.is_not_found()), "{error}");
    assert_eq!(device.identity().status, IdentityStatus::Active);
    let next = files(dir.path()).read_key(&dir.path().join("offline.pem")).expect("read");
    device.revoke(RevocationScope::Name, Some(next), Remark::default(), NOW).expect("revoked");
}

#[test]
fn the_next_key_may_be_kept_offline() {
    let dir = tempfile::tempdir().expect("dir");
    let mut device = files(dir.path()).create(name(), NOW).expect("created");
    let fingerprint = device.identity().fingerprint;
    let offline = dir.path().join("offline.pem");
    fs::rename(dir.path().join("device/next-identity.pem"), &offline).expect("moved");
    assert!(matches!(device.rotate(None, NOW), Err(DeviceError::File(ref file)) if file.is_not_found()));
    assert_eq!(device.identity().generation, 0);

    let wrong = files(dir.path()).read_key(&dir.path().join("device/identity.pem")).expect("read");
    assert!(matches!(device.rotate(Some(wrong), NOW), Err(DeviceError::Event(EventError::NotCommitted))));

    let next = files(dir.path()).read_key(&offline).expect("read");
    let expected = next.public_key();
    device.rotate(Some(next), NOW).expect("rotated");
    assert_eq!((device.identity().key, device.identity().fingerprint), (expected, fingerprint));
    let mut device = files(dir.path()).open().expect("opened");
    assert_eq!(device.identity().key, expected);
    device.rotate(None, NOW).expect("the new next key is in its file again");
    assert_eq!(Identity::replay(device.events(), &[]).as_ref(), Ok(device.identity()));
}

#[test]
fn a_passphrase_protects_all_keys_and_is_needed_again() {
    let dir = tempfile::tempdir().expect("dir");
    locked(dir.path(), "correct horse").create(name(), NOW).expect("created");
    let encrypted = |file: &str| {
        let text = fs::read_to_string(dir.path().join("device").join(file)).expect("read");
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{file}");
        text
    };
    let keys = ["identity.pem", "next-identity.pem", "transport.pem"];
    let before: Vec<String> = keys.iter().map(|file| encrypted(file)).collect();
    assert_eq!(before.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);

    let refused = |files: DeviceFiles| match files.open().expect_err("refused") {
        DeviceError::Pem { source, .. } => source,
        other => panic!("{other}"),
    };
    assert_eq!(refused(files(dir.path())), jis::pem::PemError::PassphraseNeeded);
    assert_eq!(refused(locked(dir.path(), "correct horsf")), jis::pem::PemError::WrongPassphrase);
    assert_eq!(refused(locked(dir.path(), "")), jis::pem::PemError::WrongPassphrase);

    let mut device = locked(dir.path(), "correct horse").open().expect("opened");
    device.rotate(None, NOW).expect("rotated");
    for (file, before) in keys.iter().zip(&before).take(2) {
        assert_ne!(encrypted(file), *before, "the new keys are encrypted too");
    }
    let opened = locked(dir.path(), "correct horse").open().expect("opened");
    assert_eq!(opened.identity(), device.identity());
}

#[test]
fn a_device_in_memory_rotates_and_revokes_like_one_on_disk() {
    let mut device = LocalDevice::create(name(), NOW).expect("created");
    let fingerprint = device.identity().fingerprint;
    for generation in 1..4 {
        device.rotate(None, NOW).expect("rotated");
        assert_eq!(device.identity().generation, generation);
    }
    device.revoke(RevocationScope::Key, None, Remark::default(), NOW).expect("revoked");
    device.rotate(None, NOW).expect("rotated");
    device.revoke(RevocationScope::Name, None, Remark::default(), NOW).expect("revoked");
    assert_eq!(device.identity().fingerprint, fingerprint);
    assert_eq!(Identity::replay(device.events(), &[]).as_ref(), Ok(device.identity()));
    assert!(device.files().is_none());
}

#[test]
fn a_self_certifying_name_belongs_to_its_key() {
    let other = LocalDevice::create(name(), NOW).expect("created").identity().key;
    let error = LocalDevice::create(jis::Name::of_key(&other), NOW).expect_err("a new key cannot have it");
    assert!(matches!(error, DeviceError::Event(EventError::NotCertified)));
}

#[test]
fn what_cannot_be_signed_is_refused_and_uses_no_number() {
    let mut device = LocalDevice::create(name(), NOW).expect("created");
    let crowded =
        Presence { endpoints: (1..=9).flat_map(|port| at(port).endpoints).collect(), ..Presence::default() };
    assert!(matches!(device.publish(crowded, NOW), Err(DeviceError::Unsignable(_))));
    assert_eq!(device.publish(at(1), NOW).expect("published").claims().version.seq, 0);
}

#[test]
fn a_revoked_device_is_no_node() {
    let mut device = LocalDevice::create(name(), NOW).expect("made");
    let node = device.node_identity().expect("active");
    assert_eq!((&node.name, node.key.public_key()), (&device.identity().name, device.identity().key));
    assert_eq!((node.generation, node.fingerprint), (0, device.identity().fingerprint));
    device.revoke(RevocationScope::Key, None, Remark::default(), NOW).expect("revoked");
    let refused = device.node_identity().expect_err("revoked");
    assert!(matches!(refused, DeviceError::Revoked { status: IdentityStatus::KeyRevoked, .. }), "{refused}");
    device.rotate(None, NOW).expect("rotated");
    let node = device.node_identity().expect("active again");
    assert_eq!((node.generation, node.key.public_key()), (1, device.identity().key));
}
