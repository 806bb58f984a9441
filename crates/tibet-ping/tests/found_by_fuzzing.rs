//! What fuzzing found, each failure as a test of its own. `docs/assurance.md` tells of each.

mod common;

use common::{NOON, at, now};
use jis::UnixTime;
use tibet_ping::{Now, ReplayCache, ReplayConfig, ReplayRefusal, RestartBound, Sender};

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
