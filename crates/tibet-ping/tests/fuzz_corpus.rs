//! The corpora of the fuzz targets under their own checks, and what fuzzing found, each failure as a test of its own. `docs/assurance.md` tells
//! of each. SECURITY 3.2 rows 1 to 9, 11, 14 to 37, 42, 43, 46, 55, 58 to 60 and 63 to 67 are files there, named after the row.

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "the checks are another package's library")]
mod checks;
mod common;

use std::panic;
use std::path::{Path, PathBuf};

use checks::{TARGETS, Verdict};
use common::{NOON, at, now};
use jis::UnixTime;
use tibet_ping::{Now, ReplayCache, ReplayConfig, ReplayRefusal, RestartBound, Sender};

/// Fewer would be a corpus that was lost.
const FEWEST: usize = 10;
/// More would be one that nobody minimised.
const MOST: usize = 300;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The name of a file or directory.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

#[test]
fn every_input_of_every_corpus_holds() {
    let mut failures = Vec::new();
    for (target, check) in TARGETS {
        let inputs = entries(&corpora().join(target));
        assert!((FEWEST..=MOST).contains(&inputs.len()), "{target} has {} inputs", inputs.len());
        for path in inputs {
            let input = std::fs::read(&path).expect("an input");
            // Not to stop at the first: the message of the check is printed above.
            let verdict = panic::catch_unwind(|| check(&input));
            let promised = match name(&path).rsplit_once('-') {
                Some((_, "accepted")) => Some(Verdict::Accepted),
                Some((_, "refused")) => Some(Verdict::Refused),
                _ => None,
            };
            if !verdict.as_ref().is_ok_and(|verdict| promised.is_none_or(|promised| promised == *verdict)) {
                failures.push(format!("{target}/{}: {verdict:?}", name(&path)));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// A corpus without a target would be read by nobody, and a target that is not in the list replayed by nobody.
#[test]
fn targets_corpora_and_programs_belong_together() {
    let targets: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
    assert_eq!(entries(&corpora()).iter().map(|path| name(path)).collect::<Vec<_>>(), targets);
    let programs = entries(&corpora().join("../targets"));
    let programs: Vec<&str> = programs.iter().map(|path| name(path).trim_end_matches(".rs")).collect();
    assert_eq!(programs, targets);
}

/// A check that finds nothing wrong with anything would pass every corpus: these promises are broken on purpose.
#[test]
fn verdicts_tell_inputs_apart() {
    for (target, check) in TARGETS {
        let of = |ending: &str| {
            let inputs = entries(&corpora().join(target));
            let input = inputs.iter().find(|path| name(path).ends_with(ending)).expect(target);
            check(&std::fs::read(input).expect("an input"))
        };
        assert_eq!((of("-accepted"), of("-refused")), (Verdict::Accepted, Verdict::Refused), "{target}");
    }
}

/// F10, row 64. A clock beyond the last year that timestamps can name stood still at that year's end, while nonces were forgotten as
/// time went by.
#[test]
fn row_64_a_clock_beyond_the_year_9999_does_not_let_its_last_packets_in_twice() {
    let sender = Sender::Unsigned("jis:a");
    let last = "9999-12-31T23:59:59+00:00";
    let start = UnixTime::from_secs(253_402_300_799);
    let begun = Now { wall: start, ..now(0.0) };
    let mut cache = ReplayCache::new(ReplayConfig::default(), *b"sixteen bytes ok", begun);
    assert!(cache.insert(sender, "n", last, None, begun).is_ok());
    for seconds in [40.0, 80.0, 120.0] {
        let later = Now { wall: start, ..now(seconds) };
        assert_eq!(cache.insert(sender, "n", last, None, later), Err(ReplayRefusal::TooOld), "{seconds}");
    }
    // Neither at a clock that begins there.
    let begun = Now { wall: UnixTime::MAX, ..now(0.0) };
    let cache = ReplayCache::new(ReplayConfig::default(), *b"sixteen bytes ok", begun);
    assert_eq!(cache.check(sender, "n", last, None, begun), Err(ReplayRefusal::TooOld));
}

/// F10, row 64. Two restarts with a wrong clock between them: the bound of the run in the middle, which accepted nothing, took the place of
/// the first one's on the disk.
#[test]
fn row_64_a_clock_set_back_at_a_restart_does_not_lower_the_bound() {
    let mut first = RestartBound::new(None);
    let bound = first.poll_persist(NOON, now(0.0)).expect("due at once");
    first.handle_persisted(bound);
    assert_eq!(first.check(NOON.into()), Ok(()));

    let mut middle = RestartBound::new(Some(bound));
    let left = middle.poll_persist(at(-3600), now(1.0)).expect("due at once");
    middle.handle_persisted(left);
    assert_eq!(middle.check(NOON.into()), Err(ReplayRefusal::BeforeRestart));

    let mut last = RestartBound::new(Some(left));
    let bound = last.poll_persist(at(1), now(2.0)).expect("due at once");
    last.handle_persisted(bound);
    assert_eq!(last.check(NOON.into()), Err(ReplayRefusal::BeforeRestart), "accepted before");
    // Within one run the bound does not go back either.
    assert_eq!(last.poll_persist(at(-3600), now(100.0)), Some(bound));
}
