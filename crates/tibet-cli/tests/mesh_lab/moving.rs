//! What changes in the middle of a transfer.

use std::net::SocketAddr;
use std::time::Duration;

use super::{HOMES, HOMES_APART, Ready, alone, ready};
use tibet_cli::overlay::lab::{LabError, PORT, Transfer, Transferred};

/// Enough to be in its midst when something changes, and slow enough for a relay.
const BLOCKS: u32 = 120;
const BLOCK: usize = 2048;
const PAUSE: Duration = Duration::from_millis(25);
/// That its relay has started anew a device finds out when that does not answer: it calls every 10 s while there is traffic, and takes the session for dead 4 s later.
const UNTOLD: Duration = Duration::from_secs(20);

/// A transfer from `a` to `b`, in whose midst `change` happens.
fn transfer(ready: &mut Ready, change: impl FnOnce(&mut Ready) -> Result<(), LabError>) -> Transferred {
    let to = SocketAddr::new(ready.addresses[1].into(), PORT);
    let transfer = Transfer::start(&ready.pair.lab, "a", to, vec![7; BLOCK], BLOCKS, PAUSE).expect("begun");
    let before = u64::from(BLOCKS) * BLOCK as u64 / 4;
    let server = &ready.server;
    ready
        .pair
        .lab
        .wait("its first quarter", super::SOON, || (server.taken() > before).then_some(()))
        .expect("begun");
    change(ready).expect("changed");
    let went = transfer
        .watch(&ready.pair.lab, &ready.server)
        .unwrap_or_else(|error| panic!("{error}\n{}", ready.pair.said()));
    assert_eq!(ready.server.taken(), u64::from(BLOCKS) * BLOCK as u64);
    went
}

fn told(what: &str, went: &Transferred) {
    println!(
        "{what}: {:.2} s in all, {:.2} s without traffic",
        went.took.as_secs_f64(),
        went.longest_gap.as_secs_f64()
    );
}

/// Each of these is the direct path's end, and none is the transfer's.
fn recovers(what: &str, within: Duration, change: impl FnOnce(&mut Ready) -> Result<(), LabError>) {
    let _alone = alone();
    let Some(mut ready) = ready(HOMES) else { return };
    ready.until_path(true);
    let addresses = ready.addresses;
    let went = transfer(&mut ready, change);
    told(what, &went);
    assert!(went.longest_gap < within, "{what}: {went:?}\n{}", ready.pair.said());
    ready.until_path(true);
    assert_eq!(ready.pair.ready().expect("ready"), addresses, "identities stay what they are");
}

#[test]
fn t7_a_device_that_changes_its_address_keeps_its_connections() {
    recovers("moved", Duration::from_secs(3), |ready| ready.pair.move_device(0, "192.168.1.77"));
}

#[test]
fn t7_a_router_that_starts_anew_with_other_ports_breaks_no_connection() {
    recovers("its router gave other ports", Duration::from_secs(5), |ready| {
        ready.pair.lab.rebind("router-a")
    });
}

#[test]
fn t7_a_carrier_that_starts_anew_with_other_ports_breaks_no_connection() {
    recovers("its carrier gave other ports", Duration::from_secs(5), |ready| {
        ready.pair.lab.rebind("carrier-a")
    });
}

#[test]
fn t7_an_interface_that_goes_down_and_up_breaks_no_connection() {
    recovers("down for a second", Duration::from_secs(6), |ready| {
        ready.pair.lab.shell(
            "a",
            "ip link set wan down; sleep 1; ip link set wan up; ip route replace default via 192.168.1.1",
        )?;
        Ok(())
    });
}

#[test]
fn t7_a_node_that_starts_anew_breaks_no_connection_that_it_relays() {
    let _alone = alone();
    let Some(mut ready) = ready(HOMES_APART) else { return };
    ready.until_path(false);
    let went = transfer(&mut ready, |ready| ready.pair.restart_node());
    told("the node started anew", &went);
    assert!(went.longest_gap < UNTOLD, "{went:?}\n{}", ready.pair.said());
}
