//! A device whose TUN interface is deleted while it is up.
//!
//! Needs root, for a network of its own. Without it the test says so in one line and passes, unless `TIBET_REQUIRE_ALL` is set, as it is in CI.

#![allow(clippy::print_stdout, reason = "what was skipped, and why")]

mod net;

use std::process::Command;

use net::{Home, Node, until};
use tibet_overlay::daemon::{DaemonEnd, MeshConfig};

/// Set where the test runs in a network of its own.
const INSIDE: &str = "TIBET_TEST_OWN_NETWORK";
const TUN: &str = "tibet7";

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

#[test]
fn a_device_whose_tun_interface_is_deleted_ends_and_says_so() {
    const NAME: &str = "a_device_whose_tun_interface_is_deleted_ends_and_says_so";
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        return runtime.block_on(inside());
    }
    if !run("unshare", &["--net", "true"]) {
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "no network of its own");
        println!("SKIPPED: a TUN interface in a network of its own");
        return;
    }
    let own = std::env::current_exe().expect("a path");
    let again =
        Command::new("unshare").arg("--net").arg(own).args(["--exact", NAME]).env(INSIDE, "1").status();
    assert!(again.expect("runs").success());
}

async fn inside() {
    assert!(run("ip", &["link", "set", "lo", "up"]));
    let node = Node::start().await;
    let mesh = MeshConfig { tun: Some(TUN.to_owned()), port_mapping: false, ..MeshConfig::default() };
    let hub = Home::of("jis:home:hub");
    let up = hub.up_in_mesh(&[node.address()], &[], Some(mesh)).await;
    until(&up, |status| status.mesh.as_ref().is_some_and(|mesh| mesh.interface.is_some())).await;
    assert!(run("ip", &["link", "delete", TUN]));
    let end = tokio::time::timeout(net::PATIENCE, up.failed()).await.expect("it ends");
    assert!(matches!(&end, DaemonEnd::Interface { interface, .. } if interface == TUN), "{end}");
}
