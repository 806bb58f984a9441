//! Devices that stay registered with real nodes, on real sockets.

mod net;

use jis::{RecordStatus, Remark, RevocationScope, Signed};
use net::hostile::{Hostile, registering};
use net::{Home, Node, client, name, nobody, until};
use tibet_iot::{StartError, StateError};
use tibet_overlay::daemon::{
    Control, ControlServer, DaemonEnd, DaemonError, DaemonStatus, LinkState, control_socket,
};
use tibet_overlay::{NameMemory, QueryError, system};

fn registered(status: &DaemonStatus) -> bool {
    !status.nodes.is_empty() && status.nodes.iter().all(|node| node.state == LinkState::Registered)
}

#[tokio::test]
async fn a_device_registers_and_is_verified_resolved_found_and_pinged_from_elsewhere() {
    let node = Node::start().await;
    let (sensor, hub) = (Home::of("jis:home:sensor"), Home::of("jis:home:hub"));
    let up = sensor.up(&[node.address()], &[]).await;
    let status = until(&up, registered).await;
    assert_eq!((status.name.as_str(), status.nodes[0].registrations), ("jis:home:sensor", 1));
    assert_eq!(status.nodes[0].key, Some(node.key.to_multibase()));
    assert_eq!(status.nodes[0].observed.as_deref(), Some(status.address.as_str()), "no NAT on loopback");

    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    let verified = asker.verify(&sensor.name).await.expect("asked");
    assert!(verified.verified && verified.asked, "{verified:?}");
    assert_eq!(verified.path, format!("via node {}", node.at));
    assert_eq!(verified.device.as_deref(), Some(status.address.as_str()), "the node says where it asked");
    assert_eq!(verified.fingerprint.as_deref(), Some(status.fingerprint.as_str()));
    assert!(verified.bound_since.is_some() && verified.rtt_ms > Some(0.0), "{verified:?}");

    let resolved = asker.resolve(&sensor.name).await.expect("asked");
    assert!(resolved.resolved && !resolved.stale, "{resolved:?}");
    // A node is asked although the record that was learnt when it was verified still holds (decision 14).
    assert_eq!(
        (resolved.source.as_str(), resolved.capabilities.as_slice()),
        ("node", &["mqtt".to_owned()][..])
    );
    let unknown = asker.resolve(&name("jis:home:nobody")).await.expect("asked");
    assert!(!unknown.resolved && unknown.reason.is_some_and(|reason| reason.contains("not registered")));

    let found = asker.find(&"mqtt".parse().expect("word"), 10).await.expect("asked");
    assert_eq!((found.total, found.devices[0].name.as_str()), (1, "jis:home:sensor"));
    assert_eq!(found.devices[0].presence.as_deref(), Some("online"));

    // Whoever is registered stands at 0.5 with a device that knows nothing else of it: GEEL, and only through the node, for a direct ping of
    // somebody unknown gets silence.
    let other = hub.up(&[node.address()], &[]).await;
    until(&other, registered).await;
    let ping = |remote: tibet_overlay::RemoteOverlay| async move {
        let intent = "ping".parse().expect("word");
        remote.ping(&name("jis:home:sensor"), &intent, "a test").await.expect("asked")
    };
    let pong = ping(other.remote().clone()).await;
    assert!(pong.answered, "{pong:?}");
    assert_eq!((pong.zone.as_deref(), pong.decision.as_deref()), (Some("GEEL"), Some("pending")), "{pong:?}");
    assert_eq!(pong.path, Some(format!("via node {}", node.at)));
    assert_eq!(pong.tried.len(), 2, "straight first, then through the node: {pong:?}");
    // Somebody whom nobody knows gets silence.
    let pong = ping(asker).await;
    assert!(
        !pong.answered && pong.tried.last().is_some_and(|last| last.result.contains("five seconds")),
        "{pong:?}"
    );
    other.stop().await;
    up.stop().await;
}

