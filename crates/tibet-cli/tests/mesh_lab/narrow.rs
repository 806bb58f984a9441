//! A link in the middle that carries 1280 bytes.

use std::net::SocketAddr;
use std::time::Duration;

use super::{HOMES, HOMES_APART, alone, ready};
use tibet_cli::overlay::lab::{PORT, Topology, Transfer};

/// One mebibyte arrives, whether or not the router tells what was too long for it.
fn arrives(topology: Topology, tells: bool) {
    let _alone = alone();
    let Some(mut ready) = ready(topology) else { return };
    ready.pair.lab.shell("router-a", "ip link set wan mtu 1280").expect("narrow");
    ready.pair.lab.shell("carrier-a", "ip link set to-router-a mtu 1280").expect("narrow");
    if !tells {
        for router in ["router-a", "carrier-a"] {
            let silent = "nft add chain ip lab says '{ type filter hook output priority filter; }'
                nft add rule ip lab says icmp type destination-unreachable drop";
            ready.pair.lab.shell(router, silent).expect("silent");
        }
    }
    ready.until_path(topology.direct());
    let to = SocketAddr::new(ready.addresses[1].into(), PORT);
    let transfer =
        Transfer::start(&ready.pair.lab, "a", to, vec![7; 1 << 16], 16, Duration::ZERO).expect("begun");
    let went = transfer
        .watch(&ready.pair.lab, &ready.server)
        .unwrap_or_else(|error| panic!("{error}\n{}", ready.pair.said()));
    assert_eq!(ready.server.taken(), 1 << 20);
    println!(
        "1 MiB over 1280 bytes, direct {}, ICMP {tells}: {:.2} s",
        topology.direct(),
        went.took.as_secs_f64()
    );
}

#[test]
fn t7_a_narrow_link_whose_router_tells_is_no_black_hole() {
    arrives(HOMES, true);
}

#[test]
fn t7_a_narrow_link_whose_router_is_silent_is_no_black_hole() {
    arrives(HOMES, false);
}

#[test]
fn t7_a_narrow_link_to_the_relay_is_no_black_hole() {
    arrives(HOMES_APART, false);
}
