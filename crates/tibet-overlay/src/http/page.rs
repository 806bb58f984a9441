//! The page for people: one file that loads nothing from elsewhere.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use base64ct::{Base64, Encoding as _};

/// The page, its script and its style in it.
const PAGE: &str = include_str!("page.html");

/// Nothing but the script and the style of this file runs, and it talks to this server only.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let of = |open: &str, close: &str| {
        let inner =
            PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map_or("", |(inner, _)| inner);
        format!("'sha256-{}'", Base64::encode_string(&jis::message_hash(inner.as_bytes())))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        of("<script>", "</script>"),
        of("<style>", "</style>"),
    )
});

/// `GET /`
pub(super) async fn page() -> impl IntoResponse {
    let policy = POLICY.as_str();
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)], PAGE)
}
