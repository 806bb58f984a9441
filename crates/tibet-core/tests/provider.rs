//! The provider: chaining, failing, exporting.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use std::sync::{Arc, Mutex};

use common::{secret_key, signing_minter, time};
use tibet_core::json::parse;
use tibet_core::{
    Draft, ExportFormat, HmacKey, LogCheck, MemoryStore, NetworkBridge, Parent, PingFacts, Provider,
    StoreError, Token, UnknownFormat, verify_store,
};

fn provider() -> Provider<MemoryStore> {
    Provider::new(signing_minter(), MemoryStore::new()).unwrap()
}

#[test]
fn a_token_that_was_not_kept_leaves_no_trace() {
    let mut provider = provider();
    let first = provider.create(Draft::new("a"), time(1), [1; 4]).unwrap();
    let again = provider.create(Draft::new("b"), time(1), [1; 4]);
    assert_eq!(again, Err(StoreError::DuplicateId(first.token_id.clone())));
    let next = provider.create(Draft::new("c"), time(2), [1; 4]).unwrap();
    assert_eq!(next.parent(), Some(first.token_id.as_str()));
    assert_eq!(provider.minter().head().unwrap().count, 2);
    let signer = secret_key().public_key();
    let check = LogCheck { signer: Some(&signer), require_content_links: true, ..LogCheck::default() };
    assert!(verify_store(provider.store(), &check).unwrap().ok());
}

#[test]
fn a_reopened_log_is_continued() {
    let mut before = provider();
    let last = before.create(Draft::new("a"), time(1), [1; 4]).unwrap();
    let mut after = Provider::new(signing_minter(), before.into_store()).unwrap();
    let next = after.create(Draft::new("b"), time(2), [1; 4]).unwrap();
    assert_eq!((next.parent(), next.content_link()), (Some(&*last.token_id), Some(&*last.content_hash)));
    assert_eq!(after.minter().head().unwrap().count, 2);
}

#[test]
fn without_auto_chain_only_named_parents_count() {
    let mut provider = provider().without_auto_chain();
    let root = provider.create(Draft::new("a"), time(1), [1; 4]).unwrap();
    let other = provider.create(Draft::new("b"), time(2), [1; 4]).unwrap();
    assert_eq!(other.parent(), None);
    let child = provider.create(Draft::new("c").parent(Parent::of(&root)), time(3), [1; 4]).unwrap();
    assert_eq!(child.parent(), Some(root.token_id.as_str()));
}

#[test]
fn the_callback_sees_what_was_kept_and_nothing_else() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&seen);
    let mut provider =
        provider().on_create(move |token: &Token| log.lock().unwrap().push(token.action.clone()));
    provider.create(Draft::new("a"), time(1), [1; 4]).unwrap();
    provider.create(Draft::new("b"), time(1), [1; 4]).unwrap_err();
    assert_eq!(*seen.lock().unwrap(), ["a"]);
}

#[test]
fn verify_all_uses_the_providers_key() {
    let key = HmacKey::new(*b"shared").unwrap();
    let mut keyed = Provider::new(signing_minter().hmac(key), MemoryStore::new()).unwrap();
    let token = keyed.create(Draft::new("a"), time(1), [1; 4]).unwrap();
    assert_eq!(keyed.verify_all().unwrap(), [(token.token_id.clone(), true)]);
    let unkeyed = Provider::new(signing_minter(), keyed.into_store()).unwrap();
    assert_eq!(unkeyed.verify_all().unwrap(), [(token.token_id, false)]);
}

#[test]
fn exports_are_read_back() {
    let mut provider = provider();
    let tokens = [1, 2].map(|n| provider.create(Draft::new("a"), time(n), [1; 4]).unwrap());
    let lines = provider.export("jsonl".parse().unwrap()).unwrap();
    assert_eq!(lines, tokens.each_ref().map(Token::to_json_line).join("\n"));
    let json = provider.export(ExportFormat::Json).unwrap();
    assert!(json.starts_with("[\n  {\n    \"token_id\": \"tibet_"));
    let objects = provider.export_objects().unwrap();
    assert_eq!(parse(&json).unwrap(), objects.into());
    assert_eq!("xml".parse::<ExportFormat>(), Err(UnknownFormat("xml".into())));
}

#[test]
fn the_provider_forks_after_a_ping_and_follows_other_records() {
    let mut provider = provider();
    let own = provider.create(Draft::new("own"), time(1), [1; 4]).unwrap();
    let mut bridge = NetworkBridge::new(provider);
    let ping = bridge.record_ping(&PingFacts::default(), None, time(2), [1; 4]).unwrap();
    let second = bridge.provider_mut().create(Draft::new("own"), time(3), [1; 4]).unwrap();
    let beat = bridge.record_heartbeat("jis:a", None, None, time(4), [1; 4]).unwrap();
    let third = bridge.provider_mut().create(Draft::new("own"), time(5), [1; 4]).unwrap();
    let parents = [&ping, &second, &beat, &third].map(|token| token.parent().unwrap().to_owned());
    let ids = [&own, &own, &ping, &beat].map(|token| token.token_id.clone());
    assert_eq!(parents, ids);
    let check = LogCheck { require_content_links: true, ..LogCheck::default() };
    assert!(verify_store(bridge.provider().store(), &check).unwrap().ok());
}
