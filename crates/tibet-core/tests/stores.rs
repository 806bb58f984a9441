//! What every store does, asked of all three; and what only one of them has.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use common::{signed_log, time};
use tibet_core::json::Value;
use tibet_core::{
    Draft, FileStore, Fsync, Head, MemoryStore, Minter, Query, SqliteStore, StoreError, Token, TokenError,
    TokenStore, sqlite,
};

/// Six tokens: two actions, two actors, one of them with a timestamp as Python writes it and one with none at all.
fn mixed_log() -> Vec<Token> {
    let mut minter = Minter::new("jis:a");
    let mut log: Vec<Token> = (0..6u32)
        .map(|n| {
            let actor = if n < 3 { "jis:a" } else { "jis:b" };
            let action = if n % 2 == 0 { "even" } else { "odd" };
            minter.mint(Draft::new(action).actor(actor), time(n.into()), n.to_be_bytes())
        })
        .collect();
    log[3].timestamp = "2026-01-02T03:04:05.000003".into();
    log[4].timestamp = "zzz no time at all".into();
    log
}

fn conforms(mut store: impl TokenStore) {
    let log = mixed_log();
    assert!(store.is_empty().unwrap());
    assert_eq!(store.head().unwrap(), None);
    assert_eq!(store.at(0).unwrap(), None);
    for (n, token) in log.iter().enumerate() {
        assert_eq!(store.append(token).unwrap(), n as u64);
    }
    assert_eq!(store.append(&log[2]), Err(StoreError::DuplicateId(log[2].token_id.clone())));
    assert_eq!(store.len().unwrap(), 6, "a refused token leaves no trace");

    assert_eq!(store.at(2).unwrap().as_ref(), Some(&log[2]));
    assert_eq!(store.at(6).unwrap(), None);
    assert_eq!(store.at(u64::MAX).unwrap(), None);
    assert_eq!(store.get(&log[5].token_id).unwrap().as_ref(), Some(&log[5]));
    assert_eq!(store.get("unknown").unwrap(), None);
    let last = &log[5];
    let head = Head { count: 6, token_id: last.token_id.clone(), content_hash: last.content_hash.clone() };
    assert_eq!(store.head().unwrap(), Some(head));

    let mut seen = Vec::new();
    store.for_each(4, &mut |index, token| seen.push((index, token))).unwrap();
    assert_eq!(seen, [(4, log[4].clone()), (5, log[5].clone())]);
    store.for_each(u64::MAX, &mut |_, _| panic!("nothing there")).unwrap();

    finds(&store, &log);
    refuses_what_it_could_not_read_back(&mut store);
    let after = store.append(&signed_log(40)[39]).unwrap();
    assert_eq!(after, 6, "numbering goes on without a gap");
}

