//! What went wrong, as RFC 9457 has it: `application/problem+json`.

use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use jis::NameError;
use serde_json::json;
use tibet_registry::{Refusal, StoreError};

use crate::server::HandleError;

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not answered with what it asked for.
///
/// The texts are ours. What came in is never repeated, so that nothing hostile is shown by whoever shows a problem (SECURITY R49).
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// Stable, for programs: the last part of `type`.
    kind: &'static str,
    title: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, kind, title, detail: detail.into(), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Ends the connection with the answer: where the next request begins is not known.
    pub(super) fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request makes no sense", detail)
    }

    pub(super) fn name(error: &NameError) -> Self {
        let detail = match error {
            // These two would repeat what came.
            NameError::Label(_) => {
                "a label has 1 to 63 of a-z, 0-9, '-' and '_', and begins and ends with a letter or digit"
                    .to_owned()
            }
            NameError::DidUrl(_) => "a name has no fragment, query, path or percent-encoding".to_owned(),
            error => error.to_string(),
        };
        Self::new(StatusCode::BAD_REQUEST, "invalid-name", "Not a name", detail)
    }

    /// One text for what is not there, whatever the reason (SECURITY R20b).
    pub(super) fn unknown_name() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown-name", "Unknown name", "this node knows no such identity")
    }

    pub(super) fn no_route() -> Self {
        let detail = "there is nothing at this path; /openapi.json lists what there is";
        Self::new(StatusCode::NOT_FOUND, "no-route", "Not found", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "this path does not take this method; see /openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// Nothing is wrong with the request; it may work in a moment.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now", detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub(super) fn storage(error: &StoreError) -> Self {
        tracing::warn!(%error, "the registry's storage failed a request");
        match error {
            StoreError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "storage-full",
                "The node's disk is full",
                "nothing was changed",
            ),
            _ => Self::unavailable(
                "the registry's storage does not work at the moment; the node's log says why",
            ),
        }
    }

    /// What the registry would not do, told to its operator.
    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let refused = |status, kind| Self::new(status, kind, "The registry refuses", refusal.to_string());
        match refusal {
            Refusal::Unknown(_) => Self::unknown_name(),
            Refusal::NoRequest(_) => Self::new(
                StatusCode::NOT_FOUND,
                "no-request",
                "No such request",
                "nobody asks for this name here",
            ),
            Refusal::Store(error) => Self::storage(error),
            Refusal::Score => refused(StatusCode::BAD_REQUEST, "invalid-score"),
            Refusal::Busy(_) | Refusal::ClockUnset(_) => Self::unavailable(refusal.to_string()),
            _ => refused(StatusCode::CONFLICT, "refused"),
        }
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<HandleError> for Problem {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Store(error) => Self::storage(&error),
            HandleError::Busy | HandleError::Gone => Self::unavailable(error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:tibet:problem:{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response =
            (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
