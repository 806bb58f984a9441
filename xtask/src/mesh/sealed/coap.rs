//! The server of `libcoap`.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tibet_iot::UdpPort;

use crate::Outcome;
use crate::bench::wire::ping::{loopback, runtime};
use crate::bench::wire::{Load, Measured, drive};
use crate::load::node::processor_time;

/// What it is called where it is built once, and where it is built for several libraries.
const NAMES: [&str; 2] = ["coap-server", "coap-server-notls"];
/// How long it may take until it answers.
const LONG: Duration = Duration::from_secs(10);

pub(super) struct Coap {
    child: Child,
    address: SocketAddr,
}

impl Coap {
    /// `None` where it is not installed.
    pub(super) fn start() -> Outcome<Option<Self>> {
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let mut child = Err(ErrorKind::NotFound.into());
        for name in NAMES {
            let mut command = Command::new(name);
            command.args(["-A", "127.0.0.1", "-p", &address.port().to_string(), "-v", "0"]);
            child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            if child.is_ok() {
                break;
            }
        }
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("coap-server: {error}").into()),
        };
        let coap = Self { child, address };
        let (begun, socket) = (Instant::now(), UdpSocket::bind("127.0.0.1:0")?);
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        while begun.elapsed() < LONG {
            socket.send_to(&question(0), address)?;
            if socket.recv(&mut [0; 1500]).is_ok() {
                return Ok(Some(coap));
            }
        }
        Err("coap-server does not answer".into())
    }

    pub(super) fn measure(&self, load: Load) -> Outcome<Measured> {
        let before = processor_time(self.child.id())?;
        let measured = runtime()?.block_on(async {
            let port = UdpPort::bind(loopback())?;
            let number_of = |answer: &[u8]| {
                let token = answer.get(4..).and_then(|rest| rest.first_chunk()).ok_or("too short")?;
                Ok(u64::from(u32::from_be_bytes(*token)))
            };
            drive(&port, self.address, load, |number| Ok(question(number)), number_of).await
        })?;
        let answering = processor_time(self.child.id())?.saturating_sub(before);
        Ok(measured.answered_in(answering))
    }
}

impl Drop for Coap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for `/time`, not to be confirmed (RFC 7252 §3). The token is the number.
fn question(number: u64) -> Vec<u8> {
    /// Version 1, not to be confirmed, four bytes of token.
    const FIRST: u8 = 0x54;
    const GET: u8 = 1;
    /// The option Uri-Path, four bytes long.
    const URI_PATH: u8 = 0xb4;
    let [.., a, b, c, d] = number.to_be_bytes();
    let mut question = vec![FIRST, GET, c, d, a, b, c, d, URI_PATH];
    question.extend(b"time");
    question
}
