//! Tokens: reading, writing, and what a signature holds together.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use common::{other_key, secret_key, signed_log, signing_minter, time};
use proptest::prelude::*;
use tibet_core::json::{Object, Value};
use tibet_core::{Draft, HmacKey, Parent, SignatureError, State, Token, TokenError, UnknownState, object};

fn read_with(from: &str, to: &str) -> Result<Token, TokenError> {
    let line = signed_log(1)[0].to_json_line();
    assert!(line.contains(from), "{from}");
    Token::from_json(&line.replacen(from, to, 1))
}

#[test]
fn what_is_no_token_is_refused_by_name() {
    let malformed = |member, expected| Err(TokenError::Malformed { member, expected });
    assert_eq!(read_with("\"erin\"", "\"erin2\""), Err(TokenError::UnknownMember("erin2".into())));
    for member in ["token_id", "action", "timestamp", "actor", "content_hash"] {
        let line = signed_log(1)[0].to_object();
        let rest: Object = line.into_iter().filter(|(name, _)| name != member).collect();
        let text = tibet_core::json::write_pretty(&rest.into());
        assert_eq!(Token::from_json(&text), Err(TokenError::MissingMember(member)));
    }
    assert_eq!(read_with("\"created\"", "\"done\""), Err(UnknownState("done".into()).into()));
    assert_eq!(read_with("\"ping.intent\"", "7"), malformed("action", "a string"));
    assert_eq!(
        read_with("\"parent_id\": null", "\"parent_id\": 7"),
        malformed("parent_id", "a string or null")
    );
    assert_eq!(read_with("[\"jis:home:sensor\"]", "[7]"), malformed("eraan", "a list of strings"));
    assert_eq!(read_with("{\"hop_count\": 1}", "[]"), malformed("eromheen", "an object"));
    assert!(matches!(read_with("{", "[{"), Err(TokenError::Json(_))));
    assert_eq!(Token::from_json("[]"), Err(TokenError::NotAnObject));
    assert_eq!(Token::from_json(&" ".repeat((1 << 20) + 1)), Err(TokenError::TooLong));
    let hash = signed_log(1)[0].content_hash.clone();
    for other in ["", "00", &hash.to_uppercase(), &format!("{hash}00")] {
        assert_eq!(read_with(&hash, other), malformed("content_hash", "64 lower-case hex digits"));
    }
    let twice = read_with("\"action\": ", "\"actor\": \"x\", \"action\": ");
    assert!(matches!(twice, Err(TokenError::Json(_))), "a member that comes twice");
}

#[test]
fn optional_members_have_defaults() {
    let token = Token::from_json(&format!(
        r#"{{"token_id": "a", "action": "b", "timestamp": "c", "actor": "d", "content_hash": "{}"}}"#,
        "0".repeat(64)
    ))
    .unwrap();
    assert_eq!((token.erin, token.eraan.len(), token.eromheen.len()), (Value::Null, 0, 0));
    assert_eq!((token.erachter, token.parent_id, token.state), (String::new(), None, State::Created));
    assert_eq!(token.signature, "");
}

#[test]
fn a_line_has_one_spelling() {
    let line = signed_log(1)[0].to_json_line();
    assert!(Token::from_json_line(&line).is_ok());
    for other in [line.replace(", ", ","), line.replace("\\u00fc", "ü"), line.replace("21.5", "2.15e1")] {
        assert_ne!(other, line);
        assert!(Token::from_json(&other).unwrap().verify_hash(None), "the same token");
        assert_eq!(Token::from_json_line(&other), Err(TokenError::Spelling));
    }
}

