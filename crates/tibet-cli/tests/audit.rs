//! The audit log from outside: exported, altered, cut off, verified.

mod common;

use std::fs;

use common::{Home, text};

/// A home with a log of several tokens, and the log exported to the file named.
fn with_export() -> (Home, String, serde_json::Value) {
    let home = Home::with_hub();
    home.ok("verify jis:home:hub");
    home.ok("register --endpoint 203.0.113.1:2");
    home.ok("trust jis:home:hub 0.4 --reason tried");
    let exported = home.json("audit export -o log.jsonl", 0);
    let log = fs::read_to_string(home.path("log.jsonl")).expect("read");
    (home, log, exported)
}

fn ids(log: &str) -> Vec<String> {
    let id = |line: &str| {
        let token: serde_json::Value = serde_json::from_str(line).expect("a token");
        token["token_id"].as_str().expect("an id").to_owned()
    };
    log.lines().map(id).collect()
}

#[test]
fn an_export_verifies_with_or_without_the_registry() {
    let (home, log, exported) = with_export();
    assert_eq!(exported["tokens"].as_u64(), Some(log.lines().count() as u64));
    assert_eq!(home.ok("audit export"), log, "standard output is the same log");
    assert_eq!(home.json("audit verify log.jsonl", 0)["head"], exported["head"]);
    let key = exported["key"].as_str().expect("a key");
    // Another machine, which has nothing but the file and the key.
    let other = Home::new();
    other.write("log.jsonl", &log);
    assert_eq!(other.json(&format!("audit verify log.jsonl --key {key}"), 0)["intact"], true);
    let unchecked = other.run("audit verify log.jsonl");
    assert!(
        unchecked.code == Some(2) && unchecked.out.contains("not checked: give --key"),
        "no yes without a key: {unchecked:?}"
    );
    assert_eq!(other.json("audit verify log.jsonl", 2)["signatures_checked"], false);
    let array: serde_json::Value =
        serde_json::from_str(&home.ok("audit export --format json")).expect("a JSON array");
    assert_eq!(array.as_array().map(Vec::len), Some(log.lines().count()));
}

#[test]
fn a_registry_put_in_place_of_another_is_noticed_with_the_key() {
    let home = Home::with_hub();
    let verified = home.json("audit verify", 0);
    let key = verified["key"].as_str().expect("a key");
    assert_eq!(home.json(&format!("audit verify --key {key}"), 0)["intact"], true);
    let other = Home::with_hub();
    assert_eq!(other.json("audit verify", 0)["intact"], true, "it is whole by itself");
    assert_eq!(other.json(&format!("audit verify --key {key}"), 1)["intact"], false);
    assert_eq!(home.run("audit verify --key garbage").code, Some(2));
}

#[test]
fn an_export_replaces_nothing_before_it_is_whole_and_no_database() {
    let home = Home::with_hub();
    let registry = home.state().join("registry/registry.db");
    let ran = home.run(&format!("audit export -o {}", text(&registry)));
    assert!(ran.code == Some(2) && ran.err.contains("is a database"), "{ran:?}");
    assert_eq!(home.json("audit verify", 0)["intact"], true);
    home.ok("audit export -o log.jsonl");
    let names = |home: &Home| {
        let entries = fs::read_dir(home.path("log.jsonl").parent().expect("directory")).expect("read");
        entries
            .filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().contains(".tmp")))
            .count()
    };
    assert_eq!(names(&home), 0, "nothing is left beside it");
}

