//! What a demo shows, step by step.

use serde_json::{Value, json};

use crate::output::{Exit, Outcome, bold, mark};

/// The steps of a demo, in the order they were made.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<Step>);

/// One thing that was to be shown.
#[derive(Debug)]
struct Step {
    title: &'static str,
    /// Whether it came out as it must.
    holds: bool,
    details: Vec<String>,
}

impl Steps {
    pub(crate) fn add(&mut self, title: &'static str, holds: bool, details: Vec<String>) {
        self.0.push(Step { title, holds, details });
    }

    /// Whether all of them came out as they must.
    pub(crate) fn hold(&self) -> bool {
        self.0.iter().all(|step| step.holds)
    }

    pub(crate) fn to_json(&self) -> Value {
        let step = |step: &Step| json!({ "title": step.title, "holds": step.holds, "details": step.details });
        self.0.iter().map(step).collect()
    }

    /// Tells each with its number and a tick or a cross.
    pub(crate) fn tell(&self, outcome: Outcome) -> Outcome {
        self.0.iter().enumerate().fold(outcome, |outcome, (at, step)| {
            let title = bold(format_args!("{}. {}", at + 1, step.title));
            let outcome = outcome.line("").line(mark(step.holds, title));
            step.details.iter().fold(outcome, |outcome, line| outcome.line(format_args!("     {line}")))
        })
    }

    /// Says how many held, and exits by that.
    pub(crate) fn conclude(&self, outcome: Outcome) -> Outcome {
        let held = self.0.iter().filter(|step| step.holds).count();
        let line = mark(self.hold(), format_args!("{held} of {} held", self.0.len()));
        outcome.line("").line(line).exit(if self.hold() { Exit::Yes } else { Exit::No })
    }
}
