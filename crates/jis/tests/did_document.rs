//! DID documents: whose keys and endpoints they show. The literal example is in `docs/spec/did-document.md`.

mod common;

use common::{identity, record, revoke, rotate};
use jis::{RevocationAuthority, RevocationScope, did};

#[test]
fn a_record_of_the_identity_adds_its_endpoints() {
    let hub = identity("jis:home:hub", 0, 1);
    let document = did::document(&hub, Some(&record(&hub)));
    assert_eq!(document["id"], "did:jis:home:hub");
    assert_eq!(document["service"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["service"][0]["serviceEndpoint"], "udp://203.0.113.1:44321");
    assert_eq!(document["keyAgreement"].as_array().map(Vec::len), Some(1));
}

/// A document must not send people to another device: not with a stranger's record, not with one of a key rotated away (row 52).
#[test]
fn row_52_another_identitys_record_adds_nothing() {
    let hub = identity("jis:home:hub", 0, 1);
    let namesake = identity("jis:home:hub", 2, 3);
    let rotated = hub.apply(&rotate(&hub, 1, 2), &[]).expect("rotated");
    for (identity, record) in [(&hub, record(&namesake)), (&rotated, record(&hub))] {
        assert_eq!(did::document(identity, Some(&record)), did::document(identity, None));
    }
}

#[test]
fn an_identity_that_may_not_speak_has_no_keys() {
    let hub = identity("jis:home:hub", 0, 1);
    for (scope, role, signer) in [
        (RevocationScope::Key, RevocationAuthority::CurrentKey, 0),
        (RevocationScope::Name, RevocationAuthority::NextKey, 1),
    ] {
        let revoked = hub.apply(&revoke(&hub, scope, role, signer), &[]).expect("revoked");
        let document = did::document(&revoked, Some(&record(&hub)));
        let members: Vec<_> = document.as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(members, ["@context", "alsoKnownAs", "id"]);
        assert!(!document.to_string().contains(&hub.key.to_string()));
    }
}
