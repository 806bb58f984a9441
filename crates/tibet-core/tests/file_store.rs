//! The file store when things go wrong: torn writes, damage, other writers.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use common::signed_log;
use tibet_core::{FileStore, Fsync, Recovered, StoreError, Token, TokenStore};

struct Scratch {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn scratch(content: &[u8]) -> Scratch {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.jsonl");
    fs::write(&path, content).unwrap();
    Scratch { _directory: directory, path }
}

fn lines(tokens: &[Token]) -> String {
    tokens.iter().map(|token| token.to_json_line() + "\n").collect()
}

/// The same reopened, so that repairs are known to have reached the file.
fn reopened(path: &PathBuf) -> FileStore {
    let (store, recovered) = FileStore::open(path, Fsync::Never).unwrap();
    assert_eq!(recovered, None);
    store
}

#[test]
fn a_last_line_cut_anywhere_is_recovered() {
    let log = signed_log(2);
    let (whole, last) = (lines(&log[..1]), lines(&log[1..]));
    for cut in 0..=last.len() {
        let scratch = scratch(&[whole.as_bytes(), &last.as_bytes()[..cut]].concat());
        let (mut store, recovered) = FileStore::open(&scratch.path, Fsync::Never).unwrap();
        // A line without its line feed is whole; so is one that was not begun.
        let kept = cut + 1 >= last.len();
        let torn = cut > 0 && !kept;
        assert_eq!(recovered, torn.then_some(Recovered { bytes: cut as u64 }), "cut at {cut}");
        assert_eq!(store.len().unwrap(), if kept { 2 } else { 1 }, "cut at {cut}");
        if !kept {
            assert_eq!(store.append(&log[1]).unwrap(), 1, "cut at {cut}");
        }
        assert_eq!(fs::read_to_string(&scratch.path).unwrap(), lines(&log), "cut at {cut}");
        assert_eq!(reopened(&scratch.path).at(1).unwrap().as_ref(), Some(&log[1]));
    }
}

#[test]
fn room_that_was_reserved_and_never_written_is_recovered() {
    let log = signed_log(1);
    let whole = lines(&log);
    for torn in [&b"\0\0\0\0"[..], b"{\"token\0\0"] {
        let scratch = scratch(&[whole.as_bytes(), torn].concat());
        let (_, recovered) = FileStore::open(&scratch.path, Fsync::Never).unwrap();
        assert_eq!(recovered, Some(Recovered { bytes: torn.len() as u64 }));
        assert_eq!(fs::read_to_string(&scratch.path).unwrap(), whole);
    }
}

/// Number and id of the line that made opening fail. The file must not have been touched.
fn refusal(content: &[u8]) -> (u64, Option<String>) {
    let scratch = scratch(content);
    let error = FileStore::open(&scratch.path, Fsync::Never).unwrap_err();
    assert_eq!(fs::read(&scratch.path).unwrap(), content);
    let StoreError::Line { line, token_id, .. } = error else { panic!("{error}") };
    (line, token_id)
}

#[test]
fn damage_is_refused_and_named() {
    let log = signed_log(3);
    let id = |n: usize| Some(log[n].token_id.clone());
    let text = lines(&log);
    let damaged = |from: &str, to: &str| refusal(text.replacen(from, to, 1).as_bytes());

    assert_eq!(damaged("\"erin\"", "\"eriin\""), (1, id(0)));
    assert_eq!(damaged("\n", ", \"extra\": 1}\n"), (1, id(0)), "text after the value");
    assert_eq!(refusal(lines(&[log[0].clone(), log[1].clone(), log[0].clone()]).as_bytes()), (3, id(0)));
    assert_eq!(refusal(format!("\u{feff}{text}").as_bytes()), (1, None), "a byte order mark");
    assert_eq!(refusal(&[text.as_bytes(), b"\xff\xfe\n"].concat()), (4, None), "not UTF-8");
    assert_eq!(refusal(&[text.as_bytes(), b"[1, 2]\n"].concat()), (4, None), "no object");
    // A torn line in the middle was not left by a writer that stopped: somebody cut it.
    let torn = format!("{}\n{}", &lines(&log[..1])[..300], lines(&log[1..]));
    assert_eq!(refusal(torn.as_bytes()), (1, id(0)));
    // So is a complete last line that is no token, line feed or not.
    assert_eq!(refusal(format!("{text}{{}}").as_bytes()), (4, None));
    assert_eq!(refusal(format!("{text}x").as_bytes()), (4, None));
}

#[test]
fn an_emptied_content_hash_is_refused() {
    // Python computes it anew, so that any edit of such a line verifies.
    let log = signed_log(1);
    let text = lines(&log);
    let hash = format!("\"{}\"", log[0].content_hash);
    assert_eq!(refusal(text.replace(&hash, "\"\"").as_bytes()).0, 1);
    assert_eq!(refusal(text.replace(&format!("\"content_hash\": {hash}, "), "").as_bytes()).0, 1);
}

#[test]
fn a_line_beyond_all_bounds_is_refused_without_being_kept() {
    let log = signed_log(1);
    let mut content = vec![b'x'; 3 << 20];
    content.push(b'\n');
    content.extend_from_slice(lines(&log).as_bytes());
    assert_eq!(refusal(&content), (1, None));
}

#[test]
fn blank_lines_and_carriage_returns_are_read_over() {
    let log = signed_log(2);
    let text = format!("\n  \r\n{}\r\n\n  {}\n", log[0].to_json_line(), log[1].to_json_line());
    let scratch = scratch(text.as_bytes());
    let store = reopened(&scratch.path);
    assert_eq!(store.len().unwrap(), 2);
    assert_eq!(store.at(0).unwrap().as_ref(), Some(&log[0]));
    assert_eq!(store.at(1).unwrap().as_ref(), Some(&log[1]));
}

#[test]
fn two_writers_share_a_file() {
    let log = signed_log(4);
    let scratch = scratch(b"");
    let (mut one, mut two) = (reopened(&scratch.path), reopened(&scratch.path));
    assert_eq!(one.append(&log[0]).unwrap(), 0);
    assert_eq!(two.append(&log[1]).unwrap(), 1, "after what the other wrote");
    assert_eq!(two.append(&log[0]), Err(StoreError::DuplicateId(log[0].token_id.clone())));
    assert_eq!(one.len().unwrap(), 1, "not seen yet");
    assert_eq!(one.refresh().unwrap(), None);
    assert_eq!(one.at(1).unwrap().as_ref(), Some(&log[1]));

    // A writer died in the middle of a line: the next append cuts it off first.
    let mut dying = fs::OpenOptions::new().append(true).open(&scratch.path).unwrap();
    dying.write_all(b"{\"token_id\": \"tibet_").unwrap();
    assert_eq!(one.append(&log[2]).unwrap(), 2);
    assert_eq!(fs::read_to_string(&scratch.path).unwrap(), lines(&log[..3]));
}

#[test]
fn a_file_that_became_shorter_takes_no_more_tokens() {
    let log = signed_log(3);
    let scratch = scratch(lines(&log[..2]).as_bytes());
    let mut store = reopened(&scratch.path);
    fs::write(&scratch.path, lines(&log[..1])).unwrap();
    let path = scratch.path.clone();
    assert_eq!(store.append(&log[2]), Err(StoreError::ChangedElsewhere { path }));
    assert_eq!(fs::read_to_string(&scratch.path).unwrap(), lines(&log[..1]));
}
