//! Trust: rows 72 and 73 of the bad-input table, rule R37, and the numbers of the Python package.

mod common;

use std::time::Duration;

use common::{Device, START, after, any_key, assert_untouched, in_memory, key, name, register, verify};
use jis::{Signed, UnixTime, Vouch};
use proptest::prelude::*;
use tibet_registry::{
    History, MAX_VOUCHES_GIVEN, MAX_VOUCHES_TAKEN, Refusal, Registry, Source, Standing, Store, TrustSource,
    Zone,
};

fn vectors() -> serde_json::Value {
    let text = include_str!("../../../testdata/vectors/reference/fira.json");
    serde_json::from_str(text).expect("JSON")
}

/// As `round(x, 4)` does it: half to even on the exact binary value, which is what formatting does.
fn rounded(value: f64) -> f64 {
    format!("{value:.4}").parse().expect("number")
}

/// All 19 breakdowns of the Python package, rounded as it rounds.
#[test]
fn breakdowns_are_those_of_the_python_package() {
    let vectors = vectors();
    let cases = vectors["cases"]["breakdown"].as_array().expect("cases");
    assert_eq!(cases.len(), 19);
    let millis = |value: &serde_json::Value| (value.as_f64().expect("time") * 1000.0) as u64;
    for case in cases {
        let count = |name: &str| case["history"][name].as_u64().expect("count");
        let history = History {
            interactions: count("interactions"),
            verify_pass: count("verify_pass"),
            verify_fail: count("verify_fail"),
            anomalies: count("anomalies"),
            last_success: match millis(&case["history"]["last_success"]) {
                0 => None,
                at => Some(UnixTime::from_millis(at).expect("time")),
            },
        };
        let fira = history.fira(UnixTime::from_millis(millis(&case["now"])).expect("time"));
        for (part, ours) in [
            ("score", fira.score),
            ("frequency", fira.frequency),
            ("integrity", fira.integrity),
            ("recency", fira.recency),
            ("anomaly", fira.anomaly),
        ] {
            assert_eq!(Some(rounded(ours)), case["breakdown"][part].as_f64(), "{}: {part}", case["name"]);
        }
        assert_eq!(fira.history, history);
    }
}

/// The Python overlay's steps, taken here. Registering, resolving and the ten minutes between counted verifications differ by
/// decision: in Python a registration and every resolution are interactions and successes, and every verification passes. So the
/// counts compared are those of verifications, failures and anomalies, and integrity and anomaly, which hang on them alone.
#[test]
fn overlay_steps_give_the_same_counts_of_what_both_count() {
    let vectors = vectors();
    let mut compared = 0;
    for case in vectors["cases"]["overlay"].as_array().expect("cases") {
        let mut registry = in_memory();
        for (number, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
            // Ten minutes for each second of theirs, so that each verification counts.
            let now = after(600 * number as u64);
            let Some(did) = step["args"][0].as_str() else { continue };
            let op = step["op"].as_str().expect("op");
            let text = if op == "register" { format!("jis:{did}") } else { did.to_owned() };
            let Ok(device_name) = text.parse::<jis::Name>() else { continue };
            let bytes: u64 = text.bytes().map(u64::from).sum();
            let device = Device::new(&text, 1000 * bytes);
            match op {
                "register" => {
                    let mut device = device;
                    device.record.issued_at = now;
                    // Registering again replaces everything in Python, and nothing here.
                    if registry.peek(&device_name, now).expect("read").is_none() {
                        registry.register(device.registration(), Source::Local, now).expect("registered");
                    }
                }
                "verify" => drop(verify(&mut registry, &device, now)),
                "anomaly" => drop(registry.record_anomaly(&device_name, "as told", now)),
                "failed_verify" => drop(registry.record_failed_verify(&device_name, "as told", now)),
                _ => {}
            }
            let theirs = &step["result"]["fira"];
            if theirs["verify_pass"].is_u64() {
                let ours = registry.fira(&device_name, now).expect("known");
                let counts = [
                    ("verify_pass", ours.history.verify_pass),
                    ("verify_fail", ours.history.verify_fail),
                    ("anomalies", ours.history.anomalies),
                ];
                for (part, count) in counts {
                    assert_eq!(Some(count), theirs[part].as_u64(), "{} step {number}: {part}", case["name"]);
                }
                assert_eq!(Some(rounded(ours.integrity)), theirs["integrity"].as_f64(), "{}", case["name"]);
                assert_eq!(Some(rounded(ours.anomaly)), theirs["anomaly"].as_f64(), "{}", case["name"]);
                compared += 1;
            }
        }
    }
    assert!(compared >= 2, "{compared} steps compared");
}

