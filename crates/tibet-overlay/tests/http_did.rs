//! DID Resolution over HTTP: <https://www.w3.org/TR/did-resolution/>, every status of its binding.

mod http_support;

use http_support::{Reply, Served, config, device, name};
use jis::Name;
use serde_json::{Value, json};
use tibet_overlay::system;

const RESULT: &str = "application/did-resolution";

fn resolve(served: &Served, did: &str, accept: &str) -> Reply {
    served.send("GET", &format!("/1.0/identifiers/{did}"), &[("Accept", accept)], "")
}

#[test]
fn a_document_comes_in_every_representation_there_is() {
    let served = Served::with_devices(config());
    for media_type in
        ["application/did", "application/did+json", "application/did+ld+json", "application/ld+json"]
    {
        let reply = resolve(&served, "did:jis:home:hub", media_type);
        assert_eq!((reply.status, reply.header("content-type")), (200, media_type));
        let document = reply.json();
        assert_eq!(document["id"], "did:jis:home:hub");
        assert_eq!(document["service"][0]["serviceEndpoint"], "udp://203.0.113.1:44321");
        assert_eq!(document["verificationMethod"][0]["type"], "Multikey");
    }
    assert_eq!(served.get("/1.0/identifiers/did:jis:home:hub").header("content-type"), "application/did");
    assert_eq!(served.get("/1.0/identifiers/did%3Ajis%3Ahome%3Ahub").status, 200);
    let best =
        resolve(&served, "did:jis:home:hub", "text/html, application/did+json;q=0.9, application/did;q=0.1");
    assert_eq!(best.header("content-type"), "application/did+json");
    assert_eq!(served.get("/1.0/methods").ok(), json!(["jis"]));
}

#[test]
fn the_whole_result_has_metadata() {
    let served = Served::with_devices(config());
    for media_type in [RESULT, "application/ld+json;profile=\"https://w3id.org/did-resolution\""] {
        let reply = resolve(&served, "did:jis:home:hub", media_type);
        assert_eq!((reply.status, reply.header("content-type")), (200, media_type));
        let result = reply.json();
        assert_eq!(result["didDocument"]["id"], "did:jis:home:hub");
        assert_eq!(result["didResolutionMetadata"]["contentType"], "application/did");
        let metadata = &result["didDocumentMetadata"];
        assert_eq!((&metadata["versionId"], &metadata["deactivated"]), (&json!("0.0"), &json!(false)));
        assert_eq!(metadata["canonicalId"], "did:jis:home:hub");
        let key =
            result["didDocument"]["verificationMethod"][0]["publicKeyMultibase"].as_str().expect("a key");
        assert_eq!(metadata["equivalentId"], json!([format!("did:jis:ed25519:{key}")]));
        for member in ["created", "updated"] {
            let time = metadata[member].as_str().expect("a time");
            assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
        }
    }
}

#[test]
fn every_failure_has_its_status_and_its_name() {
    let served = Served::with_devices(config());
    for (did, status, error, code) in [
        ("did:jis:nobody", 404, "notFound", "NOT_FOUND"),
        ("did:jis:home", 404, "notFound", "NOT_FOUND"),
        ("did:jis:Home", 400, "invalidDid", "INVALID_DID"),
        ("jis:home:hub", 400, "invalidDid", "INVALID_DID"),
        ("x", 400, "invalidDid", "INVALID_DID"),
        ("did:jis:a%00", 400, "invalidDid", "INVALID_DID"),
        ("did:jis:%ff", 400, "invalidDid", "INVALID_DID"),
        ("did:jis:home:hub%23key-0", 400, "invalidDidUrl", "INVALID_DID_URL"),
        ("did:jis:home:hub/path", 400, "invalidDidUrl", "INVALID_DID_URL"),
        ("did:web:example.com", 501, "methodNotSupported", "METHOD_NOT_SUPPORTED"),
        (
            "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw",
            501,
            "methodNotSupported",
            "METHOD_NOT_SUPPORTED",
        ),
    ] {
        let reply = served.get(&format!("/1.0/identifiers/{did}"));
        assert_eq!(reply.problem(status), code, "{did}");
        let reply = resolve(&served, did, RESULT);
        assert_eq!((reply.status, reply.header("content-type")), (status, RESULT), "{did}");
        let metadata = &reply.json()["didResolutionMetadata"];
        assert_eq!(metadata["error"], error, "{did}");
        assert_eq!(metadata["problemDetails"]["type"], format!("https://www.w3.org/ns/did#{code}"));
        assert_eq!(reply.json()["didDocument"], Value::Null);
    }
    let reply = resolve(&served, "did:jis:home:hub", "text/html");
    assert_eq!(reply.problem(406), "REPRESENTATION_NOT_SUPPORTED");
    served.send("POST", "/1.0/identifiers/did:jis:home:hub", &[], "").problem(405);
    served.get("/1.0/identifiers/").problem(404);
}

