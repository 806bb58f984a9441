//! The simulation itself: it can be replayed, and its NATs are what they say.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tibet_sim::net::{Depends, INTERNET, NatKind, Net, Place};
use tibet_sim::scenario::Scenario;
use tibet_sim::world::World;

#[test]
fn a_seed_goes_the_same_way_each_time_and_another_goes_another() {
    let digest = |seed| World::play(&Scenario::new(seed), false).digest;
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}

/// RFC 4787 §4.1 and §5: who sees which port, and who is let in.
#[test]
fn nats_map_and_filter_as_they_say() {
    let now = Duration::from_secs(1);
    let at = |last, port| SocketAddr::from(([192, 0, 2, last], port));
    for mapping in Depends::ALL {
        for filtering in Depends::ALL {
            let lifetime = Duration::from_secs(30);
            let kind = NatKind {
                mapping,
                filtering,
                keeps_port: false,
                hairpin: false,
                lifetime,
                inbound_refreshes: false,
            };
            let mut net = Net::default();
            let (inside, _) = net.nat(kind, INTERNET, Ipv4Addr::new(203, 0, 113, 1));
            let host = net.attach(Place { net: inside, address: SocketAddr::from(([192, 168, 1, 2], 7150)) });
            for (last, port) in [(1, 1000), (2, 1000)] {
                net.attach(Place { net: INTERNET, address: at(last, port) });
            }
            let mut seen = |to| net.outward(host, to, now).expect("a way").1;
            let (first, other_port, other_address) =
                (seen(at(1, 1000)), seen(at(1, 2000)), seen(at(2, 1000)));
            assert_eq!(first == other_port, mapping < Depends::AddressAndPort);
            assert_eq!(first == other_address, mapping == Depends::Nothing);

            let mut net = Net::default();
            let (inside, number) = net.nat(kind, INTERNET, Ipv4Addr::new(203, 0, 113, 1));
            let host = net.attach(Place { net: inside, address: SocketAddr::from(([192, 168, 1, 2], 7150)) });
            net.attach(Place { net: INTERNET, address: at(1, 1000) });
            let outside = net.outward(host, at(1, 1000), now).expect("a way").1;
            let mut enters = |from, now| net.inward(INTERNET, from, outside, now) == Some(host);
            assert!(enters(at(1, 1000), now));
            assert_eq!(enters(at(1, 2000), now), filtering < Depends::AddressAndPort);
            assert_eq!(enters(at(2, 1000), now), filtering == Depends::Nothing);
            assert!(!enters(at(1, 1000), now + lifetime), "forgotten");
            net.outward(host, at(1, 1000), now);
            net.restart(number);
            assert_eq!(net.inward(INTERNET, at(1, 1000), outside, now), None);
        }
    }
}
