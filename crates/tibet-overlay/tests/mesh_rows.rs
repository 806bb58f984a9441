//! SECURITY 3.2, rows 40 and 55, as a device of the mesh meets them: whose record makes no tunnel, and which consents are none.

mod net;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jis::{Endpoint, Punch, Record, Signed, SignedObject as _, UnixTime};
use net::hostile::{Hostile, Script, Shown, found, registering};
use net::{Home, LOOPBACK, key, name, until};
use tibet_overlay::daemon::{Daemon, DaemonStatus, ForwardTo, MeshConfig};
use tibet_overlay::{LocalDevice, NodeAddress, Presence, system};
use tibet_ping::{Compact, Found, FoundStatus};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const HUB: &str = "jis:home:hub";
const HOUR: i64 = 3600;

/// Some seconds from now, or before.
fn at(seconds: i64) -> UnixTime {
    UnixTime::from_secs(system::now().as_secs().saturating_add_signed(seconds))
}

fn hub(created: UnixTime, published: UnixTime) -> LocalDevice {
    let mut hub = LocalDevice::create(name(HUB), created).expect("keys");
    hub.publish(Presence { ttl: Duration::from_secs(600), ..Presence::default() }, published)
        .expect("signed");
    hub
}

/// A node that registers whoever comes, and shows this device to whoever looks for it; `looked` hears of each.
fn showing(shown: Shown, looked: mpsc::UnboundedSender<()>) -> Script {
    let mut registering = registering();
    Box::new(move |node, frame, from| match frame {
        Compact::Lookup { id, events_from, name, .. } if name == HUB => {
            let _ = looked.send(());
            let shown = shown.lock().expect("not poisoned");
            vec![found(id, events_from, &shown.0, &shown.1)]
        }
        other => registering(node, other, from),
    })
}

/// SECURITY 3.2 row 40: a transport key that another identity has certified, that counts no more, or not yet, makes no tunnel. The very same record, signed by the
/// device itself and now, does.
#[tokio::test]
async fn row_40_no_tunnel_for_a_transport_key_of_another_identity_or_another_time() {
    let now = at(0);
    let (honest, victim, impostor) = (hub(now, now), hub(now, now), hub(now, now));
    let forged = impostor.record().expect("published").clone();
    let (expired, ahead) = (hub(at(-3 * HOUR), at(-2 * HOUR)), hub(now, at(HOUR)));
    let own = |device: &LocalDevice| device.record().expect("published").clone();
    let (of_expired, of_ahead, of_honest) = (own(&expired), own(&ahead), own(&honest));
    for (what, device, record, tunnel) in [
        ("another identity's", victim, forged, false),
        ("expired", expired, of_expired, false),
        ("not yet valid", ahead, of_ahead, false),
        ("its own", honest, of_honest, true),
    ] {
        let (looked, mut looks) = mpsc::unbounded_channel();
        let shown = Arc::new(Mutex::new((device, record)));
        let node = Hostile::run(key(), LOOPBACK, showing(shown, looked)).await;
        let laptop = Home::of("jis:office:laptop");
        let forward = ForwardTo { listen: LOOPBACK, name: name(HUB), port: 1883 };
        let mesh = MeshConfig { forwards: vec![forward], port_mapping: false, ..MeshConfig::default() };
        let up = laptop.up_in_mesh(&[node.address()], &[(HUB, 0.95)], Some(mesh)).await;
        let status = until(&up, |status| status.mesh.is_some()).await;
        let listener = status.mesh.expect("in the mesh").forwards[0].listen.clone();
        let mut stream = TcpStream::connect(listener).await.expect("connected");
        looks.recv().await.expect("looked up");
        if tunnel {
            until(&up, |status| status.mesh.as_ref().is_some_and(|mesh| mesh.peers.len() == 1)).await;
        } else {
            // It has been judged when the program hears that there is nobody.
            let mut heard = Vec::new();
            let ended = tokio::time::timeout(net::PATIENCE, stream.read_to_end(&mut heard)).await;
            assert!(ended.is_ok() && heard.is_empty(), "{what}");
            let mesh = up.status().await.mesh.expect("in the mesh");
            assert!(mesh.peers.is_empty(), "{what}: {:?}", mesh.peers);
        }
        up.stop().await;
    }
}

/// What a node says of the hub.
type Known = Option<(LocalDevice, Signed<Record>)>;
type Said = Arc<Mutex<Known>>;

