//! What the relay sees.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{HOMES_APART, alone, ready};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt};
use tibet_cli::overlay::lab::{Lab, PORT, Transfer};

/// Words that programs send.
pub(super) const PLAIN: &[u8] = b"these words are for nobody but the other device ";

/// Reads all packets of a machine, and counts those with the words.
pub(super) struct Capture {
    ended: Arc<AtomicBool>,
    packets: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Capture {
    pub(super) fn start(lab: &Lab, machine: &str) -> Self {
        let socket = lab.within(machine, || {
            // ETH_P_ALL in network order: every packet, whichever way it goes (packet(7)).
            let all = NonZeroU32::new(u32::from(3_u16.to_be())).map(Protocol::from_raw);
            Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, all)?)
        });
        let socket = socket.expect("a packet socket");
        sockopt::set_socket_recv_buffer_size(&socket, 4 << 20).expect("room");
        let tick = Some(Duration::from_millis(50));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, tick).expect("a timeout");
        let (ended, packets) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (Arc::clone(&ended), Arc::clone(&packets));
        let thread = std::thread::spawn(move || {
            let (mut packet, mut with_words) = (vec![0; 65_536], 0);
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, _)) = recv(&socket, &mut packet[..], RecvFlags::empty()) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                // Even a part of the words is too much.
                with_words += u64::from(packet[..length].windows(16).any(|found| found == &PLAIN[..16]));
            }
            with_words
        });
        Self { ended, packets, thread }
    }

    /// How many packets there were, and how many had the words.
    pub(super) fn end(self) -> (u64, u64) {
        self.ended.store(true, Ordering::Relaxed);
        let with_words = self.thread.join().expect("no panic");
        (self.packets.load(Ordering::Relaxed), with_words)
    }
}

/// R50: the relay passes on ciphertext. The same capture on the device itself, where programs speak, has the words.
#[test]
fn r50_the_relay_sees_no_word_of_what_it_passes_on() {
    let _alone = alone();
    let Some(mut ready) = ready(HOMES_APART) else { return };
    ready.until_path(false);
    let captures = ["node", "a"].map(|machine| Capture::start(&ready.pair.lab, machine));
    let to = SocketAddr::new(ready.addresses[1].into(), PORT);
    let block = PLAIN.repeat(20);
    let transfer =
        Transfer::start(&ready.pair.lab, "a", to, block, 50, Duration::from_millis(10)).expect("begun");
    transfer.watch(&ready.pair.lab, &ready.server).expect("transferred");
    let [at_node, at_device] = captures.map(Capture::end);
    assert!(at_device.1 > 10, "the capture finds what is there: {at_device:?}");
    assert!(at_node.0 > 100 && at_node.1 == 0, "packets, and those with the words: {at_node:?}");
    println!("{} packets at the relay, none with a word", at_node.0);
}
