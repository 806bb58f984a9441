//! One life of a device, told to both stores: the happy path that everything else departs from.

mod common;

use common::{Device, START, after, in_memory, key, on_disk, register, verify};
use tibet_registry::{Refusal, Registry, Store, Zone};

fn story<S: Store>(registry: &mut Registry<S>) {
    let mut sensor = Device::new("jis:home:sensor", 100);
    let registered = register(registry, &sensor);
    assert!(registered.changed);
    assert_eq!((registered.standing.score, registered.standing.zone), (0.5, Zone::Geel));
    assert!(!register(registry, &sensor).changed, "registering again changes nothing");

    let proven = verify(registry, &sensor, after(1)).expect("proven");
    assert_eq!(proven.standing.score, 0.5, "the standing before this answer");
    assert!(proven.counted);

    let moved = sensor
        .move_on(after(60), |record| record.endpoints = vec!["198.51.100.9:7150".parse().expect("endpoint")]);
    registry.update(moved, after(60)).expect("moved");
    let found = registry.resolve(sensor.name(), after(61)).expect("resolved");
    assert_eq!(found.route.record().expect("signed").claims().endpoints[0].to_string(), "198.51.100.9:7150");
    assert_eq!(found.route.record_bytes(), sensor.signed_record().encode(), "the device's own bytes");

    let fingerprint = found.route.fingerprint;
    let stolen = Device { key: key(100), ..Device::new("jis:home:sensor", 100) };
    let (rotation, record) = sensor.rotate(key(102), after(120));
    registry.rotate(rotation, record, after(120)).expect("rotated");
    let found = registry.resolve(sensor.name(), after(121)).expect("resolved");
    assert_eq!(found.route.fingerprint, fingerprint, "rotation keeps the identity");
    assert_eq!(found.route.version.generation, 1);
    assert!(
        matches!(verify(registry, &stolen, after(122)), Err(Refusal::Proof(_))),
        "the old key proves nothing now"
    );
    verify(registry, &sensor, after(123)).expect("the new key does");

    let page = registry.find(&"mqtt".parse().expect("capability"), 0, 10, after(124)).expect("found");
    assert_eq!(page.names, [sensor.name().clone()]);
    assert_eq!(page.next, None);

    registry.flush(after(125)).expect("flushed");
    let audit = registry.audit(None).expect("audited");
    assert!(audit.is_clean(), "{audit:?}");
    assert_eq!(audit.identities, 1);
}

#[test]
fn in_memory_and_on_disk_tell_the_same_story() {
    story(&mut in_memory());
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("registry.db");
    story(&mut on_disk(&path));
    let registry = on_disk(&path);
    let head = registry.head().expect("head").expect("tokens");
    assert!(registry.audit(Some(&head)).expect("audited").is_clean(), "after opening again");
    assert!(registry.peek(&"jis:home:sensor".parse().expect("name"), START).expect("read").is_some());
}
