//! The corpora of the fuzz targets under their own checks; `docs/assurance.md` tells of them. SECURITY 3.2 rows 1 to 9, 11, 14 to 37, 42, 43, 46, 55, 56, 58 to 60
//! 63 to 67, 69 to 71, 78 and 79 are files there, named after the row.

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "the checks are another package's library")]
mod checks;

use std::panic;
use std::path::{Path, PathBuf};

use checks::{TARGETS, Verdict};

/// Fewer would be a corpus that was lost.
const FEWEST: usize = 10;
/// More would be one that nobody minimised.
const MOST: usize = 300;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
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
