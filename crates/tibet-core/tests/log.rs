//! Tampering with a log, one kind after the other. `row_90` refers to the row of the threat table that demands it.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use std::convert::Infallible;
use std::fs;

use common::{other_key, secret_key, signed_log, signing_minter, time};
use sha2::{Digest, Sha256};
use tibet_core::json::Value;
use tibet_core::{
    Draft, FileStore, Fsync, Head, LogCheck, LogReport, MAX_FINDINGS, Minter, Parent, Problem, Token,
    TokenLines, verify_log, verify_store,
};

fn check(tokens: &[Token], check: &LogCheck<'_>) -> LogReport {
    let items = tokens.iter().enumerate().map(|(n, token)| Ok::<_, Infallible>((n as u64, token.clone())));
    verify_log(items, check)
}

/// Against the signer and the links, but without a head from elsewhere.
fn check_signed(tokens: &[Token]) -> LogReport {
    let signer = secret_key().public_key();
    check(tokens, &LogCheck { signer: Some(&signer), require_content_links: true, ..LogCheck::default() })
}

fn check_with_head(tokens: &[Token], head: &Head) -> LogReport {
    let signer = secret_key().public_key();
    check(tokens, &LogCheck { signer: Some(&signer), expected_head: Some(head), ..LogCheck::default() })
}

fn head_of(tokens: &[Token]) -> Head {
    let last = tokens.last().unwrap();
    Head {
        count: tokens.len() as u64,
        token_id: last.token_id.clone(),
        content_hash: last.content_hash.clone(),
    }
}

fn problems(report: &LogReport) -> Vec<(u64, Problem)> {
    assert_eq!(report.total_findings, report.findings.len() as u64);
    report.findings.iter().map(|finding| (finding.index, finding.problem.clone())).collect()
}

/// What an attacker without the key does after an edit.
fn rehash(token: &mut Token) {
    token.content_hash = jis::hex::encode(&Sha256::digest(token.hash_input()));
    assert!(token.verify_hash(None));
}

#[test]
fn an_untouched_log_is_ok() {
    let log = signed_log(30);
    let report = check_with_head(&log, &head_of(&log));
    assert!(report.ok(), "{:?}", report.findings);
    assert_eq!((report.tokens, report.head), (30, Some(head_of(&log))));
    assert!(check_signed(&log).ok());
    assert!(
        check_with_head(&log, &head_of(&log[..20])).ok(),
        "a log may have grown since its head was noted"
    );
}

#[test]
fn row_90_edited_token() {
    let mut log = signed_log(30);
    log[7].erachter.push('!');
    assert_eq!(problems(&check_signed(&log)), [(7, Problem::Altered)]);
}

#[test]
fn row_90_edited_token_with_recomputed_hash() {
    let mut log = signed_log(30);
    log[7].erachter.push('!');
    rehash(&mut log[7]);
    let parent_id = log[7].token_id.clone();
    assert_eq!(
        problems(&check_signed(&log)),
        [(7, Problem::BadSignature), (8, Problem::ParentChanged { parent_id })]
    );
}

#[test]
fn row_90_edited_token_signed_by_somebody_else() {
    let mut log = signed_log(3);
    let mut forger = Minter::new("jis:home:hub").signer(other_key());
    let draft = Draft::new("ping.intent").parent(Parent::of(&log[1]));
    log[2] = forger.mint(draft, time(2), [0; 4]);
    assert_eq!(problems(&check_signed(&log)), [(2, Problem::BadSignature)]);
}

#[test]
fn row_90_removed_token() {
    let mut log = signed_log(30);
    let parent_id = log.remove(7).token_id;
    assert_eq!(problems(&check_signed(&log)), [(7, Problem::MissingParent { parent_id })]);
}

#[test]
fn row_90_removed_first_token() {
    let mut log = signed_log(30);
    let parent_id = log.remove(0).token_id;
    assert_eq!(problems(&check_signed(&log)), [(0, Problem::MissingParent { parent_id })]);
}

#[test]
fn row_90_swapped_tokens() {
    let mut log = signed_log(30);
    log.swap(7, 8);
    let parent_id = log[8].token_id.clone();
    assert_eq!(problems(&check_signed(&log)), [(7, Problem::Reordered { parent_id })]);
}

#[test]
fn row_90_last_ten_removed() {
    let log = signed_log(30);
    let report = check_with_head(&log[..20], &head_of(&log));
    assert_eq!(problems(&report), [(20, Problem::Truncated { expected: 30, found: 20 })]);
    assert_eq!(report.findings[0].token_id, log[29].token_id);
}

#[test]
fn row_90_last_ten_replaced() {
    let log = signed_log(30);
    let mut forked = log[..20].to_vec();
    let mut minter = signing_minter();
    minter.restore_head(Some(head_of(&forked)));
    forked.extend((0..10u32).map(|n| minter.mint(Draft::new("other"), time(900), n.to_be_bytes())));
    let expected = log[29].token_id.clone();
    assert_eq!(
        problems(&check_with_head(&forked, &head_of(&log))),
        [(29, Problem::HeadMismatch { expected })]
    );
}

