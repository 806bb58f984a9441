//! The worked example of `docs/spec/token.md`, read from the page.

#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::time;
use jis::SecretKey;
use tibet_core::{Draft, Minter, Token, object};

/// The fenced blocks of the page by the word after the fence, without white space at their ends.
fn blocks() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/token.md");
    let page = fs::read_to_string(path).unwrap();
    let fenced = page.split("```").skip(1).step_by(2);
    let named = fenced.map(|block| block.split_once('\n').unwrap());
    named.map(|(name, text)| (name.to_owned(), text.trim().to_owned())).collect()
}

fn minted() -> (Token, Token, SecretKey) {
    let seed: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap());
    let key = SecretKey::from_seed(seed.into()).unwrap();
    let signer = Arc::new(SecretKey::from_seed(key.to_seed()).unwrap());
    let mut minter = Minter::new("jis:home:hub").signer(signer);
    let root = minter.mint(Draft::new("start"), time(1), [0, 0, 0, 1]);
    let draft = Draft::new("ping.intent")
        .actor("jis:home:sensor")
        .erin(object! { "intent" => "temperature.read", "payload" => object! { "celsius" => 21.5 } })
        .eraan(["jis:home:sensor", "jis:home:hub"])
        .eromheen(object! { "routing_mode" => "direct", "hop_count" => 1 })
        .erachter("Küche");
    let child = minter.mint(draft, time(2), [0, 0, 0, 2]);
    (root, child, key)
}

#[test]
fn the_worked_example_holds() {
    let (root, child, key) = minted();
    let blocks = blocks();
    let hex = |name: &str| blocks[name].split_whitespace().collect::<String>();
    assert_eq!(blocks["root-line"], root.to_json_line());
    assert_eq!(blocks["child-line"], child.to_json_line());
    assert_eq!(blocks["child-hash-input"], child.hash_input());
    assert_eq!(hex("child-content-hash"), child.content_hash);
    let message = child.signature_message(&key.public_key()).unwrap();
    assert_eq!(hex("child-signed-message"), jis::hex::encode(&message));
    assert_eq!(hex("child-signature"), child.signature);

    let read = Token::from_json_line(&blocks["child-line"]).unwrap();
    assert!(read.verify_hash(None));
    assert_eq!(read.verify_signature(&key.public_key()), Ok(()));
    assert_eq!(read.content_link(), Some(root.content_hash.as_str()));
}
