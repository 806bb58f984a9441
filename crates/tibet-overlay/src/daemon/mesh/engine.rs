//! The mesh machine on the device's socket.
//!
//! Datagrams come in from the socket's task, packets from programs, and what the machine has to say goes out again in the same call, one batch at a time. The
//! lock is never held across an `await`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tibet_iot::Outgoing;
use tibet_mesh::{Mesh, MeshEvent};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;

use super::sealed::Pings;
use crate::client::{MeshTraffic, Wire};

/// Events that wait for the mesh's task; what finds no room comes again.
const MAX_EVENTS: usize = 1024;
/// Addresses that packets wait for until it is known who is there, packets for each, and how long.
const MAX_UNKNOWN: usize = 64;
const MAX_WAITING: usize = 16;
const WAIT: Duration = Duration::from_secs(10);

/// Where packets from peers go: the programs of this machine.
pub(super) type Sink = Box<dyn Fn(&mut Vec<BytesMut>) + Send + Sync>;

/// The machine, its time, and its ways in and out.
pub(super) struct Engine {
    state: Mutex<State>,
    started: Instant,
    wire: Wire,
    /// Something is due earlier than was thought.
    earlier: Notify,
    news: News,
    sink: OnceLock<Sink>,
    pings: Pings,
}

/// Where events go.
struct News {
    events: mpsc::Sender<Happened>,
    /// For each relay, whoever keeps a session with it. The machine says but once that another is due, so that is not among what may find no room.
    relays: Vec<Arc<Notify>>,
}

impl News {
    fn tell(&self, event: MeshEvent) {
        if let MeshEvent::RelayDue(id) = event {
            let relay = usize::try_from(id.0).ok().and_then(|index| self.relays.get(index));
            relay.inspect(|due| due.notify_one());
        } else {
            let _ = self.events.try_send(Happened::Mesh(event));
        }
    }
}

struct State {
    mesh: Mesh,
    /// When the timer's task wakes.
    scheduled: Option<Duration>,
    arrived: Vec<BytesMut>,
    unknown: BTreeMap<Ipv6Addr, Unknown>,
}

struct Unknown {
    since: Duration,
    packets: VecDeque<BytesMut>,
}

/// What the mesh's task is to see to.
#[derive(Debug)]
pub(super) enum Happened {
    /// Of a peer or a relay.
    Mesh(MeshEvent),
    /// A program has sent something to an address that is no peer's.
    Unknown(Ipv6Addr),
}

impl Engine {
    /// On this socket, with so many nodes that may be relays.
    pub(super) fn new(mesh: Mesh, wire: Wire, relays: usize) -> (Arc<Self>, mpsc::Receiver<Happened>) {
        let (events, happened) = mpsc::channel(MAX_EVENTS);
        let state = State { mesh, scheduled: None, arrived: Vec::new(), unknown: BTreeMap::new() };
        let engine = Self {
            state: Mutex::new(state),
            started: Instant::now(),
            wire,
            earlier: Notify::new(),
            news: News { events, relays: (0..relays).map(|_| Arc::default()).collect() },
            sink: OnceLock::new(),
            pings: Pings::default(),
        };
        (Arc::new(engine), happened)
    }

    /// Has this get what peers send to programs. Once.
    pub(super) fn set_sink(&self, sink: Sink) {
        let _ = self.sink.set(sink);
    }

