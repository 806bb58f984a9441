//! A node that does what it should not: a socket, and a script of what to send back.

use std::net::SocketAddr;
use std::sync::Arc;

use jis::{Answer, AnswerOutcome, Query, Record, SecretKey, Signed, message_hash};
use tibet_overlay::intents::{OverlayRequest, RegisterAnswer};
use tibet_overlay::{LocalDevice, NodeAddress};
use tibet_ping::{Compact, Found, FoundStatus, Frame, Welcome};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What a frame is answered with, datagrams in their order.
pub type Script = Box<dyn FnMut(&Hostile, Compact<'_>, SocketAddr) -> Vec<Vec<u8>> + Send>;

/// What the script has to work with.
pub struct Hostile {
    pub key: SecretKey,
}

/// One that runs.
pub struct Running {
    pub at: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    pub fn address(&self) -> NodeAddress {
        NodeAddress::at(self.at)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hostile {
    /// Runs the script; without one of its own, a hello gets a proper welcome.
    pub async fn run(key: SecretKey, at: SocketAddr, mut script: Script) -> Running {
        let socket = UdpSocket::bind(at).await.expect("bound");
        let at = socket.local_addr().expect("an address");
        let node = Self { key };
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                let Ok(Frame::Version2 { kind, body }) = Frame::read(&buffer[..length]) else { continue };
                let Ok(frame) = Compact::read(kind, body) else { continue };
                for datagram in script(&node, frame, from) {
                    socket.send_to(&datagram, from).await.expect("sent");
                }
            }
        });
        Running { at, task }
    }

    pub fn welcome(&self, id: [u8; 8], to: SocketAddr) -> Vec<u8> {
        let key = *self.key.public_key().as_bytes();
        Compact::Welcome(Welcome { id, key, cookie: [9; 16], observed: to }).write()
    }

    /// A signed yes with these values.
    pub fn yes(&self, query: &Signed<Query>, values: Vec<Vec<u8>>) -> Vec<u8> {
        let answer = self.answer(message_hash(query.message()), values, &self.key);
        Compact::Answer { id: query.claims().id, answer: &answer.encode() }.write()
    }

    pub fn answer(&self, request: [u8; 32], values: Vec<Vec<u8>>, signer: &SecretKey) -> Signed<Answer> {
        let key = self.key.public_key();
        let answer = Answer { request, key, outcome: AnswerOutcome::Yes, values };
        Signed::seal(answer, signer).expect("signed")
    }
}

/// A node that takes every device in and answers its keepalives. What else it is asked it does not hear.
pub fn registering() -> Script {
    Box::new(|node, frame, from| match frame {
        Compact::Hello(id) => vec![node.welcome(id, from)],
        Compact::Keepalive(token) => vec![Compact::Alive(token).write()],
        Compact::Query(query) => {
            let (query, OverlayRequest::Register(request)) = read(query) else { return Vec::new() };
            let record = request.record.claims();
            let answer = RegisterAnswer {
                changed: true,
                version: record.version,
                fingerprint: record.fingerprint,
                registered_at: record.issued_at,
                expires_at: record.expires_at(),
                observed: from,
                keepalive: [1; 16],
                keepalive_every: std::time::Duration::from_secs(5),
            };
            vec![node.yes(&query, answer.values())]
        }
        _ => Vec::new(),
    })
}

pub fn read(query: &[u8]) -> (Signed<Query>, OverlayRequest) {
    let query = Signed::<Query>::decode(query).expect("a question");
    let claims = query.claims();
    let request = OverlayRequest::read(claims.method.as_str(), &claims.arguments).expect("a request");
    (query, request)
}

/// What a node that knows this device answers to a look-up of it.
pub fn found(id: [u8; 8], from: Option<u8>, device: &LocalDevice, record: &Signed<Record>) -> Vec<u8> {
    let events: Vec<Vec<u8>> = device.events().iter().map(jis::KeyEvent::encode).collect();
    let wanted = events.iter().skip(from.map_or(usize::MAX, usize::from));
    let history: Vec<u8> = wanted
        .flat_map(|event| [&u16::try_from(event.len()).expect("short").to_be_bytes()[..], event].concat())
        .collect();
    let record = record.encode();
    let events = u8::try_from(events.len()).expect("few");
    let found = Found { status: FoundStatus::Active, record: &record, events, history: &history };
    Compact::Found { id, found }.write()
}

/// A record and the device to it that a script may use.
pub type Shown = Arc<std::sync::Mutex<(LocalDevice, Signed<Record>)>>;
