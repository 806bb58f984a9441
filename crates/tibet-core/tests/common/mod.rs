//! What several test files share: the vectors, fixed keys, and a small signed log.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "only tests use this")]
#![allow(unreachable_pub, reason = "a module of tests, not of a library")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jis::SecretKey;
use tibet_core::json::{self, Value};
use tibet_core::{Draft, Micros, Minter, Token, object};

/// The reference vectors made by the Python packages.
pub fn vector_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/reference").join(name)
}

pub fn vector_file(name: &str) -> Value {
    let text = fs::read_to_string(vector_path(name)).unwrap();
    json::parse(&text).unwrap()
}

/// A member that must be there.
pub fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.as_object().unwrap().get(name).unwrap_or_else(|| panic!("no member {name}"))
}

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    member(value, name).as_str().unwrap()
}

pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    member(value, name).as_array().unwrap()
}

pub fn optional<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object().unwrap().get(name).filter(|value| **value != Value::Null)
}

/// 2026-01-02T03:04:05 UTC and `micros` microseconds.
pub fn time(micros: u64) -> Micros {
    Micros::from_micros(1_767_323_045_000_000 + micros).unwrap()
}

pub fn secret_key() -> Arc<SecretKey> {
    let mut seed = [7; 32];
    seed[0] = 1;
    Arc::new(SecretKey::from_seed(seed.into()).unwrap())
}

pub fn other_key() -> Arc<SecretKey> {
    let mut seed = [9; 32];
    seed[0] = 1;
    Arc::new(SecretKey::from_seed(seed.into()).unwrap())
}

pub fn signing_minter() -> Minter {
    Minter::new("jis:home:hub").signer(secret_key())
}

/// `count` signed tokens, each the child of the one before.
pub fn signed_log(count: u32) -> Vec<Token> {
    let mut minter = signing_minter();
    (0..count)
        .map(|n| {
            let draft = Draft::new("ping.intent")
                .erin(object! { "n" => n, "celsius" => 21.5, "text" => "Küche" })
                .eraan(["jis:home:sensor"])
                .eromheen(object! { "hop_count" => 1 })
                .erachter("Check room temperature");
            minter.mint(draft, time(n.into()), n.to_be_bytes())
        })
        .collect()
}
