//! W3C DID documents (DID Core 1.0) for identities.

use serde_json::{Value, json};

use crate::identity::{Identity, IdentityStatus};
use crate::record::Record;

/// The document of `identity`, and of the endpoints and transport key in `record` where there is one (already verified).
/// A record of another identity or of a key that was rotated away adds nothing.
///
/// Keys are of type `Multikey`. The DID has the name's labels; `alsoKnownAs` gives the name as the ecosystem writes it and the key
/// itself as `did:key`. An identity that may not speak has no keys in its document.
#[must_use]
pub fn document(identity: &Identity, record: Option<&Record>) -> Value {
    let did = identity.name.to_did();
    let contexts = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"];
    let mut document = json!({ "@context": contexts, "id": did, "alsoKnownAs": [identity.name.as_str()] });
    if identity.status != IdentityStatus::Active {
        return document;
    }
    let key = identity.key.to_multibase();
    let key_id = format!("{did}#key-{}", identity.generation);
    let method = |id: &str, multibase: &str| json!({ "id": id, "type": "Multikey", "controller": did, "publicKeyMultibase": multibase });
    document["alsoKnownAs"] = json!([identity.name.as_str(), format!("did:key:{key}")]);
    document["verificationMethod"] = json!([method(&key_id, &key)]);
    document["authentication"] = json!([key_id]);
    document["assertionMethod"] = json!([key_id]);
    let own = |record: &&Record| record.fingerprint == identity.fingerprint && record.key == identity.key;
    let Some(record) = record.filter(own) else { return document };
    if let Some(transport_key) = &record.transport_key {
        let id = format!("{did}#transport-{}", identity.generation);
        document["keyAgreement"] = json!([method(&id, &transport_key.to_multibase())]);
    }
    let services = record.endpoints.iter().zip(1..).map(|(endpoint, n)| {
        json!({ "id": format!("{did}#endpoint-{n}"), "type": "TibetEndpoint", "serviceEndpoint": format!("udp://{endpoint}") })
    });
    document["service"] = services.collect();
    document
}
