//! Durations, and what is said of them.

use std::time::Duration;

/// Durations that were measured.
#[derive(Default)]
pub(super) struct Figures(Vec<Duration>);

impl Figures {
    pub(super) fn add(&mut self, figure: Duration) {
        self.0.push(figure);
    }

    pub(super) fn extend(&mut self, figures: impl IntoIterator<Item = Duration>) {
        self.0.extend(figures);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// `p50 / p99` in milliseconds, by nearest rank; a dash where there is nothing.
    pub(super) fn spread(&self) -> String {
        self.spread_as(ms)
    }

    /// The same in microseconds.
    pub(super) fn spread_in_us(&self) -> String {
        self.spread_as(|time| format!("{:.0}", time.as_secs_f64() * 1e6))
    }

    fn spread_as(&self, say: impl Fn(Duration) -> String) -> String {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1));
        match (rank(50), rank(99)) {
            (Some(half), Some(most)) => format!("{} / {}", say(*half), say(*most)),
            _ => "–".to_owned(),
        }
    }
}

fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}
