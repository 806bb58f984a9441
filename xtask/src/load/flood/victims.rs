//! What honest devices ask all the while, and what becomes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tibet_overlay::intents::OverlayRequest;
use tibet_ping::{Compact, Frame};
use tokio::task::JoinHandle;

use crate::Outcome;
use crate::flood::Served;
use crate::load::fleet::Fleet;
use crate::load::phases::answer;
use crate::load::socket::Socket;

/// An answer later than this counts as lost. Nothing is asked twice.
const PATIENCE: Duration = Duration::from_secs(1);
/// One request in so many is a signed question; of the others half are look-ups, half keepalives.
const SIGNED: u64 = 10;
/// Bytes of what an echo sends back: as long as an answer to a look-up.
const ECHO: usize = 460;

/// What an answer is known by.
type Key = [u8; 16];

/// What answering costs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// A keyed hash at most.
    Light,
    /// A signature checked, and one made.
    Signed,
}

/// A request and what became of it.
pub(super) struct Sample {
    pub(super) work: Work,
    pub(super) sent: Instant,
    /// Until it was answered; `None` if it was not.
    pub(super) took: Option<Duration>,
}

/// Somebody who wants something of a server again and again.
pub(super) trait Victim: Send + Sync + 'static {
    /// Request number `number` through socket number `at`.
    fn ask(&self, at: usize, socket: &Socket, number: u64) -> (Key, Work, Vec<u8>);
    /// Which request a datagram answers as it should.
    fn answered(&self, datagram: &[u8]) -> Option<Key>;
}

/// The devices of a fleet.
pub(super) struct Devices {
    pub(super) fleet: Fleet,
    sockets: usize,
    /// Keepalives sent through each socket, whose devices take turns: over all floods, so that none of them is gone.
    kept: Vec<AtomicU64>,
}

impl Devices {
    pub(super) fn new(fleet: Fleet, sockets: usize) -> Self {
        Self { fleet, sockets, kept: (0..sockets).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Victim for Devices {
    fn ask(&self, at: usize, socket: &Socket, number: u64) -> (Key, Work, Vec<u8>) {
        let id = number.to_be_bytes();
        let key = key(id);
        // Those that registered through this socket, one after the other.
        let own = (self.fleet.devices as usize - at).div_ceil(self.sockets);
        let kept = &self.kept[at];
        let device = at + self.sockets * (kept.load(Ordering::Relaxed) as usize % own);
        let wanted = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % self.fleet.devices;
        let name = self.fleet.name(wanted);
        // Each socket at another time, so that there is one among any few requests.
        if (number + at as u64).is_multiple_of(SIGNED) {
            let request = OverlayRequest::Resolve { name, events_from: None };
            let query = self.fleet.ask(device as u32, &request, &socket.greeting, id);
            return (key, Work::Signed, Compact::Query(&query.encode()).write());
        }
        if number.is_multiple_of(2) {
            let cookie = socket.greeting.cookie;
            let lookup = Compact::Lookup { id, cookie, events_from: None, name: name.as_str() };
            return (key, Work::Light, lookup.write());
        }
        kept.fetch_add(1, Ordering::Relaxed);
        let token = self.fleet.tokens[device];
        (token, Work::Light, Compact::Keepalive(token).write())
    }

    fn answered(&self, datagram: &[u8]) -> Option<Key> {
        let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { return None };
        match Compact::read(kind, body).ok()? {
            Compact::Alive(token) => Some(token),
            Compact::Found { id, found } if !found.record.is_empty() => Some(key(id)),
            // A node that says it is busy has not served.
            frame @ Compact::Answer { id, .. } => answer(&frame, None).is_ok().then(|| key(id)),
            _ => None,
        }
    }
}

/// Whoever wants back what it sent.
pub(super) struct Echoed;

impl Victim for Echoed {
    fn ask(&self, _: usize, _: &Socket, number: u64) -> (Key, Work, Vec<u8>) {
        let key = key(number.to_be_bytes());
        let mut datagram = vec![0; ECHO];
        datagram[..key.len()].copy_from_slice(&key);
        (key, Work::Light, datagram)
    }

    fn answered(&self, datagram: &[u8]) -> Option<Key> {
        datagram.first_chunk().copied()
    }
}

fn key(id: [u8; 8]) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&id);
    key
}

/// A socket, and what became of the requests through it.
type Used = (Socket, Vec<Sample>);

/// Requests through all sockets, until they are stopped.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Outcome<Used>>>,
}

impl Traffic {
    /// One request through each socket every `every`, the sockets one after the other.
    pub(super) fn start<V: Victim>(victim: Arc<V>, sockets: Vec<Socket>, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (begun, count) = (Instant::now(), sockets.len() as u32);
        let tasks = sockets.into_iter().enumerate().map(|(at, socket)| {
            let first = begun + every * at as u32 / count;
            let user = User { at, socket, samples: Vec::new(), waiting: HashMap::new() };
            tokio::spawn(user.use_server(Arc::clone(&victim), first, every, Arc::clone(&stop)))
        });
        Self { tasks: tasks.collect(), stop }
    }

    /// Waits for what is still on its way. Gives the sockets back, in their order, and what became of all requests.
    pub(super) async fn stop(self) -> Outcome<(Vec<Socket>, Vec<Sample>)> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut sockets, mut samples) = (Vec::new(), Vec::new());
        for task in self.tasks {
            let (socket, taken) = task.await??;
            sockets.push(socket);
            samples.extend(taken);
        }
        Ok((sockets, samples))
    }
}

/// A socket and what is on its way through it.
struct User {
    at: usize,
    socket: Socket,
    samples: Vec<Sample>,
    /// Places in `samples`.
    waiting: HashMap<Key, usize>,
}

impl User {
    async fn use_server<V: Victim>(
        mut self,
        victim: Arc<V>,
        mut due: Instant,
        every: Duration,
        stop: Arc<AtomicBool>,
    ) -> Outcome<Used> {
        for number in 0.. {
            self.take_until(&*victim, due).await?;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (key, work, datagram) = victim.ask(self.at, &self.socket, number);
            self.waiting.insert(key, self.samples.len());
            self.samples.push(Sample { work, sent: Instant::now(), took: None });
            self.socket.send(vec![datagram]).await;
            due += every;
        }
        self.take_until(&*victim, Instant::now() + PATIENCE).await?;
        Ok((self.socket, self.samples))
    }

    async fn take_until<V: Victim>(&mut self, victim: &V, end: Instant) -> Outcome<()> {
        loop {
            let Some(wait) = end.checked_duration_since(Instant::now()) else { return Ok(()) };
            let Self { socket, samples, waiting, .. } = self;
            let take = |datagram: &[u8]| {
                let Some(at) = victim.answered(datagram).and_then(|key| waiting.remove(&key)) else { return };
                let took = samples[at].sent.elapsed();
                samples[at].took = (took <= PATIENCE).then_some(took);
            };
            socket.receive(wait, take).await?;
        }
    }
}

/// How these were served.
pub(super) fn served<'a>(samples: impl Iterator<Item = &'a Sample>) -> Served {
    let mut served = Served::default();
    for sample in samples {
        served.sent += 1;
        served.answered.extend(sample.took);
    }
    served.answered.sort();
    served
}
