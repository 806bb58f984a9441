//! Key files: the content's part of row 92 of the bad-input table, rule R25. Cross-checked with OpenSSL where it is installed.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64ct::{Base64, Encoding as _};
use jis::pem::{
    PemEncryption, PemError, decode_identity, decode_transport, encode_identity, encode_transport,
};
use jis::{KeyError, SecretKey, TransportSecret, hex};
use proptest::prelude::*;

/// DER of a PKCS#8 Ed25519 key, up to the 32 bytes (RFC 8410 §7).
const ED25519_DER: &str = "302e020100300506032b657004220420";

fn armour(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", wrap(&Base64::encode_string(der)))
}

fn wrap(base64: &str) -> String {
    let lines: Vec<_> =
        base64.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    lines.join("\n")
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Base64::decode_vec(&body).expect("base64")
}

fn plain(key: &SecretKey) -> String {
    encode_identity(key, None).to_string()
}

fn encryption(passphrase: &str) -> PemEncryption<'_> {
    PemEncryption { passphrase, salt: *b"salt for a test.", iv: *b"iv for the test." }
}

fn transport_secret() -> TransportSecret {
    TransportSecret::from_bytes(std::array::from_fn(|i| i as u8).into_zeroizing()).expect("secret")
}

trait IntoZeroizing {
    fn into_zeroizing(self) -> zeroize::Zeroizing<[u8; 32]>;
}

impl IntoZeroizing for [u8; 32] {
    fn into_zeroizing(self) -> zeroize::Zeroizing<[u8; 32]> {
        self.into()
    }
}

#[test]
fn the_plain_form_is_that_of_rfc_8410() {
    let seed = common::SEEDS[0];
    let expected = hex::decode(&format!("{ED25519_DER}{seed}")).expect("hex");
    let pem = plain(&common::key(0));
    assert_eq!(pem, armour("PRIVATE KEY", &expected));
    let read = decode_identity(&pem, None).expect("key");
    assert_eq!(hex::encode(&*read.to_seed()), seed);
    // A passphrase that is not needed does no harm.
    assert!(decode_identity(&pem, Some("unused")).is_ok());
    let transport = encode_transport(&transport_secret(), None);
    assert_eq!(*decode_transport(&transport, None).expect("key").to_bytes(), *transport_secret().to_bytes());
}

#[test]
fn row_92_keys_of_wrong_length_or_content() {
    let with = |header: &str, key: &[u8]| {
        let der = [&hex::decode(header).expect("hex")[..], key].concat();
        decode_identity(&armour("PRIVATE KEY", &der), None).map(|_| ())
    };
    let key = *common::key(0).to_seed();
    assert_eq!(with(ED25519_DER, &key), Ok(()));
    // 31 and 33 bytes, all lengths in the DER adjusted, and 32 bytes without the inner OCTET STRING.
    assert_eq!(with("302d020100300506032b65700421041f", &key[..31]), Err(PemError::Key(KeyError::Length)));
    let longer = [&key[..], &[1]].concat();
    assert_eq!(with("302f020100300506032b657004230421", &longer), Err(PemError::Key(KeyError::Length)));
    assert_eq!(with("302c020100300506032b65700420", &key), Err(PemError::Key(KeyError::Length)));
    // The lengths as they were.
    assert_eq!(with(ED25519_DER, &key[..31]), Err(PemError::Syntax));
    assert_eq!(with(ED25519_DER, &longer), Err(PemError::Syntax));
    for erased in [[0; 32], [0xff; 32]] {
        assert_eq!(with(ED25519_DER, &erased), Err(PemError::Key(KeyError::DegenerateSecret)));
    }
}

#[test]
fn row_92_a_key_of_another_algorithm() {
    let x25519 = encode_transport(&transport_secret(), None);
    assert_eq!(decode_identity(&x25519, None).map(|_| ()), Err(PemError::WrongAlgorithm("Ed25519")));
    let ed25519 = plain(&common::key(0));
    assert_eq!(decode_transport(&ed25519, None).map(|_| ()), Err(PemError::WrongAlgorithm("X25519")));
}

#[test]
fn row_92_texts_that_are_no_key() {
    let good = plain(&common::key(0));
    let public = armour("PUBLIC KEY", &der(&good));
    let no_end = good.replace("-----END PRIVATE KEY-----\n", "");
    let other_end = good.replace("END PRIVATE", "END PUBLIC");
    let huge = "A".repeat(1 << 20);
    let preceded = format!("{huge}\n{good}");
    for text in [
        "",
        "\0",
        "-----BEGIN PRIVATE KEY-----",
        "é",
        &public,
        &no_end,
        &other_end,
        &good[1..],
        &huge,
        &preceded,
    ] {
        assert_eq!(decode_identity(text, None).map(|_| ()), Err(PemError::Syntax), "{:.40}", text);
    }
}

