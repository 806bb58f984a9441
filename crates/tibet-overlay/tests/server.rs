//! The overlay node on a real socket, asked by a client that is made of nothing but a socket.

mod common;

use std::sync::Arc;

use common::raw::{Asker, Raw, read};
use jis::{AnswerOutcome, Name, SecretKey};
use tibet_overlay::intents::{
    Failure, FailureCode, FoundNames, OverlayRequest, PresenceState, RegisterAnswer, RegisterRequest,
    ResolveAnswer,
};
use tibet_overlay::server::{AnyRegistry, NodeKeys, OverlayNode, OverlayNodeConfig};
use tibet_overlay::{LocalDevice, Presence, system};
use tibet_ping::{Compact, FoundStatus};
use tibet_registry::{MemoryStore, Opening, Policy, Registry, Store};
use zeroize::Zeroizing;

fn key() -> SecretKey {
    SecretKey::from_seed(system::random().expect("random").into()).expect("key")
}

fn registry() -> AnyRegistry {
    let opening = Opening {
        log_key: Arc::new(key()),
        origin: None,
        policy: Policy::default(),
        secret: system::random().expect("random"),
    };
    let store: Box<dyn Store + Send> = Box::new(MemoryStore::new());
    Registry::open(store, opening).expect("opened")
}

async fn node_with(registry: AnyRegistry, keys: NodeKeys) -> OverlayNode {
    let config = OverlayNodeConfig { bind: "127.0.0.1:0".parse().expect("address"), ..Default::default() };
    OverlayNode::start(registry, keys, config).await.expect("started")
}

async fn node() -> OverlayNode {
    node_with(registry(), NodeKeys { identity: key(), keepalive: Zeroizing::new([7; 32]) }).await
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

fn device(text: &str) -> LocalDevice {
    let mut device = LocalDevice::create(name(text), system::now()).expect("keys");
    publish(&mut device, "203.0.113.1:44321");
    device
}

fn publish(device: &mut LocalDevice, endpoint: &str) {
    let presence = Presence {
        endpoints: vec![endpoint.parse().expect("address")],
        capabilities: ["mqtt".parse().expect("word")].into(),
        ..Presence::default()
    };
    device.publish(presence, system::now()).expect("signed");
}

fn registration(device: &mut LocalDevice, with_events: bool) -> OverlayRequest {
    let registration = device.registration(None, system::now()).expect("signed");
    let events = if with_events { registration.events } else { Vec::new() };
    let (record, transport) = (registration.record, registration.transport);
    OverlayRequest::Register(Box::new(RegisterRequest { record, events, transport, permission: None }))
}

fn asker(device: &LocalDevice) -> Asker {
    device.node_identity().expect("active").into()
}

/// Runs what blocks on a socket while the node runs on the runtime's other threads.
fn with_node(test: impl FnOnce(&OverlayNode, &mut Raw)) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let node = runtime.block_on(node());
    let mut raw = Raw::connect(node.local_addr());
    test(&node, &mut raw);
    runtime.block_on(node.stop()).expect("stopped").expect("its registry");
}

fn register(raw: &Raw, device: &mut LocalDevice) -> RegisterAnswer {
    let request = registration(device, true);
    let (outcome, values) = raw.ask(&asker(device), &request);
    assert_eq!(outcome, AnswerOutcome::Yes, "{:?}", Failure::read(&values));
    RegisterAnswer::read(&values).expect("an answer")
}

#[test]
fn a_device_registers_is_looked_up_found_and_kept_alive() {
    with_node(|node, raw| {
        let mut hub = device("jis:home:hub");
        let registered = register(raw, &mut hub);
        assert!(registered.changed);
        assert_eq!(registered.observed, raw.socket.local_addr().expect("address"));
        assert_eq!(registered.fingerprint, hub.identity().fingerprint);

        // By anybody, unsigned, and verified by the record alone.
        let lookup =
            Compact::Lookup { id: [1; 8], cookie: raw.cookie, events_from: Some(0), name: "jis:home:hub" };
        raw.send(&lookup.write());
        let datagram = raw.recv();
        let Compact::Found { id, found } = read(&datagram) else { panic!("{datagram:?}") };
        assert_eq!((id, found.status, found.events), ([1; 8], FoundStatus::Active, 1));
        assert_eq!(found.record, hub.record().expect("published").encode());
        let events: Vec<Vec<u8>> = hub.events().iter().map(jis::KeyEvent::encode).collect();
        assert_eq!(found.history().map(Vec::from).collect::<Vec<_>>(), events);

        // By somebody with a name, with what the node knows besides.
        let stranger = Asker::certified();
        let resolve = OverlayRequest::Resolve { name: name("jis:home:hub"), events_from: Some(0) };
        let (outcome, values) = raw.ask(&stranger, &resolve);
        assert_eq!(outcome, AnswerOutcome::Yes);
        let resolved = ResolveAnswer::read(&values).expect("an answer");
        assert_eq!((resolved.presence, resolved.trust), (PresenceState::Online, 0.5));
        assert_eq!(resolved.events, hub.events());
        let find = OverlayRequest::Find { capability: "mqtt".parse().expect("word"), after: 0 };
        let (_, values) = raw.ask(&stranger, &find);
        let page = FoundNames { names: vec![name("jis:home:hub")], next: None };
        assert_eq!(FoundNames::read(&values), Ok(page));

        raw.send(&Compact::Keepalive(registered.keepalive).write());
        assert_eq!(raw.recv(), Compact::Alive(registered.keepalive).write());

        // The same again is not written again; a newer record is, without the key events.
        assert!(!register(raw, &mut hub).changed);
        publish(&mut hub, "203.0.113.7:1");
        let (outcome, values) = raw.ask(&asker(&hub), &registration(&mut hub, false));
        assert_eq!(outcome, AnswerOutcome::Yes, "{:?}", Failure::read(&values));
        assert_eq!(RegisterAnswer::read(&values).expect("an answer").version.seq, 1);
        assert_eq!(node.handle().online(), 1);
        assert!(raw.nothing_came());
    });
}

