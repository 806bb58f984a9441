//! What continuous integration runs without root.

use std::env;
use std::process::Command;

use crate::Outcome;

const WASM: &str = "wasm32-unknown-unknown";

/// Arguments of cargo, step by step.
const STEPS: [&[&str]; 4] = [
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    &["test", "--workspace"],
    &["doc", "--workspace", "--no-deps"],
];

/// Stops at the first step that fails.
pub(crate) fn run() -> Outcome<()> {
    for step in STEPS {
        cargo(step)?;
    }
    if has_target(WASM) {
        cargo(&["build", "--package", "jis", "--target", WASM])
    } else {
        println!("skipped: jis for {WASM}, because that target is not installed (rustup target add {WASM})");
        Ok(())
    }
}

fn cargo(arguments: &[&str]) -> Outcome<()> {
    let step = arguments.join(" ");
    println!("cargo {step}");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(arguments).env("RUSTDOCFLAGS", "-D warnings").status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {step} failed").into()) }
}

fn has_target(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    found.is_ok_and(|output| {
        output.status.success()
            && std::path::Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists()
    })
}