    /// Calls into the machine, and sends what comes of it.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Mesh, Duration) -> T) -> T {
        let mut out = Vec::new();
        let mut state = self.state();
        let result = call(&mut state.mesh, self.now());
        self.flush(&mut state, &mut out);
        drop(state);
        self.send(out);
        result
    }

    /// Programs send packets.
    pub(super) fn send_packets(&self, packets: &mut Vec<BytesMut>) {
        let now = self.now();
        let mut out = Vec::with_capacity(packets.len());
        let mut state = self.state();
        for packet in packets.drain(..) {
            match destination(&packet) {
                Some(to) if !state.mesh.has_peer(to) => self.keep(&mut state, to, packet, now),
                // What is no packet for the mesh is nobody's: the kernel sends such things at times.
                _ => drop(state.mesh.handle_packet(packet, now)),
            }
        }
        self.flush(&mut state, &mut out);
        drop(state);
        self.send(out);
    }

    /// Sends a packet of our own to a peer; what is to leave this machine is added to `out`.
    pub(super) fn send_packet(&self, packet: BytesMut, out: &mut Vec<Outgoing>) {
        let mut state = self.state();
        // If it is no peer's any more, the packet is lost like any that comes too late.
        let _ = state.mesh.handle_packet(packet, self.now());
        self.flush(&mut state, out);
    }

    /// Tells whenever the session with the relay of this index is to be opened anew.
    pub(super) fn relay_due(&self, index: usize) -> Option<Arc<Notify>> {
        self.news.relays.get(index).map(Arc::clone)
    }

    pub(super) fn pings(&self) -> &Pings {
        &self.pings
    }

    /// Sends what has waited for an address that is a peer's now.
    pub(super) fn release(&self, address: Ipv6Addr) {
        let waited = self.state().unknown.remove(&address);
        if let Some(waited) = waited {
            self.send_packets(&mut waited.packets.into());
        }
    }

    /// Keeps time, without end.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let due = {
                let mut state = self.state();
                state.scheduled = state.mesh.poll_timeout();
                state.scheduled
            };
            let woken = self.earlier.notified();
            match due {
                Some(due) => tokio::select! {
                    () = sleep_until((self.started + due).into()) => {}
                    () = woken => continue,
                },
                None => {
                    woken.await;
                    continue;
                }
            }
            self.with(Mesh::handle_timeout);
        }
    }

    /// The machine's time.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Keeps a packet until it is known who is there.
    fn keep(&self, state: &mut State, to: Ipv6Addr, packet: BytesMut, now: Duration) {
        state.unknown.retain(|_, unknown| now.saturating_sub(unknown.since) < WAIT);
        if !state.unknown.contains_key(&to) {
            if state.unknown.len() >= MAX_UNKNOWN || self.news.events.try_send(Happened::Unknown(to)).is_err()
            {
                return;
            }
            state.unknown.insert(to, Unknown { since: now, packets: VecDeque::new() });
        }
        let Some(unknown) = state.unknown.get_mut(&to) else { return };
        if unknown.packets.len() >= MAX_WAITING {
            unknown.packets.pop_front();
        }
        unknown.packets.push_back(packet);
    }

    /// Hands out what the machine has to say.
    fn flush(&self, state: &mut State, out: &mut Vec<Outgoing>) {
        while let Some((peer, packet)) = state.mesh.poll_packet() {
            if !self.pings.take(&peer, &packet) {
                state.arrived.push(packet);
            }
        }
        if !state.arrived.is_empty() {
            if let Some(sink) = self.sink.get() {
                sink(&mut state.arrived);
            }
            state.arrived.clear();
        }
        while let Some(transmit) = state.mesh.poll_transmit() {
            out.push(Outgoing { to: transmit.to, bytes: transmit.datagram.into() });
        }
        while let Some(event) = state.mesh.poll_event() {
            self.news.tell(event);
        }
        let due = state.mesh.poll_timeout();
        if due.is_some_and(|due| state.scheduled.is_none_or(|scheduled| due < scheduled)) {
            state.scheduled = due;
            self.earlier.notify_one();
        }
    }

    fn send(&self, out: Vec<Outgoing>) {
        if !out.is_empty() {
            self.wire.send_all(out);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MeshTraffic for Engine {
    fn handle_frame(&self, from: SocketAddr, kind: u8, body: &[u8]) {
        self.state().mesh.handle_frame(from, kind, body, self.now());
    }

    fn handle_datagram(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        self.state().mesh.handle_datagram(from, datagram.into(), self.now())
    }

    fn end_of_batch(&self, out: &mut Vec<Outgoing>) {
        self.flush(&mut self.state(), out);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Where an IPv6 packet goes (RFC 8200 §3).
fn destination(packet: &[u8]) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = *packet.get(24..40)?.first_chunk()?;
    (packet[0] >> 4 == 6).then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use tibet_mesh::RelayId;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn that_a_relay_is_due_is_told_also_when_there_is_no_room_for_events() {
        let (events, mut happened) = mpsc::channel(1);
        let news = News { events, relays: vec![Arc::default(), Arc::default()] };
        for _ in 0..2 {
            assert!(
                news.events.try_send(Happened::Unknown(Ipv6Addr::LOCALHOST)).is_ok() || happened.len() == 1
            );
        }
        news.tell(MeshEvent::RelayDue(RelayId(1)));
        news.tell(MeshEvent::RelayDue(RelayId(7)));
        let told = |index: usize| tokio::time::timeout(WAIT, news.relays[index].notified());
        assert!(told(1).await.is_ok() && told(0).await.is_err());
        assert!(matches!(happened.recv().await, Some(Happened::Unknown(_))) && happened.is_empty());
    }
}
