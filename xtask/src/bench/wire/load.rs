//! A client that keeps a number of requests on their way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tokio::time::timeout;

use super::micros;
use crate::Outcome;

/// Loopback loses nothing; whoever waits so long waits for ever.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) outstanding: usize,
    pub(crate) pings: usize,
}

pub(crate) struct Measured {
    pings: usize,
    wall: Duration,
    /// Of the whole process: both ends.
    pub(crate) cpu: Duration,
    /// Of the end that answers, where that is known.
    pub(crate) answering: Option<Duration>,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Measured {
    /// The same, with the processor time that the answering end took.
    pub(crate) fn answered_in(self, answering: Duration) -> Self {
        Self { answering: Some(answering), ..self }
    }

    pub(crate) fn pings(&self) -> usize {
        self.pings
    }

    pub(crate) fn rate(&self) -> f64 {
        self.pings as f64 / self.wall.as_secs_f64()
    }

    /// In microseconds.
    pub(crate) fn latency(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        micros(self.latencies[at.min(self.latencies.len() - 1)])
    }
}

/// Measures wall time and the processor time of this process.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { wall: Instant::now(), cpu: processor_time() }
    }

    pub(crate) fn stop(self, mut latencies: Vec<Duration>) -> Measured {
        let (wall, cpu) = (self.wall.elapsed(), processor_time() - self.cpu);
        latencies.sort();
        Measured { pings: latencies.len(), wall, cpu, answering: None, latencies }
    }
}

fn processor_time() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

/// Processor time of the calling thread so far.
pub(crate) fn time_of_thread() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Sends `load.pings` requests made by `make`, keeps `load.outstanding` on their way, and has `number_of` say which one a datagram answers.
pub(crate) async fn drive(
    port: &UdpPort,
    server: SocketAddr,
    load: Load,
    mut make: impl FnMut(u64) -> Outcome<Vec<u8>>,
    mut number_of: impl FnMut(&[u8]) -> Outcome<u64>,
) -> Outcome<Measured> {
    let mut buffers = ReceiveBuffers::new();
    let mut on_their_way: HashMap<u64, Instant> = HashMap::new();
    let mut latencies = Vec::with_capacity(load.pings);
    let mut next = 0;
    let watch = Stopwatch::start();
    while latencies.len() < load.pings {
        let mut batch = Vec::new();
        while on_their_way.len() < load.outstanding && next < load.pings as u64 {
            on_their_way.insert(next, Instant::now());
            batch.push(Outgoing { to: server, bytes: make(next)? });
            next += 1;
        }
        if !batch.is_empty() {
            port.send(&batch).await;
        }
        timeout(DEADLINE, port.recv(&mut buffers)).await.map_err(|_| "an answer was lost")??;
        for (_, datagram) in buffers.datagrams() {
            let sent = on_their_way.remove(&number_of(datagram)?).ok_or("an answer to nothing")?;
            latencies.push(sent.elapsed());
        }
    }
    Ok(watch.stop(latencies))
}
