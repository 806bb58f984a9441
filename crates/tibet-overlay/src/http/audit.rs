//! The audit log, as it is exported: `/api/v1/audit`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use tibet_registry::StoreError;

use super::accept::choose;
use super::app::App;
use super::params::{Params, limit};
use super::problem::Problem;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
/// Indexes are below 2^53, as all that JSON readers are to hold.
const MAX_INDEX: u64 = (1 << 53) - 1;
/// Tokens read at a time for a stream: some hundreds of kilobytes.
const STEP: u64 = 250;

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Index of the last token that is known.
    after: Option<u64>,
    limit: Option<u64>,
}

/// Tokens of the log, each as the line that is exported.
struct Stretch {
    lines: Vec<String>,
    /// Tokens in the log when they were read.
    size: u64,
}

/// `GET /api/v1/audit`
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Params(query): Params<AuditQuery>,
) -> Result<Response, Problem> {
    if query.after.is_some_and(|after| after > MAX_INDEX) {
        return Err(Problem::bad_request("after is the index of a token, below 2^53"));
    }
    let first = query.after.map_or(0, |after| after + 1);
    match choose(&headers, &[JSON, LINES]) {
        Some(JSON) => page(&app, first, limit(query.limit)?).await,
        Some(_) => lines(app, first, query.limit).await,
        None => Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "Not to be had",
            "ask for application/json or application/x-ndjson",
        )),
    }
}

async fn page(app: &Arc<App>, first: u64, limit: usize) -> Result<Response, Problem> {
    let Stretch { lines, size } = read(app, first, limit as u64).await?;
    let read_to = first.saturating_add(lines.len() as u64);
    let next =
        if !lines.is_empty() && read_to < size { (read_to - 1).to_string() } else { "null".to_owned() };
    // The tokens are put in as they are: a parser between would spell numbers anew, and their hashes would not fit.
    let body = format!(
        "{{\"schema\":\"tibet.http.audit\",\"version\":1,\"first\":{first},\"size\":{size},\"next\":{next},\"tokens\":[{}]}}",
        lines.join(",")
    );
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

/// All tokens from `first` to the end that the log has now, or at most `limit`, one a line.
async fn lines(app: Arc<App>, first: u64, limit: Option<u64>) -> Result<Response, Problem> {
    if limit == Some(0) {
        return Err(Problem::bad_request("limit is a number from 1 on"));
    }
    // The first part is read before anything is sent, so that a failure still has a status.
    let size = read(&app, u64::MAX, 1).await?.size;
    let end = limit.map_or(size, |limit| size.min(first.saturating_add(limit)));
    let tokens = stream::try_unfold(first, move |at| {
        let app = Arc::clone(&app);
        async move {
            if at >= end {
                return Ok(None);
            }
            let stretch = match read(&app, at, STEP.min(end - at)).await {
                Ok(stretch) => stretch,
                // The answer ends in the middle, which its reader can tell from its end.
                Err(problem) => return Err(std::io::Error::other(problem.detail().to_owned())),
            };
            if stretch.lines.is_empty() {
                return Ok(None);
            }
            let next = at + stretch.lines.len() as u64;
            Ok(Some((stretch.lines.iter().flat_map(|line| [line, "\n"]).collect::<String>(), next)))
        }
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(tokens)).into_response())
}

async fn read(app: &Arc<App>, first: u64, limit: u64) -> Result<Stretch, Problem> {
    let read = app.look(move |registry, _| -> Result<Stretch, StoreError> {
        let size = registry.head()?.map_or(0, |head| head.count);
        let mut lines = Vec::new();
        if first < size {
            registry.store().tokens_from(first, limit, &mut |_, token| lines.push(token.to_json_line()))?;
        }
        Ok(Stretch { lines, size })
    });
    read.await?.map_err(|error| Problem::storage(&error))
}
