//! What waits for the workers, in two lanes: whoever is there already does not wait for strangers (SECURITY R18).

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::frames::Work;

/// What waits in a lane at most: less than two seconds' worth. Some 1 KiB each, 4 MiB, and 65 MiB at the very most.
pub(super) const MAX_WAITING: usize = 4096;

/// Whose work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Of a device that is there, at its address; or something that is awaited.
    Home,
    /// Of anybody else: taken when no device waits, however many strangers ask, each a little from an address of its own.
    Others,
}

/// Where work is put. Workers end when the last of these is dropped.
#[derive(Clone)]
pub(super) struct WorkQueue {
    waiting: Arc<Waiting>,
    _open: Arc<Open>,
}

/// Where workers take it from.
#[derive(Clone)]
pub(super) struct WorkSource(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    lanes: Mutex<Lanes>,
    changed: Condvar,
}

#[derive(Default)]
struct Lanes {
    home: VecDeque<Work>,
    others: VecDeque<Work>,
    closed: bool,
}

/// Closes the queue when it is dropped.
struct Open(Arc<Waiting>);

/// A queue with room for [`MAX_WAITING`] in each lane.
pub(super) fn queue() -> (WorkQueue, WorkSource) {
    let waiting = Arc::new(Waiting::default());
    let open = Arc::new(Open(Arc::clone(&waiting)));
    (WorkQueue { waiting: Arc::clone(&waiting), _open: open }, WorkSource(waiting))
}

impl WorkQueue {
    /// Whether there was room.
    pub(super) fn push(&self, lane: Lane, work: Work) -> bool {
        let mut lanes = self.waiting.lanes();
        let lane = match lane {
            Lane::Home => &mut lanes.home,
            Lane::Others => &mut lanes.others,
        };
        let room = lane.len() < MAX_WAITING;
        if room {
            lane.push_back(work);
        }
        drop(lanes);
        if room {
            self.waiting.changed.notify_one();
        }
        room
    }
}

impl WorkSource {
    /// The next; `None` when all queues are dropped and nothing waits.
    pub(super) fn next(&self) -> Option<Work> {
        let mut lanes = self.0.lanes();
        loop {
            let next = lanes.home.pop_front().or_else(|| lanes.others.pop_front());
            if next.is_some() || lanes.closed {
                return next;
            }
            lanes = self.0.changed.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Waiting {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lanes().closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(number: u32) -> Work {
        Work::Back(number)
    }

    fn number(work: Option<Work>) -> Option<u32> {
        match work {
            Some(Work::Back(number)) => Some(number),
            Some(_) => panic!("something else"),
            None => None,
        }
    }

    #[test]
    fn row_18_who_is_there_goes_first_and_each_lane_has_an_end() {
        let (queue, source) = queue();
        let room =
            |lane: Lane| (0..).take_while(|_| queue.push(lane, work(u32::from(lane == Lane::Home)))).count();
        assert_eq!((room(Lane::Others), room(Lane::Home)), (MAX_WAITING, MAX_WAITING));
        let taken: Vec<Option<u32>> = (0..2 * MAX_WAITING).map(|_| number(source.next())).collect();
        assert!(taken[..MAX_WAITING].iter().all(|lane| *lane == Some(1)));
        assert!(taken[MAX_WAITING..].iter().all(|lane| *lane == Some(0)));
    }

    #[test]
    fn workers_end_with_the_last_queue_and_after_what_waits() {
        let (queue, source) = queue();
        let other = queue.clone();
        let worker = std::thread::spawn(move || {
            let mut taken = Vec::new();
            taken.extend(std::iter::from_fn(|| number(source.next())));
            taken
        });
        assert!(queue.push(Lane::Home, work(1)));
        drop(queue);
        assert!(other.push(Lane::Others, work(2)));
        drop(other);
        assert_eq!(worker.join().expect("ended"), [1, 2]);
    }
}
