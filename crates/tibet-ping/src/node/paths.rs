//! What may be sent to an address.
//!
//! A signature says who speaks, never where from: a captured packet can be sent from any address, and what is answered goes there. So until an
//! address is proven, no more goes to it than came from it (SECURITY R15). It is proven when an answer comes from it to a question of ours,
//! which only somebody who received the question can give.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Addresses remembered: some 100 bytes each, 2 MiB. Only packets that were verified, or that the operator allows to be unsigned, enter one.
const MAX_PATHS: usize = 16_384;
/// How long an address that nothing comes from is remembered.
const IDLE: Duration = Duration::from_secs(120);
/// Answers that wait for their address to be proven.
const MAX_HELD: usize = 256;
/// Of these, answers to one source, so that no one fills the queue.
const MAX_HELD_PER_SOURCE: usize = 4;
/// How long they wait: four signs of life of an asker that is still there.
const HELD_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Path {
    /// Bytes that may go out before the address is proven.
    credit: usize,
    proven: bool,
    last_heard: Duration,
}

#[derive(Debug)]
struct Held {
    to: SocketAddr,
    source: String,
    bytes: Vec<u8>,
    until: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    paths: BTreeMap<SocketAddr, Path>,
    held: VecDeque<Held>,
    swept_at: Duration,
}

impl Paths {
    /// A packet of this many bytes was taken from `from`.
    pub(super) fn earn(&mut self, from: SocketAddr, bytes: usize, now: Duration) {
        if let Some(path) = self.entry(from, now) {
            path.credit = path.credit.saturating_add(bytes);
        }
    }

    /// An answer that proves it came from `from`.
    pub(super) fn prove(&mut self, from: SocketAddr, now: Duration) {
        if let Some(path) = self.entry(from, now) {
            path.proven = true;
        }
    }

    /// Whether an answer has come from there, and something else of late.
    pub(super) fn is_proven(&self, address: SocketAddr, now: Duration) -> bool {
        let heard = |path: &&Path| now.saturating_sub(path.last_heard) < IDLE;
        self.paths.get(&address).filter(heard).is_some_and(|path| path.proven)
    }

    /// An answer is awaited from `from`. That alone lets nothing be sent there.
    pub(super) fn expect(&mut self, from: SocketAddr, now: Duration) {
        let _ = self.entry(from, now);
    }

    /// Whether anything that was believed came from `from` of late, or is awaited.
    pub(super) fn is_known(&self, from: SocketAddr, now: Duration) -> bool {
        self.paths.get(&from).is_some_and(|path| now.saturating_sub(path.last_heard) < IDLE)
    }

    /// Whether this many bytes may go to `to`. If so they count as sent.
    pub(super) fn spend(&mut self, to: SocketAddr, bytes: usize, now: Duration) -> bool {
        let heard = |path: &&mut Path| now.saturating_sub(path.last_heard) < IDLE;
        let Some(path) = self.paths.get_mut(&to).filter(heard) else { return false };
        if path.proven {
            return true;
        }
        let left = path.credit.checked_sub(bytes);
        path.credit = left.unwrap_or(path.credit);
        left.is_some()
    }

    /// Keeps an answer to `source` until its address is proven or has sent enough. Whether there is room.
    pub(super) fn hold(&mut self, to: SocketAddr, source: &str, bytes: Vec<u8>, now: Duration) -> bool {
        self.held.retain(|held| held.until > now);
        let of_source = self.held.iter().filter(|held| held.source == source).count();
        let room = self.held.len() < MAX_HELD && of_source < MAX_HELD_PER_SOURCE;
        if room {
            let (source, until) = (source.to_owned(), now.saturating_add(HELD_FOR));
            self.held.push_back(Held { to, source, bytes, until });
        }
        room
    }

    /// How much more has to come from `to` before what waits for it may go; `None` when nothing waits.
    pub(super) fn owed(&self, to: SocketAddr, now: Duration) -> Option<usize> {
        let held = self.held.iter().find(|held| held.to == to && held.until > now)?;
        let credit = self.paths.get(&to).map_or(0, |path| path.credit);
        Some(held.bytes.len().saturating_sub(credit))
    }

    /// The next answer that waited for `to` and may go now.
    pub(super) fn release(&mut self, to: SocketAddr, now: Duration) -> Option<Vec<u8>> {
        let at = self.held.iter().position(|held| held.to == to && held.until > now)?;
        let length = self.held.get(at)?.bytes.len();
        if !self.spend(to, length, now) {
            return None;
        }
        self.held.remove(at).map(|held| held.bytes)
    }

    fn entry(&mut self, address: SocketAddr, now: Duration) -> Option<&mut Path> {
        if self.paths.len() >= MAX_PATHS && !self.paths.contains_key(&address) {
            // Looking through all of them at every packet would be work for an attacker to ask for.
            if now.saturating_sub(self.swept_at) >= Duration::from_secs(1) {
                self.swept_at = now;
                self.paths.retain(|_, path| now.saturating_sub(path.last_heard) < IDLE);
            }
            if self.paths.len() >= MAX_PATHS {
                return None;
            }
        }
        let new = Path { credit: 0, proven: false, last_heard: now };
        let path = self.paths.entry(address).or_insert(new);
        if now.saturating_sub(path.last_heard) >= IDLE {
            // Whoever has this address now may be somebody else.
            *path = new;
        }
        path.last_heard = now;
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn no_more_goes_out_than_came_in_until_the_address_is_proven() {
        let (mut paths, now) = (Paths::default(), Duration::from_secs(9));
        assert!(!paths.spend(address(1), 1, now));
        paths.earn(address(1), 900, now);
        assert!(paths.spend(address(1), 800, now));
        assert!(!paths.spend(address(1), 101, now));
        assert!(!paths.spend(address(2), 1, now));
        assert!(paths.hold(address(1), "jis:a", vec![0; 101], now));
        assert_eq!(paths.owed(address(1), now), Some(1));
        assert_eq!(paths.release(address(1), now), None);
        paths.prove(address(1), now);
        assert_eq!(paths.release(address(1), now), Some(vec![0; 101]));
        assert_eq!(paths.release(address(1), now), None);
        assert!(paths.spend(address(1), 1 << 20, now));
        // After two minutes of silence it may be somebody else's.
        assert!(!paths.spend(address(1), 1, now + IDLE));
        paths.earn(address(1), 10, now + IDLE);
        assert!(!paths.spend(address(1), 11, now + IDLE));
    }

    #[test]
    fn a_full_table_refuses_new_addresses_until_old_ones_are_silent() {
        let mut paths = Paths::default();
        let start = Duration::from_secs(9);
        let nth = |n: usize| SocketAddr::from(([10, 9, (n >> 16) as u8, 1], n as u16));
        (0..MAX_PATHS).for_each(|n| paths.earn(nth(n), 1, start));
        paths.earn(address(1), 5, start);
        assert!(!paths.spend(address(1), 5, start));
        paths.earn(address(1), 5, start + IDLE);
        assert!(paths.spend(address(1), 5, start + IDLE));
        let hold = |paths: &mut Paths, n: usize, now| paths.hold(address(1), &n.to_string(), vec![1], now);
        (0..MAX_HELD).for_each(|n| assert!(hold(&mut paths, n / MAX_HELD_PER_SOURCE, start)));
        assert!(!hold(&mut paths, MAX_HELD, start));
        assert!((0..MAX_HELD_PER_SOURCE).all(|_| hold(&mut paths, 1, start + HELD_FOR)));
        assert!(!hold(&mut paths, 1, start + HELD_FOR));
    }
}
