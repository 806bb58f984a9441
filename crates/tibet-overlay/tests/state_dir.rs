//! A state directory: several identities, and a registry whose parts are missing, foreign or damaged.

use std::fs;
use std::path::Path;

use jis::Name;
use tibet_overlay::{DeviceOptions, IdentityOverlay, OpenError, OverlayError, StateDir, system};
use tibet_registry::{Policy, StoreError};

fn opened(dir: &Path) -> IdentityOverlay<tibet_registry::SqliteStore> {
    IdentityOverlay::open(StateDir::new(dir)).expect("opened")
}

fn refused(dir: &Path) -> OpenError {
    match IdentityOverlay::open(StateDir::new(dir)).expect_err("refused") {
        OverlayError::Open(error) => error,
        other => panic!("{other}"),
    }
}

fn with_one_device(dir: &Path) {
    opened(dir).register("sensor", DeviceOptions::at("203.0.113.1:1")).expect("registered");
}

#[test]
fn naming_a_state_directory_creates_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path().join("state"));
    assert!(!state.has_registry());
    assert!(state.identities().expect("read").is_empty());
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0);
}

#[test]
fn several_identities_are_listed_in_order_and_kept_apart() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path());
    let names: Vec<Name> = ["jis:home:hub", "jis:home-hub", "jis:home", "jis:a:b:c"]
        .map(|name| name.parse().expect("name"))
        .into();
    for name in &names {
        state.identity(name, None).create(name.clone(), system::now()).expect("created");
    }
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(state.identities().expect("read"), sorted);
    for name in &names {
        assert_eq!(&state.identity(name, None).open().expect("opened").identity().name, name);
    }
    // What is no identity is not listed: a stray file, a stray directory, one without device.json.
    fs::write(dir.path().join("identities/notes.txt"), "").expect("written");
    fs::create_dir(dir.path().join("identities/jis:odd")).expect("dir");
    fs::create_dir(dir.path().join("identities/half.made")).expect("dir");
    assert_eq!(state.identities().expect("read"), sorted);
}

#[test]
fn an_identity_in_another_ones_place_is_found_out() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path());
    let (one, other): (Name, Name) = ("jis:one".parse().expect("name"), "jis:other".parse().expect("name"));
    state.identity(&one, None).create(one.clone(), system::now()).expect("created");
    fs::rename(state.identity(&one, None).directory(), state.identity(&other, None).directory())
        .expect("moved");
    let mut overlay = IdentityOverlay::open(state).expect("opened");
    let registered = overlay.register("jis:other", DeviceOptions::new());
    assert!(registered.is_err(), "keys of jis:one must not register as jis:other: {registered:?}");
    assert!(!overlay.resolve("jis:one").expect("looked up").resolved);
}

#[test]
fn without_its_log_key_a_registry_does_not_open() {
    let dir = tempfile::tempdir().expect("dir");
    with_one_device(dir.path());
    let key = dir.path().join("registry/log.pem");
    let kept = dir.path().join("backup.pem");
    fs::rename(&key, &kept).expect("moved");
    assert!(matches!(refused(dir.path()), OpenError::LogKeyMissing(path) if path == key));
    assert!(!key.exists(), "no new key was made up");
    fs::rename(&kept, &key).expect("restored");
    assert!(opened(dir.path()).verify("sensor").expect("asked").verified);
}

#[test]
fn a_wrong_log_key_is_refused() {
    let (dir, other) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    with_one_device(dir.path());
    with_one_device(other.path());
    let key = |dir: &Path| dir.join("registry/log.pem");
    let before = fs::read(dir.path().join("registry/registry.db")).expect("read");
    fs::copy(key(other.path()), key(dir.path())).expect("copied");
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Store { .. }), "{error}");
    assert_eq!(fs::read(dir.path().join("registry/registry.db")).expect("read"), before);
}

