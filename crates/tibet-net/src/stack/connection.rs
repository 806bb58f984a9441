//! One connection: `smoltcp`'s socket, and what it does not keep.

use std::io;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};

use super::packet::{Flow, Segment};

/// Silence after which the other side of an open connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Silence after which it is taken to be gone.
const SILENCE: Duration = Duration::from_secs(120);
/// Silence after which a connection that a peer began and did not finish opening is forgotten.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// How long what was sent before its program let go of a connection may take to arrive.
const ABANDONED: Duration = Duration::from_secs(600);
/// After this long in TIME-WAIT (`smoltcp` ends it after ten seconds) a connection with unread data is left as it is: at its end `smoltcp` would
/// throw the data away.
const HOLD: Duration = Duration::from_secs(5);
/// The same for a socket that is [`Connection::restless`].
const RESTLESS: Duration = Duration::from_secs(1);
/// Shortest time until a timer: a socket that asks to be looked at and then has nothing to send must not keep the task busy.
const TICK: Duration = Duration::from_millis(1);

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A peer has asked for it and not yet shown that it gets our answers.
    HalfOpen,
    /// Waits to be accepted.
    Ready,
    /// A program has it, or had it: ours since it asked for it, a peer's since it was accepted.
    Taken,
}

pub(super) struct Connection {
    pub(super) flow: Flow,
    /// This socket and no other: `smoltcp` looks at every socket of a set for every packet.
    pub(super) sockets: SocketSet<'static>,
    handle: SocketHandle,
    pub(super) stage: Stage,
    /// Whether a program has it now.
    pub(super) owned: bool,
    /// Whether it is in the list of those to be looked at.
    pub(super) touched: bool,
    /// When it wants to be looked at, as in the list of timers.
    pub(super) deadline: Option<Instant>,
    /// Why it ended, if not as it should.
    pub(super) failure: Option<io::ErrorKind>,
    /// Whether it wants to send for ever. `smoltcp` 0.14 does not stop asking for room when the peer acknowledges our end and still says that it has none: its
    /// timer for that has run out and is set again in other states only. One segment a second is sent then, and none is needed.
    pub(super) restless: bool,
    /// Sequence number of the first byte that has not been read.
    unread: Option<u32>,
    waiting_since: Option<Instant>,
    abandoned: Option<Instant>,
}

