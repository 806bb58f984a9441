//! The task that moves datagrams, time and events.
//!
//! In turns: what came in goes to the protocol; what that led to is written down; then it is sent. So no answer leaves before its token is on
//! disk (SECURITY R63). What is no ping leaves no token here and waits for no disk: tunnels go on while one hangs.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tibet_ping::{Destination, Event, Frame, QUESTION_LIFETIME, QuestionId, RequestId, Transmit};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::keeper::Keeper;
use super::sealed::Opened;
use super::shared::Shared;
use super::{Frames, IntentAnswer, IntentRequest, NodeError, Outcome};
use crate::interfaces::Interfaces;
use crate::multicast::Discovery;
use crate::udp::{Outgoing, ReceiveBuffers, UdpPort};

/// How often the list of interfaces is read.
const INTERFACES: Duration = Duration::from_secs(5);
/// How many batches are taken before what they led to is seen to, as long as they are full.
const BATCHES: usize = 4;
/// A batch of so many shows that more are waiting.
const MANY: usize = 16;
/// Datagrams for the protocol that are taken while the disk is waited for; then all others wait too.
const MEANWHILE: usize = 256;

pub(super) struct Driver {
    shared: Arc<Shared>,
    port: Arc<UdpPort>,
    discovery: Option<Discovery>,
    /// `None` once it was lost, which ends the task.
    keeper: Option<Keeper>,
    /// The application's handlers at work. They end with the task.
    handlers: JoinSet<()>,
    interfaces_due: Instant,
    /// Takes what is no ping.
    frames: Option<Box<dyn Frames>>,
    /// Kept to be filled again.
    outgoing: Vec<Outgoing>,
    /// As this one.
    opened: Vec<Opened>,
}

