//! Peers without programs: keys, records, and one end of a tunnel each, all on one socket.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use jis::{Fingerprint, Name, TransportKey};
use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tibet_mesh::Tunnels;
use tibet_ping::Compact;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::Outcome;
use crate::bench::wire::ping::loopback;
use crate::load::fleet::Fleet;
use crate::load::node::Node;
use crate::load::phases::answer;
use crate::load::socket::Socket;

/// Requests on their way at a time.
const WINDOW: usize = 64;
/// Handshakes on their way at a time: fewer than fill a socket.
const AT_ONCE: usize = 32;
/// When a handshake that was not answered begins again, and how long all of them may take.
const AGAIN: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);
/// How a message of WireGuard begins that begins a handshake, and one that answers it.
const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
/// Nothing follows this header (RFC 8200 §4.7): nobody who gets such a packet answers it.
const NO_NEXT_HEADER: u8 = 59;

pub(super) struct Players {
    fleet: Fleet,
}

/// One end of a tunnel.
struct Player {
    tunnels: Tunnels,
    begun: Instant,
}

impl Players {
    /// So many, registered at the node.
    pub(super) fn register(runtime: &Runtime, node: &Node, players: u32) -> Outcome<Self> {
        let fleet = Fleet::in_mesh("jis:peers", players)?;
        runtime.block_on(async {
            let mut socket = Socket::connect(node.address.ip(), node.address).await?;
            let register = |socket: &Socket, player, id| {
                Compact::Query(&fleet.registration(player, 0, &socket.greeting, id).encode()).write()
            };
            let registered = |_, frame: &Compact<'_>| answer(frame, None).map(|_| true);
            socket.drive(0..players, WINDOW, register, registered).await
        })?;
        Ok(Self { fleet })
    }

    pub(super) fn name(&self, player: u32) -> Name {
        self.fleet.name(player)
    }

    /// The first so many make tunnels to a device, and say one word through them: with that the device knows where they are.
    pub(super) async fn make_tunnels(
        &mut self,
        players: u32,
        (device, key): (Fingerprint, TransportKey),
        at: SocketAddr,
    ) -> Outcome<()> {
        let (port, started) = (UdpPort::bind(loopback())?, Instant::now());
        let to = device.overlay_address("tibet");
        let mut waiting: Vec<u32> = (0..players).rev().collect();
        let mut under_way: HashMap<u32, Player> = HashMap::new();
        // By the index that answers bear.
        let mut by_index: HashMap<[u8; 4], u32> = HashMap::new();
        let mut buffers = ReceiveBuffers::new();
        while !waiting.is_empty() || !under_way.is_empty() {
            let now = started.elapsed();
            if now > LONG {
                return Err(format!("{} tunnels were not made", waiting.len() + under_way.len()).into());
            }
            let mut out = Vec::new();
            while under_way.len() < AT_ONCE
                && let Some(number) = waiting.pop()
            {
                let mut tunnels = Tunnels::new(&self.fleet.transport(number), 1280);
                if !tunnels.set(device, key) {
                    return Err("a tunnel to oneself".into());
                }
                let from = self.fleet.fingerprint(number).overlay_address("tibet");
                out.extend(tunnels.seal(&device, packet(from, to), now).map(|begun| (number, begun)));
                under_way.insert(number, Player { tunnels, begun: Instant::now() });
            }
            for (number, player) in &mut under_way {
                if player.begun.elapsed() > AGAIN {
                    player.begun = Instant::now();
                    out.extend(player.tunnels.begin_again(&device, now).map(|begun| (*number, begun)));
                }
            }
            for (number, message) in &out {
                if let (Some(&INITIATION), Some(index)) = (message.first(), index(message, 4)) {
                    by_index.insert(index, *number);
                }
            }
            send(&port, at, out.into_iter().map(|(_, message)| message)).await;
            let Ok(received) = timeout(AGAIN, port.recv(&mut buffers)).await else { continue };
            received?;
            let mut out = Vec::new();
            for (from, message) in buffers.datagrams().filter(|(_, bytes)| bytes.first() == Some(&RESPONSE)) {
                let number = index(message, 8).and_then(|index| by_index.remove(&index));
                // An answer to a handshake that was begun again meanwhile is nobody's.
                let Some((number, mut player)) = number.and_then(|number| under_way.remove_entry(&number))
                else {
                    continue;
                };
                let sent = out.len();
                player.tunnels.open(from, message.into(), now, &mut |transmit| out.push(transmit.datagram));
                if out.len() == sent {
                    // It was not for the last one that it sent.
                    under_way.insert(number, player);
                }
            }
            send(&port, at, out.into_iter()).await;
        }
        Ok(())
    }
}

async fn send(port: &UdpPort, to: SocketAddr, messages: impl Iterator<Item = BytesMut>) {
    let batch: Vec<_> = messages.map(|bytes| Outgoing { to, bytes }).collect();
    port.send(&batch).await;
}

/// Four bytes of a message.
fn index(message: &[u8], at: usize) -> Option<[u8; 4]> {
    message.get(at..)?.first_chunk().copied()
}

/// A packet that says nothing.
fn packet(from: Ipv6Addr, to: Ipv6Addr) -> BytesMut {
    let mut packet = BytesMut::new();
    packet.put_slice(&[0x60, 0, 0, 0, 0, 0, NO_NEXT_HEADER, 64]);
    packet.put_slice(&from.octets());
    packet.put_slice(&to.octets());
    packet
}