#[test]
fn each_changed_byte_is_found_and_its_token_named() {
    let (home, log, _) = with_export();
    let ids = ids(&log);
    let mut at = 0;
    for (index, line) in log.lines().enumerate() {
        // A letter of the action's text in each token in turn.
        let place = at + line.find("Overlay ").expect("words");
        let mut altered = log.clone().into_bytes();
        altered[place] ^= 0x20;
        home.write("altered.jsonl", &altered);
        let ran = home.run("audit verify altered.jsonl");
        assert_eq!(ran.code, Some(1), "{}", ran.out);
        let named = format!("token {index} {}: content was altered: its hash does not match", ids[index]);
        assert!(ran.out.contains(&named) && ran.out.contains("ALTERED"), "{}", ran.out);
        let report = home.json("audit verify altered.jsonl", 1);
        assert_eq!(report["intact"], false);
        assert_eq!(report["findings"][0]["index"].as_u64(), Some(index as u64));
        assert_eq!(report["findings"][0]["token_id"].as_str(), Some(ids[index].as_str()));
        at += line.len() + 1;
    }
}

#[test]
fn every_flipped_bit_of_one_token_is_found() {
    let (home, log, exported) = with_export();
    let line = log.lines().nth(1).expect("a second token");
    let start = log.find(line).expect("there");
    let head = exported["head"].as_str().expect("head");
    // Every 23rd byte: each kind of member is hit.
    for place in (start..start + line.len()).step_by(23) {
        let mut altered = log.clone().into_bytes();
        altered[place] ^= 1;
        home.write("altered.jsonl", &altered);
        let ran = home.run(&format!("audit verify altered.jsonl --head {head}"));
        assert_eq!(ran.code, Some(1), "byte {place}: {:?}: {}", &log[place..place + 1], ran.out);
    }
}

#[test]
fn removed_swapped_and_foreign_tokens_are_found() {
    let (home, log, exported) = with_export();
    let lines: Vec<&str> = log.lines().collect();
    let refused = |lines: &[&str], what: &str| {
        home.write("altered.jsonl", lines.join("\n") + "\n");
        let head = exported["head"].as_str().expect("head");
        let report = home.json(&format!("audit verify altered.jsonl --head {head}"), 1);
        assert!(report["total_findings"].as_u64() > Some(0), "{what}: {report}");
    };
    for index in 0..lines.len() {
        refused(&[&lines[..index], &lines[index + 1..]].concat(), "one removed");
    }
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    refused(&swapped, "two swapped");
    refused(&[&lines[..], &lines[1..2]].concat(), "one twice");
    let (other, foreign, _) = with_export();
    drop(other);
    refused(&[&lines[..], &[foreign.lines().next().expect("a token")]].concat(), "one of another registry");
}

#[test]
fn what_was_cut_off_is_noticed_with_a_head_noted_before() {
    let (home, log, exported) = with_export();
    let head = exported["head"].as_str().expect("head");
    let lines: Vec<&str> = log.lines().collect();
    home.write("cut.jsonl", lines[..lines.len() - 1].join("\n") + "\n");
    assert_eq!(home.json("audit verify cut.jsonl", 0)["intact"], true, "by itself nobody can tell");
    let ran = home.run(&format!("audit verify cut.jsonl --head {head}"));
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(ran.out.contains("ALTERED"), "{}", ran.out);
    // A log that has grown since contains the head still.
    home.ok("verify jis:home:hub");
    assert_eq!(home.json(&format!("audit verify --head {head}"), 0)["intact"], true);
    home.ok("audit export -o grown.jsonl");
    assert_eq!(home.json(&format!("audit verify grown.jsonl --head {head}"), 0)["intact"], true);
}

#[test]
fn a_log_signed_by_another_key_is_refused() {
    let (home, log, _) = with_export();
    let (other, _, exported) = with_export();
    let key = exported["key"].as_str().expect("key");
    assert_eq!(home.json(&format!("audit verify log.jsonl --key {key}"), 1)["intact"], false);
    // The registry's own key is taken where there is a registry: a foreign log does not pass for its own.
    other.write("log.jsonl", &log);
    assert_eq!(other.run("audit verify log.jsonl").code, Some(1));
}