/// What woke the task.
enum Woken {
    Stop,
    Time,
    Datagrams(io::Result<usize>),
    Announcements(io::Result<()>),
    Work,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        port: UdpPort,
        discovery: Option<Discovery>,
        keeper: Keeper,
    ) -> Self {
        let port = Arc::new(port);
        *shared.port() = Some(Arc::clone(&port));
        let frames = shared.frames.lock().unwrap_or_else(PoisonError::into_inner).take();
        Self {
            shared,
            port,
            discovery,
            keeper: Some(keeper),
            handlers: JoinSet::new(),
            interfaces_due: Instant::now(),
            frames,
            outgoing: Vec::new(),
            opened: Vec::new(),
        }
    }

    /// Runs until it is told to stop or cannot go on.
    pub(super) async fn run(
        mut self,
        mut stop: oneshot::Receiver<()>,
    ) -> (Option<Keeper>, Result<(), NodeError>) {
        let (mut buffers, mut heard) = (ReceiveBuffers::new(), ReceiveBuffers::new());
        let result = loop {
            if let Err(error) = self.settle(&mut buffers).await {
                break Err(error);
            }
            match self.wait(&mut stop, &mut buffers, &mut heard).await {
                // What was said just before still goes out.
                Woken::Stop => break self.settle(&mut buffers).await,
                Woken::Datagrams(Ok(count)) => {
                    if let Err(error) = self.take_datagrams(&mut buffers, count) {
                        break Err(NodeError::Socket(error));
                    }
                }
                Woken::Announcements(Ok(())) => self.take_announcements(&heard),
                Woken::Datagrams(Err(error)) | Woken::Announcements(Err(error)) => {
                    break Err(NodeError::Socket(error));
                }
                Woken::Time | Woken::Work => {}
            }
            self.take_sealed();
            self.take_time();
        };
        *self.shared.port() = None;
        self.shared.give_up_waiting();
        *self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner) = self.frames.take();
        (self.keeper, result)
    }

    async fn wait(
        &mut self,
        stop: &mut oneshot::Receiver<()>,
        buffers: &mut ReceiveBuffers,
        heard: &mut ReceiveBuffers,
    ) -> Woken {
        let due = self.shared.node().poll_timeout().map(|mono| self.shared.clock.instant(mono));
        let due = due.map_or(self.interfaces_due, |due| due.min(self.interfaces_due));
        let discovery = &mut self.discovery;
        let announcements = async {
            match discovery {
                Some(discovery) => discovery.recv(heard).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Whoever dropped the node wants it stopped too.
            _ = stop => Woken::Stop,
            received = self.port.recv(buffers) => Woken::Datagrams(received),
            received = announcements => Woken::Announcements(received),
            () = self.shared.work.notified() => Woken::Work,
            () = sleep_until(due) => Woken::Time,
        }
    }

    /// Hands over what has come in; how much of it was for the protocol.
    fn take_datagrams(&mut self, buffers: &mut ReceiveBuffers, mut count: usize) -> io::Result<usize> {
        let now = self.shared.clock.now();
        let mut node = self.shared.node();
        let mut pings = 0;
        for batch in 1.. {
            for (from, datagram) in buffers.datagrams() {
                let taken = match (&mut self.frames, Frame::read(datagram)) {
                    (Some(frames), Ok(Frame::Version2 { kind, body })) => {
                        frames.handle(from, kind, body, &mut self.outgoing);
                        true
                    }
                    (Some(frames), Err(_)) => frames.handle_foreign(from, datagram, &mut self.outgoing),
                    _ => false,
                };
                if !taken {
                    pings += 1;
                    node.handle_datagram(from, datagram, now);
                }
            }
            if batch == BATCHES || count < MANY {
                break;
            }
            count = self.port.try_recv(buffers)?;
            if count == 0 {
                break;
            }
        }
        if let Some(frames) = &mut self.frames {
            frames.end_of_batch(&mut self.outgoing);
        }
        drop(node);
        *self.shared.udp.lock().unwrap_or_else(PoisonError::into_inner) = self.port.stats();
        Ok(pings)
    }

    /// What came through tunnels meanwhile, all of it together.
    fn take_sealed(&mut self) {
        std::mem::swap(&mut *self.shared.inbox(), &mut self.opened);
        if self.opened.is_empty() {
            return;
        }
        let now = self.shared.clock.now();
        let mut node = self.shared.node();
        node.set_watched(self.shared.events.receiver_count() > 0);
        for Opened { peer, key, datagram } in self.opened.drain(..) {
            node.handle_sealed(&peer, &key, &datagram, now);
        }
    }

    fn take_announcements(&mut self, buffers: &ReceiveBuffers) {
        let Some(discovery) = &self.discovery else { return };
        let now = self.shared.clock.now();
        let mut node = self.shared.node();
        for heard in discovery.heard(buffers) {
            node.handle_multicast(heard.from, heard.on_link, heard.bytes, now);
        }
    }

    fn take_time(&mut self) {
        let now = self.shared.clock.now();
        if Instant::now() >= self.interfaces_due {
            self.interfaces_due = Instant::now() + INTERFACES;
            self.read_interfaces();
        }
        let mut node = self.shared.node();
        if node.poll_timeout().is_some_and(|due| due <= now.mono) {
            node.handle_timeout(now);
        }
    }

    /// Interfaces come and go, and with them the addresses that are ours. A list that cannot be read now is read next time.
    fn read_interfaces(&mut self) {
        let read;
        let interfaces = match &mut self.discovery {
            Some(discovery) => {
                let _ = discovery.refresh();
                discovery.interfaces()
            }
            None => match Interfaces::read() {
                Ok(interfaces) => {
                    read = interfaces;
                    &read
                }
                Err(_) => return,
            },
        };
        let bound = self.port.local_addr();
        let own = interfaces.iter().flat_map(|interface| &interface.prefixes).map(|prefix| prefix.address);
        let own = own.filter(|ip| bound.ip().is_unspecified() || *ip == bound.ip());
        self.shared.node().set_own_addresses(own.map(|ip| SocketAddr::new(ip, bound.port())));
    }

    /// Sees to everything the protocol has to say: first what must be kept, then what is to be told and sent.
    async fn settle(&mut self, buffers: &mut ReceiveBuffers) -> Result<(), NodeError> {
        loop {
            let (events, transmits, bound) = {
                let now = self.shared.clock.now();
                let mut node = self.shared.node();
                let bound = node.poll_persist(now);
                let events: Vec<Event> = std::iter::from_fn(|| node.poll_event()).collect();
                let transmits: Vec<Transmit> = std::iter::from_fn(|| node.poll_transmit()).collect();
                (events, transmits, bound)
            };
            self.outgoing.append(&mut self.shared.outbox());
            if events.is_empty() && transmits.is_empty() && bound.is_none() && self.outgoing.is_empty() {
                return Ok(());
            }
            let events: Vec<Arc<Event>> = events.into_iter().map(Arc::new).collect();
            if let Some(keeper) = self.keeper.take_if(|keeper| keeper.wants(&events, bound)) {
                let kept = keeper.keep(events.clone(), bound);
                let ((keeper, kept), received) = self.meanwhile(kept, buffers).await;
                self.keeper = keeper;
                kept?;
                received.map_err(NodeError::Socket)?;
                if let Some(bound) = bound {
                    self.shared.node().handle_persisted(bound);
                }
            }
            for event in events {
                self.tell(event);
            }
            self.send(transmits).await;
        }
    }

    /// Sees to what needs no disk until `kept` is done: datagrams that are no pings, and what others than the protocol send. What pings lead to is seen to after it.
    /// Besides, whether the socket went on working: what is kept is waited for in any case.
    async fn meanwhile<T>(
        &mut self,
        kept: impl Future<Output = T>,
        buffers: &mut ReceiveBuffers,
    ) -> (T, io::Result<()>) {
        let mut kept = pin!(kept);
        let (mut pings, mut works) = (0, Ok(()));
        loop {
            self.outgoing.append(&mut self.shared.outbox());
            self.send(Vec::new()).await;
            tokio::select! {
                biased;
                kept = &mut kept => return (kept, works),
                received = self.port.recv(buffers), if works.is_ok() && pings < MEANWHILE => {
                    match received.and_then(|count| self.take_datagrams(buffers, count)) {
                        Ok(more) => pings += more,
                        Err(error) => works = Err(error),
                    }
                }
                () = self.shared.work.notified() => {}
            }
        }
    }

    fn tell(&mut self, event: Arc<Event>) {
        // Whoever asked gets the answer itself where nobody else wants to hear of it, and else a copy.
        let is_answer = matches!(&*event, Event::Answered(_));
        let alone = is_answer && self.shared.events.receiver_count() == 0;
        let event = match if alone { Arc::try_unwrap(event) } else { Err(event) } {
            Ok(Event::Answered(answered)) => {
                let (request, last) = (answered.request, answered.last);
                return self.tell_asker(request, Outcome::Answer(answered), last);
            }
            Ok(other) => Arc::new(other),
            Err(event) => event,
        };
        match &*event {
            Event::Question { id, ping } => self.ask_handler(*id, IntentRequest { ping: (**ping).clone() }),
            Event::Answered(answered) => {
                self.tell_asker(answered.request, Outcome::Answer(answered.clone()), answered.last);
            }
            Event::Unanswered { request, ignored, .. } => {
                self.tell_asker(*request, Outcome::NoAnswer(*ignored), true);
            }
            _ => {}
        }
        // An error means that nobody listens.
        let _ = self.shared.events.send(event);
    }

    fn tell_asker(&self, id: RequestId, outcome: Outcome, last: bool) {
        let mut waiting = self.shared.waiting();
        let Some(waiting) = waiting.as_mut() else { return };
        let sender = if last { waiting.remove(&id) } else { waiting.get(&id).cloned() };
        // Whoever waited may have gone.
        let _ = sender.map(|sender| sender.send(outcome));
    }

    /// In a task of its own, which ends when the question does: a slow handler keeps nobody waiting, and one that panics ends nothing but
    /// itself (SECURITY R29).
    fn ask_handler(&mut self, id: QuestionId, request: IntentRequest) {
        while self.handlers.try_join_next().is_some() {}
        let handlers = self.shared.handlers();
        let handler = handlers.iter().find(|(pattern, _)| pattern.matches(&request.ping.packet.intent));
        let Some(handler) = handler.map(|(_, handler)| Arc::clone(handler)) else { return };
        drop(handlers);
        let shared = Arc::clone(&self.shared);
        self.handlers.spawn(async move {
            let Ok(answer) = timeout(QUESTION_LIFETIME, handler(request)).await else { return };
            let IntentAnswer { payload, capabilities } = answer;
            // An answer that cannot be written is the handler's mistake; the asker gets none.
            let _ = shared.node().answer(id, payload, capabilities, shared.clock.now());
            shared.work.notify_one();
        });
    }

    async fn send(&mut self, transmits: Vec<Transmit>) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for Transmit { to, bytes } in transmits {
            match (to, &mut self.discovery) {
                (Destination::Address(to), _) => outgoing.push(Outgoing { to, bytes }),
                (Destination::Multicast, Some(discovery)) => {
                    let _ = discovery.refresh();
                    discovery.send(&self.port, &bytes).await;
                }
                (Destination::Multicast, None) => {}
                (Destination::Sealed(peer), _) => {
                    if let Some(tunnels) = &mut *self.shared.tunnels() {
                        tunnels.seal(&peer, &bytes, &mut outgoing);
                    }
                }
            }
        }
        if !outgoing.is_empty() {
            let report = self.port.send(&outgoing).await;
            *self.shared.sent() += report;
        }
        outgoing.clear();
        self.outgoing = outgoing;
    }
}
