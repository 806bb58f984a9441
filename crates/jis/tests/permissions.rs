//! Limits of grants, enrolment tokens, vouches and transport certificates: rows 40, 46 and 72 of the bad-input table as far as the
//! object alone decides, rule R10.

mod common;

use common::{at, enrolment_token, key, name, name_grant, transport_certificate, vouch};
use jis::{
    DecodeError, MessageWriter, NameGrant, Signed, SignedObject, TransportCertificate, UnixTime, Vouch,
};

const DAY: i64 = 86_400;

/// What the reader says to an object; a writer seals nothing else.
fn verdict<T: SignedObject>(object: T) -> Result<(), DecodeError> {
    let read = T::from_message(&object.message()).map(|_| ());
    assert_eq!(Signed::seal(object, &key(0)).map(|_| ()), read);
    read
}

#[test]
fn row_46_a_grant_is_for_names_below_the_parent_alone() {
    let pattern = |text: &str| verdict(NameGrant { pattern: text.parse().expect(text), ..name_grant() });
    for below in
        ["jis:home:hub", "jis:home:x:y", "jis:home:*", "jis:home:**", "jis:home:x:*", "jis:home:x:y:**"]
    {
        assert_eq!(pattern(below), Ok(()), "{below}");
    }
    for other in ["jis:home", "jis:home2", "jis:home2:*", "jis:hom:**", "jis:office:*", "jis:a", "jis:a:**"] {
        assert_eq!(pattern(other), Err(DecodeError::Field("pattern")), "{other}");
    }
}

#[test]
fn r10_nothing_permits_for_ever() {
    let grant = |expires_at| verdict(NameGrant { expires_at, ..name_grant() });
    let token = |expires_at| verdict(jis::EnrolmentToken { expires_at, ..enrolment_token() });
    let vouched = |expires_at| verdict(Vouch { expires_at, ..vouch() });
    let too_long = Err(DecodeError::Field("expires_at"));
    for (last, past) in [
        (grant(at(366 * DAY)), grant(at(366 * DAY + 1))),
        (token(at(DAY)), token(at(DAY + 1))),
        (vouched(at(30 * DAY)), vouched(at(30 * DAY + 1))),
    ] {
        assert_eq!((last, past), (Ok(()), too_long));
    }
    for odd in [at(0), at(-1), UnixTime::MAX] {
        assert_eq!((grant(odd), token(odd), vouched(odd)), (too_long, too_long, too_long), "{odd}");
    }
}

#[test]
fn row_40_a_transport_certificate_has_a_beginning_and_an_end() {
    let certificate = transport_certificate();
    assert!(!certificate.is_valid_at(at(-1)), "not yet valid");
    assert!(certificate.is_valid_at(at(0)) && certificate.is_valid_at(at(30 * DAY)));
    assert!(!certificate.is_valid_at(at(30 * DAY + 1)), "expired");
    let until = |not_after| verdict(TransportCertificate { not_after, ..transport_certificate() });
    assert_eq!(until(at(30 * DAY)), Ok(()));
    for odd in [at(30 * DAY + 1), UnixTime::MAX, at(0), at(-1)] {
        assert_eq!(until(odd), Err(DecodeError::Field("not_after")), "{odd}");
    }
}

/// Row 40: certified by another identity, it does not verify under the key of the one it names.
#[test]
fn row_40_a_transport_certificate_by_another_identity() {
    let certificate = Signed::seal(transport_certificate(), &key(2)).expect("sealed");
    assert!(certificate.verify(&common::identity("jis:home:hub", 0, 1).key).is_err());
}

#[test]
fn row_72_vouches_for_oneself_and_beyond_all_measure() {
    assert_eq!(verdict(Vouch { subject: vouch().voucher, ..vouch() }), Err(DecodeError::Field("subject")));
    let factor = |factor_permille| verdict(Vouch { factor_permille, ..vouch() });
    assert_eq!((factor(0), factor(1000)), (Ok(()), Ok(())));
    // 1001, trust 7.0, and the bits of a NaN.
    for beyond in [1001, 7000, f64::NAN.to_bits(), u64::MAX] {
        assert_eq!(factor(beyond), Err(DecodeError::Field("factor_permille")), "{beyond}");
    }
    assert_eq!(verdict(Vouch { subject: name("jis:home"), ..vouch() }), Ok(()));
}

/// A yes is 1: any other number would be a second encoding of it.
#[test]
fn an_override_is_0_or_1() {
    let with = |flag: u64| {
        let grant = name_grant();
        let message = MessageWriter::new(NameGrant::TAG)
            .bytes(&grant.id)
            .text(grant.parent.as_str())
            .integer(grant.parent_generation)
            .bytes(grant.parent_key.as_bytes())
            .text("jis:home:*")
            .bytes(&[0; 32])
            .text(grant.origin.as_str())
            .integer(flag)
            .integer(grant.issued_at.as_millis())
            .integer(grant.expires_at.as_millis())
            .finish();
        NameGrant::from_message(&message).map(|grant| (grant.overrides, grant.subject))
    };
    assert_eq!((with(0), with(1)), (Ok((false, None)), Ok((true, None))));
    for other in [2, 1 << 56, u64::MAX] {
        assert_eq!(with(other), Err(DecodeError::Field("overrides")));
    }
}
