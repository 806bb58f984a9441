//! A claim that a human decides on, in a form that can be handed on.

use serde::Serialize;
use tibet_registry::{NameRequest, RequestState};

/// A device that asks for a name, and what was decided. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimReport {
    /// The name.
    pub name: String,
    /// The fingerprint of the identity that asks.
    pub fingerprint: String,
    /// Its key.
    pub key: String,
    /// The address it asked from.
    pub source: String,
    /// When it asked first.
    pub since: String,
    /// `waiting`, `approved` or `denied`.
    pub state: &'static str,
    /// Since when; `None` while nobody has decided.
    pub decided_at: Option<String>,
}

impl From<&NameRequest> for ClaimReport {
    fn from(request: &NameRequest) -> Self {
        let (state, decided_at) = match request.state {
            RequestState::Waiting => ("waiting", None),
            RequestState::Approved { at } => ("approved", Some(at)),
            RequestState::Denied { at } => ("denied", Some(at)),
        };
        Self {
            name: request.name.to_string(),
            fingerprint: request.fingerprint.to_string(),
            key: request.key.to_multibase(),
            source: request.source.to_string(),
            since: request.since.to_string(),
            state,
            decided_at: decided_at.map(|at| at.to_string()),
        }
    }
}
