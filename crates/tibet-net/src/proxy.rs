//! Programs and ports: connections of this machine that go to a peer, and connections of peers that go to a program here.
//!
//! | to … | see |
//! |---|---|
//! | have a port of this machine lead to a port of a peer | [`Forward`] |
//! | have a port of our overlay address lead to a program here | [`Expose`] |
//!
//! Both pass on bytes both ways, and the end of each direction when it comes. What breaks off on one side is reset on the other, so that half of something
//! does not look like all of it.

mod expose;
mod forward;
mod pass;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use self::expose::Expose;
pub use self::forward::{Forward, ForwardError};

/// Connections a proxy passes on at a time.
pub const MAX_PROXIED: usize = 1024;
/// Of these from one peer, for [`Expose`].
pub const MAX_PROXIED_PER_PEER: usize = 256;
/// How long the far side of a connection may take to be reached.
pub const REACH_TIMEOUT: Duration = Duration::from_secs(20);

/// What a proxy has done, and does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyCounts {
    /// Connections that are passed on now.
    pub open: usize,
    /// Connections ever taken.
    pub total: u64,
    /// Connections reset because their peer was not allowed or had too many.
    pub refused: u64,
    /// Bytes that came from the side that connects.
    pub bytes_in: u64,
    /// Bytes that went to it.
    pub bytes_out: u64,
    /// What last went wrong.
    pub last_error: Option<String>,
}

/// The same, where it is counted.
#[derive(Debug, Default)]
struct Counters {
    open: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Counters {
    fn read(&self) -> ProxyCounts {
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        ProxyCounts {
            open: usize::try_from(number(&self.open)).unwrap_or(usize::MAX),
            total: number(&self.total),
            refused: number(&self.refused),
            bytes_in: number(&self.bytes_in),
            bytes_out: number(&self.bytes_out),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn failed(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Counts a connection until the result is dropped.
    fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }
}

/// One connection, counted.
struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The task of a proxy; all it does ends when this is dropped.
#[derive(Debug)]
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
