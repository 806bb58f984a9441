//! DID Resolution over HTTP: `/1.0/identifiers/{did}`.
//!
//! <https://www.w3.org/TR/did-resolution/>, "Bindings: HTTP(S)". What is given is a view of what the device itself signed; `/api/v1/records/{name}` has the
//! signatures.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jis::{
    Fingerprint, Identity, IdentityStatus, KeyEvent, Name, NextKeyCommitment, PublicKey, Record, Signed,
    UnixTime,
};
use serde_json::{Value, json};
use tibet_registry::{KeyUse, Route};

use super::accept::choose;
use super::app::App;
use super::params::{Json, Part};
use super::problem::Problem;
use crate::system;

/// The whole result, with metadata.
const RESULT: &str = "application/did-resolution";
/// The same, as resolvers asked for it before that media type was there.
const OLD_RESULT: &str = "application/ld+json;profile=\"https://w3id.org/did-resolution\"";
/// Representations, the preferred first.
const OFFERED: &[&str] = &[
    "application/did",
    "application/did+json",
    "application/did+ld+json",
    "application/ld+json",
    RESULT,
    OLD_RESULT,
];
/// Longest DID, in bytes: that of the longest name.
const MAX_DID: usize = jis::MAX_NAME + 4;

/// Why a DID was not resolved: its name in DID Core 1.0, in the present draft of DID Resolution, and its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    InvalidDid,
    InvalidDidUrl,
    NotFound,
    Representation,
    Method,
}

impl Failure {
    const fn words(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::InvalidDid => (
                StatusCode::BAD_REQUEST,
                "invalidDid",
                "INVALID_DID",
                "this is no DID of the form did:jis:label:label",
            ),
            Self::InvalidDidUrl => (
                StatusCode::BAD_REQUEST,
                "invalidDidUrl",
                "INVALID_DID_URL",
                "give the DID alone, without path, query or fragment",
            ),
            Self::NotFound => {
                (StatusCode::NOT_FOUND, "notFound", "NOT_FOUND", "this node knows no such identity")
            }
            Self::Representation => (
                StatusCode::NOT_ACCEPTABLE,
                "representationNotSupported",
                "REPRESENTATION_NOT_SUPPORTED",
                "ask for application/did, application/did+json, application/did+ld+json, application/ld+json or application/did-resolution",
            ),
            Self::Method => (
                StatusCode::NOT_IMPLEMENTED,
                "methodNotSupported",
                "METHOD_NOT_SUPPORTED",
                "this node resolves DIDs of the method jis only",
            ),
        }
    }

    fn into_response(self, representation: Option<&'static str>) -> Response {
        let (status, error, code, detail) = self.words();
        let problem = json!({
            "type": format!("https://www.w3.org/ns/did#{code}"),
            "title": error,
            "status": status.as_u16(),
            "detail": detail,
        });
        match representation.filter(|wanted| is_result(wanted)) {
            Some(media_type) => {
                let result = json!({
                    "didResolutionMetadata": { "error": error, "problemDetails": problem },
                    "didDocument": null,
                    "didDocumentMetadata": {},
                });
                respond(status, media_type, &result)
            }
            None => respond(status, super::problem::MEDIA_TYPE, &problem),
        }
    }
}

fn is_result(media_type: &str) -> bool {
    media_type == RESULT || media_type == OLD_RESULT
}

fn respond(status: StatusCode, media_type: &'static str, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, media_type), (header::VARY, "accept")], body.to_string()).into_response()
}

/// `GET /1.0/identifiers/{did}`
pub(super) async fn resolve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    part: Result<Part, Problem>,
) -> Response {
    let representation = choose(&headers, OFFERED);
    let Ok(Part(text)) = part else { return Failure::InvalidDid.into_response(representation) };
    let resolved = match read(&text) {
        Ok(name) => find(&app, &name).await,
        Err(failure) => return failure.into_response(representation),
    };
    let Some(media_type) = representation else { return Failure::Representation.into_response(None) };
    match resolved {
        Ok(Some(resolved)) => resolved.into_response(media_type),
        Ok(None) => Failure::NotFound.into_response(representation),
        Err(problem) => problem.into_response(),
    }
}

/// `GET /1.0/methods`
pub(super) async fn methods() -> Json {
    Json(json!(["jis"]))
}

/// A DID, strictly: it has one spelling.
fn read(text: &str) -> Result<Name, Failure> {
    if text.len() > MAX_DID {
        return Err(Failure::InvalidDid);
    }
    let rest = text.strip_prefix("did:").ok_or(Failure::InvalidDid)?;
    let (method, id) = rest.split_once(':').ok_or(Failure::InvalidDid)?;
    let in_method = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if method.is_empty() || !method.bytes().all(in_method) {
        return Err(Failure::InvalidDid);
    }
    let end = id.find(['/', '?', '#']).unwrap_or(id.len());
    let in_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%');
    if id[..end].is_empty() || !id[..end].bytes().all(in_id) {
        return Err(Failure::InvalidDid);
    }
    if method != "jis" {
        return Err(Failure::Method);
    }
    let name = format!("jis:{}", &id[..end]).parse().map_err(|_| Failure::InvalidDid)?;
    if end < id.len() { Err(Failure::InvalidDidUrl) } else { Ok(name) }
}

/// What a DID stands for.
struct Resolved {
    document: Value,
    metadata: Value,
    deactivated: bool,
}

