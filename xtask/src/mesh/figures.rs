//! Durations, rates, and what is said of them.

use std::time::{Duration, Instant};

use crate::Outcome;

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

/// What was measured of one thing, round by round.
#[derive(Default, Clone)]
pub(super) struct Series(Vec<f64>);

impl Series {
    pub(super) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one; what is no number where there is nothing.
    pub(super) fn median(&self) -> f64 {
        self.sorted().get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// This by the other of the same round: `median [least..greatest]`; a dash where there is nothing.
    pub(super) fn by(&self, other: &Self) -> String {
        let ratios = Self(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect());
        match ratios.sorted()[..] {
            [least, .., greatest] => format!("{:.2} [{least:.2}..{greatest:.2}]", ratios.median()),
            [only] => format!("{only:.2}"),
            [] => "–".to_owned(),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// Does a round of everything so often, as long as no more than `longest` has passed when it begins. How many there were: one in which anything fails does not count,
/// and is told of; if none counts, that is a failure.
pub(super) fn rounds(runs: u32, longest: Duration, mut round: impl FnMut() -> Outcome<()>) -> Outcome<u32> {
    let (begun, mut counted, mut last) = (Instant::now(), 0, None);
    for number in 1..=runs {
        if begun.elapsed() > longest {
            eprintln!("no more rounds after {} s", longest.as_secs());
            break;
        }
        eprintln!("measuring: round {number} of {runs}");
        match round() {
            Ok(()) => counted += 1,
            Err(error) => {
                eprintln!("not measured: {error}");
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if counted == 0 => Err(error),
        _ => Ok(counted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_rounds_and_a_round_that_fails_does_not_count() {
        let (mut one, mut other) = (Series::default(), Series::default());
        let mut number = 0.0;
        let counted = rounds(4, Duration::MAX, || {
            number += 1.0;
            if number == 2.0 {
                return Err("lost".into());
            }
            one.add(number);
            other.add(2.0);
            Ok(())
        });
        assert_eq!(counted.expect("three of them"), 3);
        assert_eq!((one.median(), one.by(&other)), (3.0, "1.50 [0.50..2.00]".to_owned()));
        assert_eq!(Series::default().by(&other), "–");
        assert!(Series::default().median().is_nan());
        assert!(rounds(2, Duration::MAX, || Err("always".into())).is_err());
        assert_eq!(rounds(0, Duration::MAX, || Ok(())).expect("none"), 0);
    }
}
