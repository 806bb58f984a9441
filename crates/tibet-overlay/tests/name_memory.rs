//! What was seen of names, and what is not believed after it.

use std::time::Duration;

use jis::{IdentityStatus, KeyEvent, Name, Record, RecordError, Remark, RevocationScope, Signed, UnixTime};
use tibet_overlay::{LearnError, LocalDevice, MAX_REMEMBERED, NameMemory, Presence};
use tibet_registry::StoreError;

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

/// What is known of the device.
fn remembered(memory: &NameMemory) -> Option<u16> {
    let known = memory.known(&name()).expect("read")?;
    Some(port(&known.record))
}

#[test]
fn a_revocation_is_remembered_with_the_record_it_came_with() {
    let (mut device, mut memory) = (device(), NameMemory::new());
    let record = device.publish(at(1), NOW).expect("published");
    memory.learn(device.events(), record.clone(), NOW).expect("learned");
    device.revoke(RevocationScope::Key, None, Remark::default(), NOW).expect("revoked");
    assert_eq!(memory.learn(device.events(), record, NOW), Err(LearnError::Revoked));
    let known = memory.known(&name()).expect("read").expect("known");
    assert_eq!(known.identity.status, IdentityStatus::KeyRevoked);
}

#[test]
fn news_is_told_from_repetition() {
    let (mut device, mut memory) = (device(), NameMemory::new());
    let first = device.publish(at(1), NOW).expect("published");
    assert_eq!(memory.learn(device.events(), first.clone(), NOW), Ok(true));
    assert_eq!(memory.learn(device.events(), first, NOW), Ok(false));
    let second = device.publish(at(2), NOW).expect("published");
    assert_eq!(memory.learn(device.events(), second, NOW), Ok(true));
    assert_eq!(remembered(&memory), Some(2));
}

#[test]
fn what_another_program_has_written_is_read_and_what_it_has_damaged_is_not_believed() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("names.db");
    let open = || NameMemory::open(&file).expect("opened");
    let (mut device, mut memory, mut other) = (device(), open(), open());
    let first = device.publish(at(1), NOW).expect("published");
    assert_eq!(memory.learn(device.events(), first.clone(), NOW), Ok(true));
    for _ in 0..2 {
        assert_eq!(memory.learn(device.events(), first.clone(), NOW), Ok(false));
        assert_eq!(remembered(&memory), Some(1));
    }
    let second = device.publish(at(2), NOW).expect("published");
    assert_eq!(other.learn(device.events(), second.clone(), NOW), Ok(true));
    assert_eq!(remembered(&memory), Some(2));
    assert!(matches!(memory.learn(device.events(), first, NOW), Err(LearnError::Rollback { .. })));
    let before = device.events().to_vec();
    device.revoke(RevocationScope::Key, None, Remark::default(), NOW).expect("revoked");
    assert_eq!(other.learn(device.events(), second.clone(), NOW), Err(LearnError::Revoked));
    assert_eq!(memory.learn(&before, second.clone(), NOW), Err(LearnError::Revoked));
    for memory in [&mut memory, &mut other] {
        assert_eq!(remembered(memory), Some(2));
        assert_eq!(memory.learn(device.events(), second.clone(), NOW), Err(LearnError::Revoked));
    }
    // The last byte of the revocation's signature, then of the record's.
    let direct = rusqlite::Connection::open(&file).expect("opened");
    for column in ["events", "record"] {
        let whole: Vec<u8> =
            direct.query_row(&format!("SELECT {column} FROM seen"), [], |row| row.get(0)).expect("read");
        let set = |bytes: &[u8]| direct.execute(&format!("UPDATE seen SET {column} = ?1"), [bytes]);
        let mut damaged = whole.clone();
        *damaged.last_mut().expect("bytes") ^= 0x20;
        assert_eq!(set(&damaged), Ok(1));
        assert!(matches!(memory.known(&name()), Err(StoreError::Damaged(_))), "{column}");
        assert_eq!(set(&whole), Ok(1));
        assert_eq!(remembered(&memory), Some(2));
    }
}

