//! A simulated network for the mesh: see `README.md`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tibet_sim::scenario::Scenario;
use tibet_sim::totals::Totals;
use tibet_sim::world::{Outcome, World};

/// Every so many seeds are played twice, and must go the same way.
const TWICE: u64 = 50;

const USAGE: &str = "usage: tibet-sim SEEDS [FIRST]: plays so many seeds
       tibet-sim replay SEED: plays one, and says what happens in it";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().ok();
    match words[..] {
        ["replay", seed] if number(seed).is_some() => replay(number(seed).unwrap_or_default()),
        [seeds] if number(seeds).is_some() => all(number(seeds).unwrap_or_default(), 0),
        [seeds, first] if number(seeds).is_some() && number(first).is_some() => {
            all(number(seeds).unwrap_or_default(), number(first).unwrap_or_default())
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Plays a seed; a panic is a violation like others.
fn play(seed: u64, verbose: bool) -> Result<Outcome, String> {
    let scenario = Scenario::new(seed);
    catch_unwind(AssertUnwindSafe(|| World::play(&scenario, verbose))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panic: {}", text.unwrap_or("without a word"))
    })
}

fn replay(seed: u64) -> ExitCode {
    println!("{}", Scenario::new(seed));
    match play(seed, true) {
        Ok(outcome) => {
            println!("{outcome:#?}");
            ExitCode::from(u8::from(!outcome.violations.is_empty()))
        }
        Err(panic) => {
            println!("{panic}");
            ExitCode::FAILURE
        }
    }
}

/// What is wrong with a seed.
fn violations(seed: u64, outcome: &Result<Outcome, String>) -> Vec<String> {
    match outcome {
        Err(panic) => vec![panic.clone()],
        Ok(outcome) => {
            let mut violations = outcome.violations.clone();
            if seed.is_multiple_of(TWICE)
                && play(seed, false).is_ok_and(|again| again.digest != outcome.digest)
            {
                violations.push("played again it goes another way".to_owned());
            }
            violations
        }
    }
}

fn all(seeds: u64, first: u64) -> ExitCode {
    let started = Instant::now();
    let (next, totals) = (AtomicU64::new(0), Mutex::new(Totals::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let count = next.fetch_add(1, Ordering::Relaxed);
                    if count >= seeds {
                        break;
                    }
                    let seed = first + count;
                    let outcome = play(seed, false);
                    let wrong = violations(seed, &outcome);
                    let Ok(mut totals) = totals.lock() else { break };
                    totals.add(seed, outcome.ok(), &wrong);
                    if !wrong.is_empty() {
                        println!("FAILED {}", Scenario::new(seed));
                        wrong.iter().for_each(|what| println!("  WRONG {what}"));
                        println!("  again: sim/run replay {seed}\n");
                    }
                    if totals.runs.is_multiple_of(1000) {
                        eprintln!(
                            "{} of {seeds} after {:.0} s",
                            totals.runs,
                            started.elapsed().as_secs_f32()
                        );
                    }
                }
            });
        }
    });
    let Ok(totals) = totals.into_inner() else { return ExitCode::FAILURE };
    println!("{totals}");
    println!("{:.1} s on {threads} threads, at most {} MiB", started.elapsed().as_secs_f32(), peak_mib());
    ExitCode::from(u8::from(totals.failed > 0))
}

/// The most memory that was used, as the kernel tells it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or_default()
        / 1024
}
