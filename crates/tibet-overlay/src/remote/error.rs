//! What went wrong, in a form that can be handed on.

use jis::{Name, PublicKey};
use serde::{Deserialize, Serialize};

use crate::client::{QueryError, ReachError, ResolveError, RouteNote};
use crate::intents::FailureCode;

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct RemoteError {
    /// What kind of failure, for programs.
    pub kind: RemoteErrorKind,
    /// What happened, for people.
    pub message: String,
    /// What to try next.
    pub hint: Option<String>,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RemoteErrorKind {
    /// Nobody answers.
    Unreachable,
    /// A node or a device has another key than it is known by.
    OtherKey,
    /// A node said no.
    Refused,
    /// Not now; trying again may help.
    Later,
    /// What was asked makes no sense.
    Usage,
    /// Something on this machine does not work.
    Local,
}

impl RemoteError {
    /// A failure of this kind.
    #[must_use]
    pub fn new(kind: RemoteErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// A name is known here by `known`, and nodes show the key events of another identity, whose key is `shown`.
    pub(super) fn other_key(name: &Name, known: &PublicKey, shown: &PublicKey) -> Self {
        let message = format!(
            "{name} is known here by the key {}; the key events that nodes show do not come from there but lead to {}",
            known.to_multibase(),
            shown.to_multibase()
        );
        Self::new(RemoteErrorKind::OtherKey, message)
            .with_hint("ask the owner of the device which key is right, and the operator of the node")
    }

    /// Says what to try next.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<QueryError> for RemoteError {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        let of = |kind| Self::new(kind, message);
        match error {
            QueryError::NoAnswer { .. } => of(RemoteErrorKind::Unreachable).with_hint(
                "is the node running, is its UDP port reachable, and is whoever asks registered there? A node tells nothing to whom it does not know",
            ),
            QueryError::NoAddress { .. } => of(RemoteErrorKind::Unreachable).with_hint("--node with its address"),
            QueryError::OtherKey { node, found, .. } => of(RemoteErrorKind::OtherKey).with_hint(format!(
                "if its operator says that the new key is right: --node {found}@{node}, once"
            )),
            QueryError::Waiting { .. } | QueryError::Full => of(RemoteErrorKind::Later).with_hint("the same again, later"),
            QueryError::Refused { failure, .. } => match failure.code {
                FailureCode::Busy | FailureCode::Quota | FailureCode::Storage | FailureCode::Waiting => {
                    let after = failure.retry_after.map(|after| format!("the same again, in {} s", after.as_secs()));
                    of(RemoteErrorKind::Later).with_hint(after.unwrap_or_else(|| "the same again, later".to_owned()))
                }
                FailureCode::Offline | FailureCode::NoAnswer => of(RemoteErrorKind::Unreachable)
                    .with_hint("is the device running (tibet-overlay up), and does it trust whoever asks?"),
                _ => of(RemoteErrorKind::Refused),
            },
            QueryError::Malformed { .. } => of(RemoteErrorKind::Refused).with_hint("another node"),
            QueryError::Unsignable(_) => of(RemoteErrorKind::Usage),
            _ => of(RemoteErrorKind::Local),
        }
    }
}

impl From<ResolveError> for RemoteError {
    fn from(error: ResolveError) -> Self {
        let message = error.to_string();
        match error {
            ResolveError::Memory(_) => Self::new(RemoteErrorKind::Local, message),
            ResolveError::Unknown { .. } | ResolveError::Revoked { .. } => {
                Self::new(RemoteErrorKind::Refused, message)
            }
            ResolveError::Failed { notes, .. } => {
                // The kind and the advice of the gravest, the words of all.
                let grave = notes.iter().any(|note| matches!(note, RouteNote::Disbelieved { .. }));
                match (grave, notes.into_iter().find_map(query_error)) {
                    (true, _) => Self::new(RemoteErrorKind::Refused, message)
                        .with_hint("another node; this one is wrong or lies, tell its operator"),
                    (false, Some(error)) => Self { message, ..Self::from(error) },
                    (false, None) => {
                        Self::new(RemoteErrorKind::Unreachable, message).with_hint("--node ADDR")
                    }
                }
            }
        }
    }
}

fn query_error(note: RouteNote) -> Option<QueryError> {
    match note {
        RouteNote::Query(error) => Some(error),
        RouteNote::Disbelieved { .. }
        | RouteNote::Unknown { .. }
        | RouteNote::Expired { .. }
        | RouteNote::BadProof { .. } => None,
    }
}

impl From<ReachError> for RemoteError {
    fn from(error: ReachError) -> Self {
        let message = error.to_string();
        match error {
            ReachError::Resolve(error) => error.into(),
            ReachError::OtherKey { .. } => Self::new(RemoteErrorKind::OtherKey, message),
            ReachError::NoNode => Self::new(RemoteErrorKind::Usage, message).with_hint("--node ADDR"),
            ReachError::Nodes(errors) => match errors.into_iter().next() {
                Some(error) => Self { message, ..Self::from(error) },
                None => Self::new(RemoteErrorKind::Unreachable, message),
            },
        }
    }
}
