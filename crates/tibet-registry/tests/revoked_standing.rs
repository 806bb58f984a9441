//! Who may not speak is not trusted, whatever was earned or set before.

mod common;

use common::{Device, after, in_memory, register};
use jis::{KeyEvent, Remark, Revocation, RevocationAuthority, RevocationScope, Signed};
use tibet_registry::{TrustSource, Zone};

#[test]
fn a_revoked_identity_stands_at_rood_even_where_the_operator_trusted_it() {
    let mut registry = in_memory();
    let mut sensor = Device::new("jis:home:sensor", 100);
    register(&mut registry, &sensor);
    registry.set_trust(sensor.name(), Some(0.95), "an old friend", after(1)).expect("set");
    assert_eq!(registry.standing(sensor.name(), after(2)).expect("standing").zone, Zone::Groen);

    let revocation = Revocation {
        name: sensor.identity.name.clone(),
        fingerprint: sensor.identity.fingerprint,
        generation: 0,
        key: sensor.identity.key,
        scope: RevocationScope::Key,
        authority: RevocationAuthority::CurrentKey,
        signer: sensor.identity.key,
        reason: Remark::default(),
        revoked_at: after(3),
    };
    let revocation = Signed::seal(revocation, &sensor.key).expect("revocation");
    registry.revoke(revocation.clone(), after(3)).expect("revoked");
    let standing = registry.standing(sensor.name(), after(4)).expect("standing");
    assert_eq!((standing.score, standing.zone, standing.source), (0.0, Zone::Rood, TrustSource::Revoked));

    // The owner comes back under the next key, and so does what the operator said of the identity.
    sensor.identity = sensor.identity.apply(&KeyEvent::Revocation(revocation), &[]).expect("fits");
    let (rotation, record) = sensor.rotate(common::key(102), after(5));
    registry.rotate(rotation, record, after(5)).expect("rotated");
    assert_eq!(registry.standing(sensor.name(), after(6)).expect("standing").zone, Zone::Groen);
}
