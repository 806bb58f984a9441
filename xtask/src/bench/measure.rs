//! Rounds and medians.

use std::time::Instant;

use crate::Outcome;

/// Nanoseconds per operation.
pub(crate) type Cost = f64;

/// One line of the table.
pub(crate) struct Row {
    /// What is done.
    pub(crate) name: String,
    /// What the limit consists of.
    pub(crate) limit_is: &'static str,
    /// The name of the Python packages' figure for the same work.
    pub(crate) peer: Option<&'static str>,
    pub(crate) ours: Cost,
    pub(crate) limit: Cost,
    /// Our rate by the limit's.
    pub(crate) ratio: Ratio,
}

/// Median, least and greatest of the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

/// Names a row before it is measured.
pub(crate) struct Title {
    pub(crate) name: String,
    pub(crate) limit_is: &'static str,
    pub(crate) peer: Option<&'static str>,
}

impl Title {
    pub(crate) fn new(name: impl Into<String>, limit_is: &'static str) -> Self {
        Self { name: name.into(), limit_is, peer: None }
    }

    pub(crate) fn peer(mut self, peer: &'static str) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Measures limit and ours in turn. Both get the number of the round, the first of which only warms up.
    pub(crate) fn measure(
        self,
        rounds: usize,
        mut limit: impl FnMut(usize) -> Outcome<Cost>,
        mut ours: impl FnMut(usize) -> Outcome<Cost>,
    ) -> Outcome<Row> {
        eprintln!("measuring: {}", self.name);
        limit(0)?;
        ours(0)?;
        let mut costs = Vec::with_capacity(rounds);
        for round in 1..=rounds {
            costs.push((limit(round)?, ours(round)?));
        }
        let sorted = |of: fn(&(Cost, Cost)) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |values: &[f64]| values[values.len() / 2];
        let ratios = sorted(|(limit, ours)| limit / ours);
        Ok(Row {
            name: self.name,
            limit_is: self.limit_is,
            peer: self.peer,
            ours: median(&sorted(|(_, ours)| *ours)),
            limit: median(&sorted(|(limit, _)| *limit)),
            ratio: Ratio { median: median(&ratios), least: ratios[0], greatest: ratios[ratios.len() - 1] },
        })
    }
}

/// The cost of one of `count` operations that `work` does.
pub(crate) fn cost(count: usize, work: impl FnOnce() -> Outcome<()>) -> Outcome<Cost> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e9 / count as f64)
}
