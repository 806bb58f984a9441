//! What a node keeps: read back as written, whole after a crash, refused when damaged or open to others.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jis::{Name, SecretKey, UnixTime};
use proptest::prelude::*;
use tibet_iot::{KnownKey, NodeState, StateError};
use tibet_ping::{Binding, FirstContact, KeyBook, KeySource, MAX_PINS, Now, RestartBound, Timestamp};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const HEADER: &str = "tibet-known-keys v1\n";

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("dir"))
    }

    fn node(&self) -> PathBuf {
        self.0.path().join("node")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.node().join(name)
    }

    fn open(&self) -> Result<NodeState, StateError> {
        NodeState::open(self.node())
    }

    /// A directory with these known keys, as if they had been written.
    fn with_known_keys(contents: &[u8]) -> Self {
        let dir = Self::new();
        dir.open().expect("opened");
        fs::write(dir.file("known-keys"), contents).expect("written");
        dir
    }
}

fn binding(name: &str, seed: u8) -> Binding {
    let seed: [u8; 32] = std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add(at as u8));
    let key = SecretKey::from_seed(seed.into()).expect("key").public_key();
    Binding { name: name.parse().expect("name"), key, generation: 3 }
}

fn line(binding: &Binding) -> String {
    format!("{} {} {} {}\n", binding.name, binding.key, binding.generation, NOW.as_millis())
}

fn known(state: &NodeState) -> Vec<KnownKey> {
    state.known_keys().values().cloned().collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").mode() & 0o7777
}

#[test]
fn keys_are_known_again_in_the_next_run_and_pin_the_name_there() {
    let dir = Dir::new();
    let (hub, lamp) = (binding("jis:home:hub", 1), binding("jis:home:lamp", 2));
    {
        let mut state = dir.open().expect("opened");
        assert!(state.known_keys().is_empty());
        state.remember(&hub, NOW).expect("written");
        state.remember(&lamp, UnixTime::MAX).expect("written");
        state.remember(&hub, UnixTime::MAX).expect("nothing to do");
    }
    let state = dir.open().expect("opened again");
    assert_eq!(state.cut_off(), None);
    assert_eq!(
        known(&state),
        [
            KnownKey { binding: hub.clone(), first_seen: NOW },
            KnownKey { binding: lamp, first_seen: UnixTime::MAX }
        ]
    );
    let mut book = KeyBook::new(FirstContact::Pin);
    for one in state.known_keys().values() {
        assert!(book.bind(one.binding.clone(), KeySource::Pin).expect("room"));
    }
    assert_eq!(book.key(&hub.name), Some(hub.key));
}

#[test]
fn another_key_of_a_known_name_is_refused_until_the_name_is_forgotten() {
    let dir = Dir::new();
    let mut state = dir.open().expect("opened");
    let (first, second) = (binding("jis:hub", 1), binding("jis:hub", 2));
    state.remember(&first, NOW).expect("written");
    let later = Binding { generation: 4, ..first.clone() };
    for other in [&second, &later] {
        let error = state.remember(other, NOW).expect_err("refused");
        assert!(matches!(&error, StateError::OtherKey { name } if *name == first.name), "{error}");
    }
    assert!(state.forget(&first.name).expect("rewritten"));
    assert!(!state.forget(&first.name).expect("nothing to do"));
    state.remember(&second, NOW).expect("written");
    drop(state);
    assert_eq!(known(&dir.open().expect("opened")), [KnownKey { binding: second, first_seen: NOW }]);
}

#[test]
fn a_self_certifying_name_is_known_by_the_key_it_spells_only() {
    let dir = Dir::new();
    let mut state = dir.open().expect("opened");
    let hub = binding("jis:hub", 1);
    let own = Binding { name: Name::of_key(&hub.key), ..hub.clone() };
    let other = Binding { key: binding("jis:hub", 2).key, ..own.clone() };
    state.remember(&other, NOW).expect_err("refused");
    state.remember(&own, NOW).expect("written");
    drop(state);
    let (good, bad) = (format!("{HEADER}{}", line(&own)), format!("{HEADER}{}", line(&other)));
    Dir::with_known_keys(good.as_bytes()).open().expect("opened");
    Dir::with_known_keys(bad.as_bytes()).open().expect_err("refused");
}

