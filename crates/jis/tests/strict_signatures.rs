//! Which signatures and keys are refused: rows 29 to 32 of the bad-input table, rule R4.

mod common;

use common::{key, record};
use jis::{KeyError, PublicKey, Record, Signature, Signed, hex};

/// The order of the group, L = 2^252 + 27742317777372353535851937790883648493, little-endian (RFC 8032 §5.1).
const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// The eight points of small order in their canonical encodings. Each was computed from the curve equation with Python
/// integers: multiplied by 8 it gives the identity.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode_array(text).expect("hex")
}

fn sealed() -> Signed<Record> {
    Signed::seal(record(&common::identity("jis:home:hub", 0, 1)), &key(0)).expect("sealed")
}

/// Verifies `signature` over the sample's M under the signer's key.
fn verifies(signature: [u8; 64]) -> bool {
    key(0).public_key().verify(sealed().message(), &Signature::from_bytes(signature)).is_ok()
}

#[test]
fn row_29_zero_missing_short_and_long_signatures() {
    assert!(verifies(*sealed().signature().as_bytes()));
    assert!(!verifies([0; 64]));

    let good = sealed().encode();
    let m = sealed().message().len();
    assert!(Signed::<Record>::decode(&good).is_ok());
    // 63 and 65 bytes and none: the last 64 bytes then hold a part of M, or leave a byte of the signature in it.
    assert!(Signed::<Record>::decode(&good[..m + 63]).is_err());
    assert!(Signed::<Record>::decode(&good[..m]).is_err());
    assert!(Signed::<Record>::decode(&[&good[..], &[0]].concat()).is_err());
    assert!(Signed::<Record>::decode(&[]).is_err());
    for length in [0, 2, 126, 130] {
        assert_eq!("00".repeat(length / 2).parse::<Signature>(), Err(KeyError::Encoding));
    }
}

#[test]
fn row_30_s_beyond_the_group_order() {
    let good = *sealed().signature().as_bytes();
    let l: [u8; 32] = bytes(L);
    // S + L: the same number modulo L, so a lax verifier accepts it. S < L < 2^253, no overflow of 32 bytes.
    let mut malleable = good;
    let mut carry = 0;
    for i in 0..32 {
        let sum = u16::from(good[32 + i]) + u16::from(l[i]) + carry;
        malleable[32 + i] = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(!verifies(malleable));
    for high_bit in [0x20, 0x40, 0x80] {
        let mut altered = good;
        altered[63] |= high_bit;
        assert!(!verifies(altered), "{high_bit:#x}");
    }
    let mut s_is_l = good;
    s_is_l[32..].copy_from_slice(&l);
    assert!(!verifies(s_is_l));
}

#[test]
fn row_31_keys_of_small_order_never_become_keys() {
    for point in SMALL_ORDER {
        assert_eq!(PublicKey::from_bytes(&bytes(point)), Err(KeyError::Weak), "{point}");
        assert_eq!(point.parse::<PublicKey>(), Err(KeyError::Weak), "{point}");
    }
}

/// With R the identity and S = 0 the plain equation S·B = R + k·A holds for A of small order and lucky k. Our keys are never
/// such; here R alone is, under a good key, with every S an attacker would try.
#[test]
fn row_31_r_of_small_order_is_refused() {
    let good = *sealed().signature().as_bytes();
    for point in SMALL_ORDER {
        for s in [[0; 32], *good.last_chunk::<32>().expect("S")] {
            let mut forged = [0; 64];
            forged[..32].copy_from_slice(&bytes::<32>(point));
            forged[32..].copy_from_slice(&s);
            assert!(!verifies(forged), "{point}");
        }
    }
}

/// A signer who knows its secret a can make R of small order fit: S = k·a mod L with R = identity satisfies the plain equation
/// exactly. It was computed with Python integers and holds for RFC 8032's own verification; the strict variant refuses it.
#[test]
fn row_31_a_crafted_signature_with_r_the_identity_is_refused() {
    let crafted = concat!(
        "0100000000000000000000000000000000000000000000000000000000000000",
        "f332758bffe6956cef968b2e7c46550b4e0980c5627f946e68f029146bd3e403"
    );
    let verdict = key(0).public_key().verify(b"row 31", &crafted.parse().expect("signature"));
    assert!(verdict.is_err());
    // The same signature passes the lax equation, so it is strictness that refuses it.
    let lax = ed25519_dalek::VerifyingKey::from_bytes(key(0).public_key().as_bytes()).expect("key");
    let crafted = ed25519_dalek::Signature::from_bytes(&bytes(crafted));
    assert!(ed25519_dalek::Verifier::verify(&lax, b"row 31", &crafted).is_ok());
}

#[test]
fn row_32_encodings_with_y_beyond_the_field() {
    // y = p + 0 … p + 18, each with both signs: a second encoding of y = 0 … 18, or of no point.
    for low in 0xed..=0xff {
        for sign in [0x7f, 0xff] {
            let mut encoding = [0xff; 32];
            (encoding[0], encoding[31]) = (low, sign);
            assert_eq!(PublicKey::from_bytes(&encoding), Err(KeyError::NotCanonical), "{low:#x} {sign:#x}");
        }
    }
    // y = p + 3 as R: a point of full order has y = 3, here in its non-canonical spelling.
    let good = *sealed().signature().as_bytes();
    for low in 0xed..=0xff {
        let mut forged = good;
        forged[..32].fill(0xff);
        (forged[0], forged[31]) = (low, 0x7f);
        assert!(!verifies(forged), "{low:#x}");
    }
}

#[test]
fn row_32_non_canonical_x_is_refused() {
    // x = 0 with the sign bit set: "minus zero", for y = 1 and y = −1.
    for encoding in [
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ] {
        assert!(PublicKey::from_bytes(&bytes(encoding)).is_err(), "{encoding}");
    }
    // y = 2 lies on no point of the curve.
    let mut no_point = [0; 32];
    no_point[0] = 2;
    assert_eq!(PublicKey::from_bytes(&no_point), Err(KeyError::NotCanonical));
}

/// Row 33: the key to verify with is the caller's; one inside the object does not help.
#[test]
fn row_33_another_key_does_not_verify() {
    let signed = sealed();
    assert!(signed.verify(&key(0).public_key()).is_ok());
    assert_eq!(signed.verify(&key(1).public_key()), Err(jis::BadSignature));
}

/// The vectors of RFC 8032 §7.1 TEST 1 to 3 and SHA(abc), whichever library signs.
#[test]
fn signatures_are_those_of_rfc_8032() {
    let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
               2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    for (n, message, signature) in [
        (
            0,
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            1,
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            2,
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            3,
            abc,
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ),
    ] {
        let message = hex::decode(message).expect("hex");
        assert_eq!(key(n).sign(&message).to_string(), signature);
        assert_eq!(key(n).public_key().verify(&message, &signature.parse().expect("signature")), Ok(()));
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn aws_lc_signs_what_dalek_signs() {
    use ed25519_dalek::Signer as _;
    for n in 0..40 {
        let secret = key(n);
        let dalek = ed25519_dalek::SigningKey::from_bytes(&secret.to_seed());
        let message = vec![n as u8; n * 97];
        assert_eq!(secret.sign(&message).as_bytes(), &dalek.sign(&message).to_bytes());
    }
}