#[tokio::test]
async fn whom_the_device_trusts_gets_through_directly_in_groen() {
    let node = Node::start().await;
    let (sensor, hub) = (Home::of("jis:home:sensor"), Home::of("jis:home:hub"));
    let up = sensor.up(&[node.address()], &[("jis:home:hub", 0.95)]).await;
    let other = hub.up(&[node.address()], &[]).await;
    until(&up, registered).await;
    until(&other, registered).await;
    let intent = "ping".parse().expect("word");
    let pong = other.remote().ping(&sensor.name, &intent, "a test").await.expect("asked");
    assert_eq!(pong.zone.as_deref(), Some("GROEN"), "{pong:?}");
    assert!(pong.path.is_some_and(|path| path.starts_with("direct to 127.0.0.1:")), "{:?}", pong.tried);
    let through = other.remote().client().ping(&sensor.name, &intent, "a test").await.expect("asked");
    assert_eq!(through.zone, tibet_overlay::intents::PongZone::Groen);
    other.stop().await;
    up.stop().await;
}

#[tokio::test]
async fn a_node_that_was_away_gets_the_device_back_and_what_was_known_serves_meanwhile() {
    let mut node = Node::start().await;
    let sensor = Home::of("jis:home:sensor");
    let up = sensor.up(&[node.address()], &[]).await;
    until(&up, |status| status.nodes[0].keepalives > 0).await;
    let file = sensor.directory.path().join("other.db");
    let asker = client(nobody(), &[node.address()], NameMemory::open(&file).expect("opened")).await;
    assert!(asker.verify(&sensor.name).await.expect("asked").verified);

    node.stop().await;
    until(&up, |status| status.nodes[0].state == LinkState::Away).await;
    let route = asker.resolve(&sensor.name).await.expect("known");
    assert_eq!(route.source, "cache", "{route:?}");
    // Another program of the same user knows it too.
    let later = client(nobody(), &[node.address()], NameMemory::open(&file).expect("opened")).await;
    assert!(later.resolve(&sensor.name).await.expect("known").resolved);
    assert!(asker.verify(&sensor.name).await.is_err(), "nobody can ask it now");

    node.start_again().await;
    let status = until(&up, registered).await;
    assert!(status.nodes[0].registrations >= 2, "{status:?}");
    assert!(asker.verify(&sensor.name).await.expect("asked").verified);
    up.stop().await;
}

#[tokio::test]
async fn with_two_nodes_one_is_enough() {
    let (mut first, second) = (Node::start().await, Node::start().await);
    let sensor = Home::of("jis:home:sensor");
    let nodes = [first.address(), second.address()];
    let up = sensor.up(&nodes, &[]).await;
    let status = until(&up, registered).await;
    assert_eq!(status.nodes.len(), 2);
    let asker = client(nobody(), &nodes, NameMemory::new()).await;
    let verified = asker.verify(&sensor.name).await.expect("asked");
    assert_eq!((verified.verified, verified.node), (true, Some(first.at.to_string())));
    first.stop().await;
    let verified = asker.verify(&sensor.name).await.expect("asked");
    assert_eq!((verified.verified, verified.node), (true, Some(second.at.to_string())), "the other one");
    up.stop().await;
}

#[tokio::test]
async fn a_key_that_is_rotated_while_it_is_up_is_the_key_from_then_on() {
    let node = Node::start().await;
    let sensor = Home::of("jis:home:sensor");
    let up = sensor.up(&[node.address()], &[]).await;
    let before = until(&up, registered).await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    assert_eq!(asker.verify(&sensor.name).await.expect("asked").generation, Some(0));

    // As `id rotate` does, in another program.
    sensor.device().rotate(None, system::now()).expect("rotated");
    let after = until(&up, |status| status.generation == 1 && status.nodes[0].registrations > 1).await;
    assert_eq!(
        (&after.fingerprint, &after.address),
        (&before.fingerprint, &before.address),
        "the same identity, the same port"
    );
    assert_ne!(after.public_key, before.public_key);
    let verified = asker.verify(&sensor.name).await.expect("asked");
    assert_eq!((verified.verified, verified.generation), (true, Some(1)), "{verified:?}");
    up.stop().await;
}

