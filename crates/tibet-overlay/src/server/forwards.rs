//! Questions that the node passes on to devices, until they are answered or given up.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use jis::{Query, Signed};

use super::shared::Asker;

/// Questions that wait for devices at a time: some 2 KiB each, 8 MiB.
const MAX_WAITING: usize = 4096;
/// When a question is sent again: datagrams get lost.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1500), Duration::from_millis(3000)];
/// When the asker is told that there is no answer.
const GIVE_UP: Duration = Duration::from_secs(5);

/// A question to a device for somebody else.
pub(super) struct Forward {
    /// What the device is asked.
    pub(super) query: Signed<Query>,
    /// Where.
    pub(super) to: SocketAddr,
    /// For whom.
    pub(super) asker: Asker,
    pub(super) asked_at: Duration,
    sent: usize,
}

#[derive(Default)]
pub(super) struct Forwards {
    waiting: HashMap<[u8; 8], Forward>,
    /// The questions of the askers that these are for, by the hash of each.
    requests: HashSet<[u8; 32]>,
}

impl Forwards {
    /// Notes a question that is being sent. Whether there is room.
    pub(super) fn insert(
        &mut self,
        query: Signed<Query>,
        to: SocketAddr,
        asker: Asker,
        now: Duration,
    ) -> bool {
        let id = query.claims().id;
        let room = self.waiting.len() < MAX_WAITING && !self.waiting.contains_key(&id);
        if room {
            self.requests.insert(asker.request);
            self.waiting.insert(id, Forward { query, to, asker, asked_at: now, sent: 0 });
        }
        room
    }

    /// Whether an answer with this id is awaited from there.
    pub(super) fn is_awaited(&self, id: &[u8; 8], from: SocketAddr) -> bool {
        self.waiting.get(id).is_some_and(|forward| forward.to == from)
    }

    /// Whether a question of an asker is on its way already: sent again because its answer is not there yet.
    pub(super) fn is_on_its_way(&self, asker: &Asker) -> bool {
        self.requests.contains(&asker.request)
    }

    /// The question with this id. It waits on until it is taken: what is no answer to it changes nothing (SECURITY R11).
    pub(super) fn query(&self, id: &[u8; 8]) -> Option<Signed<Query>> {
        self.waiting.get(id).map(|forward| forward.query.clone())
    }

    /// Takes a question that was answered.
    pub(super) fn take(&mut self, id: &[u8; 8]) -> Option<Forward> {
        let forward = self.waiting.remove(id)?;
        self.requests.remove(&forward.asker.request);
        Some(forward)
    }

    /// What is to be sent again, and what is given up. To be called every 100 ms or so.
    pub(super) fn handle_timeout(&mut self, now: Duration) -> (Vec<(SocketAddr, Vec<u8>)>, Vec<Forward>) {
        let mut again = Vec::new();
        let mut over = Vec::new();
        for (id, forward) in &mut self.waiting {
            let waited = now.saturating_sub(forward.asked_at);
            if waited >= GIVE_UP {
                over.push(*id);
            } else if AGAIN.get(forward.sent).is_some_and(|due| waited >= *due) {
                forward.sent += 1;
                again.push((forward.to, forward.query.encode()));
            }
        }
        (again, over.iter().filter_map(|id| self.take(id)).collect())
    }
}