#[test]
fn a_file_that_is_no_registry_is_not_touched() {
    let dir = tempfile::tempdir().expect("dir");
    opened(dir.path());
    let path = dir.path().join("registry/registry.db");
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("registry/registry.db{suffix}")));
    }
    for (what, contents) in
        [("text", b"not a database, but long enough to be looked at. ".repeat(40)), ("zeros", vec![0; 8192])]
    {
        fs::write(&path, &contents).expect("written");
        let error = refused(dir.path());
        assert!(
            matches!(error, OpenError::Store { source: StoreError::Foreign(_) | StoreError::Damaged(_), .. }),
            "{what}: {error:?}"
        );
        assert_eq!(fs::read(&path).expect("read"), contents, "{what}");
    }
}

#[test]
fn another_programs_database_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    opened(dir.path());
    let path = dir.path().join("registry/registry.db");
    fs::remove_file(&path).expect("removed");
    let tokens = tibet_core::SqliteStore::open(&path).expect("a token store: ours, but no registry");
    drop(tokens);
    let before = fs::read(&path).expect("read");
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Store { source: StoreError::Foreign(_), .. }), "{error:?}");
    assert_eq!(fs::read(&path).expect("read"), before);
}

#[test]
fn programs_that_begin_at_once_make_one_registry_with_one_key() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().expect("dir");
        let open = || {
            let registry = StateDir::new(dir.path()).open_registry(Policy::default()).expect("opened");
            *registry.log_key()
        };
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| key == &keys[0]));
    }
}

/// Names are given away once: an empty file in the registry's place would give them away again.
#[test]
fn a_registry_that_is_gone_is_not_begun_anew() {
    for empty in [false, true] {
        let dir = tempfile::tempdir().expect("dir");
        with_one_device(dir.path());
        let file = dir.path().join("registry/registry.db");
        if empty {
            fs::write(&file, b"").expect("emptied")
        } else {
            fs::remove_file(&file).expect("removed")
        }
        for _ in 0..2 {
            assert!(matches!(refused(dir.path()), OpenError::RegistryMissing(_)), "empty: {empty}");
        }
    }
}

#[test]
fn a_registry_half_made_is_finished_with_the_key_it_began_with() {
    let dir = tempfile::tempdir().expect("dir");
    with_one_device(dir.path());
    let registry = dir.path().join("registry");
    let key = *opened(dir.path()).registry().log_key();
    // The program stopped before the key got its name.
    fs::rename(registry.join("log.pem"), registry.join("log.pem.new")).expect("renamed");
    assert_eq!(*opened(dir.path()).registry().log_key(), key);
    assert!(registry.join("log.pem").exists() && !registry.join("log.pem.new").exists());
}

#[test]
fn a_node_has_a_log_key_of_its_own_that_only_we_can_read_r3() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path());
    let name: Name = "jis:home:hub".parse().expect("name");
    assert_eq!(state.node_log_public_key(&name).expect("none yet"), None);
    let device = state.identity(&name, None).create(name.clone(), system::now()).expect("made");
    let key = state.node_log_key(&name).expect("made").public_key();
    assert_ne!(key, device.identity().key);
    assert_eq!(state.node_log_key(&name).expect("the same").public_key(), key);
    assert_eq!(state.node_log_public_key(&name).expect("read"), Some(key));
    let public = fs::read_to_string(state.node_log_key_file(&name)).expect("read");
    assert_eq!(public, format!("{key}\n"));
    let other = state.node_log_key(&"jis:home".parse().expect("name")).expect("made");
    assert_ne!(other.public_key(), key);
    let file = state.node(&name).join("log.pem");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
    assert!(state.node_log_key(&name).is_err(), "a key that others can read signs nothing");
}

#[test]
fn whoever_asks_without_being_a_device_has_one_key_and_is_named_by_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = StateDir::new(directory.path());
    let (first, second) = (state.client_identity().expect("made"), state.client_identity().expect("read"));
    assert_eq!((&first.name, first.key.public_key()), (&second.name, second.key.public_key()));
    assert_eq!(first.name.certified_key(), Some(first.key.public_key()));
}