/// One hour of honest verifications, starting at `from`: GROEN.
fn earn<S: Store>(registry: &mut Registry<S>, device: &Device, from: u64) {
    for i in 0..10 {
        assert!(verify(registry, device, after(from + 600 * i)).expect("proven").counted);
    }
    assert_eq!(registry.standing(device.name(), after(from + 5400)).expect("standing").zone, Zone::Groen);
}

fn standing<S: Store>(registry: &Registry<S>, device: &Device, now: UnixTime) -> Standing {
    registry.standing(device.name(), now).expect("standing")
}

on_all_stores! {
    /// Row 73.
    fn row_73_being_looked_up_or_asked_moves_nothing(registry) {
        let mut device = Device::new("jis:a", 10);
        register(registry, &device);
        for i in 0..300 {
            let now = after(60 * i);
            registry.resolve(device.name(), now).expect("resolved");
            registry.find(&"mqtt".parse().expect("capability"), 0, 10, now).expect("found");
            registry.challenge(device.name(), &name("jis:x"), any_key(9), [0; 8], now).expect("asked");
            if i % 50 == 0 {
                let heartbeat = device.move_on(now, |_| ());
                registry.update(heartbeat, now).expect("updated");
                registry.register(device.registration(), Source::Local, now).expect("again");
            }
            assert_eq!(standing(registry, &device, now).score, 0.5);
        }
    }

    /// Row 73: proofs in quick succession count once in ten minutes.
    fn row_73_a_hundred_proofs_in_ten_minutes_are_worth_one(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let counted = (0..100).filter(|i| verify(registry, &device, after(1 + 5 * i)).expect("proven").counted).count();
        assert_eq!(counted, 1);
        // 0.5 + 0.1 · (0.2·1/20 + 0.4 + 0.25 + 0.15 − 0.5)
        assert!((standing(registry, &device, after(1)).score - 0.531).abs() < 1e-9);
    }

    /// Only the operator lowers trust, and at once.
    fn what_the_operator_saw_counts_at_once(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let failed = registry.record_failed_verify(device.name(), "wrong key on the wire", after(1)).expect("recorded");
        // 0.5 + 0.1 · (0 + 0 + 0.25·0.3 + 0.15 − 0.5)
        assert!((failed.score - 0.4725).abs() < 1e-9, "{failed:?}");
        let odd = registry.record_anomaly(device.name(), "two places at once", after(1)).expect("recorded");
        assert!(odd.score < failed.score);
        let mut last = odd.score;
        for i in 0..30 {
            let now = registry.record_failed_verify(device.name(), "again", after(2 + i)).expect("recorded").score;
            assert!(now <= last, "a failure raised the score: {last} to {now}");
            last = now;
        }
        assert_eq!(standing(registry, &device, after(40)).zone, Zone::Rood);
    }

    fn the_operators_score_comes_first_and_can_be_taken_back(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        for bad in [f64::NAN, -0.001, 1.001, 7.0, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(assert_untouched(registry, |r| r.set_trust(&name("jis:a"), Some(bad), "", START)), Refusal::Score);
        }
        for (score, zone) in [(0.0, Zone::Rood), (1.0, Zone::Groen), (0.3, Zone::Geel)] {
            let set = registry.set_trust(device.name(), Some(score), "ours", START).expect("set");
            assert_eq!((set.score, set.zone, set.source), (score, zone, TrustSource::Explicit));
        }
        let earned = registry.set_trust(device.name(), None, "let it earn", START).expect("taken back");
        assert_eq!((earned.score, earned.source), (0.5, TrustSource::Fira));
        assert_eq!(registry.set_trust(&name("jis:nobody"), Some(1.0), "", START), Err(Refusal::Unknown(name("jis:nobody"))));
        assert_eq!(registry.standing(&name("jis:nobody"), START), Ok(Standing::UNKNOWN));
    }

    /// Rule R37: a vouch lends part of the voucher's trust, never enough for GROEN.
    fn row_72_a_vouch_lifts_to_just_below_groen(registry) {
        let (hub, lamp) = (Device::new("jis:hub", 10), Device::new("jis:lamp", 20));
        register(registry, &hub);
        register(registry, &lamp);
        registry.set_trust(hub.name(), Some(0.9), "ours", START).expect("set");
        let lent = registry.vouch(&hub.vouch(1, &lamp, |_| ()), START).expect("taken");
        assert!((lent.score - 0.63).abs() < 1e-9, "0.9 × 0.7: {lent:?}");
        assert_eq!((lent.zone, lent.source), (Zone::Geel, TrustSource::Vouched));
        registry.set_trust(hub.name(), Some(1.0), "ours", START).expect("set");
        let whole = registry.vouch(&hub.vouch(2, &lamp, |vouch| vouch.factor_permille = 1000), START).expect("taken");
        assert_eq!((whole.score, whole.zone), (0.69, Zone::Geel));
        assert_eq!(standing(registry, &hub, START).score, 1.0, "lending costs nothing");
    }

    /// Row 72: expired, early, self, of another identity, forged, twice.
    fn row_72_a_vouch_that_does_not_hold_is_refused(registry) {
        let (hub, lamp) = (Device::new("jis:hub", 10), Device::new("jis:lamp", 20));
        register(registry, &hub);
        register(registry, &lamp);
        let day = Duration::from_secs(86_400);
        let short = hub.vouch(1, &lamp, |vouch| vouch.expires_at = START.saturating_add(day));
        assert!(matches!(assert_untouched(registry, |r| r.vouch(&short, after(86_401))), Refusal::Vouch(_)));
        let early = hub.vouch(1, &lamp, |vouch| vouch.issued_at = after(301));
        assert!(matches!(assert_untouched(registry, |r| r.vouch(&early, START)), Refusal::Vouch(_)));
        let other = hub.vouch(1, &Device::new("jis:lamp", 30), |_| ());
        assert!(matches!(assert_untouched(registry, |r| r.vouch(&other, START)), Refusal::Vouch(_)), "another identity");
        let forged = Signed::seal(short.claims().clone(), &key(66)).expect("vouch");
        assert_eq!(assert_untouched(registry, |r| r.vouch(&forged, START)), Refusal::WrongKey(name("jis:hub")));
        let nobody = Device::new("jis:nobody", 40);
        assert_eq!(assert_untouched(registry, |r| r.vouch(&nobody.vouch(1, &lamp, |_| ()), START)), Refusal::Unknown(name("jis:nobody")));
        assert_eq!(assert_untouched(registry, |r| r.vouch(&hub.vouch(1, &nobody, |_| ()), START)), Refusal::Unknown(name("jis:nobody")));
        registry.vouch(&short, START).expect("taken");
        assert!(matches!(assert_untouched(registry, |r| r.vouch(&short, START)), Refusal::Vouch(_)), "twice");
        // Such bytes do not even decode.
        let seal = |change: &dyn Fn(&mut Vouch)| { let mut v = short.claims().clone(); change(&mut v); Signed::seal(v, &hub.key).map(|_| ()) };
        assert!(seal(&|vouch| vouch.subject = name("jis:hub")).is_err(), "self");
        assert!(seal(&|vouch| vouch.factor_permille = 7000).is_err(), "trust 7.0");
        assert!(seal(&|vouch| vouch.expires_at = START.saturating_add(Vouch::MAX_LIFETIME + day)).is_err(), "too long");
    }

    fn row_72_a_vouch_ends_with_its_time_and_with_the_key_that_gave_it(registry) {
        let mut hub = Device::new("jis:hub", 10);
        let lamp = Device::new("jis:lamp", 20);
        register(registry, &hub);
        register(registry, &lamp);
        registry.set_trust(hub.name(), Some(0.9), "ours", START).expect("set");
        registry.vouch(&hub.vouch(1, &lamp, |vouch| vouch.expires_at = after(1000)), START).expect("taken");
        assert_eq!(standing(registry, &lamp, after(1000)).source, TrustSource::Vouched, "its last moment");
        assert_eq!(standing(registry, &lamp, after(1001)).score, 0.5);
        let (rotation, record) = hub.rotate(key(12), after(10));
        registry.rotate(rotation, record, after(10)).expect("rotated");
        assert_eq!(standing(registry, &lamp, after(11)).score, 0.5, "of the key before");
        let late = hub.vouch(2, &lamp, |vouch| vouch.voucher_generation = 0);
        assert_eq!(assert_untouched(registry, |r| r.vouch(&late, after(12))), Refusal::WrongKey(name("jis:hub")));
        registry.vouch(&hub.vouch(3, &lamp, |_| ()), after(12)).expect("taken");
        assert_eq!(standing(registry, &lamp, after(12)).source, TrustSource::Vouched);
        registry.revoke(hub.revoke_own_key(), after(13)).expect("revoked");
        assert_eq!(standing(registry, &lamp, after(13)).score, 0.5, "of a revoked key");
        let dead = hub.vouch(4, &lamp, |_| ());
        assert!(matches!(assert_untouched(registry, |r| r.vouch(&dead, after(14))), Refusal::Revoked { .. }));
    }

    /// Row 72: depth 1. What was lent is not lent on.
    fn row_72_borrowed_trust_is_not_lent_on(registry) {
        let devices: Vec<Device> = (0..3).map(|i| Device::new(&format!("jis:d{i}"), 10 * i)).collect();
        devices.iter().for_each(|device| drop(register(registry, device)));
        registry.set_trust(devices[0].name(), Some(1.0), "ours", START).expect("set");
        let whole = |vouch: &mut Vouch| vouch.factor_permille = 1000;
        registry.vouch(&devices[0].vouch(1, &devices[1], whole), START).expect("taken");
        registry.vouch(&devices[1].vouch(2, &devices[2], whole), START).expect("taken");
        assert_eq!(standing(registry, &devices[1], START).score, 0.69);
        assert_eq!(standing(registry, &devices[2], START).score, 0.5);
        // In a circle neither.
        registry.vouch(&devices[2].vouch(3, &devices[1], whole), START).expect("taken");
        assert_eq!(standing(registry, &devices[2], START).score, 0.5);
    }

    /// `docs/decisions/0008-vouches-never-lower.md`.
    fn a_faint_vouch_pulls_nobody_down(registry) {
        let (good, bad) = (Device::new("jis:good", 10), Device::new("jis:bad", 20));
        register(registry, &good);
        register(registry, &bad);
        earn(registry, &good, 1);
        let before = standing(registry, &good, after(5401));
        let after_it = registry.vouch(&bad.vouch(1, &good, |vouch| vouch.factor_permille = 0), after(5401)).expect("taken");
        assert_eq!(after_it, before);
    }

    /// Rule R37: fifty live vouches per voucher.
    fn row_72_nobody_vouches_for_a_crowd(registry) {
        let hub = Device::new("jis:hub", 10);
        register(registry, &hub);
        registry.group(|registry| {
            for i in 0..=MAX_VOUCHES_GIVEN {
                let subject = Device::new(&format!("jis:d{i}"), 100 + 10 * i);
                register(registry, &subject);
                let result = registry.vouch(&hub.vouch(i, &subject, |vouch| vouch.expires_at = after(100)), START);
                assert_eq!(result.is_ok(), i < MAX_VOUCHES_GIVEN, "{i}: {result:?}");
            }
        }).expect("group");
        let next = Device::new("jis:d0", 100);
        registry.vouch(&hub.vouch(999, &next, |_| ()), after(101)).expect("when the others have expired");
    }

    /// Sixteen faint vouches keep no good one out: the weakest gives way.
    fn strangers_cannot_use_up_the_vouches_of_a_device(registry) {
        let (lamp, hub) = (Device::new("jis:lamp", 10), Device::new("jis:hub", 20));
        register(registry, &lamp);
        register(registry, &hub);
        registry.set_trust(hub.name(), Some(0.9), "ours", START).expect("set");
        registry.group(|registry| {
            for i in 0..MAX_VOUCHES_TAKEN as u64 + 5 {
                let sybil = Device::new(&format!("jis:s{i}"), 100 + 10 * i);
                register(registry, &sybil);
                let result = registry.vouch(&sybil.vouch(i, &lamp, |vouch| vouch.factor_permille = 1), START);
                assert_eq!(result.is_ok(), i < MAX_VOUCHES_TAKEN as u64, "{i}: {result:?}");
            }
        }).expect("group");
        registry.vouch(&hub.vouch(500, &lamp, |_| ()), START).expect("stronger than those");
        assert!((standing(registry, &lamp, START).score - 0.63).abs() < 1e-9);
        assert_eq!(registry.store().vouches_for(1, START).expect("vouches").len(), MAX_VOUCHES_TAKEN);
    }

    /// Vouches that have expired are forgotten, so short ones in a row pile up nowhere.
    fn expired_vouches_are_forgotten(registry) {
        let (lamp, hub) = (Device::new("jis:lamp", 10), Device::new("jis:hub", 20));
        register(registry, &lamp);
        register(registry, &hub);
        for i in 0..40 {
            let brief = hub.vouch(i, &lamp, |vouch| {
                vouch.issued_at = after(10 * i);
                vouch.expires_at = after(10 * i + 1);
            });
            registry.vouch(&brief, after(10 * i)).expect("taken");
        }
        assert_eq!(registry.store().vouches_for(1, UnixTime::from_secs(0)).expect("vouches").len(), 1);
    }
}