#[test]
fn a_half_written_last_line_is_cut_off_and_reported_wherever_it_broke() {
    let (hub, lamp) = (binding("jis:home:hub", 1), binding("jis:home:lamp", 2));
    let whole = format!("{HEADER}{}", line(&hub));
    let all = format!("{whole}{}", line(&lamp));
    for end in whole.len()..=all.len() {
        let dir = Dir::with_known_keys(&all.as_bytes()[..end]);
        let mut state = dir.open().expect("opened");
        let lines = 1 + usize::from(end == all.len());
        assert_eq!(state.known_keys().len(), lines, "cut at {end}");
        let cut_off = (end != all.len() && end != whole.len()).then_some(end - whole.len());
        assert_eq!(state.cut_off(), cut_off, "cut at {end}");
        // What comes next does not stick to what was there.
        let next = binding("jis:next", 3);
        state.remember(&next, NOW).expect("written");
        drop(state);
        let state = dir.open().expect("opened again");
        assert_eq!((state.known_keys().len(), state.cut_off()), (lines + 1, None), "cut at {end}");
        assert_eq!(state.known_keys()[&next.name].binding, next);
    }
}

#[test]
fn room_that_the_file_system_gave_but_did_not_fill_is_cut_off_too() {
    let whole = format!("{HEADER}{}", line(&binding("jis:hub", 1)));
    for end in [b"\0\0\0\0".as_slice(), b"\0\0\0\n", b"jis:lamp z6\0\0\n"] {
        let dir = Dir::with_known_keys(&[whole.as_bytes(), end].concat());
        let state = dir.open().expect("opened");
        assert_eq!((state.known_keys().len(), state.cut_off()), (1, Some(end.len())), "{end:?}");
        assert_eq!(fs::read(dir.file("known-keys")).expect("read"), whole.as_bytes());
    }
}

#[test]
fn a_damaged_line_is_refused_and_named_r30() {
    let (hub, lamp) = (line(&binding("jis:hub", 1)), line(&binding("jis:lamp", 2)));
    let key = binding("jis:x", 3).key;
    let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for damaged in [
        "\n".to_owned(),
        "# a comment\n".to_owned(),
        format!("jis:x {key} 0\n"),
        format!("jis:x {key} 0 1 more\n"),
        format!("jis:x  {key} 0 1\n"),
        format!("jis:x\t{key}\t0\t1\n"),
        format!("jis:x {key} 0 1 \n"),
        format!("jis:x {key} 0 1\r\n"),
        format!("jis:X {key} 0 1\n"),
        format!("x {key} 0 1\n"),
        format!("jis:x {hex} 0 1\n"),
        format!("jis:x {} 0 1\n", &key.to_string()[..47]),
        format!("jis:x {key} -1 1\n"),
        format!("jis:x {key} +1 1\n"),
        format!("jis:x {key} 01 1\n"),
        format!("jis:x {key} 18446744073709551616 1\n"),
        format!("jis:x {key} 0 9007199254740992\n"),
        format!("jis:x {key} 0 2026-11-22T00:00:00.000Z\n"),
        "jis:x \u{fffd} 0 1\n".to_owned(),
        lamp.clone(),
        hub.clone(),
    ] {
        let dir = Dir::with_known_keys(format!("{HEADER}{hub}{lamp}{damaged}{hub}").as_bytes());
        let error = dir.open().expect_err(&damaged);
        assert!(matches!(&error, StateError::Line { line: 4, .. }), "{damaged:?}: {error}");
        let told = error.to_string();
        assert!(told.contains("known-keys") && told.contains("line 4"), "{told}");
    }
    let bytes = [HEADER.as_bytes(), hub.as_bytes(), b"jis:\xff\xfe\n", lamp.as_bytes()].concat();
    let error = Dir::with_known_keys(&bytes).open().expect_err("not text");
    assert!(matches!(error, StateError::Line { line: 3, .. }), "{error}");
}

