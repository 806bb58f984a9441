//! Two devices with sessions at a node.

use std::cell::RefCell;
use std::iter::once;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use jis::{RelayOpen, Signed, TransportSecret, message_hash};
use tibet_iot::{Outgoing, ReceiveBuffers};
use tibet_mesh::{RelayClient, RelayKeys};
use tibet_overlay::intents::{OverlayRequest, RelayAnswer};
use tibet_ping::{Compact, Frame};
use tokio::sync::oneshot;

use super::{Lengths, MANY, ONE, Sample, number_of};
use crate::Outcome;
use crate::bench::wire::drive;
use crate::bench::wire::ping::runtime;
use crate::load::fleet::{Fleet, now};
use crate::load::node::Node;
use crate::load::phases::answer;
use crate::load::socket::Socket;

/// Who asks, and who answers.
const NEAR: u32 = 0;
const FAR: u32 = 1;
/// The time of both ends. It stands still: they call nobody, since a round is over before their addresses would have to be proven again.
const NOW: Duration = Duration::ZERO;

pub(super) struct Ours {
    node: Node,
    fleet: Fleet,
    /// How often the devices have registered.
    round: u64,
}

impl Ours {
    pub(super) fn start(program: &Path) -> Outcome<Self> {
        Ok(Self { node: Node::of(program)?, fleet: Fleet::in_mesh("jis:relayed", 2)?, round: 0 })
    }

    pub(super) fn measure(&mut self) -> Outcome<Sample> {
        let (node, fleet, round) = (&self.node, &self.fleet, self.round);
        self.round += 1;
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let (stop, stopped) = oneshot::channel();
            let far = scope.spawn(move || runtime()?.block_on(send_back(fleet, node, round, tell, stopped)));
            let measured = match told.recv() {
                Ok(()) => runtime()?.block_on(ask(fleet, node, round)),
                // It says itself why it is gone.
                Err(mpsc::RecvError) => Err("the far end is gone".into()),
            };
            drop(stop);
            far.join().map_err(|_| "the far end panicked")??;
            measured
        })
    }
}

async fn ask(fleet: &Fleet, node: &Node, round: u64) -> Outcome<Sample> {
    let (socket, client) = session(fleet, NEAR, round, node).await?;
    let (port, relay, client) = (&socket.port, socket.node, RefCell::new(client));
    let target = address(fleet, FAR);
    let make = |lengths: Lengths| {
        let client = &client;
        move |number| {
            let sealed = client.borrow_mut().seal(target, &lengths.message(number), NOW);
            sealed.ok_or_else(|| "it cannot be sealed".into())
        }
    };
    let number = |datagram: &[u8]| {
        let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { return Err("no frame".into()) };
        let delivered = client.borrow_mut().handle_frame(kind, body, relay, NOW);
        number_of(delivered.ok_or("no delivery")?.message)
    };
    // Not counted: so that memory and paths are warm.
    drive(port, relay, ONE, make(Lengths::Same), number).await?;
    let start = node.processor_time()?;
    let many = drive(port, relay, MANY, make(Lengths::Same), number).await?;
    let between = node.processor_time()?;
    let mixed = drive(port, relay, MANY, make(Lengths::Mixed), number).await?;
    let end = node.processor_time()?;
    let spent = [between.saturating_sub(start), end.saturating_sub(between)].map(|spent| spent.as_secs_f64());
    let one = drive(port, relay, ONE, make(Lengths::Same), number).await?;
    Ok(Sample { many, mixed, one, spent: Some(spent), memory: Some(node.memory()?) })
}

/// Sends back what is delivered, to whoever it is from, until it is told to stop.
async fn send_back(
    fleet: &Fleet,
    node: &Node,
    round: u64,
    tell: mpsc::Sender<()>,
    mut stop: oneshot::Receiver<()>,
) -> Outcome<()> {
    let (socket, mut client) = session(fleet, FAR, round, node).await?;
    tell.send(())?;
    let mut buffers = ReceiveBuffers::new();
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(()),
            received = socket.port.recv(&mut buffers) => received?,
        };
        let mut back = Vec::new();
        for (from, datagram) in buffers.datagrams() {
            let Ok(Frame::Version2 { kind, body }) = Frame::read(datagram) else { continue };
            let delivered = client.handle_frame(kind, body, from, NOW);
            let sealed =
                delivered.and_then(|delivered| client.seal(delivered.source, delivered.message, NOW));
            back.extend(sealed.map(|bytes| Outgoing { to: from, bytes }));
        }
        socket.port.send(&back).await;
    }
}

/// A socket of a device that has registered from there, and its session with the relay.
async fn session(fleet: &Fleet, device: u32, round: u64, node: &Node) -> Outcome<(Socket, RelayClient)> {
    let mut socket = Socket::connect(node.address.ip(), node.address).await?;
    let relay = socket.greeting.node_key;
    let register = |socket: &Socket, device, id| {
        Compact::Query(&fleet.registration(device, round, &socket.greeting, id).encode()).write()
    };
    let registered = |_, frame: &Compact<'_>| answer(frame, Some(&relay)).map(|_| true);
    socket.drive(once(device), 1, register, registered).await?;

    let (key, issued_at) = (fleet.key(device), now());
    let secret = TransportSecret::from_bytes(tibet_iot::system::random()?.into())?;
    let open = RelayOpen {
        name: fleet.name(device),
        key: key.public_key(),
        generation: 0,
        relay,
        exchange: secret.public_key(),
        issued_at,
        expires_at: issued_at.saturating_add(Duration::from_secs(3600)),
    };
    let open = Signed::seal(open, &key)?;
    let request = OverlayRequest::Relay(Box::new(open.clone()));
    let mut opened = None;
    let ask = |socket: &Socket, device, id| {
        Compact::Query(&fleet.ask(device, &request, &socket.greeting, id).encode()).write()
    };
    let answered = |_, frame: &Compact<'_>| {
        opened = Some(RelayAnswer::read(&answer(frame, Some(&relay))?)?);
        Ok(true)
    };
    socket.drive(once(device), 1, ask, answered).await?;
    let RelayAnswer { session, exchange, lifetime, .. } = opened.ok_or("no session")?;
    let keys = RelayKeys::for_device(&secret, &exchange, &message_hash(open.message()));
    let client = RelayClient::new(keys.ok_or("no keys")?, session, node.address, lifetime, NOW);
    Ok((socket, client))
}

fn address(fleet: &Fleet, device: u32) -> Ipv6Addr {
    fleet.fingerprint(device).overlay_address("tibet")
}
