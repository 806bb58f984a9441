//! Who may do what.
//!
//! | | anybody, node on this machine's addresses | anybody, node open to the network | with the operator's token, or on the Unix socket |
//! |---|---|---|---|
//! | [`Need::Open`] | yes | yes | yes |
//! | [`Need::Look`] | yes | no | yes |
//! | [`Need::Change`] | no | no | yes |

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::app::App;
use super::problem::Problem;
use crate::system::{self, NoRandomness};

/// What lets an operator change things over TCP: at least 128 random bits, as text.
///
/// Prints nothing of itself.
pub struct OperatorToken(Zeroizing<String>);

/// A text that is no good token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an operator token has 32 to 256 characters of A-Z, a-z, 0-9, '-', '_', '.' and '~', at least ten of them different; openssl rand -hex 32 makes one"
)]
pub struct BadToken;

impl OperatorToken {
    /// Takes a token that was made before, for example from a [secret file](crate::secret_file). White space at its ends does not count.
    ///
    /// # Errors
    /// [`BadToken`] for what cannot hold 128 bits: 32 characters are that many only if they are hexadecimal or better.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        let different = text.bytes().collect::<std::collections::BTreeSet<u8>>().len();
        if !(32..=256).contains(&text.len()) || !text.bytes().all(fits) || different < 10 {
            return Err(BadToken);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken(..)")
    }
}

/// A token as it is compared: hashed under a key that nobody outside has, so that the time a comparison takes tells nothing (SECURITY R23).
pub(super) struct HeldToken {
    key: [u8; 32],
    hash: [u8; 32],
}

impl HeldToken {
    pub(super) fn new(token: &OperatorToken) -> Result<Self, NoRandomness> {
        let key = system::random()?;
        Ok(Self { key, hash: *blake3::keyed_hash(&key, token.0.as_bytes()).as_bytes() })
    }

    fn is(&self, text: &[u8]) -> bool {
        blake3::keyed_hash(&self.key, text).as_bytes().ct_eq(&self.hash).into()
    }
}

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// A TCP socket on a loopback address.
    Local,
    /// A TCP socket that others can reach.
    Remote,
    /// A Unix socket that only the node's own user can open.
    Operator,
}

/// What a route asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: what verifies by itself, and what a supervisor asks.
    Open,
    /// What the node knows of its devices.
    Look,
    /// To be the operator.
    Change,
}

/// Lets a request through to its route, or not.
pub(super) async fn check(
    State((app, need)): State<(Arc<App>, Need)>,
    request: Request,
    next: Next,
) -> Response {
    match may(&app, need, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn may(app: &App, need: Need, headers: &HeaderMap) -> Result<(), Problem> {
    if need == Need::Open || app.door == Door::Operator {
        return Ok(());
    }
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    // A token that is not good is an error everywhere, so that whoever has a wrong one finds out by looking.
    if let Some(first) = given.next() {
        let held = app.token.as_ref().ok_or_else(|| wrong_token(app))?;
        let text = bearer(first).filter(|_| given.next().is_none()).unwrap_or_default();
        return if held.is(text) { Ok(()) } else { Err(wrong_token(app)) };
    }
    if need == Need::Look && app.door == Door::Local {
        return Ok(());
    }
    if app.token.is_some() {
        let detail = "this needs the operator's token: Authorization: Bearer …";
        return Err(unauthorized("token-needed", detail));
    }
    let detail = "this node takes changes only on its Unix socket: it has no operator token";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not from here", detail))
}

fn wrong_token(app: &App) -> Problem {
    app.counters.refused_token();
    unauthorized("wrong-token", "the token is not this node's")
}

fn unauthorized(kind: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, kind, "Who are you?", detail)
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tibet-overlay\""))
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_84_a_token_that_could_be_guessed_is_refused_and_none_is_printed() {
        for text in [
            "",
            "short",
            &"a".repeat(64),
            &"0123456789abcdef".repeat(17),
            "0123456789abcdef 0123456789abcdef",
        ] {
            assert_eq!(OperatorToken::parse(text).err(), Some(BadToken), "{text:?}");
        }
        let text = "0123456789abcdef0123456789abcdef";
        let token = OperatorToken::parse(&format!("{text}\n")).expect("good");
        assert!(!format!("{token:?}").contains(text));
        let held = HeldToken::new(&token).expect("random");
        assert!(held.is(text.as_bytes()) && !held.is(b""));
    }
}