/// SECURITY R24: a keepalive from elsewhere is nothing, and so is one with a token that was made up.
#[test]
fn a_keepalive_counts_only_from_where_it_was_given() {
    with_node(|node, raw| {
        let registered = register(raw, &mut device("jis:home:hub"));
        let mut elsewhere = Raw::connect(node.local_addr());
        elsewhere.send(&Compact::Keepalive(registered.keepalive).write());
        assert!(elsewhere.nothing_came());
        raw.send(&Compact::Keepalive([0xab; 16]).write());
        assert!(raw.nothing_came());
        assert_eq!(node.handle().stats().keepalives_refused, 2);
    });
}

/// SECURITY R13 to R16, 3.2 row 80: without a cookie that holds here, 16 bytes and no more.
#[test]
fn row_80_without_a_cookie_there_is_no_answer() {
    with_node(|node, raw| {
        let mut hub = device("jis:home:hub");
        let other = Raw::connect(node.local_addr());
        let stolen = Raw { socket: raw.socket.try_clone().expect("socket"), cookie: other.cookie, ..*raw };
        let query = stolen.query(&asker(&hub), &registration(&mut hub, true));
        stolen.send(&Compact::Query(&query.encode()).write());
        let datagram = stolen.recv();
        assert_eq!(read(&datagram), Compact::Stale(query.claims().id));
        assert_eq!(node.handle().directory().len(), 0);
        // Altered after it was signed, the cookie holds and the signature does not.
        let mut altered = other.query(&asker(&hub), &registration(&mut hub, true)).encode();
        altered[jis::Query::ID_AT + 8..][..16].copy_from_slice(&raw.cookie);
        raw.send(&Compact::Query(&altered).write());
        assert!(raw.nothing_came());
    });
}

/// SECURITY R5, R20: who is not known by the key that signs gets nothing.
#[test]
fn who_speaks_in_anothers_name_gets_nothing() {
    with_node(|_, raw| {
        register(raw, &mut device("jis:home:hub"));
        let resolve = OverlayRequest::Resolve { name: name("jis:home:hub"), events_from: None };
        let thief = Asker { name: name("jis:home:hub"), key: key(), generation: 0 };
        let unknown = Asker { name: name("jis:nobody"), key: key(), generation: 0 };
        for who in [thief, unknown] {
            raw.send(&Compact::Query(&raw.query(&who, &resolve).encode()).write());
            assert!(raw.nothing_came());
        }
        // A name that is taken is refused, and says so to whoever can prove who it is.
        let mut squatter = device("jis:home:hub");
        let (outcome, values) = raw.ask(&asker(&squatter), &registration(&mut squatter, true));
        assert_eq!((outcome, Failure::read(&values).code), (AnswerOutcome::No, FailureCode::Refused));
    });
}

/// A node that is killed and comes back knows all it has acknowledged, and takes the tokens it gave.
#[test]
fn a_restart_loses_neither_names_nor_tokens() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let identity = key();
    let keys = || NodeKeys {
        identity: SecretKey::from_seed(identity.to_seed()).expect("key"),
        keepalive: Zeroizing::new([7; 32]),
    };
    let first = runtime.block_on(node_with(registry(), keys()));
    let raw = Raw::connect(first.local_addr());
    let registered = register(&raw, &mut device("jis:home:hub"));
    let address = first.local_addr();
    let registry = runtime.block_on(first.stop()).expect("stopped").expect("its registry");
    let config = OverlayNodeConfig { bind: address, ..Default::default() };
    let second = runtime.block_on(OverlayNode::start(registry, keys(), config)).expect("started");
    assert_eq!(second.handle().directory().len(), 1);
    assert_eq!(second.handle().online(), 0);
    raw.send(&Compact::Keepalive(registered.keepalive).write());
    assert_eq!(raw.recv(), Compact::Alive(registered.keepalive).write());
    assert_eq!(second.handle().online(), 1);
    runtime.block_on(second.stop()).expect("stopped");
}

/// SECURITY R70: a node that can write nothing any more says so and ends, instead of refusing everything for ever.
#[test]
fn a_node_whose_writer_has_ended_says_so() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let mut node = runtime.block_on(node());
    let early = runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_millis(10), node.failed()).await.is_ok()
    });
    assert!(!early, "nothing has failed yet");
    let panics = node.handle().registry().submit(|_, _| ((), Vec::new()), |_| panic!("a defect"));
    panics.expect("taken");
    let failed = runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(20), node.failed()).await.expect("in time")
    });
    assert!(failed.is_err(), "{failed:?}");
    assert!(runtime.block_on(node.stop()).expect("stopped").is_none(), "no registry is given back");
}
