//! SECURITY row 92: a key file that others could have read or changed, or that is none, is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use jis::UnixTime;
use tibet_overlay::secret_file::{self, SecretFileError};
use tibet_overlay::{DeviceError, DeviceFiles, IdentityOverlay, OpenError, OverlayError, StateDir};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const KEY_FILES: [&str; 4] = ["identity.pem", "next-identity.pem", "transport.pem", "device.json"];

struct Device {
    dir: tempfile::TempDir,
}

impl Device {
    fn new() -> Self {
        let device = Self { dir: tempfile::tempdir().expect("dir") };
        device.files().create("jis:sensor".parse().expect("name"), NOW).expect("created");
        device
    }

    fn files(&self) -> DeviceFiles {
        DeviceFiles::new(self.dir.path().join("device"), None)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("device").join(name)
    }

    /// Uses the file of this name, as the device does.
    fn use_file(&self, name: &str) -> Result<(), DeviceError> {
        let mut device = self.files().open()?;
        if name == "next-identity.pem" {
            device.rotate(None, NOW)?;
        }
        Ok(())
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn mkfifo(path: &Path) {
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, rustix::fs::Mode::from(0o600), 0).expect("fifo");
}

#[test]
fn files_and_directories_are_made_for_the_owner_alone() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path().join("a/b/state"));
    let mut overlay = IdentityOverlay::open(state.clone()).expect("opened");
    overlay.register("sensor", tibet_overlay::DeviceOptions::new()).expect("registered");
    for directory in
        ["a", "a/b", "a/b/state", "a/b/state/identities", "a/b/state/identities/sensor", "a/b/state/registry"]
    {
        assert_eq!(mode(&dir.path().join(directory)), 0o700, "{directory}");
    }
    for file in KEY_FILES {
        assert_eq!(mode(&state.root().join("identities/sensor").join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&state.root().join("registry/log.pem")), 0o600);
    let left: Vec<_> = fs::read_dir(state.root().join("identities/sensor")).expect("dir").collect();
    assert_eq!(left.len(), KEY_FILES.len(), "no temporary file is left: {left:?}");
}

#[test]
fn a_file_that_others_can_read_or_change_is_refused_and_named() {
    for name in KEY_FILES {
        for bits in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o660] {
            let device = Device::new();
            set_mode(&device.path(name), bits);
            let error = device.use_file(name).expect_err("refused");
            assert!(
                matches!(&error, DeviceError::File(SecretFileError::Permissions { path, mode }) if *path == device.path(name) && *mode == bits),
                "{name} {bits:o}: {error}"
            );
            let told = error.to_string();
            assert!(told.contains("chmod 600") && told.contains(&format!("{bits:03o}")), "{told}");
            // What the message says to do helps.
            set_mode(&device.path(name), 0o600);
            device.use_file(name).expect("usable again");
        }
    }
}

#[test]
fn a_file_may_be_read_only() {
    let device = Device::new();
    set_mode(&device.path("identity.pem"), 0o400);
    device.files().open().expect("0400 is the owner's alone");
}

#[test]
fn links_pipes_and_directories_are_not_followed_opened_or_waited_for() {
    for name in KEY_FILES {
        let device = Device::new();
        let path = device.path(name);
        let real = device.path("elsewhere");
        fs::rename(&path, &real).expect("moved");
        let refused = |what: &str| {
            let error = device.use_file(name).expect_err(what);
            assert!(
                matches!(&error, DeviceError::File(SecretFileError::NotRegular { path: named }) if *named == path),
                "{name} as {what}: {error}"
            );
        };
        symlink(&real, &path).expect("link");
        refused("a symbolic link");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("directory");
        refused("a directory");
        fs::remove_dir(&path).expect("removed");
        // A pipe without a writer would make a careless reader wait for ever.
        mkfifo(&path);
        refused("a pipe");
        fs::remove_file(&path).expect("removed");
        // A hard link to the same file is the same file, and fine.
        fs::hard_link(&real, &path).expect("link");
        device.use_file(name).expect("a regular file again");
    }
}

#[test]
fn a_pipe_for_a_directory_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("dir");
    mkfifo(&dir.path().join("device"));
    let files = DeviceFiles::new(dir.path().join("device"), None);
    assert!(matches!(files.open(), Err(DeviceError::File(SecretFileError::Io { .. }))));
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can give a file to another user");
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none());
        return;
    }
    for name in KEY_FILES {
        let device = Device::new();
        std::os::unix::fs::chown(device.path(name), Some(65_534), None).expect("chown");
        let error = device.use_file(name).expect_err("refused");
        assert!(matches!(error, DeviceError::File(SecretFileError::Owner { .. })), "{name}: {error}");
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
    }
    let body = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.collect::<Vec<_>>().join("\n"))
}

