//! Secret keys as PKCS#8 PEM text (RFC 5958, RFC 8410), as `openssl pkey` reads and writes it.
//!
//! With a passphrase the key is encrypted by PBES2: scrypt and AES-256-CBC.

use pkcs8::der::Decode as _;
use pkcs8::der::pem::{LineEnding, PemLabel as _};
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfo, ObjectIdentifier, PrivateKeyInfo, SecretDocument,
};
use zeroize::Zeroizing;

use crate::key::{KeyError, PublicKey, SecretKey};
use crate::transport::TransportSecret;

/// id-Ed25519 (RFC 8410 §3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-X25519 (RFC 8410 §3).
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
/// DER header of the OCTET STRING of 32 bytes that RFC 8410 §7 puts inside the private key field.
const INNER_HEADER: [u8; 2] = [0x04, 0x20];

/// DER of a SubjectPublicKeyInfo up to its 32-byte Ed25519 key (RFC 8410 §4): the rest never varies.
const PUBLIC_HEADER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// log2 of scrypt's cost: 16 MiB of memory. The most OpenSSL takes by default is 32 MiB.
const SCRYPT_LOG_N: u8 = 14;
/// Largest scrypt cost that is read; a file asking for more would let its author exhaust our memory.
const MAX_SCRYPT_LOG_N: u32 = 17;
/// Largest PEM text that is read, in bytes. A key is about 120, an encrypted one 360.
const MAX_PEM: usize = 4096;

/// Why a PEM text gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// Not PKCS#8 PEM.
    #[error("not a PKCS#8 private key in PEM form (it should begin with -----BEGIN PRIVATE KEY-----)")]
    Syntax,
    /// A key of another algorithm.
    #[error("a private key of another algorithm than {0}")]
    WrongAlgorithm(&'static str),
    /// The key is encrypted and no passphrase was given.
    #[error("the key is encrypted: a passphrase is needed")]
    PassphraseNeeded,
    /// The passphrase is wrong, or the text was altered.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The text asks for more work than this program does for a key.
    #[error("the key's encryption parameters are out of bounds")]
    Parameters,
    /// The key itself is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// How to encrypt a key. Salt and IV come from the operating system's generator, new for every file.
#[derive(Clone, Copy)]
pub struct PemEncryption<'a> {
    /// The passphrase, UTF-8.
    pub passphrase: &'a str,
    /// Salt of the key derivation.
    pub salt: [u8; 16],
    /// Initialisation vector of the cipher.
    pub iv: [u8; 16],
}

impl std::fmt::Debug for PemEncryption<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PemEncryption(…)")
    }
}

/// A public identity key as PEM: SubjectPublicKeyInfo (RFC 8410 §4), as `openssl pkey -pubin` reads it.
#[must_use]
pub fn encode_public(key: &PublicKey) -> String {
    let mut der = PUBLIC_HEADER.to_vec();
    der.extend_from_slice(key.as_bytes());
    pkcs8::der::pem::encode_string("PUBLIC KEY", LineEnding::LF, &der).expect("44 bytes have a PEM form")
}

/// The identity key as PEM.
#[must_use]
pub fn encode_identity(key: &SecretKey, encryption: Option<PemEncryption<'_>>) -> Zeroizing<String> {
    encode(ED25519, &key.to_seed(), encryption)
}

/// Reads an identity key.
///
/// # Errors
/// [`PemError`].
pub fn decode_identity(pem: &str, passphrase: Option<&str>) -> Result<SecretKey, PemError> {
    Ok(SecretKey::from_seed(decode(ED25519, "Ed25519", pem, passphrase)?)?)
}

/// The transport key as PEM.
#[must_use]
pub fn encode_transport(key: &TransportSecret, encryption: Option<PemEncryption<'_>>) -> Zeroizing<String> {
    encode(X25519, &key.to_bytes(), encryption)
}

/// Reads a transport key.
///
/// # Errors
/// [`PemError`].
pub fn decode_transport(pem: &str, passphrase: Option<&str>) -> Result<TransportSecret, PemError> {
    Ok(TransportSecret::from_bytes(decode(X25519, "X25519", pem, passphrase)?)?)
}

fn encode(
    algorithm: ObjectIdentifier,
    key: &[u8; 32],
    encryption: Option<PemEncryption<'_>>,
) -> Zeroizing<String> {
    let mut inner = Zeroizing::new([0; 34]);
    inner[..2].copy_from_slice(&INNER_HEADER);
    inner[2..].copy_from_slice(key);
    let info = PrivateKeyInfo::new(AlgorithmIdentifierRef { oid: algorithm, parameters: None }, &inner[..]);
    let (document, label) = match encryption {
        None => {
            (SecretDocument::encode_msg(&info).expect("34 bytes fit a PKCS#8 key"), PrivateKeyInfo::PEM_LABEL)
        }
        Some(PemEncryption { passphrase, salt, iv }) => {
            let cost =
                scrypt::Params::new(SCRYPT_LOG_N, 8, 1, 32).expect("constant scrypt parameters are valid");
            let scheme =
                pbes2::Parameters::scrypt_aes256cbc(cost, &salt, &iv).expect("constant lengths are valid");
            let document =
                info.encrypt_with_params(scheme, passphrase).expect("34 bytes fit an encrypted key");
            (document, EncryptedPrivateKeyInfo::PEM_LABEL)
        }
    };
    document.to_pem(label, LineEnding::LF).expect("a DER document has a PEM form")
}

fn decode(
    algorithm: ObjectIdentifier,
    algorithm_name: &'static str,
    pem: &str,
    passphrase: Option<&str>,
) -> Result<Zeroizing<[u8; 32]>, PemError> {
    if pem.len() > MAX_PEM {
        return Err(PemError::Syntax);
    }
    let (label, document) = SecretDocument::from_pem(pem).map_err(|_| PemError::Syntax)?;
    let document = match label {
        PrivateKeyInfo::PEM_LABEL => document,
        EncryptedPrivateKeyInfo::PEM_LABEL => {
            let passphrase = passphrase.ok_or(PemError::PassphraseNeeded)?;
            decrypt(&document, passphrase)?
        }
        _ => return Err(PemError::Syntax),
    };
    let info = PrivateKeyInfo::from_der(document.as_bytes()).map_err(|_| PemError::Syntax)?;
    if info.algorithm.oid != algorithm {
        return Err(PemError::WrongAlgorithm(algorithm_name));
    }
    let key = info.private_key.strip_prefix(&INNER_HEADER).and_then(|key| key.try_into().ok());
    key.map(Zeroizing::new).ok_or(PemError::Key(KeyError::Length))
}

fn decrypt(document: &SecretDocument, passphrase: &str) -> Result<SecretDocument, PemError> {
    let info = EncryptedPrivateKeyInfo::from_der(document.as_bytes()).map_err(|_| PemError::Syntax)?;
    let scheme = info.encryption_algorithm.pbes2().ok_or(PemError::Parameters)?;
    let modest = match &scheme.kdf {
        pbes2::Kdf::Scrypt(cost) => {
            cost.cost_parameter.checked_ilog2().is_some_and(|log_n| log_n <= MAX_SCRYPT_LOG_N)
                && cost.block_size <= 8
                && cost.parallelization <= 4
        }
        pbes2::Kdf::Pbkdf2(cost) => cost.iteration_count <= 10_000_000,
        _ => false,
    };
    if !modest {
        return Err(PemError::Parameters);
    }
    info.decrypt(passphrase).map_err(|_| PemError::WrongPassphrase)
}