#[test]
fn row_90_older_backup_restored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.jsonl");
    let log = signed_log(30);
    let write = |tokens: &[Token]| {
        let text: String = tokens.iter().map(|token| token.to_json_line() + "\n").collect();
        fs::write(&path, text).unwrap();
    };
    write(&log);
    let (store, _) = FileStore::open(&path, Fsync::Never).unwrap();
    let known = verify_store(&store, &LogCheck::default()).unwrap().head.unwrap();
    drop(store);

    write(&log[..25]);
    let (store, _) = FileStore::open(&path, Fsync::Never).unwrap();
    let expecting = LogCheck { expected_head: Some(&known), ..LogCheck::default() };
    let report = verify_store(&store, &expecting).unwrap();
    assert_eq!(problems(&report), [(25, Problem::Truncated { expected: 30, found: 25 })]);
}

/// Every bit of every byte: the file is refused, repaired with notice, or found out. Signatures are asked only where nothing
/// cheaper noticed, which is within the signatures themselves, and there for one bit per byte: they are slow.
#[test]
fn row_90_one_bit_flipped_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.jsonl");
    let text: String = signed_log(2).iter().map(|token| token.to_json_line() + "\n").collect();
    let signer = secret_key().public_key();
    let plain = LogCheck::default();
    let signed = LogCheck { signer: Some(&signer), ..plain };
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            fs::write(&path, &bytes).unwrap();
            let lines_ok = |check| verify_log(TokenLines::open(&path).unwrap(), check).ok();
            let noticed = !lines_ok(&plain) || bit != at % 8 || !lines_ok(&signed);
            assert!(noticed, "byte {at}, bit {bit}: not noticed line by line");
            // Whatever the store takes in silently, the line reader has read too.
            if let Ok((store, None)) = FileStore::open(&path, Fsync::Never) {
                assert_eq!(verify_store(&store, &plain).unwrap().ok(), lines_ok(&plain));
            }
        }
    }
}

#[test]
fn an_unsigned_token_among_signed_ones_is_named() {
    let mut log = signed_log(3);
    log[1].signature.clear();
    assert_eq!(problems(&check_signed(&log)), [(1, Problem::Unsigned)]);
    assert!(check(&log, &LogCheck::default()).ok(), "without a signer nobody asks");
}

#[test]
fn a_signature_in_upper_case_is_another_spelling_and_refused() {
    let mut log = signed_log(1);
    log[0].signature.make_ascii_uppercase();
    assert_eq!(problems(&check_signed(&log)), [(0, Problem::BadSignature)]);
}

#[test]
fn a_missing_content_link_is_found_where_demanded() {
    let mut minter = signing_minter().linking(tibet_core::Linking::IdOnly);
    let log: Vec<Token> = (0..2u32).map(|n| minter.mint(Draft::new("x"), time(n.into()), [0; 4])).collect();
    assert_eq!(problems(&check_signed(&log)), [(1, Problem::MissingLink)]);
    assert!(check(&log, &LogCheck::default()).ok());
}

#[test]
fn a_repeated_token_is_named_with_its_first_place() {
    let mut log = signed_log(3);
    log.push(log[1].clone());
    assert_eq!(problems(&check_signed(&log)), [(3, Problem::DuplicateId { first: 1 })]);
}

#[test]
fn a_gap_in_the_numbering_is_named() {
    let log = signed_log(2);
    let items = [(0, 0), (2, 1)].map(|(index, n)| Ok::<_, Infallible>((index, log[n].clone())));
    assert_eq!(problems(&verify_log(items, &LogCheck::default())), [(2, Problem::Gap { expected: 1 })]);
}

#[test]
fn an_unreadable_item_takes_its_index_and_orphans_its_child() {
    let log = signed_log(3);
    let items = [Ok((0, log[0].clone())), Err("torn page"), Ok((2, log[2].clone()))];
    assert_eq!(
        problems(&verify_log(items, &LogCheck::default())),
        [
            (1, Problem::Unreadable { reason: "torn page".into() }),
            (2, Problem::MissingParent { parent_id: log[1].token_id.clone() }),
        ]
    );
}

#[test]
fn a_parent_far_back_is_checked_too() {
    let mut log = signed_log(30);
    let mut minter = signing_minter();
    let child = minter.mint(Draft::new("branch").parent(Parent::of(&log[3])), time(99), [9; 4]);
    log.push(child);
    assert!(check_signed(&log).ok());
    log[3].erachter.push('!');
    rehash(&mut log[3]);
    let report = check_signed(&log);
    let found: Vec<u64> = report.findings.iter().map(|finding| finding.index).collect();
    assert_eq!(found, [3, 4, 30]);
}

#[test]
fn findings_are_bounded_and_all_counted() {
    let mut log = signed_log(300);
    for token in &mut log {
        token.parent_id = Some(format!("{}-gone", token.token_id.repeat(50)));
    }
    let report = check_signed(&log);
    assert_eq!(report.findings.len(), MAX_FINDINGS);
    assert_eq!(report.total_findings, 600, "300 altered, 300 without a parent");
    for finding in &report.findings {
        if let Problem::MissingParent { parent_id } = &finding.problem {
            assert_eq!(parent_id.len(), 200);
        }
    }
}

#[test]
fn a_report_reads_as_a_sentence() {
    let mut log = signed_log(2);
    log[1].erin = Value::Null;
    let report = check_signed(&log);
    assert_eq!(
        report.findings[0].to_string(),
        "index 1 (tibet_20260102030405000001_00000001): content was altered: its hash does not match"
    );
}