#[test]
fn what_was_revoked_is_gone_and_its_document_says_so() {
    let served = Served::with_devices(config());
    let reply = resolve(&served, "did:jis:stolen", "application/did");
    assert_eq!((reply.status, reply.header("content-type")), (410, "application/did"));
    assert_eq!(reply.json()["id"], "did:jis:stolen");
    assert_eq!(reply.json().get("verificationMethod"), None);
    let reply = resolve(&served, "did:jis:stolen", RESULT);
    assert_eq!(reply.status, 410);
    assert_eq!(reply.json()["didDocumentMetadata"]["deactivated"], true);
    assert_eq!(reply.json()["didDocument"]["id"], "did:jis:stolen");
}

#[test]
fn a_did_that_is_a_key_resolves_without_a_registration_and_ends_with_the_key() {
    let served = Served::with_devices(config());
    let mut hub = device("jis:rotating", &[]);
    let first = Name::of_key(&hub.identity().key).to_did();
    // Known to nobody yet: the key is all there is.
    let reply = resolve(&served, &first, RESULT);
    assert_eq!(reply.status, 200);
    let key = hub.identity().key.to_multibase();
    assert_eq!(reply.json()["didDocument"]["verificationMethod"][0]["publicKeyMultibase"], key);
    assert_eq!(reply.json()["didDocumentMetadata"].get("canonicalId"), None);
    // Bound to a name.
    served.register(&mut hub);
    let metadata = resolve(&served, &first, RESULT).json()["didDocumentMetadata"].clone();
    assert_eq!(
        (&metadata["canonicalId"], &metadata["deactivated"]),
        (&json!("did:jis:rotating"), &json!(false))
    );
    // Rotated away: whoever has it now is not who had the name.
    let (rotation, record) = hub.rotate(None, system::now()).expect("rotated");
    served.registry(move |registry, now| {
        registry.rotate(rotation, record, now).expect("rotated");
        vec![name("jis:rotating")]
    });
    let reply = resolve(&served, &first, RESULT);
    assert_eq!((reply.status, &reply.json()["didDocumentMetadata"]["deactivated"]), (410, &json!(true)));
    assert_eq!(reply.json()["didDocument"].get("verificationMethod"), None);
    let second = Name::of_key(&hub.identity().key).to_did();
    assert_eq!(
        resolve(&served, &second, RESULT).json()["didDocumentMetadata"]["canonicalId"],
        "did:jis:rotating"
    );
    let named = resolve(&served, "did:jis:rotating", RESULT).json();
    assert_eq!(named["didDocument"]["verificationMethod"][0]["id"], "did:jis:rotating#key-1");
    assert!(named["didDocumentMetadata"]["versionId"].as_str().expect("text").starts_with("1."));
    // Registered by the name that is its key.
    let seed = jis::SecretKey::from_seed(system::random().expect("random").into()).expect("key");
    let did = Name::of_key(&seed.public_key()).to_did();
    assert_eq!(resolve(&served, &did, "application/did").json()["id"], did);
}
