//! `nonce.json`, and SECURITY 3.2 rows 63 to 66.

mod common;

use std::time::Duration;

use common::{NOON, at, key, now, table, vectors};
use jis::UnixTime;
use tibet_ping::{
    MAX_NONCES, MAX_NONCES_PER_SENDER, Now, ReplayCache, ReplayConfig, ReplayRefusal, RestartBound, Sender,
    Timestamp, timestamp,
};

const SEED: [u8; 16] = *b"sixteen bytes ok";

fn cache() -> ReplayCache {
    ReplayCache::new(ReplayConfig::default(), SEED, now(0.0))
}

fn clock(step: &common::Case) -> Now {
    let millis = (step.number("wall") * 1000.0) as u64;
    Now {
        wall: UnixTime::from_millis(millis).expect("time"),
        mono: Duration::from_secs_f64(step.number("mono")),
    }
}

#[test]
fn replay_vectors() {
    let cases = vectors("nonce.json").cases("cases");
    assert_eq!(cases.len(), 10);
    let differing = table("ping.md", "### Replay");
    let mut differences = 0;
    for case in cases {
        let seconds = |name| Duration::from_secs_f64(case.number(name));
        let window = ReplayConfig {
            window: seconds("window_seconds"),
            skew: seconds("clock_skew_seconds"),
            ..ReplayConfig::default()
        };
        let mut cache = ReplayCache::new(window, SEED, clock(&case.map("start")));
        for (n, step) in case.cases("steps").iter().enumerate() {
            let (nonce, stamp) = (step.text("nonce"), step.text("timestamp"));
            let sender = Sender::Unsigned("jis:home:sensor");
            let checked = cache.check(sender, nonce, stamp, None, clock(step));
            let taken = cache.insert(sender, nonce, stamp, None, clock(step));
            assert_eq!(checked, taken, "{} {n}", case.text("name"));
            assert_eq!(taken.is_err(), step.truth("replay"), "{} {n}", case.text("name"));
            let mut tracked = step.integer("tracked_after");
            if differing.iter().any(|row| row[0] == case.text("name")) && n == 2 {
                tracked = 3;
                differences += 1;
            }
            assert_eq!(i64::try_from(cache.len()), Ok(tracked), "{} {n}", case.text("name"));
        }
    }
    assert_eq!((differences, differing.len()), (1, 1));
}

fn insert(cache: &mut ReplayCache, n: usize, nonce: &str, made: i64, seconds: f64) -> Option<ReplayRefusal> {
    let key = key(n).public_key();
    let stamp = timestamp::write(at(made));
    cache.insert(Sender::Key(&key), nonce, &stamp, Some(at(made + 30)), now(seconds)).err()
}

#[test]
fn row_63_timestamps_out_of_bounds() {
    let mut cache = cache();
    let sender = Sender::Unsigned("jis:a");
    for (stamp, refusal) in [
        ("2026-01-02T03:03:34Z", ReplayRefusal::TooOld),
        ("2026-01-02T03:04:11Z", ReplayRefusal::TooNew),
        ("soon", ReplayRefusal::NoTime),
        ("0000-01-01T00:00:00Z", ReplayRefusal::NoTime),
        ("10000-01-01T00:00:00Z", ReplayRefusal::NoTime),
        ("0001-01-01T00:00:00Z", ReplayRefusal::TooOld),
        ("9999-12-31T23:59:59Z", ReplayRefusal::TooNew),
    ] {
        assert_eq!(cache.insert(sender, "n", stamp, None, now(0.0)), Err(refusal), "{stamp}");
    }
    assert!(cache.is_empty());
    assert_eq!(insert(&mut cache, 0, "n", -30, 0.0), None);
    assert_eq!(insert(&mut cache, 0, "m", 5, 0.0), None);
    // Its own expiry can be sooner than the window.
    let key = key(1).public_key();
    let expired = cache.insert(Sender::Key(&key), "n", &timestamp::write(NOON), Some(at(1)), now(1.001));
    assert_eq!(expired, Err(ReplayRefusal::Expired));
}

#[test]
fn row_64_a_nonce_twice() {
    let mut cache = cache();
    assert_eq!(insert(&mut cache, 0, "n", 5, 0.0), None);
    assert_eq!(insert(&mut cache, 0, "n", 5, 0.0), Some(ReplayRefusal::Seen));
    assert_eq!(insert(&mut cache, 0, "n", 5, 29.0), Some(ReplayRefusal::Seen));
    // 34.9 s after it was seen its timestamp can still be accepted. Python has forgotten it by then.
    assert_eq!(insert(&mut cache, 0, "n", 5, 34.9), Some(ReplayRefusal::Seen));
    assert_eq!(insert(&mut cache, 0, "n", 5, 36.0), Some(ReplayRefusal::TooOld));
    // The nonce with another timestamp, after the first one has gone.
    assert_eq!(insert(&mut cache, 0, "n", 60, 60.0), None);
    assert_eq!(cache.len(), 1);
    // Another sender's.
    assert_eq!(insert(&mut cache, 1, "n", 60, 60.0), None);
    assert_eq!(
        cache.insert(Sender::Unsigned("jis:a"), "n", &timestamp::write(at(60)), None, now(60.0)).err(),
        None
    );
}

