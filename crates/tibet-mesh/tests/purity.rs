//! The crate reads no clock, no random generator, no file, no socket and no environment; WireGuard's noise machine, named in one file, takes the time and its ephemeral
//! keys from the system.

use std::path::{Path, PathBuf};

const FORBIDDEN_WORDS: [&str; 12] = [
    "SystemTime",
    "Instant",
    "std::fs",
    "UdpSocket",
    "TcpStream",
    "std::env",
    "std::thread",
    "tokio",
    "OsRng",
    "getrandom",
    // Its order and its keys come from the operating system's generator.
    "HashMap",
    "unwrap()",
];

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// Each file of the crate, those in folders included, with its source, without comments and without the tests in it.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let read = |path: PathBuf| {
        let source = std::fs::read_to_string(&path).expect("source");
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path.display().to_string(), code.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(read).collect()
}

#[test]
fn no_source_file_reads_the_world() {
    let sources = sources();
    assert!(sources.len() > 8, "{} files", sources.len());
    for (file, code) in sources {
        for word in FORBIDDEN_WORDS {
            assert!(!code.contains(word), "{file} has {word}");
        }
    }
}

#[test]
fn one_file_names_the_wireguard_that_is_used() {
    let naming: Vec<String> =
        sources().into_iter().filter(|(_, code)| code.contains("gotatun")).map(|(file, _)| file).collect();
    assert!(matches!(&naming[..], [file] if file.ends_with("tunnels.rs")), "{naming:?}");
}
