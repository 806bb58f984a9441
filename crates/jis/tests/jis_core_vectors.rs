//! The reference vectors of jis-core, `testdata/vectors/reference/jis.json`: the same keys and signatures, and a table of what we
//! do otherwise and why. The tables are repeated in `docs/spec/name.md`, "Differences from jis-core"; a test compares them.

use std::collections::BTreeMap;

use jis::{
    Inception, KeyError, Name, NextKeyCommitment, PublicKey, SecretKey, Signature, Signed, UnixTime, hex,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Identifiers jis-core accepts and we refuse, with the reason.
const STRICTER: [(&str, &str); 2] =
    [("jis:device:6G:sensor-001", "upper case"), ("jis:a_b-c.d", "dot in a label")];

/// Identifiers jis-core refuses and we accept where users type, and nowhere else.
const LENIENT_AT_THE_EDGE: [(&str, &str); 1] = [("alice", "bare name")];

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/vectors/reference/jis.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("vectors")).expect("JSON")
}

/// The cases of a group; their number is stated so that none is lost.
fn cases(vectors: &Value, group: &str, count: usize) -> Vec<Value> {
    let cases = vectors["cases"][group].as_array().expect(group).clone();
    assert_eq!(cases.len(), count, "{group}");
    cases
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} in {case}"))
}

#[test]
fn there_are_the_groups_tested_here_and_no_others() {
    let vectors = vectors();
    let groups: Vec<_> = vectors["cases"].as_object().expect("cases").keys().cloned().collect();
    let mut expected =
        ["keys", "bad_keys", "sign", "verify", "identifiers", "create", "documents", "signed_documents"];
    expected.sort_unstable();
    let mut groups_sorted = groups;
    groups_sorted.sort_unstable();
    assert_eq!(groups_sorted, expected);
}

#[test]
fn keys() {
    for case in cases(&vectors(), "keys", 6) {
        let secret: SecretKey = text(&case, "secret_hex").parse().expect("secret");
        let public = secret.public_key();
        assert_eq!(hex::encode(public.as_bytes()), text(&case, "public_hex"));
        // Their multibase form is hex without a multicodec prefix: read, never written.
        assert_eq!(text(&case, "public_multibase").parse(), Ok(public));
        assert_eq!(text(&case, "public_hex").to_uppercase().parse(), Ok(public));
        assert!(public.to_string().starts_with("z6Mk"));
        // The name they make of a key is one of ours by grammar: 64 bits of a hash, so it certifies nothing.
        let short = hex::encode(&Sha256::digest(public.as_bytes())[..8]);
        assert_eq!(text(&case, "jis_from_key"), format!("jis:{short}"));
        let name: Name = text(&case, "jis_from_key").parse().expect("name");
        assert_eq!(name.to_did(), text(&case, "did_from_key"));
        assert_eq!(name.certified_key(), None);
        assert_eq!(Name::of_key(&public).certified_key(), Some(public));
    }
}

#[test]
fn bad_keys() {
    for case in cases(&vectors(), "bad_keys", 4) {
        assert_eq!(
            text(&case, "secret_hex").parse::<SecretKey>().map(|_| ()),
            Err(KeyError::Encoding),
            "{case}"
        );
    }
}

#[test]
fn sign() {
    let vectors = vectors();
    for case in cases(&vectors, "sign", 5) {
        let secret: SecretKey = text(&vectors["secrets"], text(&case, "key")).parse().expect("secret");
        let message = text(&case, "message");
        assert_eq!(hex::encode(message.as_bytes()), text(&case, "message_utf8_hex"));
        assert_eq!(secret.sign(message.as_bytes()).to_string(), text(&case, "signature_hex"));
    }
}

/// The one case that differs: our keys also read the multibase form, so the signature is found valid.
#[test]
fn verify() {
    let differing = ["multibase key is not accepted"];
    let mut differed = 0;
    for case in cases(&vectors(), "verify", 12) {
        let verdict = || -> Option<bool> {
            let key: PublicKey = text(&case, "public_hex").parse().ok()?;
            let signature: Signature = text(&case, "signature_hex").parse().ok()?;
            Some(key.verify(text(&case, "message").as_bytes(), &signature).is_ok())
        };
        let ours = verdict().unwrap_or(false);
        let theirs = case["valid"].as_bool().expect("valid");
        if differing.contains(&text(&case, "name")) {
            assert!(ours && !theirs, "{case}");
            differed += 1;
        } else {
            assert_eq!(ours, theirs, "{case}");
        }
    }
    assert_eq!(differed, differing.len());
}

