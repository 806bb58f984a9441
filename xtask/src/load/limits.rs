//! What the machine can do at best, in the same run: the echo of the same bytes, and `knot`, a name server, answering as many names.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tibet_iot::UdpPort;

use crate::Outcome;
use crate::bench::wire::{Load, Measured, drive, echo};

/// Names that knot is given at most: a zone of more takes long to load.
const MOST_NAMES: u32 = 200_000;
/// Bytes of a `found` frame with a record of the fleet's.
const FOUND: usize = 460;

/// The echo of datagrams as long as our answers, through the same batched sockets.
pub(super) fn raw_echo() -> Outcome<()> {
    for outstanding in [64, 1] {
        let pings = if outstanding == 1 { 50_000 } else { 500_000 };
        report(
            &format!("raw UDP echo of {FOUND} bytes"),
            &echo::run(Load { outstanding, pings }, &[0; FOUND])?,
            outstanding,
        );
    }
    Ok(())
}

/// knot with a zone of as many names, if it is installed.
pub(super) async fn knot(devices: u32) -> Outcome<()> {
    let names = devices.min(MOST_NAMES);
    let Some(knot) = Knot::start(names)? else {
        println!("knot is not installed: nothing to compare with (Debian: knot)");
        return Ok(());
    };
    let port = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    for outstanding in [64, 1] {
        let pings = if outstanding == 1 { 50_000 } else { 500_000 };
        // A DNS id has 16 bits; no more than 64 are on their way.
        let numbers = RefCell::new(vec![0_u64; 65_536]);
        let mut state = 0x9e37_79b9_u32;
        let make = |number: u64| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            numbers.borrow_mut()[(number & 0xffff) as usize] = number;
            Ok(question((number & 0xffff) as u16, &format!("d{}", state % names)))
        };
        let number_of = |answer: &[u8]| {
            let [a, b, _, code, ..] = answer else { return Err("a short answer".into()) };
            if code & 0x0f != 0 {
                return Err(format!("knot answers with code {}", code & 0x0f).into());
            }
            Ok(numbers.borrow()[usize::from(u16::from_be_bytes([*a, *b]))])
        };
        let measured = drive(&port, knot.address, Load { outstanding, pings }, make, number_of).await?;
        report(&format!("knot, {names} names, unsigned A records"), &measured, outstanding);
    }
    Ok(())
}

fn report(title: &str, measured: &Measured, outstanding: usize) {
    println!(
        "{title}, {outstanding} outstanding: {:.0}/s, p50 {:.3} ms, p99 {:.3} ms",
        measured.rate(),
        measured.latency(0.5) / 1e3,
        measured.latency(0.99) / 1e3
    );
}

/// A question for the address of `label.load.test` (RFC 1035).
fn question(id: u16, label: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [label, "load", "test"] {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

struct Knot {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Knot {
    fn start(names: u32) -> Outcome<Option<Self>> {
        let directory = TempDir::new()?;
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let root = directory.path().display();
        let config = format!(
            "server:\n  rundir: {root}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {root}\nzone:\n  - domain: load.test\n    storage: {root}\n    file: zone\n"
        );
        fs::write(directory.path().join("knot.conf"), config)?;
        let mut zone = "$ORIGIN load.test.\n$TTL 3600\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n".to_owned();
        for name in 0..names {
            let [_, b, c, d] = name.to_be_bytes();
            writeln!(zone, "d{name} A 10.{b}.{c}.{d}")?;
        }
        fs::write(directory.path().join("zone"), zone)?;
        let mut command = Command::new("knotd");
        command.arg("--config").arg(directory.path().join("knot.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let knot = Self { child, address, _directory: directory };
        knot.wait()?;
        Ok(Some(knot))
    }

    /// Until the zone is loaded.
    fn wait(&self) -> Outcome<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let begun = Instant::now();
        let mut answer = [0; 512];
        while begun.elapsed() < Duration::from_secs(60) {
            socket.send_to(&question(1, "d0"), self.address)?;
            if let Ok(length) = socket.recv(&mut answer)
                && length > 3
                && answer[3] & 0x0f == 0
            {
                return Ok(());
            }
        }
        Err("knot does not answer".into())
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
