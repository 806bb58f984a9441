//! Token files written by Python: what loads, what verifies, and the chains in them.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use std::fs;

use common::{list, member, optional, text, vector_file, vector_path};
use tibet_core::json::Value;
use tibet_core::{
    Chain, FileStore, Fsync, HmacKey, LogCheck, Problem, StoreError, TokenLines, TokenStore, verify_log,
    verify_store,
};

/// What Python's `verify_file` says, from our report: it looks at content hashes only.
fn verify_file(store: &FileStore) -> (u64, Vec<String>) {
    let report = verify_store(store, &LogCheck::default()).unwrap();
    assert!(report.findings.iter().all(|finding| finding.problem == Problem::Altered));
    let corrupted: Vec<String> = report.findings.into_iter().map(|finding| finding.token_id).collect();
    (report.tokens - corrupted.len() as u64, corrupted)
}

#[test]
fn files_load_and_verify_as_in_python() {
    let file = vector_file("token_jsonl.json");
    let cases = list(member(&file, "cases"), "files");
    assert_eq!(cases.len(), 8);
    let (mut loaded, mut chains, mut trees) = (0, 0, 0);
    for case in cases {
        let name = text(case, "name");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.jsonl");
        fs::write(&path, text(case, "file_text")).unwrap();
        let expect = member(case, "expect");
        let opened = FileStore::open(&path, Fsync::Never);
        if text(expect, "load") == "error" {
            assert!(matches!(opened, Err(StoreError::Line { .. })), "{name}");
            continue;
        }
        let (store, recovered) = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(recovered, None, "{name}");
        assert_eq!(Some(&Value::from(store.len().unwrap())), optional(expect, "count"), "{name}");

        let expected = member(expect, "verify_file");
        let (valid, corrupted) = verify_file(&store);
        assert_eq!(&Value::from(valid), member(expected, "valid"), "{name}");
        assert_eq!(&Value::from(corrupted.len()), member(expected, "invalid"), "{name}");
        assert_eq!(&Value::from(corrupted), member(expected, "corrupted_ids"), "{name}");
        verify_with_key(case, &store);
        for chain in optional(expect, "chains").map_or(&[][..], |chains| chains.as_array().unwrap()) {
            check_chain(name, &store, chain);
            chains += 1;
        }
        for tree in optional(expect, "trees").map_or(&[][..], |trees| trees.as_array().unwrap()) {
            let depth = usize::try_from(member(tree, "max_depth").as_integer().unwrap()).unwrap();
            let built = Chain::new(&store).tree(text(tree, "root"), depth).unwrap();
            assert_eq!(&Value::from(built.to_object()), member(tree, "tree"), "{name}");
            trees += 1;
        }
        loaded += 1;
    }
    assert_eq!((loaded, chains, trees), (6, 8, 3));
}

fn verify_with_key(case: &Value, store: &FileStore) {
    let Some(key) = optional(case, "key_hex").and_then(Value::as_str) else { return };
    let key = HmacKey::new(jis::hex::decode(key).unwrap()).unwrap();
    let report = verify_store(store, &LogCheck { hmac: Some(&key), ..LogCheck::default() }).unwrap();
    assert!(report.ok(), "with its key every token verifies: {:?}", report.findings);
    let head = report.head.unwrap();
    assert!(Chain::new(store).hmac(&key).verify(&head.token_id).unwrap());
}

fn check_chain(name: &str, store: &FileStore, expected: &Value) {
    let from = text(expected, "from");
    let chain = Chain::new(store);
    let trace: Vec<String> = chain.trace(from).map(|token| token.unwrap().token_id).collect();
    assert_eq!(&Value::from(trace.clone()), member(expected, "trace"), "{name}");
    let root = chain.root(from).unwrap().map(|token| token.token_id);
    assert_eq!(&Value::from(root), member(expected, "root"), "{name}");

    let summary = member(expected, "summary");
    if trace.is_empty() {
        // Python: true, because all of no tokens verify.
        assert_eq!(member(expected, "verify"), &Value::Bool(true), "{name}");
        assert!(!chain.verify(from).unwrap(), "{name}");
        assert_eq!(chain.summary(from).unwrap(), None, "{name}");
        return;
    }
    assert_eq!(&Value::Bool(chain.verify(from).unwrap()), member(expected, "verify"), "{name}");
    let found = chain.summary(from).unwrap().unwrap();
    let found = tibet_core::object! {
        "length" => found.length,
        "valid" => found.valid,
        "actors" => found.actors.into_iter().collect::<Vec<_>>(),
        "actions" => found.actions,
        "start" => found.start,
        "end" => found.end,
        "root_id" => found.root_id,
    };
    assert_eq!(&Value::from(found), summary, "{name}");
}

#[test]
fn the_two_whole_files_are_told_apart() {
    let report = |name| {
        let lines = TokenLines::open(vector_path(name)).unwrap();
        verify_log(lines, &LogCheck::default())
    };
    assert!(report("token_store_valid.jsonl").ok());
    let tampered = report("token_store_tampered.jsonl");
    let problems: Vec<_> = tampered.findings.iter().map(|f| (f.index, f.problem.clone())).collect();
    assert_eq!(problems, [(2, Problem::Altered)]);
}

#[test]
fn what_we_write_is_what_python_wrote() {
    let written = fs::read_to_string(vector_path("token_store_valid.jsonl")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/down/tokens.jsonl");
    let (mut copy, _) = FileStore::open(&path, Fsync::EveryAppend).unwrap();
    for token in TokenLines::open(vector_path("token_store_valid.jsonl")).unwrap() {
        copy.append(&token.unwrap().1).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
}