/// A node that registers whoever comes, and says this of the hub; of nobody else does it say anything.
fn saying(said: Said) -> Script {
    let mut registering = registering();
    Box::new(move |node, frame, from| match frame {
        Compact::Lookup { id, events_from, name: HUB, .. } => match &*said.lock().expect("not poisoned") {
            Some((device, record)) => vec![found(id, events_from, device, record)],
            None => {
                let found = Found { status: FoundStatus::Unknown, record: &[], events: 0, history: &[] };
                vec![Compact::Found { id, found }.write()]
            }
        },
        other => registering(node, other, from),
    })
}

/// A laptop with a program that speaks to the hub, which is its peer.
async fn with_peer(laptop: &Home, nodes: &[NodeAddress]) -> (Daemon, TcpStream) {
    let forward = ForwardTo { listen: LOOPBACK, name: name(HUB), port: 1883 };
    let mesh = MeshConfig { forwards: vec![forward], port_mapping: false, ..MeshConfig::default() };
    let up = laptop.up_in_mesh(nodes, &[(HUB, 0.95)], Some(mesh)).await;
    let status = until(&up, |status| status.mesh.is_some()).await;
    let listener = status.mesh.expect("in the mesh").forwards[0].listen.clone();
    let stream = TcpStream::connect(listener).await.expect("connected");
    until(&up, has_peer).await;
    (up, stream)
}

fn has_peer(status: &DaemonStatus) -> bool {
    status.mesh.as_ref().is_some_and(|mesh| !mesh.peers.is_empty())
}