#[test]
fn a_passphrase_opens_what_it_closed_and_no_other_does() {
    let pem = encode_identity(&common::key(0), Some(encryption("correct horse")));
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let read = decode_identity(&pem, Some("correct horse")).expect("key");
    assert_eq!(read.to_seed(), common::key(0).to_seed());
    assert_eq!(decode_identity(&pem, None).map(|_| ()), Err(PemError::PassphraseNeeded));
    for wrong in ["", "Correct horse", "correct horse "] {
        assert_eq!(
            decode_identity(&pem, Some(wrong)).map(|_| ()),
            Err(PemError::WrongPassphrase),
            "{wrong:?}"
        );
    }
}

/// DER of one element. Lengths up to 65 535.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = match length {
        0..=127 => vec![tag, length as u8],
        128..=255 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    bytes.extend_from_slice(content);
    bytes
}

fn der_integer(n: u64) -> Vec<u8> {
    let bytes = n.to_be_bytes();
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(7);
    let sign = if bytes[start] & 0x80 != 0 { &[0][..] } else { &[] };
    tlv(2, &[sign, &bytes[start..]].concat())
}

/// An encrypted key by hand: PBES2 with the given key derivation and AES-256-CBC. The ciphertext is noise.
fn encrypted(kdf: &[u8]) -> String {
    let aes256_cbc = tlv(6, &hex::decode("60864801650304012a").expect("OID"));
    let cipher = tlv(0x30, &[aes256_cbc, tlv(4, &[7; 16])].concat());
    let pbes2 = tlv(6, &hex::decode("2a864886f70d01050d").expect("OID"));
    let scheme = tlv(0x30, &[pbes2, tlv(0x30, &[tlv(0x30, kdf), cipher].concat())].concat());
    armour("ENCRYPTED PRIVATE KEY", &tlv(0x30, &[scheme, tlv(4, &[9; 64])].concat()))
}

fn scrypt(n: u64, r: u64, p: u64) -> String {
    let oid = tlv(6, &hex::decode("2b06010401da47040b").expect("OID"));
    let parameters = [tlv(4, b"salt"), der_integer(n), der_integer(r), der_integer(p)].concat();
    encrypted(&[oid, tlv(0x30, &parameters)].concat())
}

fn pbkdf2(iterations: u64) -> String {
    let oid = tlv(6, &hex::decode("2a864886f70d01050c").expect("OID"));
    let hmac_sha256 = tlv(6, &hex::decode("2a864886f70d0209").expect("OID"));
    let prf = tlv(0x30, &[hmac_sha256, vec![5, 0]].concat());
    let parameters = [tlv(4, b"salt"), der_integer(iterations), prf].concat();
    encrypted(&[oid, tlv(0x30, &parameters)].concat())
}

/// A file must not make its reader work or allocate without bound. 2^40 or r = 2^15 would take petabytes, so that the test ends
/// at all shows that nothing was tried.
#[test]
fn row_92_unbounded_work_is_refused() {
    let read = |pem: String| decode_identity(&pem, Some("passphrase")).map(|_| ());
    // By hand and within bounds: derived, decrypted to noise.
    assert_eq!(read(scrypt(2, 8, 1)), Err(PemError::WrongPassphrase));
    assert_eq!(read(pbkdf2(1)), Err(PemError::WrongPassphrase));
    for (n, r, p) in [
        (1 << 18, 8, 1),
        (1 << 40, 8, 1),
        (1 << 63, 8, 1),
        (2, 0x7fff, 1),
        (2, 8, 0x7fff),
        (2, 9, 1),
        (2, 8, 5),
    ] {
        assert_eq!(read(scrypt(n, r, p)), Err(PemError::Parameters), "n {n} r {r} p {p}");
    }
    for iterations in [10_000_001, u64::from(u32::MAX)] {
        assert_eq!(read(pbkdf2(iterations)), Err(PemError::Parameters));
    }
}

