//! A rotation cut at every step: whoever opens the directory afterwards finds the device before or after it, whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jis::{Identity, UnixTime};
use tibet_overlay::DeviceFiles;
use zeroize::Zeroizing;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// The contents of a directory.
type Snapshot = BTreeMap<String, Vec<u8>>;

fn snapshot(directory: &Path) -> Snapshot {
    let entries = fs::read_dir(directory).expect("dir");
    entries
        .map(|entry| {
            let entry = entry.expect("entry");
            let name = entry.file_name().into_string().expect("UTF-8");
            (name, fs::read(entry.path()).expect("read"))
        })
        .collect()
}

fn restore(directory: &Path, files: &Snapshot) {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    fs::DirBuilder::new().mode(0o700).create(directory).expect("dir");
    for (name, contents) in files {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(directory.join(name)).expect("file");
        std::io::Write::write_all(&mut file, contents).expect("written");
    }
}

fn put(snapshot: &Snapshot, name: &str, contents: &[u8]) -> Snapshot {
    let mut changed = snapshot.clone();
    changed.insert(name.to_owned(), contents.to_vec());
    changed
}

fn rename(snapshot: &Snapshot, from: &str, to: &str) -> Snapshot {
    let mut changed = snapshot.clone();
    let contents = changed.remove(from).expect("there");
    changed.insert(to.to_owned(), contents);
    changed
}

/// The directory after each step of a rotation, in order, with what was there when it had not begun and when it was done.
fn steps(old: &Snapshot, new: &Snapshot) -> Vec<(&'static str, Snapshot)> {
    let waiting = |name: &str| format!("{name}.new");
    let key = put(old, &waiting("identity.pem"), &new["identity.pem"]);
    let next = put(&key, &waiting("next-identity.pem"), &new["next-identity.pem"]);
    let written = put(&next, "device.json", &new["device.json"]);
    let first = rename(&written, &waiting("identity.pem"), "identity.pem");
    let second = rename(&first, &waiting("next-identity.pem"), "next-identity.pem");
    assert_eq!(&second, new, "these are the steps that a rotation takes");
    let half = |text: &[u8]| text[..text.len() / 2].to_vec();
    vec![
        ("nothing was done", old.clone()),
        (
            "the key's temporary file was cut",
            put(old, "identity.pem.new.4242.tmp", &half(&new["identity.pem"])),
        ),
        ("the new key waits", key.clone()),
        ("the next key's temporary file was cut", put(&key, "next-identity.pem.new.4242.tmp", b"")),
        ("both new keys wait", next.clone()),
        (
            "device.json's temporary file was cut",
            put(&next, "device.json.4242.tmp", &half(&new["device.json"])),
        ),
        ("the rotation happened", written),
        ("the key is in place", first),
        ("both keys are in place", second),
    ]
}

