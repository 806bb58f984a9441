//! Clocks that are wrong: row 93 of the bad-input table, rules R30, R43, R44.

mod common;

use common::{Device, START, after, assert_untouched, key, register, tokens, verify};
use jis::UnixTime;
use tibet_registry::{Refusal, Registry, Source, Store};

/// A whole day of a device's life at `now`: it moves, proves itself, is found.
fn live<S: Store>(registry: &mut Registry<S>, device: &mut Device, now: UnixTime) {
    let moved = device.move_on(now, |_| ());
    registry.update(moved, now).expect("updated");
    verify(registry, device, now).expect("proven");
    registry.resolve(device.name(), now).expect("resolved");
}

on_all_stores! {
    fn row_93_a_clock_that_was_never_set_is_refused(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let mut early = Device::new("jis:b", 20);
        for now in [UnixTime::from_secs(0), UnixTime::from_secs(1_767_225_599)] {
            early.record.issued_at = now;
            let refusal = assert_untouched(registry, |r| r.register(early.registration(), Source::Local, now));
            assert_eq!(refusal, Refusal::ClockUnset(now));
            let record = Device::new("jis:a", 10).move_on(now, |_| ());
            assert_eq!(assert_untouched(registry, |r| r.update(record, now)), Refusal::ClockUnset(now));
            let (rotation, record) = Device::new("jis:a", 10).rotate(key(12), now);
            assert_eq!(assert_untouched(registry, |r| r.rotate(rotation, record, now)), Refusal::ClockUnset(now));
            let revocation = device.revoke_own_key();
            assert_eq!(assert_untouched(registry, |r| r.revoke(revocation, now)), Refusal::ClockUnset(now));
            let vouch = device.vouch(1, &early, |_| ());
            assert_eq!(assert_untouched(registry, |r| r.vouch(&vouch, now)), Refusal::ClockUnset(now));
            assert_eq!(assert_untouched(registry, |r| r.set_trust(&common::name("jis:a"), None, "", now)), Refusal::ClockUnset(now));
            assert_eq!(assert_untouched(registry, |r| verify(r, &device, now)), Refusal::ClockUnset(now));
            registry.resolve(device.name(), now).expect("looking up needs no clock");
        }
        registry.resolve(device.name(), UnixTime::from_secs(1_767_225_600)).expect("2026");
    }

    /// +10 years and back; 2106 and back; the last moment there is and back: the same device, the same key, the same standing to earn.
    fn row_93_a_clock_that_ran_ahead_locks_nobody_out(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        let far = [
            after(10 * 365 * 86_400),
            UnixTime::from_secs(4_294_967_295),
            UnixTime::from_millis(UnixTime::MAX.as_millis() - 60_000).expect("time"),
        ];
        for (round, ahead) in far.into_iter().enumerate() {
            let back = after(1000 + 1000 * round as u64);
            live(registry, &mut device, ahead);
            live(registry, &mut device, back);
            let standing = registry.standing(device.name(), back).expect("standing");
            assert!(standing.score > 0.5, "{standing:?}");
            let again = registry.register(device.registration(), Source::Local, back).expect("registers");
            assert!(!again.changed);
        }
        let fira = registry.fira(device.name(), after(3000)).expect("known");
        assert_eq!(fira.history.verify_pass, 6, "each counted, ahead and back");
        assert!(fira.recency <= 1.0 && fira.score <= 1.0, "{fira:?}");
        let (rotation, record) = device.rotate(key(12), after(4000));
        registry.rotate(rotation, record, after(4000)).expect("rotates");
        live(registry, &mut device, after(4001));
    }

    /// A device that registered under the wrong clock lives on under the right one.
    fn row_93_a_device_registered_in_the_wrong_year_lives_on(registry) {
        let ahead = after(10 * 365 * 86_400);
        let mut device = Device::new("jis:a", 10);
        device.record.issued_at = ahead;
        registry.register(device.registration(), Source::Network("203.0.113.1".parse().expect("address")), ahead).expect("registered");
        live(registry, &mut device, START);
        let neighbour = Device::new("jis:b", 20).registration();
        registry.register(neighbour, Source::Network("203.0.113.1".parse().expect("address")), START).expect("the quota goes on");
    }

    /// What was counted while the clock was ahead is written soon after it was set back.
    fn row_93_counts_of_a_wrong_year_are_written(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let ahead = after(10 * 365 * 86_400);
        for now in [ahead, ahead, START, START] {
            registry.resolve(device.name(), now).expect("resolved");
        }
        let counts: Vec<String> = tokens(registry, "resolve").iter().map(|token| format!("{:?}", token.erin)).collect();
        assert!(counts.len() >= 2, "{counts:?}");
    }
}