/// Parameters that scrypt has no meaning for.
#[test]
fn row_92_scrypt_parameters_of_zero() {
    let read = |n, r, p| decode_identity(&scrypt(n, r, p), Some("passphrase")).map(|_| ());
    assert_eq!(read(0, 8, 1), Err(PemError::Parameters));
    for (n, r, p) in [(1, 8, 1), (3, 8, 1), (2, 0, 1), (2, 8, 0)] {
        assert!(read(n, r, p).is_err(), "n {n} r {r} p {p}");
    }
}

proptest! {
    #[test]
    fn reading_arbitrary_text_never_panics(text in any::<String>(), label in "(ENCRYPTED )?PRIVATE KEY", body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_identity(&text, Some("passphrase"));
        let _ = decode_identity(&armour(&label, &body), Some("passphrase"));
    }

    /// Altered DER of a plain key and of encrypted ones of small cost. A byte of the cost alone stays within what is read.
    #[test]
    fn reading_altered_keys_never_panics(
        which in 0..3,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (label, original) = match which {
            0 => ("PRIVATE KEY", plain(&common::key(0))),
            1 => ("ENCRYPTED PRIVATE KEY", scrypt(2, 1, 1)),
            _ => ("ENCRYPTED PRIVATE KEY", pbkdf2(1)),
        };
        let mut bytes = der(&original);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(key) = decode_identity(&armour(label, &bytes), Some("passphrase")) {
            prop_assert_eq!(which, 0);
            let seed = key.to_seed();
            prop_assert!(bytes.windows(32).any(|window| window == &seed[..]));
        }
    }
}

/// A directory for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory");
        Self(dir)
    }

    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.0.join(file);
        std::fs::write(&path, text).expect("file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl(arguments: &[&str]) -> Option<Output> {
    Command::new("openssl").args(arguments).output().ok()
}

/// The bytes of `priv:` or `pub:` in what `openssl pkey -text` prints.
fn printed(text: &str, part: &str) -> String {
    let after = text.split_once(part).unwrap_or_else(|| panic!("no {part} in {text}")).1;
    after
        .chars()
        .filter(|c| *c != ':' && !c.is_whitespace())
        .take_while(char::is_ascii_hexdigit)
        .take(64)
        .collect()
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    if openssl(&["version"]).is_none() {
        assert!(std::env::var_os("CI").is_none(), "openssl is missing");
        println!("SKIPPED: openssl not found");
        return;
    }
    let scratch = Scratch::new("openssl");
    let run = |arguments: &[&str]| {
        let output = openssl(arguments).expect("openssl");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    };
    // Ours, read by OpenSSL: both parts of the key are the published ones.
    let ours = scratch.write("plain.pem", &plain(&common::key(0)));
    let closed = encode_identity(&common::key(0), Some(encryption("correct horse")));
    let closed = scratch.write("encrypted.pem", &closed);
    let path = |p: &Path| p.to_str().expect("UTF-8 path").to_owned();
    for (file, passphrase) in [(&ours, "pass:"), (&closed, "pass:correct horse")] {
        let text = run(&["pkey", "-in", &path(file), "-passin", passphrase, "-noout", "-text"]);
        assert_eq!(printed(&text, "priv:"), common::SEEDS[0]);
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(printed(&text, "pub:"), public);
    }
    let transport = scratch.write("transport.pem", &encode_transport(&transport_secret(), None));
    let text = run(&["pkey", "-in", &path(&transport), "-noout", "-text"]);
    let public = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f";
    assert_eq!(printed(&text, "pub:"), public);

    // OpenSSL's, read by us: plain, with PBKDF2 as it encrypts by default, and with scrypt.
    let theirs = scratch.0.join("theirs.pem");
    run(&["genpkey", "-algorithm", "ed25519", "-out", &path(&theirs)]);
    let seed = printed(&run(&["pkey", "-in", &path(&theirs), "-noout", "-text"]), "priv:");
    let read = |file: &Path, passphrase| {
        let key = decode_identity(&std::fs::read_to_string(file).expect("file"), passphrase).expect("key");
        hex::encode(&*key.to_seed())
    };
    assert_eq!(read(&theirs, None), seed);
    for options in [&["-v2", "aes-256-cbc"][..], &["-v2", "aes-256-cbc", "-scrypt"]] {
        let file = scratch.0.join("theirs-encrypted.pem");
        let fixed =
            ["pkcs8", "-topk8", "-in", &path(&theirs), "-out", &path(&file), "-passout", "pass:swordfish"];
        run(&[&fixed[..], options].concat());
        assert_eq!(read(&file, Some("swordfish")), seed, "{options:?}");
    }
}
