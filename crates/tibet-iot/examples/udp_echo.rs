//! How fast a socket answers: [`UdpPort`] against tokio's own socket, on loopback.
//!
//! `cargo run --release -p tibet-iot --example udp_echo`. An echo server of each kind answers the same client, which keeps 1 or 64 datagrams of
//! 200 bytes on the way. Shown are echoes a second, as the client counts them, and the time the server's thread spent on each: where client
//! and server share the machine, the second is the one that says something. The kinds take turns, and the best of three turns counts.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};

const LENGTH: usize = 200;
const TURN: Duration = Duration::from_millis(1500);
/// Tells the server to stop.
const STOP: &[u8] = b"stop";

#[derive(Debug, Clone, Copy)]
enum Server {
    Tokio,
    Port,
}

#[derive(Debug, Clone, Copy)]
enum Client {
    /// One socket, one datagram.
    One,
    /// 64 sockets, one datagram each: all send, then all receive.
    Many,
    /// One socket, 64 datagrams, sent and received in batches.
    Batches,
}

struct Measured {
    per_second: f64,
    server_micros: f64,
}

fn main() -> io::Result<()> {
    for (client, what) in [
        (Client::One, "1 outstanding"),
        (Client::Many, "64 outstanding, from 64 sockets"),
        (Client::Batches, "64 outstanding, from one socket in batches"),
    ] {
        let [mut tokio, mut port]: [Option<Measured>; 2] = [None, None];
        for _ in 0..3 {
            keep_best(&mut tokio, measure(Server::Tokio, client)?);
            keep_best(&mut port, measure(Server::Port, client)?);
        }
        if let (Some(tokio), Some(port)) = (tokio, port) {
            show(what, &tokio, &port);
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn show(what: &str, tokio: &Measured, port: &Measured) {
    println!("{what}");
    println!("  tokio    {:9.0} echoes/s, server {:5.2} us each", tokio.per_second, tokio.server_micros);
    println!("  UdpPort  {:9.0} echoes/s, server {:5.2} us each", port.per_second, port.server_micros);
    let (rate, cost) = (port.per_second / tokio.per_second, port.server_micros / tokio.server_micros);
    println!("  ratio    {rate:9.2} of the rate,     {cost:5.2} of the cost");
}

fn keep_best(best: &mut Option<Measured>, new: Measured) {
    if best.as_ref().is_none_or(|best| new.per_second > best.per_second) {
        *best = Some(new);
    }
}

fn measure(server: Server, client: Client) -> io::Result<Measured> {
    let (ready, address) = mpsc::channel();
    let serving = thread::spawn(move || -> io::Result<u64> {
        let runtime = runtime()?;
        let before = cpu_nanos()?;
        match server {
            Server::Tokio => runtime.block_on(serve_tokio(&ready))?,
            Server::Port => runtime.block_on(serve_port(&ready))?,
        }
        Ok(cpu_nanos()? - before)
    });
    let address = address.recv().map_err(io::Error::other)?;
    let begun = Instant::now();
    let echoes = match client {
        Client::One => ask_from_sockets(address, 1)?,
        Client::Many => ask_from_sockets(address, 64)?,
        Client::Batches => runtime()?.block_on(ask_in_batches(address, 64))?,
    };
    let elapsed = begun.elapsed();
    StdSocket::bind("127.0.0.1:0")?.send_to(STOP, address)?;
    let nanos = serving.join().map_err(|_| io::Error::other("the server panicked"))??;
    let echoes = echoes as f64;
    Ok(Measured { per_second: echoes / elapsed.as_secs_f64(), server_micros: nanos as f64 / 1000.0 / echoes })
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Time this thread has spent on a core.
fn cpu_nanos() -> io::Result<u64> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    line.split(' ').next().and_then(|nanos| nanos.parse().ok()).ok_or_else(|| io::Error::other("schedstat"))
}

async fn serve_tokio(ready: &mpsc::Sender<SocketAddr>) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ready.send(socket.local_addr()?).map_err(io::Error::other)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        if &buffer[..length] == STOP {
            return Ok(());
        }
        socket.send_to(&buffer[..length], from).await?;
    }
}

async fn serve_port(ready: &mpsc::Sender<SocketAddr>) -> io::Result<()> {
    let port = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    ready.send(port.local_addr()).map_err(io::Error::other)?;
    let mut buffers = ReceiveBuffers::new();
    loop {
        port.recv(&mut buffers).await?;
        let answers: Vec<_> = buffers.datagrams().map(|(to, bytes)| Outgoing { to, bytes }).collect();
        if answers.iter().any(|answer| answer.bytes == STOP) {
            return Ok(());
        }
        port.send(&answers).await;
    }
}

fn ask_from_sockets(server: SocketAddr, sockets: usize) -> io::Result<u64> {
    let sockets: Vec<_> = (0..sockets)
        .map(|_| {
            let socket = StdSocket::bind("127.0.0.1:0")?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()?;
    let (begun, mut echoes) = (Instant::now(), 0);
    let mut buffer = [0; 2 * LENGTH];
    while begun.elapsed() < TURN {
        for socket in &sockets {
            socket.send(&[1; LENGTH])?;
        }
        for socket in &sockets {
            socket.recv(&mut buffer)?;
            echoes += 1;
        }
    }
    Ok(echoes)
}

async fn ask_in_batches(server: SocketAddr, outstanding: usize) -> io::Result<u64> {
    let port = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let batch: Vec<_> = (0..outstanding).map(|_| Outgoing { to: server, bytes: [1; LENGTH] }).collect();
    let mut buffers = ReceiveBuffers::new();
    let (begun, mut echoes) = (Instant::now(), 0);
    port.send(&batch).await;
    while begun.elapsed() < TURN {
        let received = port.recv(&mut buffers).await?;
        echoes += received as u64;
        port.send(&batch[..received.min(outstanding)]).await;
    }
    Ok(echoes)
}
