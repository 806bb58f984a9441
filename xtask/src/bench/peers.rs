//! The Python packages on the same work, through a script of ours in their interpreter.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;

const SCRIPT: &str = include_str!("peers.py");

/// Operations per second, by the name the script gives them.
#[derive(Default)]
pub(crate) struct Figures {
    rates: HashMap<String, f64>,
    /// Versions of the packages.
    pub(crate) versions: Option<String>,
}

impl Figures {
    pub(crate) fn rate(&self, name: &str) -> Option<f64> {
        self.rates.get(name).copied()
    }
}

/// Runs the script.
pub(crate) fn measure(python: &Path, quick: bool) -> Outcome<Figures> {
    eprintln!("measuring: the Python packages");
    let size = if quick { "quick" } else { "full" };
    let output = Command::new(python).args(["-c", SCRIPT, size]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{}: the script for the Python packages failed", python.display()).into());
    }
    let read: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let rates = read["rates"].as_object().ok_or("the script gave no rates")?;
    let rates = rates.iter().filter_map(|(name, rate)| Some((name.clone(), rate.as_f64()?))).collect();
    Ok(Figures { rates, versions: read["versions"].as_str().map(ToOwned::to_owned) })
}
