//! Between a node and whoever has the tunnels.
//!
//! The node's task never calls into the tunnels while it holds the node, and the tunnels never have to wait for the node: what came out of them lies in an inbox
//! until the task comes to it, and what goes into them the task hands over when it sends everything else, that is after its token is on disk (SECURITY R63).

use std::fmt;
use std::sync::Arc;

use jis::{Name, PublicKey};

use super::shared::Shared;
use crate::udp::Outgoing;

/// Datagrams that wait in the inbox: 10 MiB of the longest. The task empties it after each batch it has received, which brings fewer.
const MAX_WAITING: usize = 8192;

/// Whoever has the tunnels.
pub trait SealedSender: Send {
    /// Whether there is a live tunnel to `peer`. Asked for each ping that could travel in one; it must not call back into the node.
    fn is_live(&self, peer: &Name) -> bool;

    /// Puts a datagram into the tunnel to `peer`: UDP from our overlay address, port 7150, to the peer's. What is to leave this machine is added to `out`.
    /// Called in the node's task, while nothing of the node is locked. If the tunnel is gone, so is the datagram.
    fn seal(&mut self, peer: &Name, datagram: &[u8], out: &mut Vec<Outgoing>);
}

/// What came through a tunnel.
pub(super) struct Opened {
    pub(super) peer: Name,
    pub(super) key: PublicKey,
    pub(super) datagram: Vec<u8>,
}

/// Takes what came through tunnels, for the node. Can be used anywhere, in [`Frames`](super::Frames) too.
#[derive(Clone)]
pub struct SealedInbox {
    pub(super) shared: Arc<Shared>,
}

impl SealedInbox {
    /// Hands the node a datagram that came through the tunnel to `peer`, whose other end has proved that it holds `key`. The node looks at it when its
    /// task comes to it. Whether there was room.
    #[must_use]
    pub fn push(&self, peer: &Name, key: &PublicKey, datagram: &[u8]) -> bool {
        let mut inbox = self.shared.inbox();
        if inbox.len() >= MAX_WAITING {
            return false;
        }
        let (was_empty, datagram) = (inbox.is_empty(), datagram.to_vec());
        inbox.push(Opened { peer: peer.clone(), key: *key, datagram });
        drop(inbox);
        if was_empty {
            self.shared.work.notify_one();
        }
        true
    }
}

impl fmt::Debug for SealedInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedInbox").finish_non_exhaustive()
    }
}
