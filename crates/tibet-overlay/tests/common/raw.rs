//! A client of an overlay node that is made of a socket and nothing else, so that it can also say what no client of ours would.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use jis::{
    Answer, AnswerOutcome, Fingerprint, Name, PublicKey, Query, Revocation, RevocationAuthority,
    RevocationScope, SecretKey, Signed,
};
use tibet_overlay::intents::{Failure, OverlayRequest, RegisterAnswer, ResolveAnswer};
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
        Self::connect_from(node.ip(), node)
    }

    /// From another address of this machine.
    pub fn connect_from(ip: IpAddr, node: SocketAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("bound");
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
        self.query_of(asker, request.intent(), request.arguments())
    }

    /// A question with any arguments, whether they are any good or not.
    pub fn query_of(&self, asker: &Asker, method: &str, arguments: Vec<Vec<u8>>) -> Signed<Query> {
        let query = Query {
            id: system::random().expect("random"),
            cookie: self.cookie,
            source: asker.name.clone(),
            key: asker.key.public_key(),
            generation: asker.generation,
            responder: self.key,
            method: method.parse().expect("a method"),
            arguments,
        };
        Signed::seal(query, &asker.key).expect("signed")
    }

    pub fn send_query(&self, query: &Signed<Query>) {
        self.send(&Compact::Query(&query.encode()).write());
    }

    /// Whether nothing has come, and nothing will: a question that went the whole way after all others, through a node with one worker and
    /// the registry's one writer, is answered first.
    pub fn is_quiet(&self) -> bool {
        let nobody = Asker::certified();
        let revocation = Revocation {
            name: nobody.name.clone(),
            fingerprint: Fingerprint::of_inception(b"of nobody"),
            generation: 0,
            key: nobody.key.public_key(),
            scope: RevocationScope::Key,
            authority: RevocationAuthority::CurrentKey,
            signer: nobody.key.public_key(),
            reason: "to be asked".parse().expect("words"),
            revoked_at: system::now(),
        };
        let revocation = Signed::seal(revocation, &nobody.key).expect("signed");
        let query = self.query(&nobody, &OverlayRequest::Revoke(Box::new(revocation)));
        self.send_query(&query);
        let datagram = self.recv();
        matches!(read(&datagram), Compact::Answer { id, .. } if id == query.claims().id)
    }

    /// Asks what must be answered with silence.
    pub fn assert_silent(&self, asker: &Asker, request: &OverlayRequest, what: &str) {
        self.send_query(&self.query(asker, request));
        assert!(self.is_quiet(), "{what}");
    }

    /// Asks, and is told no.
    pub fn refused(&self, asker: &Asker, request: &OverlayRequest) -> Failure {
        self.refused_of(asker, request.intent(), request.arguments())
    }

    pub fn refused_of(&self, asker: &Asker, method: &str, arguments: Vec<Vec<u8>>) -> Failure {
        let query = self.query_of(asker, method, arguments);
        self.send_query(&query);
        let (outcome, values) = self.answer_to(&query);
        assert_ne!(outcome, AnswerOutcome::Yes, "{method}");
        Failure::read(&values)
    }

    /// Asks, and is told yes.
    pub fn taken(&self, asker: &Asker, request: &OverlayRequest) -> Vec<Vec<u8>> {
        let (outcome, values) = self.ask(asker, request);
        assert_eq!(outcome, AnswerOutcome::Yes, "{}: {:?}", request.intent(), Failure::read(&values));
        values
    }

    pub fn registered(&self, asker: &Asker, request: &OverlayRequest) -> RegisterAnswer {
        RegisterAnswer::read(&self.taken(asker, request)).expect("an answer")
    }

    pub fn resolved(&self, asker: &Asker, whom: &Name) -> ResolveAnswer {
        let resolve = OverlayRequest::Resolve { name: whom.clone(), events_from: None };
        ResolveAnswer::read(&self.taken(asker, &resolve)).expect("an answer")
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

/// Asks every question, at most eight at a time, so that no buffer between here and there is too small.
pub fn ask_all(raw: &Raw, queries: &[Signed<Query>]) -> Vec<(AnswerOutcome, Vec<Vec<u8>>)> {
    let mut answers = vec![None; queries.len()];
    let (mut sent, mut answered) = (0, 0);
    while answered < queries.len() {
        while sent < queries.len() && sent < answered + 8 {
            raw.send_query(&queries[sent]);
            sent += 1;
        }
        let datagram = raw.recv();
        let Compact::Answer { id, answer } = read(&datagram) else { panic!("no answer: {datagram:?}") };
        let which = queries.iter().position(|query| query.claims().id == id).expect("one of these");
        let answer = Signed::<Answer>::decode(answer).expect("an answer");
        Answer::check(&answer, &queries[which]).expect("signed by the node, to this question");
        let claims = answer.claims();
        let before = answers[which].replace((claims.outcome, claims.values.clone()));
        assert!(before.is_none(), "answered once");
        answered += 1;
    }
    answers.into_iter().flatten().collect()
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
