//! A device whose key is revoked.

use std::time::{Duration, Instant};

use super::{HOMES, HOMES_APART, alone, ready};
use tibet_cli::overlay::lab::Topology;

/// How soon a peer has to hear of it.
const HEARD: Duration = Duration::from_secs(10);

/// The thief has a copy of the device that stays up; the owner revokes at the node, from elsewhere. From then on the peer has no tunnel with it, whichever path it had.
fn falls_silent(topology: Topology) {
    let _alone = alone();
    let Some(mut ready) = ready(topology) else { return };
    ready.until_path(topology.direct());
    assert!(ready.echo.once(HEARD).is_some(), "until then it is answered");
    let begun = Instant::now();
    ready.pair.revoke(0).expect("revoked");
    // It goes on to speak, so that its peer looks.
    let pair = &ready.pair;
    let last = pair.until_silent(0, &mut ready.echo, begun, HEARD);
    let last = last.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", pair.peer(1), pair.said()));
    println!(
        "direct {}: silent {:.1} s after it was revoked",
        topology.direct(),
        last.unwrap_or_default().as_secs_f64()
    );
    // What it was told of was forgotten with the process; the node was not.
    ready.pair.restart_device(0).expect("started");
    let said = || ready.pair.device(0).said();
    let silence = || said().contains("does not answer").then_some(());
    let refused = ready.pair.lab.wait("the node's silence", HEARD * 3, silence);
    refused.unwrap_or_else(|error| panic!("{error}\n{}", said()));
    assert!(ready.echo.once(Duration::from_secs(2)).is_none(), "a stolen key came back\n{}", said());
    assert_eq!(ready.pair.peer(1).map(|peer| peer.name), None, "it is nobody's peer");
}

#[test]
fn r40_a_revoked_device_loses_its_direct_tunnels_within_ten_seconds() {
    falls_silent(HOMES);
}

#[test]
fn r40_a_revoked_device_loses_its_relayed_tunnels_within_ten_seconds() {
    falls_silent(HOMES_APART);
}