#[test]
fn what_is_no_log_is_not_intact() {
    let home = Home::with_hub();
    for (what, contents) in [
        ("text", &b"hello\n"[..]),
        ("binary", &[0xff, 0, 0x80]),
        ("an array", b"[]\n"),
        ("half a token", b"{\"token_id\": \"tibet_1"),
    ] {
        home.write("odd.jsonl", contents);
        let ran = home.run("audit verify odd.jsonl");
        assert!(matches!(ran.code, Some(1 | 78)), "{what}: {ran:?}");
    }
}

/// The registry's file without a write-ahead log beside it, as bytes.
fn registry_file(home: &Home) -> std::path::PathBuf {
    let directory = home.state().join("registry");
    assert!(!directory.join("registry.db-wal").exists(), "closed properly");
    directory.join("registry.db")
}

#[test]
fn an_edited_registry_is_found_out() {
    let home = Home::with_hub();
    home.ok("verify jis:home:hub");
    assert_eq!(home.run("audit verify").code, Some(0));
    let path = registry_file(&home);
    let good = fs::read(&path).expect("read");
    // The words of a token, the address in a record and its token, and bytes of the file's own structure.
    for needle in
        [&b"Overlay register"[..], b"203.0.113.1:44321", b"jis:home:hub", b"CREATE TABLE registry_identities"]
    {
        let places: Vec<usize> =
            (0..good.len() - needle.len()).filter(|&at| good[at..].starts_with(needle)).collect();
        assert!(!places.is_empty(), "{}", String::from_utf8_lossy(needle));
        for place in places {
            let mut edited = good.clone();
            edited[place + needle.len() - 1] ^= 1;
            fs::write(&path, &edited).expect("written");
            let ran = home.run("audit verify");
            assert!(
                matches!(ran.code, Some(1 | 78)),
                "{} at {place}: {ran:?}",
                String::from_utf8_lossy(needle)
            );
        }
    }
    fs::write(&path, &good).expect("written");
    assert_eq!(home.run("audit verify").code, Some(0), "the untouched one is fine again");
}

#[test]
fn an_older_registry_put_back_is_noticed_with_a_head() {
    let home = Home::with_hub();
    let path = registry_file(&home);
    let backup = fs::read(&path).expect("read");
    home.ok("id rotate");
    let head = home.json("audit verify", 0)["head"].as_str().expect("head").to_owned();
    fs::write(&path, backup).expect("written");
    assert_eq!(home.run(&format!("audit verify --head {head}")).code, Some(1));
    assert_eq!(home.run("verify jis:home:hub").code, Some(1), "and the device's new key does not pass");
}

#[test]
fn the_list_shows_the_newest_and_takes_filters() {
    let (home, log, _) = with_export();
    let listed = home.json("audit list --limit 2", 0);
    let listed: Vec<_> =
        listed["tokens"].as_array().expect("tokens").iter().map(|token| token["token_id"].as_str()).collect();
    let all = ids(&log);
    assert_eq!(listed, all[all.len() - 2..].iter().map(|id| Some(id.as_str())).collect::<Vec<_>>());
    let verified = home.json("audit list --action verify", 0);
    assert_eq!(verified["tokens"].as_array().map(Vec::len), Some(1));
    assert_eq!(home.json("audit list --since 2999-01-01T00:00:00Z", 0)["tokens"], serde_json::json!([]));
    assert_eq!(home.ok("audit list --action nothing-like-it"), "no such tokens\n");
    assert!(home.ok("audit list").lines().next().expect("a header").contains("ACTION"));
}

#[test]
fn an_export_to_a_place_that_cannot_be_written_fails() {
    let home = Home::with_hub();
    let ran = home.run("audit export -o no/such/directory/log.jsonl");
    assert_eq!(
        ran.refusal(),
        (Some(69), "error: no/such/directory/log.jsonl: No such file or directory (os error 2)\n")
    );
    let full = home.run(&format!("audit export -o {}", text(std::path::Path::new("/dev/full"))));
    assert_eq!(
        full.refusal(),
        (Some(69), "error: cannot write the export: No space left on device (os error 28)\n")
    );
}
