//! The Python packages on the same work: a node that answers and a node that asks, each in a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use super::load::Load;
use crate::Outcome;

const SCRIPT: &str = include_str!("python.py");

/// Pings a second, and the median and the 99th percentile of their round trips in microseconds.
pub(super) fn measure(python: &Path, load: Load) -> Outcome<[f64; 3]> {
    eprintln!("measuring: the Python packages with {} outstanding", load.outstanding);
    let arguments = [load.outstanding, load.pings.min(8_192)].map(|number| number.to_string());
    let output =
        Command::new(python).args(["-c", SCRIPT]).args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{}: the script for the Python packages failed", python.display()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
