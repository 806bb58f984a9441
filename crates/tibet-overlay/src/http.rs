//! The overlay node over HTTP: DID resolution, the API under `/api/v1`, health, metrics, and a page for people.
//!
//! The routes, who may use them and worked examples: `docs/spec/http.md`; for programs: `/openapi.json`.
//!
//! ```no_run
//! # async fn example(node: tibet_overlay::server::OverlayNode) -> Result<(), tibet_overlay::http::HttpError> {
//! use tibet_overlay::http::{self, HttpConfig};
//! let config = HttpConfig { overlay: Some(node.local_addr()), ..HttpConfig::default() };
//! let listener = http::bind_tcp(http::DEFAULT_BIND, &config).await?;
//! let server = http::serve(listener, node.handle(), config)?;
//! # server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `http/connections.rs` | connections and their bounds |
//! | `http/guard.rs` | what every request goes through: Host, Origin, length, time |
//! | `http/access.rs` | who may do what |
//! | `http/routes.rs` | which path does what |
//! | `http/problem.rs` | errors (RFC 9457) |
//! | `http/identifiers.rs` | DID resolution |
//! | `http/health.rs`, `census.rs` | findings that are kept for some seconds, so that nobody who asks often costs much |
//!
//! Answers come from the node's directory in memory, a page at a time; what only the store knows is asked for in the registry's thread, by a bounded number of
//! requests at a time.

mod accept;
mod access;
pub use access::{BadToken, OperatorToken};
mod app;
mod audit;
mod census;
mod connections;
mod guard;
mod health;
mod identifiers;
mod identities;
mod operator;
mod page;
mod params;
mod problem;
mod routes;
mod status;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::server::NodeHandle;
use crate::system::NoRandomness;
use access::{Door, HeldToken};
use app::App;
use connections::{Bounds, Listener};
use guard::Hosts;

