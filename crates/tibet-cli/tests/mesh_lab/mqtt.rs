//! Programs that know nothing of the mesh: a broker at home, its clients at the office, as in the README.

use std::process::Command;

use super::relay::{Capture, PLAIN};
use super::{HOMES, HOMES_APART, SOON, alone, lab};
use tibet_cli::overlay::lab::{Daemon, Pair, Topology};

/// A broker behind one NAT is published to and asked from behind another, with names for TUN devices or a forwarded port without.
fn publishes(topology: Topology, up: [&[&str]; 2], direct: bool) {
    let _alone = alone();
    for program in ["mosquitto", "mosquitto_pub", "mosquitto_sub"] {
        if Command::new(program).arg("--help").output().is_err() {
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "there is no {program}");
            return println!("SKIPPED: MQTT over the mesh: there is no {program}");
        }
    }
    let Some(lab) = lab(topology) else { return };
    let with_tun = up == Pair::TUN;
    let pair = Pair::start(lab, up).expect("started");
    pair.ready().expect("ready");
    let lab = &pair.lab;
    // With a TUN device a broker listens for the mesh itself; without one it need not even be seen from outside.
    let config = lab.state("mosquitto.conf");
    let at = if with_tun { "::" } else { "127.0.0.1" };
    std::fs::write(&config, format!("listener 1883 {at}\nallow_anonymous true\n")).expect("written");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.netns("a"), "mosquitto", "-c"]).arg(&config);
    let broker = Daemon::start(&mut command, lab.state("mosquitto.log")).expect("a broker");
    lab.wait("the broker", SOON, || broker.said().contains("running").then_some(())).expect("it runs");
    let captures = ["node", "b"].map(|machine| Capture::start(lab, machine));
    // `ip netns exec` gives each command mounts of its own: nobody else's resolver changes.
    let names = lab.state("resolv.conf");
    std::fs::write(&names, "nameserver 127.0.71.50\n").expect("written");
    let resolver = format!("mount --bind {} /etc/resolv.conf", names.display());
    let (before, host) = if with_tun { (&*resolver, "hub.home.tibet.internal") } else { (":", "127.0.0.1") };
    let words = String::from_utf8_lossy(PLAIN).trim_end().to_owned();
    // Kept by the broker, so that nobody has to listen at the right moment.
    let publish = format!("{before}; mosquitto_pub -h {host} -t door -q 1 -r -m '{words}'");
    lab.shell("b", &publish).unwrap_or_else(|error| panic!("{error}\n{}", pair.said()));
    let subscribe = format!("{before}; mosquitto_sub -h {host} -t '#' -q 1 -C 1 -W 20");
    let heard = lab.shell("b", &subscribe).unwrap_or_else(|error| panic!("{error}\n{}", pair.said()));
    assert_eq!(heard.trim_end(), words);
    pair.path(1, direct, SOON).expect("the path that theory says");
    let [at_node, at_device] = captures.map(Capture::end);
    assert_eq!(at_node.1, 0, "of {} packets at the node some have words", at_node.0);
    // A TUN device is seen by whoever may look at the machine's interfaces, as it should be.
    assert!(!with_tun || at_device.1 > 0, "the capture finds what is there: {at_device:?}");
}

/// The README's commands as an ordinary user has them.
const FORWARDED: [&[&str]; 2] = [&["--expose", "1883"], &["--forward", "1883=jis:home:hub:1883"]];

#[test]
fn a_broker_is_reached_by_name_through_tun_devices() {
    publishes(HOMES, Pair::TUN, true);
}

#[test]
fn a_broker_is_reached_by_name_over_the_relay() {
    publishes(HOMES_APART, Pair::TUN, false);
}

#[test]
fn a_broker_is_reached_through_a_forwarded_port() {
    publishes(HOMES, FORWARDED, true);
}

#[test]
fn a_broker_is_reached_through_a_forwarded_port_over_the_relay() {
    publishes(HOMES_APART, FORWARDED, false);
}
