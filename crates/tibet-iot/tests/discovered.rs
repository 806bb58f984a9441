//! Nodes that find each other by multicast.

mod common;

use common::{DEADLINE, binding, identity, name, quiet};
use tibet_iot::{DiscoveryConfig, IotNode, TransportConfig};
use tibet_ping::NodeConfig;
use tokio::time::timeout;

/// On all addresses, with a discovery port of this test's own, over the loopback interface alone.
fn config(port: u16, capability: &str) -> TransportConfig {
    let discovery = DiscoveryConfig { port, only: Some(vec!["lo".into()]), ..DiscoveryConfig::default() };
    let capabilities = [capability.parse().expect("capability")].into();
    TransportConfig {
        bind: "0.0.0.0:0".parse().expect("address"),
        discovery: Some(discovery),
        node: NodeConfig { capabilities, ..quiet().node },
    }
}

#[tokio::test]
async fn a_trusted_searcher_is_answered_and_both_become_peers() {
    const PORT: u16 = 27_151;
    let mut hub = IotNode::new(identity("jis:home:hub", 1), config(PORT, "mqtt"), None, None).expect("made");
    let mut sensor =
        IotNode::new(identity("jis:home:sensor", 2), config(PORT, "temperature"), None, None).expect("made");
    for (node, other, key) in [(&hub, "jis:home:sensor", 2), (&sensor, "jis:home:hub", 1)] {
        node.set_trust(name(other), 0.9, "").expect("set");
        node.bind_key(binding(other, key)).expect("bound");
    }
    let at = hub.start().await.expect("started");
    sensor.start().await.expect("started");
    let search = async {
        loop {
            let found = sensor.discover(std::time::Duration::from_secs(1)).await.expect("searched");
            let hub = found.into_iter().find(|device| device.name == name("jis:home:hub") && device.answered);
            match hub {
                Some(hub) => return hub,
                None => continue,
            }
        }
    };
    let found = timeout(DEADLINE, search).await.expect("found in time");
    assert!(found.verified);
    assert_eq!(found.address.port(), at.port(), "where it really answers");
    assert_eq!(found.capabilities, ["mqtt"]);
    let peers = async {
        while hub.peers().is_empty() || sensor.peers().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, peers).await.expect("peers in time");
    assert!(hub.vouch(&name("jis:home:sensor"), "seen here").is_ok());
}