#[test]
fn a_file_of_another_version_or_kind_is_refused_r30() {
    for header in
        ["", "tibet-known-keys v2\n", "tibet-known-keys v1", "jis:hub z6Mk 0 1\n", "\n", "\0\0\0\0\n"]
    {
        let dir = Dir::with_known_keys(header.as_bytes());
        let error = dir.open().expect_err(header);
        assert!(matches!(error, StateError::Header { .. }), "{header:?}: {error}");
        assert_eq!(fs::read(dir.file("known-keys")).expect("read"), header.as_bytes(), "left as it was");
    }
}

#[test]
fn the_file_of_known_keys_is_bounded_r19() {
    // As long as may be, and one line more. Keys are checked one by one, so names share one.
    let key = binding("jis:x", 1).key;
    let mut text = HEADER.to_owned();
    text.extend((0..MAX_PINS).map(|number| format!("jis:n{number} {key} 0 1\n")));
    let dir = Dir::with_known_keys(text.as_bytes());
    let mut state = dir.open().expect("opened");
    assert_eq!(state.known_keys().len(), MAX_PINS);
    let error = state.remember(&binding("jis:one-more", 2), NOW).expect_err("full");
    assert!(matches!(error, StateError::Full { most: MAX_PINS, .. }), "{error}");
    state.forget(&"jis:n7".parse().expect("name")).expect("rewritten");
    state.remember(&binding("jis:one-more", 2), NOW).expect("room again");
    drop(state);
    assert_eq!(dir.open().expect("opened").known_keys().len(), MAX_PINS);

    text.push_str(&format!("jis:n{MAX_PINS} {key} 0 1\n"));
    let error = Dir::with_known_keys(text.as_bytes()).open().expect_err("too many");
    assert!(matches!(error, StateError::Full { most: MAX_PINS, .. }), "{error}");

    let dir = Dir::with_known_keys(HEADER.as_bytes());
    let file = OpenOptions::new().write(true).open(dir.file("known-keys")).expect("opened");
    file.set_len(1 << 40).expect("a terabyte of nothing");
    let error = dir.open().expect_err("too long");
    assert!(matches!(error, StateError::TooLong { .. }), "{error}");
}

#[test]
fn two_nodes_do_not_run_with_one_directory() {
    let dir = Dir::new();
    let first = dir.open().expect("opened");
    let error = dir.open().expect_err("in use");
    assert!(matches!(&error, StateError::InUse { directory } if *directory == dir.node()), "{error}");
    assert!(error.to_string().contains("another node"), "{error}");
    drop(first);
    dir.open().expect("free again");
}

#[test]
fn everything_is_made_for_the_owner_alone_r25() {
    let dir = Dir::new();
    let mut state = dir.open().expect("opened");
    state.remember(&binding("jis:hub", 1), NOW).expect("written");
    state.forget(&"jis:hub".parse().expect("name")).expect("rewritten");
    state.set_replay_bound(NOW).expect("written");
    assert_eq!(mode(&dir.node()), 0o700);
    let mut files: Vec<_> = fs::read_dir(dir.node())
        .expect("dir")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    files.sort();
    assert_eq!(files, ["known-keys", "node.lock", "replay-bound"], "no temporary file is left");
    for file in files {
        assert_eq!(mode(&dir.file(&file)), 0o600, "{file}");
    }
}