/// Where the server is unless told otherwise.
pub const DEFAULT_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7180);
/// Connections from one IPv4 address or IPv6 /64, unless set otherwise (SECURITY R60).
pub const CONNECTIONS_PER_ADDRESS: usize = 100;
/// Connections in all, unless set otherwise. With the longest bodies they hold 64 MiB.
pub const CONNECTIONS: usize = 1024;
/// How long the head of a request may take, its body, and the work on it, each, unless set otherwise (SECURITY R60).
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How a server runs.
#[derive(Debug)]
pub struct HttpConfig {
    /// Whether [`bind_tcp`] takes an address that others can reach. What they may see then: `docs/spec/http.md`. There is no TLS here; put a
    /// proxy in front that brings it.
    pub allow_remote: bool,
    /// Names and addresses, without ports, that the server goes by besides `localhost`, loopback addresses and the one it is bound to. A request
    /// with another Host is refused.
    pub host_names: Vec<String>,
    /// What changes are taken with over TCP; without one, none are.
    pub operator_token: Option<OperatorToken>,
    /// The node's UDP socket, for `/readyz` to knock at. None leaves it out.
    pub overlay: Option<SocketAddr>,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one IPv4 address or IPv6 /64.
    pub connections_per_address: usize,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long the body of a request may take, and the answer to it.
    pub request_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allow_remote: false,
            host_names: Vec::new(),
            operator_token: None,
            overlay: None,
            connections: CONNECTIONS,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            header_timeout: DEADLINE,
            request_timeout: DEADLINE,
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Others could reach it, and nobody said that they may.
    #[error("{0} can be reached from other machines; allow that expressly, or use 127.0.0.1")]
    Remote(SocketAddr),
    /// The address cannot be had.
    #[error("{address}: {source}")]
    Bind {
        /// The address, or the path of a Unix socket.
        address: String,
        /// The system's words.
        source: io::Error,
    },
    /// There is something at this path that is no socket, or a server that answers.
    #[error("{0} is there already, and is in use or no socket")]
    Taken(PathBuf),
    /// The listening socket does not tell its address.
    #[error("the listening socket does not work: {0}")]
    Listener(io::Error),
    /// The system gives no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// A socket that takes connections.
#[derive(Debug)]
pub enum HttpListener {
    /// For anybody who can reach it: read-only but for whoever has the operator's token.
    Tcp(TcpListener),
    /// For the operator, who may change things: only the node's own user, and root, get in.
    Unix(UnixListener),
}

/// Listens on TCP.
///
/// # Errors
/// [`HttpError::Remote`] for an address that is not a loopback one, unless [`HttpConfig::allow_remote`]; [`HttpError::Bind`].
pub async fn bind_tcp(address: SocketAddr, config: &HttpConfig) -> Result<HttpListener, HttpError> {
    if !address.ip().to_canonical().is_loopback() && !config.allow_remote {
        return Err(HttpError::Remote(address));
    }
    let bound = TcpListener::bind(address).await;
    bound.map(HttpListener::Tcp).map_err(|source| HttpError::Bind { address: address.to_string(), source })
}

/// Listens on a Unix socket that has mode 0600 from the moment it has its name. A socket that a server left there when it ended is replaced.
///
/// # Errors
/// [`HttpError::Taken`] when a server answers there, or what is there is no socket; [`HttpError::Bind`].
pub fn bind_unix(path: &Path) -> Result<HttpListener, HttpError> {
    let failed = |source| HttpError::Bind { address: path.display().to_string(), source };
    match std::fs::symlink_metadata(path) {
        Ok(held) if !held.file_type().is_socket() || UnixStream::connect(path).is_ok() => {
            return Err(HttpError::Taken(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // Made under another name: between its making and its mode, nobody knows it.
    let temporary =
        path.with_added_extension(format!("{}.tmp", jis::hex::encode(&crate::system::random::<8>()?)));
    let made = UnixListener::bind(&temporary).and_then(|listener| {
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&temporary, path)?;
        Ok(listener)
    });
    made.map(HttpListener::Unix).map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        failed(source)
    })
}

/// A running server. It ends with [`HttpServer::stop`]; dropped, it ends at once.
#[derive(Debug)]
pub struct HttpServer {
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Serves a node on a socket, until stopped. Must be used within a tokio runtime.
///
/// # Errors
/// [`HttpError::Remote`] as [`bind_tcp`], for a listener that came from elsewhere; [`HttpError::Listener`]; [`HttpError::Randomness`].
pub fn serve(listener: HttpListener, node: NodeHandle, config: HttpConfig) -> Result<HttpServer, HttpError> {
    let (listener, address, door) = match listener {
        HttpListener::Tcp(listener) => {
            let address = listener.local_addr().map_err(HttpError::Listener)?;
            let local = address.ip().to_canonical().is_loopback();
            if !local && !config.allow_remote {
                return Err(HttpError::Remote(address));
            }
            let door = if local { Door::Local } else { Door::Remote };
            (Listener::Tcp(listener), Some(address), door)
        }
        HttpListener::Unix(listener) => (Listener::Unix(listener), None, Door::Operator),
    };
    let hosts = Hosts::new(&config.host_names, address.map(|address| address.ip()));
    let token = config.operator_token.as_ref().map(HeldToken::new).transpose()?;
    let app = Arc::new(App::new(node, door, hosts, token, &config));
    let bounds = Bounds {
        total: config.connections,
        per_address: config.connections_per_address,
        header_timeout: config.header_timeout,
        write_timeout: config.request_timeout,
    };
    let (stop, stopped) = watch::channel(false);
    let router = routes::router(&app);
    let task = tokio::spawn(connections::run(listener, router, app, bounds, stopped));
    Ok(HttpServer { address, stop, task })
}

impl HttpServer {
    /// Where it listens; none for a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Takes no more connections, answers what has been asked, within five seconds, and ends. A Unix socket's file stays for the next server.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