#[test]
fn minting_links_signs_and_moves_the_head() {
    let mut minter = signing_minter();
    assert_eq!(minter.head(), None);
    let root = minter.mint(Draft::new("a"), time(1), [0, 0, 0, 1]);
    assert_eq!(root.token_id, "tibet_20260102030405000001_00000001");
    assert_eq!(root.timestamp, "2026-01-02T03:04:05.000001+00:00");
    assert_eq!((root.parent(), root.content_link()), (None, None));
    let before = minter.head().cloned();
    let child = minter.mint(Draft::new("b").eraan(["jis:x"]).actor(""), time(2), [0; 4]);
    assert_eq!(child.eraan, ["jis:x".to_owned(), format!("sha256:{}", root.content_hash)]);
    assert_eq!(child.parent(), Some(root.token_id.as_str()));
    assert_eq!(child.actor, "jis:home:hub");
    assert_eq!(minter.head().unwrap().count, 2);

    minter.restore_head(before);
    let instead = minter.mint(Draft::new("c"), time(3), [0; 4]);
    assert_eq!(instead.parent(), Some(root.token_id.as_str()));
    let elsewhere = minter.mint(Draft::new("d").parent(Parent::Root), time(4), [0; 4]);
    assert_eq!((elsewhere.parent(), elsewhere.eraan.len()), (None, 0));
    let by_id = Parent::Of { token_id: "tibet_x".into(), content_hash: String::new() };
    let by_id = minter.mint(Draft::new("e").parent(by_id), time(5), [0; 4]);
    assert_eq!((by_id.parent(), by_id.content_link()), (Some("tibet_x"), None));
}

#[test]
fn a_signature_is_of_one_key_and_one_hash() {
    let token = &signed_log(1)[0];
    assert_eq!(token.verify_signature(&secret_key().public_key()), Ok(()));
    assert_eq!(token.verify_signature(&other_key().public_key()), Err(SignatureError::Bad));
    let mut unsigned = token.clone();
    unsigned.signature.clear();
    assert_eq!(unsigned.verify_signature(&secret_key().public_key()), Err(SignatureError::Missing));
    unsigned.signature = "by hand".into();
    assert_eq!(unsigned.verify_signature(&secret_key().public_key()), Err(SignatureError::Bad));
    let mut no_hash = token.clone();
    no_hash.content_hash = "none".into();
    assert_eq!(no_hash.verify_signature(&secret_key().public_key()), Err(SignatureError::Bad));
}

#[test]
fn a_keyed_token_verifies_with_its_key_only() {
    let key = HmacKey::new(*b"shared").unwrap();
    let token = signing_minter().hmac(key.clone()).mint(Draft::new("x"), time(0), [0; 4]);
    assert!(token.verify_hash(Some(&key)));
    assert!(!token.verify_hash(None));
    assert!(!token.verify_hash(Some(&HmacKey::new(*b"share").unwrap())));
}

/// Every way to change one field. The last two are the seals themselves.
const MUTATIONS: [fn(&mut Token, &str); 12] = [
    |token, text| token.token_id.push_str(text),
    |token, text| token.action.insert_str(0, text),
    |token, text| token.timestamp.push_str(text),
    |token, text| token.actor.push_str(text),
    |token, text| token.erin = Value::from(text),
    |token, text| token.eraan.push(text.to_owned()),
    |token, text| token.eromheen.insert(text, true),
    |token, text| token.erachter.push_str(text),
    |token, text| token.parent_id = Some(text.to_owned()),
    |token, _| token.state = State::Resolved,
    |token, text| token.content_hash.push_str(text),
    |token, text| token.signature.push_str(text),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn reading_any_text_never_panics(text in ".{0,200}") {
        let _ = Token::from_json(&text);
    }

    #[test]
    fn a_line_is_read_back(
        action in any::<String>(), actor in any::<String>(), erin in any::<String>(), number in any::<i64>(),
        eraan in prop::collection::vec(any::<String>(), 0..4), erachter in any::<String>(), micros in 0..1u64 << 40,
        random in any::<[u8; 4]>(),
    ) {
        let draft = Draft::new(action).actor(actor).erin(erin.as_str()).eraan(eraan)
            .eromheen(object! { erin => number }).erachter(erachter);
        let token = signing_minter().mint(draft, time(micros), random);
        let line = token.to_json_line();
        prop_assert_eq!(&Token::from_json_line(&line).unwrap(), &token);
        prop_assert!(token.verify_hash(None));
        prop_assert!(token.check().is_ok());
    }

    #[test]
    fn any_changed_field_is_detected(which in 0..MUTATIONS.len(), text in "[ -~é]{1,8}") {
        let original = signed_log(1).remove(0);
        let mut token = original.clone();
        MUTATIONS[which](&mut token, &text);
        prop_assert_ne!(&token, &original);
        let intact = token.verify_hash(None) && token.verify_signature(&secret_key().public_key()).is_ok();
        prop_assert!(!intact);
    }
}