#[test]
fn files_that_others_can_read_or_change_are_refused_row_92() {
    for name in ["known-keys", "replay-bound", "node.lock", "."] {
        for bits in [0o644, 0o620, 0o604, 0o602, 0o660] {
            let dir = Dir::new();
            dir.open().expect("opened").set_replay_bound(NOW).expect("written");
            let bits = if name == "." { bits | 0o100 } else { bits };
            fs::set_permissions(dir.file(name), Permissions::from_mode(bits)).expect("chmod");
            let error = dir.open().and_then(|state| state.replay_bound()).expect_err("refused");
            assert!(matches!(error, StateError::Permissions { mode, .. } if mode == bits), "{name}: {error}");
        }
    }
}

#[test]
fn links_pipes_and_directories_are_not_followed_opened_or_waited_for_row_92() {
    for name in ["known-keys", "replay-bound", "node.lock"] {
        let used = |dir: &Dir| dir.open().and_then(|state| state.replay_bound());
        let refused = |dir: &Dir, what| {
            let error = used(dir).expect_err(what);
            assert!(
                matches!(&error, StateError::WrongKind { path } if *path == dir.file(name)),
                "{name} as {what}: {error}"
            );
        };
        let dir = Dir::new();
        dir.open().expect("opened").set_replay_bound(NOW).expect("written");
        let (path, real) = (dir.file(name), dir.file("elsewhere"));
        fs::rename(&path, &real).expect("moved");
        symlink(&real, &path).expect("link");
        refused(&dir, "a symbolic link");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("directory");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("chmod");
        refused(&dir, "a directory");
        fs::remove_dir(&path).expect("removed");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, rustix::fs::Mode::from(0o600), 0).expect("fifo");
        refused(&dir, "a pipe");
    }
}

#[test]
fn the_replay_bound_is_read_back_and_absent_at_first() {
    let dir = Dir::new();
    let state = dir.open().expect("opened");
    assert_eq!(state.replay_bound().expect("read"), None);
    for bound in [NOW, UnixTime::from_secs(0), UnixTime::MAX] {
        state.set_replay_bound(bound).expect("written");
        assert_eq!(state.replay_bound().expect("read"), Some(bound));
    }
}

#[test]
fn a_packet_from_before_the_restart_is_refused_after_it_r22_row_64() {
    let dir = Dir::new();
    let now = Now { wall: NOW, mono: Duration::ZERO };
    let packet = Timestamp::from(NOW);
    {
        let state = dir.open().expect("opened");
        let mut bound = RestartBound::new(state.replay_bound().expect("read"));
        let next = bound.poll_persist(NOW, now).expect("due");
        state.set_replay_bound(next).expect("written");
        bound.handle_persisted(next);
        bound.check(packet).expect("accepted");
    }
    let state = dir.open().expect("opened");
    let mut bound = RestartBound::new(state.replay_bound().expect("read"));
    let next = bound.poll_persist(NOW, now).expect("due");
    state.set_replay_bound(next).expect("written");
    bound.handle_persisted(next);
    bound.check(packet).expect_err("refused");
}

#[test]
fn a_damaged_replay_bound_is_refused_and_the_message_says_what_to_do_r30() {
    let dir = Dir::new();
    let state = dir.open().expect("opened");
    state.set_replay_bound(NOW).expect("written");
    let good = fs::read(dir.file("replay-bound")).expect("read");
    for damaged in [
        b"".as_slice(),
        b"\n",
        b"0\n\n",
        b"00\n",
        b"+5\n",
        b"-5\n",
        b"5",
        b"5\r\n",
        b" 5\n",
        b"9007199254740992\n",
        b"99999999999999999999\n",
        b"1e9\n",
        b"\0\0\0\0\n",
        b"\xff\n",
        &good[..good.len() - 1],
    ] {
        fs::write(dir.file("replay-bound"), damaged).expect("written");
        let error = state.replay_bound().expect_err("refused");
        assert!(matches!(error, StateError::Bound { .. }), "{damaged:?}: {error}");
        let told = error.to_string();
        assert!(told.contains("replay-bound") && told.contains("wait until a minute"), "{told}");
    }
    fs::write(dir.file("replay-bound"), [b'1'; 33]).expect("written");
    let error = state.replay_bound().expect_err("too long");
    assert!(matches!(error, StateError::TooLong { most: 32, .. }), "{error}");
}

