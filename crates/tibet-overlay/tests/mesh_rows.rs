//! SECURITY 3.2, rows 40 and 55, as a device of the mesh meets them: whose record makes no tunnel, and which consents are none.

mod net;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jis::{Endpoint, Punch, SignedObject as _, UnixTime};
use net::hostile::{Hostile, Script, Shown, found, registering};
use net::{Home, LOOPBACK, key, name, until};
use tibet_overlay::daemon::{ForwardTo, MeshConfig};
use tibet_overlay::{LocalDevice, Presence, system};
use tibet_ping::Compact;
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
