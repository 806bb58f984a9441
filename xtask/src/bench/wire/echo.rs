//! The limit: a server that sends back what came.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tokio::sync::oneshot;

use super::load::{Load, Measured, drive};
use super::ping::{loopback, runtime};
use crate::Outcome;

pub(crate) fn run(load: Load, frame: &[u8]) -> Outcome<Measured> {
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let server = thread::spawn(move || runtime()?.block_on(serve(tell, stopped)));
    let address = told.recv()?;
    let measured = runtime()?.block_on(async {
        let port = UdpPort::bind(loopback())?;
        // The number stands where it does not change the length.
        let make = |number: u64| {
            let mut bytes = frame.to_vec();
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Ok(bytes)
        };
        let number_of = |bytes: &[u8]| Ok(u64::from_be_bytes(*bytes.first_chunk().ok_or("too short")?));
        drive(&port, address, load, make, number_of).await
    });
    let _ = stop.send(());
    server.join().map_err(|_| "the echo server panicked")??;
    measured
}

async fn serve(tell: mpsc::Sender<SocketAddr>, mut stop: oneshot::Receiver<()>) -> Outcome<()> {
    let port = UdpPort::bind(loopback())?;
    tell.send(port.local_addr())?;
    let mut buffers = ReceiveBuffers::new();
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(()),
            received = port.recv(&mut buffers) => received?,
        };
        let back: Vec<Outgoing<&[u8]>> =
            buffers.datagrams().map(|(from, bytes)| Outgoing { to: from, bytes }).collect();
        port.send(&back).await;
    }
}