#[test]
fn what_a_crash_left_half_written_is_written_over() {
    let dir = Dir::new();
    let state = dir.open().expect("opened");
    let mut left = fs::File::create(dir.file("replay-bound.tmp")).expect("created");
    left.write_all(b"17").expect("written");
    assert_eq!(state.replay_bound().expect("read"), None, "it never became the bound");
    state.set_replay_bound(NOW).expect("written");
    assert_eq!(state.replay_bound().expect("read"), Some(NOW));
    assert!(!dir.file("replay-bound.tmp").exists());
}

fn names() -> impl Strategy<Value = Name> {
    "jis(:[a-z0-9]([a-z0-9_-]{0,10}[a-z0-9])?){1,6}".prop_filter_map("a name", |text| text.parse().ok())
}

fn known_keys() -> impl Strategy<Value = Vec<KnownKey>> {
    let one = (names(), any::<u8>(), any::<u64>(), 0..=UnixTime::MAX.as_millis());
    let one = one.prop_map(|(name, seed, generation, first_seen)| {
        let key = binding("jis:x", seed).key;
        let first_seen = UnixTime::from_millis(first_seen).expect("in range");
        KnownKey { binding: Binding { name, key, generation }, first_seen }
    });
    prop::collection::vec(one, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read_back(keys in known_keys(), forget in any::<prop::sample::Index>()) {
        let dir = Dir::new();
        let mut expected = std::collections::BTreeMap::new();
        {
            let mut state = dir.open().expect("opened");
            for key in &keys {
                if state.remember(&key.binding, key.first_seen).is_ok() {
                    expected.entry(key.binding.name.clone()).or_insert(key.clone());
                }
            }
            if !keys.is_empty() {
                let name = &forget.get(&keys).binding.name;
                prop_assert_eq!(state.forget(name).expect("rewritten"), expected.remove(name).is_some());
            }
            prop_assert_eq!(state.known_keys(), &expected);
        }
        let state = dir.open().expect("opened again");
        prop_assert_eq!(state.known_keys(), &expected);
        prop_assert_eq!(state.cut_off(), None);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_change_what_it_refuses(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let dir = Dir::with_known_keys(&[HEADER.as_bytes(), &bytes].concat());
        let before = fs::read(dir.file("known-keys")).expect("read");
        if dir.open().is_err() {
            prop_assert_eq!(fs::read(dir.file("known-keys")).expect("read"), before);
        }
    }
}

#[test]
fn others_can_read_the_known_keys_while_a_node_holds_them() {
    let dir = Dir::new();
    assert!(NodeState::read_known_keys(dir.node()).expect("nothing yet").is_empty());
    assert!(!dir.node().exists(), "looking makes nothing");
    let mut state = dir.open().expect("opened");
    state.remember(&binding("jis:home:hub", 1), NOW).expect("written");
    assert!(matches!(dir.open(), Err(StateError::InUse { .. })));
    assert_eq!(&NodeState::read_known_keys(dir.node()).expect("read"), state.known_keys());
    // A line that is just being written is left out, and left alone.
    let path = dir.file("known-keys");
    let half = line(&binding("jis:home:lamp", 2));
    OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("opened")
        .write_all(&half.as_bytes()[..40])
        .expect("written");
    let before = fs::read(&path).expect("read");
    assert_eq!(&NodeState::read_known_keys(dir.node()).expect("read"), state.known_keys());
    assert_eq!(fs::read(&path).expect("read"), before);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
    assert!(matches!(NodeState::read_known_keys(dir.node()), Err(StateError::Permissions { .. })));
}
