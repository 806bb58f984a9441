//! A flood: what was made beforehand is sent as fast as one thread can, or at a rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::sources::Source;
use crate::Outcome;

/// Datagrams between two looks at the clock.
const BATCH: u64 = 64;

/// A flood that has not begun.
pub(super) struct Stream {
    sources: Vec<Source>,
    to: SocketAddr,
}

/// A flood on its way.
pub(super) struct Flowing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<u64>>,
}

impl Stream {
    pub(super) fn load(sources: Vec<Source>, to: SocketAddr) -> Self {
        Self { sources, to }
    }

    /// Begins, with so many datagrams a second at the most.
    pub(super) fn go(self, rate: Option<u32>) -> Flowing {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || self.flow(rate, &stopped));
        Flowing { stop, thread }
    }

    /// The sources take turns, and so do the datagrams of each.
    fn flow(&self, rate: Option<u32>, stop: &AtomicBool) -> std::io::Result<u64> {
        let begun = Instant::now();
        let mut sent = 0;
        let turns = (0..).flat_map(|turn| self.sources.iter().map(move |source| (turn, source)));
        for (turn, Source { socket, datagrams }) in turns {
            let length = datagrams.len().max(1);
            if let Some(datagram) = datagrams.get(turn % length) {
                socket.send_to(datagram, self.to)?;
            }
            sent += 1;
            if sent % BATCH == 0 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let due = rate.map_or(0.0, |rate| sent as f64 / f64::from(rate));
                thread::sleep(Duration::from_secs_f64(due).saturating_sub(begun.elapsed()));
            }
        }
        Ok(sent)
    }
}

impl Flowing {
    /// Ends it. How many datagrams were sent.
    pub(super) fn stop(self) -> Outcome<u64> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_| "the flood panicked")??)
    }
}
