//! What all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jis::{Name, UnixTime};
use tokio::sync::Semaphore;

use super::HttpConfig;
use super::access::{Door, HeldToken};
use super::census::{Capabilities, Census, Kept};
use super::guard::Hosts;
use super::health::Health;
use super::problem::Problem;
use crate::server::{AnyRegistry, NodeHandle};

/// Requests of this server that may wait for the registry's one thread at a time: devices come first.
const MAX_ASKING: usize = 16;

/// A server's state.
pub(super) struct App {
    pub(super) node: NodeHandle,
    pub(super) door: Door,
    pub(super) hosts: Hosts,
    pub(super) token: Option<HeldToken>,
    pub(super) request_timeout: Duration,
    pub(super) census: Kept<Census>,
    pub(super) capabilities: Kept<Capabilities>,
    pub(super) health: Health,
    pub(super) counters: HttpCounters,
    pub(super) started_at: UnixTime,
    asking: Semaphore,
}

impl App {
    pub(super) fn new(
        node: NodeHandle,
        door: Door,
        hosts: Hosts,
        token: Option<HeldToken>,
        config: &HttpConfig,
    ) -> Self {
        let started_at = node.wall_time(Duration::ZERO);
        Self {
            node,
            door,
            hosts,
            token,
            request_timeout: config.request_timeout,
            census: Kept::default(),
            capabilities: Kept::default(),
            health: Health::new(config.overlay),
            counters: HttpCounters::default(),
            started_at,
            asking: Semaphore::new(MAX_ASKING),
        }
    }

    /// Asks the registry something, in its thread. `ask` gives its result and the names it touched.
    ///
    /// # Errors
    /// A problem when the registry has too much to do, or its storage fails.
    pub(super) async fn registry<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&mut AnyRegistry, UnixTime) -> (T, Vec<Name>) + Send + 'static,
    ) -> Result<T, Problem> {
        let _asking = self.asking.try_acquire().map_err(|_| {
            Problem::unavailable("too many requests wait for the registry; try again in a second")
        })?;
        Ok(self.node.registry().call(ask).await?)
    }

    /// Likewise, for what changes nothing.
    ///
    /// # Errors
    /// As [`App::registry`].
    pub(super) async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&AnyRegistry, UnixTime) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.registry(move |registry, now| (look(registry, now), Vec::new())).await
    }
}

/// What this server has done.
#[derive(Debug, Default)]
pub(super) struct HttpCounters {
    by_class: [AtomicU64; 5],
    refused_connections: AtomicU64,
    refused_tokens: AtomicU64,
    pub(super) connections: AtomicU64,
}

impl HttpCounters {
    /// Classes of answers, as [`HttpCounters::answers`] has them.
    pub(super) const CLASSES: [&'static str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

    pub(super) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused_connection(&self) {
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused_token(&self) {
        self.refused_tokens.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Self::CLASSES.into_iter().zip(self.by_class.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(super) fn refusals(&self) -> [(&'static str, u64); 2] {
        [
            ("connection", self.refused_connections.load(Ordering::Relaxed)),
            ("token", self.refused_tokens.load(Ordering::Relaxed)),
        ]
    }
}
