//! An overlay node and devices that are up, on the loopback interface.

use super::Home;
use super::running::Running;

/// Runs a command of `tibet-overlay` that goes on, with `--json`.
pub(crate) fn run(home: &Home, args: &str) -> Running {
    Running::start(home.command().args(args.split_whitespace()).arg("--json"))
}

/// A node, and its address.
pub(crate) fn serve(home: &Home) -> (Running, String) {
    let node = run(home, "serve --bind 127.0.0.1:0 --http none --keepalive 5");
    let serving = node.event("serving", "", "");
    let address = serving["address"].as_str().expect("an address").to_owned();
    (node, address)
}

/// A new device that is registered with the first of these nodes to answer.
pub(crate) fn up(home: &Home, name: &str, nodes: &str, more: &str) -> Running {
    home.ok(&format!("id new {name}"));
    let device = run(home, &format!("up --node {nodes} --bind 127.0.0.1:0 --no-discovery {more}"));
    device.event("up", "name", name);
    device.event("node", "state", "registered");
    device
}
