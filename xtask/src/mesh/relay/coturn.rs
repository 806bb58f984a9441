//! A client of `coturn`: as much of TURN (RFC 8656) as an echo needs.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tokio::time::timeout;

use super::{Lengths, MANY, ONE, Sample, number_of};
use crate::Outcome;
use crate::bench::wire::drive;
use crate::bench::wire::echo::Echo;
use crate::bench::wire::ping::{loopback, runtime};
use crate::load::node::{memory, processor_time};

/// How messages of STUN are told (RFC 8489 §5).
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Requests; an answer that says yes has this bit more.
const BINDING: u16 = 0x0001;
const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const YES: u16 = 0x0100;
/// Attributes.
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REQUESTED_TRANSPORT: u16 = 0x0019;
/// The protocol number of UDP.
const UDP: u8 = 17;
/// The first of the numbers that a channel may have.
const CHANNEL: u16 = 0x4000;
/// Bytes before what a channel carries: its number, and how many bytes follow.
const CHANNEL_HEADER: usize = 4;
/// After how long a request is sent again, and how often.
const AGAIN: Duration = Duration::from_millis(250);
const TRIES: u32 = 40;

pub(super) struct Coturn {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Coturn {
    /// With one thread that relays.
    pub(super) fn start() -> Outcome<Self> {
        let directory = TempDir::new()?;
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let file = |name: &str| directory.path().join(name).into_os_string();
        let mut command = Command::new("turnserver");
        command.args(["-n", "--no-auth", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-tcp-relay"]);
        command.args(["--no-rfc5780", "--no-stdout-log", "--allow-loopback-peers", "--relay-threads", "1"]);
        command.args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port"]);
        command.arg(address.port().to_string());
        for (option, name) in [("--log-file", "log"), ("--pidfile", "pid"), ("--userdb", "users")] {
            command.arg(option).arg(file(name));
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| match error.kind() {
            ErrorKind::NotFound => "turnserver is not installed: it is in the package coturn".to_owned(),
            _ => format!("turnserver: {error}"),
        })?;
        let coturn = Self { child, address, _directory: directory };
        runtime()?.block_on(async {
            let port = UdpPort::bind(loopback())?;
            coturn.ask(&port, BINDING, &[]).await
        })?;
        Ok(coturn)
    }

    pub(super) fn measure(&self) -> Outcome<Sample> {
        let peer = Echo::start()?;
        let measured = runtime()?.block_on(self.echoes(peer.address));
        peer.stop()?;
        measured
    }

    async fn echoes(&self, peer: SocketAddr) -> Outcome<Sample> {
        let port = UdpPort::bind(loopback())?;
        self.ask(&port, ALLOCATE, &[(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0])]).await?;
        let [high, low] = CHANNEL.to_be_bytes();
        let peer = xored(peer)?;
        let bound = [(CHANNEL_NUMBER, &[high, low, 0, 0][..]), (XOR_PEER_ADDRESS, &peer)];
        self.ask(&port, CHANNEL_BIND, &bound).await?;
        let make = |lengths: Lengths| {
            move |number| {
                let length = (lengths.of(number) as u16).to_be_bytes();
                Ok([&CHANNEL.to_be_bytes()[..], &length, &lengths.message(number)].concat())
            }
        };
        let number = |data: &[u8]| match data.split_at_checked(CHANNEL_HEADER) {
            Some((header, message)) if header[..2] == CHANNEL.to_be_bytes() => number_of(message),
            _ => Err("not from the channel".into()),
        };
        let (port, relay, process) = (&port, self.address, self.child.id());
        // Not counted, as with ours.
        drive(port, relay, ONE, make(Lengths::Same), number).await?;
        let start = processor_time(process)?;
        let many = drive(port, relay, MANY, make(Lengths::Same), number).await?;
        let between = processor_time(process)?;
        let mixed = drive(port, relay, MANY, make(Lengths::Mixed), number).await?;
        let end = processor_time(process)?;
        let spent =
            [between.saturating_sub(start), end.saturating_sub(between)].map(|spent| spent.as_secs_f64());
        let one = drive(port, relay, ONE, make(Lengths::Same), number).await?;
        Ok(Sample { many, mixed, one, spent: Some(spent), memory: Some(memory(process)?) })
    }

    /// Asks, again and again if need be, until the answer says yes.
    async fn ask(&self, port: &UdpPort, method: u16, attributes: &[(u16, &[u8])]) -> Outcome<()> {
        let transaction: [u8; 12] = tibet_iot::system::random()?;
        let request = message(method, &transaction, attributes);
        let mut buffers = ReceiveBuffers::new();
        for _ in 0..TRIES {
            port.send(&[Outgoing { to: self.address, bytes: &request }]).await;
            let until = Instant::now() + AGAIN;
            while let Ok(received) =
                timeout(until.duration_since(Instant::now()), port.recv(&mut buffers)).await
            {
                received?;
                let answers = buffers.datagrams().filter(|(_, bytes)| bytes.get(8..20) == Some(&transaction));
                let kind = answers.filter_map(|(_, bytes)| bytes.first_chunk().copied()).next();
                match kind.map(u16::from_be_bytes) {
                    Some(kind) if kind == method | YES => return Ok(()),
                    Some(kind) => {
                        return Err(format!("turnserver refuses {method:#06x}: {kind:#06x}").into());
                    }
                    None => {}
                }
            }
        }
        Err("turnserver does not answer".into())
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message of STUN. The attributes' lengths are multiples of four here, so none is padded.
fn message(kind: u16, transaction: &[u8; 12], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
    }
    let length = (body.len() as u16).to_be_bytes();
    [&kind.to_be_bytes()[..], &length, &MAGIC, transaction, &body].concat()
}

/// An IPv4 address as an attribute has it (RFC 8489 §14.2): no router between is to take it for one of its own to translate.
fn xored(address: SocketAddr) -> Outcome<[u8; 8]> {
    let IpAddr::V4(ip) = address.ip() else { return Err("no IPv4 address".into()) };
    let mut value = [0, 1, 0, 0, 0, 0, 0, 0];
    value[2..4].copy_from_slice(&address.port().to_be_bytes());
    value[4..].copy_from_slice(&ip.octets());
    for (byte, mask) in value[2..4].iter_mut().zip(MAGIC) {
        *byte ^= mask;
    }
    for (byte, mask) in value[4..].iter_mut().zip(MAGIC) {
        *byte ^= mask;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of RFC 5769 §2.2.
    #[test]
    fn an_address_is_written_as_the_test_vectors_of_stun_have_it() {
        let address = "192.0.2.1:32853".parse().expect("an address");
        let value = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(xored(address).expect("IPv4"), value);
        assert!(xored("[2001:db8::1]:1".parse().expect("an address")).is_err());
        let request = message(ALLOCATE, &[9; 12], &[(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0])]);
        assert_eq!(request.len(), 28);
        assert_eq!(request[..8], [0, 3, 0, 8, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(request[20..], [0, 0x19, 0, 4, 17, 0, 0, 0]);
    }
}