/// What an attacker with several identities can send by itself, without an honest verifier.
#[derive(Debug, Clone)]
enum Move {
    Register(usize),
    Update(usize),
    Rotate(usize),
    Revoke(usize),
    Resolve(usize),
    Find,
    Vouch { by: usize, subject: usize, permille: u64 },
    BadProof { of: usize, by: usize },
    Ask(usize),
    Equivocate(usize),
}

const SYBILS: usize = 4;

fn moves() -> impl Strategy<Value = Vec<(Move, u64)>> {
    let who = 0..SYBILS;
    let step = prop_oneof![
        who.clone().prop_map(Move::Register),
        who.clone().prop_map(Move::Update),
        who.clone().prop_map(Move::Rotate),
        who.clone().prop_map(Move::Revoke),
        who.clone().prop_map(Move::Resolve),
        Just(Move::Find),
        (who.clone(), who.clone(), 0..=1000u64).prop_map(|(by, subject, permille)| Move::Vouch {
            by,
            subject,
            permille
        }),
        (who.clone(), who.clone()).prop_map(|(of, by)| Move::BadProof { of, by }),
        who.clone().prop_map(Move::Ask),
        who.prop_map(Move::Equivocate),
    ];
    let pause = prop_oneof![4 => 0..1000u64, 1 => 0..2_000_000u64];
    prop::collection::vec((step, pause), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Rule R37 and rows 72, 73: nothing that devices sign among themselves lifts any of them above where it began.
    #[test]
    fn no_sequence_of_self_signed_events_raises_trust(moves in moves()) {
        let mut registry = in_memory();
        let mut sybils: Vec<Device> =
            (0..SYBILS).map(|i| Device::new(&format!("jis:s{i}"), 1000 * i as u64)).collect();
        for sybil in &sybils {
            register(&mut registry, sybil);
        }
        let mut now = START;
        for (number, (next, pause)) in moves.into_iter().enumerate() {
            let number = number as u64;
            now = now.saturating_add(Duration::from_secs(pause));
            match next {
                Move::Register(i) => {
                    sybils[i].move_on(now, |_| ());
                    drop(registry.register(sybils[i].registration(), Source::Local, now));
                }
                Move::Update(i) => {
                    let record = sybils[i].move_on(now, |record| record.behind_nat = !record.behind_nat);
                    drop(registry.update(record, now));
                }
                Move::Rotate(i) => {
                    let (rotation, record) = sybils[i].rotate(key(10_000 + number), now);
                    drop(registry.rotate(rotation, record, now));
                }
                Move::Revoke(i) => drop(registry.revoke(sybils[i].revoke_own_key(), now)),
                Move::Resolve(i) => drop(registry.resolve(sybils[i].name(), now)),
                Move::Find => drop(registry.find(&"mqtt".parse().expect("capability"), 0, 10, now)),
                Move::Vouch { by, subject, permille } if by != subject => {
                    let vouch = sybils[by].vouch(number, &sybils[subject], |vouch| {
                        vouch.factor_permille = permille;
                        vouch.issued_at = now;
                        vouch.expires_at = now.saturating_add(Vouch::MAX_LIFETIME);
                    });
                    drop(registry.vouch(&vouch, now));
                }
                Move::Vouch { .. } => {}
                Move::BadProof { of, by } => {
                    let verifier = registry.origin().clone();
                    let asked = registry.challenge(sybils[of].name(), &verifier, *registry.log_key(), [1; 8], now);
                    if let Ok(mut challenge) = asked {
                        // Its own answer to a question of its own making, or another's answer to ours.
                        if of == by {
                            challenge.verifier_nonce[20] ^= 1;
                        }
                        challenge.prover = sybils[by].name().clone();
                        if let Ok(proof) = challenge.answer(&sybils[by].identity, &sybils[by].key, [2; 32], now) {
                            challenge.prover = sybils[of].name().clone();
                            prop_assert!(registry.accept_proof(&challenge, &proof, now).is_err());
                        }
                    }
                }
                Move::Ask(i) => {
                    drop(registry.challenge(sybils[i].name(), &name("jis:x"), any_key(9), [0; 8], now));
                }
                Move::Equivocate(i) => {
                    let mut record = sybils[i].record.clone();
                    record.ttl = Duration::from_secs(1 + number);
                    drop(registry.update(Signed::seal(record, &sybils[i].key).expect("record"), now));
                }
            }
            for sybil in &sybils {
                let standing = registry.standing(sybil.name(), now).expect("standing");
                prop_assert!(standing.score <= 0.5, "{standing:?}");
            }
        }
        common::assert_clean(&registry);
    }
}