#[test]
fn older_records_and_older_keys_are_rollbacks() {
    let (mut device, mut memory) = (device(), NameMemory::new());
    let early_events = device.events().to_vec();
    let first = device.publish(at(1), NOW).expect("published");
    let second = device.publish(at(2), NOW).expect("published");
    memory.learn(device.events(), second.clone(), NOW).expect("learned");
    let rollback = memory.learn(&early_events, first, NOW).expect_err("older");
    assert!(
        matches!(rollback, LearnError::Rollback { known, offered } if (known.seq, offered.seq) == (1, 0)),
        "{rollback}"
    );

    let (_, rotated) = device.rotate(None, later(1)).expect("rotated");
    memory.learn(device.events(), rotated, later(1)).expect("learned");
    let rollback = memory.learn(&early_events, second, later(2)).expect_err("an older key");
    assert!(
        matches!(rollback, LearnError::Rollback { known, offered } if (known.generation, offered.generation) == (1, 0))
    );
    assert_eq!(remembered(&memory), Some(2), "what was known stays");
}

#[test]
fn an_expired_record_still_guards_against_rollback() {
    let (mut device, mut memory) = (device(), NameMemory::new());
    let first = device.publish(Presence { ttl: 24 * HOUR, ..at(1) }, NOW).expect("published");
    let second = device.publish(at(2), NOW).expect("published");
    memory.learn(device.events(), second, NOW).expect("learned");
    let rollback =
        memory.learn(device.events(), first, later(7200)).expect_err("older, though it holds longer");
    assert!(matches!(rollback, LearnError::Rollback { .. }));
    assert_eq!(remembered(&memory), Some(2));
}

#[test]
fn two_records_of_one_version_are_equivocation() {
    let mut memory = NameMemory::new();
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
    memory.learn(device.events(), honest, NOW).expect("learned");
    assert_eq!(memory.learn(device.events(), other, NOW), Err(LearnError::Equivocation));
    assert_eq!(remembered(&memory), Some(1));
}

#[test]
fn another_identity_does_not_take_over_a_name() {
    let (mut device, mut thief, mut memory) = (device(), device(), NameMemory::new());
    let record = device.publish(at(1), NOW).expect("published");
    memory.learn(device.events(), record, NOW).expect("learned");
    for _ in 0..3 {
        let record = thief.publish(at(6666), NOW).expect("published");
        assert_eq!(memory.learn(thief.events(), record, NOW), Err(LearnError::OtherIdentity));
        thief.rotate(None, NOW).expect("a higher generation helps nothing");
    }
    assert_eq!(remembered(&memory), Some(1));
}

#[test]
fn a_record_must_be_signed_by_the_key_the_events_lead_to() {
    let (mut device, mut other, mut memory) = (device(), device(), NameMemory::new());
    let record = device.publish(at(1), NOW).expect("published");
    let foreign = other.publish(at(1), NOW).expect("published");
    assert_eq!(memory.learn(device.events(), foreign, NOW), Err(RecordError::OtherIdentity.into()));

    let mut forged = record.encode();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = Signed::<Record>::decode(&forged).expect("well formed");
    assert_eq!(memory.learn(device.events(), forged, NOW), Err(RecordError::BadSignature.into()));

    // The old key's record with the new key's history.
    device.rotate(None, NOW).expect("rotated");
    assert_eq!(memory.learn(device.events(), record, NOW), Err(RecordError::OtherGeneration.into()));
    // A history cut short, put together from two, or empty.
    let record = device.record().expect("record").clone();
    let inception = device.events()[..1].to_vec();
    assert_eq!(memory.learn(&inception, record.clone(), NOW), Err(RecordError::OtherGeneration.into()));
    let mixed: Vec<KeyEvent> = vec![other.events()[0].clone(), device.events()[1].clone()];
    assert!(matches!(memory.learn(&mixed, record.clone(), NOW), Err(LearnError::Events(_))));
    assert!(matches!(memory.learn(&[], record.clone(), NOW), Err(LearnError::Events(_))));
    assert_eq!(remembered(&memory), None, "nothing of it was remembered");
    assert_eq!(memory.learn(device.events(), record, NOW), Ok(true));
}

#[test]
fn its_memory_is_bounded_and_keeps_what_still_holds() {
    let mut memory = NameMemory::new();
    let short = Presence { ttl: HOUR, ..Presence::default() };
    let mut learn = |number: usize, presence: Presence, now| {
        let mut device =
            LocalDevice::create(format!("jis:d{number}").parse().expect("name"), NOW).expect("created");
        let record = device.publish(presence, now).expect("published");
        memory.learn(device.events(), record, now)
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
    let known = |number: usize| {
        let name = format!("jis:d{number}").parse().expect("name");
        memory.known(&name).expect("read").is_some()
    };
    assert!(!known(7) && known(6) && known(8) && known(MAX_REMEMBERED) && !known(MAX_REMEMBERED + 1));
}
