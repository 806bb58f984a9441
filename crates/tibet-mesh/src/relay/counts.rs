//! What has become of the frames.

use std::collections::BTreeMap;

/// Why a frame came to nothing. Its sender does not learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RelayDrop {
    /// No frame for a relay.
    Malformed,
    /// Of no session, or of one that is over.
    NoSession,
    /// Not made with the session's key: altered, redirected, another session's.
    Forged,
    /// Seen before, or too old to tell.
    Replayed,
    /// Genuine, but what it carries is no message of WireGuard.
    Foreign,
    /// The sender has sent too much in this second.
    Rate,
    /// The sender has sent too much in this day.
    Day,
    /// The sender has had too many targets in this hour.
    Targets,
    /// All senders together have sent too much.
    Total,
    /// The target has no session.
    Absent,
    /// The target's record does not name this relay.
    NotAccepting,
    /// The target has not shown for long where it is.
    Silent,
    /// Newer ones for the same target have taken its place.
    Overflow,
    /// The owner does not end its turns.
    Turn,
}

/// What a relay has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Datagrams handed out for delivery.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Calls answered.
    pub calls: u64,
    /// Times that a session's deliveries went to another address.
    pub moved: u64,
    /// What came to nothing, by reason.
    pub dropped: BTreeMap<RelayDrop, u64>,
}

impl RelayCounts {
    pub(super) fn add(&mut self, reason: RelayDrop) {
        *self.dropped.entry(reason).or_default() += 1;
    }
}
