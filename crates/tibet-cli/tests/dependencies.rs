//! The table of the architecture: which of our crates may import which, and what they must not pull in.
//!
//! It lists crates that are still to come: a crate that is not in it fails the test, so that its place is decided before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const RUNTIME: &[&str] = &["tokio", "mio", "async-std", "async-io", "smol", "futures-executor"];
const SOCKETS: &[&str] =
    &["socket2", "polling", "quinn", "quinn-udp", "hyper", "reqwest", "ureq", "axum", "tun", "tun-rs"];
const RANDOMNESS: &[&str] = &["getrandom", "rand", "fastrand"];
const CLOCKS: &[&str] = &["chrono", "time", "web-time", "instant", "coarsetime", "quanta"];

struct Rule {
    name: &'static str,
    may_import: &'static [&'static str],
    must_not_pull_in: &'static [&'static [&'static str]],
}

const RULES: &[Rule] = &[
    Rule { name: "jis", may_import: &[], must_not_pull_in: &[RUNTIME, SOCKETS, RANDOMNESS, CLOCKS] },
    Rule { name: "tibet-core", may_import: &["jis"], must_not_pull_in: &[RUNTIME, SOCKETS, CLOCKS] },
    Rule {
        name: "tibet-ping",
        may_import: &["jis", "tibet-core"],
        must_not_pull_in: &[RUNTIME, SOCKETS, CLOCKS],
    },
    Rule { name: "tibet-mesh", may_import: &["jis"], must_not_pull_in: &[&["mio", "axum"], SOCKETS, CLOCKS] },
    Rule { name: "tibet-net", may_import: &["jis"], must_not_pull_in: &[&["axum"]] },
    Rule {
        name: "tibet-registry",
        may_import: &["jis", "tibet-core"],
        must_not_pull_in: &[RUNTIME, SOCKETS, CLOCKS],
    },
    Rule {
        name: "tibet-iot",
        may_import: &["jis", "tibet-core", "tibet-ping", "tibet-mesh", "tibet-registry"],
        must_not_pull_in: &[&["axum"]],
    },
    Rule {
        name: "tibet-overlay",
        may_import: &[
            "jis",
            "tibet-core",
            "tibet-ping",
            "tibet-mesh",
            "tibet-net",
            "tibet-registry",
            "tibet-iot",
        ],
        must_not_pull_in: &[],
    },
    // The command names the types that tibet-overlay and tibet-iot hand it.
    Rule {
        name: "tibet-cli",
        may_import: &["jis", "tibet-core", "tibet-ping", "tibet-registry", "tibet-iot", "tibet-overlay"],
        must_not_pull_in: &[],
    },
];

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .args(["--offline", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml")])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Each of our crates with those of ours it imports, in its code or its build.
fn ours() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |package: &Value| package["name"].as_str().expect("a name").to_owned();
    let names: BTreeSet<String> = packages.iter().map(name).collect();
    let imported = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let used = dependencies.filter(|dependency| dependency["kind"] != "dev").map(name);
        used.filter(|name| names.contains(name)).collect()
    };
    let in_crates =
        |package: &&Value| package["manifest_path"].as_str().is_some_and(|path| path.contains("/crates/"));
    packages.iter().filter(in_crates).map(|package| (name(package), imported(package))).collect()
}

#[test]
fn arrows_point_one_way() {
    let ours = ours();
    assert!(ours.len() >= 5, "{ours:?}");
    for (name, imports) in ours {
        let rule = RULES
            .iter()
            .find(|rule| rule.name == name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        for import in imports {
            assert!(rule.may_import.contains(&import.as_str()), "{name} must not import {import}");
        }
    }
}

#[test]
fn the_cores_pull_in_no_runtime_no_sockets_and_no_clock() {
    for name in ours().keys() {
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else { continue };
        if rule.must_not_pull_in.is_empty() {
            continue;
        }
        let tree = cargo(&["tree", "-p", name, "-e", "normal", "--prefix", "none", "--format", "{p}"]);
        let pulled_in: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(pulled_in.len() > 5, "{name}: {tree}");
        for forbidden in rule.must_not_pull_in.iter().copied().flatten() {
            assert!(!pulled_in.contains(forbidden), "{name} pulls in {forbidden}");
        }
    }
}

#[test]
fn the_calendar_of_the_cores_has_no_clock() {
    // jiff reads the clock and the time zones of the system with its feature std.
    for name in ["jis", "tibet-core"] {
        let tree = cargo(&["tree", "-p", name, "-e", "normal", "--prefix", "none", "--format", "{p};{f}"]);
        let jiff = tree.lines().find(|line| line.starts_with("jiff v")).unwrap_or_else(|| panic!("{tree}"));
        let features: Vec<&str> = jiff.split(';').nth(1).expect("features").split(',').collect();
        assert!(features.iter().all(|feature| *feature == "alloc"), "{name}: {features:?}");
    }
}

#[test]
fn the_program_pulls_in_no_openssl() {
    let tree =
        cargo(&["tree", "-p", "tibet-cli", "-e", "normal,build", "--prefix", "none", "--format", "{p}"]);
    for forbidden in ["openssl v", "openssl-sys v", "native-tls v"] {
        assert!(!tree.contains(forbidden), "{forbidden}");
    }
}
