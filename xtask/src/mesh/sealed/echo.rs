//! What answers could cost at least.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tibet_iot::{Outgoing, ReceiveBuffers, UdpPort};
use tokio::sync::oneshot;

use crate::Outcome;
use crate::bench::wire::ping::{loopback, runtime};
use crate::bench::wire::{Load, Measured, drive, time_of_thread};

/// As many bytes as a ping in a tunnel has outside of what is sealed, and in it: 12 of them the number here.
const CLEAR: usize = 16;
const SEALED: usize = 112;
/// So many lengths follow one on another.
const LENGTHS: u64 = 64;

/// Has a datagram sent back so often, or opened and sealed.
pub(super) fn run(load: Load, sealed: bool) -> Outcome<Measured> {
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let far = thread::spawn(move || runtime()?.block_on(serve(sealed, tell, stopped)));
    let measured = match told.recv() {
        Ok(address) => runtime()?.block_on(async {
            let port = UdpPort::bind(loopback())?;
            let mut inner = vec![7; SEALED];
            key()?.seal_in_place_append_tag(nonce(0), Aad::empty(), &mut inner)?;
            let make = |number: u64| {
                let mut bytes = vec![0; CLEAR];
                bytes[..8].copy_from_slice(&number.to_be_bytes());
                bytes.extend(&inner);
                bytes.resize(bytes.len() + (number % LENGTHS) as usize, 0);
                Ok(bytes)
            };
            let number_of = |bytes: &[u8]| Ok(u64::from_be_bytes(*bytes.first_chunk().ok_or("too short")?));
            drive(&port, address, load, make, number_of).await
        }),
        Err(mpsc::RecvError) => Err("the far end is gone".into()),
    };
    drop(stop);
    let answering = far.join().map_err(|_| "the far end panicked")??;
    Ok(measured?.answered_in(answering))
}

/// Until it is told to stop; the processor time that it took.
async fn serve(
    sealed: bool,
    tell: mpsc::Sender<SocketAddr>,
    mut stop: oneshot::Receiver<()>,
) -> Outcome<std::time::Duration> {
    let (port, key) = (UdpPort::bind(loopback())?, key()?);
    tell.send(port.local_addr())?;
    let mut buffers = ReceiveBuffers::new();
    let mut count = 0;
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(time_of_thread()),
            received = port.recv(&mut buffers) => received?,
        };
        if !sealed {
            let back: Vec<_> = buffers.datagrams().map(|(to, bytes)| Outgoing { to, bytes }).collect();
            port.send(&back).await;
            continue;
        }
        let mut back = Vec::new();
        for (to, datagram) in buffers.datagrams() {
            let mut bytes = datagram.to_vec();
            let tag = key.algorithm().tag_len();
            let inner = bytes.get_mut(CLEAR..CLEAR + SEALED + tag).ok_or("too short")?;
            key.open_in_place(nonce(0), Aad::empty(), inner)?;
            count += 1;
            let (plain, place) = inner.split_at_mut(SEALED);
            let made = key.seal_in_place_separate_tag(nonce(count), Aad::empty(), plain)?;
            place.copy_from_slice(made.as_ref());
            back.push(Outgoing { to, bytes });
        }
        port.send(&back).await;
    }
}

fn key() -> Outcome<LessSafeKey> {
    Ok(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32])?))
}

fn nonce(count: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