/// Waits until the log says this last.
async fn logged(laptop: &Home, wanted: &str) {
    let log = laptop.state.node(&laptop.name).join("mesh.jsonl");
    let logged = async {
        while !std::fs::read_to_string(&log).expect("a log").lines().last().unwrap_or("").contains(wanted) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(net::PATIENCE, logged).await.expect(wanted);
}

/// SECURITY R54, 3.2 row 40: whoever is not registered any more, names no transport key any more, or lets its record expire, is no peer any more; and does not become one
/// again for having been one.
#[tokio::test]
async fn row_40_the_tunnel_ends_with_the_registration_the_transport_key_and_the_record() {
    let now = at(0);
    let peer = |issued_at: UnixTime| {
        let device = hub(issued_at, issued_at);
        let record = device.record().expect("published").clone();
        (device, record)
    };
    let without_transport_key = |(device, record): &(LocalDevice, Signed<Record>)| {
        let mut claims = record.claims().clone();
        claims.version.seq += 1;
        claims.transport_key = None;
        Signed::seal(claims, &device.node_identity().expect("active").key).expect("signed")
    };
    let ends = async |issued_at, change: &dyn Fn(&mut Known), reason| {
        let said: Said = Arc::new(Mutex::new(Some(peer(issued_at))));
        let node = Hostile::run(key(), LOOPBACK, saying(Arc::clone(&said))).await;
        let laptop = Home::of("jis:office:laptop");
        let (up, _stream) = with_peer(&laptop, &[node.address()]).await;
        change(&mut said.lock().expect("not poisoned"));
        until(&up, |status| !has_peer(status)).await;
        logged(&laptop, reason).await;
        // It stands in GROEN, so it is looked up again: a device that took it back would do so now.
        assert!(up.remote().resolve(&name(HUB)).await.is_ok(), "{reason}: it is remembered");
        assert!(!has_peer(&up.status().await), "{reason}");
        up.stop().await;
    };
    let unregister = |said: &mut Known| *said = None;
    let leave = |said: &mut Known| {
        if let Some(known) = said {
            known.1 = without_transport_key(known);
        }
    };
    tokio::join!(
        ends(now, &unregister, "no node knows it any more"),
        ends(now, &leave, "no transport key"),
        ends(at(10 - 600), &|_| {}, "has expired"),
    );
}

/// One of two nodes does not know the peer, and the other, which may, is silent: the peer stays.
#[tokio::test]
async fn a_peer_stays_while_a_node_that_may_know_it_is_silent() {
    let device = hub(at(0), at(0));
    let record = device.record().expect("published").clone();
    let said: Said = Arc::new(Mutex::new(Some((device, record))));
    let knowing = Hostile::run(key(), LOOPBACK, saying(Arc::clone(&said))).await;
    let (asked, mut asks) = mpsc::unbounded_channel();
    let nobody: Said = Arc::default();
    let mut unknowing = saying(nobody);
    let script: Script = Box::new(move |node, frame, from| {
        if matches!(frame, Compact::Lookup { .. }) {
            let _ = asked.send(());
        }
        unknowing(node, frame, from)
    });
    let other = Hostile::run(key(), LOOPBACK, script).await;
    let laptop = Home::of("jis:office:laptop");
    let (up, _stream) = with_peer(&laptop, &[knowing.address(), other.address()]).await;
    drop(knowing);
    while asks.try_recv().is_ok() {}
    for _ in 0..2 {
        tokio::time::timeout(net::PATIENCE, asks.recv()).await.expect("asked again").expect("running");
    }
    assert!(has_peer(&up.status().await));
    up.stop().await;
}

/// SECURITY R20f: names that nodes say nothing of, so that each look-up takes seconds, hold back neither other look-ups nor what becomes of trust.
#[tokio::test]
async fn a_peer_is_found_and_cut_off_while_look_ups_of_others_hang() {
    let device = hub(at(0), at(0));
    let record = device.record().expect("published").clone();
    let node = Hostile::run(key(), LOOPBACK, saying(Arc::new(Mutex::new(Some((device, record)))))).await;
    let laptop = Home::of("jis:office:laptop");
    let silent: Vec<String> = (0..12).map(|number| format!("jis:a{number}")).collect();
    let trust: Vec<(&str, f64)> =
        silent.iter().map(|name| (name.as_str(), 0.95)).chain([(HUB, 0.95)]).collect();
    let mesh = MeshConfig { port_mapping: false, ..MeshConfig::default() };
    let up = laptop.up_in_mesh(&[node.address()], &trust, Some(mesh)).await;
    until(&up, has_peer).await;
    let begun = Instant::now();
    let distrusted = |node: &tibet_iot::IotNode| node.set_trust(name(HUB), 0.0, "a test");
    up.remote().socket().with(distrusted).await.expect("running").expect("noted");
    until(&up, |status| !has_peer(status)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    logged(&laptop, "ROOD").await;
    up.stop().await;
}

/// A welcome is not signed. A node that sees the device elsewhere at every greeting, or somebody on the way who says so for it, does not have it sign records and register for ever.
#[tokio::test]
async fn a_node_that_sees_the_device_elsewhere_each_time_keeps_nobody_busy() {
    let device = hub(at(0), at(0));
    let record = device.record().expect("published").clone();
    let mut saying = saying(Arc::new(Mutex::new(Some((device, record)))));
    let (greeted, mut greetings) = mpsc::unbounded_channel();
    let mut port = 1024;
    let script: Script = Box::new(move |node, frame, from| match frame {
        Compact::Hello(id) => {
            port += 1;
            let _ = greeted.send(());
            vec![node.welcome(id, SocketAddr::new(from.ip(), port))]
        }
        other => saying(node, other, from),
    });
    let node = Hostile::run(key(), LOOPBACK, script).await;
    let laptop = Home::of("jis:office:laptop");
    // A program speaks to a peer that there is no path to, so one is looked for.
    let (up, _stream) = with_peer(&laptop, &[node.address()]).await;
    for _ in 0..3 {
        greetings.recv().await.expect("running");
    }
    // Within 8 s its word counts once. Else there is a round for each time there and back.
    let mut count = 0;
    let more = async {
        while greetings.recv().await.is_some() {
            count += 1;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(8), more).await.is_err(), "it is running");
    assert!(count < 10, "{count} greetings");
    up.stop().await;
}

/// SECURITY 3.2 row 55, R58: no consent names an address that is nobody's, everybody's or a service's, even where its bytes say so and are signed well.
#[test]
fn row_55_no_consent_names_an_address_that_is_nobodys() {
    let (from, to) = (key(), key());
    let candidate: Endpoint = "203.0.113.1:7150".parse().expect("endpoint");
    let punch = Punch {
        from: name("jis:a"),
        key: from.public_key(),
        generation: 0,
        to: name("jis:b"),
        to_key: to.public_key(),
        nonce: [1; 16],
        answers: Punch::FIRST,
        issued_at: at(0),
        expires_at: at(30),
        candidates: vec![candidate],
    };
    let message = punch.message();
    let octets = [203, 0, 113, 1];
    let places: Vec<usize> = (0..=message.len() - 6).filter(|at| message[*at..*at + 4] == octets).collect();
    let [place] = places[..] else { panic!("{places:?}") };
    let with = |octets: [u8; 4], port: u16| {
        let mut bytes = message.clone();
        bytes[place..place + 4].copy_from_slice(&octets);
        bytes[place + 4..place + 6].copy_from_slice(&port.to_be_bytes());
        Punch::from_message(&bytes).is_ok()
    };
    assert!(with(octets, 7150) && with([192, 168, 1, 10], 40_000), "the bytes are those of an endpoint");
    for bad in [[127, 0, 0, 1], [0, 0, 0, 0], [169, 254, 1, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
        assert!(!with(bad, 7150), "{bad:?}");
    }
    for port in [0, 19, 53, 123, 161, 389, 1900, 5353, 11211] {
        assert!(!with(octets, port), "port {port}");
    }
}
