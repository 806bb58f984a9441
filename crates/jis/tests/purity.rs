//! The crate reads no clock, no random generator, no file, no socket and no environment, and depends on nothing that would.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const FORBIDDEN_CRATES: [&str; 7] = ["tokio", "mio", "socket2", "getrandom", "rand", "rusqlite", "quinn-udp"];

const FORBIDDEN_WORDS: [&str; 9] = [
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "std::fs",
    "std::net::UdpSocket",
    "TcpStream",
    "std::env",
    "std::thread",
    "OsRng",
];

/// What jis is built from on this machine with default features: the dependencies of build scripts and tests left out.
#[test]
fn nothing_we_depend_on_does_input_or_output() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "jis", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    let closure: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    // That the tree is one at all:
    for known in ["jis", "ed25519-dalek", "curve25519-dalek", "scrypt", "jiff"] {
        assert!(closure.contains(known), "{known} is missing in {closure:?}");
    }
    for forbidden in FORBIDDEN_CRATES {
        assert!(!closure.contains(forbidden), "jis depends on {forbidden}");
    }
}

#[test]
fn no_source_file_reads_the_world() {
    let mut files = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("src") {
        let path = entry.expect("entry").path();
        assert!(path.extension().is_some_and(|e| e == "rs"), "{} is not read by this test", path.display());
        let source = std::fs::read_to_string(&path).expect("source");
        for word in FORBIDDEN_WORDS {
            assert!(!source.contains(word), "{} names {word}", path.display());
        }
        files += 1;
    }
    assert!(files > 15, "only {files} files");
}
