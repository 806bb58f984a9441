//! Writes the seeds of all targets into `fuzz/corpus/`: `cargo run --bin seeds`.
//!
//! They are the golden vectors of `testdata/vectors`, everything of SECURITY table 3.2 that one input can be, and what these checks sign
//! themselves. A name that ends in `-accepted` or `-refused` is a promise, which is kept here and in `xtask/tests/fuzz_corpus.rs`.
//! Files that fuzzing added to a corpus have the names libFuzzer gives them and are left alone.

mod addresses;
mod bodies;
mod challenges;
mod compact;
mod dns;
mod frames;
mod inner;
mod intents;
mod mesh;
mod names;
mod nodes;
mod questions;
mod sealed;
mod stories;
mod tun;

use std::path::{Path, PathBuf};

use tibet_core::json::{self, Object, Value};
use tibet_fuzz::{TARGETS, Verdict};

fn main() {
    frames::write();
    bodies::write();
    names::write();
    addresses::write();
    challenges::write();
    stories::write();
    nodes::write();
    compact::write();
    questions::write();
    intents::write();
    mesh::write();
    inner::write();
    sealed::write();
    dns::write();
    tun::write();
}

/// Writes a seed and sees whether the check holds, and the name's promise with it.
fn put(target: &str, name: &str, input: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(known, _)| *known == target).expect("a target");
    let verdict = check(input);
    let promise = match name.rsplit_once('-') {
        Some((_, "accepted")) => Verdict::Accepted,
        Some((_, "refused")) => Verdict::Refused,
        _ => verdict,
    };
    assert_eq!(verdict, promise, "{target}: {name}");
    let corpus = root().join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).expect("a directory");
    std::fs::write(corpus.join(name), input).expect("a file");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of vectors, read with the exact number reader.
fn vectors(file: &str) -> Object {
    let path = root().join("testdata/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match json::parse(&text) {
        Ok(Value::Object(object)) => object,
        other => panic!("{file}: {other:?}"),
    }
}

/// A member that is a list of maps.
fn cases<'a>(of: &'a Object, name: &str) -> impl Iterator<Item = &'a Object> {
    let list = of.get(name).and_then(Value::as_array).unwrap_or_else(|| panic!("no {name}"));
    list.iter().map(|case| case.as_object().expect("a map"))
}

/// A member that is a map.
fn map<'a>(of: &'a Object, name: &str) -> &'a Object {
    of.get(name).and_then(Value::as_object).unwrap_or_else(|| panic!("no {name}"))
}

fn text<'a>(of: &'a Object, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name}"))
}

/// A vector's name as a file's.
fn slug(name: &str) -> String {
    let dashed: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    format!("vector-{}", words.join("-"))
}