impl Resolved {
    /// What the registry holds of a registered name.
    fn registered(name: &Name, route: &Route, now: UnixTime) -> Option<Self> {
        let identity = route.identity(name).ok()?;
        let active = identity.status == IdentityStatus::Active;
        // Signed by the bound key, and of now: an address from yesterday may be somebody else's today.
        let record = route.record().ok().filter(|record| now <= record.claims().expires_at());
        let held = Signed::<Record>::decode(route.record_bytes()).ok()?;
        let created = match route.event_bytes().next().map(KeyEvent::decode) {
            Some(Ok(KeyEvent::Inception(inception))) => Some(inception.claims().created_at),
            _ => None,
        };
        let did = name.to_did();
        let mut metadata = json!({
            "versionId": format!("{}.{}", route.version.generation, route.version.seq),
            "deactivated": !active,
            "canonicalId": did,
        });
        let times = [("created", created), ("updated", Some(held.claims().issued_at))];
        for (member, time) in times {
            if let Some(time) = time.and_then(seconds) {
                metadata[member] = time.into();
            }
        }
        // The key's own DID means the same for as long as the key is bound to the name.
        let certified = Name::of_key(&identity.key).to_did();
        if active && certified != did {
            metadata["equivalentId"] = json!([certified]);
        }
        let document = jis::did::document(&identity, record.as_ref().map(Signed::claims));
        Some(Self { document, metadata, deactivated: !active })
    }

    /// A name that is its key, and is registered nowhere: there is the key, and nothing to say when.
    fn certified(name: &Name, key: &PublicKey, bound_to: Option<&Name>) -> Self {
        let identity = Identity {
            name: name.clone(),
            fingerprint: Fingerprint::of_inception(key.as_bytes()),
            generation: 0,
            key: *key,
            next: NextKeyCommitment::from_bytes([0; 32]),
            last_event: [0; 32],
            status: IdentityStatus::Active,
        };
        let mut metadata = json!({ "deactivated": false });
        if let Some(bound_to) = bound_to {
            metadata["canonicalId"] = bound_to.to_did().into();
            metadata["equivalentId"] = json!([bound_to.to_did()]);
        }
        Self { document: jis::did::document(&identity, None), metadata, deactivated: false }
    }

    /// A key that was rotated away, or revoked.
    fn retired(name: &Name, key: &PublicKey) -> Self {
        let document = json!({
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": name.to_did(),
            "alsoKnownAs": [name.as_str(), format!("did:key:{key}")],
        });
        Self { document, metadata: json!({ "deactivated": true }), deactivated: true }
    }

    fn into_response(self, media_type: &'static str) -> Response {
        let status = if self.deactivated { StatusCode::GONE } else { StatusCode::OK };
        if is_result(media_type) {
            let result = json!({
                "didResolutionMetadata": { "contentType": "application/did" },
                "didDocument": self.document,
                "didDocumentMetadata": self.metadata,
            });
            return respond(status, media_type, &result);
        }
        respond(status, media_type, &self.document)
    }
}

async fn find(app: &Arc<App>, name: &Name) -> Result<Option<Resolved>, Problem> {
    let now = system::now();
    let route = app.node.directory().route(name.as_str());
    if let Some(route) = route {
        return Ok(Resolved::registered(name, &route, now));
    }
    let Some(key) = name.certified_key() else { return Ok(None) };
    let owner = app.look(move |registry, _| registry.store().name_of_key(KeyUse::Identity, key.as_bytes()));
    let owner = owner.await?.map_err(|error| Problem::storage(&error))?;
    let Some(owner) = owner else { return Ok(Some(Resolved::certified(name, &key, None))) };
    let route = app.node.directory().route(owner.as_str());
    let bound = route
        .is_some_and(|route| route.status == IdentityStatus::Active && route.key_bytes() == key.as_bytes());
    Ok(Some(if bound {
        Resolved::certified(name, &key, Some(&owner))
    } else {
        Resolved::retired(name, &key)
    }))
}

/// A time as DID documents have it: UTC, whole seconds.
fn seconds(time: UnixTime) -> Option<String> {
    let text = time.to_string();
    (text.len() == 24).then(|| format!("{}Z", &text[..19]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_43_a_did_has_one_spelling_and_dids_of_others_are_told_from_no_dids() {
        assert_eq!(read("did:jis:home:hub").map(|name| name.to_string()), Ok("jis:home:hub".into()));
        for (text, failure) in [
            ("jis:home:hub", Failure::InvalidDid),
            ("did:jis:", Failure::InvalidDid),
            ("did:jis", Failure::InvalidDid),
            ("did::a", Failure::InvalidDid),
            ("did:jis:Home", Failure::InvalidDid),
            ("did:jis:home.aint", Failure::InvalidDid),
            ("did:jis:a\0", Failure::InvalidDid),
            ("did:jis:../../etc/passwd", Failure::InvalidDid),
            ("DID:jis:home", Failure::InvalidDid),
            ("did:JIS:home", Failure::InvalidDid),
            ("did:jis:ed25519:x", Failure::InvalidDid),
            ("did:web:example.com", Failure::Method),
            ("did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw", Failure::Method),
            ("did:jis:home:hub#key-0", Failure::InvalidDidUrl),
            ("did:jis:home:hub/path", Failure::InvalidDidUrl),
            ("did:jis:home:hub?versionId=1", Failure::InvalidDidUrl),
        ] {
            assert_eq!(read(text), Err(failure), "{text:?}");
        }
        assert_eq!(read(&format!("did:jis:{}", "a".repeat(10_000))), Err(Failure::InvalidDid));
    }
}
