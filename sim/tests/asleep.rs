//! Tunnels that nobody has used for long. The clock of `gotatun` is set forward, as in the simulation, so this cannot be a test of `tibet-mesh`.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use jis::{Fingerprint, TransportSecret};
use mock_instant::thread_local::MockClock;
use tibet_mesh::{Opened, TunnelTransmit, Tunnels};

const TICK: Duration = Duration::from_millis(250);

/// Two devices, and the time.
struct Two {
    tunnels: [Tunnels; 2],
    now: Duration,
}

fn identity(of: usize) -> Fingerprint {
    Fingerprint::of_inception(&[u8::try_from(of).expect("one of two")])
}

impl Two {
    fn new() -> Self {
        let secret = |of: u8| {
            let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("one of 32") + of);
            TransportSecret::from_bytes(bytes.into()).expect("a secret")
        };
        let secrets = [secret(1), secret(2)];
        let tunnels = [0, 1].map(|of| {
            let mut tunnels = Tunnels::new(&secrets[of], 1280);
            assert!(tunnels.set(identity(1 - of), secrets[1 - of].public_key()));
            tunnels
        });
        Self { tunnels, now: Duration::from_secs(1000) }
    }

    /// Time goes by, and both do what it brings; nothing that they send arrives.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            MockClock::advance(TICK);
            self.now += TICK;
            for tunnels in &mut self.tunnels {
                tunnels.handle_timeout(self.now, &mut |_| ());
            }
        }
    }

    /// `from` sends a packet of 16 bytes; what the other one is given of it, once all that follows has arrived.
    fn send(&mut self, from: usize, packet: [u8; 16]) -> Option<Vec<u8>> {
        let sealed = self.tunnels[from].seal(&identity(1 - from), packet[..].into(), self.now);
        let mut on_its_way: Vec<(usize, BytesMut)> =
            sealed.map(|datagram| (1 - from, datagram)).into_iter().collect();
        let mut arrived = None;
        while let Some((to, datagram)) = on_its_way.pop() {
            let mut sent: Vec<TunnelTransmit> = Vec::new();
            let address = SocketAddr::from(([203, 0, 113, 1], 7150));
            match self.tunnels[to].open(address, datagram, self.now, &mut |transmit| sent.push(transmit)) {
                Opened::Packet(_, packet) if to != from => arrived = Some(packet.to_vec()),
                _ => {}
            }
            on_its_way.extend(sent.into_iter().map(|transmit| (1 - to, transmit.datagram)));
        }
        arrived
    }
}

/// The session of a handshake that comes after a long silence holds on both sides, whoever begins and whether there was one before.
#[test]
fn after_a_long_silence_a_session_holds_as_the_first_one_did() {
    for spoken_before in [true, false] {
        for silence in [200, 700, 3000].map(Duration::from_secs) {
            for from in [0, 1] {
                let mut two = Two::new();
                if spoken_before {
                    assert_eq!(two.send(0, [7; 16]), Some(vec![7; 16]));
                }
                two.pass(silence);
                for round in 0..20_u8 {
                    let arrived = two.send(from, [round; 16]);
                    assert_eq!(arrived, Some(vec![round; 16]), "round {round} after {silence:?} of silence");
                    two.pass(TICK);
                }
            }
        }
    }
}