fn finds(store: &impl TokenStore, log: &[Token]) {
    let found = |query: Query| -> Vec<usize> {
        let tokens = store.find(&query).unwrap();
        tokens.iter().map(|token| log.iter().position(|other| other == token).unwrap()).collect()
    };
    let all = Query::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(all()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(found(Query { limit: 2, ..all() }), [4, 5], "the last ones, oldest first");
    assert_eq!(found(Query { limit: 0, ..all() }), [0; 0]);
    assert_eq!(found(Query { action: text("odd"), ..all() }), [1, 3, 5]);
    assert_eq!(found(Query { action: text("od"), ..all() }), [0; 0], "exactly, not as a prefix");
    assert_eq!(found(Query { actor: text("jis:b"), action: text("even"), ..all() }), [4]);
    assert_eq!(found(Query { actor: text(""), ..all() }), [0, 1, 2, 3, 4, 5], "empty is no filter");
    // Token 4 has no time; its text is after any of these.
    let since = |since: &str| found(Query { since: text(since), ..all() });
    assert_eq!(since("2026-01-02T03:04:05.000003+00:00"), [3, 4, 5]);
    assert_eq!(since("2026-01-02T03:04:05.000003"), [3, 4, 5]);
    assert_eq!(since("2026-01-02T04:04:05.000003+01:00"), [3, 4, 5], "an instant, not a text");
    assert_eq!(since("2026-01-02T04:04:05.000003"), [4]);
    assert_eq!(since("zzz"), [4], "text against text where there is no instant");
}

fn refuses_what_it_could_not_read_back(store: &mut impl TokenStore) {
    let mut minter = Minter::new("jis:a");
    let mut refused = |erin: Value| {
        let token = minter.mint(Draft::new("x").erin(erin), time(100), [1; 4]);
        let result = store.append(&token);
        let Err(StoreError::Refused(error)) = result else { panic!("{result:?}") };
        error
    };
    assert_eq!(refused(f64::NAN.into()), TokenError::Unreadable("erin"));
    assert_eq!(refused(vec![f64::INFINITY].into()), TokenError::Unreadable("erin"));
    assert_eq!(refused("x".repeat(1 << 20).into()), TokenError::TooLong);
    let deep = (0..64).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    assert_eq!(refused(deep), TokenError::Unreadable("erin"));
    assert_eq!(store.len().unwrap(), 6);
}

#[test]
fn memory_store_conforms() {
    conforms(MemoryStore::new());
}

#[test]
fn file_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = FileStore::open(directory.path().join("t.jsonl"), Fsync::Never).unwrap();
    conforms(store);
}

#[test]
fn sqlite_store_conforms() {
    conforms(SqliteStore::in_memory().unwrap());
    let directory = tempfile::tempdir().unwrap();
    conforms(SqliteStore::open(directory.path().join("t.db")).unwrap());
}

#[test]
fn a_rolled_back_transaction_leaves_no_token_and_no_gap() {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    sqlite::create_tables(&connection).unwrap();
    let log = signed_log(3);
    sqlite::append(&connection, &log[0]).unwrap();
    let transaction = connection.transaction().unwrap();
    assert_eq!(sqlite::append(&transaction, &log[1]).unwrap(), 1);
    transaction.rollback().unwrap();
    assert_eq!(sqlite::len(&connection).unwrap(), 1);
    assert_eq!(sqlite::append(&connection, &log[2]).unwrap(), 1);
}

#[test]
fn a_transaction_goes_on_after_a_repeated_id() {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    sqlite::create_tables(&connection).unwrap();
    let log = signed_log(2);
    let transaction = connection.transaction().unwrap();
    sqlite::append(&transaction, &log[0]).unwrap();
    assert!(matches!(sqlite::append(&transaction, &log[0]), Err(StoreError::DuplicateId(_))));
    assert_eq!(sqlite::append(&transaction, &log[1]).unwrap(), 1);
    transaction.commit().unwrap();
    assert_eq!(sqlite::len(&connection).unwrap(), 2);
}

#[test]
fn a_row_that_was_tampered_with_is_named() {
    let mut store = SqliteStore::in_memory().unwrap();
    for token in signed_log(3) {
        store.append(&token).unwrap();
    }
    let edit = |sql: &str| store.connection().execute(sql, []).unwrap();
    let visited = || {
        let mut count = 0;
        let result = store.for_each(0, &mut |_, _| count += 1);
        (count, result)
    };
    edit("UPDATE tibet_tokens SET token_id = 'other' WHERE idx = 1");
    assert!(matches!(visited(), (1, Err(StoreError::Row { index: 1, .. }))));
    assert!(matches!(store.get("other"), Err(StoreError::Row { index: 1, .. })));
    edit("UPDATE tibet_tokens SET line = '{' WHERE idx = 0");
    assert!(matches!(visited(), (0, Err(StoreError::Row { index: 0, .. }))));
    edit("UPDATE tibet_tokens SET line = x'ff' WHERE idx = 0");
    assert!(matches!(visited(), (0, Err(StoreError::Row { index: 0, .. }))));
}
