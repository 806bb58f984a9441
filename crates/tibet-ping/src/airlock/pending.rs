//! Pings that wait for a human.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::frame::Encoding;
use crate::node::Via;
use crate::now::Now;
use crate::packet::Packet;
use crate::words::Decision;

/// Pings that can wait: more than a human decides in an afternoon.
pub const MAX_PENDING: usize = 1024;
/// Pings of one source that can wait, so that no one fills the queue.
pub const MAX_PENDING_PER_SOURCE: usize = 16;
/// Bytes of frames that can wait: 1024 packets of 4 KiB; a packet in memory takes a small multiple of its frame.
pub const MAX_PENDING_BYTES: usize = 4 << 20;
/// How long a ping waits: an asker that got no answer for ten minutes is not waiting any more.
pub const PENDING_LIFETIME: Duration = Duration::from_secs(600);

/// A ping that waits, with all that is needed to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingPing {
    /// The packet.
    pub packet: Packet,
    /// Bytes of the frame it came in.
    pub frame_len: usize,
    /// Where the answer goes.
    pub reply_to: Via,
    /// The encoding the answer takes: the packet's own. Without meaning in a tunnel.
    pub encoding: Encoding,
    /// Whether the asker wants to hear of the decision. Who sends datagrams always does.
    pub wanted: bool,
    /// The sender's trust when it came.
    pub trust: f64,
    /// Why it waits.
    pub reason: String,
    /// The rule that decided so, by name.
    pub rule: Option<String>,
    /// When it came.
    pub since: Now,
}

/// Why a ping cannot wait. It is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PendingRefusal {
    /// One of this source with this id waits already. It is not replaced: the human may be looking at it.
    #[error("a ping with this id waits already")]
    Known,
    /// [`MAX_PENDING_PER_SOURCE`].
    #[error("too many pings of this source wait")]
    SourceFull,
    /// [`MAX_PENDING`] or [`MAX_PENDING_BYTES`].
    #[error("the queue is full")]
    Full,
}

/// A ping that was decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The ping, to be answered.
    pub ping: PendingPing,
    /// What the answer says: [`Decision::Accept`] or [`Decision::Reject`]. The asker was told `pending`, so a refusal is no news of our existence.
    pub decision: Decision,
}

/// Pings that wait, by source and packet id, the oldest first.
#[derive(Debug, Default)]
pub struct PendingQueue {
    waiting: BTreeMap<(String, String), PendingPing>,
    /// In the order they came, which is the order they expire in. Those that were settled stay until their time comes.
    order: VecDeque<(Duration, (String, String))>,
    bytes: usize,
    refused: u64,
    expired: u64,
}

impl PendingQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a ping wait.
    ///
    /// # Errors
    /// [`PendingRefusal`].
    pub fn handle_pending(&mut self, ping: PendingPing) -> Result<(), PendingRefusal> {
        if let Some(refusal) = self.refusal(&ping) {
            self.refused += 1;
            return Err(refusal);
        }
        let key = (ping.packet.source_did.clone(), ping.packet.packet_id.clone());
        self.bytes += ping.frame_len;
        self.order.push_back((ping.since.mono.saturating_add(PENDING_LIFETIME), key.clone()));
        self.waiting.insert(key, ping);
        Ok(())
    }

    /// Lets a ping in: the asker gets an answer.
    pub fn approve(&mut self, source: &str, packet_id: &str) -> Option<Settled> {
        self.take(source, packet_id).map(|ping| Settled { ping, decision: Decision::Accept })
    }

    /// Refuses a ping: the asker gets an answer.
    pub fn deny(&mut self, source: &str, packet_id: &str) -> Option<Settled> {
        self.take(source, packet_id).map(|ping| Settled { ping, decision: Decision::Reject })
    }

    /// Drops what has waited too long, and gives it back for the record. Such a ping is not answered.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<PendingPing> {
        let mut expired = Vec::new();
        while let Some((due, key)) = self.order.front()
            && *due <= now.mono
        {
            // Settled meanwhile, and perhaps asked again since: only what came then expires now.
            let due = *due;
            if self.waiting.get(key).is_some_and(|p| p.since.mono.saturating_add(PENDING_LIFETIME) <= due) {
                expired.extend(self.waiting.remove(key));
            }
            self.order.pop_front();
        }
        self.bytes -= expired.iter().map(|ping| ping.frame_len).sum::<usize>();
        self.expired += expired.len() as u64;
        expired
    }

    /// When the next ping has waited too long, in monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.order.front().map(|(due, _)| *due)
    }

    /// Whether a ping of this source waits.
    #[must_use]
    pub fn waits_for(&self, source: &str) -> bool {
        self.of(source).next().is_some()
    }

    /// The pings that wait, by source.
    pub fn iter(&self) -> impl Iterator<Item = &PendingPing> {
        self.waiting.values()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many could not wait, and how many waited too long.
    #[must_use]
    pub fn dropped(&self) -> (u64, u64) {
        (self.refused, self.expired)
    }

    fn refusal(&self, ping: &PendingPing) -> Option<PendingRefusal> {
        let source = &ping.packet.source_did;
        if self.waiting.contains_key(&(source.clone(), ping.packet.packet_id.clone())) {
            return Some(PendingRefusal::Known);
        }
        if self.of(source).take(MAX_PENDING_PER_SOURCE).count() == MAX_PENDING_PER_SOURCE {
            return Some(PendingRefusal::SourceFull);
        }
        // The order is bounded too, so that approving at once does not make it grow without end.
        let full = self.waiting.len() >= MAX_PENDING || self.order.len() >= 4 * MAX_PENDING;
        let too_large = self.bytes.saturating_add(ping.frame_len) > MAX_PENDING_BYTES;
        (full || too_large).then_some(PendingRefusal::Full)
    }

    fn of(&self, source: &str) -> impl Iterator<Item = &PendingPing> {
        let first = (source.to_owned(), String::new());
        self.waiting.range(first..).take_while(move |((other, _), _)| other == source).map(|(_, ping)| ping)
    }

    fn take(&mut self, source: &str, packet_id: &str) -> Option<PendingPing> {
        let ping = self.waiting.remove(&(source.to_owned(), packet_id.to_owned()))?;
        self.bytes -= ping.frame_len;
        Some(ping)
    }
}