/// A revoked key signs nothing more (SECURITY R40), not even a goodbye.
#[tokio::test]
async fn a_device_that_is_revoked_while_it_is_up_ends_and_says_why() {
    for scope in [RevocationScope::Key, RevocationScope::Name] {
        let node = Node::start().await;
        let sensor = Home::of("jis:home:sensor");
        let up = sensor.up(&[node.address()], &[]).await;
        until(&up, registered).await;
        let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
        assert!(asker.verify(&sensor.name).await.expect("asked").verified);

        // As `id revoke` does, in another program, and the node has not heard of it.
        let mut device = sensor.device();
        device.revoke(scope, None, Remark::default(), system::now()).expect("revoked");
        let status = device.identity().status;
        let end = tokio::time::timeout(net::PATIENCE, up.failed()).await.expect("in time");
        assert_eq!(end, DaemonEnd::Revoked { name: sensor.name.clone(), status });
        assert_eq!(up.failed().await, end, "whoever asks again hears the same");
        let verified = asker.verify(&sensor.name).await.expect("asked");
        assert!(!verified.verified && verified.proof.is_none(), "silence: {verified:?}");
        up.stop().await;
        let record = sensor.device().record().cloned().expect("a record");
        assert_eq!(record.claims().status, RecordStatus::Active, "nothing was signed to say goodbye");
    }
}

#[tokio::test]
async fn a_device_that_stops_says_goodbye_and_comes_back() {
    let node = Node::start().await;
    let sensor = Home::of("jis:home:sensor");
    let up = sensor.up(&[node.address()], &[]).await;
    until(&up, registered).await;
    up.stop().await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    let route = asker.client().resolve(&sensor.name, || None).await.expect("known");
    let record = route.record.as_ref().map(Signed::claims).expect("a record");
    assert_eq!(record.status, RecordStatus::Away);

    let up = sensor.up(&[node.address()], &[]).await;
    until(&up, registered).await;
    let route = asker.client().resolve(&sensor.name, || None).await.expect("known");
    assert_eq!(route.record.as_ref().map(|record| record.claims().status), Some(RecordStatus::Active));
    up.stop().await;
}

#[tokio::test]
async fn commands_talk_to_it_through_its_socket_and_a_second_one_does_not_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let node = Node::start().await;
    let sensor = Home::of("jis:home:sensor");
    let up = sensor.up(&[node.address()], &[]).await;
    until(&up, registered).await;
    let path = control_socket(&sensor.state, &sensor.name);
    let server = ControlServer::open(&up, &path).expect("listening");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let control = Control::at(&path);
    let status = control.status().await.expect("answered");
    assert!(status.is_registered() && status.name == "jis:home:sensor", "{status:?}");
    assert!(control.resolve(&sensor.name).await.expect("answered").resolved);
    assert!(control.verify(&sensor.name).await.expect("answered").verified);
    assert_eq!(control.find(&"mqtt".parse().expect("word"), 1).await.expect("answered").total, 1);

    let second = tibet_overlay::daemon::Daemon::start(
        sensor.device(),
        &sensor.state,
        tibet_overlay::daemon::DaemonConfig {
            nodes: vec![node.address()],
            bind: net::LOOPBACK,
            discovery: None,
            ..Default::default()
        },
    );
    let refused = second.await.expect_err("two of one device");
    assert!(matches!(&refused, DaemonError::Start(StartError::State(StateError::InUse { .. }))), "{refused}");
    drop(server);
    assert!(matches!(control.status().await, Err(tibet_overlay::daemon::ControlError::NotRunning(_))));
    up.stop().await;
}

/// A question that leads to nothing makes whoever asked it greet the node anew. The registration is not a question's: it stays where it was.
#[tokio::test]
async fn a_question_without_an_answer_does_not_disturb_the_registration() {
    let node = Hostile::run(net::key(), net::LOOPBACK, registering()).await;
    let sensor = Home::of("jis:home:sensor");
    let up = sensor.up(&[node.address()], &[]).await;
    until(&up, registered).await;
    let asked = up.remote().client().nodes()[0].find(&"mqtt".parse().expect("word"), 1).await;
    assert!(matches!(asked, Err(QueryError::NoAnswer { .. })), "{asked:?}");
    let before = up.status().await.nodes[0].keepalives;
    let status = until(&up, |status| status.nodes[0].keepalives > before).await;
    assert_eq!((status.nodes[0].state, status.nodes[0].registrations), (LinkState::Registered, 1));
    up.stop().await;
}

