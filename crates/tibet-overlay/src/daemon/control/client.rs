//! The commands' end.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jis::{Capability, Name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    AddressReport, ControlError, EndExposeQuestion, EndForwardQuestion, ExposeQuestion, ExposeReport,
    FindQuestion, ForwardQuestion, ForwardReport, NameQuestion, PingQuestion, check_length, io_error,
};
use crate::daemon::{DaemonStatus, ExposeAt, ForwardTo};
use crate::remote::{FindReport, PingReport, RemoteError, RemoteErrorKind, ResolveReport, VerifyReport};

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

    /// Has the connections to a listener of this machine go to a peer, for as long as the daemon runs.
    ///
    /// # Errors
    /// [`ControlError`]; then nothing listens there that was not before.
    pub async fn forward(&self, to: &ForwardTo) -> Result<ForwardReport, ControlError> {
        let port = NonZero::new(to.port).ok_or_else(|| no_port(to.port))?;
        let question = ForwardQuestion { listen: to.listen, name: to.name.to_string(), port };
        self.ask(Method::POST, "/v1/forward", &question).await
    }

    /// Ends a forward, and its connections.
    ///
    /// # Errors
    /// [`ControlError`]; also where nothing listens there.
    pub async fn end_forward(&self, listen: SocketAddr) -> Result<ForwardReport, ControlError> {
        self.ask(Method::DELETE, "/v1/forward", &EndForwardQuestion { listen }).await
    }

    /// Has the connections to a port of the overlay address go to a program of this machine, for as long as the daemon runs.
    ///
    /// # Errors
    /// [`ControlError`]; then nothing is open that was not before. Always where the daemon has a TUN device: programs listen there themselves.
    pub async fn expose(&self, at: ExposeAt) -> Result<ExposeReport, ControlError> {
        let port = NonZero::new(at.port).ok_or_else(|| no_port(at.port))?;
        self.ask(Method::POST, "/v1/expose", &ExposeQuestion { port, local: at.local }).await
    }

    /// Ends what was exposed at a port, and its connections.
    ///
    /// # Errors
    /// [`ControlError`]; also where nothing is exposed there.
    pub async fn end_expose(&self, port: u16) -> Result<ExposeReport, ControlError> {
        self.ask(Method::DELETE, "/v1/expose", &EndExposeQuestion { port }).await
    }

    /// By what programs find a device in the mesh.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn address(&self, name: &Name) -> Result<AddressReport, ControlError> {
        self.ask(Method::POST, "/v1/address", &NameQuestion::of(name)).await
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

fn no_port(port: u16) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Usage, format!("{port} is no port"))
}
