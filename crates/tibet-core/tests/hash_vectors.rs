//! Token texts and hashes, byte for byte those of the Python package.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use common::{list, member, text, vector_file};
use tibet_core::json::{Order, Separators, write};
use tibet_core::{HmacKey, Token};

#[test]
fn every_token_hashes_and_is_written_as_python_does() {
    let file = vector_file("token_hash.json");
    let cases = list(&file, "cases");
    assert_eq!(cases.len(), 15);
    let mut keyed = 0;
    for case in cases {
        let name = text(case, "name");
        let line = text(case, "jsonl_line");
        let token = Token::from_json_line(line).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(token.hash_input(), text(case, "hash_input"), "{name}");
        assert_eq!(token.content_hash, text(case, "content_hash"), "{name}");
        assert!(token.verify_hash(None), "{name}");
        assert_eq!(token.to_json_line(), line, "{name}");

        // The member form of the vector is the same token, and so is its compact spelling.
        let compact = write(member(case, "token"), Separators::Compact, Order::Inserted);
        assert_eq!(Token::from_json(&compact).unwrap(), token, "{name}");
        assert!(Token::from_json_line(&compact).is_err(), "{name}");

        for hmac in list(case, "hmac") {
            let key = HmacKey::new(jis::hex::decode(text(hmac, "key_hex")).unwrap()).unwrap();
            let mut with_key = token.clone();
            with_key.content_hash = text(hmac, "content_hash").to_owned();
            assert!(with_key.verify_hash(Some(&key)), "{name}");
            assert!(!with_key.verify_hash(None), "{name}");
            assert!(!token.verify_hash(Some(&key)), "{name}");
            keyed += 1;
        }
    }
    assert_eq!(keyed, 17);
}
