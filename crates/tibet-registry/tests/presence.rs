//! Devices that come and go: noted with tokens, bounded in the log, and never a matter of trust.

mod common;

use std::time::Duration;

use common::{Device, START, after, name, register, tokens};
use jis::{Name, UnixTime};
use tibet_core::MAX_TOKEN_LINE;
use tibet_registry::{
    MAX_PRESENCE_TOKENS, MAX_SIGNS, MemoryStore, NodeSign, Presence, PresenceChange, Refusal, Registry, Store,
};

fn change(device: &str, node: &str, online: bool, at: UnixTime) -> PresenceChange {
    PresenceChange { name: name(device), node: name(node), online, at }
}

fn sign(node: &str, value: u64) -> NodeSign {
    NodeSign { node: name(node), value, patience: Duration::from_secs(120) }
}

/// The longest names there are.
fn long_name(number: usize) -> Name {
    let label = "x".repeat(63);
    name(&format!("jis:{label}:{label}:{}{number:05}", "y".repeat(58)))
}

on_all_stores! {
    fn coming_and_going_is_noted_with_a_token_each(registry) {
        let device = Device::new("jis:a", 10);
        register(registry, &device);
        let trust = registry.standing(device.name(), START).expect("standing");
        let known = registry.changes_since(0).expect("read").read_to;
        assert_eq!(registry.presence(device.name()), Ok(None));
        let came = change("jis:a", "jis:node", true, after(1));
        assert_eq!(registry.note_presence(std::slice::from_ref(&came)), Ok(1));
        let held = Presence { node: name("jis:node"), online: true, since: after(1) };
        assert_eq!(registry.presence(device.name()), Ok(Some(held)));
        // Said again, or from before, it is no change.
        assert_eq!(registry.note_presence(&[came, change("jis:a", "jis:node", true, after(9))]), Ok(0));
        assert_eq!(registry.note_presence(&[change("jis:a", "jis:node", false, START)]), Ok(0));
        // Elsewhere, and gone.
        let elsewhere = change("jis:a", "jis:other", true, after(2));
        assert_eq!(registry.note_presence(&[elsewhere, change("jis:a", "jis:other", false, after(3))]), Ok(2));
        let mut seen = Vec::new();
        registry.for_each_presence(&mut |number, presence| seen.push((number, presence))).expect("read");
        assert_eq!(seen, [(1, Presence { node: name("jis:other"), online: false, since: after(3) })]);

        let written = tokens(registry, "presence");
        assert_eq!(written.len(), 3);
        assert!(written.iter().all(|token| token.to_json_line().contains("jis:a")));
        let news = registry.changes_since(known).expect("read");
        assert_eq!((news.presence.len(), news.names.len(), news.all_presence), (1, 0, false));
        assert_eq!(registry.standing(device.name(), START).expect("standing"), trust);
    }

    fn a_name_that_is_not_registered_is_not_noted(registry) {
        assert_eq!(registry.note_presence(&[change("jis:nobody", "jis:node", true, after(1))]), Ok(0));
        assert_eq!(registry.presence(&name("jis:nobody")), Ok(None));
        assert_eq!(registry.note_presence(&[]), Ok(0));
        assert_eq!(registry.head().expect("head"), None);
    }

    /// Row 93: a clock that was never set notes nothing, not even what comes before it in the same call.
    fn row_93_an_unset_clock_notes_nothing(registry) {
        register(registry, &Device::new("jis:a", 10));
        let early = UnixTime::from_secs(1_000_000_000);
        let both = [change("jis:a", "jis:node", true, after(1)), change("jis:a", "jis:node", false, early)];
        assert_eq!(registry.note_presence(&both), Err(Refusal::ClockUnset(early)));
        assert_eq!(registry.presence(&name("jis:a")), Ok(None));
    }

    /// Rule R64: a node that loses its network loses all its devices, and the log does not drown in it.
    fn a_crowd_makes_a_bounded_number_of_tokens(registry) {
        let crowd = MAX_PRESENCE_TOKENS + 70;
        registry.group(|registry| {
            for i in 0..crowd {
                register(registry, &Device::new(long_name(i).as_str(), 1000 + 10 * i as u64));
            }
        }).expect("registered");
        let known = registry.head().expect("head").expect("some").count;
        let came: Vec<_> =
            (0..crowd).map(|i| change(long_name(i).as_str(), "jis:node", i % 2 == 0, after(9))).collect();
        assert_eq!(registry.note_presence(&came), Ok(crowd as u64));
        let written = tokens(registry, "presence");
        assert_eq!(written.len(), MAX_PRESENCE_TOKENS + 1);
        let sum = written.last().expect("the sum");
        assert!(sum.to_json_line().contains("\"count\": 70"), "{}", sum.to_json_line());
        assert!(sum.to_json_line().len() < MAX_TOKEN_LINE / 2);
        let news = registry.changes_since(known).expect("read");
        assert_eq!((news.presence.len(), news.all_presence), (MAX_PRESENCE_TOKENS, true));
        let mut online = 0;
        registry.for_each_presence(&mut |_, presence| online += usize::from(presence.online)).expect("read");
        assert_eq!(online, crowd / 2);
    }

    /// SECURITY R64: a sign of life is no event.
    fn a_sign_of_life_takes_the_place_of_the_last_and_leaves_no_token(registry) {
        let head = registry.head().expect("head");
        assert_eq!(registry.node_signs(), Ok(Vec::new()));
        let signs = [sign("jis:old", 7), sign("jis:new", u64::MAX), sign("jis:old", 8)];
        for sign in &signs {
            registry.leave_sign(sign).expect("left");
        }
        assert_eq!(registry.node_signs(), Ok(signs[1..].to_vec()));
        assert_eq!(registry.head().expect("head"), head);
        assert!(registry.audit(None).expect("audited").is_clean());
    }

    /// SECURITY R19: however many nodes there ever were.
    fn of_too_many_nodes_the_one_silent_for_longest_is_forgotten(registry) {
        registry.group(|registry| {
            for i in 0..=MAX_SIGNS {
                registry.leave_sign(&sign(&format!("jis:n{i}"), 1)).expect("left");
            }
        }).expect("durable");
        let held = registry.node_signs().expect("read");
        assert_eq!(held.len(), MAX_SIGNS);
        assert_eq!((&held[0], held.last()), (&sign("jis:n1", 1), Some(&sign(&format!("jis:n{MAX_SIGNS}"), 1))));
    }

    /// Of one open group, presence is part of it: kept or lost with it.
    fn presence_is_part_of_an_open_group(registry) {
        let device = Device::new("jis:a", 10);
        registry.group(|registry| {
            register(registry, &device);
            assert_eq!(registry.note_presence(&[change("jis:a", "jis:node", true, after(1))]), Ok(1));
        }).expect("durable");
        assert!(registry.presence(device.name()).expect("read").is_some_and(|held| held.online));
        registry.revoke(device.revoke_own_key(), after(2)).expect("revoked");
        assert_eq!(registry.note_presence(&[change("jis:a", "jis:node", false, after(3))]), Ok(1));
    }
}

