//! The resolver's memory: where answers come from, and what it refuses to believe.

use std::time::Duration;

use jis::{KeyEvent, Name, Record, RecordError, Remark, RevocationScope, Signed, UnixTime};
use tibet_overlay::{
    IdentityOverlay, LearnError, LocalDevice, MAX_REMEMBERED, OverlayResolver, Presence, RouteSource, system,
};
use tibet_registry::Source;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn later(seconds: u64) -> UnixTime {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn name() -> Name {
    "jis:sensor".parse().expect("name")
}

fn at(port: u16) -> Presence {
    let endpoint = format!("203.0.113.1:{port}").parse().expect("endpoint");
    Presence { endpoints: vec![endpoint], ttl: HOUR, ..Presence::default() }
}

fn device() -> LocalDevice {
    LocalDevice::create(name(), NOW).expect("created")
}

fn port(record: &Signed<Record>) -> u16 {
    record
        .claims()
        .endpoints
        .first()
        .expect("endpoint")
        .to_string()
        .rsplit(':')
        .next()
        .expect("port")
        .parse()
        .expect("number")
}

/// What the resolver says, without a registry that knows anything.
fn remembered(resolver: &OverlayResolver, now: UnixTime) -> Option<(u16, RouteSource)> {
    let overlay = IdentityOverlay::new().expect("overlay");
    let route = resolver.resolve(&name(), overlay.registry(), now).expect("read")?;
    Some((port(&route.record), route.source))
}

#[test]
fn local_then_cache_then_last_known() {
    let now = system::now();
    let mut overlay = IdentityOverlay::new().expect("overlay");
    let mut resolver = OverlayResolver::new();
    let mut device = LocalDevice::create(name(), now).expect("created");
    let ask = |resolver: &OverlayResolver, overlay: &IdentityOverlay, now| {
        let route = resolver.resolve(&name(), overlay.registry(), now).expect("read")?;
        Some((port(&route.record), route.source))
    };
    assert_eq!(ask(&resolver, &overlay, now), None);

    device.publish(at(1), now).expect("published");
    overlay
        .registry_mut()
        .register(device.registration(None, now).expect("signed"), Source::Local, now)
        .expect("registered");
    let elsewhere = device.publish(Presence { ttl: 3 * HOUR, ..at(2) }, now).expect("published");
    resolver.learn(device.events(), elsewhere, now).expect("learned");
    assert_eq!(ask(&resolver, &overlay, now), Some((1, RouteSource::Local)), "the own registry goes first");

    let two_hours = now.saturating_add(2 * HOUR);
    assert_eq!(
        ask(&resolver, &overlay, two_hours),
        Some((2, RouteSource::Cache)),
        "once its record has expired, the cache"
    );
    let four_hours = now.saturating_add(4 * HOUR);
    assert_eq!(ask(&resolver, &overlay, four_hours), Some((2, RouteSource::LastKnown)));
    let fresh = OverlayResolver::new();
    assert_eq!(
        ask(&fresh, &overlay, two_hours),
        Some((1, RouteSource::LastKnown)),
        "the registry's own, marked too"
    );
}

#[test]
fn a_revoked_identity_is_not_answered_from_memory() {
    let now = system::now();
    let mut overlay = IdentityOverlay::new().expect("overlay");
    let mut resolver = OverlayResolver::new();
    let mut device = LocalDevice::create(name(), now).expect("created");
    let record = device.publish(at(1), now).expect("published");
    overlay
        .registry_mut()
        .register(device.registration(None, now).expect("signed"), Source::Local, now)
        .expect("registered");
    resolver.learn(device.events(), record.clone(), now).expect("learned");
    let revocation = device.revoke(RevocationScope::Key, None, Remark::default(), now).expect("revoked");
    overlay.registry_mut().revoke(revocation, now).expect("told");
    assert!(resolver.resolve(&name(), overlay.registry(), now).expect("read").is_none());
    assert_eq!(resolver.learn(device.events(), record, now), Err(LearnError::Revoked));
}

/// Rule R42: what the registry knows guards against rollback, though its record has expired.
#[test]
fn memory_does_not_go_behind_an_expired_record_of_the_registry() {
    let now = system::now();
    let mut overlay = IdentityOverlay::new().expect("overlay");
    let mut device = LocalDevice::create(name(), now).expect("created");
    let old_events = device.events().to_vec();
    let day = |port| Presence { ttl: Record::MAX_TTL, ..at(port) };
    let stolen = device.publish(day(666), now).expect("published");
    device.publish(at(1), now).expect("published");
    let (_, rotated) = device.rotate(None, now).expect("rotated");
    let registration = device.registration(None, now).expect("signed");
    overlay.registry_mut().register(registration, Source::Local, now).expect("registered");
    let after = rotated.claims().expires_at().saturating_add(HOUR);
    let ask = |resolver: &OverlayResolver| {
        let route = resolver.resolve(&name(), overlay.registry(), after).expect("read").expect("known");
        (port(&route.record), route.source)
    };

    let mut resolver = OverlayResolver::new();
    resolver.learn(&old_events, stolen, now).expect("learned where nothing newer was known");
    assert_eq!(ask(&resolver), (1, RouteSource::LastKnown), "the old key's record is older");

    let mut resolver = OverlayResolver::new();
    let mut impostor = LocalDevice::create(name(), now).expect("created");
    let record = impostor.publish(day(666), now).expect("published");
    resolver.learn(impostor.events(), record, now).expect("learned where nothing else was known");
    assert_eq!(ask(&resolver), (1, RouteSource::LastKnown), "another identity's record is not this name's");
}

#[test]
fn the_cache_holds_until_the_record_expires_to_the_millisecond() {
    let (mut device, mut resolver) = (device(), OverlayResolver::new());
    let record = device.publish(at(1), NOW).expect("published");
    let end = record.claims().expires_at();
    assert_eq!(resolver.learn(device.events(), record, NOW), Ok(true));
    assert_eq!(remembered(&resolver, end), Some((1, RouteSource::Cache)));
    let after = UnixTime::from_millis(end.as_millis() + 1).expect("in range");
    assert_eq!(remembered(&resolver, after), Some((1, RouteSource::LastKnown)));
}

#[test]
fn news_is_told_from_repetition() {
    let (mut device, mut resolver) = (device(), OverlayResolver::new());
    let first = device.publish(at(1), NOW).expect("published");
    assert_eq!(resolver.learn(device.events(), first.clone(), NOW), Ok(true));
    assert_eq!(resolver.learn(device.events(), first, NOW), Ok(false));
    let second = device.publish(at(2), NOW).expect("published");
    assert_eq!(resolver.learn(device.events(), second, NOW), Ok(true));
    assert_eq!(remembered(&resolver, NOW), Some((2, RouteSource::Cache)));
}

#[test]
fn older_records_and_older_keys_are_rollbacks() {
    let (mut device, mut resolver) = (device(), OverlayResolver::new());
    let early_events = device.events().to_vec();
    let first = device.publish(at(1), NOW).expect("published");
    let second = device.publish(at(2), NOW).expect("published");
    resolver.learn(device.events(), second.clone(), NOW).expect("learned");
    let rollback = resolver.learn(&early_events, first, NOW).expect_err("older");
    assert!(
        matches!(rollback, LearnError::Rollback { known, offered } if (known.seq, offered.seq) == (1, 0)),
        "{rollback}"
    );

    let (_, rotated) = device.rotate(None, later(1)).expect("rotated");
    resolver.learn(device.events(), rotated, later(1)).expect("learned");
    let rollback = resolver.learn(&early_events, second, later(2)).expect_err("an older key");
    assert!(
        matches!(rollback, LearnError::Rollback { known, offered } if (known.generation, offered.generation) == (1, 0))
    );
    assert_eq!(remembered(&resolver, later(2)), Some((2, RouteSource::Cache)), "what was known stays");
}

#[test]
fn an_expired_record_still_guards_against_rollback() {
    let (mut device, mut resolver) = (device(), OverlayResolver::new());
    let first = device.publish(Presence { ttl: 24 * HOUR, ..at(1) }, NOW).expect("published");
    let second = device.publish(at(2), NOW).expect("published");
    resolver.learn(device.events(), second, NOW).expect("learned");
    let rollback =
        resolver.learn(device.events(), first, later(7200)).expect_err("older, though it holds longer");
    assert!(matches!(rollback, LearnError::Rollback { .. }));
    assert_eq!(remembered(&resolver, later(7200)), Some((2, RouteSource::LastKnown)));
}

#[test]
fn two_records_of_one_version_are_equivocation() {
    let mut resolver = OverlayResolver::new();
    let dir = tempfile::tempdir().expect("dir");
    let (here, copy) = (dir.path().join("device"), dir.path().join("copy"));
    let files = |path: &std::path::Path| tibet_overlay::DeviceFiles::new(path, None);
    let mut device = files(&here).create(name(), NOW).expect("created");
    std::fs::create_dir(&copy).expect("dir");
    for file in ["identity.pem", "transport.pem", "device.json"] {
        std::fs::copy(here.join(file), copy.join(file)).expect("copied");
    }
    let mut stolen = files(&copy).open().expect("opened");
    let honest = device.publish(at(1), NOW).expect("published");
    let other = stolen.publish(at(6666), NOW).expect("published");
    resolver.learn(device.events(), honest, NOW).expect("learned");
    assert_eq!(resolver.learn(device.events(), other, NOW), Err(LearnError::Equivocation));
    assert_eq!(remembered(&resolver, NOW), Some((1, RouteSource::Cache)));
}

#[test]
fn another_identity_does_not_take_over_a_name() {
    let (mut device, mut thief, mut resolver) = (device(), device(), OverlayResolver::new());
    let record = device.publish(at(1), NOW).expect("published");
    resolver.learn(device.events(), record, NOW).expect("learned");
    for _ in 0..3 {
        let record = thief.publish(at(6666), NOW).expect("published");
        assert_eq!(resolver.learn(thief.events(), record, NOW), Err(LearnError::OtherIdentity));
        thief.rotate(None, NOW).expect("a higher generation helps nothing");
    }
    assert_eq!(remembered(&resolver, NOW), Some((1, RouteSource::Cache)));
}

#[test]
fn a_record_must_be_signed_by_the_key_the_events_lead_to() {
    let (mut device, mut other, mut resolver) = (device(), device(), OverlayResolver::new());
    let record = device.publish(at(1), NOW).expect("published");
    let foreign = other.publish(at(1), NOW).expect("published");
    assert_eq!(resolver.learn(device.events(), foreign, NOW), Err(RecordError::OtherIdentity.into()));

    let mut forged = record.encode();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = Signed::<Record>::decode(&forged).expect("well formed");
    assert_eq!(resolver.learn(device.events(), forged, NOW), Err(RecordError::BadSignature.into()));

    // The old key's record with the new key's history.
    device.rotate(None, NOW).expect("rotated");
    assert_eq!(resolver.learn(device.events(), record, NOW), Err(RecordError::OtherGeneration.into()));
    // A history cut short, put together from two, or empty.
    let record = device.record().expect("record").clone();
    let inception = device.events()[..1].to_vec();
    assert_eq!(resolver.learn(&inception, record.clone(), NOW), Err(RecordError::OtherGeneration.into()));
    let mixed: Vec<KeyEvent> = vec![other.events()[0].clone(), device.events()[1].clone()];
    assert!(matches!(resolver.learn(&mixed, record.clone(), NOW), Err(LearnError::Events(_))));
    assert!(matches!(resolver.learn(&[], record.clone(), NOW), Err(LearnError::Events(_))));
    assert_eq!(remembered(&resolver, NOW), None, "nothing of it was remembered");
    assert_eq!(resolver.learn(device.events(), record, NOW), Ok(true));
}

#[test]
fn its_memory_is_bounded_and_keeps_what_still_holds() {
    let mut resolver = OverlayResolver::new();
    let short = Presence { ttl: HOUR, ..Presence::default() };
    let mut learn = |number: usize, presence: Presence, now| {
        let mut device =
            LocalDevice::create(format!("jis:d{number}").parse().expect("name"), NOW).expect("created");
        let record = device.publish(presence, now).expect("published");
        resolver.learn(device.events(), record, now)
    };
    for number in 0..MAX_REMEMBERED {
        let expiry =
            if number == 7 { Presence { ttl: HOUR / 2, ..Presence::default() } } else { short.clone() };
        assert_eq!(learn(number, expiry, NOW), Ok(true));
    }
    assert_eq!(
        learn(MAX_REMEMBERED, short.clone(), NOW),
        Err(LearnError::Full),
        "nothing that holds is thrown out"
    );
    assert_eq!(
        learn(MAX_REMEMBERED, short.clone(), later(2000)),
        Ok(true),
        "number 7 has expired and makes room"
    );
    assert_eq!(learn(MAX_REMEMBERED + 1, short, later(2000)), Err(LearnError::Full));
    let overlay = IdentityOverlay::new().expect("overlay");
    let known = |number: usize| {
        let name = format!("jis:d{number}").parse().expect("name");
        resolver.resolve(&name, overlay.registry(), later(2000)).expect("read").is_some()
    };
    assert!(!known(7) && known(6) && known(8) && known(MAX_REMEMBERED) && !known(MAX_REMEMBERED + 1));
}
