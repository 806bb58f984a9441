//! Which key a name is known by: SECURITY 3.2 rows 33 and 77, and first contacts.

mod common;

use common::{key, name, packet, sign, signed};
use jis::Name;
use tibet_ping::{
    Binding, Expected, FirstContact, KeyBook, KeyBookFull, KeyRefusal, KeySource, MAX_PINS, MAX_UNSIGNED,
    Packet, VerifyError, verify_ping,
};

fn sensor(n: usize, generation: u64) -> Binding {
    Binding { name: name("jis:home:sensor"), key: key(n).public_key(), generation }
}

#[test]
fn the_first_signed_packet_pins_and_another_key_is_refused() {
    let mut keys = KeyBook::new(FirstContact::Pin);
    let first = signed(1);
    let Ok(Expected::FirstContact(found)) = keys.expected(&first) else { panic!("no first contact") };
    assert_eq!(found, key(0).public_key());
    // Asking pins nothing; a packet that does not verify never gets to pin.
    assert!(keys.is_empty());
    let forged = Packet { purpose: "another".into(), ..first.clone() };
    assert_eq!(verify_ping(&forged, &found).err(), Some(VerifyError::BadSignature));
    let ping = verify_ping(&first, &found).expect("verified");
    assert_eq!(keys.handle_first_contact(&ping), Some(sensor(0, 0)));
    assert_eq!(keys.handle_first_contact(&ping), None);
    assert_eq!(keys.expected(&signed(2)), Ok(Expected::Bound(key(0).public_key())));
    // Row 33: honestly signed, by somebody else.
    assert_eq!(keys.expected(&sign(packet(3), 2)), Err(KeyRefusal::ChangedKey));
    assert!(keys.forget(&name("jis:home:sensor")));
    assert_eq!(keys.expected(&sign(packet(3), 2)), Ok(Expected::FirstContact(key(2).public_key())));
    assert_eq!(KeyBook::new(FirstContact::Refuse).expected(&first), Err(KeyRefusal::UnknownName));
}

#[test]
fn stronger_sources_replace_weaker_ones() {
    let mut keys = KeyBook::new(FirstContact::Pin);
    let known = |keys: &KeyBook| keys.binding(&name("jis:home:sensor")).map(|(b, source)| (b.key, source));
    assert_eq!(keys.bind(sensor(0, 0), KeySource::Pin), Ok(true));
    assert_eq!(keys.bind(sensor(1, 0), KeySource::Pin), Ok(false));
    assert_eq!(known(&keys), Some((key(0).public_key(), KeySource::Pin)));
    assert_eq!(keys.bind(sensor(1, 2), KeySource::Record), Ok(true));
    assert_eq!(keys.bind(sensor(0, 0), KeySource::Pin), Ok(false));
    // An old record does not bring an old key back.
    assert_eq!(keys.bind(sensor(0, 1), KeySource::Record), Ok(false));
    assert_eq!(keys.bind(sensor(2, 3), KeySource::Record), Ok(true));
    assert_eq!(keys.bind(sensor(0, 0), KeySource::Operator), Ok(true));
    assert_eq!(keys.bind(sensor(2, 4), KeySource::Record), Ok(false));
    assert_eq!(known(&keys), Some((key(0).public_key(), KeySource::Operator)));
    assert_eq!(keys.len(), 1);
}

#[test]
fn row_77_unsigned_packets() {
    let mut keys = KeyBook::new(FirstContact::Pin);
    assert_eq!(keys.expected(&packet(1)), Err(KeyRefusal::Unsigned));
    keys.allow_unsigned(name("jis:home:sensor")).expect("room");
    assert_eq!(keys.expected(&packet(1)), Ok(Expected::Unsigned));
    let bad = Packet { source_did: "jis:Home".into(), ..packet(1) };
    assert_eq!(keys.expected(&bad), Err(KeyRefusal::BadName));
    // Once seen signed, never again unsigned, whatever the operator allowed before.
    let first = signed(1);
    let ping = verify_ping(&first, &key(0).public_key()).expect("verified");
    assert!(keys.handle_first_contact(&ping).is_some());
    assert_eq!(keys.expected(&packet(1)), Err(KeyRefusal::Downgrade));
    for n in 1..MAX_UNSIGNED {
        keys.allow_unsigned(name(&format!("jis:n{n}"))).expect("room");
    }
    assert_eq!(keys.allow_unsigned(name("jis:more")), Err(KeyBookFull));
}

#[test]
fn a_name_that_spells_its_key_needs_no_book() {
    let keys = KeyBook::new(FirstContact::Refuse);
    let own = Name::of_key(&key(0).public_key());
    let named = Packet { source_did: own.as_str().into(), ..packet(1) };
    assert_eq!(keys.expected(&sign(named.clone(), 0)), Ok(Expected::Bound(key(0).public_key())));
    assert_eq!(keys.expected(&sign(named.clone(), 1)), Err(KeyRefusal::ChangedKey));
    assert_eq!(keys.expected(&named), Err(KeyRefusal::Downgrade));
}

#[test]
fn made_up_names_leave_room_for_the_others() {
    let mut keys = KeyBook::new(FirstContact::Pin);
    for n in 0..MAX_PINS + 100 {
        let pin = Binding { name: name(&format!("jis:n{n}")), ..sensor(0, 0) };
        assert_eq!(keys.bind(pin, KeySource::Pin).is_ok(), n < MAX_PINS);
    }
    assert_eq!(keys.expected(&signed(1)), Err(KeyRefusal::UnknownName));
    assert_eq!(keys.bind(sensor(0, 0), KeySource::Record), Ok(true));
    assert_eq!((keys.len(), keys.refused_full()), (MAX_PINS + 1, 100));
    // A pin that a record confirms makes room for another.
    let confirmed = Binding { name: name("jis:n0"), ..sensor(0, 0) };
    assert_eq!(keys.bind(confirmed, KeySource::Record), Ok(true));
    let pin = Binding { name: name("jis:late"), ..sensor(0, 0) };
    assert_eq!(keys.bind(pin, KeySource::Pin), Ok(true));
}
