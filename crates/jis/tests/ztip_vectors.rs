//! The ecosystem's conformance vectors, `testdata/vectors/ztip/`, through our own types.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use common::{identity, key, revoke};
use jis::challenge_v1::TextChallenge;
use jis::{
    Endpoint, Identity, Inception, Name, NextKeyCommitment, PublicKey, Record, RevocationAuthority,
    RevocationScope, Signature, UnixTime,
};
use serde_json::Value;

fn vectors(file: &str, version: u64) -> Value {
    let path = format!("{}/../../testdata/vectors/ztip/{file}", env!("CARGO_MANIFEST_DIR"));
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).expect(file)).expect("JSON");
    assert_eq!(vectors["version"], version);
    vectors
}

fn cases(vectors: &Value, names: &[&str]) -> Vec<Value> {
    let cases = vectors["cases"].as_array().expect("cases").clone();
    let found: Vec<_> = cases.iter().map(|case| text(case, "name")).collect();
    assert_eq!(found, names);
    cases
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} in {case}"))
}

fn public_key(base64: &str) -> PublicKey {
    let bytes: [u8; 32] = Base64::decode_vec(base64).expect("base64").try_into().expect("32 bytes");
    PublicKey::from_bytes(&bytes).expect("key")
}

#[test]
fn challenge_v7() {
    let vectors = vectors("challenge_v7.json", 7);
    let now = UnixTime::from_secs(vectors["verify_at"].as_u64().expect("verify_at"));
    let mut accepted = 0;
    for case in cases(&vectors, &["valid-fresh", "bad-signature", "stale-challenge", "replayed"]) {
        let asked = &case["challenge"];
        let number = |field: &str| asked[field].as_u64().expect("number");
        let challenge =
            TextChallenge::new(text(asked, "agent_id"), text(asked, "nonce"), number("issued_at"))
                .expect("form");
        let expected = format!(
            "jis-challenge:v1:{}:{}:{}",
            text(asked, "agent_id"),
            text(asked, "nonce"),
            number("issued_at")
        );
        assert_eq!(challenge.text(), expected);
        let signature = Base64::decode_vec(text(&case, "signature")).expect("base64");
        let signature = Signature::from_bytes(signature.try_into().expect("64 bytes"));
        let ttl = Duration::from_secs(number("ttl_seconds"));
        let verdict = challenge.verify(&public_key(text(&case, "pubkey")), &signature, ttl, now);
        assert_eq!(verdict.is_ok(), case["expect_accept"].as_bool().expect("verdict"), "{case}");
        accepted += usize::from(verdict.is_ok());
    }
    assert_eq!(accepted, 1);
}

/// The fixture gives keys without secrets, so the identities are states as a registry stores them; the revoked one is a state that
/// [`revoked_by_an_event`] reaches with keys of our own.
#[test]
fn resolve_v4() {
    let vectors = vectors("resolve_v4.json", 4);
    let fixture = vectors["resolve_fixture"].as_object().expect("fixture");
    assert_eq!(fixture.len(), 3);
    let registry: BTreeMap<Name, Identity> = fixture
        .iter()
        .map(|(aint, entry)| {
            let name = Name::from_input(aint).expect(aint);
            let template = identity(name.as_str(), 0, 1);
            let status = match text(entry, "status") {
                "active" => template.status,
                "revoked" => revoked_by_an_event(&template).status,
                other => panic!("status {other}"),
            };
            (name, Identity { key: public_key(text(entry, "public_key")), status, ..template })
        })
        .collect();
    let mut bound = 0;
    for case in cases(&vectors, &["key-match-active", "key-mismatch", "revoked", "unresolvable"]) {
        let name = Name::from_input(text(&case["offer"], "claimed_aint")).expect("name");
        let offered = public_key(text(&case["offer"], "sender_pubkey"));
        let verdict = registry.get(&name).is_some_and(|identity| identity.is_actor(&name, &offered));
        assert_eq!(verdict, case["expect_bound"].as_bool().expect("verdict"), "{case}");
        bound += usize::from(verdict);
    }
    assert_eq!(bound, 1);
}

fn revoked_by_an_event(identity: &Identity) -> Identity {
    let event = revoke(identity, RevocationScope::Key, RevocationAuthority::CurrentKey, 0);
    identity.apply(&event, &[]).expect("revoked")
}

/// The placeholder keys are exchanged for real ones; before and after are records of real identities at the vectors' endpoints.
#[test]
fn overlay_route_v4() {
    let vectors = vectors("overlay_route_v4.json", 4);
    let keys = BTreeMap::from([("pub-sensor-01", 0), ("pub-sensor-02", 2)]);
    let mut same = 0;
    for case in
        cases(&vectors, &["same-actor-new-endpoint", "same-ip-different-key", "same-actor-same-endpoint"])
    {
        let record = |side: &str| -> (Identity, Record) {
            let who = &case[side];
            let n = keys[text(who, "public_key")];
            let inception = Inception {
                name: text(who, "actor_id").parse().expect("name"),
                key: key(n).public_key(),
                next: NextKeyCommitment::to(&key(n + 1).public_key()),
                created_at: common::NOW,
            };
            let signed = jis::Signed::seal(inception, &key(n)).expect("sealed");
            let identity = Identity::incept(&signed).expect("identity");
            let endpoint: Endpoint = text(who, "endpoint").parse().expect("endpoint");
            let record = Record { endpoints: vec![endpoint], ..common::record(&identity) };
            let signed = jis::Signed::seal(record, &key(n)).expect("sealed");
            let record = signed.verify(&identity.key).expect("own key").clone();
            (identity, record)
        };
        let (before, _) = record("before");
        let (_, after) = record("after");
        let verdict = before.is_actor(&after.name, &after.key);
        assert_eq!(verdict, case["expect_same_actor"].as_bool().expect("verdict"), "{case}");
        same += usize::from(verdict);
    }
    assert_eq!(same, 2);
}

/// Neither half of the rule alone makes the same actor.
#[test]
fn the_same_name_with_another_key_and_the_same_key_with_another_name_are_others() {
    let sensor = identity("jis:node:sensor-01", 0, 1);
    assert!(sensor.is_actor(&sensor.name, &sensor.key));
    assert!(!sensor.is_actor(&sensor.name, &key(2).public_key()));
    assert!(!sensor.is_actor(&common::name("jis:node:sensor-02"), &sensor.key));
    assert!(!revoked_by_an_event(&sensor).is_actor(&sensor.name, &sensor.key));
}
