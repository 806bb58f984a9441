//! What stands in paths, queries and bodies, as types (SECURITY R61).

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jis::{Capability, Name};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;

/// Most things on one page.
pub(super) const MAX_LIMIT: usize = 500;
/// Things on a page unless asked for otherwise.
const LIMIT: usize = 50;

/// `limit` of a query.
pub(super) fn limit(asked: Option<u64>) -> Result<usize, Problem> {
    match asked.map(usize::try_from) {
        None => Ok(LIMIT),
        Some(Ok(limit @ 1..=MAX_LIMIT)) => Ok(limit),
        Some(_) => Err(Problem::bad_request(format!("limit is a number from 1 to {MAX_LIMIT}"))),
    }
}

/// A capability as somebody wrote it.
pub(super) fn capability(text: &str) -> Result<Capability, Problem> {
    text.parse().map_err(|_| {
        let detail =
            "a capability has 1 to 64 of a-z, 0-9, '.', '_', '-' and '/', and begins with a letter or digit";
        Problem::new(StatusCode::BAD_REQUEST, "invalid-capability", "Not a capability", detail)
    })
}

/// The one parameter of a path, percent-decoded.
pub(super) struct Part(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the path is not UTF-8 where it is unpacked"))?;
        Ok(Self(text))
    }
}

/// A name in a path, in any spelling that users know.
pub(super) struct NamePart(pub(super) Name);

impl<S: Send + Sync> FromRequestParts<S> for NamePart {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Part(text) = Part::from_request_parts(parts, state).await?;
        Name::from_input(&text).map(Self).map_err(|error| Problem::name(&error))
    }
}

/// A query; what is not asked for there is refused, since it does not do what whoever wrote it thinks.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::<T>::from_request_parts(parts, state).await.map_err(|_| {
            Problem::bad_request(
                "the query has a parameter that is unknown here, there twice, or no such value",
            )
        })?;
        Ok(Self(value))
    }
}

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem::bad_request("the body cannot be read"))?;
        if !is_json {
            let detail = "send application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "Not JSON", detail));
        }
        let wrong = "the body is not the JSON object that belongs here; see /openapi.json";
        serde_json::from_slice(&bytes).map(Self).map_err(|_| Problem::bad_request(wrong))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// An answer of JSON.
pub(super) struct Json(pub(super) Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

/// Words of a human: 1 to 200 characters, none of which controls, hides or reorders text, as in [`jis::Remark`] (SECURITY R49).
pub(super) fn reason(text: &str) -> Result<(), Problem> {
    let plain = |c: char| c.encode_utf8(&mut [0; 4]).parse::<jis::Remark>().is_ok();
    if text.is_empty() || text.chars().count() > 200 || !text.chars().all(plain) {
        let detail =
            "a reason has 1 to 200 characters, no control characters and none that hide or reorder text";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-reason", "Not a reason", detail));
    }
    Ok(())
}