/// PKCS#8 of an Ed25519 key with a seed of any length (RFC 8410 section 7).
fn pkcs8(seed: &[u8]) -> Vec<u8> {
    let length = |extra: usize| u8::try_from(seed.len() + extra).expect("short");
    let mut der =
        vec![0x30, length(14), 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, length(2), 4, length(0)];
    der.extend_from_slice(seed);
    der
}

fn seed(length: u8) -> Vec<u8> {
    (1..=length).collect()
}

#[test]
fn what_is_no_key_is_refused() {
    let good = pem("PRIVATE KEY", &pkcs8(&seed(32)));
    jis::pem::decode_identity(&good, None).expect("the test writes keys as the program reads them");
    let cases: [(&str, String); 10] = [
        ("31 bytes", pem("PRIVATE KEY", &pkcs8(&seed(31)))),
        ("33 bytes", pem("PRIVATE KEY", &pkcs8(&seed(33)))),
        ("all equal", pem("PRIVATE KEY", &pkcs8(&[7; 32]))),
        ("all zero", pem("PRIVATE KEY", &pkcs8(&[0; 32]))),
        ("empty", String::new()),
        ("zeros for a file", "\0".repeat(119)),
        ("raw 32 bytes", "k".repeat(32)),
        ("half a key", good[..good.len() / 2].to_owned()),
        (
            "a public key",
            pem(
                "PUBLIC KEY",
                &[&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &[9; 32]].concat(),
            ),
        ),
        ("a key and a hundred lines", good.clone() + &"x\n".repeat(100)),
    ];
    for (what, text) in cases {
        for name in ["identity.pem", "next-identity.pem", "transport.pem"] {
            let device = Device::new();
            fs::write(device.path(name), &text).expect("written");
            let error = device.use_file(name).expect_err(what);
            assert!(
                matches!(error, DeviceError::Pem { ref path, .. } if *path == device.path(name)),
                "{what} in {name}: {error}"
            );
        }
    }
}

#[test]
fn a_key_of_somebody_else_does_not_fit() {
    let (device, other) = (Device::new(), Device::new());
    fs::copy(other.path("identity.pem"), device.path("identity.pem")).expect("copied");
    assert!(matches!(device.files().open(), Err(DeviceError::State { .. })));
    let device = Device::new();
    fs::copy(other.path("next-identity.pem"), device.path("next-identity.pem")).expect("copied");
    let before = fs::read(device.path("device.json")).expect("read");
    assert!(matches!(device.use_file("next-identity.pem"), Err(DeviceError::Event(_))));
    assert_eq!(fs::read(device.path("device.json")).expect("read"), before, "nothing was changed");
    device.files().open().expect("the device is as it was");
}

#[test]
fn a_huge_file_is_not_read_into_memory() {
    for name in KEY_FILES {
        let device = Device::new();
        let file = fs::OpenOptions::new().write(true).open(device.path(name)).expect("opened");
        file.set_len(1 << 40).expect("a sparse file of a tebibyte");
        let error = device.use_file(name).expect_err("refused");
        assert!(matches!(error, DeviceError::File(SecretFileError::TooLong { .. })), "{name}: {error}");
    }
}

#[test]
fn text_that_is_no_text_is_an_error() {
    let device = Device::new();
    fs::write(device.path("device.json"), [0xff, 0xfe, 0]).expect("written");
    assert!(matches!(device.files().open(), Err(DeviceError::File(SecretFileError::Io { .. }))));
    for json in ["", "{}", "[]", "{\"schema\":\"tibet.device\"}", "null"] {
        fs::write(device.path("device.json"), json).expect("written");
        assert!(matches!(device.files().open(), Err(DeviceError::State { .. })), "{json}");
    }
}

