//! Pings: unsigned ones of a legacy client, and signed ones between nodes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use jis::{Fingerprint, Name, SecretKey};
use tibet_iot::{IotNode, TransportConfig, UdpPort, system};
use tibet_ping::{
    Ask, Binding, Encoding, Frame, Fresh, NodeConfig, NodeIdentity, Packet, ReplayConfig, Response, sign_ping,
};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::load::{Load, Measured, Stopwatch, drive, time_of_thread};
use crate::Outcome;

const HUB: &str = "jis:home:hub";
const SENSOR: &str = "jis:home:sensor";
const INTENT: &str = "temperature.read";
const PURPOSE: &str = "Check room temperature";

pub(crate) fn runtime() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn name(text: &str) -> Outcome<Name> {
    Ok(text.parse()?)
}

fn key(n: u8) -> Outcome<SecretKey> {
    Ok(SecretKey::from_seed(Zeroizing::new(std::array::from_fn(|at| n ^ at as u8)))?)
}

fn packet(number: u64) -> Outcome<Packet> {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let fresh = Fresh { id: number.to_be_bytes(), nonce, now: system::now() };
    Ok(Packet::intent(&name(SENSOR)?, &name(HUB)?, INTENT, PURPOSE, fresh))
}

/// The bytes of a legacy ping.
pub(super) fn unsigned_frame(number: u64) -> Outcome<Vec<u8>> {
    Ok(packet(number)?.encode(Encoding::Json)?)
}

/// The bytes of a signed ping.
pub(super) fn signed_frame() -> Outcome<Vec<u8>> {
    let mut packet = packet(0)?;
    let expires_at = system::now().saturating_add(Duration::from_secs(30));
    sign_ping(&mut packet, &key(2)?, 0, Some(key(1)?.public_key()), expires_at)?;
    Ok(packet.encode(Encoding::Json)?)
}

/// Which ping a response answers.
fn number_of(datagram: &[u8]) -> Outcome<u64> {
    let Ok(Frame::Version1 { encoding, body, .. }) = Frame::read(datagram) else {
        return Err("no response".into());
    };
    let response = Response::decode(encoding, body).map_err(|reject| reject.to_string())?;
    let id = response.in_response_to.strip_prefix("ping_").ok_or("another id")?;
    Ok(u64::from_str_radix(id, 16)?)
}

/// A legacy client that writes each request and reads each response; a node that answers it.
pub(super) fn unsigned(load: Load) -> Outcome<Measured> {
    let hub = Hub::start(load, |hub| {
        hub.allow_unsigned(name(SENSOR)?)?;
        Ok(())
    })?;
    let measured = runtime()?.block_on(async {
        let port = UdpPort::bind(loopback())?;
        drive(&port, hub.address, load, unsigned_frame, number_of).await
    });
    let answering = hub.stop()?;
    Ok(measured?.answered_in(answering))
}

/// A node at both ends: two signatures and two verifications a ping, shared between two threads.
pub(crate) fn signed(load: Load) -> Outcome<Measured> {
    let hub = Hub::start(load, |hub| {
        hub.bind_key(Binding { name: name(SENSOR)?, key: key(2)?.public_key(), generation: 0 })?;
        Ok(())
    })?;
    let measured = runtime()?.block_on(ask_many(load, hub.address));
    let answering = hub.stop()?;
    Ok(measured?.answered_in(answering))
}

async fn ask_many(load: Load, hub: SocketAddr) -> Outcome<Measured> {
    let mut sensor = IotNode::new(identity(SENSOR, 2)?, config(load), None, None)?;
    sensor.start().await?;
    sensor.bind_key(Binding { name: name(HUB)?, key: key(1)?.public_key(), generation: 0 })?;
    let sensor = Arc::new(sensor);
    let latencies = Arc::new(Mutex::new(Vec::with_capacity(load.pings)));
    let target = name(HUB)?;
    let watch = Stopwatch::start();
    let askers: Vec<_> = (0..load.outstanding)
        .map(|_| {
            let (sensor, latencies, target) = (Arc::clone(&sensor), Arc::clone(&latencies), target.clone());
            tokio::spawn(async move {
                for _ in 0..load.pings / load.outstanding {
                    let ask = Ask { purpose: PURPOSE.into(), ..Ask::new(target.clone(), Some(hub), INTENT) };
                    let begun = Instant::now();
                    let answered = sensor.send_ping(ask).await.is_ok_and(|answer| answer.is_some());
                    let lasted = begun.elapsed();
                    if let (true, Ok(mut latencies)) = (answered, latencies.lock()) {
                        latencies.push(lasted);
                    }
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await?;
    }
    let latencies = std::mem::take(&mut *latencies.lock().map_err(|_| "a client panicked")?);
    if latencies.len() != load.pings / load.outstanding * load.outstanding {
        return Err("an answer was lost".into());
    }
    Ok(watch.stop(latencies))
}

/// A node that answers, on a thread of its own.
struct Hub {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<Result<Duration, String>>,
}

impl Hub {
    fn start(load: Load, prepare: impl FnOnce(&IotNode) -> Outcome<()> + Send + 'static) -> Outcome<Self> {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let mut hub = IotNode::new(identity(HUB, 1)?, config(load), None, None)?;
            hub.set_trust(name(SENSOR)?, 0.95, "")?;
            prepare(&hub)?;
            tell.send(hub.start().await?)?;
            let _ = stopped.await;
            hub.stop().await?;
            Outcome::Ok(time_of_thread())
        };
        let thread = thread::spawn(move || {
            let runtime = runtime().map_err(|error| error.to_string())?;
            runtime.block_on(serve).map_err(|error| error.to_string())
        });
        let address = told.recv().map_err(|_| "the node did not start")?;
        Ok(Self { address, stop, thread })
    }

    /// Ends it; the processor time that it took.
    fn stop(self) -> Outcome<Duration> {
        let _ = self.stop.send(());
        Ok(self.thread.join().map_err(|_| "the node panicked")??)
    }
}

fn identity(text: &str, n: u8) -> Outcome<NodeIdentity> {
    let fingerprint = Fingerprint::from_bytes([n; 32]);
    Ok(NodeIdentity { name: name(text)?, key: key(n)?, generation: 0, fingerprint })
}

fn config(load: Load) -> TransportConfig {
    // One client sends what thousands of devices would.
    let replay = ReplayConfig { per_sender: load.pings + 1, ..ReplayConfig::default() };
    TransportConfig {
        bind: loopback(),
        discovery: None,
        node: NodeConfig { replay, ..NodeConfig::default() },
    }
}