struct Rotation {
    before: Identity,
    after: Identity,
    steps: Vec<(&'static str, Snapshot)>,
    passphrase: Option<Zeroizing<String>>,
}

fn rotation(passphrase: Option<&str>) -> Rotation {
    let dir = tempfile::tempdir().expect("dir");
    let passphrase = passphrase.map(|text| Zeroizing::new(text.to_owned()));
    let files = DeviceFiles::new(dir.path().join("device"), passphrase.clone());
    let mut device = files.clone().create("jis:sensor".parse().expect("name"), NOW).expect("created");
    device.publish(device.presence(), NOW).expect("published");
    let (before, old) = (device.identity().clone(), snapshot(files.directory()));
    device.rotate(None, NOW).expect("rotated");
    let (after, new) = (device.identity().clone(), snapshot(files.directory()));
    Rotation { before, after, steps: steps(&old, &new), passphrase }
}

fn check_every_step(rotation: &Rotation) {
    let Rotation { before, after, steps, passphrase } = rotation;
    let happened = steps.iter().position(|(step, _)| *step == "the rotation happened").expect("a step");
    for (number, (step, files)) in steps.iter().enumerate() {
        let dir = tempfile::tempdir().expect("dir");
        let directory = dir.path().join("device");
        restore(&directory, files);
        let place = DeviceFiles::new(&directory, passphrase.clone());
        let device = place.clone().open().unwrap_or_else(|error| panic!("{step}: {error}"));
        let expected = if number < happened { before } else { after };
        assert_eq!(device.identity(), expected, "{step}");
        let left = snapshot(&directory);
        assert!(!left.keys().any(|name| name.ends_with(".new")), "{step}: {:?}", left.keys());
        assert!(!left.keys().any(|name| name.ends_with(".tmp")), "{step}: {:?}", left.keys());

        // Whole: it proves itself with its key, opens again the same, and its next key is the one it is committed to.
        let mut device = place.open().unwrap_or_else(|error| panic!("{step}, opened again: {error}"));
        assert_eq!(device.identity(), expected, "{step}, opened again");
        let record = device.publish(device.presence(), NOW).expect("published");
        assert!(record.verify(&expected.key).is_ok(), "{step}");
        device.rotate(None, NOW).unwrap_or_else(|error| panic!("{step}, rotated: {error}"));
        assert_eq!(device.identity().generation, expected.generation + 1, "{step}");
        assert_eq!(Identity::replay(device.events(), &[]).as_ref(), Ok(device.identity()), "{step}");
    }
}

#[test]
fn cut_at_every_step_it_is_old_or_new() {
    check_every_step(&rotation(None));
}

#[test]
fn with_a_passphrase_too() {
    let rotation = rotation(Some("correct horse"));
    check_every_step(&rotation);
    // Without the passphrase nothing is decided: what waits still waits.
    let (_, files) =
        rotation.steps.iter().find(|(step, _)| *step == "the rotation happened").expect("a step");
    let dir = tempfile::tempdir().expect("dir");
    let directory = dir.path().join("device");
    restore(&directory, files);
    assert!(DeviceFiles::new(&directory, None).open().is_err());
    assert_eq!(&snapshot(&directory), files);
}

#[test]
fn cut_again_while_recovering() {
    let rotation = rotation(None);
    let step = |name: &str| rotation.steps.iter().find(|(step, _)| *step == name).expect("a step").1.clone();
    // Forgetting was cut after the waiting next key was removed; finishing was cut after the first rename, which is a step of its own.
    let mut forgetting = step("both new keys wait");
    forgetting.remove("next-identity.pem.new").expect("there");
    let dir = tempfile::tempdir().expect("dir");
    let directory = dir.path().join("device");
    restore(&directory, &forgetting);
    let mut device = DeviceFiles::new(&directory, None).open().expect("opened");
    assert_eq!(device.identity(), &rotation.before);
    device.rotate(None, NOW).expect("rotated");
}

#[test]
fn a_next_key_that_was_taken_offline_is_not_needed_to_recover() {
    let rotation = rotation(None);
    for (step, files) in &rotation.steps {
        let mut files = files.clone();
        files.remove("next-identity.pem");
        let dir = tempfile::tempdir().expect("dir");
        let directory = dir.path().join("device");
        restore(&directory, &files);
        DeviceFiles::new(&directory, None).open().unwrap_or_else(|error| panic!("{step}: {error}"));
    }
}

#[test]
fn a_waiting_key_that_is_nobodys_is_forgotten_and_one_that_cannot_be_read_stops() {
    let rotation = rotation(None);
    let old = &rotation.steps[0].1;
    let dir = tempfile::tempdir().expect("dir");
    let directory = dir.path().join("device");
    restore(&directory, &put(old, "identity.pem.new", &old["next-identity.pem"]));
    let device = DeviceFiles::new(&directory, None).open().expect("opened");
    assert_eq!(device.identity(), &rotation.before);
    assert_eq!(&snapshot(&directory), old, "the stranger is gone, the device's keys are untouched");

    let directory = dir.path().join("unreadable");
    let damaged = put(old, "identity.pem.new", b"-----BEGIN");
    restore(&directory, &damaged);
    DeviceFiles::new(&directory, None).open().expect_err("not decided by guessing");
    assert_eq!(snapshot(&directory), damaged, "nothing was removed");
}

#[test]
fn keys_without_a_device_are_nobodys_to_overwrite() {
    let rotation = rotation(None);
    let mut files = rotation.steps[0].1.clone();
    files.remove("device.json");
    let dir = tempfile::tempdir().expect("dir");
    let directory = dir.path().join("device");
    restore(&directory, &files);
    let place = DeviceFiles::new(&directory, None);
    assert!(!place.exist());
    // Left by a crash while a device was made, or all that is left of a device: only its owner can tell.
    place.create("jis:sensor".parse().expect("name"), NOW).expect_err("refused");
    assert_eq!(snapshot(&directory), files, "every key is still there");
}
