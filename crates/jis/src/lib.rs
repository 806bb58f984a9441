//! Who a device is.
//!
//! A device is its key, not its address. This crate holds what an identity is made of. It reads no clock, no random generator and no
//! file: time and randomness are arguments, bytes come in and go out, and it builds for WebAssembly.
//!
//! | to … | see |
//! |---|---|
//! | name a device | [`Name`], [`NamePattern`] |
//! | hold a key | [`SecretKey`], [`PublicKey`], [`pem`] |
//! | follow a key's life | [`KeyEvent`] → [`Identity`] |
//! | say where a device is | [`Record`] under [`Signed`] |
//! | prove who is speaking | [`Challenge`] → [`Proof`] |
//! | ask an overlay node | [`Query`] → [`Answer`] |
//! | agree to a direct path | [`Punch`] |
//! | open a relay | [`RelayOpen`] |
//! | permit, vouch, certify | [`NameGrant`], [`EnrolmentToken`], [`Vouch`], [`TransportCertificate`] |
//!
//! Everything is signed over one construction, [`MessageWriter`], with a domain tag per kind of object, [`Tag`].
//!
//! ```
//! use jis::{Identity, Inception, NextKeyCommitment, SecretKey, Signed, UnixTime};
//! # fn random() -> [u8; 32] { std::array::from_fn(|i| i as u8) }
//! let key = SecretKey::from_seed(random().into())?;
//! # fn another() -> [u8; 32] { std::array::from_fn(|i| i as u8 + 1) }
//! let next = SecretKey::from_seed(another().into())?; // keep this one offline
//! let inception = Inception {
//!     name: "jis:home:hub".parse()?,
//!     key: key.public_key(),
//!     next: NextKeyCommitment::to(&next.public_key()),
//!     created_at: UnixTime::from_secs(1_767_323_045),
//! };
//! let hub = Identity::incept(&Signed::seal(inception, &key)?)?;
//! println!("{} is {} at {}", hub.name, hub.fingerprint, hub.fingerprint.overlay_address("tibet"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod challenge_v1;
pub mod did;
pub mod hex;
pub mod pem;

mod challenge;
pub use challenge::{AnswerError, Challenge, ChallengePurpose, Proof, ProofError};
mod endpoint;
pub use endpoint::{Endpoint, EndpointError};
mod event;
pub use event::{
    Inception, KeyEvent, Revocation, RevocationAuthority, RevocationScope, Rotation, SignedRotation,
};
mod field;
pub use field::{Capability, Remark, TextError};
mod fingerprint;
pub use fingerprint::{Fingerprint, NextKeyCommitment, message_hash};
mod identity;
pub use identity::{EventError, Identity, IdentityStatus, RecordError};
mod key;
pub use key::{BadSignature, KeyError, PublicKey, SecretKey, Signature};
mod message;
pub use message::{DecodeError, MAX_MESSAGE, MessageReader, MessageWriter, Tag};
mod name;
pub use name::{MAX_LABEL, MAX_LABELS, MAX_NAME, Name, NameError, NamePattern};
mod permission;
pub use permission::{EnrolmentToken, NameGrant};
mod punch;
pub use punch::Punch;
mod query;
pub use query::{Answer, AnswerOutcome, Query};
mod record;
pub use record::{Record, RecordStatus, RecordTimeError, RecordVersion};
mod relay_open;
pub use relay_open::RelayOpen;
mod signed;
pub use signed::{Signed, SignedObject};
mod time;
pub use time::UnixTime;
mod transport;
pub use transport::{TransportCertificate, TransportKey, TransportSecret};
mod vouch;
pub use vouch::Vouch;
