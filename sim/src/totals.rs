//! What all runs together have shown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::world::Outcome;

/// Of the slowest so many are named.
const SLOWEST: usize = 12;

/// Beyond this, there and back, two are far apart.
const FAR: Duration = Duration::from_millis(200);

/// Sums, and times to be sorted.
#[derive(Debug, Default)]
pub struct Totals {
    /// Runs so far.
    pub runs: u64,
    /// Those in which something was wrong.
    pub failed: u64,
    time: Duration,
    datagrams: u64,
    forged: u64,
    packets: (u64, u64),
    recovered: Vec<Duration>,
    /// By who speaks, and whether the two are far apart.
    roamed: [[Vec<Duration>; 2]; 2],
    /// The slowest, with their seeds.
    slowest: Vec<(Duration, u64)>,
    met: BTreeMap<String, (bool, u64, u64)>,
    most_probes: usize,
    wrong: BTreeMap<String, (u64, u64)>,
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, seed: u64, outcome: Option<Outcome>, wrong: &[String]) {
        self.runs += 1;
        self.failed += u64::from(!wrong.is_empty());
        for what in wrong {
            // Without its time and numbers, to see what is alike.
            let what = what
                .split_once(": ")
                .filter(|(at, _)| at.starts_with("at "))
                .map_or(&what[..], |(_, what)| what);
            let what: String = what.chars().filter(|c| !c.is_ascii_digit()).collect();
            self.wrong.entry(what).or_insert((0, seed)).0 += 1;
        }
        let Some(outcome) = outcome else { return };
        self.time += outcome.time;
        self.datagrams += outcome.datagrams;
        self.forged += outcome.forged;
        self.packets.0 += outcome.packets.0;
        self.packets.1 += outcome.packets.1;
        self.recovered.extend(outcome.recovered);
        for (went, there_and_back, time) in outcome.roamed {
            self.roamed[usize::from(went)][usize::from(there_and_back > FAR)].push(time);
            self.slowest.push((time, seed));
        }
        self.slowest.sort_unstable_by(|a, b| b.cmp(a));
        self.slowest.truncate(SLOWEST);
        for (meeting, direct) in outcome.met {
            let expected = meeting.is_direct();
            let entry = self.met.entry(meeting.to_string()).or_insert((expected, 0, 0));
            entry.1 += 1;
            entry.2 += u64::from(direct);
        }
        self.most_probes = self.most_probes.max(outcome.most_probes);
    }
}

/// Of all times: how many, the middle one, and those that a tenth, a hundredth, and none exceeds.
fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |permille: usize| {
        let place = (times.len() * permille / 1000).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, Duration::as_secs_f32)
    };
    format!(
        "{} times: p50 {:.3} s, p90 {:.3} s, p99 {:.3} s, most {:.3} s",
        times.len(),
        at(500),
        at(900),
        at(990),
        at(1000)
    )
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.time.as_secs_f64() / 3600.0;
        writeln!(
            f,
            "{} runs, {} failed, {hours:.1} hours, {} datagrams ({} of an attacker), {} packets, {} arrived",
            self.runs, self.failed, self.datagrams, self.forged, self.packets.0, self.packets.1
        )?;
        writeln!(f, "after the last disturbance: {}", spread(&self.recovered))?;
        for (to_or_from, times) in ["to", "from"].iter().zip(&self.roamed) {
            for (apart, times) in ["at most", "more than"].iter().zip(times) {
                let times = spread(times);
                let far = FAR.as_millis();
                writeln!(
                    f,
                    "after a host went elsewhere, {to_or_from} it, {apart} {far} ms there and back: {times}"
                )?;
            }
        }
        let slowest = self.slowest.iter().map(|(time, seed)| format!("{:.2} s ({seed})", time.as_secs_f32()));
        writeln!(f, "the slowest of these, and their seeds: {}", slowest.collect::<Vec<_>>().join(", "))?;
        writeln!(f, "most probes of one host to a silent address in a minute: {}", self.most_probes)?;
        writeln!(f, "mapping/filtering of both: pairs, directly, expected")?;
        for (meeting, (expected, pairs, direct)) in &self.met {
            let expected = if *expected { "direct" } else { "relayed" };
            writeln!(f, "  {meeting:40} {pairs:7} {direct:7} {expected}")?;
        }
        for (what, (times, seed)) in &self.wrong {
            writeln!(f, "WRONG {times} times, seed {seed} first: {what}")?;
        }
        Ok(())
    }
}
