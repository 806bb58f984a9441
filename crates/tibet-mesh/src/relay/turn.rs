//! What waits for the end of a turn.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::counts::RelayDrop;

/// Bytes that wait for the end of a turn, all in all; an owner that ends its turns never has as many.
const MAX_TURN: usize = 8 << 20;
/// Empty queues that are kept for the next turn.
const KEPT_QUEUES: usize = 1024;

/// The turn a session last got something in, and its queue there.
pub(super) type Place = (u64, usize);

/// What is sent when this turn ends: answers at once, deliveries by target.
#[derive(Debug)]
pub(super) struct Turn {
    number: u64,
    bytes: usize,
    replies: Vec<(SocketAddr, Vec<u8>)>,
    /// The first so many of them are used in this turn; the others keep their memory for the next.
    queues: Vec<(SocketAddr, VecDeque<Vec<u8>>)>,
    used: usize,
}

impl Turn {
    /// The [place](Place) of a session that never had a queue.
    pub(super) const NEVER: Place = (0, 0);

    pub(super) fn first() -> Self {
        Self { number: Self::NEVER.0 + 1, bytes: 0, replies: Vec::new(), queues: Vec::new(), used: 0 }
    }

    /// Counts what is to be sent in this turn: before it is made, since making it costs.
    pub(super) fn take_room(&mut self, bytes: usize) -> Result<(), RelayDrop> {
        if self.bytes + bytes > MAX_TURN {
            return Err(RelayDrop::Turn);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Has an answer wait, which takes room.
    pub(super) fn reply(&mut self, to: SocketAddr, datagram: Vec<u8>) -> Result<(), RelayDrop> {
        self.take_room(datagram.len())?;
        self.replies.push((to, datagram));
        Ok(())
    }

    /// Has a delivery wait, whose room was taken, with at most `most` for the same session: the oldest makes room.
    pub(super) fn deliver(
        &mut self,
        place: &mut Place,
        to: SocketAddr,
        datagram: Vec<u8>,
        most: usize,
    ) -> Result<(), RelayDrop> {
        let queue = self.queue_for(place, to);
        queue.push_back(datagram);
        if queue.len() > most {
            self.bytes -= queue.pop_front().map_or(0, |oldest| oldest.len()).min(self.bytes);
            return Err(RelayDrop::Overflow);
        }
        Ok(())
    }

    /// What waits for a session is not delivered.
    pub(super) fn clear(&mut self, (turn, place): Place) {
        if let Some((_, queue)) = self.queues.get_mut(place).filter(|_| turn == self.number) {
            queue.clear();
        }
    }

    /// Hands out the answers.
    pub(super) fn reply_all(&mut self, mut out: impl FnMut(SocketAddr, Vec<u8>)) {
        self.replies.drain(..).for_each(|(to, datagram)| out(to, datagram));
    }

    /// Hands out the deliveries, and begins the next turn.
    pub(super) fn deliver_all(&mut self, mut out: impl FnMut(SocketAddr, Vec<u8>)) {
        for (to, queue) in self.queues.iter_mut().take(self.used) {
            queue.drain(..).for_each(|datagram| out(*to, datagram));
        }
        self.number += 1;
        (self.used, self.bytes) = (0, 0);
        self.queues.truncate(KEPT_QUEUES);
    }

    /// The queue of a session in this turn, for deliveries to this place.
    fn queue_for(&mut self, known: &mut Place, to: SocketAddr) -> &mut VecDeque<Vec<u8>> {
        if known.0 != self.number {
            *known = (self.number, self.used);
            self.used += 1;
        }
        if self.queues.len() <= known.1 {
            self.queues.resize_with(known.1 + 1, || (to, VecDeque::new()));
        }
        let (place, queue) = &mut self.queues[known.1];
        *place = to;
        queue
    }
}
