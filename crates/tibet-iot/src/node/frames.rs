//! What else travels on a node's socket than pings: frames of version 2, and datagrams of other protocols.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::shared::Shared;
use crate::udp::{Outgoing, SendReport};

/// Datagrams that wait to be sent through an [`Outbox`]; the task fetches them at once, so this is reached only when the socket is full.
const MAX_WAITING: usize = 32_768;

/// What a node does with all that is no ping. Called in the node's task, one batch after the other: what takes long belongs elsewhere.
pub trait Frames: Send {
    /// Takes a frame of version 2. What is to be sent in answer is added to `out`.
    fn handle(&mut self, from: SocketAddr, kind: u8, body: &[u8], out: &mut Vec<Outgoing>);

    /// Takes a datagram that is no frame at all. Whether it was for it; what was not is counted as malformed.
    fn handle_foreign(&mut self, _from: SocketAddr, _datagram: &[u8], _out: &mut Vec<Outgoing>) -> bool {
        false
    }

    /// All that had come in has been handed over: what was gathered meanwhile goes on together.
    fn end_of_batch(&mut self, _out: &mut Vec<Outgoing>) {}
}

/// Sends datagrams through a node's socket, from anywhere in the program.
#[derive(Clone)]
pub struct Outbox {
    pub(super) shared: Arc<Shared>,
}

impl Outbox {
    /// Sends datagrams as soon as the node's task comes to it. Those beyond 32 768 that wait are dropped; how many.
    pub fn send(&self, datagrams: impl IntoIterator<Item = Outgoing>) -> usize {
        let mut waiting = self.shared.outbox();
        let mut dropped = 0;
        for datagram in datagrams {
            if waiting.len() < MAX_WAITING {
                waiting.push(datagram);
            } else {
                dropped += 1;
            }
        }
        drop(waiting);
        self.shared.work.notify_one();
        dropped
    }
}

impl Outbox {
    /// Sends datagrams at once, in the caller's task and without waiting: for what is in a hurry, and has no token that must be on disk before it. What the
    /// socket has no room for follows as with [`Outbox::send`], and so does all of it when something waits already. How many were dropped.
    pub fn send_now(&self, mut datagrams: Vec<Outgoing>) -> usize {
        // Let go of before the socket is locked.
        let first = self.shared.outbox().is_empty();
        if first && let Some(port) = &*self.shared.port() {
            let mut report = SendReport::default();
            let done = port.try_send(&datagrams, &mut report);
            datagrams.drain(..done);
            *self.shared.sent() += report;
        }
        if datagrams.is_empty() { 0 } else { self.send(datagrams) }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}
