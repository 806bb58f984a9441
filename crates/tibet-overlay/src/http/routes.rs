//! Which path does what, and who may.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};

use super::access::{self, Need};
use super::app::App;
use super::problem::Problem;
use super::{audit, guard, identifiers, identities, operator, page, status};

/// The API as programs read it: OpenAPI 3.1.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

type Routes = MethodRouter<Arc<App>>;

/// All routes. Beside `/` and the API's own description, this is `openapi.json`; a test compares the two.
pub(super) fn routes() -> Vec<(&'static str, Need, Routes)> {
    use Need::{Change, Look, Open};
    vec![
        ("/", Open, get(page::page)),
        ("/openapi.json", Open, get(openapi)),
        ("/healthz", Open, get(status::alive)),
        ("/readyz", Open, get(status::ready)),
        ("/metrics", Look, get(status::metrics)),
        ("/1.0/identifiers/{*did}", Open, get(identifiers::resolve)),
        ("/1.0/methods", Open, get(identifiers::methods)),
        ("/api/v1/status", Look, get(status::status)),
        ("/api/v1/identities", Look, get(identities::list)),
        ("/api/v1/identities/{name}", Look, get(identities::one)),
        ("/api/v1/records/{name}", Open, get(identities::record)),
        ("/api/v1/capabilities", Look, get(identities::capabilities)),
        ("/api/v1/capabilities/{*capability}", Look, get(identities::capability_names)),
        ("/api/v1/trust/{name}", Look, get(operator::trust)),
        ("/api/v1/trust/{name}", Change, put(operator::set_trust)),
        ("/api/v1/pending", Look, get(operator::pending)),
        ("/api/v1/pending/{name}/approve", Change, post(operator::approve)),
        ("/api/v1/pending/{name}/deny", Change, post(operator::deny)),
        ("/api/v1/audit", Look, get(audit::audit)),
    ]
}

pub(super) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for (path, need, methods) in routes() {
        let check = from_fn_with_state((Arc::clone(app), need), access::check);
        router = router.route(path, methods.route_layer(check));
    }
    router
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn(problems))
        .layer(from_fn_with_state(Arc::clone(app), guard::guard))
        .with_state(Arc::clone(app))
}

/// What the framework itself refuses is a problem like any other.
async fn problems(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_ours = response.headers().contains_key(header::CONTENT_TYPE)
        && !response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    Problem::new(status, "refused", "Refused", "the request cannot be read").into_response()
}

/// `GET /openapi.json`
async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}
