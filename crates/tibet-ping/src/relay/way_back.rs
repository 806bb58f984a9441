//! The way an answer takes back to the asker.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use jis::message_hash;

use crate::relay::{MAX_FAN_OUT, RelayDrop};

/// How long a way back is kept: the life of a packet.
pub const WAY_BACK_LIFETIME: Duration = Duration::from_secs(30);
/// Ways back kept: some 200 bytes each, 4 MiB.
pub const MAX_WAYS_BACK: usize = 16_384;
/// Answers that take one way back. More than one, so that a false answer does not keep the true one from arriving (SECURITY R11); few, so that
/// a packet is no licence to flood whoever sent it.
pub const MAX_ANSWERS: u8 = 4;

#[derive(Debug)]
struct WayBack {
    previous_hop: SocketAddr,
    /// Where the packet was sent; answers come from there and from nowhere else.
    sent_to: Vec<SocketAddr>,
    answers_left: u8,
    until: Duration,
}

/// Ways back by the SHA-256 of the packet's id: ids can be long, and all that Python targets repeat is the id.
#[derive(Debug, Default)]
pub(super) struct WaysBack {
    ways: BTreeMap<[u8; 32], WayBack>,
    /// In the order they came, which is the order they expire in.
    order: VecDeque<(Duration, [u8; 32])>,
}

impl WaysBack {
    pub(super) fn remember(
        &mut self,
        packet_id: &str,
        previous_hop: SocketAddr,
        sent_to: &[SocketAddr],
        now: Duration,
    ) -> Result<(), RelayDrop> {
        let key = message_hash(packet_id.as_bytes());
        if self.ways.contains_key(&key) {
            return Err(RelayDrop::IdTaken);
        }
        if self.ways.len() >= MAX_WAYS_BACK {
            return Err(RelayDrop::Full);
        }
        let until = now.saturating_add(WAY_BACK_LIFETIME);
        let sent_to = sent_to.iter().take(MAX_FAN_OUT).copied().collect();
        self.ways.insert(key, WayBack { previous_hop, sent_to, answers_left: MAX_ANSWERS, until });
        self.order.push_back((until, key));
        Ok(())
    }

    pub(super) fn answer(&mut self, packet_id: &str, from: SocketAddr, now: Duration) -> Option<SocketAddr> {
        let way = self.ways.get_mut(&message_hash(packet_id.as_bytes()))?;
        if now > way.until || !way.sent_to.contains(&from) {
            return None;
        }
        way.answers_left = way.answers_left.checked_sub(1)?;
        Some(way.previous_hop)
    }

    /// Each is forgotten once, so over time this costs what remembering did.
    pub(super) fn forget(&mut self, now: Duration) {
        while let Some(&(until, key)) = self.order.front()
            && until < now
        {
            self.ways.remove(&key);
            self.order.pop_front();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ways.len()
    }
}