#[test]
fn row_64_after_the_clock_was_set_back() {
    let mut cache = cache();
    assert_eq!(insert(&mut cache, 0, "n", 0, 0.0), None);
    // A minute on, the entry is gone; the wall clock goes back to the moment the packet was made.
    let back = Now { wall: NOON, mono: now(90.0).mono };
    assert_eq!(insert(&mut cache, 0, "other", 90, 90.0), None);
    let sender = key(0).public_key();
    let again = cache.insert(Sender::Key(&sender), "n", &timestamp::write(NOON), Some(at(30)), back);
    assert_eq!(again, Err(ReplayRefusal::TooOld));
    // Nor does it help if the monotonic clock seems to run back.
    assert_eq!(insert(&mut cache, 0, "n", 0, 0.0), Some(ReplayRefusal::TooOld));
    assert_eq!(cache.clock(now(0.0)), at(90));
}

#[test]
fn row_64_after_a_restart() {
    let mut bound = RestartBound::new(None);
    assert_eq!(bound.check(NOON.into()), Err(ReplayRefusal::BeyondBound));
    // F = now + 15 s, every 10 s.
    assert_eq!(bound.poll_persist(NOON, now(0.0)), Some(at(15)));
    assert_eq!(bound.check(NOON.into()), Err(ReplayRefusal::BeyondBound), "not on disk yet");
    bound.handle_persisted(at(15));
    assert_eq!(bound.check(at(15).into()), Ok(()));
    assert_eq!(
        bound.check(Timestamp::parse("2026-01-02T03:04:20.000001Z").expect("time")),
        Err(ReplayRefusal::BeyondBound)
    );
    assert_eq!(bound.poll_persist(at(9), now(9.9)), None);
    assert_eq!(bound.poll_timeout(), now(10.0).mono);
    assert_eq!(bound.poll_persist(at(10), now(10.0)), Some(at(25)));
    bound.handle_persisted(at(25));

    // Crash and restart with an empty cache: whatever could have been accepted is refused.
    let mut bound = RestartBound::new(Some(at(25)));
    assert_eq!(bound.poll_persist(at(12), now(12.0)), Some(at(27)));
    bound.handle_persisted(at(27));
    assert_eq!(bound.check(at(12).into()), Err(ReplayRefusal::BeforeRestart));
    assert_eq!(bound.check(at(25).into()), Err(ReplayRefusal::BeforeRestart));
    assert_eq!(bound.check(at(26).into()), Ok(()));
    assert_eq!(bound.refused_through(), Some(at(25)));
}

#[test]
fn row_65_one_sender_fills_only_its_own() {
    let mut cache = cache();
    for n in 0..MAX_NONCES_PER_SENDER {
        assert_eq!(insert(&mut cache, 0, &format!("{n}"), 0, 0.0), None);
    }
    assert_eq!(insert(&mut cache, 0, "more", 0, 0.0), Some(ReplayRefusal::SenderFull));
    assert_eq!(insert(&mut cache, 1, "more", 0, 0.0), None);
    assert_eq!(cache.len(), 65);
    // The operator can allow more.
    let config = ReplayConfig { per_sender: 1000, ..ReplayConfig::default() };
    let mut roomy = ReplayCache::new(config, SEED, now(0.0));
    let taken = (0..2000).filter(|n| insert(&mut roomy, 0, &format!("{n}"), 0, 0.0).is_none()).count();
    assert_eq!(taken, 1000);
    // Full means full of live ones only.
    assert_eq!(insert(&mut cache, 0, "more", 37, 37.0), None);
}

#[test]
fn row_65_a_full_memory_refuses_and_forgets_nothing_alive() {
    let mut cache = ReplayCache::with_capacity(ReplayConfig::default(), SEED, now(0.0), 1000);
    for n in 0..100_000 {
        let nonce = format!("{n}");
        let sender = format!("jis:n{n}");
        let taken = cache.insert(Sender::Unsigned(&sender), &nonce, &timestamp::write(NOON), None, now(0.0));
        assert_eq!(taken.is_ok(), n < 1000);
    }
    assert_eq!((cache.len(), cache.refused_full()), (1000, 99_000));
    for n in 0..1000 {
        let taken = cache.insert(
            Sender::Unsigned(&format!("jis:n{n}")),
            &format!("{n}"),
            &timestamp::write(NOON),
            None,
            now(29.0),
        );
        assert_eq!(taken, Err(ReplayRefusal::Seen), "{n} was forgotten");
    }
    // When they are past there is room again, at once, and the rest is worked off over a few calls.
    assert_eq!(insert(&mut cache, 1, "0", 40, 40.0), None);
    for n in 1..20 {
        assert_eq!(insert(&mut cache, 1, &format!("{n}"), 40, 40.0), None);
    }
    assert_eq!(cache.len(), 20);
    const { assert!(MAX_NONCES == 1_000_000) };
}

/// The check before the signature stores nothing: a forger cannot use up the nonce of a packet that is still on its way.
#[test]
fn row_66_a_check_stores_nothing() {
    let mut cache = cache();
    let sender = key(0).public_key();
    for _ in 0..3 {
        let checked = cache.check(Sender::Key(&sender), "n", &timestamp::write(NOON), Some(at(30)), now(0.0));
        assert_eq!(checked, Ok(NOON.into()));
    }
    assert!(cache.is_empty());
    assert_eq!(insert(&mut cache, 0, "n", 0, 0.0), None);
}

/// The memory stays small over days of silence between packets.
#[test]
fn long_silence_leaves_nothing_behind() {
    let mut cache = cache();
    for day in 0..400 {
        let seconds = day * 86_400;
        assert_eq!(insert(&mut cache, 0, "same", seconds, seconds as f64), None);
        assert_eq!(cache.len(), 1);
    }
}
