//! The daemon's end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::{
    ControlError, EndExposeQuestion, EndForwardQuestion, ExposeQuestion, FindQuestion, ForwardQuestion,
    NameQuestion, PingQuestion, check_length, io_error,
};
use crate::daemon::shared::Core;
use crate::daemon::{Daemon, ExposeAt, ForwardTo};
use crate::remote::{RemoteError, RemoteErrorKind};

/// Longest question, in bytes.
const MAX_QUESTION: usize = 16 << 10;

/// Answers commands on a Unix socket until dropped.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl ControlServer {
    /// Listens at `path`, in place of a daemon that left its socket behind. The directory of the device's node is locked while a daemon runs, so no
    /// other one listens there.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn open(daemon: &Daemon, path: &Path) -> Result<Self, ControlError> {
        check_length(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io_error(path)(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(io_error(path))?;
        // Until here its directory, which is ours alone, has kept others out.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io_error(path))?;
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/resolve", post(resolve))
            .route("/v1/verify", post(verify))
            .route("/v1/find", post(find))
            .route("/v1/ping", post(ping))
            .route("/v1/forward", post(forward).delete(end_forward))
            .route("/v1/expose", post(expose).delete(end_expose))
            .route("/v1/address", post(address))
            .layer(DefaultBodyLimit::max(MAX_QUESTION))
            .with_state(Arc::clone(daemon.core()));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the control socket");
            }
        });
        Ok(Self { path: path.to_owned(), task })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that is left behind says only that nobody answers.
        let _ = fs::remove_file(&self.path);
    }
}

type Shared = State<Arc<Core>>;

async fn status(State(core): Shared) -> Response {
    Json(core.status().await).into_response()
}

async fn resolve(State(core): Shared, Json(question): Json<NameQuestion>) -> Response {
    match parse(&question.name) {
        Ok(name) => answer(core.remote.resolve(&name).await),
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn verify(State(core): Shared, Json(question): Json<NameQuestion>) -> Response {
    match parse(&question.name) {
        Ok(name) => answer(core.remote.verify(&name).await),
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn find(State(core): Shared, Json(question): Json<FindQuestion>) -> Response {
    match parse(&question.capability) {
        Ok(capability) => answer(core.remote.find(&capability, question.limit).await),
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn ping(State(core): Shared, Json(question): Json<PingQuestion>) -> Response {
    match (parse(&question.name), parse(&question.intent)) {
        (Ok(name), Ok(intent)) => answer(core.ping(&name, &intent, &question.purpose).await),
        (Err(error), _) | (_, Err(error)) => answer::<()>(Err(error)),
    }
}

async fn forward(State(core): Shared, Json(question): Json<ForwardQuestion>) -> Response {
    match parse(&question.name) {
        Ok(name) => {
            let to = ForwardTo { listen: question.listen, name, port: question.port.get() };
            answer(core.forward(to).await)
        }
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn end_forward(State(core): Shared, Json(question): Json<EndForwardQuestion>) -> Response {
    answer(core.end_forward(question.listen))
}

async fn expose(State(core): Shared, Json(question): Json<ExposeQuestion>) -> Response {
    answer(core.expose(ExposeAt { port: question.port.get(), local: question.local }))
}

async fn end_expose(State(core): Shared, Json(question): Json<EndExposeQuestion>) -> Response {
    answer(core.end_expose(question.port))
}

async fn address(State(core): Shared, Json(question): Json<NameQuestion>) -> Response {
    match parse(&question.name) {
        Ok(name) => answer(core.address(&name).await),
        Err(error) => answer::<()>(Err(error)),
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, RemoteError> {
    text.parse().map_err(|error: T::Err| RemoteError::new(RemoteErrorKind::Usage, error.to_string()))
}

fn answer<T: Serialize>(result: Result<T, RemoteError>) -> Response {
    match result {
        Ok(report) => Json(report).into_response(),
        Err(error) => {
            let usage = error.kind == RemoteErrorKind::Usage;
            let status = if usage { StatusCode::BAD_REQUEST } else { StatusCode::BAD_GATEWAY };
            (status, Json(error)).into_response()
        }
    }
}
