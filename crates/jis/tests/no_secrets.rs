//! Secrets are wiped when dropped and never printed: rules R25 and R26.

mod common;

use jis::pem::PemEncryption;
use jis::{SecretKey, TransportSecret, hex};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Every way a secret of 32 bytes is likely to be written.
fn spellings(secret: &[u8; 32]) -> Vec<String> {
    use base64ct::Encoding as _;
    vec![
        hex::encode(secret),
        hex::encode(secret).to_uppercase(),
        bs58::encode(secret).into_string(),
        base64ct::Base64::encode_string(secret),
        base64ct::Base64UrlUnpadded::encode_string(secret),
        format!("{secret:?}").trim_matches(['[', ']']).to_owned(),
        format!("{secret:02x?}").trim_matches(['[', ']']).to_owned(),
    ]
}

fn assert_silent(printed: &str, secret: &[u8; 32]) {
    for spelling in spellings(secret) {
        // Parts give a key away too.
        for part in [&spelling[..], &spelling[..16], &spelling[spelling.len() - 16..]] {
            assert!(!printed.contains(part), "{printed} contains a secret");
        }
    }
}

#[test]
fn debug_of_a_secret_key_shows_its_public_key_only() {
    for n in 0..4 {
        let key = common::key(n);
        for printed in [format!("{key:?}"), format!("{key:#?}"), format!("{:?}", Some(&key))] {
            assert!(printed.contains(&key.public_key().to_string()), "{printed}");
            assert_silent(&printed, &key.to_seed());
        }
    }
}

#[test]
fn debug_of_a_transport_secret_shows_its_public_key_only() {
    let bytes = Zeroizing::new(std::array::from_fn(|i| i as u8));
    let secret = TransportSecret::from_bytes(bytes.clone()).expect("secret");
    let printed = format!("{secret:?} {secret:#?}");
    assert!(printed.contains(&secret.public_key().to_multibase()), "{printed}");
    assert_silent(&printed, &bytes);
}

#[test]
fn debug_of_an_encryption_shows_no_passphrase() {
    let encryption = PemEncryption { passphrase: "correct horse", salt: [0x5a; 16], iv: [0xa5; 16] };
    let printed = format!("{encryption:?} {encryption:#?}");
    assert!(!printed.contains("correct") && !printed.contains("horse"), "{printed}");
}

/// An error says what is wrong with a secret and not what it is.
#[test]
fn errors_quote_no_secret() {
    let secret = format!("{}zz", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f");
    let error = secret.parse::<SecretKey>().expect_err("not hex");
    assert!(!format!("{error} {error:?}").contains(&secret[..8]));
    let pem = jis::pem::encode_identity(&common::key(0), None);
    let altered = pem.replace("MC4CAQ", "MC4CAA");
    let error = jis::pem::decode_identity(&altered, Some("swordfish")).expect_err("altered");
    let printed = format!("{error} {error:?}");
    let body = altered.lines().nth(1).expect("body");
    assert!(!printed.contains(&body[20..36]) && !printed.contains("swordfish"), "{printed}");
}

/// Holds at compile time: the types our secrets are made of wipe themselves. Without its feature `zeroize`, dalek's would not.
#[test]
fn r26_secrets_are_wiped_on_drop() {
    fn assert_zeroize_on_drop<T: ZeroizeOnDrop>() {}
    assert_zeroize_on_drop::<ed25519_dalek::SigningKey>();
    assert_zeroize_on_drop::<Zeroizing<[u8; 32]>>();
    assert_zeroize_on_drop::<Zeroizing<String>>();

    // x25519-dalek wipes in a derived `Drop` without the marker; both exist with its feature `zeroize` only.
    fn assert_zeroize<T: Zeroize>() {}
    assert_zeroize::<x25519_dalek::StaticSecret>();
    assert!(std::mem::needs_drop::<x25519_dalek::StaticSecret>());
}

/// The copies that leave a key are of the type that wipes itself.
#[test]
fn r26_copies_of_secrets_are_wiped_too() {
    let seed: Zeroizing<[u8; 32]> = common::key(0).to_seed();
    let secret = TransportSecret::from_bytes(seed).expect("secret");
    let _: Zeroizing<[u8; 32]> = secret.to_bytes();
    let _: Zeroizing<String> = jis::pem::encode_transport(&secret, None);
    let _: Zeroizing<String> = jis::pem::encode_identity(&common::key(0), None);
}
