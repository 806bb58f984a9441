//! The commands' end.

use std::path::PathBuf;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jis::{Capability, Name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{ControlError, FindQuestion, NameQuestion, PingQuestion, check_length, io_error};
use crate::daemon::DaemonStatus;
use crate::remote::{FindReport, PingReport, RemoteError, ResolveReport, VerifyReport};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// A running daemon, as commands see it.
#[derive(Debug, Clone)]
pub struct Control {
    path: PathBuf,
}

impl Control {
    /// The daemon that listens at this socket, if one does.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// How it is doing.
    ///
    /// # Errors
    /// [`ControlError`]; [`ControlError::NotRunning`] where there is none.
    pub async fn status(&self) -> Result<DaemonStatus, ControlError> {
        self.ask(Method::GET, "/v1/status", &()).await
    }

    /// Where a device is.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn resolve(&self, name: &Name) -> Result<ResolveReport, ControlError> {
        self.ask(Method::POST, "/v1/resolve", &NameQuestion::of(name)).await
    }

    /// Has a device prove who it is.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn verify(&self, name: &Name) -> Result<VerifyReport, ControlError> {
        self.ask(Method::POST, "/v1/verify", &NameQuestion::of(name)).await
    }

    /// Who offers a capability.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn find(&self, capability: &Capability, limit: usize) -> Result<FindReport, ControlError> {
        self.ask(Method::POST, "/v1/find", &FindQuestion::of(capability, limit)).await
    }

    /// Pings a device.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn ping(
        &self,
        name: &Name,
        intent: &Capability,
        purpose: &str,
    ) -> Result<PingReport, ControlError> {
        self.ask(Method::POST, "/v1/ping", &PingQuestion::of(name, intent, purpose)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: &impl Serialize,
    ) -> Result<T, ControlError> {
        check_length(&self.path)?;
        let stream = UnixStream::connect(&self.path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                ControlError::NotRunning(self.path.clone())
            }
            _ => io_error(&self.path)(error),
        })?;
        let senseless = |error: hyper::Error| ControlError::Answer(error.to_string());
        let handshake = hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(senseless)?;
        let body = serde_json::to_vec(question).map_err(|error| ControlError::Answer(error.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "tibet")
            .header("content-type", "application/json")
            .body(Full::from(body))
            .map_err(|error| ControlError::Answer(error.to_string()))?;
        // The connection moves the bytes, and ends with what follows.
        let moving = tokio::spawn(connection);
        let answered = async {
            let answer = sender.send_request(request).await.map_err(senseless)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| ControlError::Answer(error.to_string()))?.to_bytes();
            let read = |error: serde_json::Error| ControlError::Answer(format!("{status}: {error}"));
            if status.is_success() {
                return serde_json::from_slice(&body).map_err(read);
            }
            Err(serde_json::from_slice::<RemoteError>(&body).map_err(read)?.into())
        }
        .await;
        moving.abort();
        answered
    }
}