impl Connection {
    /// A closed socket with buffers of `buffer` bytes each way. The memory is taken when data comes.
    pub(super) fn new(flow: Flow, stage: Stage, buffer: usize) -> Self {
        let room = || SocketBuffer::new(vec![0; buffer]);
        let mut socket = Socket::new(room(), room());
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(if stage == Stage::HalfOpen { HALF_OPEN } else { SILENCE }));
        socket.set_hop_limit(Some(64));
        // What a proxy passes on is already in pieces as large as it gets them.
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self {
            flow,
            sockets,
            handle,
            stage,
            owned: stage == Stage::Taken,
            touched: false,
            deadline: None,
            failure: None,
            restless: false,
            unread: None,
            waiting_since: None,
            abandoned: None,
        }
    }

    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(super) fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }

    /// Whether a segment holds bytes beyond the end of the receive buffer, which we never asked for.
    ///
    /// `smoltcp` 0.14 takes the window of a SYN to be scaled, which it is not (RFC 7323 §2.2), and then believes such bytes to fit: a peer that
    /// sends them before our first other segment reaches an assertion.
    pub(super) fn is_beyond(&self, segment: &Segment) -> bool {
        let Some(unread) = self.unread else { return false };
        let capacity = self.sockets.get::<Socket<'_>>(self.handle).recv_capacity();
        let end = segment.sequence.wrapping_add(segment.length).wrapping_sub(unread).cast_signed();
        segment.length > 0 && i64::from(end) > i64::try_from(capacity).unwrap_or(i64::MAX)
    }

    /// After a segment has been taken in state `before`: remembers where the peer's data begins, and why the connection ended.
    pub(super) fn after_segment(&mut self, before: State, segment: &Segment) {
        let after = self.state();
        if matches!(before, State::Listen | State::SynSent)
            && !matches!(after, State::Listen | State::SynSent)
        {
            self.unread = Some(segment.sequence.wrapping_add(1));
        }
        if after == State::Closed {
            match before {
                // An end that both sides had agreed on, or one that is known.
                State::LastAck | State::TimeWait | State::Closed => {}
                State::SynSent => self.failure = Some(io::ErrorKind::ConnectionRefused),
                _ => self.failure = Some(io::ErrorKind::ConnectionReset),
            }
        }
    }

    /// After what it had to send has been sent, in state `before`.
    pub(super) fn after_sending(&mut self, before: State) {
        if self.state() == State::Closed && !matches!(before, State::Closed | State::TimeWait) {
            self.failure = Some(io::ErrorKind::TimedOut);
        }
    }

    /// Before it sends: what time demands of it. Returns whether it is to be left as it is.
    pub(super) fn before_sending(&mut self, now: Instant) -> bool {
        if self.stage == Stage::Taken && !self.owned {
            let since = *self.abandoned.get_or_insert(now);
            // Nobody will read what comes.
            if self.socket().recv_queue() > 0 || now >= since + ABANDONED {
                self.abort();
            }
        }
        self.holds(now)
    }

    fn holds(&self, now: Instant) -> bool {
        self.owned && self.waiting_since.is_some_and(|since| now >= since + HOLD)
    }

    /// Remembers when TIME-WAIT began; returns whether it is now in it.
    pub(super) fn is_waiting(&mut self, now: Instant) -> bool {
        let waiting = self.state() == State::TimeWait;
        if waiting {
            self.waiting_since.get_or_insert(now);
        }
        waiting
    }

    /// When TIME-WAIT was seen to begin.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// When to look at it next, given when `smoltcp` wants to.
    pub(super) fn next(&self, polled: Option<Instant>, now: Instant) -> Option<Instant> {
        let polled = match self.waiting_since {
            Some(since) if self.owned => polled.filter(|at| *at < since + HOLD),
            _ => polled,
        };
        let abandoned = self.abandoned.filter(|_| !self.is_over()).map(|since| since + ABANDONED);
        polled
            .into_iter()
            .chain(abandoned)
            .min()
            .map(|at| at.max(now + if self.restless { RESTLESS } else { TICK }))
    }

    /// Whether it is closed and has nothing left to send.
    pub(super) fn is_over(&self) -> bool {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        socket.state() == State::Closed && socket.remote_endpoint().is_none()
    }

    /// Ends it now; the other side is told.
    pub(super) fn abort(&mut self) {
        if !matches!(self.state(), State::Closed | State::TimeWait) {
            self.socket().abort();
        }
    }

    /// The peer has shown that it gets our answers.
    pub(super) fn opened(&mut self) {
        self.stage = Stage::Ready;
        self.socket().set_timeout(Some(SILENCE));
    }

    /// Reads into `to`; `None` if there is nothing yet.
    pub(super) fn read(&mut self, to: &mut tokio::io::ReadBuf<'_>) -> Option<io::Result<()>> {
        let mut read = 0_u32;
        // Twice at most: the data may begin at the end of the buffer and go on at its start.
        while to.remaining() > 0 && self.socket().can_recv() {
            let taken = self.socket().recv(|data| {
                let length = data.len().min(to.remaining());
                to.put_slice(&data[..length]);
                (length, length)
            });
            match taken {
                Ok(length) => read = read.wrapping_add(u32::try_from(length).unwrap_or_default()),
                Err(_) => break,
            }
        }
        if read > 0 {
            self.unread = self.unread.map(|unread| unread.wrapping_add(read));
            return Some(Ok(()));
        }
        // No bytes asked for: this only says whether any can come.
        match self.socket().recv_slice(&mut []) {
            Ok(_) => None,
            Err(smoltcp::socket::tcp::RecvError::Finished) => Some(Ok(())),
            Err(smoltcp::socket::tcp::RecvError::InvalidState) => match self.failure {
                Some(kind) => Some(Err(kind.into())),
                None => Some(Ok(())),
            },
        }
    }

    /// Takes as much of `data` as there is room for; `None` if there is none.
    pub(super) fn write(&mut self, data: &[u8]) -> Option<io::Result<usize>> {
        match self.socket().send_slice(data) {
            Ok(0) if !data.is_empty() => None,
            Ok(length) => Some(Ok(length)),
            Err(_) => Some(Err(self.failure.unwrap_or(io::ErrorKind::BrokenPipe).into())),
        }
    }
}
