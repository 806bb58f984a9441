//! All connections of a stack, as one machine: packets and the time go in, packets come out, and nothing waits.
//!
//! `smoltcp` goes through every socket of a set for every packet. Here each connection has a set of its own and is found by its two ends, so that a
//! packet costs the same with one connection and with thousands. It also leaves what listens to whoever uses it; here a socket is made
//! when a peer asks for a connection, and how many of those may be unfinished is bounded.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::io;
use std::net::Ipv6Addr;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;

use super::connection::{Connection, Stage};
use super::device::Wire;
use super::packet::{Flow, Incoming, Segment, can_send};
use super::{
    BACKLOG, LARGE_BUFFER, LARGE_CONNECTIONS, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER, MAX_HALF_OPEN,
    MAX_HALF_OPEN_PER_PEER, SMALL_BUFFER, StackCounts,
};

/// Names a connection; never used twice.
pub(super) type Id = u64;

/// First of the ports for connections of ours (RFC 6335 §6).
const FIRST_PORT: u16 = 49_152;
/// How many there are.
const PORTS: u16 = u16::MAX - FIRST_PORT + 1;

/// A port that is listened on.
#[derive(Default)]
struct Listening {
    /// Open connections nobody has accepted yet.
    ready: VecDeque<Id>,
    waker: Option<Waker>,
}

/// What becomes of a peer's wish for a connection.
enum Admission {
    As(Id),
    /// Nobody listens: said with a reset.
    Refused,
    /// No room: not answered, the peer asks again.
    Dropped,
}

/// What the task is to wait for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Room in the queue of packets that go out.
    Room,
    /// Packets, programs, and this moment if there is one.
    Until(Option<Instant>),
}

pub(super) struct Core {
    address: Ipv6Addr,
    mtu: u16,
    interface: Interface,
    /// For packets of no connection.
    no_sockets: SocketSet<'static>,
    connections: HashMap<Id, Connection>,
    flows: HashMap<Flow, Id>,
    listeners: HashMap<u16, Listening>,
    /// How many connections each peer has.
    peers: HashMap<Ipv6Addr, usize>,
    /// Unfinished ones that peers began, oldest first.
    half_open: VecDeque<(Id, Ipv6Addr)>,
    /// Those in TIME-WAIT that no program has, oldest first.
    waiting: VecDeque<(Id, Ipv6Addr)>,
    timers: BTreeSet<(Instant, Id)>,
    /// Those to be looked at before the task waits again.
    touched: VecDeque<Id>,
    next_id: Id,
    /// Makes the order of our ports different to each peer (RFC 6056 §3.3.3).
    secret: RandomState,
    next_port: u16,
    counts: StackCounts,
    ended: bool,
}

