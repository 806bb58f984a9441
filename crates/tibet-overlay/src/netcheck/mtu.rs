//! How long a packet may be on the way to a node.

use std::net::SocketAddr;
use std::time::Duration;

use super::probe::Probe;

/// The shortest that every IPv6 path carries (RFC 8200), and the longest on most links.
const LEAST: u16 = 1280;
const MOST: u16 = 1500;
/// Lengths are multiples of this; 1492, of PPPoE, is one.
const STEP: u16 = 4;
/// How often each length is tried: one loss is no proof.
const TRIES: usize = 2;

/// Longest IP packet that gets to the node whole, in at most six steps; `None` where [`LEAST`] does not.
pub(super) async fn path_mtu(to: SocketAddr, wait: Duration) -> Option<u16> {
    let headers = if to.is_ipv6() { 48 } else { 28 };
    let probe = Probe::open(to.is_ipv6(), true).ok()?;
    // All below `fits` get through, `over` and all above do not.
    let (mut fits, mut over) = (0, (MOST - LEAST) / STEP + 2);
    while over - fits > 1 {
        let middle = fits.midpoint(over);
        let packet = LEAST + (middle - 1) * STEP;
        let mut through = false;
        for _ in 0..TRIES {
            through = through || probe.greet(to, usize::from(packet) - headers, wait).await.is_some();
        }
        if through { fits = middle } else { over = middle }
    }
    (fits > 0).then(|| LEAST + (fits - 1) * STEP)
}
