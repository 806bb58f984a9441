//! The last ids of the pings that came through each tunnel.
//!
//! A tunnel refuses datagrams it has seen already, so nobody but the peer itself could send a ping twice; this keeps a peer that does from being heard
//! twice. Unlike the memory of nonces it forgets by number and not by time: a tunnel is for those who ask often.

use std::collections::BTreeMap;
use std::time::Duration;

use jis::PublicKey;

use crate::compact::ExchangeId;

/// Ids remembered of each peer: half a KiB. More than a tunnel reorders.
const REMEMBERED: usize = 64;
/// Peers remembered: as many as there are keys, with which they take 10 MiB.
const MAX_TUNNELS: usize = 16_384;
/// A peer that was silent for so long gives way to another. Its tunnel is over by then, and what went through it cannot come again.
const IDLE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Tunnels {
    /// By the peer's key: it is found sooner than a name, since it lies in the map itself. Boxed, so that entering a peer moves little.
    peers: BTreeMap<[u8; 32], Box<Ids>>,
    swept_at: Duration,
}

#[derive(Debug)]
struct Ids {
    ids: [u64; REMEMBERED],
    /// How many there are, and where the next one goes.
    filled: usize,
    next: usize,
    last_heard: Duration,
}

/// Why a ping is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotNew {
    /// It was heard before.
    Seen,
    /// Too many peers are heard of late.
    Full,
}

impl Tunnels {
    /// Takes note of the id of a ping from whoever holds this key.
    pub(super) fn hear(&mut self, peer: &PublicKey, id: ExchangeId, now: Duration) -> Result<(), NotNew> {
        let id = u64::from_be_bytes(id);
        if let Some(ids) = self.peers.get_mut(peer.as_bytes()) {
            return ids.hear(id, now);
        }
        if self.peers.len() >= MAX_TUNNELS {
            // Looking through all of them at every ping would be work for a peer to ask for.
            if now.saturating_sub(self.swept_at) >= Duration::from_secs(1) {
                self.swept_at = now;
                self.peers.retain(|_, ids| now.saturating_sub(ids.last_heard) < IDLE);
            }
            if self.peers.len() >= MAX_TUNNELS {
                return Err(NotNew::Full);
            }
        }
        let mut ids = Box::new(Ids { ids: [0; REMEMBERED], filled: 0, next: 0, last_heard: now });
        let heard = ids.hear(id, now);
        self.peers.insert(*peer.as_bytes(), ids);
        heard
    }
}

impl Ids {
    fn hear(&mut self, id: u64, now: Duration) -> Result<(), NotNew> {
        self.last_heard = now;
        // All of them at once, without leaving off at the first: the machine compares several in one step.
        let seen = self.ids.iter().take(self.filled).fold(false, |seen, other| seen | (*other == id));
        if seen {
            return Err(NotNew::Seen);
        }
        if let Some(place) = self.ids.get_mut(self.next) {
            *place = id;
        }
        self.next = (self.next + 1) % REMEMBERED;
        self.filled = (self.filled + 1).min(REMEMBERED);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> ExchangeId {
        (n as u64).to_be_bytes()
    }

    fn peer(n: usize) -> PublicKey {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        jis::SecretKey::from_seed(seed.into()).expect("a seed").public_key()
    }

    #[test]
    fn an_id_is_heard_once_of_each_peer_until_64_others_have_come() {
        let (mut tunnels, now) = (Tunnels::default(), Duration::from_secs(9));
        // Zero too, which is what an empty memory is full of.
        for n in 0..REMEMBERED {
            assert_eq!(tunnels.hear(&peer(1), id(n), now), Ok(()));
        }
        for n in 0..REMEMBERED {
            assert_eq!(tunnels.hear(&peer(1), id(n), now), Err(NotNew::Seen), "{n}");
        }
        assert_eq!(tunnels.hear(&peer(2), id(0), now), Ok(()));
        assert_eq!(tunnels.hear(&peer(1), id(REMEMBERED), now), Ok(()));
        assert_eq!(tunnels.hear(&peer(1), id(0), now), Ok(()), "forgotten");
        assert_eq!(tunnels.hear(&peer(1), id(2), now), Err(NotNew::Seen));
    }

    #[test]
    fn a_full_table_hears_no_new_peer_until_old_ones_are_silent() {
        let (mut tunnels, start) = (Tunnels::default(), Duration::from_secs(9));
        for n in 0..MAX_TUNNELS {
            assert_eq!(tunnels.hear(&peer(n), id(1), start), Ok(()));
        }
        assert_eq!(tunnels.hear(&peer(MAX_TUNNELS), id(1), start), Err(NotNew::Full));
        assert_eq!(tunnels.hear(&peer(1), id(2), start), Ok(()), "known ones are heard");
        assert_eq!(tunnels.hear(&peer(MAX_TUNNELS), id(1), start + IDLE), Ok(()));
        assert_eq!(tunnels.peers.len(), 1);
    }
}