impl Core {
    pub(super) fn new(address: Ipv6Addr, mtu: u16, out: &mpsc::Sender<BytesMut>) -> Self {
        let secret = RandomState::new();
        let mut config = Config::new(HardwareAddress::Ip);
        // The system's randomness by way of the one thing in the standard library that has it: initial sequence numbers come from this.
        config.random_seed = secret.hash_one("sequence numbers");
        let mut wire = Wire { packet: None, out, mtu, full: false };
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        // Every address is on the other end of this wire.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv6(address), 0));
        });
        Self {
            address,
            mtu,
            interface,
            no_sockets: SocketSet::new(Vec::new()),
            connections: HashMap::new(),
            flows: HashMap::new(),
            listeners: HashMap::new(),
            peers: HashMap::new(),
            half_open: VecDeque::new(),
            waiting: VecDeque::new(),
            timers: BTreeSet::new(),
            touched: VecDeque::new(),
            next_id: 0,
            secret,
            next_port: 0,
            counts: StackCounts::default(),
            ended: false,
        }
    }

    pub(super) fn counts(&self) -> StackCounts {
        StackCounts { connections: self.connections.len(), half_open: self.half_open.len(), ..self.counts }
    }

    // Packets and time.

    /// Takes `packets`, does what is due, and sends what can be sent.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        packets: &mut Vec<BytesMut>,
        out: &mpsc::Sender<BytesMut>,
    ) -> Next {
        for packet in packets.drain(..) {
            self.packet(now, &packet, out);
        }
        while let Some((at, id)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.deadline = None;
            }
            self.touch(id);
        }
        while let Some(id) = self.touched.pop_front() {
            if self.send(now, id, out) {
                return Next::Room;
            }
        }
        Next::Until(self.timers.first().map(|(at, _)| *at))
    }

    fn packet(&mut self, now: Instant, packet: &[u8], out: &mpsc::Sender<BytesMut>) {
        match Incoming::read(packet, self.address) {
            None => self.counts.ignored += 1,
            Some(Incoming::Echo) => self.answer(now, packet, out),
            Some(Incoming::Segment(segment)) => match self.admission(&segment) {
                Admission::As(id) => self.segment(now, id, &segment, packet, out),
                Admission::Refused => self.answer(now, packet, out),
                Admission::Dropped => self.counts.no_room += 1,
            },
        }
    }

    /// Answers a packet of no connection: an echo with an echo, a segment with a reset.
    fn answer(&mut self, now: Instant, packet: &[u8], out: &mpsc::Sender<BytesMut>) {
        let mut wire = Wire { packet: Some(packet), out, mtu: self.mtu, full: false };
        self.interface.poll_ingress_single(now, &mut wire, &mut self.no_sockets);
    }

    fn segment(
        &mut self,
        now: Instant,
        id: Id,
        segment: &Segment,
        packet: &[u8],
        out: &mpsc::Sender<BytesMut>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let before = connection.state();
        // Two sides that ask each other at once is more than a mesh of clients and servers needs.
        if connection.is_beyond(segment) || (before == State::SynSent && segment.opens()) {
            self.counts.ignored += 1;
            return;
        }
        let mut wire = Wire { packet: Some(packet), out, mtu: self.mtu, full: false };
        self.interface.poll_ingress_single(now, &mut wire, &mut connection.sockets);
        connection.after_segment(before, segment);
        self.touch(id);
    }

    /// Lets a connection send what it has to; returns whether the queue had no room for all of it.
    fn send(&mut self, now: Instant, id: Id, out: &mpsc::Sender<BytesMut>) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.touched = false;
        if !connection.before_sending(now) {
            let before = connection.state();
            let mut wire = Wire { packet: None, out, mtu: self.mtu, full: false };
            // One segment each time round; their number is bounded by the window and by the room.
            while self.interface.poll_egress(now, &mut wire, &mut connection.sockets) != PollResult::None {
                if connection.state() == State::FinWait2 {
                    // An acknowledgement is all there is to send, and one is enough.
                    let polled = self.interface.poll_at(now, &connection.sockets);
                    connection.restless = polled.is_some_and(|at| at <= now);
                    break;
                }
            }
            let full = wire.full;
            connection.after_sending(before);
            if full {
                self.touch(id);
                return true;
            }
        }
        self.settle(now, id);
        false
    }

    /// Draws the consequences of a connection's new state, and sets its timer.
    fn settle(&mut self, now: Instant, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let state = connection.state();
        if connection.stage == Stage::HalfOpen {
            match state {
                State::SynReceived => {}
                // Reset by the peer, a sum that was wrong, or silence.
                State::Listen | State::Closed => return self.remove(id),
                _ => {
                    connection.opened();
                    let port = connection.flow.port;
                    self.half_open.retain(|(other, _)| *other != id);
                    return self.offer(id, port, now);
                }
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.is_over() {
            if !connection.owned {
                return self.remove(id);
            }
            // Its program may still read what came; the two ends are free for another.
            let flow = connection.flow;
            self.free(flow, id);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let first = connection.waits_since().is_none();
        if connection.is_waiting(now) && first && !connection.owned {
            self.waiting.push_back((id, connection.flow.peer));
        }
        let polled = self.interface.poll_at(now, &connection.sockets);
        let next = connection.next(polled, now);
        if let Some(at) = connection.deadline.take() {
            self.timers.remove(&(at, id));
        }
        connection.deadline = next;
        self.timers.extend(next.map(|at| (at, id)));
    }

    /// Hands an open connection to whoever listens, or resets it if too many wait: those that were half open together can be more than there is room for.
    fn offer(&mut self, id: Id, port: u16, now: Instant) {
        match self.listeners.get_mut(&port) {
            Some(listening) if listening.ready.len() < BACKLOG => {
                listening.ready.push_back(id);
                if let Some(waker) = listening.waker.take() {
                    waker.wake();
                }
                self.settle(now, id);
            }
            _ => {
                self.counts.no_room += 1;
                self.give_up(id);
            }
        }
    }

    /// Resets a connection that no program has or will have.
    fn give_up(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stage = Stage::Taken;
            connection.abort();
        }
        self.touch(id);
    }

    fn touch(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.touched, true)
        {
            self.touched.push_back(id);
        }
    }

    // Connections come and go.

    fn admission(&mut self, segment: &Segment) -> Admission {
        if let Some(id) = self.flows.get(&segment.flow).copied() {
            let waiting =
                self.connections.get(&id).is_some_and(|connection| connection.state() == State::TimeWait);
            if !(waiting && segment.opens()) {
                return Admission::As(id);
            }
            // The peer has come round to the same port (RFC 6191).
            self.free(segment.flow, id);
        }
        if !segment.opens() {
            return Admission::Refused;
        }
        let Some(listening) = self.listeners.get(&segment.flow.port) else { return Admission::Refused };
        if listening.ready.len() >= BACKLOG {
            return Admission::Dropped;
        }
        let peer = segment.flow.peer;
        let own = self.half_open.iter().filter(|(_, other)| *other == peer).count();
        if own >= MAX_HALF_OPEN_PER_PEER {
            self.forget_half_open(Some(peer));
        } else if self.half_open.len() >= MAX_HALF_OPEN {
            self.forget_half_open(None);
        }
        if !self.make_room(peer) {
            return Admission::Dropped;
        }
        let id = self.add(segment.flow, Stage::HalfOpen);
        self.half_open.push_back((id, peer));
        let Some(connection) = self.connections.get_mut(&id) else { return Admission::Dropped };
        // The port is not zero and the socket is new, so that this cannot fail; if it did, the socket would stay closed and be removed.
        let _ = connection.socket().listen(segment.flow.port);
        Admission::As(id)
    }

    /// Forgets the oldest unfinished connection of `peer`, or of all.
    fn forget_half_open(&mut self, peer: Option<Ipv6Addr>) -> bool {
        let oldest = self.half_open.iter().find(|(_, other)| peer.is_none_or(|peer| *other == peer));
        let found = oldest.map(|(id, _)| *id);
        if let Some(id) = found {
            self.remove(id);
        }
        self.counts.half_open_forgotten += u64::from(found.is_some());
        found.is_some()
    }

    /// Makes sure that one more connection with `peer` is possible, if need be at the cost of one that is over or has not begun.
    fn make_room(&mut self, peer: Ipv6Addr) -> bool {
        let of_peer = self.peers.get(&peer).is_some_and(|number| *number >= MAX_CONNECTIONS_PER_PEER);
        if !of_peer && self.connections.len() < MAX_CONNECTIONS {
            return true;
        }
        let wanted = of_peer.then_some(peer);
        let over = self.waiting.iter().find(|(_, other)| wanted.is_none_or(|peer| *other == peer));
        if let Some(id) = over.map(|(id, _)| *id) {
            self.remove(id);
            return true;
        }
        self.forget_half_open(wanted)
    }

    fn add(&mut self, flow: Flow, stage: Stage) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        let buffer = if self.connections.len() < LARGE_CONNECTIONS { LARGE_BUFFER } else { SMALL_BUFFER };
        self.connections.insert(id, Connection::new(flow, stage, buffer));
        self.flows.insert(flow, id);
        *self.peers.entry(flow.peer).or_default() += 1;
        self.counts.begun += 1;
        id
    }

    fn remove(&mut self, id: Id) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let flow = connection.flow;
        self.free(flow, id);
        if let Some(at) = connection.deadline {
            self.timers.remove(&(at, id));
        }
        match connection.stage {
            Stage::HalfOpen => self.half_open.retain(|(other, _)| *other != id),
            Stage::Ready => {
                if let Some(listening) = self.listeners.get_mut(&flow.port) {
                    listening.ready.retain(|other| *other != id);
                }
            }
            Stage::Taken => {}
        }
        if connection.waits_since().is_some() {
            self.waiting.retain(|(other, _)| *other != id);
        }
        if let Entry::Occupied(mut number) = self.peers.entry(flow.peer) {
            *number.get_mut() = number.get().saturating_sub(1);
            if *number.get() == 0 {
                number.remove();
            }
        }
    }

    /// Lets another connection have the two ends of `id`.
    fn free(&mut self, flow: Flow, id: Id) {
        if self.flows.get(&flow) == Some(&id) {
            self.flows.remove(&flow);
        }
    }

    // What programs do.

    /// Begins a connection.
    pub(super) fn connect(&mut self, peer: Ipv6Addr, port: u16) -> io::Result<(Id, u16)> {
        if self.ended {
            return Err(over());
        }
        if !can_send(peer) || peer == self.address || port == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("[{peer}]:{port} is no port of a peer"),
            ));
        }
        let full = || io::Error::new(io::ErrorKind::QuotaExceeded, "too many connections are open");
        let none = || {
            io::Error::new(
                io::ErrorKind::AddrInUse,
                "every port for connections to this peer's port is in use",
            )
        };
        if !self.make_room(peer) {
            return Err(full());
        }
        let local = self.free_port(peer, port).ok_or_else(none)?;
        let id = self.add(Flow { peer, peer_port: port, port: local }, Stage::Taken);
        if let Some(connection) = self.connections.get_mut(&id) {
            let us = (IpAddress::Ipv6(self.address), local);
            let begun =
                connection.socket().connect(self.interface.context(), (IpAddress::Ipv6(peer), port), us);
            // Nothing of it can be wrong: the socket is new, and the addresses and ports have been looked at.
            debug_assert_eq!(begun, Ok(()));
        }
        self.touch(id);
        Ok((id, local))
    }

    fn free_port(&mut self, peer: Ipv6Addr, peer_port: u16) -> Option<u16> {
        let offset = self.secret.hash_one((peer, peer_port));
        (0..PORTS).find_map(|_| {
            self.next_port = self.next_port.wrapping_add(1);
            let nth = offset.wrapping_add(u64::from(self.next_port)) % u64::from(PORTS);
            let port = FIRST_PORT + u16::try_from(nth).ok()?;
            let free = !self.flows.contains_key(&Flow { peer, peer_port, port })
                && !self.listeners.contains_key(&port);
            free.then_some(port)
        })
    }

    /// Whether a connection of ours has been opened.
    pub(super) fn poll_connected(&mut self, id: Id, context: &Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(over())) };
        match connection.state() {
            State::SynSent | State::SynReceived => {
                connection.socket().register_recv_waker(context.waker());
                Poll::Pending
            }
            State::Closed => {
                Poll::Ready(Err(connection.failure.unwrap_or(io::ErrorKind::ConnectionReset).into()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        id: Id,
        context: &Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(over())) };
        let before = to.filled().len();
        let Some(result) = connection.read(to) else {
            connection.socket().register_recv_waker(context.waker());
            return Poll::Pending;
        };
        if to.filled().len() > before {
            // The peer may have to be told that there is room again.
            self.touch(id);
        }
        Poll::Ready(result)
    }

    pub(super) fn poll_write(
        &mut self,
        id: Id,
        context: &Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(over())) };
        let Some(result) = connection.write(data) else {
            connection.socket().register_send_waker(context.waker());
            return Poll::Pending;
        };
        self.touch(id);
        Poll::Ready(result)
    }

    /// Nothing more will be written: what was is sent, then the end of it.
    pub(super) fn finish(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.socket().close();
            self.touch(id);
        }
    }

    /// The program has let go of it; `finished` if it had said that nothing more would be written.
    pub(super) fn release(&mut self, id: Id, finished: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.owned = false;
        if !finished {
            connection.abort();
        }
        if connection.waits_since().is_some() {
            self.waiting.push_back((id, connection.flow.peer));
        }
        self.touch(id);
    }

    pub(super) fn listen(&mut self, port: u16) -> io::Result<()> {
        if self.ended {
            return Err(over());
        }
        if port == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no port 0"));
        }
        match self.listeners.entry(port) {
            Entry::Occupied(_) => {
                let text = format!("port {port} of this device is already exposed: choose another");
                Err(io::Error::new(io::ErrorKind::AddrInUse, text))
            }
            Entry::Vacant(free) => {
                free.insert(Listening::default());
                Ok(())
            }
        }
    }

    pub(super) fn poll_accept(&mut self, port: u16, context: &Context<'_>) -> Poll<io::Result<(Id, Flow)>> {
        let Some(listening) = self.listeners.get_mut(&port) else { return Poll::Ready(Err(over())) };
        let Some(id) = listening.ready.pop_front() else {
            if self.ended {
                return Poll::Ready(Err(over()));
            }
            listening.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(over())) };
        connection.stage = Stage::Taken;
        connection.owned = true;
        Poll::Ready(Ok((id, connection.flow)))
    }

    /// Stops listening; whoever has not been accepted is reset.
    pub(super) fn unlisten(&mut self, port: u16) {
        self.listeners.remove(&port);
        let left: Vec<Id> = (self.connections.iter())
            .filter(|(_, connection)| connection.stage != Stage::Taken && connection.flow.port == port)
            .map(|(id, _)| *id)
            .collect();
        for id in left {
            self.half_open.retain(|(other, _)| *other != id);
            self.give_up(id);
        }
    }

    /// Ends every connection and every wait.
    pub(super) fn end(&mut self) {
        self.ended = true;
        for (id, connection) in &mut self.connections {
            if connection.failure.is_none() && connection.state() != State::Closed {
                connection.failure = Some(io::ErrorKind::ConnectionAborted);
            }
            // Also wakes whoever waits.
            connection.socket().abort();
            if !std::mem::replace(&mut connection.touched, true) {
                self.touched.push_back(*id);
            }
        }
        for listening in self.listeners.values_mut() {
            listening.ready.clear();
            if let Some(waker) = listening.waker.take() {
                waker.wake();
            }
        }
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the network stack has ended")
}
