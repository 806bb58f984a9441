//! The limit: a server that sends back what came.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tokio::sync::oneshot;

use super::load::{Load, Measured, drive, time_of_thread};
use super::ping::{loopback, runtime};
use crate::Outcome;

/// A server on a thread of its own.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Outcome<Duration>>,
}

impl Echo {
    pub(crate) fn start() -> Outcome<Self> {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || runtime()?.block_on(serve(tell, stopped)));
        Ok(Self { address: told.recv()?, stop, thread })
    }

    /// Ends it; the processor time that it took.
    pub(crate) fn stop(self) -> Outcome<Duration> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| "the echo server panicked")?
    }
}

/// Has a frame sent back so often, a number in its first eight bytes.
pub(crate) fn run(load: Load, frame: &[u8]) -> Outcome<Measured> {
    let echo = Echo::start()?;
    let measured = runtime()?.block_on(async {
        let port = UdpPort::bind(loopback())?;
        // The number stands where it does not change the length.
        let make = |number: u64| {
            let mut bytes = frame.to_vec();
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Ok(bytes)
        };
        let number_of = |bytes: &[u8]| Ok(u64::from_be_bytes(*bytes.first_chunk().ok_or("too short")?));
        drive(&port, echo.address, load, make, number_of).await
    });
    let answering = echo.stop()?;
    Ok(measured?.answered_in(answering))
}

async fn serve(tell: mpsc::Sender<SocketAddr>, mut stop: oneshot::Receiver<()>) -> Outcome<Duration> {
    let port = UdpPort::bind(loopback())?;
    tell.send(port.local_addr())?;
    let mut buffers = ReceiveBuffers::new();
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(time_of_thread()),
            received = port.recv(&mut buffers) => received?,
        };
        let back: Vec<Outgoing<&[u8]>> =
            buffers.datagrams().map(|(from, bytes)| Outgoing { to: from, bytes }).collect();
        port.send(&back).await;
    }
}