/// Rules R5 and R39: the device knows the hub by its key. That a node has somebody else registered under the hub's name gives that one nothing of
/// the hub's trust.
#[tokio::test]
async fn whoever_registers_under_the_name_of_a_known_device_is_not_taken_for_it() {
    let node = Node::start().await;
    let (sensor, hub, impostor) =
        (Home::of("jis:home:sensor"), Home::of("jis:home:hub"), Home::of("jis:home:hub"));
    let up = sensor.up(&[node.address()], &[("jis:home:hub", 0.95)]).await;
    let known = hub.device().identity().key;
    let binding = move || tibet_ping::Binding { name: name("jis:home:hub"), key: known, generation: 0 };
    up.remote().socket().with(move |node| node.learn_key(binding())).await.expect("up").expect("room");
    let other = impostor.up(&[node.address()], &[]).await;
    until(&up, registered).await;
    until(&other, registered).await;
    let ping = "ping".parse().expect("word");
    let through = other.remote().client().ping(&sensor.name, &ping, "a test").await;
    let Err(tibet_overlay::ReachError::Nodes(notes)) = &through else { panic!("{through:?}") };
    assert!(notes.iter().any(|note| note.to_string().contains("did not answer")), "{notes:?}");
    // Somebody else of whom nothing is known is answered: it is there, and hears.
    let phone = Home::of("jis:home:phone");
    let third = phone.up(&[node.address()], &[]).await;
    until(&third, registered).await;
    let through = third.remote().client().ping(&sensor.name, &ping, "a test").await;
    assert!(through.is_ok(), "{through:?}");
    third.stop().await;
    other.stop().await;
    up.stop().await;
}

#[tokio::test]
async fn a_node_that_is_given_under_two_addresses_is_registered_with_once() {
    let mut node = Node::start().await;
    let by_name = format!("localhost:{}", node.at.port()).parse().expect("an address");
    let sensor = Home::of("jis:home:sensor");
    let up = sensor.up(&[node.address(), by_name], &[]).await;
    let settled = |status: &DaemonStatus| {
        let in_state = |state| status.nodes.iter().filter(|node| node.state == state).count() == 1;
        in_state(LinkState::Registered) && in_state(LinkState::Same)
    };
    let status = until(&up, settled).await;
    let keepalives = |status: &DaemonStatus| status.nodes.iter().map(|node| node.keepalives).sum::<u64>();
    assert!(
        status
            .nodes
            .iter()
            .any(|node| node.problem.as_ref().is_some_and(|why| why.contains("another address")))
    );
    let status = until(&up, |status| keepalives(status) > 1).await;
    assert!(settled(&status), "{status:#?}");
    assert_eq!(status.nodes.iter().map(|node| node.registrations).sum::<u64>(), 1, "{status:#?}");
    // One of the two gets the device back, whichever it is.
    node.stop().await;
    until(&up, |status| !status.is_registered()).await;
    node.start_again().await;
    until(&up, settled).await;
    up.stop().await;
}

/// Rule R20: whom the device holds in ROOD it tells nothing, whatever is asked. Anybody else may verify it.
#[tokio::test]
async fn a_verifier_that_the_device_holds_in_rood_gets_silence() {
    let node = Node::start().await;
    let (sensor, hub) = (Home::of("jis:home:sensor"), Home::of("jis:home:hub"));
    let up = sensor.up(&[node.address()], &[("jis:home:hub", 0.1)]).await;
    let other = hub.up(&[node.address()], &[]).await;
    until(&up, registered).await;
    until(&other, registered).await;
    let asker = client(nobody(), &[node.address()], NameMemory::new()).await;
    assert!(asker.verify(&sensor.name).await.expect("asked").verified);
    let report = other.remote().verify(&sensor.name).await.expect("asked");
    assert!(!report.verified && report.proof.is_none(), "{report:?}");
    assert!(
        report.reason.is_some_and(|reason| reason.contains("five seconds")),
        "silence, and no word of why"
    );
    other.stop().await;
    up.stop().await;
}