#[test]
fn device_json_is_not_believed() {
    let device = Device::new();
    let good: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(device.path("device.json")).expect("read")).expect("JSON");
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        assert_ne!(changed, good);
        fs::write(device.path("device.json"), changed.to_string()).expect("written");
        device.files().open().expect_err("refused")
    };
    refused(&|json| json["version"] = 2.into());
    refused(&|json| json["schema"] = "tibet.other".into());
    refused(&|json| json["name"] = "jis:other".into());
    refused(&|json| json["events"] = serde_json::json!([]));
    refused(&|json| json["events"][0] = "zz".into());
    refused(&|json| json["record"] = "00".into());
    refused(&|json| json["more"] = 1.into());
    let event = good["events"][0].as_str().expect("hex").to_owned();
    for at in (0..event.len()).step_by(7) {
        let mut flipped = event.clone().into_bytes();
        flipped[at] = if flipped[at] == b'0' { b'1' } else { b'0' };
        let flipped = String::from_utf8(flipped).expect("hex");
        refused(&|json| json["events"][0] = flipped.clone().into());
    }
    fs::write(device.path("device.json"), good.to_string()).expect("written");
    device.files().open().expect("the untouched one opens");
}

#[test]
fn creating_never_overwrites() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("secret");
    secret_file::create(&path, "first").expect("created");
    assert!(matches!(secret_file::create(&path, "second"), Err(SecretFileError::Exists { .. })));
    assert_eq!(secret_file::read(&path).expect("read").as_str(), "first");
    // Not through a link either, dangling or not.
    let link = dir.path().join("link");
    symlink(dir.path().join("target"), &link).expect("link");
    assert!(matches!(secret_file::create(&link, "second"), Err(SecretFileError::Exists { .. })));
    assert!(!dir.path().join("target").exists());
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 2, "no temporary file is left");

    let device = Device::new();
    let keys = KEY_FILES.map(|name| fs::read(device.path(name)).expect("read"));
    let error = device.files().create("jis:sensor".parse().expect("name"), NOW).expect_err("exists");
    assert!(matches!(error, DeviceError::File(SecretFileError::Exists { .. })), "{error}");
    assert_eq!(KEY_FILES.map(|name| fs::read(device.path(name)).expect("read")), keys);
}

#[test]
fn replacing_is_one_step_and_does_not_write_through_links() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("secret");
    secret_file::replace(&path, "first").expect("created");
    let held = fs::File::open(&path).expect("opened");
    let old = dir.path().join("old");
    fs::hard_link(&path, &old).expect("link");
    secret_file::replace(&path, "second").expect("replaced");
    assert_eq!(secret_file::read(&path).expect("read").as_str(), "second");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_to_string(&old).expect("read"), "first", "the old file was not written into");
    assert_ne!(held.metadata().expect("metadata").ino(), fs::metadata(&path).expect("metadata").ino());

    let target = dir.path().join("target");
    fs::write(&target, "untouched").expect("written");
    let link = dir.path().join("link");
    symlink(&target, &link).expect("link");
    secret_file::replace(&link, "third").expect("replaced");
    assert_eq!(fs::read_to_string(&target).expect("read"), "untouched");
    assert!(fs::symlink_metadata(&link).expect("metadata").is_file());
    assert_eq!(mode(&link), 0o600);
}

#[test]
fn a_failed_replacement_leaves_the_old_file() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("secret");
    fs::create_dir(&path).expect("a directory, which no file replaces");
    assert!(matches!(secret_file::replace(&path, "x"), Err(SecretFileError::Io { .. })));
    assert!(path.is_dir());
    assert!(secret_file::replace(&dir.path().join("not/there"), "x").is_err());
}

#[test]
fn leftovers_of_a_crashed_writer_do_not_stop_the_next() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("secret");
    let leftover = dir.path().join(format!("secret.{}.tmp", std::process::id()));
    // The worst leftover: a link that leads elsewhere.
    let target = dir.path().join("target");
    fs::write(&target, "untouched").expect("written");
    symlink(&target, &leftover).expect("link");
    secret_file::replace(&path, "new").expect("replaced");
    assert_eq!(secret_file::read(&path).expect("read").as_str(), "new");
    assert_eq!(fs::read_to_string(&target).expect("read"), "untouched");
    assert!(!leftover.exists());
}

#[test]
fn a_passphrase_file_and_the_log_key_are_secrets_too() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path());
    drop(IdentityOverlay::open(state.clone()).expect("opened"));
    let log_key = dir.path().join("registry/log.pem");
    set_mode(&log_key, 0o640);
    let error = IdentityOverlay::open(state).expect_err("refused");
    assert!(
        matches!(&error, OverlayError::Open(OpenError::Device(DeviceError::File(SecretFileError::Permissions { path, .. }))) if *path == log_key),
        "{error}"
    );
}
