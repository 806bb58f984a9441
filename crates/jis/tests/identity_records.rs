//! A record is believed only if it is the identity's own, whatever it says of itself (rules R5, R6, R43).

mod common;

use common::{commit, identity, key, name, record};
use jis::{Fingerprint, Identity, Record, RecordError, Signed};

fn check(identity: &Identity, signer: usize, change: impl FnOnce(&mut Record)) -> Result<(), RecordError> {
    let mut record = record(identity);
    change(&mut record);
    let signed = Signed::seal(record, &key(signer)).expect("record");
    identity.check_record(&signed).map(|_| ())
}

#[test]
fn an_identitys_own_record_is_its_own() {
    assert_eq!(check(&identity("jis:home:hub", 0, 1), 0, |_| ()), Ok(()));
}

#[test]
fn a_record_that_differs_from_the_identity_in_one_thing_is_not_believed() {
    let hub = identity("jis:home:hub", 0, 1);
    let other = identity("jis:home:lamp", 2, 3);
    assert_eq!(check(&hub, 0, |r| r.name = name("jis:home:lamp")), Err(RecordError::OtherIdentity));
    assert_eq!(
        check(&hub, 0, |r| r.fingerprint = Fingerprint::from_bytes([1; 32])),
        Err(RecordError::OtherIdentity)
    );
    assert_eq!(check(&hub, 0, |r| r.version.generation = 1), Err(RecordError::OtherGeneration));
    // A generation nobody reaches would win every comparison of versions for ever.
    assert_eq!(check(&hub, 0, |r| r.version.generation = u64::MAX), Err(RecordError::OtherGeneration));
    assert_eq!(check(&hub, 0, |r| r.next = commit(&key(3))), Err(RecordError::OtherGeneration));
    assert_eq!(
        check(&hub, 2, |r| r.key = other.key),
        Err(RecordError::OtherGeneration),
        "its own key inside proves nothing"
    );
    assert_eq!(check(&hub, 2, |_| ()), Err(RecordError::BadSignature));
}
