//! Devices in the mesh, with a real node and real sockets: on the loopback interface, which no consent may name, so all goes over the relay.

mod net;

use std::net::SocketAddr;

use jis::{Remark, RevocationScope};
use net::{Home, LOOPBACK, Node, name, until};
use tibet_overlay::daemon::{Daemon, DaemonStatus, ExposeAt, ForwardTo, MeshConfig, PeerReport};
use tibet_overlay::system;
use tibet_registry::Zone;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PORT: u16 = 1883;
const TRUSTED: f64 = 0.95;

fn forward_to(peer: &Home) -> MeshConfig {
    let forward = ForwardTo { listen: LOOPBACK, name: peer.name.clone(), port: PORT };
    MeshConfig { forwards: vec![forward], ..MeshConfig::default() }
}

fn expose(local: SocketAddr) -> MeshConfig {
    MeshConfig { exposes: vec![ExposeAt { port: PORT, local }], ..MeshConfig::default() }
}

/// A program that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).await.expect("bound");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    at
}

async fn relayed(daemon: &Daemon) -> DaemonStatus {
    let relayed = |status: &DaemonStatus| {
        let mesh = status.mesh.as_ref();
        mesh.is_some_and(|mesh| mesh.relays.iter().any(|relay| relay.health == "proven"))
    };
    until(daemon, relayed).await
}

fn peer<'a>(status: &'a DaemonStatus, peer: &Home) -> Option<&'a PeerReport> {
    status.mesh.as_ref()?.peers.iter().find(|known| known.name == peer.name.as_str())
}

async fn said_and_heard(listener: SocketAddr, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(listener).await?;
    stream.write_all(text).await?;
    stream.shutdown().await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    Ok(heard)
}

fn listener(status: &DaemonStatus) -> SocketAddr {
    let mesh = status.mesh.as_ref().expect("in the mesh");
    mesh.forwards[0].listen.parse().expect("an address")
}

#[tokio::test]
async fn a_program_reaches_another_by_name_without_root_and_over_the_relay() {
    let node = Node::start().await;
    let (hub, laptop) = (Home::of("jis:home:hub"), Home::of("jis:office:laptop"));
    let trust = [("jis:office:laptop", TRUSTED)];
    let at_hub = hub.up_in_mesh(&[node.address()], &trust, Some(expose(echo().await))).await;
    let at_laptop = laptop.up_in_mesh(&[node.address()], &[], Some(forward_to(&hub))).await;
    relayed(&at_hub).await;
    let status = relayed(&at_laptop).await;
    let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).take(100_000).collect();
    let heard = said_and_heard(listener(&status), &text).await.expect("a connection");
    assert!(heard == text, "{} bytes of {}", heard.len(), text.len());
    let status = at_laptop.status().await;
    let report = peer(&status, &hub).expect("a peer");
    assert_eq!(report.path, Some(format!("relay {}", node.at)));
    assert!(!report.direct && report.last_handshake_s.is_some() && report.received > 100_000, "{report:?}");

    // A ping to a peer with a tunnel needs no signature.
    let intent = "ping".parse().expect("word");
    let pong = at_laptop.remote().ping(&hub.name, &intent, "a test").await.expect("asked");
    assert_eq!(pong.zone.as_deref(), Some(Zone::Groen.as_str()), "{pong:?}");
    at_laptop.stop().await;
    at_hub.stop().await;
}

/// Whoever is in GEEL is not let in to programs, and hears no more than that.
#[tokio::test]
async fn a_stranger_does_not_reach_what_is_exposed() {
    let node = Node::start().await;
    let (hub, stranger) = (Home::of("jis:home:hub"), Home::of("jis:stranger"));
    let at_hub = hub.up_in_mesh(&[node.address()], &[], Some(expose(echo().await))).await;
    let at_stranger = stranger.up_in_mesh(&[node.address()], &[], Some(forward_to(&hub))).await;
    relayed(&at_hub).await;
    let status = relayed(&at_stranger).await;
    let heard = said_and_heard(listener(&status), b"let me in").await.unwrap_or_default();
    assert!(heard.is_empty(), "{heard:?}");
    assert!(peer(&at_hub.status().await, &stranger).is_none(), "no peer, so no tunnel");
    at_stranger.stop().await;
    at_hub.stop().await;
}

/// SECURITY R20f, R54: who is revoked loses its tunnel, and a token says why.
#[tokio::test]
async fn a_peer_that_is_revoked_is_cut_off_and_a_token_says_why() {
    let node = Node::start().await;
    let (hub, laptop) = (Home::of("jis:home:hub"), Home::of("jis:office:laptop"));
    let trust = [("jis:office:laptop", TRUSTED)];
    let at_hub = hub.up_in_mesh(&[node.address()], &trust, Some(expose(echo().await))).await;
    let at_laptop = laptop.up_in_mesh(&[node.address()], &[], Some(forward_to(&hub))).await;
    relayed(&at_hub).await;
    let status = relayed(&at_laptop).await;
    assert_eq!(said_and_heard(listener(&status), b"hello").await.expect("a connection"), b"hello");
    let mut device = laptop.device();
    let revocation =
        device.revoke(RevocationScope::Key, None, Remark::default(), system::now()).expect("signed");
    let asker = net::client(net::nobody(), &[node.address()], tibet_overlay::NameMemory::new()).await;
    asker.client().nodes()[0].revoke(revocation).await.expect("taken");
    until(&at_hub, |status| peer(status, &laptop).is_none()).await;
    let log = hub.state.node(&hub.name).join("mesh.jsonl");
    let log = std::fs::read_to_string(log).expect("a log");
    let (first, last) = (log.lines().next().expect("a token"), log.lines().last().expect("a token"));
    assert!(first.contains("mesh.peer.admitted") && first.contains(laptop.name.as_str()), "{first}");
    assert!(last.contains("mesh.peer.dismissed") && last.contains("revoked"), "{last}");
    at_hub.stop().await;
}

#[tokio::test]
async fn a_name_that_is_nobodys_leads_nowhere() {
    let node = Node::start().await;
    let laptop = Home::of("jis:office:laptop");
    let forward = ForwardTo { listen: LOOPBACK, name: name("jis:nobody"), port: PORT };
    let config = MeshConfig { forwards: vec![forward], ..MeshConfig::default() };
    let up = laptop.up_in_mesh(&[node.address()], &[], Some(config)).await;
    let status = relayed(&up).await;
    let heard = said_and_heard(listener(&status), b"hello").await.unwrap_or_default();
    assert!(heard.is_empty(), "{heard:?}");
    up.stop().await;
}