/// Somebody sees a presence that was committed, and no other.
#[test]
fn presence_that_was_rolled_back_is_not_there() {
    let dir = tempfile::tempdir().expect("dir");
    let mut registry = common::on_disk(&dir.path().join("registry.db"));
    register(&mut registry, &Device::new("jis:a", 10));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        registry.group(|registry| {
            registry.note_presence(&[change("jis:a", "jis:node", true, after(1))]).expect("noted");
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(registry.presence(&name("jis:a")), Ok(None));
    assert!(registry.store().presence(1).expect("read").is_none());
}

/// SECURITY 3.2: what somebody wrote by hand among the signs hides none of the others.
#[test]
fn a_line_that_is_no_sign_is_passed_over() {
    let mut store = MemoryStore::new();
    let lines = [
        "jis:a 1 120",
        "",
        "jis:b 2",
        "jis:c 3 4 5",
        "b\u{e9}ta 1 1",
        "jis:d -1 1",
        "jis:e 18446744073709551616 1",
        "jis:f 9 15",
    ];
    store.set_setting("nodes", &lines.join("\n")).expect("set");
    let mut registry = Registry::open(store, common::opening()).expect("opened");
    let signs = registry.node_signs().expect("read");
    assert_eq!(signs.iter().map(|sign| sign.value).collect::<Vec<_>>(), [1, 9]);
    registry.leave_sign(&sign("jis:g", 5)).expect("left");
    assert_eq!(registry.node_signs().expect("read").len(), 3);
}
