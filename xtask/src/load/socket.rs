//! A socket that many devices share, and what is on its way through it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use jis::PublicKey;
use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tibet_ping::{Compact, Cookie, Frame};
use tokio::time::timeout;

use crate::Outcome;

/// After how long a request is made again.
const AGAIN: Duration = Duration::from_secs(1);
/// After how long without any answer the node is taken for gone.
const GONE: Duration = Duration::from_secs(30);

pub(crate) struct Socket {
    pub(crate) port: UdpPort,
    pub(crate) node: SocketAddr,
    pub(crate) greeting: Greeting,
    buffers: ReceiveBuffers,
}

/// What a node said to whoever greeted it.
#[derive(Clone, Copy)]
pub(crate) struct Greeting {
    pub(crate) cookie: Cookie,
    pub(crate) node_key: PublicKey,
}

impl Greeting {
    /// From its answer to the hello with this id; `None` for any other datagram.
    pub(crate) fn read(datagram: &[u8], id: [u8; 8]) -> Option<Self> {
        let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { return None };
        let Ok(Compact::Welcome(welcome)) = Compact::read(kind, body) else { return None };
        let node_key = PublicKey::from_bytes(&welcome.key).ok()?;
        (welcome.id == id).then_some(Self { cookie: welcome.cookie, node_key })
    }
}

/// What came back for a request: the whole frame's body kind is left to whoever asked.
pub(crate) type Latency = Duration;

impl Socket {
    /// At an address of this machine.
    pub(crate) async fn connect(from: IpAddr, node: SocketAddr) -> Outcome<Self> {
        let mut socket = Self::bind(from, node)?;
        socket.greet().await?;
        Ok(socket)
    }

    /// One that has not greeted: nobody answers it but an echo.
    pub(crate) fn bind(from: IpAddr, node: SocketAddr) -> Outcome<Self> {
        let port = UdpPort::bind(SocketAddr::new(from, 0))?;
        let node_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse()?;
        let greeting = Greeting { cookie: [0; 16], node_key };
        Ok(Self { port, node, greeting, buffers: ReceiveBuffers::new() })
    }

    /// Gets a cookie.
    pub(crate) async fn greet(&mut self) -> Outcome<()> {
        let id = tibet_iot::system::random()?;
        for _ in 0..30 {
            self.send(vec![Compact::Hello(id).write()]).await;
            if timeout(AGAIN, self.port.recv(&mut self.buffers)).await.is_err() {
                continue;
            }
            let greeting = self.buffers.datagrams().find_map(|(_, datagram)| Greeting::read(datagram, id));
            if let Some(greeting) = greeting {
                self.greeting = greeting;
                return Ok(());
            }
        }
        Err("the node does not answer".into())
    }

    pub(crate) async fn send(&self, datagrams: Vec<Vec<u8>>) {
        let batch: Vec<Outgoing> =
            datagrams.into_iter().map(|bytes| Outgoing { to: self.node, bytes }).collect();
        self.port.send(&batch).await;
    }

    /// What is there to be read now, or comes within `wait`.
    pub(crate) async fn receive(&mut self, wait: Duration, mut take: impl FnMut(&[u8])) -> Outcome<()> {
        if let Ok(received) = timeout(wait, self.port.recv(&mut self.buffers)).await {
            received?;
            self.buffers.datagrams().for_each(|(_, datagram)| take(datagram));
        }
        Ok(())
    }

    /// What is there to be read now.
    pub(crate) fn take_now(&mut self, mut take: impl FnMut(&[u8])) -> Outcome<()> {
        while self.port.try_recv(&mut self.buffers)? > 0 {
            self.buffers.datagrams().for_each(|(_, datagram)| take(datagram));
        }
        Ok(())
    }

    /// Makes one request for each of `numbers`, `window` at a time. `make` gets the number and an id; `take` gets the number and the answer's datagram and
    /// says whether that answers it. A cookie that has run out is renewed.
    pub(crate) async fn drive(
        &mut self,
        numbers: impl Iterator<Item = u32>,
        window: usize,
        mut make: impl FnMut(&Self, u32, [u8; 8]) -> Vec<u8>,
        mut take: impl FnMut(u32, &Compact<'_>) -> Outcome<bool>,
    ) -> Outcome<Vec<Latency>> {
        let mut numbers = numbers.peekable();
        let mut on_their_way: HashMap<[u8; 8], (u32, Instant)> = HashMap::new();
        let mut latencies = Vec::new();
        let mut next = 0_u64;
        let mut heard = Instant::now();
        while numbers.peek().is_some() || !on_their_way.is_empty() {
            let mut batch = Vec::new();
            while on_their_way.len() < window
                && let Some(number) = numbers.next()
            {
                next += 1;
                batch.push(make(self, number, next.to_be_bytes()));
                on_their_way.insert(next.to_be_bytes(), (number, Instant::now()));
            }
            self.send(batch).await;
            let mut stale = false;
            let mut failed = None;
            let before = latencies.len();
            self.receive(AGAIN, |datagram| {
                let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { return };
                let Ok(frame) = Compact::read(kind, body) else { return };
                let id = match &frame {
                    Compact::Found { id, .. } | Compact::Answer { id, .. } => *id,
                    Compact::Stale(id) => {
                        stale |= on_their_way.contains_key(id);
                        return;
                    }
                    _ => return,
                };
                let Some((number, sent)) = on_their_way.get(&id).copied() else { return };
                match take(number, &frame) {
                    Ok(true) => {
                        on_their_way.remove(&id);
                        latencies.push(sent.elapsed());
                    }
                    Ok(false) => {}
                    Err(error) => failed = Some(error),
                }
            })
            .await?;
            if let Some(error) = failed {
                return Err(error);
            }
            if latencies.len() > before {
                heard = Instant::now();
            } else if heard.elapsed() > GONE {
                return Err(format!("{} requests are not answered", on_their_way.len()).into());
            }
            if stale {
                self.greet().await?;
            }
            let late: Vec<[u8; 8]> = on_their_way
                .iter()
                .filter(|(_, (_, sent))| stale || sent.elapsed() > AGAIN)
                .map(|(id, _)| *id)
                .collect();
            let again: Vec<Vec<u8>> = late
                .into_iter()
                .map(|id| {
                    let number = on_their_way[&id].0;
                    on_their_way.insert(id, (number, Instant::now()));
                    make(self, number, id)
                })
                .collect();
            self.send(again).await;
        }
        Ok(latencies)
    }
}
