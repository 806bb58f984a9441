//! A client of an overlay node that is made of a socket and nothing else, so that it can also say what no client of ours would.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use jis::{Answer, AnswerOutcome, Name, PublicKey, Query, SecretKey, Signed};
use tibet_overlay::intents::OverlayRequest;
use tibet_overlay::system;
use tibet_ping::{Compact, Cookie, Frame, Welcome};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Raw {
    pub socket: UdpSocket,
    pub node: SocketAddr,
    pub cookie: Cookie,
    pub key: PublicKey,
}

/// Who asks.
pub struct Asker {
    pub name: Name,
    pub key: SecretKey,
    pub generation: u64,
}

impl Asker {
    /// Somebody whose name is its key.
    pub fn certified() -> Self {
        let key = SecretKey::from_seed(system::random().expect("random").into()).expect("key");
        Self { name: Name::of_key(&key.public_key()), key, generation: 0 }
    }
}

impl From<tibet_ping::NodeIdentity> for Asker {
    fn from(identity: tibet_ping::NodeIdentity) -> Self {
        Self { name: identity.name, key: identity.key, generation: identity.generation }
    }
}

impl Raw {
    /// A socket with a cookie of the node.
    pub fn connect(node: SocketAddr) -> Self {
        let socket = UdpSocket::bind((node.ip(), 0)).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut raw = Self { socket, node, cookie: [0; 16], key: no_key() };
        let welcome = raw.hello();
        assert_eq!(welcome.observed, raw.socket.local_addr().expect("address"));
        raw
    }

    pub fn hello(&mut self) -> Welcome {
        let id = system::random().expect("random");
        self.send(&Compact::Hello(id).write());
        let datagram = self.recv();
        let Compact::Welcome(welcome) = read(&datagram) else { panic!("no welcome: {datagram:?}") };
        assert_eq!(welcome.id, id);
        (self.cookie, self.key) = (welcome.cookie, PublicKey::from_bytes(&welcome.key).expect("a key"));
        welcome
    }

    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.node).expect("sent");
    }

    pub fn recv(&self) -> Vec<u8> {
        self.try_recv().expect("an answer in time")
    }

    pub fn try_recv(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, self.node);
        buffer.truncate(length);
        Some(buffer)
    }

    /// Whether nothing has come, now that something that was asked afterwards has been answered.
    pub fn nothing_came(&mut self) -> bool {
        let id = system::random().expect("random");
        self.send(&Compact::Hello(id).write());
        let datagram = self.recv();
        matches!(read(&datagram), Compact::Welcome(welcome) if welcome.id == id)
    }

    pub fn query(&self, asker: &Asker, request: &OverlayRequest) -> Signed<Query> {
        let query = Query {
            id: system::random().expect("random"),
            cookie: self.cookie,
            source: asker.name.clone(),
            key: asker.key.public_key(),
            generation: asker.generation,
            responder: self.key,
            method: request.intent().parse().expect("a method"),
            arguments: request.arguments(),
        };
        Signed::seal(query, &asker.key).expect("signed")
    }

    /// Asks, and checks the answer.
    pub fn ask(&self, asker: &Asker, request: &OverlayRequest) -> (AnswerOutcome, Vec<Vec<u8>>) {
        let query = self.query(asker, request);
        self.send(&Compact::Query(&query.encode()).write());
        self.answer_to(&query)
    }

    pub fn answer_to(&self, query: &Signed<Query>) -> (AnswerOutcome, Vec<Vec<u8>>) {
        let datagram = self.recv();
        let Compact::Answer { id, answer } = read(&datagram) else { panic!("no answer: {datagram:?}") };
        assert_eq!(id, query.claims().id);
        let answer = Signed::<Answer>::decode(answer).expect("an answer");
        Answer::check(&answer, query).expect("signed by the node, to this question");
        (answer.claims().outcome, answer.claims().values.clone())
    }
}

pub fn read(datagram: &[u8]) -> Compact<'_> {
    match Frame::read(datagram) {
        Ok(Frame::Version2 { kind, body }) => Compact::read(kind, body).expect("a frame of version 2"),
        other => panic!("{other:?}"),
    }
}

fn no_key() -> PublicKey {
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse().expect("RFC 8032 key")
}
