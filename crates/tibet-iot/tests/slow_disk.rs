//! A disk that hangs: answers wait for their tokens (SECURITY R63), and what leaves none goes on.

mod common;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::{DEADLINE, SILENCE, binding, identity, key, name, quiet, start};
use tibet_core::{Head, MemoryStore, Query, StoreError, Token, TokenStore};
use tibet_iot::{Audit, AuditStore, Frames, IotNode, Outgoing};
use tibet_ping::{Ask, Frame};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Says when it is asked to commit, and does so once it is told to.
struct Hanging {
    tokens: MemoryStore,
    asked: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl AuditStore for Hanging {
    fn commit(&mut self) -> Result<(), StoreError> {
        let _ = self.asked.send(());
        // An error means that the test is over.
        let _ = self.go_on.lock().expect("no panic").recv();
        Ok(())
    }
}

impl TokenStore for Hanging {
    fn append(&mut self, token: &Token) -> Result<u64, StoreError> {
        self.tokens.append(token)
    }
    fn len(&self) -> Result<u64, StoreError> {
        self.tokens.len()
    }
    fn at(&self, index: u64) -> Result<Option<Token>, StoreError> {
        self.tokens.at(index)
    }
    fn get(&self, token_id: &str) -> Result<Option<Token>, StoreError> {
        self.tokens.get(token_id)
    }
    fn head(&self) -> Result<Option<Head>, StoreError> {
        self.tokens.head()
    }
    fn find(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        self.tokens.find(query)
    }
    fn for_each(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        self.tokens.for_each(from, visit)
    }
}

/// Sends every frame back.
struct Mirror;

impl Frames for Mirror {
    fn handle(&mut self, from: SocketAddr, kind: u8, body: &[u8], out: &mut Vec<Outgoing>) {
        let bytes = Frame::Version2 { kind, body }.write().expect("short");
        out.push(Outgoing { to: from, bytes });
    }
}

#[tokio::test]
async fn r63_a_disk_that_hangs_holds_back_answers_and_nothing_else() {
    let (asked, is_asked) = channel();
    let (go_on, told) = channel();
    let store = Hanging { tokens: MemoryStore::default(), asked, go_on: Mutex::new(told) };
    let audit = Audit::new(&name("jis:home:hub"), Arc::new(key(77)), store).expect("begun");
    let mut hub = IotNode::new(identity("jis:home:hub", 1), quiet(), None, Some(audit)).expect("made");
    hub.set_frames(Box::new(Mirror));
    // The token of this one is written first of all.
    hub.set_trust(name("jis:home:sensor"), 0.9, "the operator knows it").expect("set");
    hub.bind_key(binding("jis:home:sensor", 2)).expect("bound");
    let at = hub.start().await.expect("started");
    let outbox = hub.outbox();
    let hangs = tokio::task::spawn_blocking(move || is_asked.recv().map(|()| is_asked)).await;
    let is_asked = hangs.expect("no panic").expect("a commit");

    let (sensor, _) = start("jis:home:sensor", 2).await;
    let ask = Ask { timeout: DEADLINE, ..Ask::new(name("jis:home:hub"), Some(at), "temperature.read") };
    let asking = sensor.send_ping(ask);
    tokio::pin!(asking);
    assert!(timeout(SILENCE, &mut asking).await.is_err(), "an answer has left before its token was on disk");

    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let frame = Frame::Version2 { kind: 1, body: b"any" }.write().expect("short");
    socket.send_to(&frame, at).await.expect("sent");
    let mut back = [0; 64];
    let answered = timeout(DEADLINE, socket.recv_from(&mut back)).await.expect("in time").expect("received");
    assert_eq!((&back[..answered.0], answered.1), (&*frame, at), "a frame waits for no disk");
    let here = socket.local_addr().expect("bound");
    assert_eq!(outbox.send([Outgoing { to: here, bytes: b"too".to_vec() }]), 0);
    let sent = timeout(DEADLINE, socket.recv_from(&mut back)).await.expect("in time").expect("received");
    assert_eq!(&back[..sent.0], b"too", "neither does what others send");
    assert!(is_asked.try_recv().is_err(), "the first commit hangs still");

    // As often as it likes.
    drop(go_on);
    let answered = timeout(DEADLINE, asking).await.expect("in time").expect("sent");
    assert!(answered.is_some(), "the answer follows its token");
}