#[test]
fn identifiers() {
    let stricter: BTreeMap<_, _> = STRICTER.into();
    let lenient: BTreeMap<_, _> = LENIENT_AT_THE_EDGE.into();
    let mut met = 0;
    for case in cases(&vectors(), "identifiers", 18) {
        let input = text(&case, "text");
        let ours = Name::from_input(input);
        let theirs = case["is_valid_jis"].as_bool().expect("is_valid_jis");
        if stricter.contains_key(input) {
            assert!(theirs && ours.is_err(), "{input:?}");
            met += 1;
            continue;
        }
        if lenient.contains_key(input) {
            assert!(!theirs && ours.is_ok() && input.parse::<Name>().is_err(), "{input:?}");
            met += 1;
            continue;
        }
        assert_eq!(ours.is_ok(), theirs, "{input:?}: {ours:?}");
        let Ok(name) = ours else { continue };
        // What both accept, both take for the same identity.
        assert_eq!(name.as_str(), text(&case["parse_jis"], "uri"));
        assert_eq!(name.to_did(), text(&case["parse_jis"], "did"));
        assert_eq!(name.as_str(), text(&case, "aint_to_jis"));
        let first = name.labels().next().expect("label");
        assert_eq!(format!("{first}.aint"), text(&case, "jis_to_aint"));
        // On the wire only the canonical spelling counts.
        assert_eq!(input.parse::<Name>().is_ok(), input == name.as_str(), "{input:?}");
    }
    assert_eq!(met, stricter.len() + lenient.len());
}

#[test]
fn create() {
    for case in cases(&vectors(), "create", 4) {
        let parts: Vec<_> =
            case["parts"].as_array().expect("parts").iter().filter_map(Value::as_str).collect();
        let name = format!("jis:{}", parts.join(":")).parse::<Name>();
        match case["create_jis"].as_str() {
            Some(expected) => {
                let name = name.expect(expected);
                assert_eq!(name.as_str(), expected);
                assert_eq!(name.to_did(), text(&case, "create_did"));
            }
            None => assert!(name.is_err() && case["create_jis_error"].is_string(), "{case}"),
        }
    }
}

/// Their documents have another context, key type and members, so they are compared member by member.
#[test]
fn documents() {
    let ours = |did: &str| {
        let key: SecretKey =
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60".parse().expect("key");
        let inception = Inception {
            name: Name::from_input(did).expect(did),
            key: key.public_key(),
            next: NextKeyCommitment::from_bytes([1; 32]),
            created_at: UnixTime::from_secs(1_767_323_045),
        };
        let identity =
            jis::Identity::incept(&Signed::seal(inception, &key).expect("sealed")).expect("identity");
        jis::did::document(&identity, None)
    };
    let mut compared = 0;
    for case in cases(&vectors(), "documents", 3) {
        let did = text(&case, "did");
        let Some(json) = case["json"].as_str() else {
            // A document is made of an identity, so a text that is no DID cannot reach it.
            assert_eq!((did, text(&case, "error")), ("jis:alice", "Invalid DID"));
            continue;
        };
        let theirs: Value = serde_json::from_str(json).expect("JSON");
        let ours = ours(did);
        assert_eq!(ours["id"], theirs["id"]);
        assert_eq!(ours["@context"][0], theirs["@context"][0]);
        for method in theirs["verificationMethod"].as_array().into_iter().flatten() {
            assert_eq!(method["type"], "Ed25519VerificationKey2020");
            let own = &ours["verificationMethod"][0];
            assert_eq!(own["type"], "Multikey");
            assert_eq!(own["controller"], method["controller"]);
            let key = |member: &Value| member.as_str().expect("key").parse::<PublicKey>().expect("key");
            assert_eq!(key(&own["publicKeyMultibase"]), key(&method["publicKeyHex"]));
            compared += 1;
        }
        for absent in ["controller", "created", "updated"] {
            assert!(ours.get(absent).is_none(), "{absent}");
        }
    }
    assert_eq!(compared, 1);
}

/// The signatures of their documents verify over `signed_text`, which is the shipped document with its members in another order.
#[test]
fn signed_documents() {
    let vectors = vectors();
    let mut verified = 0;
    for case in cases(&vectors, "signed_documents", 3) {
        let Some(json) = case["json"].as_str() else {
            assert_eq!(text(&case, "error"), "Invalid DID");
            continue;
        };
        let shipped: Value = serde_json::from_str(json).expect("JSON");
        let signed_text = text(&case, "signed_text");
        let key: PublicKey = text(&case, "public_hex").parse().expect("key");
        let signature: Signature = text(&shipped["proof"], "proofValue").parse().expect("signature");
        assert_eq!(key.verify(signed_text.as_bytes(), &signature), Ok(()));
        assert!(key.verify(json.as_bytes(), &signature).is_err());
        let reordered: Value = serde_json::from_str(signed_text).expect("JSON");
        assert_eq!(reordered, shipped["document"]);
        let secret: SecretKey = text(&vectors["secrets"], text(&case, "key")).parse().expect("secret");
        assert_eq!(secret.sign(signed_text.as_bytes()), signature);
        verified += 1;
    }
    assert_eq!(verified, 2);
}

/// The page and the tables here say the same.
#[test]
fn the_differences_are_written_down() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/name.md");
    let page = std::fs::read_to_string(path).expect("name.md");
    let differences = page.split_once("## Differences from jis-core").expect("section").1;
    for (identifier, reason) in STRICTER.iter().chain(&LENIENT_AT_THE_EDGE) {
        let row = differences.lines().find(|line| line.contains(&format!("`{identifier}`")));
        assert!(row.is_some_and(|row| row.contains(reason)), "{identifier}: {reason}");
    }
}
